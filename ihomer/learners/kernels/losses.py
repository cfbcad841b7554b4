"""How wrong probabilities were, by cluster: probabilities and label sets in, losses out."""

from __future__ import annotations

from ihomer.instances import BoolArray, FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel


@kernel
def cluster_losses(
    scores: FloatArray,
    reserve: FloatArray,
    y_indptr: OffsetArray,
    y_indices: IntArray,
    labelled: BoolArray,
    known: IntArray,
    cluster_of: IntArray,
    loss: FloatArray,
    counted: OffsetArray,
) -> None:
    """Squared errors of the labelled rows, summed over the labels of each cluster.

    Parameters
    ----------
    scores, reserve
        float64 (n, labels), (n,): probabilities of known labels, and of one not known yet.
    y_indptr, y_indices, labelled, known
        As in `Batch`.
    cluster_of
        int32 (labels,): label id -> its cluster.
    loss, counted
        float64, int64 (n, clusters): sums of (y - p)^2 over the labels known after the row, and
        their number, are added.
    """
    for t in range(labelled.shape[0]):
        if not labelled[t]:
            continue
        for c in range(known[t + 1]):
            p = scores[t, c] if c < known[t] else reserve[t]
            loss[t, cluster_of[c]] += p * p
            counted[t, cluster_of[c]] += 1
        for k in range(y_indptr[t], y_indptr[t + 1]):
            c = y_indices[k]
            p = scores[t, c] if c < known[t] else reserve[t]
            loss[t, cluster_of[c]] += 1.0 - 2.0 * p
