"""Labels change company: trees' columns given to other labels, counts of labels pooled."""

from __future__ import annotations

import numpy as np

from ihomer.instances import Float32Array, FloatArray, OffsetArray
from ihomer.jit import kernel


@kernel
def take_columns(
    old: Float32Array,
    columns: OffsetArray,
    fresh: OffsetArray,
    base: FloatArray,
    rates: FloatArray,
    sparing: bool,
    out: Float32Array,
) -> None:
    """Gather columns; one without a source gets the row's base times its rate.

    Parameters
    ----------
    old
        float32 (rows, width).
    columns
        int64 (m,): the column in `old` of each new one.
    fresh, rates
        int64, float64 (f,): the new columns, counted in units of k, that have no source.
    base
        float64 (rows, k).
    sparing
        Whether rows with a 0 in front are not in use.
    out
        float32 (rows, m), zeros.
    """
    n, depth = columns.shape[0], base.shape[1]
    for r in range(old.shape[0]):
        source, target = old[r], out[r]
        if sparing and source[0] == 0.0:
            continue
        for c in range(n):
            target[c] = source[columns[c]]
        for f in range(fresh.shape[0]):
            for i in range(depth):
                target[fresh[f] * depth + i] = np.float32(base[r, i] * rates[f])


@kernel
def pooled(merges: OffsetArray, together: FloatArray) -> FloatArray:
    """What lies between the two sides of each merge.

    Parameters
    ----------
    merges
        int64 (m - 1, 2): nodes merged, the labels being 0 to m - 1, in order.
    together
        float64 (m, m), symmetric; overwritten.

    Returns
    -------
    FloatArray
        float64 (m - 1,): sum over the pairs of a label here and one there.
    """
    m = together.shape[0]
    rows = np.arange(m + merges.shape[0])
    found = np.empty(merges.shape[0])
    for n in range(merges.shape[0]):
        i, j = rows[merges[n, 0]], rows[merges[n, 1]]
        found[n] = together[i, j]
        kept, added = together[i], together[j]
        for c in range(m):
            kept[c] += added[c]
        for c in range(m):
            together[c, i] = kept[c]
        rows[m + n] = i
    return found
