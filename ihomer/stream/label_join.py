"""Labels that come apart from their features, joined by the event's id.

In: events and labels in their recorded order. Out: rows for the learner: predict this now, learn
that now. It is here because labels are often known hours after an event, and sometimes twice,
never, or first. Everything rests on what is recorded: the order, and the events' own times.

What becomes of every event and of all labels is counted; see `LabelJoin.counts`.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Literal, TypeAlias

from ihomer.connectors.base import Record
from ihomer.errors import MalformedEventError, UsageError
from ihomer.instances import Event, EventId, LabelEvent
from ihomer.stream.event_time import EventTime, milliseconds
from ihomer.stream.kept_features import FeatureStore
from ihomer.stream.label_rows import Held, Rows, Waiting, message, origin_of

Policy: TypeAlias = Literal["drop", "negative", "hand-over"]
POLICIES: tuple[Policy, ...] = ("drop", "negative", "hand-over")

SETTLE = 512  # records between two looks at what the predictions of waiting events take

# Of one entry, beside its bytes and its id, as measured with room for what dictionaries waste.
EVENT_BYTES, LABELS_BYTES, ID_BYTES, REMEMBERED_BYTES = 768, 512, 96, 224
_LABEL_BYTES = 80  # of a label's name in labels that are held

# Shares of the bytes: of labels that came first, and of the ids of events that are done with.
_EARLY, _DONE = 1 / 8, 1 / 8

DIGEST = 16  # bytes that stand for an id

COUNTS = (
    "events",  # that came, with or without labels
    "at_once",  # events whose labels came with them
    "joined",  # events that got their labels later, or whose labels were there already
    "repeated",  # events with the id of an earlier one: predicted, and not learned again
    "dropped",  # events whose wait ended: neither scored nor learned
    "negative",  # the same, by policy: learned as if no label was on, or left out by the weight
    "handed_over",  # the same, by policy: written elsewhere
    "labels",  # label sets that came apart from their event, or with a repeated one
    "twice",  # labels of an event that had some already
    "too_late",  # labels of an event whose wait had ended
    "unmatched",  # labels that came first, and whose event did not come in time
    "refused",  # labels that came first, and that the vocabulary refused with their event
    "early",  # joined events whose labels came first
    "learned_negative",  # negative events that were learned
    "crowded_out",  # events whose wait ended because there was no room
)


class LabelJoin:
    """See the module.

    An event whose labels are not with it is predicted at once. Its features are kept until its
    labels come or its wait ends; then it is learned, or `policy` says what becomes of it. Labels
    that come first are held as long. Of labels for one event the first ones win.

    Parameters
    ----------
    wait_events
        An event waits while no more events than these have come after it.
    wait_seconds
        And while event time has not gone on by more than this; see `EventTime`. None: for ever.
    max_bytes
        Bound of everything that is kept here and, for events that wait, of the predictions that
        were sent. Past it the oldest wait ends. Predictions are looked at after every `SETTLE`
        records, so their last `SETTLE` may be beyond the bound.
    policy
        What happens when a wait ends: ``"drop"``; ``"negative"``: learned as if no label was on,
        as often as `negative_weight` says; ``"hand-over"``: the event is written elsewhere.
    negative_weight
        Share of the events without labels that are learned, 0 to 1, spread evenly.

    Attributes
    ----------
    counts
        By the names of `COUNTS`, which says what they are. Always events = at_once + joined +
        repeated + dropped + negative + handed_over + `waiting`, and labels = joined + twice +
        too_late + unmatched + refused + `held`.
    """

    def __init__(
        self,
        wait_events: int = 1_000_000,
        wait_seconds: int | None = 86_400,
        max_bytes: float = 256e6,
        policy: Policy = "drop",
        negative_weight: float = 1.0,
    ) -> None:
        if wait_events < 0:
            raise UsageError(f"label_wait_events: found {wait_events}, accepted: 0 or more")
        if policy not in POLICIES:
            raise UsageError(f"label_policy: found {policy!r}, accepted: {', '.join(POLICIES)}")
        if not 0.0 <= negative_weight <= 1.0:
            raise UsageError(f"label_negative_weight: found {negative_weight}, accepted: 0 to 1")
        self.counts = dict.fromkeys(COUNTS, 0)
        self._wait_events = wait_events
        self._wait = None if wait_seconds is None else 1000 * wait_seconds
        self._most_waiting = (1.0 - _EARLY - _DONE) * max_bytes
        self._most_held = _EARLY * max_bytes
        self._most_done = int(_DONE * max_bytes / REMEMBERED_BYTES / 2)
        self._policy: Policy = policy
        self._weight = negative_weight
        self._owed = 0.0  # of the next negative event
        self._time = EventTime()
        self._records = self._number = 0  # of records, and of the latest event
        self._store = FeatureStore()
        self._waiting: OrderedDict[EventId, Waiting] = OrderedDict()
        self._held: OrderedDict[EventId, Held] = OrderedDict()
        self._waiting_bytes = self._held_bytes = 0
        self._sent: dict[int, int] = {}  # bytes of predictions that count
        self._unsettled: dict[int, int] = {}  # and that do not yet
        self._sent_bytes = 0
        self._done: dict[bytes, bool] = {}  # ids of the latest events done with: labels came?
        self._done_before: dict[bytes, bool] = {}

    @property
    def waiting(self) -> int:
        """Number of events that wait for labels."""
        return len(self._waiting)

    @property
    def held(self) -> int:
        """Number of events whose labels wait for features."""
        return len(self._held)

    @property
    def n_bytes(self) -> int:
        """What is kept, as it counts for the bound."""
        done = REMEMBERED_BYTES * (len(self._done) + len(self._done_before))
        return self._waiting_total() + self._held_bytes + sum(self._unsettled.values()) + done

    @property
    def at_border(self) -> bool:
        """Whether `settle` is to be called before the next record."""
        return self._records % SETTLE == 0

    def sent(self, number: int, n_bytes: int) -> None:
        """The prediction of a waiting event is kept, and takes so much."""
        self._unsettled[number] = n_bytes

    # What comes.

    def take_event(self, event: Event, record: Record, rows: Rows) -> None:
        """An event, with or without labels.

        Raises
        ------
        MalformedEventError
            Of `rows`: the event is not kept.
        """
        self._tick(milliseconds(event.ts), record, rows)
        key = event.id
        held = self._held.get(key)
        if key in self._waiting or self._fate(key) is not None:
            # Its features are the same event's, so they are not learned again.
            rows.admit(event.on or ())
            rows.predict(record, Event(key, event.x, ts=event.ts))
            self._count_event("repeated")
            if event.on is not None:
                self._take(LabelEvent(key, event.on, event.off, event.ts), record, rows)
        elif held is not None:
            self._meet(event, held, record, rows)
        elif event.on is not None:
            rows.predict_and_learn(record, event)
            self._count_event("at_once")
            self._remember(key, labelled=True)
        else:
            rows.predict(record, event, self._number)
            self._wait_for(event, record, rows)

    def take_labels(self, labels: LabelEvent, record: Record, rows: Rows) -> None:
        """Labels that come without features; raises as `take_event`."""
        self._records += 1
        self._take(labels, record, rows)

    def settle(self, rows: Rows, record: Record, history_bytes: int = 0) -> None:
        """Count what the latest predictions take, and end waits until all is within the bound.

        Parameters
        ----------
        rows
            See `Rows`.
        record
            The latest one.
        history_bytes
            What else is kept for events that wait.
        """
        self._sent.update(self._unsettled)
        self._sent_bytes += sum(self._unsettled.values())
        self._unsettled.clear()
        self._shrink(rows, record, history_bytes)

    # How it goes on.

    def _tick(self, when: int | None, record: Record, rows: Rows) -> None:
        """The next event is there: end the waits that it makes too long."""
        self._records += 1
        self._number += 1
        self._time.tell(record.timestamp if when is None else when)
        while self._waiting:
            key, event = next(iter(self._waiting.items()))
            if not self._over(event.number, event.elapsed):
                break
            self._end(key, record, rows)
        while self._held:
            key, held = next(iter(self._held.items()))
            if not self._over(held.number, held.elapsed):
                break
            self._let_go(key, rows)

    def _over(self, number: int, elapsed: int) -> bool:
        if self._number - number > self._wait_events:
            return True
        return self._wait is not None and self._time.elapsed - elapsed > self._wait

    def _wait_for(self, event: Event, record: Record, rows: Rows) -> None:
        packed = self._store.pack(event.x)
        n_bytes = EVENT_BYTES + len(packed.data) + _id_bytes(event.id) + len(record.key or b"")
        waiting = Waiting(
            self._number, self._time.elapsed, packed, n_bytes, event.ts, origin_of(record)
        )
        self._waiting[event.id] = waiting
        self._waiting_bytes += n_bytes
        self.counts["events"] += 1
        self._shrink(rows, record)

    def _take(self, labels: LabelEvent, record: Record, rows: Rows) -> None:
        key = labels.id
        waiting = self._waiting.get(key)
        if waiting is not None:
            x = self._store.unpack(waiting.packed)
            # Refused labels leave the event where it is: others may come.
            event = Event(key, x, labels.on, labels.off, waiting.ts)
            rows.learn(record, event, waiting.number)
            self._forget(key)
            self.counts["labels"] += 1
            self.counts["joined"] += 1
            self._remember(key, labelled=True)
            return
        self.counts["labels"] += 1
        labelled = self._fate(key)
        if labelled is not None:
            self.counts["twice" if labelled else "too_late"] += 1
        elif key in self._held:
            self.counts["twice"] += 1
        else:
            self._hold(labels, record, rows)

    def _hold(self, labels: LabelEvent, record: Record, rows: Rows) -> None:
        names = (*labels.on, *labels.off)
        n_bytes = LABELS_BYTES + _id_bytes(labels.id) + len(record.key or b"")
        n_bytes += sum(_LABEL_BYTES + 4 * len(name) for name in names)
        self._held[labels.id] = Held(
            self._number,
            self._time.elapsed,
            tuple(labels.on),
            tuple(labels.off),
            n_bytes,
            labels.ts,
            origin_of(record),
        )
        self._held_bytes += n_bytes
        while self._held_bytes > self._most_held:
            self._let_go(next(iter(self._held)), rows)

    def _let_go(self, key: EventId, rows: Rows) -> None:
        """No event came for labels that are held."""
        held = self._held.pop(key)
        self._held_bytes -= held.n_bytes
        self.counts["unmatched"] += 1
        if self._policy == "hand-over":
            rows.hand_over(message(LabelEvent(key, held.on, held.off, held.ts), held.origin))

    def _meet(self, event: Event, held: Held, record: Record, rows: Rows) -> None:
        """The features of labels that are held are there."""
        key = event.id
        refused: MalformedEventError | None = None
        try:
            rows.predict_and_learn(record, Event(key, event.x, held.on, held.off, event.ts))
        except MalformedEventError as fault:
            if fault.kind != "too-many-labels":
                raise
            refused = fault
            if event.on is not None:
                rows.predict_and_learn(record, event)
            else:
                rows.predict(record, event, self._number)
        del self._held[key]
        self._held_bytes -= held.n_bytes
        if refused is None:
            self._count_event("joined")
            self.counts["early"] += 1
            if event.on is not None:
                self.counts["labels"] += 1
                self.counts["twice"] += 1
            self._remember(key, labelled=True)
            return
        self.counts["refused"] += 1
        labels = LabelEvent(key, held.on, held.off, held.ts)
        rows.refuse(held.origin.record(labels), refused)
        if event.on is not None:
            self._count_event("at_once")
            self._remember(key, labelled=True)
        else:
            self._wait_for(event, record, rows)

    def _count_event(self, what: str) -> None:
        self.counts["events"] += 1
        self.counts[what] += 1

    # How a wait ends.

    def _waiting_total(self) -> int:
        return self._waiting_bytes + self._store.n_bytes + self._sent_bytes

    def _shrink(self, rows: Rows, record: Record, history_bytes: int = 0) -> None:
        while self._waiting and self._waiting_total() + history_bytes > self._most_waiting:
            self.counts["crowded_out"] += 1
            self._end(next(iter(self._waiting)), record, rows)

    def _end(self, key: EventId, record: Record, rows: Rows) -> None:
        """No labels came: do what the policy says."""
        event = self._waiting[key]
        if self._policy == "negative":
            self.counts["negative"] += 1
            self._owed += self._weight
            if self._owed >= 1.0:
                self._owed -= 1.0
                self.counts["learned_negative"] += 1
                x = self._store.unpack(event.packed)
                rows.learn_unscored(record, Event(key, x, (), (), event.ts))
        elif self._policy == "hand-over":
            self.counts["handed_over"] += 1
            x = self._store.unpack(event.packed)
            rows.hand_over(message(Event(key, x, ts=event.ts), event.origin))
        else:
            self.counts["dropped"] += 1
        self._forget(key)
        rows.forget(event.number)
        self._remember(key, labelled=False)

    def _forget(self, key: EventId) -> None:
        event = self._waiting.pop(key)
        self._waiting_bytes -= event.n_bytes
        self._store.release(event.packed)
        self._unsettled.pop(event.number, None)
        self._sent_bytes -= self._sent.pop(event.number, 0)

    # Who is done with.

    def _fate(self, key: EventId) -> bool | None:
        """Whether labels came for an event that is done with; None: it is not, or long ago."""
        digest = _digest(key)
        found = self._done.get(digest)
        return self._done_before.get(digest) if found is None else found

    def _remember(self, key: EventId, *, labelled: bool) -> None:
        if len(self._done) >= self._most_done:
            self._done_before, self._done = self._done, {}
        self._done[_digest(key)] = labelled


def _id_bytes(event_id: EventId) -> int:
    return ID_BYTES + (4 * len(event_id) if isinstance(event_id, str) else 0)


def _digest(event_id: EventId) -> bytes:
    """Some bytes that stand for an id; 1 and "1" are two."""
    text = f"{'s' if isinstance(event_id, str) else 'i'}{event_id}"
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST).digest()
