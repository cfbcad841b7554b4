"""What is kept of a label that has vanished, so that it starts warm when it returns.

In: a block of labels and a place in it. Out: a `Memory` of a few kilobytes, which may be written
to another place later. What the experts of a block know of a label that was never on stands at
position 0; a place that becomes nobody's gets that.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ihomer.instances import Float32Array, FloatArray, IntArray, OffsetArray
from ihomer.learners.arrays import nbytes
from ihomer.learners.block import LabelBlock
from ihomer.learners.experts.linear import LinearExpert
from ihomer.learners.experts.ridge import RidgeExpert
from ihomer.learners.kernels.linear import fill_births

STRONGEST = 64  # columns that are kept of a linear expert
OBJECT_BYTES = 1536  # of a memory's Python objects, as measured


class _Weights(NamedTuple):
    """The strongest weights of a linear expert for one label.

    Attributes
    ----------
    columns
        int32 (k,).
    cells
        float32 (arrays, k): what the expert's arrays by column hold there.
    others
        float32 (arrays,): what its arrays by position hold.
    """

    columns: IntArray
    cells: Float32Array
    others: Float32Array


class Memory(NamedTuple):
    """What is kept of a label.

    Attributes
    ----------
    weights
        Of each linear expert.
    net, mixture
        What their arrays hold for the label, one after the other.
    counts
        How often it was on of late, and again after it had been on, float64.
    """

    weights: tuple[_Weights, ...]
    net: Float32Array
    mixture: Float32Array
    counts: FloatArray

    @property
    def memory_bytes(self) -> int:
        """Bytes of the arrays and of the objects that hold them."""
        weights = sum(nbytes(part) for part in self.weights)
        return OBJECT_BYTES + weights + self.net.nbytes + self.mixture.nbytes + self.counts.nbytes

    def without(self, columns: OffsetArray) -> Memory:
        """The same but for weights of these columns, which are other features' now."""
        if not len(columns):
            return self
        kept = []
        for part in self.weights:
            good = ~np.isin(part.columns, columns)
            kept.append(_Weights(part.columns[good], part.cells[:, good], part.others))
        return self._replace(weights=tuple(kept))


def remember(block: LabelBlock, position: int) -> Memory:
    """What `block` knows of the label at `position`."""
    return Memory(
        tuple(_strongest(expert, position) for expert in _linear(block)),
        _gathered(_net(block), position),
        _gathered(_mixture(block), position),
        np.array([array[position] for array in _counts(block)]),
    )


def recall(block: LabelBlock, position: int, memory: Memory) -> None:
    """Write at `position` what was known of a label; the block may be another one."""
    for expert, weights in zip(_linear(block), memory.weights, strict=True):
        _put(expert, position, weights)
    _scatter(_net(block), position, memory.net)
    _scatter(_mixture(block), position, memory.mixture)
    for array, count in zip(_counts(block), memory.counts, strict=True):
        array[position] += count  # it has just been on


def forget(block: LabelBlock, positions: IntArray) -> None:
    """Let `positions` stand for labels that have never been on."""
    parts: list[NDArray[Any]] = [*_mixture(block), *_net(block), *_counts(block)]
    parts.append(block.trivial.previous)
    for expert in _linear(block):
        parts += _by_column(expert) + _by_position(expert)
    for array in parts:
        array[..., positions] = array[..., :1]


def _linear(block: LabelBlock) -> list[LinearExpert | RidgeExpert]:
    ridge = [] if block.ridge is None else [block.ridge]
    return [*block.linear.values(), *ridge]


def _counts(block: LabelBlock) -> list[FloatArray]:
    return [block.trivial.on, block.trivial.after, block.trivial.again]


def _mixture(block: LabelBlock) -> list[Float32Array]:
    """The mixture's arrays by label, which is their last axis."""
    state = block.mixture
    return [state.losses, state.stack, state.squares, state.blend]


def _net(block: LabelBlock) -> list[Float32Array]:
    """The network's arrays by label, which is their last axis."""
    if block.net is None:
        return []
    state = block.net.state
    by_position = [state.bias, state.errors, state.bias_squares]
    by_unit = [state.second.T, state.lifts, state.lift_squares]
    return [*by_position, *by_unit, state.gains, state.gain_squares]


def _by_column(expert: LinearExpert | RidgeExpert) -> list[Float32Array]:
    if isinstance(expert, RidgeExpert):
        return [expert.state.weights]
    return [expert.state.weights, expert.state.squares]


def _by_position(expert: LinearExpert | RidgeExpert) -> list[Float32Array]:
    if isinstance(expert, RidgeExpert):
        return [expert.state.bias, expert.state.curvature]
    return [expert.state.bias, expert.state.bias_squares]


def _gathered(arrays: list[Float32Array], position: int) -> Float32Array:
    parts = [np.atleast_1d(array[..., position]).ravel() for array in arrays]
    return np.concatenate([np.zeros(0, dtype=np.float32), *parts])


def _scatter(arrays: list[Float32Array], position: int, values: Float32Array) -> None:
    start = 0
    for array in arrays:
        shape = array.shape[:-1]
        size = int(np.prod(shape))
        array[..., position] = values[start : start + size].reshape(shape)
        start += size


def _strongest(expert: LinearExpert | RidgeExpert, position: int) -> _Weights:
    """Where the label differs most from one that was never on; those that tie last stay out."""
    weights = expert.state.weights
    away = np.abs(weights[:, position] - weights[:, 0])
    away[expert.reach <= position] = 0.0
    least = np.float32(0.0)
    if len(away) > STRONGEST:
        least = np.partition(away, len(away) - STRONGEST - 1)[len(away) - STRONGEST - 1]
    columns = np.flatnonzero(away > least).astype(np.int32)
    cells = np.array([array[columns, position] for array in _by_column(expert)])
    others = np.array([array[position] for array in _by_position(expert)])
    return _Weights(columns, cells, others)


def _put(expert: LinearExpert | RidgeExpert, position: int, kept: _Weights) -> None:
    arrays = _by_column(expert)
    rows = len(arrays[0])
    # Features may have come to share columns meanwhile, modulo their number.
    columns = kept.columns % max(1, rows)
    fill_births(arrays[0], arrays[-1], expert.reach, rows, arrays[0].shape[1])
    expert.reach[columns] = np.maximum(expert.reach[columns], 1 + position)
    for array, cells in zip(arrays, kept.cells, strict=True):
        array[columns, position] = cells
    for array, value in zip(_by_position(expert), kept.others, strict=True):
        array[position] = value
