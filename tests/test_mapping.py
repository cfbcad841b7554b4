"""The mapping: held against its slow twin, and to what is promised of any JSON."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.mapping import FLAT, NESTED, measure, yeast_elsewhere
from ihomer.connectors.base import Record
from ihomer.errors import MalformedEventError, UsageError
from ihomer.instances import Encoder, Event, LabelEvent, Row
from ihomer.stream.decode import KINDS, Decoder
from ihomer.stream.mapping.decoder import MappedDecoder, decoder_of
from ihomer.stream.mapping.fields import MAX_DEPTH
from ihomer.stream.mapping.text import TextOptions, WordMemory, Words, tokens
from ihomer.stream.mapping.trial import members
from ihomer.stream.settings import Settings
from tests.mutations import MAX_EVENT_BYTES, MUTATIONS, mutated
from tests.naive_mapping import Mapped, Refused, naive, naive_bucket

_NAMES = ["id", "a", "b", "tags", "at", "c.d", "body", ""]
_TEXTS = st.sampled_from(
    [
        *("", "red", "Red, blue", "1.5", " 2 ", "1_0", "N/A", "nan", "true", "yes", "0", "NULL"),
        *("2024-02-29T23:59:00Z", "2024-02-29 12:30", "2023-02-29", "2024-02-29T12:00:00+02:00"),
        *("1700000000", "1700000000.5", "the cat\u0301 the Cat_2", "ÀÉ ÀÉ x", "a|b||a", "-"),
        "Bigram one Bigram",
    ]
)
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.floats(-1e6, 1e6, width=32),
    _TEXTS,
)
_VALUES = st.recursive(
    st.one_of(
        _SCALARS,
        st.lists(_TEXTS, max_size=3),
        st.lists(_SCALARS, max_size=3),
        st.lists(st.floats(-1e6, 1e6, width=32) | st.none(), max_size=3),
    ),
    lambda inner: st.dictionaries(st.sampled_from(_NAMES), inner, max_size=4),
    max_leaves=6,
)
_OBJECTS = st.dictionaries(st.sampled_from(_NAMES), _VALUES, max_size=6)
_KINDS = st.sampled_from(["text", "nominal", "numeric", "time", "set", "ignore"])
_FIELDS = st.sampled_from(["a", "b", "a.b", "a.b.a", "c.d", "body", "at", "", "$key", "$header.h"])


@st.composite
def settings_of(draw: st.DrawFn) -> Settings:
    """A mapping; its labels are no feature."""
    labels = draw(st.sampled_from([[], ["$.tags"], ["$.tags", "$.b"], ["$.a.tags"]]))
    named = {path.removeprefix("$.") for path in labels}
    fields: dict[str, Any] = draw(st.dictionaries(_FIELDS, _KINDS, max_size=4))
    return Settings(
        mapping_id=draw(st.sampled_from([None, "$.id", "$.a.id", "$key", "$timestamp"])),
        mapping_labels=labels,
        mapping_labels_as=draw(st.sampled_from(["names", "columns"])),
        mapping_labels_separator=draw(st.sampled_from(["", ","])),
        mapping_labels_unknown=draw(st.sampled_from(["", "-", "N/A"])),
        mapping_time=draw(st.sampled_from([None, "$.at", "$timestamp"])),
        mapping_time_unit=draw(st.sampled_from(["auto", "s", "ms"])),
        mapping_features=draw(st.sampled_from(["$", "$", "$.a"])),
        mapping_default=draw(st.sampled_from(["auto", "auto", "ignore", "nominal", "numeric"])),
        mapping_fields={name: kind for name, kind in fields.items() if name not in named},
        mapping_separators=draw(st.sampled_from([{}, {"a": "|", "b": ","}])),
        mapping_text_bits=draw(st.sampled_from([2, 18])),
        mapping_text_bigrams=draw(st.booleans()),
        mapping_text_lower=draw(st.booleans()),
        mapping_text_weight=draw(st.sampled_from(["log", "count", "binary", "l2"])),
        mapping_text_seed=draw(st.sampled_from([0, 7])),
    )


def _record(value: Any, **around: Any) -> Record:
    return Record(value, "t", 0, 5, **around)


def _simple(found: Event | LabelEvent) -> Mapped:
    """What a decoder gave, in the twin's form."""
    x: dict[str, Any] = {}
    if isinstance(found, Event):
        x = {n: None if v != v else v for n, v in members(found.x).items()}
    on = None if found.on is None else frozenset(found.on)
    what = "event" if isinstance(found, Event) else "labels"
    return Mapped(what, found.id, x, on, frozenset(found.off), found.ts)


