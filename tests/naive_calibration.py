"""The slow, obvious reference of the calibration: double precision, one pair at a time."""

from __future__ import annotations

import math

from ihomer.learners.kernels.calibration import FADING, KNOTS, MOST, PSEUDO


class Calibration:
    """Counts of one block of labels."""

    def __init__(self) -> None:
        self.pairs = [0.0] * KNOTS
        self.excess = [0.0] * KNOTS

    @staticmethod
    def beside(p: float) -> list[tuple[int, float]]:
        """The two knots beside the logit of p, with how near it lies to each."""
        place = (math.log(p / (1.0 - p)) + 6.0) / 12.0 * (KNOTS - 1)
        place = min(KNOTS - 1 - 1e-3, max(0.0, place))
        low = int(place)
        return [(low, 1.0 - (place - low)), (low + 1, place - low)]

    def correct(self, p: float) -> float:
        change = sum(s * self.excess[k] / (self.pairs[k] + PSEUDO) for k, s in self.beside(p))
        return p + min(MOST * (1.0 - p), max(-MOST * p, change))

    def learn(self, probabilities: dict[int, float], on: set[int]) -> None:
        """Count an event's known labels, given what was said of each before its correction."""
        self.pairs = [FADING * n for n in self.pairs]
        self.excess = [FADING * n for n in self.excess]
        for label, p in probabilities.items():
            for k, share in self.beside(p):
                self.pairs[k] += share
                self.excess[k] += share * ((label in on) - p)
