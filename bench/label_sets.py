"""Label sets from planted blocks, without features: sizes, skews and a seed in, rows out.

It is here because partitioners look at label sets alone and are judged on millions of them. 80%
of the events have 1 to 4 labels of one block, 20% have 1 or 2 labels of each of two; then 5% of
the positives are replaced by any label at random. Blocks, and the labels of a block, are as
common as 1 / rank ** exponent.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ihomer.instances import FloatArray, IntArray, OffsetArray

TWO, REPLACED = 0.2, 0.05
_CHUNK = 1 << 16  # events drawn at a time


def blocks_of(n_labels: int, n_blocks: int) -> IntArray:
    """The block of each label, in equal parts."""
    return (np.arange(n_labels) * n_blocks // n_labels).astype(np.int32)


def exchanged(blocks: IntArray, seed: int) -> IntArray:
    """The blocks after half of the labels have exchanged theirs, as often each as before."""
    rng = np.random.default_rng(seed)
    moved = blocks.copy()
    half = rng.permutation(len(blocks))[: len(blocks) // 2]
    moved[half] = rng.permutation(blocks[half])
    return moved


def label_sets(
    blocks: IntArray, n: int, seed: int, within: float = 0.0, over: float = 0.0
) -> tuple[OffsetArray, IntArray]:
    """Draw `n` label sets.

    Parameters
    ----------
    blocks
        int32 (L,): the block of each label, from 0, none of them empty.
    n, seed
        Number of events; where the generator starts.
    within, over
        Zipf exponents of the labels of a block, by id, and of the blocks, by number.

    Returns
    -------
    indptr, indices
        int64 (n + 1,), int32 (positives,): compressed sparse rows, ids ascending in each.
    """
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(blocks == b) for b in range(int(blocks.max()) + 1)]
    width = max(map(len, members))
    table = np.full((len(members), width), -1, dtype=np.int64)
    for number, member in enumerate(members):
        table[number, : len(member)] = member
    shares: FloatArray = np.arange(1.0, width + 1.0) ** -within
    weights: FloatArray = np.arange(1.0, len(members) + 1.0) ** -over
    parts = [
        _rows(rng, min(_CHUNK, n - start), table, shares, weights, len(blocks))
        for start in range(0, n, _CHUNK)
    ]
    sizes = np.concatenate([np.zeros(1, dtype=np.int64), *(size for size, _ in parts)])
    return np.cumsum(sizes), np.concatenate([labels for _, labels in parts])


def _rows(
    rng: np.random.Generator,
    n: int,
    table: npt.NDArray[np.int64],
    shares: FloatArray,
    weights: FloatArray,
    n_labels: int,
) -> tuple[npt.NDArray[np.int64], IntArray]:
    """Number of labels of each event, and all labels in order."""
    two = rng.random(n) < TWO
    # The largest keys by Efraimidis and Spirakis (2006) are a weighted draw without repetition.
    if len(weights) > 1:
        ends = np.cumsum(weights) / weights.sum()
        first = np.minimum(np.searchsorted(ends, rng.random(n), side="right"), len(weights) - 1)
        second = np.minimum(np.searchsorted(ends, rng.random(n), side="right"), len(weights) - 1)
        while len(again := np.flatnonzero(two & (second == first))):
            drawn = np.searchsorted(ends, rng.random(len(again)), side="right")
            second[again] = np.minimum(drawn, len(weights) - 1)
    else:
        first, second, two = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64), two & False
    rows = np.concatenate([np.arange(n), np.flatnonzero(two)])
    block = np.concatenate([first, second[two]])
    most = np.where(two[rows], 2, 4)
    many = 1 + np.floor(rng.random(len(rows)) * most).astype(np.int64)
    arrival = rng.exponential(size=(len(rows), table.shape[1])) / shares
    arrival[table[block] < 0] = np.inf
    ranked = np.argsort(arrival, axis=1)[:, :4]
    chosen = np.take_along_axis(table[block], ranked, axis=1)
    there = (np.arange(chosen.shape[1]) < many[:, None]) & (chosen >= 0)
    row, label = rows[np.nonzero(there)[0]], chosen[there]
    wrong = rng.random(len(label)) < REPLACED
    label[wrong] = rng.integers(n_labels, size=int(wrong.sum()))
    keys = np.unique(row * n_labels + label)
    sizes = np.bincount(keys // n_labels, minlength=n).astype(np.int64)
    return sizes, (keys % n_labels).astype(np.int32)
