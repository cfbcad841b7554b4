"""What partitioners have in common that fit clusters to counts of labels and of pairs.

In: label sets. Out: clusters. Here is what happens over time: what is counted, when it is looked
at, when a new partition replaces the one that is served, and what becomes of labels that it says
nothing about. How labels are divided is the business of those that derive from it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ihomer.errors import UsageError
from ihomer.instances import FloatArray, IntArray, OffsetArray, rows_where
from ihomer.learners.kernels.scaling import STRIDE
from ihomer.learners.partition.cooccurrence import Cooccurrence

# Distances between two looks, in events: .4 of those gone by, within these limits.
_SHORTEST, _LONGEST, _GROWTH = 256, 19_968, 0.4

GroupArray = npt.NDArray[np.int64]


class Evidence(NamedTuple):
    """What was counted, labels known by the rank of their name so that ids play no role.

    Attributes
    ----------
    counts
        float64 (m,).
    first, second
        int64 (p,): the pairs counted, the smaller rank first, in no particular order.
    together, shares
        float64 (p,): their counts, and the same in parts of 1 / (|Y| - 1); equal where the
        counts have no shares.
    """

    counts: FloatArray
    first: GroupArray
    second: GroupArray
    together: FloatArray
    shares: FloatArray


class Found(NamedTuple):
    """Two ways of dividing labels.

    Attributes
    ----------
    kept
        int64 (m,): group of each rank if the served partition stays, joined by labels that now
        have a place; -1 = no place.
    best
        The same for the best partition found.
    gain
        By how many nats the best one describes the counts better.
    """

    kept: GroupArray
    best: GroupArray
    gain: float


class CountingPartitioner(ABC):
    """See the module.

    Parameters
    ----------
    counts
        Empty.
    evidence
        Count from which a label is placed.
    margin
        The served partition is replaced when a new one describes the counts by so many nats
        better.
    thin
        While the counts weigh less than so many events, labels are placed but nothing is replaced.
    min_size, max_size
        Limits of a cluster's size.
    """

    def __init__(
        self,
        counts: Cooccurrence,
        evidence: float,
        margin: float,
        thin: float,
        min_size: int,
        max_size: int,
    ) -> None:
        if not 1 <= min_size <= max_size:
            raise UsageError(
                f"min_size, max_size: found {min_size}, {max_size}, accepted: 1 <= min <= max"
            )
        self._counts = counts
        self._evidence = evidence
        self._margin = margin
        self._thin = thin
        self._smallest, self._largest = min_size, max_size
        self._cluster_of: IntArray = np.zeros(0, dtype=np.int32)
        self._clusters: list[list[int]] = []
        self._start = 0

    @property
    def counts(self) -> Cooccurrence:
        """See `Partitioner.counts`."""
        return self._counts

    @property
    def memory_bytes(self) -> int:
        """Bytes held by the counts."""
        return self._counts.memory_bytes + self._cluster_of.nbytes

    def update(self, y_indptr: OffsetArray, y_indices: IntArray) -> None:
        """Count label sets; see `Partitioner.update`."""
        self._counts.update(y_indptr, y_indices)

    def due(self, learned: int) -> bool:
        """Whether to look at the partition: at growing distances, and only at strides.

        >>> from ihomer.learners.partition.jaccard import JaccardPartitioner
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
        """See `Partitioner.forget`."""
        self._counts.fade(0.0)
        self._start = learned

    def forget_labels(self, labels: IntArray) -> None:
        """See `Partitioner.forget_labels`."""
        self._counts.forget_labels(labels)
        going = set(labels.tolist())
        self._clusters = [[i for i in cluster if i not in going] for cluster in self._clusters]
        self._cluster_of[labels[labels < len(self._cluster_of)]] = -1

    def clusters(self) -> list[list[int]]:
        """The clusters as ascending ids; see `Partitioner.clusters`."""
        return [list(cluster) for cluster in self._clusters]

    def unplaced(self) -> list[int]:
        """See `Partitioner.unplaced`."""
        placed = {label for cluster in self._clusters for label in cluster}
        return [i for i in range(len(self._counts.labels())) if i not in placed]

    def refit(self, names: Sequence[str]) -> bool:
        """Look for a better partition; see `Partitioner.refit`."""
        order = _by_name(names)
        served = _places(self._cluster_of, len(names))[order]
        fresh = not (served >= 0).any()
        found = self._compare(_evidence(self._counts, order), served)
        groups = found.kept
        if fresh or (self._counts.events >= self._thin and found.gain >= self._margin):
            groups = with_former_company(found.best, served, self._largest)
        if not (groups >= 0).any():
            return False
        return self._serve(groups, order)

    def advantage(self, y_indptr: OffsetArray, y_indices: IntArray, names: Sequence[str]) -> float:
        """See `Partitioner.advantage`.

        Clusters are fitted to half of the label sets and held against those served on the other
        half, and the other way round, by likelihood alone: few label sets of many labels would
        always be described better by what was fitted to them, and shorter by fewer clusters.
        """
        labels, ids = np.unique(y_indices, return_inverse=True)
        order = _by_name([names[label] for label in labels.tolist()])
        served = _places(self._cluster_of, len(names))[labels][order]
        halves = []
        for parity in range(2):
            held = self._empty_counts()
            held.update(*_half(y_indptr, ids.astype(np.int32), parity))
            halves.append(_evidence(held, order))
        gain = 0.0
        for own, other in (halves, halves[::-1]):
            best = self._compare(own, served).best
            groups = with_former_company(best, served, self._largest)
            groups[served < 0] = -1  # to find a place for new labels is no change
            gain += self._gain(other, served, groups)
            if gain <= 0.0:  # mostly; the other half need not be asked
                break
        return gain

    @abstractmethod
    def _compare(self, evidence: Evidence, served: GroupArray) -> Found:
        """Hold the served partition, int64 (m,), -1 = no place, against the best one found."""

    @abstractmethod
    def _gain(self, evidence: Evidence, served: GroupArray, groups: GroupArray) -> float:
        """Log-likelihood ratio of `groups` and `served`, nats; -1 = a group of its own."""

    @abstractmethod
    def _empty_counts(self) -> Cooccurrence:
        """Counts of the kind that is needed, with room for a short window."""

    def _serve(self, groups: GroupArray, order: GroupArray) -> bool:
        by_group = np.argsort(groups, kind="stable")
        by_group = by_group[np.searchsorted(groups[by_group], 0) :]
        borders = np.flatnonzero(np.diff(groups[by_group])) + 1
        ranked = np.split(by_group, borders)
        # Largest first, then by the name that comes first.
        ranked.sort(key=lambda cluster: (-len(cluster), cluster[0]))
        clusters = [sorted(order[cluster].tolist()) for cluster in ranked]
        changed = clusters != self._clusters
        self._clusters = clusters
        self._cluster_of = np.full(len(order), -1, dtype=np.int32)
        for number, cluster in enumerate(clusters):
            self._cluster_of[cluster] = number
        return changed


