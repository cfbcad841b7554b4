"""What must hold of any bytes that a decoder is given: the fuzzer's question.

In: bytes. Out: how they were answered, or an `AssertionError`. It is here so that the fuzzer, which
looks for bytes that break it, and the unit test, which replays all that it has found, ask the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ihomer.connectors.base import Record
from ihomer.errors import MalformedEventError
from ihomer.instances import Encoder, Event, LabelEvent
from ihomer.stream.dead_letters import dead_letter, event_json
from ihomer.stream.decode import KINDS, Decoder
from ihomer.stream.mapping.decoder import decoder_of
from ihomer.stream.settings import Settings

NAMES = ("a", "b", "c")
LONGEST_REASON = 2_000  # characters; names of features and fields are cut, values too


class Way(NamedTuple):
    """One way to read a record: a configuration, and whether late labels are accepted."""

    settings: Settings
    late: bool


WAYS: Sequence[Way] = (
    Way(Settings(names=list(NAMES)), late=True),
    Way(Settings(names=list(NAMES), strict=True), late=False),
)
# The same bytes as somebody else's events, where x is no more than a field with fields in it.
MAPPED: Sequence[Way] = (
    Way(
        Settings(
            mapping_id="$.id",
            mapping_labels=["$.y"],
            mapping_time="$.ts",
            mapping_fields={"x.a": "text", "x.b": "time", "x.c": "set"},
        ),
        late=True,
    ),
    Way(
        Settings(
            mapping_labels=["$.y.a", "$.y.b"],
            mapping_labels_as="columns",
            mapping_features="$.x",
            mapping_default="numeric",
            mapping_fields={"a": "nominal"},
        ),
        late=False,
    ),
)


def check(value: bytes) -> tuple[str, ...]:
    """Decode `value` in every one of `WAYS`; each gives an event that can be used, or a reason.

    Returns
    -------
    tuple of str
        For each way ``"event"``, ``"labels"``, or the kind of the fault.

    Raises
    ------
    AssertionError
        Something else came of it. Any other exception than `MalformedEventError` passes through.
    """
    return tuple(_answer(value, way) for way in WAYS)


def check_mapped(value: bytes) -> tuple[str, ...]:
    """As `check`, in every one of `MAPPED`."""
    return tuple(_answer(value, way) for way in MAPPED)


def _answer(value: bytes, way: Way) -> str:
    decoder = decoder_of(way.settings)
    record = Record(value, "fuzz", 0, 0)
    # Twice, because a decoder remembers the names of the event before.
    answers = {_one(decoder, record, way) for _ in range(2)}
    _must(len(answers) == 1, f"found {sorted(answers)} for the same bytes")
    return answers.pop()


def _one(decoder: Decoder, record: Record, way: Way) -> str:
    try:
        found = decoder.decode_any(record) if way.late else decoder.decode(record)
        if isinstance(found, Event):
            _encoded(found)
    except MalformedEventError as fault:
        _refused(record, fault)
        return fault.kind
    _written_and_read(found)
    return "event" if isinstance(found, Event) else "labels"


def _encoded(event: Event) -> None:
    """What a learner gets is finite, or missing; what was refused has left no name behind."""
    encoder = Encoder()
    try:
        encoder.add(event)
    except MalformedEventError:
        _must(not len(encoder) and not len(encoder.labels), "a refused event has left something")
        raise
    batch = encoder.take()
    _must(len(batch) == 1, f"found {len(batch)} rows")
    _must(not np.isinf(batch.values).any(), "an infinite value was encoded")
    _must(event.ts is None or isinstance(event.ts, str | int), f"ts is {event.ts!r}")


def _refused(record: Record, fault: MalformedEventError) -> None:
    """The reason is one short line of a known kind, and the letter holds the very bytes."""
    _must(KINDS[fault.kind].stage == fault.stage, f"{fault.kind} has stage {fault.stage}")
    _must(str(fault).isprintable(), f"the reason is not one line: {str(fault)!r}")
    _must(len(str(fault)) <= LONGEST_REASON, f"a reason of {len(str(fault))} characters")
    letter = dead_letter(record, fault, "0")
    _must(letter.value == record.value, "the letter holds other bytes")


def _written_and_read(event: Event | LabelEvent) -> None:
    """Written as JSON and read again it is an event with the same id and labels."""
    again = Decoder(NAMES).decode_any(Record(event_json(event), "fuzz", 0, 0))
    _must(type(again) is type(event), f"found a {type(again).__name__}")
    _must(again.id == event.id, f"found id {again.id!r}")
    _must(set(again.on or ()) == set(event.on or ()), f"found labels {again.on!r}")


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
