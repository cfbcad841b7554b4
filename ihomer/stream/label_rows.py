"""What waits for its other half, and what is done when that comes or does not.

In and out: the words in which `ihomer.stream.label_join` speaks with those who encode, predict and
learn (`Rows`), and what it keeps. They are here so that the join itself is about who meets whom.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ihomer.connectors.base import Message, Record
from ihomer.errors import MalformedEventError
from ihomer.instances import Event, LabelEvent
from ihomer.stream.dead_letters import event_json
from ihomer.stream.kept_features import Packed


class Origin(NamedTuple):
    """Where a record came from; as of `Record`."""

    source: str
    partition: int
    offset: int
    key: bytes | None = None
    timestamp: int | None = None

    def record(self, value: Event | LabelEvent | None) -> Record:
        """A record of `value` from there."""
        return Record(
            value, self.source, self.partition, self.offset, self.key, timestamp=self.timestamp
        )


def origin_of(record: Record) -> Origin:
    """Where `record` came from."""
    return Origin(record.source, record.partition, record.offset, record.key, record.timestamp)


def message(found: Event | LabelEvent, origin: Origin) -> Message:
    """What could not be joined, in a form in which it can come again."""
    headers = (
        ("ihomer.topic", origin.source.encode("utf-8", "backslashreplace")),
        ("ihomer.partition", b"%d" % origin.partition),
        ("ihomer.offset", b"%d" % origin.offset),
    )
    return Message(event_json(found), origin.key, headers, origin.timestamp, origin.partition)


class Waiting(NamedTuple):
    """Features that wait.

    Attributes
    ----------
    number
        The how manieth event it was, from 1.
    elapsed
        Event time when it came, in milliseconds.
    packed
        Its features.
    n_bytes
        What it takes.
    ts
        The event's.
    origin
        Where it came from.
    """

    number: int
    elapsed: int
    packed: Packed
    n_bytes: int
    ts: str | int | None
    origin: Origin


class Held(NamedTuple):
    """Labels that wait for their features; attributes as of `Waiting` and `LabelEvent`."""

    number: int
    elapsed: int
    on: tuple[str, ...]
    off: tuple[str, ...]
    n_bytes: int
    ts: str | int | None
    origin: Origin


class Rows(Protocol):
    """What is done with events, in order. Each may raise `MalformedEventError`, doing nothing."""

    def predict(self, record: Record, event: Event, number: int = -1) -> None:
        """Predict an event; `number`: its labels are waited for under it."""

    def learn(self, record: Record, event: Event, number: int) -> None:
        """Learn an event that was predicted as `number`, and score what was predicted then."""

    def predict_and_learn(self, record: Record, event: Event) -> None:
        """Predict an event, score and learn it."""

    def learn_unscored(self, record: Record, event: Event) -> None:
        """Learn what nobody has said to be true."""

    def admit(self, labels: Sequence[str]) -> None:
        """Find out whether these labels would be refused."""

    def forget(self, number: int) -> None:
        """Nobody waits for the labels of event `number` any more."""

    def hand_over(self, message: Message) -> None:
        """Write what could not be joined."""

    def refuse(self, record: Record, fault: MalformedEventError) -> None:
        """Put malformed labels that were held to the dead letters."""
