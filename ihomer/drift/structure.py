"""Has the company that labels keep changed? Label sets in, an alarm out.

Each event's share of label pairs that lie across clusters is watched by ADWIN: it rises when
labels that used to occur together no longer do.
"""

from __future__ import annotations

import numpy as np

from ihomer.drift.watch import Watch
from ihomer.instances import FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel


@kernel
def shares_across(
    y_indptr: OffsetArray, y_indices: IntArray, cluster_of: IntArray, unplaced: int
) -> FloatArray:
    """Share of each event's placed label pairs that lie across clusters.

    Parameters
    ----------
    y_indptr, y_indices
        n label sets as in `Batch`.
    cluster_of
        int32 (labels,): label id -> cluster.
    unplaced
        The cluster number of labels that have no place.

    Returns
    -------
    FloatArray
        float64 (n,); NaN for events with fewer than two placed labels.
    """
    n = y_indptr.shape[0] - 1
    shares = np.full(n, np.nan)
    for t in range(n):
        pairs, across = 0, 0
        for a in range(y_indptr[t], y_indptr[t + 1]):
            first = cluster_of[y_indices[a]]
            if first == unplaced:
                continue
            for b in range(a + 1, y_indptr[t + 1]):
                second = cluster_of[y_indices[b]]
                if second != unplaced:
                    pairs += 1
                    across += first != second
        if pairs:
            shares[t] = across / pairs
    return shares


class StructureMonitor:
    """Watches whether label sets still lie inside the clusters.

    Parameters
    ----------
    unplaced
        The cluster number of labels that have no place.
    """

    def __init__(self, unplaced: int = 0) -> None:
        self._unplaced = unplaced
        self._watch = Watch()

    def update(self, y_indptr: OffsetArray, y_indices: IntArray, cluster_of: IntArray) -> None:
        """Add label sets; see `shares_across` for the arrays."""
        shares = shares_across(y_indptr, y_indices, cluster_of, self._unplaced)
        self._watch.collect(shares[~np.isnan(shares)])

    def risen(self) -> bool:
        """Whether the label sets added since the last call lie inside clusters less than before."""
        return self._watch.risen()

    def restart(self) -> None:
        """Forget, because the clusters are others now."""
        self._watch = Watch()
