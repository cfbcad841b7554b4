"""iHOMER's partition by Jaccard dissimilarity, repaired for sparse label sets.

In: label sets. Out: clusters of labels that occur together, the active leaves of a binary
hierarchy. Here is when a label is placed; how labels are divided is in `separation`, and what
happens over time in `counting`.
"""

from __future__ import annotations

import math

import numpy as np

from ihomer.errors import UsageError
from ihomer.instances import FloatArray
from ihomer.learners.partition.cooccurrence import WINDOW_HORIZON, Cooccurrence
from ihomer.learners.partition.counting import CountingPartitioner, Evidence, Found, GroupArray
from ihomer.learners.partition.separation import Limits, description_gain, divide, numbered


class JaccardPartitioner(CountingPartitioner):
    """Clusters of labels that occur together.

    Parameters
    ----------
    horizon, max_pairs
        See `Cooccurrence`.
    delta
        Chance of taking an accident for a border between clusters.
    evidence
        Count from which a label is placed.
    margin
        The served partition is replaced when a new one describes the counts by so many nats
        better.
    thin
        While the counts weigh less than so many events, labels are placed but nothing is replaced.
    min_size, max_size
        Limits of a cluster's size.
    max_linked
        The division is made of so many labels at most, the most frequent ones; it takes their
        square in memory. Others join the cluster that they are most alike.

    References
    ----------
    Neves, Lourenço, Cano, Marreiros: iHOMER, ECAI 2025. Rodrigues, Gama, Pedroso: Hierarchical
    clustering of time-series data streams (ODAC), TKDE 20, 2008.

    Examples
    --------
    >>> partitioner = JaccardPartitioner()
    >>> for first in [0, 2] * 200:  # labels 0 and 1 together, labels 2 and 3 together
    ...     partitioner.update(np.array([0, 2]), np.array([first, first + 1], dtype=np.int32))
    >>> partitioner.refit(["a", "b", "c", "d"])
    True
    >>> partitioner.clusters()
    [[0, 1], [2, 3]]
    """

    def __init__(
        self,
        horizon: float = 10_000.0,
        max_pairs: int = 1 << 19,
        delta: float = 0.002,
        evidence: float = 5.0,
        margin: float = 10.0,
        thin: float = 200.0,
        min_size: int = 2,
        max_size: int = 1000,
        max_linked: int = 2000,
    ) -> None:
        if not 0.0 < delta < 1.0:
            raise UsageError(f"delta: found {delta}, accepted: between 0 and 1")
        counts = Cooccurrence(horizon, max_pairs)
        super().__init__(counts, evidence, margin, thin, min_size, max_size)
        self._delta = delta
        self._max_linked = max_linked

    def _compare(self, evidence: Evidence, served: GroupArray) -> Found:
        """See `CountingPartitioner`."""
        counts = evidence.counts
        enough = np.flatnonzero(counts >= self._evidence)
        linked = np.sort(enough[np.argsort(-counts[enough], kind="stable")][: self._max_linked])
        together = _dense(linked, evidence)
        kept = _placed(served, enough, evidence, self._largest)
        if not len(linked):
            return Found(kept, kept, 0.0)
        found = divide(counts[linked], together, Limits(self._delta, self._smallest, self._largest))
        best = np.full(len(counts), -1, dtype=np.int64)
        best[linked] = found
        best = _placed(best, enough, evidence, self._largest)
        gain = description_gain(counts[linked], together, found)
        gain -= description_gain(counts[linked], together, _alone(kept[linked]))
        return Found(kept, best, gain)

    def _gain(self, evidence: Evidence, served: GroupArray, groups: GroupArray) -> float:
        """See `CountingPartitioner`."""
        counts = evidence.counts
        linked = np.flatnonzero(counts > 0.0)
        linked = np.sort(linked[np.argsort(-counts[linked], kind="stable")][: self._max_linked])
        if len(linked) < 2:
            return 0.0
        together = _dense(linked, evidence)
        fits = []
        for division in (_alone(served[linked]), _alone(groups[linked])):
            price = len(linked) * math.log(int(division.max()) + 1)
            fits.append(description_gain(counts[linked], together, division) + price)
        return fits[1] - fits[0]

    def _empty_counts(self) -> Cooccurrence:
        """See `CountingPartitioner`."""
        return Cooccurrence(WINDOW_HORIZON)


def _alone(groups: GroupArray) -> GroupArray:
    """Groups numbered from 0; a label without one is one of its own."""
    groups = groups.copy()
    alone = np.flatnonzero(groups < 0)
    groups[alone] = groups.max(initial=0) + 1 + alone
    return numbered(groups)


def _dense(linked: GroupArray, pairs: Evidence) -> FloatArray:
    """Counts of the pairs among `linked` as a symmetric matrix."""
    m, n = len(linked), len(pairs.counts)
    place = np.full(n, -1, dtype=np.int64)
    place[linked] = np.arange(m)
    first, second, counts = place[pairs.first], place[pairs.second], pairs.together
    if m < n:
        inside = (first >= 0) & (second >= 0)
        first, second, counts = first[inside], second[inside], counts[inside]
    together = np.zeros((m, m))
    cells = together.reshape(-1)
    cells[first * m + second] = counts
    cells[second * m + first] = counts
    return together


def _placed(groups: GroupArray, enough: GroupArray, pairs: Evidence, largest: int) -> GroupArray:
    """The same groups, joined by the labels of `enough` that have none.

    Each joins the group that it is most alike on average, while there is room; a label that is
    alike to none waits, unless there is one group only.
    """
    groups, counts = _numbered_from_first(groups), pairs.counts
    waiting = enough[groups[enough] < 0]
    if not len(waiting) or not (groups >= 0).any():
        return groups
    sizes = np.bincount(groups[groups >= 0])
    row = np.full(len(groups), -1, dtype=np.int64)
    row[waiting] = np.arange(len(waiting))
    # In the order of ranks, because sums depend on it; no two pairs are equal.
    relevant = np.flatnonzero((row[pairs.first] >= 0) | (row[pairs.second] >= 0))
    first, second = pairs.first[relevant], pairs.second[relevant]
    by_rank = np.argsort(first * len(groups) + second)
    first, second = first[by_rank], second[by_rank]
    together = pairs.together[relevant[by_rank]]
    alike = together / (counts[first] + counts[second] - together)
    keys, values = [], []
    for label, other in ((first, second), (second, first)):
        there = (row[label] >= 0) & (groups[other] >= 0)
        keys.append(row[label[there]] * len(sizes) + groups[other[there]])
        values.append(alike[there])
    cells, inverse = np.unique(np.concatenate(keys), return_inverse=True)
    likeness = np.bincount(inverse, weights=np.concatenate(values), minlength=len(cells))
    likeness = likeness / sizes[cells % len(sizes)]
    # Best first; what comes later finds the room that is left.
    for cell in np.lexsort((cells, -likeness)).tolist():
        label, group = waiting[cells[cell] // len(sizes)], int(cells[cell] % len(sizes))
        if groups[label] < 0 and sizes[group] < largest:
            groups[label] = group
            sizes[group] += 1
    if len(sizes) == 1:
        alone = waiting[groups[waiting] < 0][: max(0, largest - int(sizes[0]))]
        groups[alone] = 0
    return groups


def _numbered_from_first(groups: GroupArray) -> GroupArray:
    """Groups numbered in the order of their first member; -1 stays -1."""
    renumbered = np.full(len(groups), -1, dtype=np.int64)
    renumbered[groups >= 0] = numbered(groups[groups >= 0])
    return renumbered