def _kind(fault: MalformedEventError) -> str:
    assert KINDS[fault.kind].stage == fault.stage
    assert str(fault).isprintable()
    return fault.kind


def _encoded(found: Mapped) -> str | None:
    """Why an encoder refuses it, or None."""
    try:
        Encoder().add(Event(found.id, found.x, list(found.on or ()) or None))
    except MalformedEventError as fault:
        return fault.kind
    return None


def _answer(decoder: Decoder, record: Record, *, late: bool) -> Mapped | str:
    try:
        return _simple(decoder.decode_any(record) if late else decoder.decode(record))
    except MalformedEventError as fault:
        return _kind(fault)


def _must_equal(found: Mapped | str, wanted: Any) -> None:
    if isinstance(wanted, Refused):
        assert isinstance(found, str), (found, wanted)
        assert found in wanted.kinds
        return
    assert isinstance(found, Mapped), (found, wanted)
    assert found._replace(x={}) == wanted._replace(x={})
    assert list(found.x) == list(wanted.x) or set(found.x) == set(wanted.x)
    for name, value in wanted.x.items():
        if isinstance(value, float) and not isinstance(found.x[name], str):
            assert found.x[name] == pytest.approx(value, abs=1e-8)
        else:
            assert found.x[name] == value


_AROUND = st.fixed_dictionaries(
    {
        "key": st.sampled_from([None, b"k-1", b"1.5"]),
        "headers": st.sampled_from([(), (("h", b"one"), ("h", b"2")), (("g", b""),)]),
        "timestamp": st.sampled_from([None, 1_700_000_000_000]),
    }
)


@given(
    settings=settings_of(),
    stream=st.lists(st.tuples(_OBJECTS, _AROUND), min_size=1, max_size=6),
    late=st.booleans(),
    table=st.booleans(),
)
def test_it_is_its_slow_twin_whatever_came_before(
    settings: Settings,
    stream: list[tuple[dict[str, Any], dict[str, Any]]],
    late: bool,
    table: bool,
) -> None:
    if not settings.mapped:
        return
    decoder = decoder_of(settings)
    for data, around in [*stream, *stream]:  # again, with what the decoder has remembered
        value = data if table else orjson.dumps(data)
        record = _record(value, **around)
        _must_equal(_answer(decoder, record, late=late), naive(settings, data, record, late=late))


_NUMBERS = st.dictionaries(
    st.sampled_from(["u", "v", "v.0", "w", "z"]),
    st.one_of(
        st.integers(-9, 9),
        st.floats(-1, 1),
        st.none(),
        st.booleans(),
        _TEXTS,
        st.lists(st.floats(-1, 1) | st.none(), max_size=2),
        st.lists(st.just("1.5"), max_size=2),
    ),
    min_size=1,
)


@given(
    stream=st.lists(st.fixed_dictionaries({"n": _NUMBERS, "m": _NUMBERS, "k": st.just("k")})),
    kind=st.sampled_from(["numeric", "auto"]),
)
@example(stream=[{"n": {"u": 1}, "m": {}, "k": "k"}] * 2, kind="numeric")
@example(stream=[{"n": {"v": [1.5, 2], "v.0": 3}, "m": {}, "k": "k"}] * 2, kind="auto")
@example(stream=[{"n": {"v": [1, 2]}, "m": {}}, {"n": {"v": [1]}, "m": {}}] * 2, kind="auto")
@example(stream=[{"n": {"u": "1"}, "m": {}, "k": ""}, {"n": {"u": "1_0"}, "m": {}}], kind="numeric")
def test_shapes_of_numbers_are_remembered_and_change_nothing(
    stream: list[dict[str, Any]], kind: Any
) -> None:
    settings = Settings(mapping_default=kind, mapping_fields={"k": "ignore"})
    decoder = decoder_of(settings)
    for data in [each for each in stream for _ in range(2)]:
        record = _record(orjson.dumps(data))
        _must_equal(_answer(decoder, record, late=False), naive(settings, data, record, late=False))


