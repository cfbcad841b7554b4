"""The foremost of many scores: a score that enough of them reach, and the order of a few.

In: scores in no order. Out: the places of those that may be among the best, or places by score. It
is here because a branch per score that nobody can foresee costs more than the arithmetic: what is
asked of all of them is asked of many at a time.
"""

from __future__ import annotations

import numpy as np

from ihomer.instances import Float32Array, IntArray
from ihomer.jit import kernel

LANES = 64  # every so many scores' best is kept to find what enough of them reach

_ZERO = np.float32(0.0)
_ONE = np.float32(1.0)
_HIGH = np.float32(np.inf)
_LOW = np.float32(-np.inf)


@kernel
def reached(score: Float32Array, wanted: int, lanes: Float32Array) -> np.float32:
    """A score that at least `wanted` scores reach, and not many more; minus infinity: all do.

    Parameters
    ----------
    score
        float32 (n,): not NaN.
    wanted
        At most `LANES`.
    lanes
        float32 (2, `LANES`): scratch.
    """
    if score.shape[0] <= wanted:
        return _LOW
    top, above = lanes[0], lanes[1]
    width = top.shape[0]  # not a constant, for which loops are unrolled instead of vectorised
    for c in range(width):
        top[c] = _LOW
        above[c] = _ZERO
    full = score.shape[0] // width * width
    for start in range(0, full, width):
        part = score[start : start + width]
        for c in range(width):
            top[c] = max(top[c], part[c])
    rest = score[full:]
    for c in range(rest.shape[0]):
        top[c] = max(top[c], rest[c])
    for k in range(width):
        one = top[k]
        for c in range(width):
            above[c] += _ONE if one > top[c] else _ZERO
    enough = _HIGH
    for c in range(width):
        if above[c] < wanted and top[c] < enough:
            enough = top[c]
    return enough


@kernel
def those_from(score: Float32Array, least: np.float32, found: IntArray) -> int:
    """Write the places of the scores that are at least `least`, ascending; return how many.

    Parameters
    ----------
    score
        float32 (n,).
    least
        See above.
    found
        int32 (n + 1 or more,): out.
    """
    few = np.uint64(0)
    for i in range(score.shape[0]):  # without a branch that nobody could foresee
        found[few] = i
        few += np.uint64(score[i] >= least)
    return int(np.int64(few))


@kernel
def put_in_order(score: Float32Array, n: int, order: IntArray) -> None:
    """Write the places of the first `n` scores, best first, equal ones lowest place first.

    Counting how many are better takes n x n comparisons, many at a time; where n is about a
    hundred that is faster than sorting.

    Parameters
    ----------
    score
        float32 (at least n,): not NaN; what comes after n is overwritten.
    n
        How many.
    order
        int32 (at least n,): out.
    """
    width = score.shape[0]
    for i in range(n, width):
        score[i] = _LOW
    for i in range(n):
        order[i] = -1
    for i in range(n):
        own = score[i]
        better = 0
        for k in range(width):
            better += int(score[k] > own)
        while order[better] >= 0:
            better += 1
        order[better] = i
