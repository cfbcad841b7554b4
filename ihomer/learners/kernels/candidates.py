"""Which label is in which candidate of the joint decision, as a table of zeros and ones.

Sums over each candidate's labels are then sums over the table's rows, which vectorise, where
walking through a hundred short lists does not. It pays where labels are few.
"""

from __future__ import annotations

import numpy as np

from ihomer.instances import Float32Array, IntArray
from ihomer.jit import kernel

TABLED = 64  # labels, at most

_ZERO = np.float32(0.0)
_ONE = np.float32(1.0)


@kernel
def put_members(table: Float32Array, labels: IntArray, start: int, stop: int, place: int) -> None:
    """Make ``labels[start:stop]`` the candidate at `place`; `table` is (labels, candidates)."""
    for c in range(table.shape[0]):
        table[c, place] = _ZERO
    for k in range(start, stop):
        if labels[k] < table.shape[0]:
            table[labels[k], place] = _ONE


@kernel
def move_members(table: Float32Array, place: int, front: int) -> None:
    """Move a candidate forward, from `place` to `front`; those between move back by one."""
    if place <= front:
        return
    for c in range(table.shape[0]):
        row = table[c]
        own = row[place]
        for q in range(place, front, -1):
            row[q] = row[q - 1]
        row[front] = own


@kernel
def add_members(
    table: Float32Array,
    labels: int,
    count: int,
    a: Float32Array,
    b: Float32Array,
    c: Float32Array,
    a_sums: Float32Array,
    b_sums: Float32Array,
    c_sums: Float32Array,
) -> None:
    """Sums of a, b and c over those of the first `labels` labels that are in each candidate.

    Labels are added in their order, as they would be one by one.

    Parameters
    ----------
    table
        float32 (at least labels, at least count).
    labels, count
        How many labels and candidates to look at.
    a, b, c
        float32 (at least labels,): finite numbers.
    a_sums, b_sums, c_sums
        float32 (at least count,): written.
    """
    for q in range(count):
        a_sums[q] = b_sums[q] = c_sums[q] = _ZERO
    k = 0
    while k + 2 <= labels:
        first, second = table[k], table[k + 1]
        a0, a1, b0, b1, c0, c1 = a[k], a[k + 1], b[k], b[k + 1], c[k], c[k + 1]
        for q in range(count):
            here, there = first[q], second[q]
            a_sums[q] = (a_sums[q] + here * a0) + there * a1
            b_sums[q] = (b_sums[q] + here * b0) + there * b1
            c_sums[q] = (c_sums[q] + here * c0) + there * c1
        k += 2
    if k < labels:
        last = table[k]
        for q in range(count):
            a_sums[q] += last[q] * a[k]
            b_sums[q] += last[q] * b[k]
            c_sums[q] += last[q] * c[k]
