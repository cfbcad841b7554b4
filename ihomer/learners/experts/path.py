"""Path regression: what the tree nodes that an event passes say beside a linear model.

In: the paths of a forest, and the logits of a linear expert. Out: clipped logits. A node's weight
corrects the linear model in that part of the space; when a leaf splits, its children inherit the
corrections of all their ancestors, so that nothing is learned twice.
"""

from __future__ import annotations

import numpy as np

from ihomer.instances import Batch, Float32Array, IntArray
from ihomer.learners.experts.forest import Paths
from ihomer.learners.experts.linear import LinearExpert
from ihomer.learners.scaling import Rows

STEP = 0.1
INDICATOR = 0.3  # value of a node's column


class PathRegression:
    """Logistic regressions on the nodes of a forest, which correct a linear model's logits.

    Position 0 stands for labels that have never been on; see `LinearExpert`.
    """

    def __init__(self) -> None:
        self.linear = LinearExpert(STEP, reserve=True)

    @property
    def memory_bytes(self) -> int:
        """Bytes held by weights and sums."""
        return self.linear.memory_bytes

    def ready(self, nodes: int, labels: int) -> bool:
        """Whether there is room for so many."""
        return nodes <= self.linear.columns and labels < self.linear.state.weights.shape[1]

    def make_room(self, nodes: int, labels: int) -> None:
        """Grow to `nodes` tree nodes and `labels` labels."""
        self.linear.make_room(nodes, labels)

    def run(
        self,
        paths: Paths,
        base: Float32Array,
        batch: Batch,
        members: IntArray,
        position_of: IntArray,
        out: Float32Array,
    ) -> None:
        """Predict, then learn the labelled events; see `linear_rows` for the arrays."""
        values = np.full(len(paths.nodes), INDICATOR, dtype=np.float32)
        rows = Rows(paths.indptr, paths.nodes, values)
        self.linear.run(rows, batch, members, position_of, out, base)

    def forget_nodes(self, nodes: IntArray) -> None:
        """Make the columns of `nodes` as new: the trees have given these numbers back."""
        self.linear.forget_columns(nodes)

    def inherit(self, positions: IntArray, source: PathRegression, theirs: IntArray) -> None:
        """Take over `source`'s positions `theirs` but for its nodes, which mean something else."""
        part = source.linear.take(theirs)
        nothing = part.weights[:0]
        self.linear.put(positions, part._replace(weights=nothing, squares=nothing))
