"""A degree-corrected block model of which labels occur together, scored by description length.

In: label sets. Out: clusters of labels. The score is in `kernels.blockmodel`, what happens over
time in `counting`. The graph has the labels seen `SEEN` times or more as nodes and w_ij, the sum
of 1 / (|Y| - 1) over the events Y with both labels, as weights, those up to `FAINT` left out.
"""

from __future__ import annotations

import math

import numpy as np

from ihomer.instances import BoolArray
from ihomer.learners.kernels.blockmodel import Graph, block_score, block_sums, improve, move_nodes
from ihomer.learners.kernels.louvain import louvain
from ihomer.learners.partition.cooccurrence import WINDOW_HORIZON, Cooccurrence
from ihomer.learners.partition.counting import CountingPartitioner, Evidence, Found, GroupArray

RESOLUTIONS = (4.0, 16.0, 64.0)
SEEN = 3.0
FAINT = 0.05
_PASSES = 3  # over the blocks that are too small


class BlockPartitioner(CountingPartitioner):
    """Clusters of labels that occur together.

    Parameters
    ----------
    horizon, max_pairs
        See `Cooccurrence`.
    evidence, margin, thin, min_size, max_size
        See `CountingPartitioner`. A cluster is smaller than `min_size` only where its labels occur
        with no others, or these have no room; a label that occurs with no other joins if there is
        one cluster only.

    References
    ----------
    Karrer and Newman: Stochastic blockmodels and community structure in networks, Physical Review
    E 83, 2011. Peixoto: Parsimonious module inference in large networks, Physical Review Letters
    110, 2013.

    Examples
    --------
    >>> partitioner = BlockPartitioner()
    >>> for first in [0, 2] * 200:  # labels 0 and 1 together, labels 2 and 3 together
    ...     partitioner.update(np.array([0, 2]), np.array([first, first + 1], dtype=np.int32))
    >>> partitioner.refit(["a", "b", "c", "d"])
    True
    >>> partitioner.clusters()
    [[0, 1], [2, 3]]
    """

    def __init__(
        self,
        horizon: float = 100_000.0,
        max_pairs: int = 1 << 20,
        evidence: float = 5.0,
        margin: float = 10.0,
        thin: float = 200.0,
        min_size: int = 2,
        max_size: int = 1000,
    ) -> None:
        counts = Cooccurrence(horizon, max_pairs, shared=True)
        super().__init__(counts, evidence, margin, thin, min_size, max_size)

    def _empty_counts(self) -> Cooccurrence:
        """See `CountingPartitioner`."""
        return Cooccurrence(WINDOW_HORIZON, shared=True)

    def _compare(self, evidence: Evidence, served: GroupArray) -> Found:
        """See `CountingPartitioner`."""
        graph, nodes = _graph(evidence)
        kept, best = served.copy(), np.full(len(served), -1, dtype=np.int64)
        gain = 0.0
        if len(nodes):
            total = float(graph.degrees.sum())
            enough = evidence.counts[nodes] >= self._evidence
            present = served[nodes]
            fresh = np.flatnonzero(present < 0)
            # A label without a place is a cluster of its own until it has moved.
            present[fresh] = len(served) + fresh
            numbers, present = np.unique(present, return_inverse=True)
            move_nodes(graph, present, fresh, total, self._largest, True, 0)
            found, score = self._best(graph, present, total)
            gain = max(0.0, score - _score(graph, present, total))
            self._join_small(graph, found, np.flatnonzero(enough), total)
            best[nodes] = self._placed(found, enough)
            self._join_small(graph, present, fresh[enough[fresh]], total)
            groups = numbers[self._placed(present, enough)]
            groups[self._placed(present, enough) < 0] = -1
            self._admit(kept, nodes[fresh], groups[fresh])
        # What occurs with no other label belongs nowhere as long as there are several clusters.
        enough_of = np.flatnonzero(evidence.counts >= self._evidence)
        often = enough_of[np.argsort(-evidence.counts[enough_of], kind="stable")]
        for groups in (kept, best):
            only = np.unique(groups[groups >= 0])
            if len(only) < 2:
                waiting = often[groups[often] < 0]
                goal = np.full(len(waiting), only[0] if len(only) else 0)
                self._admit(groups, waiting, goal)
        return Found(kept, best, gain)

    def _gain(self, evidence: Evidence, served: GroupArray, groups: GroupArray) -> float:
        """See `CountingPartitioner`."""
        graph, nodes = _graph(evidence)
        if not len(nodes):
            return 0.0
        total = float(graph.degrees.sum())
        fits = []
        for division in (served[nodes], groups[nodes]):
            alone = division < 0
            division[alone] = len(served) + np.flatnonzero(alone)
            blocks = np.unique(division, return_inverse=True)[1]
            fits.append(_score(graph, blocks, total) + _price(blocks, total))
        return fits[1] - fits[0]

    def _best(self, graph: Graph, present: GroupArray, total: float) -> tuple[GroupArray, float]:
        """The best of what several starts lead to, and its score; ties go to the present one."""
        n = len(present)
        starts = [present.copy()]
        for resolution in RESOLUTIONS:
            blocks = np.empty(n, dtype=np.int64)
            louvain(graph, total, resolution, self._largest, blocks)
            starts.append(blocks)
        if n <= self._largest:
            starts.append(np.zeros(n, dtype=np.int64))
        scores = [improve(graph, blocks, total, self._largest) for blocks in starts]
        number = int(np.argmax(scores))
        return starts[number], scores[number]

    def _join_small(
        self, graph: Graph, blocks: GroupArray, nodes: GroupArray, total: float
    ) -> None:
        """Move those of `nodes` whose blocks are too small to the blocks that they fit best."""
        for _ in range(_PASSES):
            if not move_nodes(graph, blocks, nodes, total, self._largest, False, self._smallest):
                break

    def _placed(self, blocks: GroupArray, enough: BoolArray) -> GroupArray:
        """The same blocks, -1 for labels that are alone and should not be."""
        alone = np.bincount(blocks)[blocks] == 1
        return np.where(alone & (~enough | (self._smallest > 1)), -1, blocks)

    def _admit(self, groups: GroupArray, labels: GroupArray, goals: GroupArray) -> None:
        """Let labels without a place into groups, -1 = none, while there is room."""
        sizes = np.bincount(groups[groups >= 0], minlength=int(goals.max(initial=-1)) + 1)
        for label, goal in zip(labels.tolist(), goals.tolist(), strict=True):
            if goal >= 0 and sizes[goal] < self._largest:
                groups[label] = goal
                sizes[goal] += 1


