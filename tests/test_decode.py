from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.decode import measure, yeast_records
from ihomer.connectors.base import Record
from ihomer.errors import MalformedEventError, UsageError
from ihomer.instances import Encoder, Event, Row
from ihomer.stream.decode import KINDS, MAX_ID_LENGTH, MAX_LABEL_LENGTH, Decoder, id_by_line
from tests.malformed import CATALOGUE, GOOD, Malformed


def record(value: Any, offset: int = 0) -> Record:
    raw = value if value is None or isinstance(value, bytes) else orjson.dumps(value)
    return Record(raw, "topic", 2, offset)


def refused(decoder: Decoder, value: Any) -> MalformedEventError:
    with pytest.raises(MalformedEventError) as caught:
        decoder.decode(record(value))
    return caught.value


@pytest.mark.parametrize("case", CATALOGUE, ids=lambda case: case.name)
def test_each_malformed_event_is_refused_with_its_kind_and_one_readable_line(
    case: Malformed,
) -> None:
    fault = refused(Decoder(), case.value)
    assert fault.kind == case.kind
    assert fault.stage == KINDS[case.kind].stage
    assert case.says in str(fault)
    assert "accepted" in str(fault)
    assert str(fault).isprintable()
    assert len(str(fault)) < 400


def test_the_catalogue_is_large_and_tries_every_kind() -> None:
    assert len(CATALOGUE) >= 40
    assert len({case.name for case in CATALOGUE}) == len(CATALOGUE)
    elsewhere = {
        "unknown-field",
        "x-length",
        "too-many-labels",  # the vocabulary reports it
        "id-missing",  # of labels that come late
    } | {kind for kind in KINDS if KINDS[kind].stage == "map"}
    assert {case.kind for case in CATALOGUE} | elsewhere == set(KINDS)


def test_good_events_between_malformed_ones_are_all_decoded() -> None:
    decoder = Decoder()
    expected = [Decoder().decode(record(good)).id for good in GOOD]
    for case in CATALOGUE:
        refused(decoder, case.value)
        assert [decoder.decode(record(good)).id for good in GOOD] == expected


def test_vocabulary_faults_use_kinds_of_the_table() -> None:
    encoder = Encoder(max_labels=1)
    encoder.add(Event(1, {}, on=["a"]))
    with pytest.raises(MalformedEventError) as caught:
        encoder.add(Event(2, {}, on=["b"]))
    assert (caught.value.stage, caught.value.kind) == ("vocabulary", "too-many-labels")
    assert KINDS["too-many-labels"].stage == "vocabulary"
    with pytest.raises(MalformedEventError) as caught:
        encoder.add(Event(4, {"a": math.inf}))
    assert caught.value.kind == "feature-value"


def test_id_in_every_form() -> None:
    decoder = Decoder()

    def decoded(raw: str) -> Any:
        return decoder.decode(record(b'{"x": {}, "id": ' + raw.encode() + b"}")).id

    longest = "i" * MAX_ID_LENGTH
    assert decoded('"a"') == "a"
    assert decoded(f'"{longest}"') == longest
    assert decoded("17") == 17
    assert decoded("1.0") == 1
    assert type(decoded("1.0")) is int
    assert decoded("9007199254740992.0") == 2**53
    assert decoded("9223372036854775807") == 2**63 - 1
    assert decoded("-9223372036854775808") == -(2**63)


def test_an_id_that_is_absent_comes_from_the_place() -> None:
    assert Decoder().decode(record({"x": {}}, offset=7)).id == "topic-2-7"
    assert Decoder(default_id=id_by_line).decode(record({"x": {}}, offset=7)).id == 7


def test_y_in_every_form() -> None:
    decoder = Decoder()

    def labels(y: Any) -> tuple[Any, Any]:
        event = decoder.decode(record({"x": {}, "y": y}))
        return event.on, list(event.off)

    longest = "l" * MAX_LABEL_LENGTH
    assert labels(["b", "a", longest]) == (["b", "a", longest], [])
    assert labels({"b": True, "a": False, longest: True}) == (["b", longest], ["a"])
    assert labels([]) == ([], [])
    assert labels({}) == ([], [])
    assert labels(None) == (None, [])
    assert decoder.decode(record({"x": {}})).on is None


