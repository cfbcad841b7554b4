"""The block model's kernels: the score by its definition, and moves that never lower it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer.learners.kernels.blockmodel import (
    Graph,
    block_score,
    block_sums,
    improve,
    move_nodes,
)
from ihomer.learners.kernels.louvain import louvain
from tests import naive_partition as naive

Matrix = npt.NDArray[np.float64]


def graph_of(weights: Matrix) -> Graph:
    rows, columns = np.nonzero(weights)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(weights)))])
    ones = np.ones(len(weights), dtype=np.int64)
    return Graph(
        indptr.astype(np.int64), columns.copy(), weights[rows, columns], weights.sum(axis=1), ones
    )


def score_of(graph: Graph, blocks: npt.NDArray[np.int64]) -> float:
    total = float(graph.degrees.sum())
    return block_score(block_sums(graph, blocks), total, len(blocks))


def drawn(seed: int, n: int, density: float) -> Matrix:
    """A random graph with something to find: nodes of equal parity are linked more."""
    rng = np.random.default_rng(seed)
    likely = np.where(np.add.outer(np.arange(n), np.arange(n)) % 2 == 0, density, density / 4)
    upper = np.triu((rng.random((n, n)) < likely) * rng.integers(1, 9, (n, n)) / 4.0, 1)
    # No node without an edge: the graph that is fitted has none.
    for i in range(n):
        if not (upper[i].any() or upper[:, i].any()):
            upper[min(i, (i + 1) % n), max(i, (i + 1) % n)] = 0.5
    return np.asarray(upper + upper.T)


graphs = st.builds(
    drawn, st.integers(0, 10**6), st.integers(2, 12), st.sampled_from([0.2, 0.5, 0.9])
)


@settings(max_examples=60, deadline=None)
@given(graphs, st.lists(st.integers(0, 4), min_size=12, max_size=12))
def test_the_score_is_that_of_the_definition(weights: Matrix, groups: list[int]) -> None:
    n = len(weights)
    blocks = np.array(groups[:n], dtype=np.int64) % n
    assert score_of(graph_of(weights), blocks) == pytest.approx(
        naive.block_score(weights, blocks.tolist()), abs=1e-9
    )


@settings(max_examples=60, deadline=None)
@given(graphs, st.lists(st.integers(0, 4), min_size=12, max_size=12), st.integers(1, 12))
def test_moves_raise_the_score_to_a_local_best_within_the_limit(
    weights: Matrix, groups: list[int], largest: int
) -> None:
    n, graph = len(weights), graph_of(weights)
    blocks = np.array(groups[:n], dtype=np.int64) % n
    if np.bincount(blocks).max() > largest:
        blocks = np.arange(n)
    before = score_of(graph, blocks)
    total = float(graph.degrees.sum())
    move_nodes(graph, blocks, np.arange(n), total, largest, True, 0)
    after = score_of(graph, blocks)
    assert after >= before - 1e-9
    assert np.bincount(blocks).max() <= largest
    for i in range(n):
        linked = np.unique(blocks[weights[i] > 0.0])
        unused = np.setdiff1d(np.arange(n), blocks)[:1]
        for block in [*linked, *unused]:
            if block != blocks[i] and np.count_nonzero(blocks == block) < largest:
                other = blocks.copy()
                other[i] = block
                assert naive.block_score(weights, other.tolist()) <= after + 1e-6


@settings(max_examples=40, deadline=None)
@given(graphs, st.integers(2, 12), st.sampled_from([1.0, 4.0, 16.0]))
def test_improvement_says_the_score_and_leaves_no_merge_undone(
    weights: Matrix, largest: int, resolution: float
) -> None:
    n, graph = len(weights), graph_of(weights)
    total = float(graph.degrees.sum())
    blocks = np.empty(n, dtype=np.int64)
    count = louvain(graph, total, resolution, largest, blocks)
    assert sorted(set(blocks.tolist())) == list(range(count))
    assert np.bincount(blocks).max() <= largest
    start = score_of(graph, blocks)
    found = improve(graph, blocks, total, largest)
    assert found == pytest.approx(score_of(graph, blocks))
    assert found >= start - 1e-9
    assert np.bincount(blocks).max() <= largest


@settings(max_examples=40, deadline=None)
@given(graphs, st.sampled_from([1.0, 4.0]))
def test_louvain_is_no_worse_than_single_nodes_and_stops_where_no_merge_helps(
    weights: Matrix, resolution: float
) -> None:
    n, graph = len(weights), graph_of(weights)
    blocks = np.empty(n, dtype=np.int64)
    count = louvain(graph, float(graph.degrees.sum()), resolution, n, blocks)
    found = naive.modularity(weights, blocks.tolist(), resolution)
    assert found >= -1e-9
    for a in range(count):
        for b in range(a):
            merged = np.where(blocks == a, b, blocks)
            assert naive.modularity(weights, merged.tolist(), resolution) <= found + 1e-6


def test_two_cliques_are_two_blocks_and_a_lonely_node_joins_its_neighbours() -> None:
    weights = np.kron(np.eye(2), np.full((5, 5), 8.0))
    weights[0, 9] = weights[9, 0] = 0.5
    np.fill_diagonal(weights, 0.0)
    graph = graph_of(weights)
    total = float(graph.degrees.sum())
    blocks = np.arange(10)
    improve(graph, blocks, total, 10)
    assert len(set(blocks[:5].tolist())) == len(set(blocks[5:].tolist())) == 1
    assert blocks[0] != blocks[9]
    apart = blocks.copy()
    apart[3] = 9 if blocks[5] != 9 else 8
    moved = move_nodes(graph, apart, np.array([3]), total, 10, False, 2)
    assert moved == 1
    assert apart[3] == apart[0]
    # There is no room, so it stays alone.
    apart[3] = 9 if blocks[5] != 9 else 8
    assert move_nodes(graph, apart, np.array([3]), total, 4, False, 2) == 0
