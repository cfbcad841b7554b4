"""Labels held back by a number of events, to see what a delay costs.

In: events with their labels. Out: the same events without, and the labels of event i after event
i + N was predicted; those that are left when the stream ends come then, so that every event is
scored. It is here so that an evaluation says what a stream with late labels would have.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ihomer.connectors.base import Message, Record
from ihomer.errors import MalformedEventError, UsageError
from ihomer.instances import Event, EventId, LabelEvent
from ihomer.stream.label_join import LabelJoin
from ihomer.stream.label_rows import Origin, Rows, origin_of


class LabelDelay:
    """See the module.

    Events are joined by their place in the stream, so ids need not be unique. Unlabelled events
    stay so.

    Parameters
    ----------
    events
        N, 0 or more.
    """

    def __init__(self, events: int) -> None:
        if events < 0:
            raise UsageError(f"label_delay: found {events}, accepted: 0 or more")
        self._delay = events
        self._taken = 0
        self._late: deque[tuple[int, LabelEvent, Origin]] = deque()

    def take(self, event: Event, record: Record, join: LabelJoin, rows: Rows) -> None:
        """The next event; raises `MalformedEventError` of `rows`, and nothing is kept of it."""
        if event.on is None:
            rows.predict(record, event)
        else:
            rows.admit(event.on)
            place = Event(self._taken, event.x, ts=event.ts)
            join.take_event(place, record, _Renamed(rows, event.id))
            labels = LabelEvent(event.id, event.on, event.off)
            self._late.append((self._taken, labels, origin_of(record)))
        self._taken += 1
        while self._late and self._late[0][0] < self._taken - self._delay:
            self._release(join, rows)

    def finish(self, join: LabelJoin, rows: Rows) -> None:
        """There are no more events."""
        while self._late:
            self._release(join, rows)

    def _release(self, join: LabelJoin, rows: Rows) -> None:
        place, labels, origin = self._late.popleft()
        record = origin.record(labels)
        try:
            late = LabelEvent(place, labels.on, labels.off)
            join.take_labels(late, record, _Renamed(rows, labels.id))
        except MalformedEventError as fault:
            # There was room for its labels when the event came, and no more.
            rows.refuse(record, fault)


class _Renamed(Rows):
    """Rows of events under the ids that they came with."""

    def __init__(self, rows: Rows, name: EventId) -> None:
        self._rows = rows
        self._name = name

    def _named(self, event: Event) -> Event:
        return Event(self._name, event.x, event.on, event.off, event.ts)

    def predict(self, record: Record, event: Event, number: int = -1) -> None:
        self._rows.predict(record, self._named(event), number)

    def learn(self, record: Record, event: Event, number: int) -> None:
        self._rows.learn(record, self._named(event), number)

    def predict_and_learn(self, record: Record, event: Event) -> None:
        self._rows.predict_and_learn(record, self._named(event))

    def learn_unscored(self, record: Record, event: Event) -> None:
        self._rows.learn_unscored(record, event)

    def admit(self, labels: Sequence[str]) -> None:
        self._rows.admit(labels)

    def forget(self, number: int) -> None:
        self._rows.forget(number)

    def hand_over(self, message: Message) -> None:
        self._rows.hand_over(message)

    def refuse(self, record: Record, fault: MalformedEventError) -> None:
        self._rows.refuse(record, fault)
