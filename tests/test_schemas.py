from __future__ import annotations

from typing import Any

import jsonschema_rs
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer.connectors.base import Record
from ihomer.errors import MalformedEventError, UsageError
from ihomer.instances import LabelEvent
from ihomer.stream.decode import MAX_EPOCH_MS, MIN_EPOCH_MS, Decoder
from ihomer.stream.schemas import NAMES, load_schema
from tests.malformed import CATALOGUE, GOOD

# What a schema cannot say; test_decode.py tries these apart.
BEYOND_SCHEMA = {"ts-calendar", "x-length", "x-undeclared", "oversized", "id-precision"}
DECLARED = ("a", "b", "c")

SCHEMAS = {
    False: jsonschema_rs.validator_for(load_schema("event")),
    True: jsonschema_rs.validator_for(load_schema("event.strict")),
}


def fault_kind(raw: bytes, strict: bool) -> str | None:
    try:
        Decoder(DECLARED, strict).decode(Record(raw, "t", 0, 0))
    except MalformedEventError as fault:
        return fault.kind
    return None


def check_equal(raw: bytes) -> None:
    body = orjson.loads(raw)
    for strict, schema in SCHEMAS.items():
        kind = fault_kind(raw, strict)
        if kind not in BEYOND_SCHEMA:
            assert schema.is_valid(body) == (kind is None), (kind, strict)


@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_valid_json_schema_2020_12(name: str) -> None:
    schema = load_schema(name)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:ihomer:schema:{name}"
    jsonschema_rs.meta.validate(schema)


def test_the_strict_schema_is_the_other_one_without_other_fields() -> None:
    strict, plain = load_schema("event.strict"), load_schema("event")
    assert strict.pop("additionalProperties") is False
    for key in ("$id", "title"):
        del strict[key], plain[key]
    assert strict == plain


def test_an_unknown_schema_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"found 'events', accepted: event, event\.strict"):
        load_schema("events")


def test_the_catalogue_and_the_good_events_read_the_same() -> None:
    no_json = {"tombstone", "oversized", "empty", "wire-format", "not-utf-8", "not-json"}
    for case in CATALOGUE:
        if case.kind not in no_json:
            assert case.value is not None
            check_equal(case.value)
    for good in GOOD:
        assert SCHEMAS[False].is_valid(orjson.loads(good))
        check_equal(good)


LATE = (
    ({"id": 1, "y": []}, True),
    ({"id": "e", "y": {"p": True, "q": False}, "ts": 5, "more": None}, True),
    ({"id": "", "y": ["p"]}, False),
    ({"id": 1, "y": [""]}, False),
    ({"id": 1, "y": None}, False),
    ({"id": 1}, False),
    ({"y": ["p"]}, False),
    ({"id": 1, "y": ["p"], "ts": 0.5}, False),
    ({"id": 2**63, "y": {"p": 1}}, False),
)


@pytest.mark.parametrize(("body", "valid"), LATE)
def test_late_labels_are_what_their_schema_says(body: Any, valid: bool) -> None:
    schema = jsonschema_rs.validator_for(load_schema("late-labels"))
    record = Record(orjson.dumps(body), "t", 0, 0)
    assert schema.is_valid(body) == valid
    if valid:
        found = Decoder().decode_any(record)
        assert isinstance(found, LabelEvent)
        assert found.id == body["id"]
    else:
        with pytest.raises(MalformedEventError):
            Decoder().decode_any(record)
    assert not schema.is_valid({**body, "x": {}})
    with pytest.raises(MalformedEventError):  # where labels do not come late
        Decoder().decode(record)


