"""Online scaling shared by all clusters: a batch in, its features scaled to length 1 out.

Standardised where a feature is mostly there, divided by its root mean square where it is sparse:
a zero that stands for "absent" stays a zero.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ihomer.instances import Batch, FloatArray, IntArray, OffsetArray
from ihomer.learners.arrays import grown, nbytes
from ihomer.learners.kernels.folding import fold_rows
from ihomer.learners.kernels.rows import cut_values
from ihomer.learners.kernels.scaling import STRIDE, ScalingState, empty_state, scale_rows

RAW_LIMIT = 10.0  # a raw value further out moves a linear model no further


class ScaledRows(NamedTuple):
    """Compressed sparse rows: int64 (n + 1,), int32 (nnz,), float64 (nnz,)."""

    indptr: OffsetArray
    indices: IntArray
    values: FloatArray


class Rows(NamedTuple):
    """Compressed sparse rows as experts read them: int64 (n + 1,), int32 and float32 (nnz,)."""

    indptr: OffsetArray
    indices: IntArray
    values: npt.NDArray[np.float32]


def single_precision(rows: ScaledRows) -> Rows:
    """The same rows with float32 values."""
    used = rows.indptr[-1]  # the arrays have room to spare
    return Rows(rows.indptr, rows.indices[:used], rows.values[:used].astype(np.float32))


def raw_rows(batch: Batch) -> Rows:
    """The features of `batch` as they are, cut at `RAW_LIMIT` either way; missing ones are 0."""
    values = np.empty(len(batch.values), dtype=np.float32)
    cut_values(batch.values, RAW_LIMIT, values)
    return Rows(batch.indptr, batch.indices, values)


def folded(rows: Rows, columns: int) -> Rows:
    """The same rows where features share `columns` columns, see `fold_rows`."""
    out = Rows(np.empty_like(rows.indptr), np.empty_like(rows.indices), np.empty_like(rows.values))
    fold_rows(*rows, columns, *out)
    written = out.indptr[-1]
    return out._replace(indices=out.indices[:written], values=out.values[:written])


class Scaler:
    """Running statistics of every feature column."""

    def __init__(self) -> None:
        self._state = empty_state(0)

    @property
    def memory_bytes(self) -> int:
        """Bytes held by the statistics."""
        return nbytes(self._state)

    @property
    def state(self) -> ScalingState:
        """The arrays, see there."""
        return self._state

    def __len__(self) -> int:
        """Number of columns that there is room for."""
        return len(self._state.seen)

    def forget_columns(self, columns: OffsetArray) -> None:
        """Let columns stand for features that were never seen; dense ones stay as they are."""
        state = self._state
        dense = state.dense[: state.progress[1]]
        going = np.setdiff1d(columns[columns < len(self)], dense)
        for array in (state.seen, state.missing, state.shift, state.total, state.square):
            array[going] = 0.0

    def reserve(self, columns: int) -> None:
        """Make room for `columns` columns."""
        old = len(self._state.seen)
        if columns <= old:
            return
        self._state = grown(self._state, empty_state(max(columns, old + old // 2, 64)))

    def transform(self, batch: Batch, *, learn: bool = True) -> ScaledRows:
        """Scale the events of `batch`; labelled ones also move the statistics if `learn`.

        Parameters
        ----------
        batch
            Of n events; its labelled ones may reach, but not cross, a multiple of `STRIDE`.
        learn
            False: nothing changes, whatever is labelled.

        Returns
        -------
        ScaledRows
            n rows of Euclidean length 1, or 0 where nothing is known.
        """
        n, columns = len(batch), len(self._state.seen)
        events, dense = self._state.progress.tolist()
        # The dense columns are listed anew at every event of the first stride, then once a stride.
        room = len(batch.indices) + n * (columns if learn and events < STRIDE else dense)
        rows = ScaledRows(
            np.empty(n + 1, dtype=np.int64), np.empty(room, dtype=np.int32), np.empty(room)
        )
        labelled = batch.labelled if learn else np.zeros(n, dtype=np.bool_)
        scale_rows(batch.indptr, batch.indices, batch.values, labelled, self._state, *rows)
        return rows
