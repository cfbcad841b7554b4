"""Label sets from planted blocks, for tests of partitioners and structure detectors."""

from __future__ import annotations

import numpy as np

from ihomer.instances import IntArray, OffsetArray


def blocks_of(n_labels: int, n_blocks: int) -> IntArray:
    """The block of each label, in equal parts."""
    return (np.arange(n_labels) * n_blocks // n_labels).astype(np.int32)


def label_sets(
    blocks: IntArray, n: int, seed: int, within: float = 0.0, over: float = 0.0
) -> tuple[OffsetArray, IntArray]:
    """Label sets: 80% from one block (1 to 4 labels), 20% from two (1 or 2 each), 5% replaced.

    `within` and `over` are Zipf exponents of the labels of a block and of the blocks.
    """
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(blocks == b) for b in range(int(blocks.max()) + 1)]
    weights = 1.0 / np.arange(1, len(members) + 1) ** over
    rows: list[list[int]] = []
    for _ in range(n):
        two = rng.random() < 0.2
        chosen = rng.choice(len(members), 2 if two else 1, replace=False, p=weights / weights.sum())
        row: set[int] = set()
        for block in chosen:
            labels = members[block]
            p = 1.0 / np.arange(1, len(labels) + 1) ** within
            size = min(len(labels), int(rng.integers(1, 3 if two else 5)))
            row.update(rng.choice(labels, size, replace=False, p=p / p.sum()).tolist())
        row = {int(rng.integers(len(blocks))) if rng.random() < 0.05 else i for i in row}
        rows.append(sorted(row))
    return packed(rows)


def independent_sets(n_labels: int, n: int, seed: int) -> tuple[OffsetArray, IntArray]:
    """Label sets without any structure: each label has a rate of its own, .02 to .4."""
    rng = np.random.default_rng(seed)
    on = rng.random((n, n_labels)) < rng.uniform(0.02, 0.4, n_labels)
    return packed([np.flatnonzero(row).tolist() for row in on])


def packed(rows: list[list[int]]) -> tuple[OffsetArray, IntArray]:
    """Rows of label ids as compressed sparse rows."""
    indptr = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in rows], out=indptr[1:])
    return indptr, np.array([i for row in rows for i in row], dtype=np.int32)
