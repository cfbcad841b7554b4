"""Logistic regression for all labels of a cluster: scaled rows in, probabilities and losses out.

Weights lie feature-major, so the inner loops run over labels: they vectorise without changing the
order of any sum, and the result is the same on every run.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ihomer.instances import BoolArray, FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel

Float32Array = npt.NDArray[np.float32]

LOGIT_LIMIT = 30.0


class LogisticState(NamedTuple):
    """Weights and AdaGrad sums of squared gradients, by column and label.

    Attributes
    ----------
    weights, squares
        float32 (columns, labels).
    bias, bias_squares
        float32 (labels,).
    """

    weights: Float32Array
    squares: Float32Array
    bias: Float32Array
    bias_squares: Float32Array


@kernel
def logistic_rows(
    indptr: OffsetArray,
    indices: IntArray,
    values: FloatArray,
    y_indptr: OffsetArray,
    y_indices: IntArray,
    labelled: BoolArray,
    known: IntArray,
    members: IntArray,
    cluster: int,
    cluster_of: IntArray,
    column_of: IntArray,
    reserve: int,
    state: LogisticState,
    step: float,
    scores: FloatArray,
    reserve_scores: FloatArray,
    loss: FloatArray,
    counted: OffsetArray,
) -> None:
    """Predict, then learn each row; AdaGrad per coordinate (Duchi, Hazan, Singer, JMLR 2011).

    Parameters
    ----------
    indptr, indices, values
        Scaled rows; columns past the state's carry no weight yet.
    y_indptr, y_indices, labelled, known
        As in `Batch`.
    members
        int32 (m,): label ids of this cluster, ascending.
    cluster, cluster_of, column_of
        This cluster's number; int32 (labels,) each: label id -> its cluster, its column there.
    reserve
        1: column 0 of `state` learns a label that is never on, and a label born at row t starts
        as a copy of it; members begin at column 1. 0: neither.
    state
        Changed in place by labelled rows.
    step
        AdaGrad's step size.
    scores
        float64 (n, labels): probabilities, written where the label was known at the row.
    reserve_scores
        float64 (n,): what the reserve column says, if there is one.
    loss, counted
        float64 (n,), int64 (n,): the row's sum of squared errors (y - p)^2 over the members known
        after it and their number are added.
    """
    columns = state.weights.shape[0]
    width = reserve + members.shape[0]
    z = np.zeros(width, dtype=np.float32)
    error = np.zeros(width, dtype=np.float32)
    for t in range(labelled.shape[0]):
        before = reserve + np.searchsorted(members, known[t])
        after = reserve + np.searchsorted(members, known[t + 1])
        for c in range(before):
            z[c] = state.bias[c]
        for k in range(indptr[t], indptr[t + 1]):
            j = indices[k]
            if j < columns:
                value = np.float32(values[k])
                row = state.weights[j]
                for c in range(before):
                    z[c] += value * row[c]
        for c in range(before):
            logit = min(LOGIT_LIMIT, max(-LOGIT_LIMIT, float(z[c])))
            p = 1.0 / (1.0 + math.exp(-logit))
            error[c] = p
            if c >= reserve:
                scores[t, members[c - reserve]] = p
            else:
                reserve_scores[t] = p
        if not labelled[t]:
            continue
        for c in range(before, after):
            error[c] = error[0]
            state.bias[c] = state.bias[0]
            state.bias_squares[c] = state.bias_squares[0]
            for j in range(columns):
                state.weights[j, c] = state.weights[j, 0]
                state.squares[j, c] = state.squares[j, 0]
        for k in range(y_indptr[t], y_indptr[t + 1]):
            label = y_indices[k]
            if cluster_of[label] == cluster:
                error[column_of[label]] -= np.float32(1.0)
        for c in range(reserve, after):
            loss[t] += float(error[c]) * float(error[c])
        counted[t] += after - reserve
        rate = np.float32(step)
        for k in range(indptr[t], indptr[t + 1]):
            j = indices[k]
            value = np.float32(values[k])
            row = state.weights[j]
            sums = state.squares[j]
            for c in range(after):
                gradient = error[c] * value
                sums[c] += gradient * gradient
                row[c] -= rate * gradient / np.sqrt(sums[c])
        for c in range(after):
            state.bias_squares[c] += error[c] * error[c]
            state.bias[c] -= rate * error[c] / np.sqrt(state.bias_squares[c])
