"""Label sets that follow the features: scores and uniform numbers in, positives out.

It is here for the concepts `linear`, `hyperplane`, `rbf`, `tree` and `xor`. With s the scores of
the concept (mean 0, variance 1):

- Block b is active with a probability in proportion to ``weight_b exp(signal s_b(x))``, the second
  one from those that are left (the Gumbel-max trick).
- In an active block of m labels, label by label in the order of their ids,
  ``P(on) = 1 / (1 + exp(-z))`` with ``z = bias + log(m share_l) + signal s_l(x)``, and, but for the
  first one, plus ``dependence`` if the label before it is on, minus it if not.

The bias is found by bisection on a sample of the stream's own features, so that events have the
asked number of labels in the mean.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import expit

from ihomer.connectors.synthetic.concepts.base import Concept, Mixture
from ihomer.connectors.synthetic.labels import NONE, Positives
from ihomer.connectors.synthetic.parameters import Parameters
from ihomer.connectors.synthetic.population import DEAD, Population
from ihomer.connectors.synthetic.uniform import CHUNK, Randomness
from ihomer.instances import BoolArray, FloatArray, IntArray, OffsetArray

# Past this many labels only the scores of the labels in active blocks are computed.
_ALL_LABELS = 512
# The chunks of the calibration, far behind any stream's.
_SAMPLE = range(1 << 60, (1 << 60) + 8)
# The bias is looked for in a part of the sample first, then near by in the whole.
_PART = 2
_HALVINGS = 8
_NEAR = 0.5


class _Slots(NamedTuple):
    """Active blocks, one after the other, with their labels as rows of a rectangle."""

    row: OffsetArray  # (n,), the event's place in its chunk
    members: IntArray  # (width, n), `DEAD` where a block has fewer labels
    logits: FloatArray  # (width, n), without bias and dependence
    draws: FloatArray  # (width, n), uniform


class Following:
    """Label sets of one stream.

    Parameters
    ----------
    parameters, randomness, concept
        Of the stream.
    n_labels, n_blocks
        Labels and blocks there will ever be.
    """

    def __init__(
        self,
        parameters: Parameters,
        randomness: Randomness,
        concept: Concept,
        n_labels: int,
        n_blocks: int,
    ) -> None:
        self._p = parameters
        self._randomness = randomness
        self._concept = concept
        self._counts = {"label": n_labels, "block": n_blocks}
        self._weights: dict[tuple[str, int], FloatArray] = {}

    def blocks(
        self,
        population: Population,
        x: FloatArray,
        events: OffsetArray,
        rows: OffsetArray,
        chunk: int,
        mixtures: list[Mixture],
    ) -> OffsetArray:
        """Active blocks of the events at `rows`, int64 (n, 2); `NONE` = no second one.

        Parameters
        ----------
        population
            The structure that holds at these events.
        x, events
            Features (`CHUNK`, features) without noise and event numbers of the chunk.
        rows
            Places in the chunk.
        mixtures
            The changes of the concept, in order.
        """
        n_blocks = population.n_blocks
        active = np.full((len(rows), 2), NONE, dtype=np.int64)
        filled = np.flatnonzero(population.sizes)
        if len(filled) == 1:
            active[:, 0] = filled[0]
            return active
        scores = self._scores("block", x, events, mixtures)[rows, :n_blocks]
        draws = self._randomness.uniforms("gumbel", chunk, CHUNK * n_blocks)
        keys = -np.log(-np.log(draws.reshape(n_blocks, CHUNK)[:, rows].T))
        keys += self._p.signal * scores
        keys += np.log(np.where(population.sizes > 0, population.weights, 1.0))
        keys[:, population.sizes == 0] = -np.inf
        at = np.arange(len(rows))
        active[:, 0] = keys.argmax(axis=1)
        keys[at, active[:, 0]] = -np.inf
        two = self._randomness.uniforms("two", chunk, CHUNK)[rows] < self._p.two
        active[two, 1] = keys[two].argmax(axis=1)
        return active

    def labels(
        self,
        population: Population,
        active: OffsetArray,
        bias: FloatArray,
        x: FloatArray,
        events: OffsetArray,
        rows: OffsetArray,
        chunk: int,
        mixtures: list[Mixture],
    ) -> Positives:
        """Labels of the events at `rows`, given their `active` blocks and `bias` (n,)."""
        slots = self._slots(population, active, x, events, rows, chunk, mixtures)
        bias_of_row = np.zeros(CHUNK)
        bias_of_row[rows] = bias
        on, _ = _chain(slots, bias_of_row[slots.row], self._p.dependence)
        _, which = np.nonzero(on)
        return Positives(slots.row[which], slots.members[on])

    def calibrate(
        self, population: Population, cardinality: float, mixtures: list[Mixture]
    ) -> float:
        """The bias with which events have `cardinality` labels in the mean.

        As near as the labels of the active blocks allow.
        """
        parts: list[_Slots] = []
        rows = np.arange(CHUNK, dtype=np.int64)
        for number, chunk in enumerate(_SAMPLE):
            x = self._concept.features(chunk)
            # Far apart, so that a concept that moves is seen from all sides.
            events = (rows + number * CHUNK) * (self._p.turn // (len(_SAMPLE) * CHUNK) + 1)
            active = self.blocks(population, x, events, rows, chunk, mixtures)
            parts.append(self._slots(population, active, x, events, rows, chunk, mixtures))
        # Scores are hardly ever past 4.
        bound = 16.0 + 4.0 * self._p.signal + abs(self._p.dependence)
        coarse = self._bisect(parts[:_PART], cardinality, -bound, bound)
        return self._bisect(parts, cardinality, coarse - _NEAR, coarse + _NEAR)

    def _bisect(self, parts: list[_Slots], cardinality: float, low: float, high: float) -> float:
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            expected = sum(
                float(_chain(part, np.full(len(part.row), middle), self._p.dependence)[1].sum())
                for part in parts
            )
            if expected > cardinality * CHUNK * len(parts):
                high = middle
            else:
                low = middle
        return 0.5 * (low + high)

    def _slots(
        self,
        population: Population,
        active: OffsetArray,
        x: FloatArray,
        events: OffsetArray,
        rows: OffsetArray,
        chunk: int,
        mixtures: list[Mixture],
    ) -> _Slots:
        which, slot = np.nonzero(active != NONE)
        blocks, at = active[which, slot], rows[which]
        members = np.ascontiguousarray(population.padded(blocks).T)
        width = len(members)
        inside = members != DEAD
        known = np.where(inside, members, 0)
        share = np.where(inside, population.shares[known], 1.0)
        logits = self._p.signal * self._label_scores(known, at, x, events, mixtures)
        logits += np.log(share * population.sizes[blocks])
        draws = np.empty((width, len(at)))
        for number in range(2):
            mine = slot == number
            numbers = self._randomness.uniforms(f"on {number}", chunk, CHUNK * width)
            draws[:, mine] = numbers.reshape(width, CHUNK)[:, at[mine]]
        return _Slots(at, members, logits, draws)

    def _label_scores(
        self,
        members: IntArray,
        at: OffsetArray,
        x: FloatArray,
        events: OffsetArray,
        mixtures: list[Mixture],
    ) -> FloatArray:
        """Scores of `members` (width, n) at the events `at` (n,)."""
        if self._p.labels <= _ALL_LABELS:
            everything = self._scores("label", x, events, mixtures)
            picked: FloatArray = everything[at, members]
            return picked
        scores = self._few(members, at, x, events, 0)
        for mixture in mixtures:
            if mixture.level.any():
                new = self._few(members, at, x, events, mixture.version)
                scores = _mixed(scores, new, mixture.level[at] * mixture.labels[members])
        return scores

    def _few(
        self, members: IntArray, at: OffsetArray, x: FloatArray, events: OffsetArray, version: int
    ) -> FloatArray:
        basis = self._concept.basis(x, events, version)[at]
        weights = self._weights_of("label", version)
        # One by one: the weights of all members at once would be large.
        return np.stack([np.einsum("ij,ij->i", weights[labels], basis) for labels in members])

    def _scores(
        self, of: str, x: FloatArray, events: OffsetArray, mixtures: list[Mixture]
    ) -> FloatArray:
        """Scores of all labels or blocks, float64 (`CHUNK`, count)."""
        scores = _sums(self._concept.basis(x, events, 0), self._weights_of(of, 0))
        for mixture in mixtures:
            if mixture.level.any():
                version = mixture.version
                new = _sums(self._concept.basis(x, events, version), self._weights_of(of, version))
                scores = _mixed(scores, new, np.outer(mixture.level, mixture.affected(of)))
        return scores

    def _weights_of(self, of: str, version: int) -> FloatArray:
        weights = self._weights.get((of, version))
        if weights is None:
            weights = self._concept.weights(of, version, self._counts[of])
            self._weights[of, version] = weights
        return weights


def _sums(basis: FloatArray, weights: FloatArray) -> FloatArray:
    """``basis @ weights.T``, the same on every machine.

    A BLAS chooses its order of summation by the processor, and starts threads for less than they
    are worth here.
    """
    sums: FloatArray = np.einsum("ij,jk->ik", basis, np.ascontiguousarray(weights.T))
    return sums


def _mixed(old: FloatArray, new: FloatArray, weight: FloatArray) -> FloatArray:
    """Between two scores that have nothing in common, with variance 1 all the way."""
    rest = 1.0 - weight
    mixture: FloatArray = (rest * old + weight * new) / np.sqrt(rest**2 + weight**2)
    return mixture


def _chain(slots: _Slots, bias: FloatArray, dependence: float) -> tuple[BoolArray, FloatArray]:
    """Which labels of each slot are on, and the probability of each, both (width, n)."""
    inside = slots.members != DEAD
    on = np.zeros(inside.shape, dtype=np.bool_)
    probability = np.zeros(inside.shape)
    for place in range(len(inside)):
        logit = slots.logits[place] + bias
        if place:
            logit += np.where(on[place - 1], dependence, -dependence)
        probability[place] = np.where(inside[place], expit(logit), 0.0)
        on[place] = slots.draws[place] < probability[place]
    return on, probability
