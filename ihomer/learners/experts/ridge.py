"""The second-order linear expert: gains shared by all labels, and a block's steps along them.

In: scaled rows and a batch's labels. Out: clipped logits. `Gains` is made once per segment, before
the label blocks run; a `RidgeExpert` belongs to one of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ihomer.instances import Batch, BoolArray, Float32Array, IntArray, OffsetArray
from ihomer.learners.arrays import folded_columns, grown, nbytes
from ihomer.learners.experts.linear import geometric, new_reach, padded
from ihomer.learners.kernels.linear import LANES, fill_births
from ihomer.learners.kernels.ridge import (
    PENDING,
    PRIOR_VARIANCE,
    GainState,
    StepState,
    choose_block,
    gain_rows,
    gain_steps,
)
from ihomer.learners.scaling import Rows

BLOCK = 192  # columns, the bias among them, between which covariances are kept
INITIAL_CURVATURE = 0.1  # a label's p (1 - p) before the first event


class GainRows(NamedTuple):
    """Gains as compressed sparse rows, int64 (n + 1,), int32, float32; float32 (n,) the bias's."""

    indptr: OffsetArray
    indices: IntArray
    values: Float32Array
    bias: Float32Array


class Gains:
    """By how much each weight answers to an error, from the features alone.

    Parameters
    ----------
    block
        Largest number of columns, the bias among them, that covariances are kept of; the work of
        an event grows with its square.

    Attributes
    ----------
    state
        The arrays, see `GainState`.
    """

    def __init__(self, block: int = BLOCK) -> None:
        self._largest = padded(block)
        self.state = _empty_gains(0, LANES)
        self.state.covariance[0, 0] = PRIOR_VARIANCE
        self.state.block[0] = -1
        self.state.progress[1] = 1

    @property
    def memory_bytes(self) -> int:
        """Bytes held by the matrix and the counts."""
        return nbytes(self.state)

    def make_room(self, columns: int, most: int | None = None) -> None:
        """Grow, geometrically, to `columns` columns, at most `most`."""
        old = self.state
        n, room = len(old.place), len(old.block)
        if columns <= n:
            return
        columns = geometric(columns, n, most)
        room = max(room, min(self._largest, padded(columns + 1)))
        self.state = grown(old, _empty_gains(columns, room))

    def fold(self, columns: int) -> None:
        """Keep the first `columns` columns; what those behind have counted is added to theirs.

        Those of the block that are not kept leave it, and the most frequent take their places.
        The number of events learned is a multiple of `PENDING`.
        """
        old = self.state
        if len(old.place) <= columns:
            return
        seen, energy = folded_columns(old.seen, columns), folded_columns(old.energy, columns)
        old.energy[columns:] = 0.0
        choose_block(old)
        self.state = old._replace(
            place=old.place[:columns].copy(),
            variance=old.variance[:columns].copy(),
            seen=seen,
            energy=energy,
        )

    def forget_columns(self, columns: OffsetArray) -> None:
        """Let columns stand for features that were never seen; those of the block stay in it."""
        state = self.state
        there = columns[columns < len(state.place)]
        outside = there[state.place[there] < 0]
        state.variance[outside] = PRIOR_VARIANCE
        state.seen[outside], state.energy[outside] = 0, 0.0

    def run(self, rows: Rows, labelled: BoolArray) -> GainRows:
        """Gains of the labelled rows, which are learned; see `gain_rows`."""
        n = len(labelled)
        room = len(rows.values) + n * len(self.state.block)
        gains = GainRows(
            np.empty(n + 1, dtype=np.int64),
            np.empty(room, dtype=np.int32),
            np.empty(room, dtype=np.float32),
            np.empty(n, dtype=np.float32),
        )
        gain_rows(rows.indptr, rows.indices, rows.values, labelled, self.state, *gains)
        return gains


class RidgeExpert:
    """Logistic regressions that step along shared gains.

    Parameters
    ----------
    reserve
        Whether position 0 stands for the labels that have never been on, see `LinearExpert`.

    Attributes
    ----------
    state, reach
        The arrays, see `StepState` and `linear_rows`.
    """

    def __init__(self, *, reserve: bool) -> None:
        self.reserve = int(reserve)
        self.state = _empty_steps(0, padded(self.reserve))
        self.reach = new_reach(0, reserve=reserve)

    @property
    def memory_bytes(self) -> int:
        """Bytes held by the weights."""
        return nbytes(self.state) + self.reach.nbytes

    def make_room(self, columns: int, labels: int, most: int | None = None) -> None:
        """Grow, geometrically, to `columns` columns, at most `most`, and `labels` labels."""
        old = self.state
        n, old_width = old.weights.shape
        width = padded(self.reserve + labels)
        if columns <= n and width <= old_width:
            return
        if columns > n:
            columns = geometric(columns, n, most)
        if width > old_width > LANES:
            width = padded(max(width, old_width + old_width // 2))
        columns = max(columns, n)
        self.state = grown(old, _empty_steps(columns, max(width, old_width)))
        added = new_reach(columns - n, reserve=bool(self.reserve))
        self.reach = np.concatenate([self.reach, added])

    def fold(self, columns: int) -> None:
        """Keep the first `columns` columns; those behind are added to them, modulo `columns`."""
        if len(self.state.weights) <= columns:
            return
        old = self.state.weights
        fill_births(old, old, self.reach, len(old), old.shape[1])
        self.state = self.state._replace(weights=folded_columns(old, columns))
        self.reach = folded_columns(self.reach, columns, np.maximum)

    def run(
        self,
        rows: Rows,
        gains: GainRows,
        batch: Batch,
        members: IntArray,
        position_of: IntArray,
        out: Float32Array,
    ) -> None:
        """Predict, then learn the labelled events; see `gain_steps` for the arrays."""
        gain_steps(
            rows.indptr,
            rows.indices,
            rows.values,
            *gains,
            batch.y_indptr,
            batch.y_indices,
            batch.labelled,
            batch.known,
            members,
            position_of,
            self.reserve,
            self.state,
            self.reach,
            out,
        )


def _empty_gains(columns: int, room: int) -> GainState:
    return GainState(
        np.zeros((room, room), dtype=np.float32),
        np.zeros((PENDING, room), dtype=np.float32),
        np.zeros((room, PENDING), dtype=np.float32),
        np.zeros(room, dtype=np.int32),
        np.full(columns, -1, dtype=np.int32),
        np.full(columns, PRIOR_VARIANCE, dtype=np.float32),
        np.zeros(columns, dtype=np.int64),
        np.zeros(columns),
        np.zeros(2, dtype=np.int64),
    )


def _empty_steps(columns: int, width: int) -> StepState:
    return StepState(
        np.zeros((columns, width), dtype=np.float32),
        np.zeros(width, dtype=np.float32),
        np.full(width, INITIAL_CURVATURE, dtype=np.float32),
        np.zeros(1, dtype=np.int64),
    )
