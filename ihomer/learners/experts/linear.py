"""A linear expert: AdaGrad logistic regressions of a block's or a cluster's labels.

In: sparse rows and a batch's labels. Out: clipped logits. It owns the arrays, makes room for new
columns and labels, and moves labels' positions.
"""

from __future__ import annotations

import numpy as np

from ihomer.instances import Batch, Float32Array, IntArray
from ihomer.learners.arrays import folded_columns, grown, nbytes
from ihomer.learners.kernels.linear import LANES, LinearState, fill_births, linear_rows
from ihomer.learners.scaling import Rows

# AdaGrad's sums start here: the first gradients of a rare feature then move it by a sensible
# amount instead of a whole step.
INITIAL_SQUARE = 0.03
INITIAL_SLOPE_SQUARE = 1.0
BASE_STEP = 0.05  # of the slope and the bias of logits that are corrected
NO_BASE = np.zeros((0, 0), dtype=np.float32)


class LinearExpert:
    """Logistic regressions on sparse rows.

    Parameters
    ----------
    step
        AdaGrad's step size.
    decay
        What the sums of squared gradients keep at each event; below 1 the steps stop shrinking.
    reserve
        Whether position 0 stands for the labels that have never been on. It learns a label that
        is always off, so that a label which appears at last starts as if it had been known, and
        off, since the first event.

    Attributes
    ----------
    state, reach
        The arrays, see `LinearState` and `linear_rows`.
    """

    def __init__(self, step: float, decay: float = 1.0, *, reserve: bool) -> None:
        self.step = step
        self.decay = decay
        self.reserve = int(reserve)
        self.state = _zeros(0, padded(self.reserve))
        self.reach = new_reach(0, reserve=reserve)

    @property
    def memory_bytes(self) -> int:
        """Bytes held by weights and sums."""
        return nbytes(self.state) + self.reach.nbytes

    @property
    def columns(self) -> int:
        """Columns that there is room for."""
        return int(self.state.weights.shape[0])

    def make_room(self, columns: int, labels: int, most: int | None = None) -> None:
        """Grow, geometrically, to `columns` columns, at most `most`, and `labels` labels."""
        old_columns, old_width = self.state.weights.shape
        width = padded(self.reserve + labels)
        if columns <= old_columns and width <= old_width:
            return
        if columns > old_columns:
            columns = geometric(columns, old_columns, most)
        if width > old_width > LANES:
            width = padded(max(width, old_width + old_width // 2))
        columns = max(columns, old_columns)
        self.state = grown(self.state, _zeros(columns, max(width, old_width)))
        added = new_reach(columns - old_columns, reserve=bool(self.reserve))
        self.reach = np.concatenate([self.reach, added])

    def run(
        self,
        rows: Rows,
        batch: Batch,
        members: IntArray,
        position_of: IntArray,
        out: Float32Array,
        base: Float32Array | None = None,
    ) -> None:
        """Predict, then learn the labelled events; see `linear_rows` for the arrays.

        An expert that corrects the logits `base` corrects some in every call.
        """
        linear_rows(
            rows.indptr,
            rows.indices,
            rows.values,
            batch.y_indptr,
            batch.y_indices,
            batch.labelled,
            batch.known,
            members,
            position_of,
            self.reserve,
            NO_BASE if base is None else base,
            self.state,
            self.reach,
            self.step,
            BASE_STEP,
            self.decay,
            out,
        )

    def forget_columns(self, columns: IntArray) -> None:
        """Make `columns` as new, for columns whose meaning has changed."""
        self.state.weights[columns] = 0.0
        self.state.squares[columns] = INITIAL_SQUARE

    def take(self, positions: IntArray) -> LinearState:
        """Copies of `positions` of the state."""
        self._fill()
        return LinearState(*(array[..., positions] for array in self.state))

    def put(self, positions: IntArray, part: LinearState) -> None:
        """Write a `take` of another expert into `positions`; makes no room."""
        self._fill()
        rows = len(part.weights)
        np.maximum(self.reach, 1 + positions.max(initial=-1), out=self.reach)
        for source, target in zip(part[:2], self.state[:2], strict=True):
            target[:rows, positions] = source
        for source, target in zip(part[2:], self.state[2:], strict=True):
            target[positions] = source

    def fold(self, columns: int) -> None:
        """Keep the first `columns` columns; those behind are added to them, modulo `columns`."""
        if len(self.state.weights) <= columns:
            return
        self._fill()
        self.state = self.state._replace(
            weights=folded_columns(self.state.weights, columns),
            squares=folded_columns(self.state.squares, columns, np.maximum),
        )
        self.reach = folded_columns(self.reach, columns, np.maximum)

    def _fill(self) -> None:
        """Write down what columns hold for labels born since they were learned last."""
        weights, squares = self.state[:2]
        fill_births(weights, squares, self.reach, len(weights), weights.shape[1])


def geometric(columns: int, held: int, most: int | None) -> int:
    """How many columns to make room for: half as many again, but at most `most`."""
    room = max(columns, held + held // 2, 64)
    return room if most is None else max(columns, min(room, most))


def new_reach(columns: int, *, reserve: bool) -> IntArray:
    """The `reach` of columns not learned yet; without a reserve nobody is ever born."""
    return np.full(columns, 1 if reserve else np.iinfo(np.int32).max, dtype=np.int32)


def padded(width: int) -> int:
    """`width` positions rounded up to whole vectors, at least one."""
    return max(1, -(-width // LANES)) * LANES


def _zeros(columns: int, width: int) -> LinearState:
    return LinearState(
        np.zeros((columns, width), dtype=np.float32),
        np.full((columns, width), INITIAL_SQUARE, dtype=np.float32),
        np.zeros(width, dtype=np.float32),
        np.full(width, INITIAL_SQUARE, dtype=np.float32),
        np.ones(width, dtype=np.float32),
        np.full(width, INITIAL_SLOPE_SQUARE, dtype=np.float32),
    )