@pytest.mark.parametrize(
    "ts",
    [
        "2024-02-29T12:00:00Z",
        "2024-05-01t12:00:00z",
        "1990-12-31T23:59:60Z",
        "1937-01-01T12:00:27.87+00:20",
        "0001-01-01T00:00:00-23:59",
        "9999-12-31T23:59:59.9999999999Z",
        0,
        -62_135_596_800_000,
        253_402_300_799_999,
    ],
)
def test_ts_is_handed_through(ts: str | int) -> None:
    assert Decoder().decode(record({"x": {}, "ts": ts})).ts == ts


def test_ts_as_a_whole_float_becomes_an_integer() -> None:
    ts = Decoder().decode(record(b'{"x": {}, "ts": 1.7e12}')).ts
    assert ts == 1_700_000_000_000
    assert type(ts) is int


def test_array_of_numbers_becomes_a_row_over_the_shared_names() -> None:
    decoder = Decoder(names=["b", "a", "c", "d"])
    first = decoder.decode(record({"x": [1, None, 2.5, True]})).x
    second = decoder.decode(record({"x": [0, 0, 0, 0]})).x
    assert isinstance(first, Row)
    assert isinstance(second, Row)
    assert first.names == ("b", "a", "c", "d")
    assert first.names is second.names
    np.testing.assert_array_equal(first.values, [1.0, math.nan, 2.5, 1.0])


def test_mixed_array_becomes_a_mapping_with_null_as_missing() -> None:
    decoder = Decoder(names=["a", "b", "c"])
    x = decoder.decode(record({"x": ["red", None, ["s", "t"]]})).x
    assert x == {"a": "red", "b": None, "c": ["s", "t"]}


def test_array_of_another_length_or_with_a_bad_value_is_refused() -> None:
    decoder = Decoder(names=["a", "b"])
    assert refused(decoder, {"x": [1]}).kind == "x-length"
    assert refused(decoder, {"x": [1, 2, 3]}).kind == "x-length"
    assert refused(decoder, {"x": []}).kind == "x-length"
    fault = refused(decoder, {"x": [1, {}]})
    assert fault.kind == "feature-value"
    assert str(fault).startswith("x of b: found an object of 0")


def test_names_declared_twice_are_a_usage_error() -> None:
    with pytest.raises(UsageError, match="'a' is declared twice"):
        Decoder(names=["a", "b", "a"])


def test_strict_names_the_unknown_field() -> None:
    fault = refused(Decoder(strict=True), {"x": {}, "colour": 1})
    assert fault.kind == "unknown-field"
    assert str(fault).startswith("colour: an unknown field")
    assert Decoder(strict=True).decode(record({"id": 1, "x": {}, "y": [], "ts": 5})).id == 1


def test_of_a_name_that_stands_twice_the_last_value_counts() -> None:
    event = Decoder().decode(record(b'{"x": {"a": 1, "a": 2}, "y": ["b"], "y": ["c"]}'))
    assert event.x == {"a": 2}
    assert event.on == ["c"]


def test_size_counts_value_and_key_and_the_bound_is_accepted() -> None:
    value = b'{"x": {}}'
    decoder = Decoder(max_event_bytes=len(value) + 3)
    assert decoder.decode(Record(value, "t", 0, 0, key=b"key")).on is None
    with pytest.raises(MalformedEventError) as caught:
        decoder.decode(Record(value, "t", 0, 0, key=b"keys"))
    assert caught.value.kind == "oversized"
    with pytest.raises(UsageError, match="max_event_bytes"):
        Decoder(max_event_bytes=0)


def test_size_is_looked_at_before_parsing() -> None:
    assert refused(Decoder(max_event_bytes=10), b"not JSON at all").kind == "oversized"


