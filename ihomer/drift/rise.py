"""A quick look for a rise of the loss: stride means in, warnings and where the rise began out.

ADWIN asks for certainty before it gives an alarm. A warning that only makes others try may come
sooner and be false now and then: a one-sided cumulative sum over strides of events (Page 1954),
each held against the fading mean and variance of those before it.
"""

from __future__ import annotations

import math

import numpy as np

from ihomer.instances import FloatArray

BOUND = 4.0  # of the sum, in standard deviations of a stride's mean
ALLOWANCE = 0.5  # that each stride may be above the reference
KEPT = 0.95  # of the reference's sums, at each stride: about 20 strides
SETTLED = 8  # strides in the reference before the first warning
_STEEPEST = 100.0  # standard deviations: what a stride counts at most
_SMALLEST = 1e-12  # variance of a stride's mean


class Rise:
    """See the module.

    Attributes
    ----------
    sum
        The cumulative sum; above `BOUND` it warns.

    References
    ----------
    Page: Continuous inspection schemes, Biometrika 41, 1954.

    Examples
    --------
    >>> rise = Rise()
    >>> noise = np.random.default_rng(1).normal(0.0, 0.1, (11, 128))
    >>> any(rise.update(row) for row in noise[:10])
    False
    >>> rise.update(noise[10] + 0.1)
    True
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget what has been."""
        self.sum = 0.0
        self._strides = 0
        self._weight = self._means = self._squares = self._within = 0.0

    @property
    def reference(self) -> float:
        """Fading mean of the strides; 0 before the first one."""
        return self._means / self._weight if self._weight else 0.0

    def update(self, losses: FloatArray) -> bool:
        """Add the losses of a stride's events, float64 (n,), finite; True is a warning."""
        mean = float(losses.mean())
        if self._strides >= SETTLED:
            reference = self.reference
            between = self._squares / self._weight - reference * reference
            within = self._within / self._weight  # what chance alone makes of a stride's mean
            deviation = math.sqrt(max(between, within, _SMALLEST))
            above = min((mean - reference) / deviation, _STEEPEST)
            self.sum = max(0.0, self.sum + above - ALLOWANCE)
        self._strides += 1
        self._weight = KEPT * self._weight + 1.0
        self._means = KEPT * self._means + mean
        self._squares = KEPT * self._squares + mean * mean
        self._within = KEPT * self._within + float(losses.var()) / len(losses)
        return self.sum > BOUND


def began(means: FloatArray, reference: float) -> int:
    """How many of the last strides belong to a rise above `reference`, one at least.

    The border at which the mean of those after it is above the reference most clearly: their
    excess times the root of their number is largest; of equal ones the latest.

    Parameters
    ----------
    means
        float64 (n,), n > 0: the strides' means, oldest first.
    reference
        What they were before.
    """
    numbers = np.arange(1, len(means) + 1)
    clear = np.cumsum(means[::-1] - reference) / np.sqrt(numbers)
    return int(np.argmax(clear)) + 1
