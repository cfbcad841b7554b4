"""Linear: standard normal features in, one random direction for each label.

The score is ``w . x`` with ``|w| = 1``. It is here as the concept that every linear learner can
reach.
"""

from __future__ import annotations

from ihomer.connectors.synthetic.concepts.base import Concept, unit_rows
from ihomer.connectors.synthetic.parameters import Parameters
from ihomer.connectors.synthetic.uniform import Randomness
from ihomer.instances import FloatArray, OffsetArray


class Linear(Concept):
    """See the module."""

    def __init__(self, parameters: Parameters, randomness: Randomness) -> None:
        super().__init__(parameters, randomness)
        self.width = self._relevant

    def basis(self, x: FloatArray, events: OffsetArray, version: int) -> FloatArray:
        """See `Concept.basis`."""
        del events, version  # always the same
        return x[:, : self._relevant]

    def weights(self, of: str, version: int, count: int) -> FloatArray:
        """See `Concept.weights`."""
        return unit_rows(self._normal_rows(of, version, count, self.width))
