"""The partition of labels by itself: label sets as names in, clusters of names out.

It is here for those who want to know which labels of a stream occur together, and have no use for
a learner.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ihomer.drift.events import EventLog, LearnerEvent
from ihomer.errors import UsageError
from ihomer.learners.kernels.scaling import STRIDE
from ihomer.learners.partition.hierarchy import Hierarchy, make_hierarchy
from ihomer.learners.partition.keeper import PartitionKeeper
from ihomer.learners.partition.kinds import DEFAULT, PartitionKind, make_partitioner
from ihomer.vocabulary import LabelVocabulary, NewLabels


class LabelPartitioner:
    """Clusters of labels that occur together, kept while a stream runs.

    The clusters are looked at every 128 events, the first ones come after 256. Time per event
    grows with the square of the size of its label set, memory with the pairs of labels that occur
    together, up to 2 ** 20 of them.

    Parameters
    ----------
    kind
        ``"blocks"`` (a block model of the graph of labels), ``"jaccard"`` (iHOMER's, repaired for
        sparse label sets) or ``"jaccard-published"`` (iHOMER's as published, to be held against).
    drift
        Whether changes of the structure are looked for.
    max_labels
        So many labels at most.
    new_labels
        ``"error"`` or ``"drop"``: what happens to a label past `max_labels`.

    Examples
    --------
    >>> from ihomer import LabelPartitioner
    >>> partitioner = LabelPartitioner()
    >>> for _ in range(128):
    ...     partitioner.update({"goal", "match"})
    ...     partitioner.update({"vote", "party", "law"})
    >>> [sorted(cluster) for cluster in partitioner.clusters()]
    [['law', 'party', 'vote'], ['goal', 'match']]
    """

    def __init__(
        self,
        kind: PartitionKind = DEFAULT,
        drift: bool = True,
        max_labels: int = 1 << 17,
        new_labels: NewLabels = "error",
    ) -> None:
        if new_labels not in ("error", "drop"):
            raise UsageError(f"new_labels: found {new_labels!r}, accepted: 'error' or 'drop'")
        self._labels = LabelVocabulary(bound=max_labels, new_labels=new_labels)
        self._log = EventLog(name=self._labels.name)
        self._keeper = PartitionKeeper(make_partitioner(kind), self._log, drift=drift)
        self._waiting: list[list[int]] = []
        self._learned = 0

    @property
    def n_learned(self) -> int:
        """Number of events."""
        return self._learned + len(self._waiting)

    @property
    def memory_bytes(self) -> int:
        """Bytes of the counts and of the latest label sets; names come on top."""
        return self._keeper.memory_bytes

    def update(self, labels: Iterable[str]) -> None:
        """Learn one event.

        Parameters
        ----------
        labels
            Names of the labels that are on; a name may come twice.

        Raises
        ------
        UsageError
            `labels` is a string or holds something else than strings. Nothing is learned.
        MalformedEventError
            A label is past `max_labels`. Nothing is learned.
        """
        if isinstance(labels, str):
            raise UsageError(f"labels: found the string {labels!r}, accepted: a set of strings")
        names = list(labels)
        if not all(isinstance(name, str) for name in names):
            raise UsageError("labels: found a label that is no string, accepted: strings")
        self._waiting.append(self._labels.ids(self._labels.admit(names)))
        if len(self._waiting) == STRIDE:
            sizes = [len(row) for row in self._waiting]
            indptr = np.zeros(len(sizes) + 1, dtype=np.int64)
            np.cumsum(sizes, out=indptr[1:])
            flat = [label for row in self._waiting for label in row]
            self._keeper.update(indptr, np.array(flat, dtype=np.int32))
            self._waiting = []
            self._learned += STRIDE
            self._keeper.adapt(self._learned, self._labels.names)

    def update_many(self, events: Iterable[Iterable[str]]) -> None:
        """Learn events in order; raises as `update`, those before the wrong one are learned."""
        for labels in events:
            self.update(labels)

    def clusters(self) -> list[set[str]]:
        """The clusters, largest first, then by the name that comes first; they are disjoint."""
        name = self._labels.name
        return [{name(label) for label in cluster} for cluster in self._keeper.clusters()]

    def unplaced(self) -> set[str]:
        """Labels that have been on and are in no cluster: too little is known about them."""
        return set(self._labels.names()).difference(*self.clusters())

    def hierarchy(self) -> Hierarchy:
        """The hierarchy of the clusters."""
        return make_hierarchy(
            self._keeper.clusters(), self._keeper.partitioner.counts, self._labels.names()
        )

    def events(self) -> list[LearnerEvent]:
        """What has happened, the latest 10,000: alarms, splits, merges, labels moved or placed."""
        return self._log.since(0)
