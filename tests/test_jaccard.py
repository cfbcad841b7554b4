"""The partitioner finds planted blocks, nothing where nothing is, and keeps its invariants."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from ihomer.instances import IntArray
from ihomer.learners.partition.jaccard import JaccardPartitioner
from tests.planted import blocks_of, independent_sets, label_sets, packed

STRIDE = 64


def names_of(n: int) -> list[str]:
    return [f"label {i:04}" for i in range(n)]


def feed(
    partitioner: JaccardPartitioner, rows: tuple[np.ndarray, IntArray], names: list[str]
) -> None:
    """As the estimator does: counts in batches, refits when they are due."""
    indptr, indices = rows
    n = len(indptr) - 1
    for start in range(0, n, STRIDE):
        stop = min(n, start + STRIDE)
        partitioner.update(
            indptr[start : stop + 1] - indptr[start], indices[indptr[start] : indptr[stop]]
        )
        if partitioner.due(stop):
            partitioner.refit(names)


def found_blocks(partitioner: JaccardPartitioner, n_labels: int) -> IntArray:
    """The cluster of each label, -1 = none."""
    found = np.full(n_labels, -1, dtype=np.int32)
    for number, cluster in enumerate(partitioner.clusters()):
        found[cluster] = number
    return found


@pytest.mark.parametrize("skew", [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.5, 0.5)])
@pytest.mark.parametrize("seed", [1, 2])
def test_planted_blocks_are_found_and_followed(skew: tuple[float, float], seed: int) -> None:
    names, blocks = names_of(40), blocks_of(40, 8)
    partitioner = JaccardPartitioner()
    feed(partitioner, label_sets(blocks, 2000, seed, *skew), names)
    partitioner.refit(names)
    assert adjusted_rand_score(blocks, found_blocks(partitioner, 40)) >= 0.95

    rng = np.random.default_rng(seed)
    moved = rng.permutation(40)[:20]
    exchanged = blocks.copy()
    exchanged[moved] = rng.permutation(blocks[moved])
    partitioner.forget()
    feed(partitioner, label_sets(exchanged, 3000, seed + 100, *skew), names)
    partitioner.refit(names)
    assert adjusted_rand_score(exchanged, found_blocks(partitioner, 40)) >= 0.9
    assert (found_blocks(partitioner, 40) >= 0).all()  # nobody has lost its place


def test_many_blocks_under_one_root_are_found() -> None:
    # The mean over all pairs of a side vanishes with the number of blocks; the rule must not.
    names, blocks = names_of(400), blocks_of(400, 20)
    partitioner = JaccardPartitioner()
    feed(partitioner, label_sets(blocks, 10_000, 3), names)
    partitioner.refit(names)
    assert adjusted_rand_score(blocks, found_blocks(partitioner, 400)) >= 0.9


@pytest.mark.parametrize("seed", range(5))
def test_labels_without_structure_stay_together(seed: int) -> None:
    partitioner = JaccardPartitioner()
    feed(partitioner, independent_sets(30, 3000, seed), names_of(30))
    assert len(partitioner.clusters()) == 1


def test_nothing_is_said_without_evidence() -> None:
    partitioner = JaccardPartitioner()
    partitioner.update(*packed([[0, 1]] * 4))
    assert not partitioner.refit(names_of(2))
    assert partitioner.clusters() == []


rows_of_labels = st.lists(st.lists(st.integers(0, 11), unique=True, max_size=5), max_size=120)


@given(rows_of_labels, st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_clusters_are_disjoint_and_follow_names_not_ids(
    rows: list[list[int]], shuffler: random.Random
) -> None:
    rows = [sorted(row) for row in rows] * 8  # enough of each to count as evidence
    names = names_of(12)
    one = JaccardPartitioner()
    one.update(*packed(rows))
    one.refit(names)
    members = [label for cluster in one.clusters() for label in cluster]
    assert len(members) == len(set(members))
    counts = np.bincount([label for row in rows for label in row], minlength=12)
    assert all(counts[label] >= 5 for label in members)

    order = list(range(12))
    shuffler.shuffle(order)  # label i is now called order[i]
    other = JaccardPartitioner()
    other.update(*packed([sorted(order.index(label) for label in row) for row in rows]))
    renamed = [names[label] for label in order]
    other.refit(renamed)
    by_name = {frozenset(names[i] for i in cluster) for cluster in one.clusters()}
    assert by_name == {frozenset(renamed[i] for i in cluster) for cluster in other.clusters()}


@given(st.lists(st.integers(1, 400), min_size=1, max_size=6), st.integers(0, 5))
@settings(max_examples=20)
def test_the_cut_into_batches_plays_no_role(cuts: list[int], seed: int) -> None:
    indptr, indices = label_sets(blocks_of(12, 3), 400, seed)
    names = names_of(12)
    whole, cut = JaccardPartitioner(), JaccardPartitioner()
    whole.update(indptr, indices)
    edges = sorted({0, 400, *cuts})
    for start, stop in itertools.pairwise(edges):
        cut.update(indptr[start : stop + 1] - indptr[start], indices[indptr[start] : indptr[stop]])
    assert whole.refit(names) == cut.refit(names)
    assert whole.clusters() == cut.clusters()


def test_it_is_due_at_strides_at_growing_distances_for_ever() -> None:
    partitioner = JaccardPartitioner()
    due = [n for n in range(200_000) if partitioner.due(n)]
    assert all(n % STRIDE == 0 for n in due)
    gaps = np.diff(due)
    assert gaps.min() >= 200
    assert gaps.max() <= 20_100
    assert due[-1] > 170_000


def test_sizes_have_limits() -> None:
    partitioner = JaccardPartitioner(max_size=10)
    feed(partitioner, label_sets(blocks_of(40, 2), 3000, 4), names_of(40))
    partitioner.refit(names_of(40))
    assert max(map(len, partitioner.clusters())) <= 10