def _half(indptr: OffsetArray, indices: IntArray, parity: int) -> tuple[OffsetArray, IntArray]:
    """Half of the rows: those whose number has an even (0) or odd (1) number of ones in binary.

    Even and odd numbers themselves would take a stream apart that comes in turns.
    """
    chosen = np.bitwise_count(np.arange(len(indptr) - 1)) % 2 == parity
    ends, cells = rows_where(indptr, chosen)
    return ends, indices[cells]


def _by_name(names: Sequence[str]) -> GroupArray:
    """Ids in the order of their names."""
    return np.array(sorted(range(len(names)), key=names.__getitem__), dtype=np.int64)


def _places(cluster_of: IntArray, n: int) -> GroupArray:
    served = np.full(n, -1, dtype=np.int64)
    known = cluster_of[:n]
    served[: len(known)] = known
    return served


def _evidence(held: Cooccurrence, order: GroupArray) -> Evidence:
    """What is held of the first labels, whose ids by rank are `order`."""
    n = len(order)
    counts = np.zeros(n)
    seen = held.labels()[:n]
    counts[: len(seen)] = seen
    ranks = np.empty(n, dtype=np.int64)
    ranks[order] = np.arange(n)
    first, second, together = held.pairs()
    shares = held.shares()[2] if held.shared else together
    if n < len(held.labels()):
        known = second < n  # the larger id
        first, second, together, shares = (
            first[known],
            second[known],
            together[known],
            shares[known],
        )
    first, second = ranks[first], ranks[second]
    return Evidence(
        counts[order], np.minimum(first, second), np.maximum(first, second), together, shares
    )


def with_former_company(groups: GroupArray, served: GroupArray, largest: int) -> GroupArray:
    """Labels without a group go where most of their former company went, while there is room.

    Parameters
    ----------
    groups, served
        int64 (m,): new and present group of each label, -1 = none.
    largest
        So many labels fit into a group.
    """
    groups = groups.copy()
    lost = np.flatnonzero((groups < 0) & (served >= 0))
    if not len(lost):
        return groups
    fresh = int(groups.max()) + 1
    sizes = np.bincount(groups[groups >= 0], minlength=fresh).tolist()
    there = groups >= 0
    width = max(1, fresh)
    company = np.unique(
        served[there & (served >= 0)] * width + groups[there & (served >= 0)], return_counts=True
    )
    best: dict[int, tuple[int, int]] = {}
    for key, count in zip(company[0].tolist(), company[1].tolist(), strict=True):
        cluster, group = divmod(key, width)
        if count > best.get(cluster, (0, 0))[0]:
            best[cluster] = (count, group)
    goal = {cluster: group for cluster, (_, group) in best.items()}
    for label, cluster in zip(lost.tolist(), served[lost].tolist(), strict=True):
        group = goal.get(cluster, -1)
        if group < 0 or sizes[group] >= largest:
            group = goal[cluster] = fresh
            fresh += 1
            sizes.append(0)
        groups[label] = group
        sizes[group] += 1
    return groups
