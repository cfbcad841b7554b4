"""How wrong probabilities were, by cluster: probabilities and label sets in, losses out."""

from __future__ import annotations

import math

import numpy as np

from ihomer.instances import BoolArray, Float32Array, FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel

LEAST = 1e-4  # probabilities count as no closer to 0 and 1: a label costs 9.2 nats at most
_SMALL = 1e-280  # a product of probabilities below it is put aside, far from underflow


@kernel
def _clipped(p: float) -> float:
    return min(max(p, LEAST), 1.0 - LEAST)


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
    """Logarithmic losses of the labelled rows, summed over the labels of each cluster.

    Parameters
    ----------
    scores, reserve
        float64 (n, labels), (n,): probabilities of known labels, and of one not known yet.
    y_indptr, y_indices, labelled, known
        As in `Batch`.
    cluster_of
        int32 (labels,): label id -> its cluster.
    loss, counted
        float64, int64 (n, clusters): the sums, over the labels known after the row, of -ln p for
        those that are on and -ln(1 - p) for the others, in nats, and their number, are added.
    """
    clusters = loss.shape[1]
    # One logarithm of a product costs less than one for each label.
    product = np.ones(clusters)
    for t in range(labelled.shape[0]):
        if not labelled[t]:
            continue
        for c in range(known[t + 1]):
            p = scores[t, c] if c < known[t] else reserve[t]
            cluster = cluster_of[c]
            counted[t, cluster] += 1
            product[cluster] *= 1.0 - _clipped(p)
            if product[cluster] < _SMALL:
                loss[t, cluster] -= math.log(product[cluster])
                product[cluster] = 1.0
        for k in range(y_indptr[t], y_indptr[t + 1]):
            c = y_indices[k]
            p = _clipped(scores[t, c] if c < known[t] else reserve[t])
            loss[t, cluster_of[c]] += math.log((1.0 - p) / p)
        for cluster in range(clusters):
            if product[cluster] != 1.0:
                loss[t, cluster] -= math.log(product[cluster])
                product[cluster] = 1.0


@kernel
def tree_gains(
    own: Float32Array,
    theirs: Float32Array,
    y_indptr: OffsetArray,
    y_indices: IntArray,
    labelled: BoolArray,
    known: IntArray,
    gains: FloatArray,
) -> None:
    """By how much the logarithmic loss of some logits is lower than that of others.

    Parameters
    ----------
    own, theirs
        float32 (n, 1 + labels or more): logits, the reserve's first; it is `theirs` whose loss
        being lower counts as a gain.
    y_indptr, y_indices, labelled, known
        As in `Batch`.
    gains
        float64 (n,): in nats, summed over the labels known at a labelled row, is added.
    """
    for t in range(labelled.shape[0]):
        if not labelled[t]:
            continue
        for c in range(known[t]):
            gains[t] += _softplus(np.float64(own[t, 1 + c]))
            gains[t] -= _softplus(np.float64(theirs[t, 1 + c]))
        for k in range(y_indptr[t], y_indptr[t + 1]):
            c = y_indices[k]
            if c < known[t]:
                gains[t] += np.float64(theirs[t, 1 + c]) - np.float64(own[t, 1 + c])


@kernel
def _softplus(z: float) -> float:
    """ln(1 + exp(z))."""
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))
