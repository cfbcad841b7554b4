"""What happens to a learner while it runs: alarms, splits, merges, switches, births and deaths.

In: one `LearnerEvent` each. Out: the latest ones in order, and how many there have been of each
kind. It is here so that whatever decides something about the model says so in one form, which the
caller, the log, the metrics and the file of events all read.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from typing import Any

from ihomer.state.classes import frozen


class Kind(StrEnum):
    """What happened."""

    ALARM = "alarm"  # a detector has seen a change
    SPLIT = "split"  # a cluster's labels went apart
    MERGE = "merge"  # clusters were put together
    MOVE = "move"  # labels went to another cluster, or found a place for the first time
    SWITCH = "switch"  # one learner has taken over from another
    RESET = "reset"  # something begins anew
    RECALL = "recall"  # a stored earlier state is back
    BIRTH = "birth"  # a label was on for the first time
    DEATH = "death"  # a label has given its memory back


class Level(StrEnum):
    """Where it happened."""

    STRUCTURE = "structure"  # which labels occur together
    PRIORS = "priors"  # how often labels are on, and how many at a time
    LOSS = "loss"  # of all labels together
    CLUSTER = "cluster"  # one cluster's learner
    TREE = "tree"  # inner nodes of a cluster's trees
    PARTITION = "partition"  # the clusters themselves
    MODEL = "model"  # the whole learner
    LABEL = "label"  # one label


@frozen
@dataclass(frozen=True, slots=True)
class LearnerEvent:
    """One thing that happened.

    Attributes
    ----------
    event
        Number of events learned when it happened.
    kind, level
        What, and where.
    action
        What was done about it, in a few words; empty: nothing.
    cluster
        Number of the cluster, which it keeps for life, from 1; 0: labels that have no place;
        None: no single one.
    labels
        Ids of the labels concerned, or their names where names are known; empty: all or none.
    statistic, bound
        The figure that decided, and what it had to pass; None: there is none.
    number
        Its place in the log that it was added to, from 1; 0: it is in none.
    """

    event: int
    kind: Kind
    level: Level
    action: str = ""
    cluster: int | None = None
    labels: tuple[int, ...] | tuple[str, ...] = ()
    statistic: float | None = None
    bound: float | None = None
    number: int = 0

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, always with the same keys in the same order.

        Examples
        --------
        >>> LearnerEvent(128, Kind.BIRTH, Level.LABEL, labels=("news",)).to_json()
        {'number': 0, 'event': 128, 'kind': 'birth', 'level': 'label', 'action': '', \
'cluster': None, 'labels': ['news'], 'statistic': None, 'bound': None}
        """
        return {
            "number": self.number,
            "event": self.event,
            "kind": self.kind.value,
            "level": self.level.value,
            "action": self.action,
            "cluster": self.cluster,
            "labels": list(self.labels),
            "statistic": self.statistic,
            "bound": self.bound,
        }


class EventLog:
    """The latest events, and how many there have been.

    Parameters
    ----------
    most, most_labels
        So many events are kept, and others than the latest only while all together have no more
        labels than that: some 10 MB. What is forgotten stays counted.
    name
        Gives the name of an id now: later it may be another's. Labels are kept as sorted names
        then; None: as they come.

    Attributes
    ----------
    counts
        Number of events so far by (kind, level).
    total
        Number of events so far.

    Examples
    --------
    >>> log = EventLog()
    >>> log.add(LearnerEvent(128, Kind.ALARM, Level.LOSS, statistic=0.3, bound=0.2))
    >>> [(event.number, event.event) for event in log.since(0)], log.total
    ([(1, 128)], 1)
    >>> log.since(1)
    []
    """

    def __init__(
        self,
        most: int = 10_000,
        most_labels: int = 200_000,
        name: Callable[[int], str] | None = None,
    ) -> None:
        self.counts: Counter[tuple[Kind, Level]] = Counter()
        self.total = 0
        self._most, self._most_labels = most, most_labels
        self._name = name
        self._latest: deque[LearnerEvent] = deque()
        self._labels = 0  # of the events kept

    def add(self, event: LearnerEvent) -> None:
        """Add one at the end, under the next number."""
        self.counts[event.kind, event.level] += 1
        self.total += 1
        self._latest.append(replace(event, number=self.total, labels=self._named(event.labels)))
        self._labels += len(event.labels)
        while len(self._latest) > 1 and (
            len(self._latest) > self._most or self._labels > self._most_labels
        ):
            self._labels -= len(self._latest.popleft().labels)

    def _named(
        self, labels: tuple[int, ...] | tuple[str, ...]
    ) -> tuple[int, ...] | tuple[str, ...]:
        name = self._name
        if name is None or not labels:
            return labels
        return tuple(sorted(each if isinstance(each, str) else name(each) for each in labels))

    def extend(self, events: Iterable[LearnerEvent]) -> None:
        """Add some in order."""
        for event in events:
            self.add(event)

    def since(self, number: int) -> list[LearnerEvent]:
        """The events after the one of that number, in order, as far as they are kept."""
        new = max(0, min(self.total - number, len(self._latest)))
        return list(islice(reversed(self._latest), new))[::-1]
