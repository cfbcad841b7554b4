"""Online scaling shared by all clusters: a batch in, its features scaled to length 1 out.

Standardised where a feature is mostly there, divided by its root mean square where it is sparse:
a zero that stands for "absent" stays a zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ihomer.instances import Batch, FloatArray, IntArray, OffsetArray
from ihomer.learners.kernels.scaling import STRIDE, empty_state, scale_rows


class ScaledRows(NamedTuple):
    """Compressed sparse rows: int64 (n + 1,), int32 (nnz,), float64 (nnz,)."""

    indptr: OffsetArray
    indices: IntArray
    values: FloatArray


class Scaler:
    """Running statistics of every feature column."""

    def __init__(self) -> None:
        self._state = empty_state(0)

    @property
    def memory_bytes(self) -> int:
        """Bytes held by the statistics."""
        return sum(array.nbytes for array in self._state)

    def reserve(self, columns: int) -> None:
        """Make room for `columns` columns."""
        old = len(self._state.seen)
        if columns <= old:
            return
        bigger = empty_state(max(columns, old + old // 2, 64))
        pairs: Iterable[tuple[Any, Any]] = zip(self._state, bigger, strict=True)
        for source, target in pairs:
            target[: len(source)] = source
        self._state = bigger

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
        events, dense = (int(number) for number in self._state.progress)
        # The dense columns are listed anew at every event of the first stride, then once a stride.
        room = len(batch.indices) + n * (columns if learn and events < STRIDE else dense)
        rows = ScaledRows(
            np.empty(n + 1, dtype=np.int64), np.empty(room, dtype=np.int32), np.empty(room)
        )
        labelled = batch.labelled if learn else np.zeros(n, dtype=np.bool_)
        scale_rows(batch.indptr, batch.indices, batch.values, labelled, self._state, *rows)
        return rows