# Each pair stands just inside and just outside of one rule.
EDGES: tuple[tuple[Any, Any], ...] = (
    ({"x": {}}, {}),
    ({"x": {}}, [{"x": {}}]),
    ({"x": {}, "id": "i" * 1_024}, {"x": {}, "id": "i" * 1_025}),
    ({"x": {}, "id": "😀" * 1_024}, {"x": {}, "id": "😀" * 1_025}),
    ({"x": {}, "id": "i"}, {"x": {}, "id": ""}),
    ({"x": {}, "id": 1.0}, {"x": {}, "id": 1.5}),
    ({"x": {}, "id": 1}, {"x": {}, "id": True}),
    ({"x": {}}, {"x": {}, "id": None}),
    ({"x": {}, "id": 2**63 - 1}, {"x": {}, "id": 2**63}),
    ({"x": {}, "id": -(2**63)}, {"x": {}, "id": -1e19}),
    ({"x": {"a": None}}, {"x": {"a": {}}}),
    ({"x": {"a": []}}, {"x": {"a": [None]}}),
    ({"x": {"a": ["b"]}}, {"x": {"a": ["b", 1]}}),
    ({"x": {"": 1}}, {"x": {"": [[]]}}),
    ({"x": [1, None, ["s"]]}, {"x": [1, None, [0]]}),
    ({"x": ["s", True, 1.5]}, {"x": ["s", True, {}]}),
    ({"x": {}}, {"x": None}),
    ({"x": {}, "y": []}, {"x": {}, "y": 0}),
    ({"x": {}, "y": None}, {"x": {}, "y": False}),
    ({"x": {}, "y": {}}, {"x": {}, "y": ""}),
    ({"x": {}, "y": ["l" * 1_024]}, {"x": {}, "y": ["l" * 1_025]}),
    ({"x": {}, "y": ["l", "l"]}, {"x": {}, "y": ["l", ""]}),
    ({"x": {}, "y": ["l"]}, {"x": {}, "y": [None]}),
    ({"x": {}, "y": {"l" * 1_024: True}}, {"x": {}, "y": {"l" * 1_025: True}}),
    ({"x": {}, "y": {"l": False}}, {"x": {}, "y": {"": False}}),
    ({"x": {}, "y": {"l": False}}, {"x": {}, "y": {"l": 0}}),
    ({"x": {}, "y": {"l": True}}, {"x": {}, "y": {"l": None}}),
    ({"x": {}}, {"x": {}, "ts": None}),
    ({"x": {}, "ts": MIN_EPOCH_MS}, {"x": {}, "ts": MIN_EPOCH_MS - 1}),
    ({"x": {}, "ts": MAX_EPOCH_MS}, {"x": {}, "ts": MAX_EPOCH_MS + 1}),
    ({"x": {}, "ts": float(MAX_EPOCH_MS)}, {"x": {}, "ts": 0.5}),
    ({"x": {}, "ts": 0}, {"x": {}, "ts": False}),
)


@pytest.mark.parametrize(("inside", "outside"), EDGES)
def test_both_sides_of_each_rule(inside: Any, outside: Any) -> None:
    for body, valid in ((inside, True), (outside, False)):
        assert SCHEMAS[False].is_valid(body) == valid
        check_equal(orjson.dumps(body))


# Strategies that meet every rule from both sides ---------------------------------------------

edge_lengths = st.sampled_from([0, 1, 2, 1_023, 1_024, 1_025])
edge_texts = st.builds(
    lambda length, letter: letter * length, edge_lengths, st.sampled_from("né😀")
)
texts = st.text(max_size=3) | edge_texts
whole_floats = st.integers(-(2**53), 2**53).map(float)
integers = (
    st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from([0, -1, -(2**63), 2**63 - 1, 2**63, 2**64 - 1])
    | st.sampled_from([MIN_EPOCH_MS - 1, MIN_EPOCH_MS, MAX_EPOCH_MS, MAX_EPOCH_MS + 1])
)
numbers = integers | st.floats(allow_nan=False, allow_infinity=False) | whole_floats
scalars = st.none() | st.booleans() | numbers | texts
junk: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