def test_a_shape_does_not_hide_a_field_below_one_that_was_ignored() -> None:
    settings = Settings(mapping_fields={"a": "ignore", "a.b": "numeric"})
    decoder = decoder_of(settings)
    for _ in range(2):
        assert members(decoder.decode(_record(b'{"a": 5, "n": 1}')).x) == {"n": 1}
    assert members(decoder.decode(_record(b'{"a": {"b": 3}, "n": 1}')).x) == {"a.b": 3, "n": 1}


def test_numbers_come_as_rows_from_the_second_on() -> None:
    decoder = decoder_of(Settings(mapping_id="$.meta.id", mapping_labels=["$.meta.tags"]))
    value = b'{"meta": {"id": 1, "tags": ["t"]}, "p": {"a": 1, "b": true}, "q": {"c": 2.5}}'
    decoder.decode(_record(value))
    first, second = (decoder.decode(_record(value)).x for _ in range(2))
    assert isinstance(first, Row)
    assert isinstance(second, Row)
    assert first.names is second.names
    assert members(first) == {"p.a": 1.0, "p.b": 1.0, "q.c": 2.5}
    missing = decoder.decode(_record(value.replace(b"2.5", b"null"))).x
    assert isinstance(missing, Row)
    assert math.isnan(missing.values[-1])


def test_lists_of_numbers_come_as_rows_whatever_stands_beside_them() -> None:
    """An embedding of 768 is packed as other numbers are."""
    decoder = decoder_of(Settings(mapping_id="$.id", mapping_default="numeric"))
    wanted = np.linspace(-1.0, 1.0, 768)
    body = {"id": 1, "a": 3, "doc": {"vec": wanted.tolist(), "pages": 2}}
    decoder.decode(_record(orjson.dumps(body)))
    x = decoder.decode(_record(orjson.dumps(body))).x
    assert isinstance(x, Row)
    found = members(x)
    assert [found[f"doc.vec.{place}"] for place in range(768)] == wanted.tolist()
    assert (found["a"], found["doc.pages"], len(found)) == (3, 2, 770)
    body["doc"]["vec"] = [0.5, None]  # type: ignore[index]  # it is an object
    shorter = members(decoder.decode(_record(orjson.dumps(body))).x)
    assert (shorter["doc.vec.0"], shorter["doc.vec.1"], len(shorter)) == (0.5, None, 4)


@pytest.mark.parametrize("late", [False, True])
def test_a_list_of_nothing_but_null_is_no_value(late: bool) -> None:
    """Remembered or not: labels alone, where labels may come late."""
    decoder = decoder_of(Settings(mapping_id="$.id", mapping_labels=["$.y"]))
    record = _record(b'{"id": 1, "y": ["l"], "vec": [null, null], "a": null}')
    for _ in range(2):
        found = decoder.decode_any(record) if late else decoder.decode(record)
        assert isinstance(found, LabelEvent if late else Event)
        decoder.decode(_record(b'{"id": 1, "y": ["l"], "vec": [1, 2], "a": 1}'))


def test_a_number_of_a_list_that_is_not_finite_is_refused() -> None:
    """JSON has none; a table may."""
    decoder, encoder = decoder_of(Settings(mapping_default="numeric")), Encoder()
    for _ in range(2):  # as a dictionary, and as a row
        event = decoder.decode(_record({"vec": [1.0, math.inf], "a": 1}))
        with pytest.raises(MalformedEventError, match=r"^x\.vec\.1: found inf") as caught:
            encoder.add(event)
        assert caught.value.kind == "feature-value"


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
_MAPPINGS = [
    Settings(
        mapping_id="$.id", mapping_labels=["$.y"], mapping_time="$.ts", mapping_features="$.x"
    ),
    Settings(mapping_labels=["$.y"], mapping_default="text", mapping_id="$key"),
    Settings(mapping_labels=["$.y", "$.x"], mapping_labels_as="columns", mapping_default="time"),
    Settings(mapping_labels=["$.y[*].name"], mapping_default="numeric", mapping_time="$.x"),
    Settings(
        mapping_default="set", mapping_labels=["$.y"], mapping_labels_separator=" ", strict=True
    ),
]


