"""How often labels occur, and occur together: label sets in, fading counts out.

Counts of pairs lie in an open-addressing hash table of arrays, so that an event costs its pairs and
memory the pairs that occur. An event weighs 1 when it comes and fades by ``exp(-1 / horizon)``
with every further one; this is done by letting new events weigh more, and scaling all back
from time to time.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ihomer.instances import FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel

_EMPTY = -1
_SCALE_BACK = 1e6
_MOST_LABELS_OF_AN_EVENT = 64


class _Table(NamedTuple):
    keys: npt.NDArray[np.int64]  # (slots,), a power of two; (smaller id << 32) | larger id
    counts: FloatArray  # (slots,)
    used: npt.NDArray[np.int64]  # (1,)


@kernel
def _slot(keys: npt.NDArray[np.int64], key: np.int64) -> int:
    """Where `key` is, or the free slot where it belongs."""
    mask: int = keys.shape[0] - 1
    at = ((key * 0x9E3779B97F4A7C) >> 20) & mask
    while keys[at] != _EMPTY and keys[at] != key:
        at = (at + 1) & mask
    return int(at)


@kernel
def _count(
    y_indptr: OffsetArray,
    y_indices: IntArray,
    start: int,
    weights: FloatArray,
    labels: FloatArray,
    table: _Table,
) -> int:
    """Count events from `start` on; returns the first one that no longer fits into the table."""
    room = table.keys.shape[0] // 2
    n: int = y_indptr.shape[0] - 1
    for t in range(start, n):
        first, last = y_indptr[t], y_indptr[t + 1]
        # The pairs of a huge label set say little and cost its square.
        paired = min(last, first + _MOST_LABELS_OF_AN_EVENT)
        size = paired - first
        if table.used[0] + size * (size - 1) // 2 > room:
            return t
        for a in range(first, last):
            labels[y_indices[a]] += weights[t]
        for a in range(first, paired):
            for b in range(a + 1, paired):
                key = (np.int64(y_indices[a]) << 32) | np.int64(y_indices[b])
                at = _slot(table.keys, key)
                if table.keys[at] == _EMPTY:
                    table.keys[at] = key
                    table.counts[at] = 0.0
                    table.used[0] += 1
                table.counts[at] += weights[t]
    return n


@kernel
def _insert_all(keys: npt.NDArray[np.int64], counts: FloatArray, table: _Table) -> None:
    for i in range(keys.shape[0]):
        at = _slot(table.keys, keys[i])
        table.keys[at] = keys[i]
        table.counts[at] = counts[i]
        table.used[0] += 1


def _table(slots: int) -> _Table:
    return _Table(
        np.full(slots, _EMPTY, dtype=np.int64), np.zeros(slots), np.zeros(1, dtype=np.int64)
    )


class Cooccurrence:
    """Fading counts of labels and of pairs of labels.

    Parameters
    ----------
    horizon
        Events after which an event weighs 1/e.
    max_pairs
        Bound of the number of pairs held; past it the rarest half is forgotten.
    """

    def __init__(self, horizon: float = 10_000.0, max_pairs: int = 1 << 19) -> None:
        self._decay = math.exp(-1.0 / horizon)
        self._max_slots = 1 << (2 * max_pairs - 1).bit_length()
        self._weight = 1.0
        self._events = 0.0
        self._labels = np.zeros(0)
        self._table = _table(1 << 12)

    @property
    def memory_bytes(self) -> int:
        """Bytes held by the counts."""
        return self._labels.nbytes + self._table.keys.nbytes + self._table.counts.nbytes

    @property
    def events(self) -> float:
        """Faded number of events."""
        return self._events / self._weight

    def labels(self) -> FloatArray:
        """Faded count of each label id, float64 (labels,)."""
        return self._labels / self._weight

    def pairs(self) -> tuple[IntArray, IntArray, FloatArray]:
        """Label ids i < j of the pairs that have occurred, and their faded counts."""
        there = np.flatnonzero(self._table.keys != _EMPTY)
        keys = self._table.keys[there]
        order = np.argsort(keys)
        keys = keys[order]
        counts = self._table.counts[there][order] / self._weight
        return (keys >> 32).astype(np.int32), (keys & 0xFFFFFFFF).astype(np.int32), counts

    def update(self, y_indptr: OffsetArray, y_indices: IntArray) -> None:
        """Count label sets, as in `Batch`, one after the other."""
        n = len(y_indptr) - 1
        weights = np.empty(n)
        for t in range(n):
            self._weight /= self._decay
            weights[t] = self._weight
            self._events += self._weight
        if len(y_indices):
            missing = int(y_indices.max()) + 1 - len(self._labels)
            if missing > 0:
                room = max(missing, len(self._labels) // 2)
                self._labels = np.concatenate([self._labels, np.zeros(room)])
        done = 0
        while True:
            done = _count(y_indptr, y_indices, done, weights, self._labels, self._table)
            if done == n:
                break
            self.grow()
        if self._weight > _SCALE_BACK:
            self.fade(1.0 / self._weight)
            self._weight = 1.0

    def fade(self, share: float) -> None:
        """Let everything counted so far weigh only `share` of what it does."""
        self._events *= share
        self._labels *= share
        np.multiply(self._table.counts, share, out=self._table.counts)

    def grow(self) -> None:
        """Make room for more pairs, at the bound by forgetting the rarest half."""
        there = np.flatnonzero(self._table.keys != _EMPTY)
        keys, counts = self._table.keys[there], self._table.counts[there]
        slots = len(self._table.keys)
        if slots < self._max_slots:
            slots *= 2
        else:
            kept = np.sort(np.lexsort((keys, -counts))[: len(keys) // 2])
            keys, counts = keys[kept], counts[kept]
        self._table = _table(slots)
        _insert_all(keys, counts, self._table)