def _score(graph: Graph, blocks: GroupArray, total: float) -> float:
    return block_score(block_sums(graph, blocks), total, len(blocks))


def _price(blocks: GroupArray, total: float) -> float:
    """What the score takes off for saying what the blocks are."""
    sizes = np.bincount(blocks)
    places = math.fsum((sizes * np.log(len(blocks) / sizes)).tolist())
    return places + 0.5 * len(sizes) * math.log(max(1.0, 0.5 * total))


def _graph(evidence: Evidence) -> tuple[Graph, GroupArray]:
    """The graph, and the rank of each of its nodes; they are in the order of (-degree, name)."""
    m = len(evidence.counts)
    seen = evidence.counts >= SEEN
    there = np.flatnonzero((evidence.shares > FAINT) & seen[evidence.first] & seen[evidence.second])
    first, second = evidence.first[there], evidence.second[there]
    # In the order of names, because sums depend on it; no two pairs are equal.
    by_name = np.argsort(first * m + second)
    first, second, weights = first[by_name], second[by_name], evidence.shares[there[by_name]]
    degrees = np.zeros(m)
    for ends in (first, second):
        degrees += np.bincount(ends, weights, minlength=m)
    linked = np.flatnonzero(degrees > 0.0)
    nodes = linked[np.argsort(-degrees[linked], kind="stable")]
    n = len(nodes)
    place = np.empty(m, dtype=np.int64)
    place[nodes] = np.arange(n)
    rows = np.concatenate([place[first], place[second]])
    columns = np.concatenate([place[second], place[first]])
    order = np.argsort(rows * n + columns)
    indptr = np.zeros(n + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows, minlength=n), out=indptr[1:])
    return (
        Graph(
            indptr,
            columns[order],
            np.concatenate([weights, weights])[order],
            degrees[nodes],
            np.ones(n, dtype=np.int64),
        ),
        nodes,
    )
