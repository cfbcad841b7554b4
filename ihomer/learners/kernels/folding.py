"""Features share columns where memory is short: rows in, narrower rows out."""

from __future__ import annotations

import numpy as np

from ihomer.instances import Float32Array, IntArray, OffsetArray
from ihomer.jit import kernel


@kernel
def fold_rows(
    indptr: OffsetArray,
    indices: IntArray,
    values: Float32Array,
    columns: int,
    out_indptr: OffsetArray,
    out_indices: IntArray,
    out_values: Float32Array,
) -> None:
    """Take columns modulo `columns`; values that meet in a row are added, so each is there once.

    Parameters
    ----------
    indptr, indices, values
        int64 (n + 1,), int32, float32: sparse rows.
    columns
        A power of two.
    out_indptr, out_indices, out_values
        int64 (n + 1,), int32 and float32 of the same length as `indices`; columns in the order in
        which a row first names them.
    """
    place = np.full(columns, -1, dtype=np.int64)
    written = np.int64(0)
    out_indptr[0] = 0
    for t in range(indptr.shape[0] - 1):
        start = written
        for k in range(indptr[t], indptr[t + 1]):
            j = indices[k] & (columns - 1)
            if place[j] >= start:
                out_values[place[j]] += values[k]
            else:
                place[j] = written
                out_indices[written] = j
                out_values[written] = values[k]
                written += 1
        out_indptr[t + 1] = written
