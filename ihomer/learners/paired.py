"""Whether one learner is measurably better than another one on the same events."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ihomer.instances import FloatArray

_CONFIDENCE = math.log(2.0 / 0.002)


def compare(gains: Sequence[FloatArray]) -> tuple[float, float]:
    """Mean of paired differences, and what it has to exceed not to be chance.

    The bound is ADWIN's, Bernstein's inequality with the sample's variance, for a mean that is
    held against zero.

    Parameters
    ----------
    gains
        float64, at least one number in all.

    References
    ----------
    Bifet, Gavaldà: Learning from time-changing data with adaptive windowing, SDM 2007.
    """
    all_gains = np.concatenate(gains)
    n = len(all_gains)
    spread = float(all_gains.std())
    bound = spread * (math.sqrt(2.0 * _CONFIDENCE / n) + 2.0 / 3.0 * _CONFIDENCE / n)
    return float(all_gains.mean()), bound