@given(value=_JSON, chosen=st.sampled_from(_MAPPINGS), late=st.booleans(), table=st.booleans())
def test_any_json_is_an_event_or_malformed(
    value: Any, chosen: Settings, late: bool, table: bool
) -> None:
    members_of_it = value if isinstance(value, dict) else {"x": value, "y": value, "id": value}
    raw: Any = members_of_it
    if not table:
        try:
            raw = orjson.dumps(members_of_it)
        except orjson.JSONEncodeError:
            return  # an integer that JSON's readers do not take, or half a character
    decoder = decoder_of(chosen)
    answers = []
    for _ in range(2):
        answers.append(_answer(decoder, _record(raw, key=b"k"), late=late))
        found = answers[-1]
        if isinstance(found, Mapped) and found.what == "event":
            assert _encoded(found) in (None, "feature-value", "too-many-labels")
    assert answers[0] == answers[1]


def test_broken_events_among_good_ones_change_nothing() -> None:
    settings = Settings(
        mapping_id="$.id",
        mapping_labels=["$.y"],
        mapping_time="$.ts",
        mapping_features="$.x",
        mapping_default="numeric",
        max_event_bytes=MAX_EVENT_BYTES,
    )
    decoder, alone = decoder_of(settings), decoder_of(settings)
    refused = set()
    for sent in mutated(10 * len(MUTATIONS)):
        answer = _answer(decoder, _record(sent.value), late=False)
        if sent.mutation is None:
            assert answer == _answer(alone, _record(sent.value), late=False)
        elif isinstance(answer, str):
            refused.add(answer)
    assert {"not-json", "features-absent", "id-type", "label-form", "time-value"} <= refused
    assert {"field-value", "label-type", "label-value", "oversized", "tombstone"} <= refused


def test_objects_in_objects_have_an_end() -> None:
    decoder = decoder_of(Settings(mapping_default="numeric"))
    for depth, kind in ((MAX_DEPTH, None), (MAX_DEPTH + 1, "too-deep"), (900, "too-deep")):
        value = b'{"a":' * (depth + 1) + b"1" + b"}" * (depth + 1)
        answer = _answer(decoder, _record(value), late=False)
        assert (answer if isinstance(answer, str) else None) == kind


