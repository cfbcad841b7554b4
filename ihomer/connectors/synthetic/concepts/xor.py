"""XOR-like: standard normal features in pairs, one pair and one sign for each label.

The score is ``+-sign(x_a) sign(x_b)``: no feature alone says anything, and neither does any
weighted sum of them. It is here as the concept that only interactions reach.
"""

from __future__ import annotations

import numpy as np

from ihomer.connectors.synthetic.concepts.base import Concept
from ihomer.connectors.synthetic.parameters import Parameters
from ihomer.connectors.synthetic.uniform import Randomness
from ihomer.instances import FloatArray, OffsetArray


class Xor(Concept):
    """See the module; the pairs are features 0 and 1, 2 and 3, and so on."""

    def __init__(self, parameters: Parameters, randomness: Randomness) -> None:
        super().__init__(parameters, randomness)
        self.width = self._relevant // 2

    def basis(self, x: FloatArray, events: OffsetArray, version: int) -> FloatArray:
        """See `Concept.basis`."""
        del events, version  # the weights alone are redrawn
        used = x[:, : 2 * self.width]
        return np.where(used[:, ::2] * used[:, 1::2] > 0.0, 1.0, -1.0)

    def weights(self, of: str, version: int, count: int) -> FloatArray:
        """See `Concept.weights`: one of them is 1 or -1, the others are 0."""
        draw = self._randomness.integers(f"weights {of} {version}", 0, count, 2 * self.width)
        weights = np.zeros((count, self.width))
        weights[np.arange(count), draw // 2] = np.where(draw % 2 == 0, 1.0, -1.0)
        return weights
