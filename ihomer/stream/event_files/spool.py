"""Events put down once, and what all of them together have.

In: events. Out: the same again, as often as wanted, and a `Survey` of their names. It is here
because most formats begin with a list of columns, which nobody knows before the last event has
come.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import orjson

from ihomer.errors import InputError
from ihomer.instances import Event
from ihomer.stream.write_events import event_object

_MOST_NAMES = 4_000_000
_BUFFER_BYTES = 1 << 20


class Body(NamedTuple):
    """An event in Python's own types.

    Attributes
    ----------
    id, ts
        As of `Event`.
    x
        Name to number, boolean, text, list of texts, or None.
    on
        Labels; None = unlabelled.
    """

    id: str | int
    x: dict[str, Any]
    on: list[str] | None
    ts: str | int | None


@dataclass(slots=True)
class Column:
    """What a feature's values are, over all events.

    Attributes
    ----------
    present
        In how many events it is, with a value or without.
    missing, numbers, sets
        How many of its values are missing, numbers or booleans, lists of texts.
    nonzero
        How many numbers are not 0.
    texts, members
        Its nominal values, and those in lists, in order of appearance.
    """

    present: int = 0
    missing: int = 0
    numbers: int = 0
    sets: int = 0
    nonzero: int = 0
    texts: dict[str, None] = field(default_factory=dict)
    members: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class Survey:
    """What there is in all events together.

    Attributes
    ----------
    events, unlabelled
        Their number, and of those without labels.
    features, labels
        Names in order of appearance, declared ones first.
    whole_ids
        Whether all ids are integers.
    times
        The types that `ts` has.
    """

    events: int = 0
    unlabelled: int = 0
    features: dict[str, Column] = field(default_factory=dict)
    labels: dict[str, None] = field(default_factory=dict)
    whole_ids: bool = True
    times: set[type] = field(default_factory=set)


class Spool:
    """Keeps events in a temporary file.

    Parameters
    ----------
    folder
        Where there is room for them.
    features, labels
        Names that the source declares.

    Attributes
    ----------
    survey
        Of the events that were added.
    """

    def __init__(
        self, folder: Path, features: tuple[str, ...] = (), labels: tuple[str, ...] = ()
    ) -> None:
        try:
            self._file = tempfile.TemporaryFile(  # noqa: SIM115 (see close)
                buffering=_BUFFER_BYTES, prefix=".ihomer-", dir=folder
            )
        except OSError as error:
            raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from None
        self._folder = folder
        self._names = 0
        self.survey = Survey(
            features={name: Column() for name in features}, labels=dict.fromkeys(labels)
        )

    def add(self, event: Event) -> None:
        """Put an event down.

        Raises
        ------
        InputError
            There is no room, or there are more names than fit in memory.
        """
        body = event_object(event)
        try:
            self._file.write(orjson.dumps(body) + b"\n")
        except OSError as error:
            raise InputError(
                f"{self._folder}: cannot be written ({error.strerror or error})"
            ) from None
        survey = self.survey
        survey.events += 1
        survey.whole_ids &= isinstance(event.id, int)
        if event.ts is not None:
            survey.times.add(type(event.ts))
        if event.on is None:
            survey.unlabelled += 1
        for label in (*(event.on or ()), *event.off):
            survey.labels[label] = None
        for name, value in body["x"].items():
            column = survey.features.get(name)
            if column is None:
                column = survey.features[name] = Column()
            self._look(column, value)
        if self._names + len(survey.features) + len(survey.labels) > _MOST_NAMES:
            raise InputError(
                f"event {event.id!r}: found more than {_MOST_NAMES:,} names of features, values and"
                " labels, accepted: fewer, or JSON Lines"
            )

    def _look(self, column: Column, value: Any) -> None:
        column.present += 1
        if value is None:
            column.missing += 1
        elif isinstance(value, str):
            self._names += value not in column.texts
            column.texts[value] = None
        elif isinstance(value, list):
            column.sets += 1
            for member in value:
                self._names += member not in column.members
                column.members[member] = None
        else:
            column.numbers += 1
            column.nonzero += value != 0

    def __iter__(self) -> Iterator[Body]:
        self._file.seek(0)
        for line in self._file:
            body = orjson.loads(line)
            y = body.get("y")
            on = [name for name in y if y[name]] if isinstance(y, dict) else y
            yield Body(body["id"], body["x"], on, body.get("ts"))

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


def indicator(name: str, value: str) -> str:
    """The name of a nominal value's indicator, as the vocabularies have it.

    >>> indicator("colour", "red")
    'colour=red'
    """
    return f"{name}={value}"
