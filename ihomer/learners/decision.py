"""From probabilities to a label set."""

from __future__ import annotations

import numpy as np

from ihomer.instances import BoolArray, FloatArray


def thresholded(scores: FloatArray, threshold: float) -> BoolArray:
    """Labels whose probability reaches `threshold`.

    Parameters
    ----------
    scores
        float64 (n, L), NaN = no score.
    threshold
        In (0, 1); one half minimises the expected Hamming loss of calibrated probabilities.

    Returns
    -------
    BoolArray
        bool (n, L); a label without a score is off.
    """
    with np.errstate(invalid="ignore"):
        return scores >= threshold
