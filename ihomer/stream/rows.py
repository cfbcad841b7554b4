"""Predictions and truth of a batch as rows, checked: what `ihomer.stream.tally` goes through.

In: dense or sparse predictions, true labels. Out: one form for both, in which a row holds some
labels in ascending order of their ids. It is here so that nothing that counts has to ask where a
prediction came from: a sparse one with all labels as candidates gives the same figures, bit for
bit, as the dense one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ihomer.instances import BoolArray, FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel


class Rows(NamedTuple):
    """Some labels of each event with what is predicted about them.

    Attributes
    ----------
    indptr
        int64 (n + 1,): where each event's labels begin.
    listed
        Whether `ids` names them; if not, they are the ids from 0 on.
    ids
        int32 (m,), ascending within an event; or empty.
    on, scores
        bool and float64 (m,); NaN = no score.
    """

    indptr: OffsetArray
    listed: bool
    ids: IntArray
    on: BoolArray
    scores: FloatArray


@kernel
def first_bad_truth(y_indptr: OffsetArray, y_indices: IntArray, n_labels: int) -> int:
    """First event whose offsets or label ids are out of range or not ascending, or -1."""
    end = 0
    for event in range(len(y_indptr) - 1):
        start, stop = y_indptr[event], y_indptr[event + 1]
        if start != end or stop < start or stop > len(y_indices):
            return event
        end = stop
        previous = -1
        for i in range(start, stop):
            label = y_indices[i]
            if label <= previous or label >= n_labels:
                return event
            previous = label
    return -1


def dense_rows(on: BoolArray, scores: FloatArray) -> Rows:
    """Rows of all labels; `on` and `scores` are C-contiguous (n, L), and are not copied."""
    n, n_labels = on.shape
    indptr = np.arange(n + 1, dtype=np.int64) * n_labels
    return Rows(indptr, False, np.zeros(0, dtype=np.int32), on.reshape(-1), scores.reshape(-1))


@kernel
def sort_rows(rows: Rows, n_labels: int, into: Rows) -> int:
    """Copy listed rows into ascending order of their ids.

    Parameters
    ----------
    rows, into
        Of the same sizes; the offsets are shared. `into` is overwritten.
    n_labels
        Ids have to be below it.

    Returns
    -------
    int
        First event whose offsets or ids are out of range, or which has an id twice; or -1.
    """
    indptr, ids = rows.indptr, rows.ids
    keys = np.zeros(64, dtype=np.int64)
    end = 0
    for event in range(len(indptr) - 1):
        start, stop = indptr[event], indptr[event + 1]
        if start != end or stop < start or stop > len(ids):
            return event
        end = stop
        n = stop - start
        if n > len(keys):
            keys = np.zeros(2 * n, dtype=np.int64)
        for i in range(n):
            label = ids[start + i]
            if label < 0 or label >= n_labels:
                return event
            keys[i] = (np.int64(label) << 32) + i
        _sort(keys, n)
        previous = -1
        for i in range(n):
            label = keys[i] >> 32
            if label == previous:
                return event
            previous = label
            place = start + (keys[i] & 0xFFFFFFFF)
            into.ids[start + i] = label
            into.on[start + i] = rows.on[place]
            into.scores[start + i] = rows.scores[place]
    return -1


@kernel
def _sort(values: OffsetArray, n: int) -> None:
    """Put the first `n` values in ascending order (Shell 1959, gaps of Knuth)."""
    gap = 1
    while gap < n // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, n):
            value = values[i]
            place = i
            while place >= gap and values[place - gap] > value:
                values[place] = values[place - gap]
                place -= gap
            values[place] = value
        gap //= 3


@kernel
def align(ids: IntArray, truth: IntArray, at: IntArray) -> None:
    """Put into `at` where each of `truth` stands in `ids`, -1 = nowhere; both ascend."""
    place, n = 0, len(ids)
    for i in range(len(truth)):
        while place < n and ids[place] < truth[i]:
            place += 1
        at[i] = place if place < n and ids[place] == truth[i] else -1
