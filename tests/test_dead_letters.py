from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer import __version__
from ihomer.connectors.base import Message, Record, Sink
from ihomer.errors import InputError, MalformedEventError, UnavailableError
from ihomer.instances import Encoder, Event, Row, Value
from ihomer.stream.dead_letters import DeadLetters, dead_letter, place_by_line
from ihomer.stream.decode import KINDS, Decoder
from tests.malformed import CATALOGUE, GOOD

FAULT = MalformedEventError("schema", "x-type", "x: found 1, accepted: an object")


class ListSink(Sink):
    """Keeps messages and says what was called."""

    name = "list"

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.calls: list[str] = []

    def write(self, messages: Sequence[Message]) -> None:
        self.messages.extend(messages)

    def flush(self) -> None:
        self.calls.append("flush")

    def close(self) -> None:
        self.calls.append("close")


class RefusingSink(ListSink):
    """Takes nothing."""

    def write(self, messages: Sequence[Message]) -> None:
        raise UnavailableError("list: not there")


def test_a_letter_in_full() -> None:
    record = Record(b"\xff{", "tickets", 3, 1207, b"key", (("trace", b"\x01"),), 1_700_000_000_000)
    letter = dead_letter(record, FAULT, "1.2.3")
    assert letter == Message(
        value=b"\xff{",
        key=b"key",
        headers=(
            ("trace", b"\x01"),
            ("ihomer.errors.topic", b"tickets"),
            ("ihomer.errors.partition", b"3"),
            ("ihomer.errors.offset", b"1207"),
            ("ihomer.errors.stage", b"schema"),
            ("ihomer.errors.class", b"x-type"),
            ("ihomer.errors.message", b"x: found 1, accepted: an object"),
            ("ihomer.errors.version", b"1.2.3"),
        ),
        timestamp=1_700_000_000_000,
        origin=3,
    )


def test_every_malformed_event_is_kept_with_its_reason_and_no_good_one_is_lost() -> None:
    sink = ListSink()
    letters = DeadLetters(sink)
    decoder = Decoder()
    decoded = 0
    stream: list[bytes | None] = []
    for case in CATALOGUE:
        stream += [case.value, *GOOD]
    for offset, value in enumerate(stream):
        record = Record(value, "topic", 1, offset)
        try:
            decoder.decode(record)
            decoded += 1
        except MalformedEventError as fault:
            letters.put(record, fault)
    assert decoded == len(CATALOGUE) * len(GOOD)
    assert letters.counts.total() == len(CATALOGUE)
    for index, (case, letter) in enumerate(zip(CATALOGUE, sink.messages, strict=True)):
        headers = dict(letter.headers)
        assert headers["ihomer.errors.class"].decode() == case.kind
        assert headers["ihomer.errors.stage"].decode() == KINDS[case.kind].stage
        assert case.says in headers["ihomer.errors.message"].decode()
        assert headers["ihomer.errors.offset"].decode() == str(index * (1 + len(GOOD)))
        assert headers["ihomer.errors.version"].decode() == __version__
        if case.kind == "oversized":
            assert case.value is not None
            assert letter.value == case.value[:900_000]
            assert headers["ihomer.errors.truncated"].decode() == str(len(case.value))
        else:
            assert letter.value == case.value
            assert "ihomer.errors.truncated" not in headers


def cut(letter: Message) -> dict[str, bytes]:
    prefix = "ihomer.errors.truncated"
    return {name[len(prefix) :]: value for name, value in letter.headers if name.startswith(prefix)}


def test_a_value_at_the_bound_is_kept_and_one_byte_more_is_cut() -> None:
    whole = dead_letter(Record(b"0123456789", "t", 0, 0), FAULT, "1", max_bytes=10)
    assert (whole.value, cut(whole)) == (b"0123456789", {})
    short = dead_letter(Record(b"0123456789", "t", 0, 0), FAULT, "1", max_bytes=9)
    assert (short.value, cut(short)) == (b"012345678", {"": b"10"})


@given(
    st.none() | st.binary(max_size=12),
    st.none() | st.binary(max_size=12),
    st.lists(st.tuples(st.text(max_size=3), st.binary(max_size=6)), max_size=3),
    st.integers(0, 30),
)
def test_value_key_and_headers_together_stay_within_the_bound(
    value: bytes | None, key: bytes | None, headers: list[tuple[str, bytes]], bound: int
) -> None:
    record = Record(value, "t", 0, 0, key, tuple(headers))
    letter = dead_letter(record, FAULT, "1", max_bytes=bound)
    kept = [(n, v) for n, v in letter.headers if not n.startswith("ihomer.errors.")]
    size = len(letter.value or b"") + len(letter.key or b"")
    assert size + sum(len(n.encode()) + len(v) for n, v in kept) <= bound
    cuts = cut(letter)
    assert (cuts.get("") is None) == (letter.value == value)
    assert (cuts.get(".key") is None) == (letter.key == key)
    assert (cuts.get(".headers") is None) == (kept == headers)
    assert (value or b"").startswith(letter.value or b"")
    assert (letter.value is None) == (value is None)
    if "" in cuts:
        assert value is not None
        assert cuts[""].decode() == str(len(value))


