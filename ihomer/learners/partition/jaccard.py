"""iHOMER's partition by Jaccard dissimilarity, repaired for sparse label sets.

In: label sets. Out: the leaves of a binary hierarchy of label clusters. The published rule takes
the two most distant labels of a cluster as pivots; where most pairs of labels never occur together
all distances are 1 and the pivots are arbitrary. Here the hierarchy is the average linkage of the
similarities that are more than chance, and a node splits when the labels within its two sides are
more alike than those across them, by more than the Hoeffding bound.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ihomer.instances import FloatArray, IntArray, OffsetArray
from ihomer.learners.kernels.linkage import average_linkage
from ihomer.learners.partition.cooccurrence import Cooccurrence

STRIDE = 64
# Distances between two looks, in events: .4 of those gone by, within these limits.
_SHORTEST, _LONGEST, _GROWTH = 256, 20_032, 0.4


class JaccardPartitioner:
    """Clusters of labels that occur together.

    Parameters
    ----------
    horizon
        See `Cooccurrence`.
    delta
        Confidence of the Hoeffding bound.
    evidence
        Count from which a label is placed.
    significance
        Two labels count as alike when twice the log-likelihood ratio (Poisson) of their count
        together against chance exceeds this.
    min_size, max_size
        Limits of a cluster's size.
    max_linked
        The linkage is made of so many labels at most, the most frequent ones; it takes their
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
        delta: float = 1e-3,
        evidence: float = 5.0,
        significance: float = 12.0,
        min_size: int = 2,
        max_size: int = 1000,
        max_linked: int = 2000,
    ) -> None:
        self._counts = Cooccurrence(horizon)
        self._delta = delta
        self._evidence = evidence
        self._significance = significance
        self._min_size = min_size
        self._max_size = max_size
        self._max_linked = max_linked
        self._clusters: list[list[int]] = []

    @property
    def memory_bytes(self) -> int:
        """Bytes held by the counts."""
        return self._counts.memory_bytes

    def update(self, y_indptr: OffsetArray, y_indices: IntArray) -> None:
        """Count label sets; see `Partitioner.update`."""
        self._counts.update(y_indptr, y_indices)

    def due(self, learned: int) -> bool:
        """Whether to look at the partition: at growing distances, and only at strides.

        >>> [n for n in range(0, 2000, 64) if JaccardPartitioner().due(n)]
        [256, 512, 768, 1024, 1408, 1920]
        """
        if learned % STRIDE:
            return False
        at = gap = _SHORTEST
        while at < learned and gap < _LONGEST:
            gap = min(_LONGEST, max(_SHORTEST, STRIDE * int(_GROWTH * at / STRIDE)))
            at += gap
        return at == learned or (at < learned and (learned - at) % _LONGEST == 0)

    def forget(self) -> None:
        """Let what was counted weigh a twentieth; labels keep their place until better is known."""
        self._counts.fade(0.05)

    def clusters(self) -> list[list[int]]:
        """The clusters as ascending ids; see `Partitioner.clusters`."""
        return [list(cluster) for cluster in self._clusters]

    def refit(self, names: Sequence[str]) -> bool:
        """Look for a better partition; see `Partitioner.refit`."""
        counts = self._counts.labels()[: len(names)]
        enough = np.flatnonzero(counts >= self._evidence)
        if len(enough) < 2:
            return False
        by_count = sorted(enough.tolist(), key=lambda i: (-counts[i], names[i]))
        linked = sorted(by_count[: self._max_linked], key=names.__getitem__)
        others = sorted(by_count[self._max_linked :], key=names.__getitem__)
        similarity = self._similarity(counts, [*linked, *others])
        m = len(linked)
        groups = self._leaves(similarity[:m, :m], counts[linked])
        groups = _attach(groups, range(m, m + len(others)), similarity)
        served = self._served_groups([*linked, *others])
        if served and not _better(groups, served, similarity):
            placed = {i for group in served for i in group}
            rest = [i for i in range(m + len(others)) if i not in placed]
            groups = _attach(served, rest, similarity)
        ids = np.array([*linked, *others])
        found = [ids[group].tolist() for group in groups if group]
        return self._serve(self._with_former_labels(found, names), names)

    def _similarity(self, counts: FloatArray, ids: list[int]) -> FloatArray:
        """Jaccard similarities of `ids` where they exceed chance, else 0; float64 (m, m).

        Labels past `max_linked` only have entries with those before them that they occur with.
        """
        m = len(ids)
        place = np.full(len(counts), -1)
        place[ids] = np.arange(m)
        first, second, together = self._counts.pairs()
        known = (first < len(counts)) & (second < len(counts))
        first, second, together = first[known], second[known], together[known]
        expected = counts[first] * counts[second] / self._counts.events
        surplus = together * np.log(together / expected) - (together - expected)
        alike = (together > expected) & (2.0 * surplus > self._significance)
        alike &= (place[first] >= 0) & (place[second] >= 0)
        first, second, together = first[alike], second[alike], together[alike]
        jaccard = together / (counts[first] + counts[second] - together)
        matrix = np.zeros((m, m))
        matrix[place[first], place[second]] = jaccard
        matrix[place[second], place[first]] = jaccard
        return matrix

    def _leaves(self, similarity: FloatArray, counts: FloatArray) -> list[list[int]]:
        """Leaves of the linkage's hierarchy, split from the top as long as it pays."""
        m = len(similarity)
        if m == 2:
            return [[0, 1]]
        distance = 1.0 - np.minimum(similarity, 1.0)
        tree = average_linkage(distance)
        members: list[list[int]] = [[i] for i in range(m)]
        within = [0.0] * m  # sum of similarities over the pairs inside a node
        alike = [0] * m  # how many of these pairs are alike at all
        events = counts.tolist()
        for left, right, height in tree:
            a, b = int(left), int(right)
            across = max(0.0, 1.0 - height) * len(members[a]) * len(members[b])
            alike.append(
                alike[a]
                + alike[b]
                + int(np.count_nonzero(similarity[np.ix_(members[a], members[b])]))
            )
            members.append(members[a] + members[b])
            within.append(within[a] + within[b] + across)
            events.append(events[a] + events[b])
        leaves: list[list[int]] = []
        small: list[int] = []
        open_nodes = [2 * m - 2]
        while open_nodes:
            node = open_nodes.pop()
            if node < m:
                leaves.append(members[node])
                continue
            a, b, height = int(tree[node - m][0]), int(tree[node - m][1]), float(tree[node - m][2])
            inside = (within[a] + within[b]) / max(1, alike[a] + alike[b])
            if not self._splits(len(members[node]), inside, 1.0 - height, events[node]):
                leaves.append(members[node])
                continue
            for side in (a, b):
                if len(members[side]) < self._min_size:
                    small.extend(members[side])
                else:
                    open_nodes.append(side)
        return _attach(leaves, small, similarity)

    def _splits(self, size: int, inside: float, across: float, events: float) -> bool:
        """Whether pairs inside the sides are more alike than those across, beyond the bound."""
        if size > self._max_size:
            return True
        bound = math.sqrt(math.log(1.0 / self._delta) / (2.0 * events))
        return inside - across > bound

    def _served_groups(self, ids: list[int]) -> list[list[int]]:
        place = {label: i for i, label in enumerate(ids)}
        groups = [[place[i] for i in cluster if i in place] for cluster in self._clusters]
        return [group for group in groups if group]

    def _with_former_labels(self, found: list[list[int]], names: Sequence[str]) -> list[list[int]]:
        """Labels without enough evidence now go where most of their former company went."""
        home = {label: k for k, group in enumerate(found) for label in group}
        extra: list[list[int]] = [[] for _ in found]
        for cluster in self._clusters:
            company = Counter(home[i] for i in cluster if i in home)
            lost = [i for i in cluster if i not in home]
            if not lost:
                continue
            if not company:
                found.append(lost)
                extra.append([])
                continue
            most = max(company.values())
            candidates = [k for k, count in company.items() if count == most]
            best = min(candidates, key=lambda k: min(names[i] for i in found[k]))
            extra[best].extend(lost)
        return [group + more for group, more in zip(found, extra, strict=True)]

    def _serve(self, groups: list[list[int]], names: Sequence[str]) -> bool:
        groups = [sorted(group) for group in groups]
        groups.sort(key=lambda group: (-len(group), min(names[i] for i in group)))
        changed = groups != self._clusters
        self._clusters = groups
        return changed


def _attach(
    groups: list[list[int]], labels: Sequence[int], similarity: FloatArray
) -> list[list[int]]:
    """Each of `labels` joins the group that it is most alike on average, the first among equals.

    Those that are alike to none are left out: they get no place.
    """
    joined = [list(group) for group in groups]
    if not labels or not groups:
        return joined
    means = np.zeros((len(labels), len(groups)))
    for k, group in enumerate(groups):
        means[:, k] = similarity[np.ix_(labels, group)].mean(axis=1)
    for label, nearest, most in zip(labels, means.argmax(axis=1), means.max(axis=1), strict=True):
        if most > 0.0:
            joined[nearest].append(label)
    return joined


def _better(new: list[list[int]], served: list[list[int]], similarity: FloatArray) -> bool:
    """Whether `new` gathers similarity within groups better than `served`, by a margin."""
    off_diagonal = similarity.size - len(similarity)
    mean = float(similarity.sum()) / max(1, off_diagonal)

    def gathered(groups: list[list[int]]) -> float:
        return sum(
            float(similarity[np.ix_(group, group)].sum()) - mean * len(group) * (len(group) - 1)
            for group in groups
        )

    before = gathered(served)
    return gathered(new) > before + 0.02 * abs(before) + 1e-9
