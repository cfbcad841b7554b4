"""What a concept whose labels follow its features must offer.

In: a chunk's number. Out: features, a basis, and weights on it. It is here so that the label sets
of all concepts are drawn by one function.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np

from ihomer.connectors.synthetic.parameters import Parameters
from ihomer.connectors.synthetic.uniform import CHUNK, Randomness
from ihomer.instances import FloatArray, OffsetArray


class Mixture(NamedTuple):
    """How far a change of the concept has come in a chunk.

    Attributes
    ----------
    version
        Of the concept that it leads to.
    level
        float64 (`CHUNK`,), in [0, 1].
    labels, blocks
        float64, by id: 1 = affected, 0 = not.
    """

    version: int
    level: FloatArray
    labels: FloatArray
    blocks: FloatArray

    def affected(self, of: str) -> FloatArray:
        """`labels` or `blocks`."""
        return self.labels if of == "label" else self.blocks


class Concept(ABC):
    """A family of functions of the features.

    Parameters
    ----------
    parameters, randomness
        Of the stream. The first ``features - irrelevant`` features are those that count.

    Attributes
    ----------
    width
        Numbers in the basis.
    """

    width: int

    def __init__(self, parameters: Parameters, randomness: Randomness) -> None:
        self._features = parameters.features
        self._relevant = parameters.features - parameters.irrelevant
        self._randomness = randomness

    def features(self, chunk: int) -> FloatArray:
        """Features of a chunk, float64 (`CHUNK`, features): standard normal unless overridden."""
        numbers = self._randomness.normals("x", chunk, CHUNK * self._features)
        return numbers.reshape(CHUNK, self._features)

    @abstractmethod
    def basis(self, x: FloatArray, events: OffsetArray, version: int) -> FloatArray:
        """Basis at each event, float64 (n, width), from its features (n, features)."""

    @abstractmethod
    def weights(self, of: str, version: int, count: int) -> FloatArray:
        """Weights of the first `count` labels or blocks, float64 (count, width).

        Parameters
        ----------
        of
            ``"label"`` or ``"block"``.
        version
            See the package.
        count
            A larger one leaves the first rows as they are.
        """

    def _normal_rows(self, of: str, version: int, count: int, width: int) -> FloatArray:
        numbers = self._randomness.normals(f"weights {of} {version}", 0, count * width)
        return numbers.reshape(count, width)


def unit_rows(rows: FloatArray) -> FloatArray:
    """`rows`, each divided by its length."""
    unit: FloatArray = rows / np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    return unit
