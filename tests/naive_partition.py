"""Slow, obvious references of the block model and of the clusters' hierarchy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]


def block_score(weights: Matrix, blocks: list[int]) -> float:
    """Score of a division of the nodes of a symmetric weight matrix, term by term."""
    n = len(blocks)
    degree = weights.sum(axis=1)
    total = float(degree.sum())
    edges = total / 2.0
    every = sum(degree[i] * degree[j] for i, j in itertools.combinations(range(n), 2))
    score, inside, near = 0.0, 0.0, 0.0
    for block in set(blocks):
        members = [i for i in range(n) if blocks[i] == block]
        pairs = list(itertools.combinations(members, 2))
        m = sum(weights[i, j] for i, j in pairs)
        p = sum(degree[i] * degree[j] for i, j in pairs)
        if m > 0.0:
            score += m * math.log(m * every / (p * edges))
        score += len(members) * math.log(len(members) / n)
        inside += m
        near += p
    outside = edges - inside
    if outside > 1e-9:
        score += outside * math.log(outside * every / ((every - near) * edges))
    return score - 0.5 * len(set(blocks)) * math.log(max(1.0, edges))


def modularity(weights: Matrix, blocks: list[int], resolution: float) -> float:
    """Newman's, times the weight of all edges from both ends."""
    degree = weights.sum(axis=1)
    total = float(degree.sum())
    return float(
        sum(
            weights[i, j] - resolution * degree[i] * degree[j] / total
            for i in range(len(blocks))
            for j in range(len(blocks))
            if i != j and blocks[i] == blocks[j]
        )
    )


def shares(rows: list[list[int]], horizon: float) -> dict[tuple[int, int], float]:
    """Faded counts of pairs i < j, each pair of a row Y counted 1 / (|Y| - 1)."""
    fade = math.exp(-1.0 / horizon)
    found: dict[tuple[int, int], float] = {}
    for row in filter(None, rows):
        found = {pair: count * fade for pair, count in found.items()}
        for pair in itertools.combinations(row, 2):
            found[pair] = found.get(pair, 0.0) + 1.0 / (len(row) - 1)
    return found


def dissimilarities(rows: list[list[str]]) -> dict[frozenset[str], float]:
    """Jaccard dissimilarity of each pair of labels."""
    with_label: dict[str, set[int]] = {}
    for t, row in enumerate(rows):
        for label in row:
            with_label.setdefault(label, set()).add(t)
    return {
        frozenset(pair): 1.0
        - len(with_label[pair[0]] & with_label[pair[1]])
        / len(with_label[pair[0]] | with_label[pair[1]])
        for pair in itertools.combinations(with_label, 2)
    }