@pytest.mark.parametrize(
    ("mapping", "value", "kind", "says"),
    [
        ({"mapping_id": "$.id"}, {"a": 1}, "id-absent", "$.id: found nothing, accepted: the event"),
        ({"mapping_id": "$.id"}, {"id": None, "a": 1}, "id-absent", "$.id: found null"),
        ({"mapping_id": "$.id"}, {"id": [1], "a": 1}, "id-type", "id: found an array of 1"),
        ({"mapping_id": "$key"}, {"a": 1}, "id-absent", "$key: found nothing"),
        (
            {"mapping_default": "numeric"},
            {"a": "red"},
            "field-value",
            "a: found 'red', accepted: a",
        ),
        (
            {"mapping_default": "numeric"},
            {"a": [1, None, "red"]},
            "field-value",
            "a: found 'red' as item 2 of a list, accepted: numbers only (kind numeric)",
        ),
        (
            {"mapping_default": "numeric"},
            {"a": [[1]]},
            "field-value",
            "an array of 1 as item 0",
        ),
        (
            {"mapping_default": "numeric"},
            {"a": [0.5] * 8193},
            "field-value",
            "a: found a list of 8,193, accepted: at most 8,192 numbers (kind numeric)",
        ),
        ({"mapping_labels": "$.y"}, {"a": [0] * 8193}, "field-value", "at most 8,192 numbers"),
        (
            {"mapping_labels": "$.y"},
            {"a": [1, "b"]},
            "field-value",
            "a list with 'b' as item 1",
        ),
        (
            {"mapping_labels": "$.y"},
            {"a": ["b", 1]},
            "field-value",
            "a list with 1 as item 1",
        ),
        ({"mapping_default": "nominal"}, {"a": ["b"]}, "field-value", "(kind nominal)"),
        ({"mapping_default": "text"}, {"a": {"b": 3}}, "field-value", "a.b: found 3, accepted: te"),
        ({"mapping_default": "set"}, {"a": ["b", None]}, "field-value", "a list with null"),
        (
            {"mapping_default": "time"},
            {"a": "soon"},
            "field-value",
            "a: found 'soon', accepted: a t",
        ),
        ({"mapping_labels": "$.y"}, {"a": [{}]}, "field-value", '"ignore" among them'),
        ({"mapping_time": "$.t"}, {"t": "later", "a": 1}, "time-value", "$.t: found 'later', acc"),
        ({"mapping_time": "$.t"}, {"t": 1e300, "a": 1}, "time-value", "$.t: found 1e+300"),
        ({"mapping_labels": "$.y"}, {"y": 3, "a": 1}, "label-form", "$.y: found 3, accepted: a li"),
        ({"mapping_labels": "$.y"}, {"y": [None], "a": 1}, "label-type", "found null as item 0"),
        (
            {"mapping_labels": "$.y[*].n"},
            {"y": [{}], "a": 1},
            "label-type",
            "found nothing as item",
        ),
        ({"mapping_labels": "$.y"}, {"y": ["a", ""], "a": 1}, "label-length", "'' as item 1"),
        ({"mapping_labels": "$.y"}, {"y": {"l": 2}, "a": 1}, "label-value", "found 2 for 'l'"),
        ({"mapping_labels": "$.y"}, {"y": ["l"]}, "features-absent", "features: found none of"),
        (
            {"mapping_features": "$.x"},
            {"x": 3},
            "features-absent",
            "features: found 3, accepted: a",
        ),
        (
            {"mapping_fields": {"a": "text"}, "strict": True},
            {"b": 1},
            "unknown-field",
            "b: a field",
        ),
    ],
)
def test_what_is_wrong_is_said(
    mapping: dict[str, Any], value: dict[str, Any], kind: str, says: str
) -> None:
    decoder = MappedDecoder(Settings(**mapping))
    with pytest.raises(MalformedEventError) as caught:
        decoder.decode(_record(orjson.dumps(value)))
    assert caught.value.kind == kind
    assert says in str(caught.value)
    assert KINDS[kind].stage == caught.value.stage


@pytest.mark.parametrize(
    "tags", [["b", "a"], ["a", 1], ["1"], [1], ["a", True], ["a", ["b"]], [{}], ["a", ""], [], "a"]
)
def test_labels_that_have_been_seen_are_checked_as_others_are(tags: Any) -> None:
    record = Record(orjson.dumps({"key": "1", "n": 1.0, "tags": tags}), "s", 0, 0)
    decoders = [decoder_of(FLAT) for _ in range(2)]
    for seen in (["a", "b"], [1]):
        decoders[0].decode(Record(orjson.dumps({"key": "0", "n": 1, "tags": seen}), "s", 0, 0))
    one, other = (_answer(decoder, record, late=False) for decoder in decoders)
    assert one == other


@pytest.mark.parametrize("other", [["a", "b"], [], "ab", 7, None, {"a": 1}, {"a": 1, "b": "x"}])
def test_what_stands_where_an_object_was_is_not_taken_for_one(other: Any) -> None:
    body = {"meta": {"key": "1", "tags": ["t"]}, "one": {"a": 1.0, "b": 2.0}, "two": {"c": 3.0}}
    changed = [body | {name: other} for name in ("meta", "one", "two")]
    changed.append({**body, "two": {"c": 4.0}})
    decoder = decoder_of(NESTED)
    for each in changed:
        for _ in range(3):
            decoder.decode(Record(orjson.dumps(body), "s", 0, 0))
        record = Record(orjson.dumps(each), "s", 0, 0)
        assert _answer(decoder, record, late=False) == _answer(
            decoder_of(NESTED), record, late=False
        )


def test_a_column_without_a_name_is_no_label() -> None:
    settings = Settings(mapping_labels=['$[""]', "$.b"], mapping_labels_as="columns")
    with pytest.raises(UsageError, match="mapping_labels: found '' as the last name in a path"):
        decoder_of(settings)


