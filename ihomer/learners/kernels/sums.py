"""The sum of an array of float32 numbers, in an order that is fixed and fast.

In: numbers. Out: their sum. It is here because one running sum makes each addition wait for the
one before: eight of them do not, and the result is the same on every machine.
"""

from __future__ import annotations

import numpy as np

from ihomer.instances import Float32Array
from ihomer.jit import kernel
from ihomer.learners.kernels.linear import LANES

_ZERO = np.float32(0.0)


@kernel
def sum32(terms: Float32Array, n: int) -> np.float32:
    """Sum of the first n terms.

    Parameters
    ----------
    terms
        float32 (n or more,).
    n
        0 or more.

    Returns
    -------
    float32
        Eight partial sums, of every eighth number each, added up in pairs; then what is left
        over, fewer than eight numbers, one by one.
    """
    a = b = c = d = e = f = g = h = _ZERO
    whole = n // LANES * LANES
    for k in range(0, whole, LANES):
        a += terms[k]
        b += terms[k + 1]
        c += terms[k + 2]
        d += terms[k + 3]
        e += terms[k + 4]
        f += terms[k + 5]
        g += terms[k + 6]
        h += terms[k + 7]
    total = ((a + e) + (b + f)) + ((c + g) + (d + h))
    for k in range(whole, n):
        total += terms[k]
    return np.float32(total)
