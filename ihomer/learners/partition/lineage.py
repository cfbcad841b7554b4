"""What has become of the clusters when the partition changes: numbers for life, and what happened.

In: each label's cluster before and after. Out: a number for each of the new clusters, and one
`LearnerEvent` for each pair of clusters between which labels went. It is here, apart from the
partitioners, so that a change is told alike whoever has made it.
"""

from __future__ import annotations

import numpy as np

from ihomer.drift.events import Kind, LearnerEvent, Level
from ihomer.instances import IntArray


class Lineage:
    """Gives clusters numbers that they keep for life.

    A new cluster goes on under the number of the old one with which it shares most labels, unless
    another one shares more with that.

    Attributes
    ----------
    numbers
        Of the present clusters, in their order, from 1.

    Examples
    --------
    >>> lineage = Lineage()
    >>> unplaced, apart = np.zeros(5, dtype=np.int32), np.array([1, 1, 1, 2, 2], dtype=np.int32)
    >>> for event in lineage.follow(128, unplaced, apart, 2):
    ...     print(event.kind, event.cluster, event.labels, event.action)
    move 1 (0, 1, 2) found a place
    move 2 (3, 4) found a place
    >>> together = np.ones(5, dtype=np.int32)
    >>> for event in lineage.follow(256, apart, together, 1):
    ...     print(event.kind, event.cluster, event.labels, event.action)
    merge 1 (3, 4) from cluster 2, which is no more
    >>> for event in lineage.follow(384, together, apart, 2):
    ...     print(event.kind, event.cluster, event.labels, event.action)
    split 3 (3, 4) from cluster 1
    """

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self._next = 1

    def follow(
        self, learned: int, before: IntArray, after: IntArray, clusters: int
    ) -> list[LearnerEvent]:
        """Number the clusters after a change, and tell what it was.

        Parameters
        ----------
        learned
            Number of events learned.
        before, after
            int32 (L,): the place of each label's cluster among those of then, from 1; 0: it has no
            place.
        clusters
            How many there are after the change.

        Returns
        -------
        list of LearnerEvent
            One for each pair of clusters between which labels went, in the order of their numbers:
            ``split`` where they are a new cluster now, ``merge`` where theirs is no more, else
            ``move``. `cluster` is where they are now.
        """
        width = clusters + 1
        flows, flow_of, sizes = np.unique(
            before.astype(np.int64) * width + after, return_inverse=True, return_counts=True
        )
        pairs = [divmod(flow, width) for flow in flows.tolist()]
        old = [0, *self.numbers]  # 0: without a place
        heirs, gone = {0: 0}, set(range(1, len(old)))
        ranked = sorted(
            zip(sizes.tolist(), pairs, strict=True), key=lambda it: (-it[0], old[it[1][0]], it[1])
        )
        for _, (a, b) in ranked:
            if a in gone and b not in heirs:
                heirs[b] = a
                gone.remove(a)
        new = [old[heirs[b]] if b in heirs else self._new() for b in range(width)]
        self.numbers = new[1:]
        # Each flow's labels, in the order of their ids.
        members = np.split(np.argsort(flow_of, kind="stable"), np.cumsum(sizes)[:-1])
        found = []
        for (a, b), ids in zip(pairs, members, strict=True):
            source, target = old[a], new[b]
            if source == target:
                continue
            kind, action = Kind.MOVE, f"from cluster {source}"
            if not source:
                action = "found a place"
            elif not target:
                action += ", lost their place"
            elif b not in heirs:
                kind = Kind.SPLIT
            if source and a in gone:
                action += ", which is no more"
                if target:
                    kind = Kind.MERGE
            event = LearnerEvent(
                learned, kind, Level.PARTITION, action, target, tuple(ids.tolist())
            )
            found.append((source, target, event))
        return [event for *_, event in sorted(found, key=lambda it: it[:2])]

    def _new(self) -> int:
        self._next += 1
        return self._next - 1
