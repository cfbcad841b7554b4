"""Small passes over arrays that learners make around their kernels, each in one call."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ihomer.instances import Float32Array, FloatArray, IntArray
from ihomer.jit import kernel


@kernel
def cut_values(values: FloatArray, limit: float, out: Float32Array) -> None:
    """Write float64 `values` as float32, cut to plus and minus `limit`; a NaN becomes 0."""
    for i in range(values.shape[0]):
        value = values[i]
        out[i] = 0.0 if math.isnan(value) else min(limit, max(-limit, value))


@kernel
def write_rows(p: Float32Array, known: IntArray, first: int, count: int, out: FloatArray) -> None:
    """Write a block's probabilities where they are asked for.

    Parameters
    ----------
    p
        float32 (at least n, more than count): position 1 + l - first is label l's.
    known
        int32 (n + 1,), as in `Batch`: labels not known at a row get NaN.
    first, count
        The block's labels.
    out
        float64 (n, labels).
    """
    for t in range(out.shape[0]):
        for c in range(count):
            out[t, first + c] = p[t, 1 + c] if first + c < known[t] else np.nan


@kernel
def enter_hashes(hashes: npt.NDArray[np.uint64], count: int, slots: IntArray) -> None:
    """Enter the numbers of the first `count` hashes into an empty table, by linear probing."""
    mask = np.uint64(slots.shape[0] - 1)
    for number in range(count):
        slot = hashes[number] & mask
        while slots[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = number
