"""Rotating hyperplanes: as linear, but every label's direction turns at a steady rate.

The score at event t is ``(cos a) u . x + (sin a) v . x`` with ``a = 2 pi t / turn`` and ``u``,
``v`` perpendicular and of length 1: after ``turn`` events the first direction is back. It is here
as the concept that never stands still (after Hulten, Spencer and Domingos, KDD 2001).
"""

from __future__ import annotations

import numpy as np

from ihomer.connectors.synthetic.concepts.base import Concept, unit_rows
from ihomer.connectors.synthetic.parameters import Parameters
from ihomer.connectors.synthetic.uniform import Randomness
from ihomer.instances import FloatArray, OffsetArray


class Hyperplane(Concept):
    """See the module."""

    def __init__(self, parameters: Parameters, randomness: Randomness) -> None:
        super().__init__(parameters, randomness)
        self.width = 2 * self._relevant
        self._turn = parameters.turn

    def basis(self, x: FloatArray, events: OffsetArray, version: int) -> FloatArray:
        """See `Concept.basis`."""
        del version  # the weights alone are redrawn
        # The remainder first, so that late angles are as exact as early ones.
        angle = (events % self._turn) * (2.0 * np.pi / self._turn)
        used = x[:, : self._relevant]
        return np.hstack((used * np.cos(angle)[:, None], used * np.sin(angle)[:, None]))

    def weights(self, of: str, version: int, count: int) -> FloatArray:
        """See `Concept.weights`."""
        both = self._normal_rows(of, version, count, self.width)
        one = unit_rows(both[:, : self._relevant])
        other = both[:, self._relevant :]
        other = other - one * (one * other).sum(axis=1, keepdims=True)
        return np.hstack((one, unit_rows(other)))