def test_keys_and_headers_have_to_be_text() -> None:
    decoder = decoder_of(Settings(mapping_fields={"$header.team": "nominal"}, mapping_id="$key"))
    event = decoder.decode(
        _record(b'{"a": 1}', key=b"k\xc3\xa4", headers=(("team", b"x"), ("team", b"y")))
    )
    assert (event.id, members(event.x)) == ("kä", {"$header.team": "y", "a": 1})
    for around in ({"key": b"\xff"}, {"key": b"k", "headers": (("team", b"\xff"),)}):
        with pytest.raises(MalformedEventError, match="is no UTF-8") as caught:
            decoder.decode(_record(b'{"a": 1}', **around))
        assert caught.value.kind == "key-text"


def test_rows_of_tables_are_read_by_a_mapping_only() -> None:
    row: Mapping[str, Any] = {
        "number": "12", "size": "1.5", "none": "", "colour": "red", "tags": "a;b", "who": None,
        "at": datetime(2024, 5, 1, 12, 30),  # noqa: DTZ001 (as many tables have it)
        "price": Decimal("2.5"), "day": date(2024, 5, 2),
    }  # fmt: skip
    with pytest.raises(UsageError, match=r"^t: found a table's row .*ihomer config infer SOURCE"):
        Decoder().decode(_record(row))
    settings = Settings(
        mapping_id="$.number",
        mapping_labels=["$.tags"],
        mapping_labels_separator=";",
        mapping_time="$.at",
        mapping_fields={"size": "numeric", "none": "numeric", "price": "numeric"},
    )
    event = decoder_of(settings).decode(_record(row))
    assert (event.id, event.on, event.ts) == ("12", ["a", "b"], "2024-05-01T12:30:00Z")
    x = members(event.x)
    assert math.isnan(x.pop("none"))
    assert x.pop("who") is None
    assert {name: x[name] for name in ("size", "colour", "price")} == {
        "size": 1.5,
        "colour": "red",
        "price": 2.5,
    }
    assert "at.hour.sin" not in x  # the event's time is a feature only if it is named
    assert x["day.hour.cos"] == 1.0


def test_a_table_of_texts_that_are_numbers_is_packed() -> None:
    settings = Settings(mapping_id="$.id", mapping_default="numeric")
    decoder = decoder_of(settings)
    rows = [{"id": str(i), "a": str(i), "b": "0.5"} for i in range(3)]
    found = [decoder.decode(_record(row)).x for row in rows]
    assert isinstance(found[2], Row)
    assert [members(x) for x in found] == [{"a": float(i), "b": 0.5} for i in range(3)]
    assert members(decoder.decode(_record(rows[0] | {"b": "n/a"})).x).keys() == {"a", "b"}


def test_labels_may_come_late() -> None:
    settings = Settings(mapping_id="$.id", mapping_labels=["$.tags"], late_labels=True)
    decoder = decoder_of(settings)
    alone = decoder.decode_any(_record(b'{"id": 7, "tags": ["a"], "body": null}'))
    assert alone == LabelEvent(7, ["a"])
    both = decoder.decode_any(_record(b'{"id": 7, "tags": ["a"], "body": "x"}'))
    assert isinstance(both, Event)
    neither = decoder.decode_any(_record(b'{"id": 7, "body": null}'))
    assert isinstance(neither, Event)
    with pytest.raises(MalformedEventError) as caught:
        decoder_of(Settings(mapping_labels=["$.tags"])).decode_any(_record(b'{"tags": ["a"]}'))
    assert caught.value.kind == "id-missing"


def test_the_same_word_is_the_same_feature_in_every_process() -> None:
    code = (
        "from ihomer.stream.mapping.text import Words, TextOptions\n"
        "print(Words('t', TextOptions(bigrams=True, seed=3)).features('Straße nach Köln, Straße'))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("0", "1")
    }
    assert len(found) == 1
    assert "t#" in found.pop()


