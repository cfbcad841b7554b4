"""iHOMER's partition by Jaccard dissimilarity, repaired for sparse label sets.

In: label sets. Out: clusters of labels that occur together, the active leaves of a binary
hierarchy. Here is what happens over time: what is counted, when a label is placed, when a new
partition replaces the one that is served. How labels are divided is in `separation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ihomer.errors import UsageError
from ihomer.instances import FloatArray, IntArray, OffsetArray
from ihomer.learners.partition.cooccurrence import Cooccurrence
from ihomer.learners.partition.separation import (
    GroupArray,
    Limits,
    description_gain,
    divide,
    numbered,
)

STRIDE = 128
# Distances between two looks, in events: .4 of those gone by, within these limits.
_SHORTEST, _LONGEST, _GROWTH = 256, 19_968, 0.4


class _Pairs(NamedTuple):
    """Ranks of the pairs counted, int64 (p,), the smaller one first; and counts, float64 (p,)."""

    first: GroupArray
    second: GroupArray
    together: FloatArray


class JaccardPartitioner:
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
        if not 1 <= min_size <= max_size:
            raise UsageError(
                f"min_size, max_size: found {min_size}, {max_size}, accepted: 1 <= min <= max"
            )
        self._counts = Cooccurrence(horizon, max_pairs)
        self._limits = Limits(delta, min_size, max_size)
        self._evidence = evidence
        self._margin = margin
        self._thin = thin
        self._max_linked = max_linked
        self._cluster_of: IntArray = np.zeros(0, dtype=np.int32)
        self._clusters: list[list[int]] = []
        self._start = 0

    @property
    def memory_bytes(self) -> int:
        """Bytes held by the counts."""
        return self._counts.memory_bytes + self._cluster_of.nbytes

    def update(self, y_indptr: OffsetArray, y_indices: IntArray) -> None:
        """Count label sets; see `Partitioner.update`."""
        self._counts.update(y_indptr, y_indices)

    def due(self, learned: int) -> bool:
        """Whether to look at the partition: at growing distances, and only at strides.

        >>> [n for n in range(0, 2000, 128) if JaccardPartitioner().due(n)]
        [256, 512, 768, 1024, 1408, 1920]
        """
        elapsed = learned - self._start
        if elapsed % STRIDE:
            return False
        at = gap = _SHORTEST
        while at < elapsed and gap < _LONGEST:
            gap = min(_LONGEST, max(_SHORTEST, STRIDE * int(_GROWTH * at / STRIDE)))
            at += gap
        return at == elapsed or (at < elapsed and (elapsed - at) % _LONGEST == 0)

    def forget(self, learned: int = 0) -> None:
        """See `Partitioner.forget`; labels keep their place until better is known."""
        self._counts.fade(self._thin / 2.0)
        self._start = learned

    def clusters(self) -> list[list[int]]:
        """The clusters as ascending ids; see `Partitioner.clusters`."""
        return [list(cluster) for cluster in self._clusters]

    def unplaced(self) -> list[int]:
        """Ids, ascending, of the labels that have been counted and have no place yet."""
        placed = {label for cluster in self._clusters for label in cluster}
        return [i for i in range(len(self._counts.labels())) if i not in placed]

    def refit(self, names: Sequence[str]) -> bool:
        """Look for a better partition; see `Partitioner.refit`."""
        counts = np.zeros(len(names))
        seen = self._counts.labels()[: len(names)]
        counts[: len(seen)] = seen
        served = np.full(len(names), -1, dtype=np.int64)
        served[: len(self._cluster_of)] = self._cluster_of
        # From here on labels are known by the rank of their name, so that ids play no role.
        order = np.array(sorted(range(len(names)), key=names.__getitem__), dtype=np.int64)
        counts, served = counts[order], served[order]
        groups = self._groups(counts, served, self._ranked_pairs(order))
        if not (groups >= 0).any():
            return False
        return self._serve(groups, order)

    def _ranked_pairs(self, order: npt.NDArray[np.int64]) -> _Pairs:
        """The pairs, in no particular order."""
        ranks = np.empty(len(order), dtype=np.int64)
        ranks[order] = np.arange(len(order))
        first, second, together = self._counts.pairs()
        if len(order) < len(self._counts.labels()):
            known = second < len(order)  # the larger id
            first, second, together = first[known], second[known], together[known]
        first, second = ranks[first], ranks[second]
        return _Pairs(np.minimum(first, second), np.maximum(first, second), together)

    def _groups(self, counts: FloatArray, served: GroupArray, pairs: _Pairs) -> GroupArray:
        """Group of each rank, -1 = no place; `served` is the same for the present partition."""
        enough = np.flatnonzero(counts >= self._evidence)
        linked = np.sort(enough[np.argsort(-counts[enough], kind="stable")][: self._max_linked])
        together = _dense(linked, pairs, len(counts))
        if not (served >= 0).any():
            groups = np.full(len(counts), -1, dtype=np.int64)
            groups[linked] = divide(counts[linked], together, self._limits)
            return _placed(groups, enough, counts, pairs, self._limits.largest)
        kept = _placed(served, enough, counts, pairs, self._limits.largest)
        if self._counts.events < self._thin or not len(linked):
            return kept
        found = divide(counts[linked], together, self._limits)
        # A label that the served partition has no place for counts as a cluster of its own.
        present = kept[linked]
        alone = np.flatnonzero(present < 0)
        present[alone] = len(counts) + alone
        present = numbered(present)
        if (present == found).all():
            return kept
        gain = description_gain(counts[linked], together, found)
        gain -= description_gain(counts[linked], together, present)
        if gain < self._margin:
            return kept
        groups = np.full(len(counts), -1, dtype=np.int64)
        groups[linked] = found
        groups = _placed(groups, enough, counts, pairs, self._limits.largest)
        return _with_former_company(groups, served)

    def _serve(self, groups: GroupArray, order: npt.NDArray[np.int64]) -> bool:
        ranked = [np.flatnonzero(groups == k) for k in np.unique(groups[groups >= 0])]
        # Largest first, then by the name that comes first.
        ranked.sort(key=lambda cluster: (-len(cluster), cluster[0]))
        clusters = [sorted(order[cluster].tolist()) for cluster in ranked]
        changed = clusters != self._clusters
        self._clusters = clusters
        self._cluster_of = np.full(len(order), -1, dtype=np.int32)
        for number, cluster in enumerate(clusters):
            self._cluster_of[cluster] = number
        return changed


def _dense(linked: GroupArray, pairs: _Pairs, n: int) -> FloatArray:
    """Counts of the pairs among `linked` as a symmetric matrix."""
    m = len(linked)
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


def _placed(
    groups: GroupArray, enough: GroupArray, counts: FloatArray, pairs: _Pairs, largest: int
) -> GroupArray:
    """The same groups, joined by the labels of `enough` that have none.

    Each joins the group that it is most alike on average, while there is room; a label that is
    alike to none waits, unless there is one group only.
    """
    groups = numbered_from_first(groups)
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


def numbered_from_first(groups: GroupArray) -> GroupArray:
    """Groups numbered in the order of their first member; -1 stays -1."""
    renumbered = np.full(len(groups), -1, dtype=np.int64)
    renumbered[groups >= 0] = numbered(groups[groups >= 0])
    return renumbered


def _with_former_company(groups: GroupArray, served: GroupArray) -> GroupArray:
    """Labels without enough evidence now go where most of their former company went."""
    groups = groups.copy()
    lost = (groups < 0) & (served >= 0)
    fresh = int(groups.max()) + 1
    for cluster in np.unique(served[lost]):
        company = groups[(served == cluster) & (groups >= 0)]
        if len(company):
            groups[lost & (served == cluster)] = np.bincount(company).argmax()
        else:
            groups[lost & (served == cluster)] = fresh
            fresh += 1
    return groups
