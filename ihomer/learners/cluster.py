"""One cluster of labels: its trees, the regression along their paths, and its detector.

In: a segment of events. Out: logits for the cluster's labels. Clusters share nothing, so they run
on threads.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence

import numpy as np

from ihomer.drift.watch import Watch
from ihomer.instances import BoolArray, FloatArray, IntArray
from ihomer.learners.experts.forest import Forest, SplitTest
from ihomer.learners.experts.path import PathRegression
from ihomer.learners.segment import OUTER, Segment

FOREST, PATH = range(len(OUTER))


class Cluster:
    """The learner of one cluster's labels.

    Parameters
    ----------
    members
        int32 (m,), label ids, ascending.
    trees, split_test, seed
        See `Forest`.
    without
        Parts that are switched off: ``"forest"``, ``"path"``, ``"alternates"``.
    """

    def __init__(
        self,
        members: IntArray,
        trees: int,
        split_test: SplitTest,
        seed: int,
        without: Collection[str] = (),
    ) -> None:
        self.members = members
        self.watch = Watch()
        self.forest: Forest | None = None
        self.path: PathRegression | None = None
        if not {"forest", "path"} <= set(without):
            alternates = "alternates" not in without
            self.forest = Forest(trees, split_test=split_test, alternates=alternates, seed=seed)
            if "path" not in without:
                self.path = PathRegression()

    @property
    def memory_bytes(self) -> int:
        """Bytes held by the arrays."""
        return sum(part.memory_bytes for part in (self.forest, self.path) if part is not None)

    def run(self, segment: Segment, columns: int, *, nursery: bool) -> None:
        """Predict into ``segment.outer`` at this cluster's labels, then learn the labelled events.

        Parameters
        ----------
        segment
            Of n events.
        columns
            Feature columns in use.
        nursery
            Whether this is the cluster into which labels are born: it writes the reserve's logits.
        """
        if self.forest is None:
            return
        batch, members = segment.batch, self.members
        n, m = len(batch), len(members)
        position_of = np.full(batch.n_labels, -1, dtype=np.int32)
        position_of[members] = np.arange(1, m + 1)
        places = np.concatenate([np.zeros(1, dtype=np.int32), members + 1])
        self.forest.make_room(columns, m)
        out = np.empty((2, n, 1 + m), dtype=np.float32)
        paths, gone = self.forest.run(batch, members, position_of, out[FOREST])
        if self.path is not None and not segment.correcting:
            self.path.forget_nodes(gone)
        elif self.path is not None:
            self.path.make_room(self.forest.nodes, m)
            base = np.take(segment.base, places, axis=1)  # in C order, as the kernel expects
            self.path.run(paths, base, batch, members, position_of, out[PATH])
            self.path.forget_nodes(gone)
        first = 0 if nursery else 1
        to = places[first:]
        for number, part in enumerate((self.forest, self.path)):
            if part is not None:
                segment.outer[number][:n, to] = out[number][:, first:]

    def inherit(self, sources: Sequence[Cluster], priors: FloatArray, *, trees: bool) -> None:
        """Start with what the present clusters of this one's labels have learned about them.

        The trees are those of the cluster that holds most of the labels; to them the other labels
        are new.

        Parameters
        ----------
        sources
            The present clusters of the members, at least one.
        priors
            float64 (m,): how often the members are on.
        trees
            False: the trees are not worth a copy, and start anew.
        """
        if self.forest is None:
            return
        for source in sources:
            source._know_members()
        shared = [np.isin(self.members, source.members) for source in sources]
        main = max(range(len(sources)), key=lambda i: int(shared[i].sum()))
        if trees:
            self._copy_trees(sources[main], shared[main], priors)
        if self.path is None:
            return
        self.path.make_room(0, len(self.members))
        for number, (source, there) in enumerate(zip(sources, shared, strict=True)):
            if source.path is not None and not (trees and number == main):
                own, theirs = self._places(source, there)
                self.path.inherit(1 + own, source.path, 1 + theirs)

    def _know_members(self) -> None:
        """Make room for labels that were born while the trees rested."""
        if self.forest is not None:
            self.forest.make_room(0, len(self.members))
        if self.path is not None:
            self.path.make_room(0, len(self.members))

    def _places(self, source: Cluster, shared: BoolArray) -> tuple[IntArray, IntArray]:
        """Where the labels shared with `source` stand among the members, here and there."""
        own = np.flatnonzero(shared).astype(np.int32)
        return own, np.searchsorted(source.members, self.members[own]).astype(np.int32)

    def _copy_trees(self, source: Cluster, shared: BoolArray, priors: FloatArray) -> None:
        """Take over another cluster's trees, and the weights of their nodes for shared labels."""
        own, theirs = self._places(source, shared)
        positions = np.zeros(len(self.members), dtype=np.int32)
        positions[own] = 1 + theirs
        self.forest = copy.deepcopy(source.forest)
        if self.forest is not None:
            self.forest.rearrange(positions, priors)
        if self.path is not None and source.path is not None:
            self.path.make_room(source.path.linear.columns, len(self.members))
            zero = np.zeros(1, dtype=np.int32)
            self.path.linear.put(
                np.concatenate([zero, 1 + own]),
                source.path.linear.take(np.concatenate([zero, 1 + theirs])),
            )

    def set_budget(self, budget_bytes: int) -> None:
        """Change the memory that the trees stay below."""
        if self.forest is not None:
            self.forest.set_budget(budget_bytes)