@given(
    settings=settings_of(),
    body=_TEXTS | st.lists(_TEXTS, max_size=3) | st.none(),
    subject=st.sampled_from([b"one two", b"", None]),
)
def test_buckets_are_called_by_the_words_that_fall_in_them(
    settings: Settings, body: Any, subject: bytes | None
) -> None:
    fields: dict[str, Any] = {"a.body": "text", "$header.s": "text"}
    settings = settings.model_copy(
        update={"mapping_fields": fields, "mapping_features": "$", "mapping_labels": []}
    )
    decoder = MappedDecoder(settings)
    data = {"a": {"body": body, "b": "no text"}, "at": "2024-05-01"}
    headers = () if subject is None else (("s", subject),)
    found = decoder.called(_record(orjson.dumps(data), headers=headers))
    texts = {"a.body": "\n".join(body) if isinstance(body, list) else body or ""}
    texts["$header.s"] = (subject or b"").decode()
    wanted: dict[str, list[str]] = {}
    for name, text in texts.items():
        words = tokens(text, lower=settings.mapping_text_lower)
        pairs = [f"{a} {b}" for a, b in pairwise(words)] if settings.mapping_text_bigrams else []
        for said in dict.fromkeys([*words, *pairs]):
            bucket = naive_bucket(settings, name, said)
            wanted.setdefault(bucket, []).append(f'"{said}"')
        for bucket in [each for each in wanted if each.startswith(f"{name}#")]:
            more = len(wanted[bucket]) - 5
            shown = f"{name}: " + ", ".join(wanted[bucket][:5])
            assert found.pop(bucket) == shown + (f" and {more} more" if more > 0 else "")
    assert found == {}


def test_words_that_are_forgotten_come_again_as_they_were() -> None:
    text = " ".join(f"w{i % 40}" for i in range(100))
    small = Words("t", TextOptions(), WordMemory(8))
    wanted = Words("t", TextOptions()).features(text)
    assert small.features(text) == small.features(text) == wanted
    assert len(wanted) == 40


def test_many_names_do_not_stay() -> None:
    decoder = MappedDecoder(Settings(mapping_default="numeric"))
    for start in range(0, 200_000, 2_000):
        body = {f"n{start + i}": i for i in range(2_000)}
        assert len(members(decoder.decode(_record(body)).x)) == 2_000
    assert len(decoder._fields._root.inner) <= (1 << 16) + 2_000


def test_a_mapped_stream_is_learned_as_its_own_events_are() -> None:
    mapped = decoder_of(
        Settings(
            mapping_id="$.n", mapping_labels=["$.l"], mapping_features="$.f", mapping_time="$.w"
        )
    )
    own, encoders = Decoder(), (Encoder(), Encoder())
    for i in range(6):
        x = {"a": i, "b": [str(i % 2)], "c": "red" if i % 3 else None}
        theirs = {"n": i, "f": x, "l": ["p"] if i % 2 else [], "w": 1_700_000_000_000 + i}
        ours = {"id": i, "x": x, "y": theirs["l"], "ts": theirs["w"]}
        events = (
            mapped.decode(_record(orjson.dumps(theirs))),
            own.decode(_record(orjson.dumps(ours))),
        )
        assert (events[0].id, events[0].on, events[0].ts) == (i, events[1].on, events[1].ts)
        for encoder, event in zip(encoders, events, strict=True):
            encoder.add(event)
    first, second = (encoder.take() for encoder in encoders)
    assert np.array_equal(first.indices, second.indices)
    assert np.array_equal(first.values, second.values, equal_nan=True)


def test_what_it_costs_can_be_measured() -> None:
    found = measure(rounds=1, limit=20, n_texts=5)
    assert {"own", "flat", "nested", "texts", "rounds"} == set(found)
    assert found["nested"]["events"] == 20
    assert found["texts"]["per_second"] > 0
    assert 1_000 < found["texts"]["bytes"] < 2_500
    events = [decoder_of(FLAT).decode(record) for record in yeast_elsewhere(nested=False, limit=3)]
    deeper = [decoder_of(NESTED).decode(each) for each in yeast_elsewhere(nested=True, limit=3)]
    for one, other in zip(events, deeper, strict=True):
        assert (one.id, one.on, len(members(one.x))) == (other.id, other.on, 103)
        assert sorted(members(one.x).values()) == sorted(members(other.x).values())
