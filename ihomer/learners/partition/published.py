"""iHOMER's partition as it is published, to be held against: two pivots, Hoeffding bounds.

In: label sets. Out: the active leaves of a binary hierarchy of clusters. Dissimilarities are
d_ij = 1 - n_ij / (n_i + n_j - n_ij) of faded counts. Every `n_min` events each leaf of two labels
or more is tested, with d1 its diameter, d2 the second largest, d0 the smallest and avg the mean
dissimilarity, e = sqrt(ln(1/delta) / (2n)) and n the events since the leaf was made. It splits when
d1 - d2 > e or e < tau, and (d1 - d0) |d1 + d0 - 2 avg| > e: the two labels of d1 are the pivots,
every other label goes to the nearer one. A pair of sister leaves becomes their parent again when
the diameter of one of them is larger than the parent's was, by more than the larger bound.

On sparse label sets most pairs never occur together, so d1 = d2 = 1 and the pivots are arbitrary;
nothing splits before e < tau.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ihomer.instances import FloatArray, IntArray, OffsetArray
from ihomer.learners.partition.cooccurrence import Cooccurrence
from ihomer.learners.partition.separation import similarity

_SMALLEST = 2  # labels of a leaf that is tested


@dataclass
class _Node:
    """A cluster; labels by id."""

    labels: list[int]
    since: float = 0.0  # events counted before it was made
    diameter: float = 0.0  # when it was split
    bound: float = 0.0
    sides: list[_Node] = field(default_factory=list)


class PublishedPartitioner:
    """See the module, and `Partitioner`.

    Parameters
    ----------
    horizon, max_pairs
        See `Cooccurrence`.
    delta
        Chance of a wrong split, in (0, 1).
    tau
        Bound below which a tie between the two largest dissimilarities is a split.
    n_min
        Events between two tests.

    References
    ----------
    Neves, Lourenço, Cano, Marreiros: iHOMER, ECAI 2025. Rodrigues, Gama, Pedroso: Hierarchical
    clustering of time-series data streams (ODAC), TKDE 20, 2008.
    """

    def __init__(
        self,
        horizon: float = 100_000.0,
        max_pairs: int = 1 << 19,
        delta: float = 0.05,
        tau: float = 0.02,
        n_min: int = 512,
    ) -> None:
        self._counts = Cooccurrence(horizon, max_pairs)
        self._delta, self._tau, self._n_min = delta, tau, n_min
        self._root = _Node([])
        self._clusters: list[list[int]] = []
        self._learned = 0

    @property
    def counts(self) -> Cooccurrence:
        """See `Partitioner.counts`."""
        return self._counts

    @property
    def memory_bytes(self) -> int:
        """Bytes held by the counts."""
        return self._counts.memory_bytes

    def update(self, y_indptr: OffsetArray, y_indices: IntArray) -> None:
        """See `Partitioner.update`."""
        self._counts.update(y_indptr, y_indices)
        self._learned += int(np.count_nonzero(np.diff(y_indptr)))

    def due(self, learned: int) -> bool:
        """Whether the leaves are tested after so many events."""
        return learned > 0 and learned % self._n_min == 0

    def clusters(self) -> list[list[int]]:
        """See `Partitioner.clusters`."""
        return [list(cluster) for cluster in self._clusters]

    def unplaced(self) -> list[int]:
        """See `Partitioner.unplaced`."""
        placed = {label for cluster in self._clusters for label in cluster}
        return [i for i in range(len(self._counts.labels())) if i not in placed]

    def advantage(self, y_indptr: OffsetArray, y_indices: IntArray, names: Sequence[str]) -> float:
        """None: the published method has its own tests only."""
        del y_indptr, y_indices, names
        return 0.0

    def forget(self, learned: int = 0) -> None:
        """Drop the counts; see `Partitioner.forget`."""
        del learned
        self._counts.fade(0.0)

    def forget_labels(self, labels: IntArray) -> None:
        """See `Partitioner.forget_labels`."""
        self._counts.forget_labels(labels)
        going = set(labels.tolist())
        self._clusters = [[i for i in cluster if i not in going] for cluster in self._clusters]
        waiting = [self._root]
        while waiting:
            node = waiting.pop()
            node.labels = [i for i in node.labels if i not in going]
            waiting += node.sides

    def refit(self, names: Sequence[str]) -> bool:
        """Test every leaf, and every pair of sister leaves; see `Partitioner.refit`."""
        counts = np.zeros(len(names))
        seen = self._counts.labels()[: len(names)]
        counts[: len(seen)] = seen
        alike = np.zeros((len(names), len(names)))
        first, second, together = self._counts.pairs()
        known = second < len(names)
        alike[first[known], second[known]] = together[known]
        alike[second[known], first[known]] = together[known]
        counted = np.flatnonzero(counts > 0.0)
        alike[np.ix_(counted, counted)] = similarity(
            counts[counted], alike[np.ix_(counted, counted)]
        )
        distance = 1.0 - alike
        self._place_new(counted.tolist(), distance, names)
        waiting = [self._root]
        while waiting:
            node = waiting.pop()
            if not node.sides:
                self._try_split(node, distance)
            elif not any(side.sides for side in node.sides):
                self._try_merge(node, distance)
            waiting.extend(node.sides)
        leaves = [sorted(leaf.labels) for leaf in self._leaves() if leaf.labels]
        leaves.sort(key=lambda labels: (-len(labels), min(names[i] for i in labels)))
        changed = leaves != self._clusters
        self._clusters = leaves
        return changed

    def _place_new(
        self, counted: Sequence[int], distance: FloatArray, names: Sequence[str]
    ) -> None:
        """Put labels seen for the first time into the leaf that they are nearest to on average."""
        known = {label for leaf in self._leaves() for label in leaf.labels}
        for label in sorted(set(counted) - known, key=names.__getitem__):
            leaves = self._leaves()
            means = [
                float(distance[label, leaf.labels].mean()) if leaf.labels else 1.0
                for leaf in leaves
            ]
            leaf = leaves[int(np.argmin(means))]
            leaf.labels.append(label)
            leaf.labels.sort(key=names.__getitem__)

    def _leaves(self) -> list[_Node]:
        leaves, waiting = [], [self._root]
        while waiting:
            node = waiting.pop()
            if node.sides:
                waiting.extend(reversed(node.sides))
            else:
                leaves.append(node)
        return leaves

    def _bound(self, node: _Node) -> float:
        return math.sqrt(math.log(1.0 / self._delta) / (2.0 * max(1.0, self._learned - node.since)))

    def _try_split(self, node: _Node, distance: FloatArray) -> None:
        if len(node.labels) < _SMALLEST:
            return
        labels = node.labels
        inside = distance[np.ix_(labels, labels)]
        rows, columns = np.triu_indices(len(labels), 1)
        values = inside[rows, columns]
        far = int(np.argmax(values))
        d1, d0, mean = float(values[far]), float(values.min()), float(values.mean())
        d2 = float(np.delete(values, far).max(initial=0.0))
        bound = self._bound(node)
        if not (d1 - d2 > bound or bound < self._tau):
            return
        if not (d1 - d0) * abs(d1 + d0 - 2.0 * mean) > bound:
            return
        left, right = int(rows[far]), int(columns[far])
        nearer = inside[left] <= inside[right]
        nearer[left], nearer[right] = True, False
        node.diameter, node.bound = d1, bound
        node.sides = [
            _Node([labels[i] for i in np.flatnonzero(side)], self._learned)
            for side in (nearer, ~nearer)
        ]

    def _try_merge(self, node: _Node, distance: FloatArray) -> None:
        for side in node.sides:
            inside = distance[np.ix_(side.labels, side.labels)].copy()
            np.fill_diagonal(inside, 0.0)
            if inside.max() - node.diameter > max(node.bound, self._bound(side)):
                node.labels = sorted(node.sides[0].labels + node.sides[1].labels)
                node.sides, node.since = [], float(self._learned)
                return
