"""The logistic expert of one cluster: owns its arrays, makes room, and moves labels' columns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ihomer.instances import Batch, FloatArray, IntArray, OffsetArray
from ihomer.learners.kernels.logistic import LogisticState, logistic_rows
from ihomer.learners.scaling import ScaledRows

# AdaGrad's sums start here: the first gradients of a rare feature then move it by a sensible
# amount instead of a whole step.
INITIAL_SQUARE = 0.03


class Placement(NamedTuple):
    """Where labels are: this cluster's number, and int32 (labels,) each label's cluster, column."""

    cluster: int
    cluster_of: IntArray
    column_of: IntArray


class LogisticExpert:
    """Logistic regressions of a cluster's labels on the scaled features.

    Parameters
    ----------
    step
        AdaGrad's step size.
    reserve
        Whether column 0 stands for the labels that have never been on. It learns a label that is
        always off, so that a label which appears at last starts as if it had been known, and off,
        since the first event.
    """

    def __init__(self, step: float, *, reserve: bool) -> None:
        self.step = step
        self.reserve = int(reserve)
        self._state = _zeros(0, self.reserve)

    @property
    def memory_bytes(self) -> int:
        """Bytes held by weights and sums."""
        return sum(array.nbytes for array in self._state)

    @property
    def columns(self) -> int:
        """Feature columns that there is room for."""
        return int(self._state.weights.shape[0])

    def make_room(self, columns: int, labels: int) -> None:
        """Grow, geometrically, to `columns` features and `labels` labels."""
        old_columns, old_width = self._state.weights.shape
        width = self.reserve + labels
        if columns <= old_columns and width <= old_width:
            return
        if columns > old_columns:
            columns = max(columns, old_columns + old_columns // 2, 64)
        if width > old_width > self.reserve:
            width = max(width, old_width + old_width // 2)
        bigger = _zeros(max(columns, old_columns), max(width, old_width))
        bigger.weights[:old_columns, :old_width] = self._state.weights
        bigger.squares[:old_columns, :old_width] = self._state.squares
        bigger.bias[:old_width] = self._state.bias
        bigger.bias_squares[:old_width] = self._state.bias_squares
        self._state = bigger

    def run(
        self,
        rows: ScaledRows,
        batch: Batch,
        members: IntArray,
        placement: Placement,
        scores: FloatArray,
        reserve_scores: FloatArray,
        loss: FloatArray,
        counted: OffsetArray,
    ) -> None:
        """Predict, then learn the labelled events; see `logistic_rows` for the arrays."""
        logistic_rows(
            rows.indptr,
            rows.indices,
            rows.values,
            batch.y_indptr,
            batch.y_indices,
            batch.labelled,
            batch.known,
            members,
            placement.cluster,
            placement.cluster_of,
            placement.column_of,
            self.reserve,
            self._state,
            self.step,
            scores,
            reserve_scores,
            loss,
            counted,
        )

    def take(self, columns: IntArray) -> LogisticState:
        """Copies of the label columns `columns` of the state."""
        return LogisticState(*(array[..., columns] for array in self._state))

    def put(self, columns: IntArray, part: LogisticState) -> None:
        """Write a `take` of another expert into the label columns `columns`; makes no room."""
        rows = len(part.weights)
        self._state.weights[:rows, columns] = part.weights
        self._state.squares[:rows, columns] = part.squares
        self._state.bias[columns] = part.bias
        self._state.bias_squares[columns] = part.bias_squares

    def quicken(self) -> None:
        """After a drift: forget how often each weight has moved, so that it moves fast again."""
        np.minimum(self._state.squares, INITIAL_SQUARE, out=self._state.squares)
        np.minimum(self._state.bias_squares, INITIAL_SQUARE, out=self._state.bias_squares)


def _zeros(columns: int, width: int) -> LogisticState:
    return LogisticState(
        np.zeros((columns, width), dtype=np.float32),
        np.full((columns, width), INITIAL_SQUARE, dtype=np.float32),
        np.zeros(width, dtype=np.float32),
        np.full(width, INITIAL_SQUARE, dtype=np.float32),
    )
