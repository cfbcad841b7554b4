"""What happens to a learner, told to those outside: a file or a topic, and a log.

In: after each batch, the learner's own events and the records that it has learned. Out: a message
for each of its events, with the place in the stream where it happened, and a call for whoever
else listens. It is here so that replay and daemon tell the same in the same form
(``schemas/learner-event.schema.json``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import orjson

from ihomer.connectors.base import Message, Record, Sink
from ihomer.drift.events import Kind, LearnerEvent, Level
from ihomer.instances import BoolArray, Event, OffsetArray
from ihomer.learners.ihomer import IHomer
from ihomer.learners.kernels.scaling import STRIDE

Listener: TypeAlias = Callable[[LearnerEvent], None]


class _Processed(NamedTuple):
    """A batch; see `Chronicle.tell`."""

    records: Sequence[Record]
    events: Sequence[Event]
    before: OffsetArray
    labelled: BoolArray

    def place(self, number: int) -> int | None:
        """Where in the batch the event stands that was learned as the `number`-th, if it does."""
        at = int(self.before.searchsorted(number)) - 1
        found = at >= 0 and self.labelled[at] and self.before[at] == number - 1
        return at if found else None


class Chronicle:
    """Tells each of a learner's events once.

    Of a single batch the learner keeps the latest 10,000 events, or fewer if they name many labels;
    where some are missing, the numbers have a gap.

    Parameters
    ----------
    learner
        Its events are told from now on.
    sink
        Takes a JSON object for each; None: nothing is written.
    listener
        Called with each.

    Attributes
    ----------
    told
        Number of the latest event that was told.
    """

    def __init__(
        self, learner: IHomer, sink: Sink | None = None, listener: Listener | None = None
    ) -> None:
        self.told = learner.n_events
        self._learner = learner
        self._sink = sink
        self._listener = listener
        self._written = False  # since the last flush
        self._latest: deque[_Processed] = deque()  # the latest batches

    def go_on(self, learner: IHomer, places: Mapping[str, Any] | None = None) -> None:
        """Tell of `learner` from now on, which has been brought back.

        Parameters
        ----------
        learner
            Takes the place of the one before.
        places
            What `places` gave then; None: of what was learned before nothing is known.
        """
        self.told = learner.n_events
        self._learner = learner
        self._latest.clear()
        if places is not None and places["before"]:
            before = np.array(places["before"], dtype=np.int64)
            records = [
                Record(None, source, partition, offset, timestamp=timestamp)
                for source, partition, offset, timestamp in places["records"]
            ]
            events = [Event(id_, {}) for id_ in places["ids"]]
            learned = np.ones(len(before), dtype=np.bool_)
            self._latest.append(_Processed(records, events, before, learned))

    def places(self) -> dict[str, list[Any]]:
        """Where the events of the last stride come from, for one that goes on from here.

        Returns
        -------
        dict
            By event: ``before``, the number of events learned before it; ``ids``; ``records``, of
            which each has source, partition, offset and timestamp.
        """
        found: dict[str, list[Any]] = {"before": [], "ids": [], "records": []}
        for batch in self._latest:
            learned = batch.labelled & (batch.before >= self._learner.n_learned - STRIDE)
            for at in np.flatnonzero(learned).tolist():
                record = batch.records[at]
                found["before"].append(int(batch.before[at]))
                found["ids"].append(batch.events[at].id)
                found["records"].append(
                    (record.source, record.partition, record.offset, record.timestamp)
                )
        return found

    def tell(
        self,
        records: Sequence[Record],
        events: Sequence[Event],
        before: OffsetArray,
        labelled: BoolArray,
    ) -> None:
        """Tell what has happened in a batch.

        Parameters
        ----------
        records, events
            Of the batch, n each.
        before
            int64 (n,): how many events the model had learned before each.
        labelled
            bool (n,): whether it has learned it.

        Raises
        ------
        UnavailableError, InputError
            Of the sink.
        """
        # What has happened is told at the end of a stride, and may have done so in a batch before.
        while self._latest and self._latest[0].before[-1] < before[0] - STRIDE:
            self._latest.popleft()
        if labelled.any():
            self._latest.append(_Processed(records, events, before, labelled))
        if self._learner.n_events == self.told:
            return
        found = self._learner.events(self.told)
        self.told = found[-1].number
        if self._sink is not None:
            self._sink.write([self._message(each) for each in found])
            self._written = True
        if self._listener is not None:
            for each in found:
                self._listener(each)

    def flush(self) -> None:
        """Return when all that was written is acknowledged; raises as the sink's `flush`."""
        if self._sink is not None and self._written:
            self._sink.flush()
            self._written = False

    def _message(self, found: LearnerEvent) -> Message:
        body = found.to_json()
        for batch in self._latest:
            at = batch.place(found.event)
            if at is not None:
                record = batch.records[at]
                body |= {
                    "id": batch.events[at].id,
                    "source": record.source,
                    "partition": record.partition,
                    "offset": record.offset,
                }
                return Message(orjson.dumps(body), timestamp=record.timestamp)
        return Message(orjson.dumps(body))  # it was not here that this was learned


def by_kind(counts: Mapping[tuple[Kind, Level], int]) -> dict[str, dict[str, int]]:
    """Counts by kind and level as a JSON object, in an order that is always the same.

    Examples
    --------
    >>> by_kind({(Kind.SPLIT, Level.PARTITION): 2, (Kind.ALARM, Level.LOSS): 1})
    {'alarm': {'loss': 1}, 'split': {'partition': 2}}
    """
    found = {
        kind.value: {level.value: counts[kind, level] for level in Level if (kind, level) in counts}
        for kind in Kind
    }
    return {kind: levels for kind, levels in found.items() if levels}
