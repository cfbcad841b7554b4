"""The rows with the highest scores, best first.

In: the scores of a window's rows. Out: the numbers of the best. It is here because nobody can
foresee which rows are good, and a branch per row costs more than the arithmetic: most rows are
ruled out eight at a time, by a score that enough rows are known to reach.
"""

from __future__ import annotations

import numpy as np

from ihomer.instances import Float32Array, IntArray
from ihomer.jit import kernel
from ihomer.learners.kernels.foremost import reached, those_from

LANES = 32  # every so many rows' best score is kept to find what enough rows reach
LOWEST = np.float32(-9.0)  # of a row that is not to be found

_LOW = np.float32(-8.0)  # above that, and below every other


@kernel
def best_rows(
    score: Float32Array, first: int, lanes: Float32Array, likely: IntArray, found: IntArray
) -> int:
    """Write the rows with the highest scores, best first, ties highest first; return how many.

    Parameters
    ----------
    score, first
        float32 (n,): scores, `LOWEST` or above -8; and the number of the first of the rows.
    lanes
        float32 (2, LANES): scratch.
    likely
        int32 (n + 1 or more,): scratch.
    found
        int32 (k,), k at most LANES: out.
    """
    wanted = found.shape[0]
    enough = max(reached(score, wanted, lanes), _LOW)
    few = those_from(score, enough, likely)
    number = 0
    for k in range(few - 1, -1, -1):
        value = score[likely[k]]
        i = number
        if number < wanted:
            number += 1
        elif value > score[found[wanted - 1]]:
            i -= 1
        else:
            continue
        while i > 0 and score[found[i - 1]] < value:
            found[i] = found[i - 1]
            i -= 1
        found[i] = likely[k]
    for i in range(number):
        found[i] += first
    return number
