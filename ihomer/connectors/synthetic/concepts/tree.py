"""A random tree: uniform features (mean 0, variance 1) in, one value for each label and leaf.

The tree is complete; each inner node splits a random relevant feature in the middle half of what
the nodes above leave of it. The score is the label's value at the event's leaf. It is here as the
concept that decision trees can reach.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ihomer.connectors.synthetic.concepts.base import Concept
from ihomer.connectors.synthetic.parameters import Parameters
from ihomer.connectors.synthetic.uniform import CHUNK, Randomness
from ihomer.instances import FloatArray, OffsetArray

# Half the range of a uniform number of variance 1.
_HALF = 3.0**0.5


class _Nodes(NamedTuple):
    """Inner nodes in the order of a heap, and the share of events in each leaf."""

    feature: OffsetArray
    threshold: FloatArray
    share: FloatArray


class Tree(Concept):
    """See the module."""

    def __init__(self, parameters: Parameters, randomness: Randomness) -> None:
        super().__init__(parameters, randomness)
        self._depth = parameters.depth
        self.width = 1 << self._depth
        self._trees: dict[int, _Nodes] = {}

    def features(self, chunk: int) -> FloatArray:
        """See `Concept.features`."""
        numbers = self._randomness.uniforms("x", chunk, CHUNK * self._features)
        numbers -= 0.5
        numbers *= 2.0 * _HALF
        return numbers.reshape(CHUNK, self._features)

    def basis(self, x: FloatArray, events: OffsetArray, version: int) -> FloatArray:
        """See `Concept.basis`: 1 at the event's leaf."""
        del events  # always the same
        nodes = self._nodes(version)
        rows = np.arange(len(x))
        node = np.zeros(len(x), dtype=np.int64)
        for _ in range(self._depth):
            node = 2 * node + 1 + (x[rows, nodes.feature[node]] > nodes.threshold[node])
        basis = np.zeros((len(x), self.width))
        basis[rows, node - (self.width - 1)] = 1.0
        return basis

    def weights(self, of: str, version: int, count: int) -> FloatArray:
        """See `Concept.weights`."""
        share = self._nodes(version).share
        values = self._normal_rows(of, version, count, self.width)
        values -= (values * share).sum(axis=1, keepdims=True)
        values /= np.sqrt((values**2 * share).sum(axis=1, keepdims=True))
        return values

    def _nodes(self, version: int) -> _Nodes:
        nodes = self._trees.get(version)
        if nodes is None:
            nodes = self._trees[version] = self._grow(version)
        return nodes

    def _grow(self, version: int) -> _Nodes:
        inner = self.width - 1
        feature = self._randomness.integers(f"tree {version}", 0, inner, self._relevant)
        place = self._randomness.uniforms(f"threshold {version}", 0, inner)
        threshold = np.zeros(inner)
        # What is left of each feature at each node, children behind their parents.
        low = np.full((2 * inner + 1, self._relevant), -_HALF)
        high = np.full((2 * inner + 1, self._relevant), _HALF)
        for node, split in enumerate(feature.tolist()):
            a, b = low[node, split], high[node, split]
            threshold[node] = a + (b - a) * (0.25 + 0.5 * place[node])
            for child in (2 * node + 1, 2 * node + 2):
                low[child], high[child] = low[node], high[node]
            high[2 * node + 1, split] = low[2 * node + 2, split] = threshold[node]
        return _Nodes(feature, threshold, ((high - low)[inner:] / (2.0 * _HALF)).prod(axis=1))
