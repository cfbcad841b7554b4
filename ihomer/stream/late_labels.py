"""Between the label join and the learners: one batch of rows to predict and rows to learn.

In: what a join says about each record, in order. Out: a batch in which an event that waits is an
unlabelled row, and an event whose labels came is a labelled row of its own; and what was sent of it
then, to be scored now. It is here so that the processor runs both in one pass, in recorded order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ihomer.connectors.base import Message, Record
from ihomer.errors import MalformedEventError
from ihomer.instances import Batch, BoolArray, Encoder, Event, LabelEvent
from ihomer.learners.base import Predictions, SparsePredictions
from ihomer.stream.label_delay import LabelDelay
from ihomer.stream.label_history import LabelHistory
from ihomer.stream.label_join import LabelJoin
from ihomer.stream.label_state import join_state, restore_join
from ihomer.stream.sent import Due, SentPredictions, Truth, follow, sent_of


class Work(NamedTuple):
    """A batch and what it is for; n rows.

    Attributes
    ----------
    batch
        For the learners.
    records, events
        Of each row. An event that is predicted and learned later has two rows.
    predicted
        bool (n,): rows whose prediction is written.
    due
        The rows that are scored.
    held
        Events that wait from now on: their numbers and rows.
    """

    batch: Batch
    records: Sequence[Record]
    events: Sequence[Event]
    predicted: BoolArray
    due: Sequence[Due]
    held: Sequence[tuple[int, int]]


class LateLabels:
    """The rows of a `LabelJoin`, and what is kept beside it of events that wait.

    Parameters
    ----------
    join
        Decides.
    encoder
        Takes the rows.
    delay
        Holds labels back that come with their events; see `LabelDelay`.

    Attributes
    ----------
    join
        As given.
    faults
        Labels that were refused after they had been held, since this was last emptied.
    messages
        What could not be joined, since this was last emptied.
    """

    def __init__(self, join: LabelJoin, encoder: Encoder, delay: LabelDelay | None = None) -> None:
        self.join = join
        self.faults: list[tuple[Record, MalformedEventError]] = []
        self.messages: list[Message] = []
        self._encoder = encoder
        self._delay = delay
        self._history = LabelHistory()
        self._gone: list[int] = []  # numbers that nobody waits for any more
        self._clear()

    def _clear(self) -> None:
        self._records: list[Record] = []
        self._events: list[Event] = []
        self._predicted: list[bool] = []
        self._scored: list[tuple[int, int]] = []  # row, and number or -1
        self._held: dict[int, int] = {}  # rows of events that wait, by number

    # As `ihomer.stream.label_rows.Rows`.

    def _add(self, record: Record, event: Event, *, predicted: bool) -> int:
        self._encoder.add(event)
        self._records.append(record)
        self._events.append(event)
        self._predicted.append(predicted)
        return len(self._events) - 1

    def predict(self, record: Record, event: Event, number: int = -1) -> None:
        """See `Rows`."""
        row = self._add(record, event, predicted=True)
        if number >= 0:
            self._held[number] = row

    def learn(self, record: Record, event: Event, number: int) -> None:
        """See `Rows`."""
        self._scored.append((self._add(record, event, predicted=False), number))

    def predict_and_learn(self, record: Record, event: Event) -> None:
        """See `Rows`."""
        self._scored.append((self._add(record, event, predicted=True), -1))

    def learn_unscored(self, record: Record, event: Event) -> None:
        """See `Rows`."""
        self._add(record, event, predicted=False)

    def admit(self, labels: Sequence[str]) -> None:
        """See `Rows`."""
        known = self._encoder.labels
        # As long as there is room for all of them, none is refused.
        if known.new_labels == "error" and len(known) + len(labels) > known.bound:
            known.admit(labels)

    def forget(self, number: int) -> None:
        """See `Rows`."""
        self._gone.append(number)

    def hand_over(self, message: Message) -> None:
        """See `Rows`."""
        self.messages.append(message)

    def refuse(self, record: Record, fault: MalformedEventError) -> None:
        """See `Rows`."""
        self.faults.append((record, fault.bare()))

    # For the processor.

    def take(self, found: Event | LabelEvent, record: Record) -> None:
        """What a record holds.

        Raises
        ------
        MalformedEventError
            The encoder refuses its features or its labels; there is no row for it.
        """
        if isinstance(found, LabelEvent):
            self.join.take_labels(found, record, self)
        elif self._delay is not None:
            self._delay.take(found, record, self.join, self)
        else:
            self.join.take_event(found, record, self)

    def finish(self) -> None:
        """The stream has ended: labels that were held back come now."""
        if self._delay is not None:
            self._delay.finish(self.join, self)

    def close(self) -> Work | None:
        """The rows since the last call, if there are any."""
        if not self._events:
            return None
        due = [
            Due(row, row if number < 0 else self._held.pop(number, -1), number)
            for row, number in self._scored
        ]
        for number in self._gone:
            self._held.pop(number, None)
        predicted = np.array(self._predicted, dtype=np.bool_)
        held = list(self._held.items())
        work = Work(self._encoder.take(), self._records, self._events, predicted, due, held)
        self._clear()
        return work

    def truth(self, work: Work, sent: SentPredictions) -> Truth:
        """What is to be scored; `sent` is any learner's, all of them keep the same events."""
        since = [sent.changes(each.number) if each.predicted < 0 else 0 for each in work.due]
        return follow(work.batch, work.due, since, self._history)

    def keep(
        self,
        work: Work,
        truth: Truth,
        kept: Sequence[tuple[SentPredictions, Predictions | SparsePredictions]],
    ) -> None:
        """Keep what was sent of events that wait."""
        for number, row in work.held:
            n_bytes = 0
            for store, predictions in kept:
                known, before = int(work.batch.known[row]), int(truth.before[row])
                sent = sent_of(predictions, row, known, before)
                store.keep(number, sent)
                n_bytes += sent.n_bytes
            self.join.sent(number, n_bytes)

    def let_go(self, stores: Sequence[SentPredictions]) -> None:
        """Keep nothing of events that nobody waits for any more."""
        for number in self._gone:
            for store in stores:
                store.drop(number)
        self._gone.clear()

    def settle(self, record: Record, sent: SentPredictions) -> None:
        """See `LabelJoin.settle`; `record` is the latest one."""
        if self._history.n_bytes:
            self._history.prune(sent.oldest_changes(self._history.latest))
        self.join.settle(self, record, self._history.n_bytes)

    def figures(self) -> dict[str, int]:
        """What has become of events and labels, and what waits; see `LabelJoin.counts`."""
        join = self.join
        return {**join.counts, "waiting": join.waiting, "held": join.held, "bytes": join.n_bytes}

    def state(self) -> dict[str, Any]:
        """Everything that `restore` takes; between batches."""
        return {"join": join_state(self.join), "history": self._history.state()}

    def restore(self, state: Mapping[str, Any], encoder: Encoder) -> None:
        """Go on from a `state`, with the encoder that goes with it."""
        self._encoder = encoder
        restore_join(self.join, state["join"])
        self._history = LabelHistory.restored(state["history"])
