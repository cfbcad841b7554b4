"""One cluster of labels: its trees, and the regression along their paths.

In: a segment of events. Out: logits for the cluster's labels. Clusters share nothing, so they run
on threads.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from ihomer.instances import BoolArray, Float32Array, FloatArray, IntArray
from ihomer.learners.experts.forest import Forest, Paths, SplitTest
from ihomer.learners.experts.path import PathRegression
from ihomer.learners.segment import OUTER, Segment

FOREST, PATH = range(len(OUTER))


class _Grown(NamedTuple):
    """What is known between `grow` and `correct`: paths, nodes that are gone, room for logits."""

    paths: Paths
    gone: IntArray
    out: Float32Array
    whole: bool  # `out` is the segment's own


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
        self._position_of = np.zeros(0, dtype=np.int32)
        self._grown: _Grown | None = None
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

    def grow(self, segment: Segment, columns: int, *, nursery: bool) -> None:
        """Let the trees predict, then learn the labelled events; `correct` comes next.

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
        position_of = self.positions(batch.n_labels)
        self.forest.make_room(columns, m)
        # Where all labels are together, everything already stands where it belongs.
        whole = segment.alone and nursery and m == batch.n_labels
        out = segment.outer if whole else np.empty((2, n, 1 + m), dtype=np.float32)
        paths, gone = self.forest.run(batch, members, position_of, out[FOREST])
        self._grown = _Grown(paths, gone, out, whole)

    def correct(self, segment: Segment, *, nursery: bool) -> None:
        """After `grow` and the linear experts: correct these along the paths, then learn.

        What trees and corrections say goes into ``segment.outer`` at this cluster's labels.
        """
        if self.forest is None or self._grown is None:
            return
        batch, members = segment.batch, self.members
        paths, gone, out, whole = self._grown
        self._grown = None
        places = np.concatenate([np.zeros(1, dtype=np.int32), members + 1])
        if self.path is not None:
            # At rest, too: the trees grow on, and nodes that they give back are forgotten below.
            self.path.make_room(self.forest.nodes, len(members))
            if segment.correcting:
                # In C order, as the kernel expects.
                base = segment.base if whole else np.take(segment.base, places, axis=1)
                position_of = self.positions(batch.n_labels)
                self.path.run(paths, base, batch, members, position_of, out[PATH])
            self.path.forget_nodes(gone)
        if whole:
            return
        first = 0 if nursery else 1
        to = places[first:]
        for number, part in enumerate((self.forest, self.path)):
            if part is not None:
                segment.outer[number][:, to] = out[number][:, first:]

    def positions(self, labels: int) -> IntArray:
        """The position in the cluster of each of `labels` ids, or -1."""
        if len(self._position_of) != labels:
            self._position_of = np.full(labels, -1, dtype=np.int32)
            self._position_of[self.members] = np.arange(1, 1 + len(self.members))
        return self._position_of

    def inherit(self, sources: Sequence[Cluster], priors: FloatArray) -> None:
        """Start with what the present clusters of this one's labels have learned about them.

        The trees are those of the cluster that holds most of the labels; to them the other labels
        are new.

        Parameters
        ----------
        sources
            The present clusters of the members, at least one, who all `know_members`.
        priors
            float64 (m,): how often the members are on.
        """
        if self.forest is None:
            return
        shared = [np.isin(self.members, source.members) for source in sources]
        main = max(range(len(sources)), key=lambda i: int(shared[i].sum()))
        self._copy_trees(sources[main], shared[main], priors)
        if self.path is None:
            return
        self.path.make_room(0, len(self.members))
        for number, (source, there) in enumerate(zip(sources, shared, strict=True)):
            if source.path is not None and number != main:
                own, theirs = self._places(source, there)
                self.path.inherit(1 + own, source.path, 1 + theirs)

    def with_members(self, members: IntArray, fresh: IntArray, priors: FloatArray) -> Cluster:
        """The cluster with other members; it knows about those it had, but for `fresh` ones.

        Parameters
        ----------
        members, fresh
            int32, label ids, ascending.
        priors
            float64: how often the members are on.
        """
        new = copy.copy(self)
        new.members, new._position_of = members, np.zeros(0, dtype=np.int32)
        if self.forest is None:
            return new
        self.know_members()
        shared = np.isin(members, self.members) & ~np.isin(members, fresh)
        if self.path is not None:
            new.path = PathRegression()
            new.path.make_room(self.path.linear.columns, len(members))
        new._copy_trees(self, shared, priors)
        return new

    def know_members(self) -> None:
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
        if source.forest is not None:
            self.forest = source.forest.derived(positions, priors)
        if self.path is not None and source.path is not None:
            self.path.make_room(source.path.linear.columns, len(self.members))
            zero = np.zeros(1, dtype=np.int32)
            self.path.linear.put(
                np.concatenate([zero, 1 + own]),
                source.path.linear.take(np.concatenate([zero, 1 + theirs])),
            )

    def take_alternates(self) -> tuple[int, int]:
        """See `Forest.take_alternates`."""
        return (0, 0) if self.forest is None else self.forest.take_alternates()

    def set_budget(self, budget_bytes: int) -> None:
        """Change the memory that the trees stay below."""
        if self.forest is not None:
            self.forest.set_budget(budget_bytes)
