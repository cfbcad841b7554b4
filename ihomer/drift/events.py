"""What happens to a learner while it runs: alarms, splits, merges, switches, births and deaths.

In: one `LearnerEvent` each. Out: the latest ones in order, and how many there have been of each
kind. It is here so that whatever decides something about the model says so in one form, which the
caller, the log, the metrics and the file of events all read.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


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
        Number of the cluster, which it keeps for life; None: no single one.
    labels
        Ids of the labels concerned, or their names where names are known; empty: all or none.
    statistic, bound
        The figure that decided, and what it had to pass; None: there is none.
    """

    event: int
    kind: Kind
    level: Level
    action: str = ""
    cluster: int | None = None
    labels: tuple[int, ...] | tuple[str, ...] = ()
    statistic: float | None = None
    bound: float | None = None


class EventLog:
    """The latest events, and how many there have been.

    Parameters
    ----------
    most
        So many are kept; older ones are forgotten but stay counted.

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
    >>> [event.event for event in log.since(0)], log.total
    ([128], 1)
    >>> log.since(1)
    []
    """

    def __init__(self, most: int = 10_000) -> None:
        self.counts: Counter[tuple[Kind, Level]] = Counter()
        self.total = 0
        self._latest: deque[LearnerEvent] = deque(maxlen=most)

    def add(self, event: LearnerEvent) -> None:
        """Add one at the end."""
        self.counts[event.kind, event.level] += 1
        self.total += 1
        self._latest.append(event)

    def extend(self, events: Iterable[LearnerEvent]) -> None:
        """Add some in order."""
        for event in events:
            self.add(event)

    def since(self, total: int) -> list[LearnerEvent]:
        """The events that came after the first `total` ones, as far as they are kept."""
        new = min(self.total - total, len(self._latest))
        return list(self._latest)[len(self._latest) - new :] if new > 0 else []