def mostly(good: st.SearchStrategy[Any], other: st.SearchStrategy[Any] = junk) -> Any:
    return st.integers(0, 5).flatmap(lambda roll: other if roll == 0 else good)


values = mostly(scalars | st.lists(mostly(texts), max_size=3))
labels = mostly(st.text(min_size=1, max_size=3) | edge_texts)
label_names = st.text(min_size=1, max_size=3) | edge_texts
TIME_PARTS: tuple[tuple[list[str], list[str]], ...] = (  # good ones, bad ones
    (["0001", "1999", "2024", "9999"], ["", "24", "02024", "-001", "２０２４"]),
    (["-"], ["", ":"]),
    (["01", "09", "10", "12"], ["00", "13", "1", "20"]),
    (["-"], ["", "/"]),
    (["01", "19", "28"], ["00", "32", "40", "1"]),
    (["T", "t"], [" ", "", "_"]),
    (["00", "19", "23"], ["24", "30", "1"]),
    ([":"], ["", "."]),
    (["00", "59"], ["60", "1"]),
    ([":"], ["", "."]),
    (["00", "59", "60"], ["61", "1", ""]),
    (["", ".0", "." + "7" * 43], [".", ",5", ".5x", "." + "7" * 44]),
    (["Z", "z", "+00:00", "-23:59"], ["", "+24:00", "+05:60", "+0530", "+5:30", "Z\n", " Z", "ZZ"]),
)


@st.composite
def date_times(draw: st.DrawFn) -> str:
    """A date-time; half of them have one bad part."""
    bad = draw(st.none() | st.integers(0, len(TIME_PARTS) - 1))
    return "".join(
        draw(st.sampled_from(TIME_PARTS[i][1 if i == bad else 0])) for i in range(len(TIME_PARTS))
    )


@st.composite
def mutated_date_times(draw: st.DrawFn) -> str:
    text = draw(date_times())
    at = draw(st.integers(0, len(text)))
    piece = draw(st.sampled_from(["", "0", "3", "٣", "\n", "-", "Z", " "]))
    return text[:at] + piece + text[at + draw(st.integers(0, 1)) :]


events = mostly(
    st.fixed_dictionaries(
        {},
        optional={
            "id": mostly(st.text(min_size=1, max_size=3) | edge_texts | integers | whole_floats),
            "y": mostly(
                st.lists(labels, max_size=3)
                | st.dictionaries(label_names, mostly(st.booleans()), max_size=3)
                | st.none()
            ),
            "ts": mostly(date_times() | mutated_date_times() | integers | whole_floats),
        },
    ).flatmap(
        lambda body: mostly(
            st.dictionaries(texts, values, max_size=4) | st.lists(values, min_size=3, max_size=3)
        ).map(lambda x: body | {"x": x})
    )
)
others = st.dictionaries(st.sampled_from(["X", "labels", "", "id "]), junk, max_size=1)


@settings(max_examples=400)
@given(events, others)
def test_the_fast_validator_and_the_schemas_are_equal(event: Any, other: dict[str, Any]) -> None:
    check_equal(orjson.dumps(event | other if isinstance(event, dict) else event))


@settings(max_examples=300)
@given(date_times() | mutated_date_times())
def test_times_are_equal(ts: str) -> None:
    check_equal(orjson.dumps({"x": {}, "ts": ts}))


@pytest.mark.parametrize("kind", sorted(BEYOND_SCHEMA - {"oversized", "x-undeclared"}))
def test_the_schema_accepts_what_only_the_decoder_can_refuse(kind: str) -> None:
    bodies: dict[str, bytes] = {
        "ts-calendar": b'{"x": {}, "ts": "2024-02-30T00:00:00Z"}',
        "x-length": b'{"x": [1, 2]}',
        "id-precision": b'{"x": {}, "id": 1e16}',
    }
    assert fault_kind(bodies[kind], strict=False) == kind
    assert SCHEMAS[True].is_valid(orjson.loads(bodies[kind]))