def test_an_event_that_the_vocabulary_refused_is_written_as_json() -> None:
    encoder = Encoder(max_labels=1)
    encoder.add(Event(0, {}, on=["a"]))
    event = Event(
        "e", {"n": 1.5, "c": "red", "m": math.nan, "s": ["p"]}, on=["b"], off=["a"], ts=12
    )
    with pytest.raises(MalformedEventError) as caught:
        encoder.add(event)
    letter = dead_letter(Record(event, "river:yeast", 0, 4), caught.value, "1")
    assert letter.value is not None
    assert orjson.loads(letter.value) == {
        "id": "e",
        "x": {"n": 1.5, "c": "red", "m": None, "s": ["p"]},
        "y": {"a": False, "b": True},
        "ts": 12,
    }
    assert dict(letter.headers)["ihomer.errors.class"] == b"too-many-labels"
    Decoder().decode(Record(letter.value, "t", 0, 0))


def test_a_row_is_written_by_its_names() -> None:
    names = ("a", "b", "c")
    dense = Event(1, Row(names, np.array([1.0, math.nan, math.inf])))
    sparse = Event(2, Row(names, np.array([2.5]), np.array([2], dtype=np.int32)), on=["l"])
    bodies = []
    for event in (dense, sparse):
        value = dead_letter(Record(event, "s", 0, 0), FAULT, "1").value
        assert value is not None
        bodies.append(orjson.loads(value))
    assert bodies == [
        {"id": 1, "x": {"a": 1.0, "b": None, "c": "Infinity"}},
        {"id": 2, "x": {"c": 2.5}, "y": ["l"]},
    ]


odd_values: st.SearchStrategy[object] = st.one_of(
    st.floats(),
    st.integers(),
    st.characters(),
    st.binary(max_size=2),
    st.sets(st.integers() | st.text(max_size=2), max_size=3),
    st.just(np.float32("inf")),
    st.just(np.int8(3)),
    st.just("\ud800"),
    st.just(object),
    st.lists(st.complex_numbers(), max_size=2),
)


@given(st.dictionaries(st.text(max_size=2) | st.integers(), odd_values, max_size=4), odd_values)
def test_no_event_of_a_source_is_too_odd_to_be_kept(x: dict[str, Value], identifier: int) -> None:
    letter = dead_letter(Record(Event(identifier, x, on=["\udfff"]), "s", 0, 0), FAULT, "1")
    assert letter.value is not None
    assert orjson.loads(letter.value)["y"] == ["\\udfff"]


def test_the_reason_is_one_line_of_bounded_length() -> None:
    fault = MalformedEventError("read", "bad-row", "first\nsecond " + "x" * 5_000)
    message = dict(dead_letter(Record(b"", "t", 0, 0), fault, "1").headers)["ihomer.errors.message"]
    assert message.startswith(b"first second x")
    assert len(message) == 1_000


def test_without_a_sink_the_first_malformed_event_stops_with_its_place() -> None:
    letters = DeadLetters(None)
    with pytest.raises(InputError) as caught:
        letters.put(Record(b"1", "tickets", 3, 1207), FAULT)
    assert type(caught.value) is InputError
    assert str(caught.value).startswith(
        "tickets, partition 3, offset 1207: x: found 1, accepted: an object; set --dead-letters"
    )
    with pytest.raises(InputError, match=r"^tickets\.jsonl, line 17: x: found 1"):
        DeadLetters(None, place_by_line).put(Record(b"1", "tickets.jsonl", 0, 17), FAULT)
    letters.flush()
    letters.close()


def test_counts_by_kind_and_hands_flush_and_close_to_the_sink() -> None:
    sink = ListSink()
    letters = DeadLetters(sink)
    for kind in ("not-json", "x-type", "not-json"):
        letters.put(Record(b"", "t", 0, 0), MalformedEventError("parse", kind, "no"))
    letters.flush()
    letters.close()
    assert letters.counts == {"not-json": 2, "x-type": 1}
    assert len(sink.messages) == 3
    assert sink.calls == ["flush", "close"]


def test_a_failure_of_the_sink_is_not_swallowed() -> None:
    with pytest.raises(UnavailableError, match="not there"):
        DeadLetters(RefusingSink()).put(Record(b"", "t", 0, 0), FAULT)
