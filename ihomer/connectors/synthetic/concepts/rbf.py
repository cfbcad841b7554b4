"""Radial basis functions: features around centroids in, one value for each label and centroid.

An event belongs to one of the centroids, each as likely; its relevant features are the centroid's
place (standard normal) plus normal noise of .5. The score is the mean of the label's values at
the centroids, weighted by how likely each is given the features (a normalised Gaussian kernel).
It is here as a concept of many modes, which a line cannot reach.
"""

from __future__ import annotations

import numpy as np

from ihomer.connectors.synthetic.concepts.base import Concept
from ihomer.connectors.synthetic.parameters import Parameters
from ihomer.connectors.synthetic.uniform import CHUNK, Randomness
from ihomer.instances import FloatArray, OffsetArray

SPREAD = 0.5


class Rbf(Concept):
    """See the module."""

    def __init__(self, parameters: Parameters, randomness: Randomness) -> None:
        super().__init__(parameters, randomness)
        self.width = parameters.centroids
        places = randomness.normals("centroids", 0, self.width * self._relevant)
        self._places = places.reshape(self.width, self._relevant)
        self._columns = np.ascontiguousarray(self._places.T)
        self._half_squares = 0.5 * (self._places**2).sum(axis=1)

    def features(self, chunk: int) -> FloatArray:
        """See `Concept.features`; irrelevant ones are standard normal."""
        x = super().features(chunk)
        centroid = self._randomness.integers("centroid", chunk, CHUNK, self.width)
        x[:, : self._relevant] *= SPREAD
        x[:, : self._relevant] += self._places[centroid]
        return x

    def basis(self, x: FloatArray, events: OffsetArray, version: int) -> FloatArray:
        """See `Concept.basis`."""
        del events, version  # the weights alone are redrawn
        # |x - c|^2 / 2 without |x|^2, which all centroids have in common.
        nearness = np.einsum("ij,jk->ik", x[:, : self._relevant], self._columns)
        nearness -= self._half_squares
        nearness -= nearness.max(axis=1, keepdims=True)
        kernel: FloatArray = np.exp(nearness / SPREAD**2)
        kernel /= kernel.sum(axis=1, keepdims=True)
        return kernel

    def weights(self, of: str, version: int, count: int) -> FloatArray:
        """See `Concept.weights`."""
        values = self._normal_rows(of, version, count, self.width)
        values -= values.mean(axis=1, keepdims=True)
        values /= np.sqrt((values**2).mean(axis=1, keepdims=True))
        return values
