"""How often labels occur, and occur together: label sets in, fading counts out.

In: label sets as compressed sparse rows. Out: n_i, the faded number of events in which label i is
on, and n_ij, the same for pairs; if asked for also w_ij, where each pair of a set Y counts
1 / (|Y| - 1), so that a label's pairs of one event weigh 1 together, however many they are. It is
here so that partitioners share one way of counting.

Counts of pairs live in an open-addressing hash table of arrays: an event costs its pairs, and
memory the pairs that occur. An event weighs a little more than the one before, instead of all
counts being multiplied at every event; counts are read relative to the present weight. All that
happens now and then (scaling back, making room) happens at certain events, never at the end of a
batch, and looks at counts, never at ids.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ihomer.errors import UsageError
from ihomer.instances import Float32Array, FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel

LARGEST_SET = 128  # a larger label set would cost its square and tells least: it is left out
STALE = 0.05  # pairs that weigh less make room first
PAIR_BYTES = 40  # that a pair takes at most, in a table that is half full
WINDOW_HORIZON = 1e9  # of counts that live for a few thousand events: nothing fades
_EMPTY = -1
_SMALLEST_TABLE = 1 << 10
_HEAVIEST = 1e12  # weights are brought back to 1 beyond this

_WEIGHT, _EVENTS = 0, 1  # places in `_Table.clock`


class _Table(NamedTuple):
    """Pairs and the present weight.

    Attributes
    ----------
    keys
        int64 (slots,), a power of two: smaller id << 32 | larger id, or -1.
    counts
        float64 (slots,), weighted.
    shares
        float32 (slots,), or (0,) where nobody asks for them: the same in parts of 1 / (|Y| - 1).
    used
        int64 (1,): slots in use.
    clock
        float64 (2,): weight of the latest event, sum of the weights so far.
    """

    keys: npt.NDArray[np.int64]
    counts: FloatArray
    shares: Float32Array
    used: npt.NDArray[np.int64]
    clock: FloatArray


@kernel
def _slot(keys: npt.NDArray[np.int64], key: np.int64) -> int:
    """Where `key` is, or the free slot where it belongs."""
    mask: int = keys.shape[0] - 1
    # Both ids are mixed into the bits that are used; products stay below 2 ** 63.
    at = ((key >> 32) * 0x9E3779B1 + (key & 0xFFFFFFFF) * 0x85EBCA77) >> 8 & mask
    while keys[at] != _EMPTY and keys[at] != key:
        at = (at + 1) & mask
    return int(at)


@kernel
def _count(
    y_indptr: OffsetArray,
    y_indices: IntArray,
    start: int,
    growth: float,
    largest: int,
    room: int,
    labels: FloatArray,
    table: _Table,
) -> int:
    """Count events from `start` on; returns the first one that no longer fits into the table."""
    keys, counts, used, clock = table.keys, table.counts, table.used, table.clock
    shares = table.shares
    shared = shares.shape[0] > 0
    n: int = y_indptr.shape[0] - 1
    for t in range(start, n):
        first, last = y_indptr[t], y_indptr[t + 1]
        size = last - first
        if size == 0 or size > largest:
            continue
        if used[0] + size * (size - 1) // 2 > room:
            return t
        weight = clock[_WEIGHT] * growth
        share = np.float32(weight / max(1, size - 1))
        for a in range(first, last):
            labels[y_indices[a]] += weight
            for b in range(a + 1, last):
                key = (np.int64(y_indices[a]) << 32) | np.int64(y_indices[b])
                at = _slot(keys, key)
                if keys[at] == _EMPTY:
                    keys[at] = key
                    used[0] += 1
                counts[at] += weight
                if shared:
                    shares[at] += share
        clock[_EVENTS] += weight
        clock[_WEIGHT] = weight
        if weight > _HEAVIEST:
            scale = 1.0 / weight
            for i in range(labels.shape[0]):
                labels[i] *= scale
            for i in range(counts.shape[0]):
                counts[i] *= scale
            for i in range(shares.shape[0]):
                shares[i] *= np.float32(scale)
            clock[_EVENTS] *= scale
            clock[_WEIGHT] = 1.0
    return n


@kernel
def _insert_all(
    keys: npt.NDArray[np.int64], counts: FloatArray, shares: Float32Array, table: _Table
) -> None:
    for i in range(keys.shape[0]):
        at = _slot(table.keys, keys[i])
        table.keys[at] = keys[i]
        table.counts[at] = counts[i]
        if shares.shape[0] > 0:
            table.shares[at] = shares[i]
        table.used[0] += 1


def _table(slots: int, clock: FloatArray, *, shared: bool) -> _Table:
    return _Table(
        np.full(slots, _EMPTY, dtype=np.int64),
        np.zeros(slots),
        np.zeros(slots if shared else 0, dtype=np.float32),
        np.zeros(1, dtype=np.int64),
        clock,
    )


class Cooccurrence:
    """Fading counts of labels and of pairs of labels.

    Only events with 1 to `LARGEST_SET` labels count, so unlabelled events change nothing.

    Parameters
    ----------
    horizon
        Such events after which an event weighs 1/e, more than 1.
    max_pairs
        So many pairs are held at most; when they run out the stale ones are forgotten, or else
        the rarer half; 2 or more.
    shared
        Whether `shares` is asked for.

    Examples
    --------
    >>> counts = Cooccurrence(horizon=1e9)
    >>> counts.update(np.array([0, 2, 4, 5]), np.array([0, 1, 0, 1, 2], dtype=np.int32))
    >>> counts.labels().round(3).tolist(), counts.pairs()[2].round(3).tolist()
    ([2.0, 2.0, 1.0], [2.0])
    """

    def __init__(
        self, horizon: float = 10_000.0, max_pairs: int = 1 << 19, *, shared: bool = False
    ) -> None:
        if not horizon > 1.0:
            raise UsageError(f"horizon: found {horizon}, accepted: more than 1")
        if max_pairs < 2:
            raise UsageError(f"max_pairs: found {max_pairs}, accepted: 2 or more")
        self._growth = math.exp(1.0 / horizon)
        self._max_pairs = max_pairs
        self._shared = shared
        # At least half of the room is free after a clean-up: an event's pairs must fit into it.
        self._largest = min(LARGEST_SET, int((1.0 + (1.0 + 4.0 * max_pairs) ** 0.5) / 2.0))
        self._n_labels = 0
        self._labels: FloatArray = np.zeros(0)
        self._table = _table(_SMALLEST_TABLE, np.array([1.0, 0.0]), shared=shared)

    def __len__(self) -> int:
        """Number of pairs held."""
        return int(self._table.used[0])

    @property
    def shared(self) -> bool:
        """Whether there are `shares`."""
        return self._shared

    @property
    def memory_bytes(self) -> int:
        """Bytes held by the counts."""
        table = self._table
        return self._labels.nbytes + sum(part.nbytes for part in table)

    @property
    def events(self) -> float:
        """Faded number of events."""
        return float(self._table.clock[_EVENTS] / self._table.clock[_WEIGHT])

    def labels(self) -> FloatArray:
        """Faded count of each label id, float64 (labels seen,)."""
        counts: FloatArray = self._labels[: self._n_labels] / self._table.clock[_WEIGHT]
        return counts

    def pairs(self) -> tuple[OffsetArray, OffsetArray, FloatArray]:
        """Label ids i < j of the pairs held, in no particular order, and their faded counts."""
        return self._read(self._table.counts)

    def shares(self) -> tuple[OffsetArray, OffsetArray, FloatArray]:
        """The same in the same order, each pair of a label set Y counted 1 / (|Y| - 1)."""
        return self._read(self._table.shares)

    def _read(
        self, values: FloatArray | Float32Array
    ) -> tuple[OffsetArray, OffsetArray, FloatArray]:
        there = np.flatnonzero(self._table.keys != _EMPTY)
        keys = self._table.keys[there]
        found: FloatArray = values[there] / self._table.clock[_WEIGHT]
        return keys >> 32, keys & 0xFFFFFFFF, found

    def update(self, y_indptr: OffsetArray, y_indices: IntArray) -> None:
        """Count label sets, as in `Batch`, one after the other."""
        if len(y_indices):
            self._n_labels = max(self._n_labels, int(y_indices.max()) + 1)
            if self._n_labels > len(self._labels):
                grown = np.zeros(max(64, self._n_labels + self._n_labels // 2))
                grown[: len(self._labels)] = self._labels
                self._labels = grown
        n = len(y_indptr) - 1
        done = 0
        while True:
            room = min(len(self._table.keys) // 2, self._max_pairs)
            done = _count(
                y_indptr,
                y_indices,
                done,
                self._growth,
                self._largest,
                room,
                self._labels,
                self._table,
            )
            if done == n:
                return
            size = int(y_indptr[done + 1] - y_indptr[done])
            self._make_room(size * (size - 1) // 2)

    def fade(self, remaining: float) -> None:
        """Scale all counts so that they weigh no more than `remaining` events."""
        if self.events > remaining:
            share = remaining / self.events
            self._labels *= share
            np.multiply(self._table.counts, share, out=self._table.counts)
            np.multiply(self._table.shares, np.float32(share), out=self._table.shares)
            self._table.clock[_EVENTS] *= share

    def forget_labels(self, labels: IntArray) -> None:
        """Let ids stand for labels that were never seen."""
        self._labels[labels[labels < len(self._labels)]] = 0.0
        first, second, _ = self.pairs()
        going = np.isin(first, labels) | np.isin(second, labels)
        if going.any():
            old = self._table
            kept = np.flatnonzero(old.keys != _EMPTY)[~going]
            shares = old.shares[kept] if self._shared else old.shares
            self._table = _table(len(old.keys), old.clock, shared=self._shared)
            _insert_all(old.keys[kept], old.counts[kept], shares, self._table)

    def _make_room(self, wanted: int) -> None:
        """Rebuild the table, within the bound, so that `wanted` further pairs fit."""
        there = np.flatnonzero(self._table.keys != _EMPTY)
        keys, counts = self._table.keys[there], self._table.counts[there]
        kept = counts >= STALE * self._table.clock[_WEIGHT]
        if np.count_nonzero(kept) + wanted > self._max_pairs:
            # Equal counts go together: a choice among them would depend on the ids.
            last_to_go = len(counts) - self._max_pairs // 2 - 1
            kept &= counts > np.partition(counts, last_to_go)[last_to_go]
        shares = self._table.shares
        if self._shared:
            shares = shares[there[kept]]
        keys, counts = keys[kept], counts[kept]
        slots = _SMALLEST_TABLE
        while slots // 2 < min(self._max_pairs, 2 * (len(keys) + wanted)):
            slots *= 2
        self._table = _table(slots, self._table.clock, shared=self._shared)
        _insert_all(keys, counts, shares, self._table)