def test_an_event_of_a_source_passes_and_a_fault_of_a_source_is_raised() -> None:
    event = Event(1, {"a": 2.0})
    assert Decoder().decode(Record(event, "s", 0, 0)) is event
    fault = MalformedEventError("read", "bad-row", "line 3: found 2 values, accepted: 3")
    with pytest.raises(MalformedEventError) as caught:
        Decoder().decode(Record(b'{"x": {}}', "s", 0, 0, fault=fault))
    assert caught.value is fault


def test_an_ignored_field_may_be_nested_as_deep_as_json_allows() -> None:
    value = b'{"x": {}, "more": ' + b"[" * 1_000 + b"]" * 1_000 + b"}"
    assert Decoder().decode(record(value)).on is None


names = st.text(max_size=3) | st.sampled_from(["a", "b", "c"])
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
objects = st.dictionaries(
    names, numbers | st.sampled_from([True, None, "1.5", "red", ["a", "b"]]), max_size=5
) | st.dictionaries(names, numbers, max_size=5)


@given(st.lists(objects | st.just({"b": 1.0, "a": -0.5, "c": 0}), min_size=1, max_size=6))
def test_an_object_means_the_same_whether_it_comes_as_a_row_or_a_mapping(
    xs: list[dict[str, Any]],
) -> None:
    # Each object twice, so that the second of them comes as a row if it may.
    raw = [record({"x": x, "y": []}) for x in xs for _ in range(2)]
    shared = Decoder()
    events = [shared.decode(r) for r in raw]
    for event, x in zip(events[1::2], xs, strict=True):
        plain = all(type(value) in (int, float, bool) for value in x.values())
        assert isinstance(event.x, Row) == plain
    found = Encoder(max_features=8).encode(events)
    expected = Encoder(max_features=8).encode(
        Event(0, orjson.loads(r.value)["x"], on=[]) for r in raw if isinstance(r.value, bytes)
    )
    np.testing.assert_array_equal(found.indptr, expected.indptr)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.values, expected.values)


@given(st.lists(numbers, min_size=3, max_size=3))
def test_an_array_means_the_same_as_an_object_of_all_names(values: list[float]) -> None:
    declared = ["b", "c", "a"]
    row = Decoder(names=declared).decode(record({"x": values})).x
    found = Encoder().encode([Event(0, row)])
    expected = Encoder().encode([Event(0, dict(zip(declared, values, strict=True)))])
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.values, expected.values)


def check_event_or_fault(decoder: Decoder, value: bytes) -> None:
    """An event that the encoder takes, or a fault of the table; anything else fails the test."""
    fault: MalformedEventError | None = None
    try:
        Encoder().add(decoder.decode(record(value)))
    except MalformedEventError as error:
        fault = error
    assert fault is None or (KINDS[fault.kind].stage == fault.stage and str(fault).isprintable())


@given(st.binary(max_size=40))
def test_random_bytes_are_an_event_or_malformed(value: bytes) -> None:
    check_event_or_fault(Decoder(names=["a"]), value)


@given(st.data())
def test_a_good_event_with_bytes_changed_is_an_event_or_malformed(data: st.DataObject) -> None:
    value = bytearray(data.draw(st.sampled_from(GOOD)))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(value)))
        stop = min(len(value), start + data.draw(st.integers(0, 3)))
        piece = data.draw(
            st.binary(max_size=2) | st.sampled_from([b"null", b"1e999", b"{}", b"[", b'"', b","])
        )
        value[start:stop] = piece
    check_event_or_fault(Decoder(names=["a"]), bytes(value))


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {"x": json_values},
        optional={"id": json_values, "y": json_values, "ts": json_values, "more": json_values},
    ),
    st.booleans(),
)
def test_any_json_in_any_field_is_an_event_or_malformed(body: dict[str, Any], strict: bool) -> None:
    check_event_or_fault(Decoder(names=["a"], strict=strict), json.dumps(body).encode())


def test_the_benchmark_measures_both_sides() -> None:
    records = yeast_records(limit=20)
    figures = measure(records, rounds=2)
    assert figures["events"] == len(records) == 20
    assert figures["loads_us"] > 0
    assert figures["decode_us"] > figures["loads_us"]
