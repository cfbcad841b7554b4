"""The partition: planted structure is found, none is invented, and nothing depends on accidents."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from ihomer.errors import UsageError
from ihomer.instances import IntArray, OffsetArray
from ihomer.learners.partition import cooccurrence as module
from ihomer.learners.partition.cooccurrence import Cooccurrence
from ihomer.learners.partition.jaccard import JaccardPartitioner
from ihomer.learners.partition.separation import Limits, description_gain, divide
from tests import naive
from tests.planted import blocks_of, independent_sets, label_sets, packed

rows_of_labels = st.lists(st.sets(st.integers(0, 11), max_size=5).map(sorted), max_size=60)
skews = [(0.0, 0.0), (0.5, 0.5), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)]


def names_of(n: int) -> list[str]:
    return [f"label {i:04}" for i in range(n)]


def run(
    partitioner: JaccardPartitioner, indptr: OffsetArray, indices: IntArray, n_labels: int, at: int
) -> None:
    """Feed a stream by strides, from event `at` on, and refit when it is due."""
    n = len(indptr) - 1
    for start in range(0, n, 64):
        stop = min(n, start + 64)
        partitioner.update(
            indptr[start : stop + 1] - indptr[start], indices[indptr[start] : indptr[stop]]
        )
        if partitioner.due(at + stop):
            partitioner.refit(names_of(n_labels))


def agreement(partitioner: JaccardPartitioner, blocks: IntArray) -> float:
    """Adjusted Rand index of the placed labels."""
    found = np.full(len(blocks), -1)
    for number, cluster in enumerate(partitioner.clusters()):
        found[cluster] = number
    placed = found >= 0
    return float(adjusted_rand_score(blocks[placed], found[placed]))


def half_exchanged(blocks: IntArray, seed: int) -> IntArray:
    """Half of the labels exchange their blocks."""
    rng = np.random.default_rng(seed)
    moved = blocks.copy()
    half = rng.permutation(len(blocks))[: len(blocks) // 2]
    moved[half] = rng.permutation(blocks[half])
    return moved


@pytest.mark.parametrize("skew", skews)
def test_planted_blocks_are_found_and_found_again_after_half_the_labels_moved(
    skew: tuple[float, float],
) -> None:
    blocks = blocks_of(40, 8)
    partitioner = JaccardPartitioner()
    run(partitioner, *label_sets(blocks, 2048, 1, *skew), 40, 0)
    partitioner.refit(names_of(40))
    assert agreement(partitioner, blocks) >= 0.95
    assert partitioner.unplaced() == []
    moved = half_exchanged(blocks, 1)
    run(partitioner, *label_sets(moved, 128, 2, *skew), 40, 2048)
    partitioner.forget(2176)
    partitioner.refit(names_of(40))
    # Between the alarm and the next look nobody loses the place that it has.
    assert agreement(partitioner, blocks) >= 0.95
    run(partitioner, *label_sets(moved, 2496, 3, *skew), 40, 2176)
    assert agreement(partitioner, moved) >= 0.9
    assert partitioner.unplaced() == []


def test_a_thousand_labels_in_fifty_blocks() -> None:
    blocks = blocks_of(1000, 50)
    partitioner = JaccardPartitioner()
    partitioner.update(*label_sets(blocks, 12_000, 1))
    partitioner.refit(names_of(1000))
    assert agreement(partitioner, blocks) >= 0.95
    assert len(partitioner.unplaced()) < 10


@pytest.mark.parametrize("seed", range(10))
def test_independent_labels_are_one_cluster(seed: int) -> None:
    partitioner = JaccardPartitioner()
    run(partitioner, *independent_sets(30, 4000, seed), 30, 0)
    assert len(partitioner.clusters()) == 1


@pytest.mark.parametrize(("n_labels", "rate"), [(300, 0.005), (300, 0.02), (100, 0.05)])
def test_many_rare_independent_labels_are_one_cluster(n_labels: int, rate: float) -> None:
    rng = np.random.default_rng(0)
    partitioner = JaccardPartitioner()
    for _ in range(4):
        on = rng.random((1000, n_labels)) < rate
        partitioner.update(*packed([np.flatnonzero(row).tolist() for row in on]))
        partitioner.refit(names_of(n_labels))
        assert len(partitioner.clusters()) == 1


def test_labels_that_exclude_each_other_are_one_cluster() -> None:
    rng = np.random.default_rng(0)
    partitioner = JaccardPartitioner()
    partitioner.update(*packed([[int(i)] for i in rng.integers(0, 20, 3000)]))
    partitioner.refit(names_of(20))
    assert partitioner.clusters() == [list(range(20))]


def test_structure_that_has_gone_is_given_up() -> None:
    partitioner = JaccardPartitioner()
    run(partitioner, *label_sets(blocks_of(30, 6), 2048, 1), 30, 0)
    assert len(partitioner.clusters()) == 6
    partitioner.forget(2048)
    run(partitioner, *independent_sets(30, 3008, 1), 30, 2048)
    assert len(partitioner.clusters()) == 1


def test_no_refit_replaces_a_partition_that_is_as_good() -> None:
    blocks = blocks_of(40, 8)
    partitioner = JaccardPartitioner()
    run(partitioner, *label_sets(blocks, 1024, 1), 40, 0)
    before = partitioner.clusters()
    partitioner.update(*label_sets(blocks, 3000, 2))
    assert not partitioner.refit(names_of(40))
    assert partitioner.clusters() == before


def test_new_labels_join_the_cluster_that_they_occur_with() -> None:
    blocks = blocks_of(40, 8)
    indptr, indices = label_sets(blocks, 2048, 1)
    old = [[i for i in row.tolist() if i != 39] for row in np.split(indices, indptr[1:-1])]
    partitioner = JaccardPartitioner()
    partitioner.update(*packed(old))
    partitioner.refit(names_of(39))
    before = partitioner.clusters()
    partitioner.update(*packed([[35, 39], [36, 39], [36, 37, 39], [38, 39]]))
    assert not partitioner.refit(names_of(40))
    assert partitioner.unplaced() == [39]
    partitioner.update(*packed([[35, 38, 39], [36, 37, 39]]))
    assert partitioner.refit(names_of(40))
    assert partitioner.unplaced() == []
    assert sorted(partitioner.clusters()) == sorted(
        [*cluster, 39] if 38 in cluster else cluster for cluster in before
    )


def test_labels_that_are_no_longer_seen_follow_their_company() -> None:
    blocks = blocks_of(40, 8)
    partitioner = JaccardPartitioner(horizon=300.0)
    run(partitioner, *label_sets(blocks, 2048, 1), 40, 0)
    assert agreement(partitioner, blocks) == 1.0
    indptr, indices = label_sets(half_exchanged(blocks, 2), 6016, 2)
    # Label 0 and all of the last block have gone; the others have new company.
    gone = {0, 35, 36, 37, 38, 39}
    rows = [[i for i in row.tolist() if i not in gone] for row in np.split(indices, indptr[1:-1])]
    run(partitioner, *packed(rows), 40, 2048)
    clusters = partitioner.clusters()
    assert partitioner.unplaced() == []
    assert [35, 36, 37, 38, 39] in clusters
    assert sorted(itertools.chain(*clusters)) == list(range(40))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 3, 5, 20, 24]), st.integers(0, 3))
@example(369, 3, 0)  # a label that joins later may come first by name
def test_clusters_cover_the_placed_labels_once_and_keep_to_their_limits(
    seed: int, largest: int, smallest: int
) -> None:
    smallest = min(max(1, smallest), largest)
    partitioner = JaccardPartitioner(min_size=smallest, max_size=largest)
    for part in range(3):
        partitioner.update(*label_sets(blocks_of(24, 4), 200, seed + part, 1.0, 1.0))
        partitioner.refit(names_of(24))
        placed = sorted(itertools.chain(*partitioner.clusters()))
        assert len(set(placed)) == len(placed)
        assert sorted(placed + partitioner.unplaced()) == list(range(24))
        assert all(len(cluster) <= largest for cluster in partitioner.clusters())
        assert partitioner.clusters() == sorted(
            partitioner.clusters(), key=lambda c: (-len(c), min(names_of(24)[i] for i in c))
        )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.permutations(range(24)), st.sampled_from([0.0, 1.0]))
def test_the_order_in_which_labels_were_first_seen_does_not_matter(
    seed: int, ids: list[int], skew: float
) -> None:
    names = names_of(24)
    renamed = [""] * 24
    for label, new in enumerate(ids):
        renamed[new] = names[label]
    one = JaccardPartitioner(max_pairs=100, max_linked=16)
    other = JaccardPartitioner(max_pairs=100, max_linked=16)
    for part in range(4):
        indptr, indices = label_sets(blocks_of(24, 4), 150, seed + part, skew, skew)
        rows = [row.tolist() for row in np.split(indices, indptr[1:-1])]
        one.update(indptr, indices)
        other.update(*packed([sorted(ids[i] for i in row) for row in rows]))
        assert one.refit(names) == other.refit(renamed)
        by_name = [sorted(names[i] for i in cluster) for cluster in one.clusters()]
        assert [sorted(renamed[i] for i in cluster) for cluster in other.clusters()] == by_name


@settings(max_examples=50, deadline=None)
@given(rows_of_labels, st.lists(st.integers(0, 60), max_size=5), st.sampled_from([1.5, 3.0, 1e4]))
def test_counts_are_those_of_the_definition_however_the_stream_is_cut(
    rows: list[list[int]], cuts: list[int], horizon: float
) -> None:
    rows = rows * 3  # at a horizon of 1.5 the weights are scaled back on the way
    indptr, indices = packed(rows)
    whole, parts = Cooccurrence(horizon), Cooccurrence(horizon)
    whole.update(indptr, indices)
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    for a, b in itertools.pairwise(edges):
        parts.update(indptr[a : b + 1] - indptr[a], indices[indptr[a] : indptr[b]])
    assert whole.labels().tolist() == parts.labels().tolist()
    assert _pairs(whole) == _pairs(parts)
    labels, pairs, events = naive.cooccurrence(rows, horizon)
    assert whole.events == pytest.approx(events)
    assert whole.labels().tolist() == pytest.approx(
        [labels.get(i, 0.0) for i in range(len(whole.labels()))]
    )
    assert _pairs(whole) == pytest.approx(pairs)


def _pairs(counts: Cooccurrence) -> dict[tuple[int, int], float]:
    first, second, together = counts.pairs()
    return dict(zip(zip(first.tolist(), second.tolist(), strict=True), together, strict=True))


def test_memory_is_bounded_and_the_rarer_pairs_go_first() -> None:
    rng = np.random.default_rng(0)
    counts = Cooccurrence(max_pairs=2000)
    heavy = [[0, 1], [1, 2], [0, 2]]
    most = 0
    for _ in range(50):
        rows = [sorted(rng.choice(3000, 5, replace=False).tolist()) for _ in range(200)]
        counts.update(*packed(rows + heavy * 5))
        most = max(most, len(counts))
    assert 1000 < most <= 2000
    kept = _pairs(counts)
    assert [kept[0, 1], kept[0, 2], kept[1, 2]] == pytest.approx([250.0] * 3, rel=0.7)
    assert min(kept[0, 1], kept[0, 2], kept[1, 2]) > 100
    assert counts.memory_bytes < 400_000


def test_a_huge_label_set_is_left_out() -> None:
    counts = Cooccurrence()
    counts.update(*packed([list(range(module.LARGEST_SET + 1)), [], [1, 2]]))
    assert (len(counts), counts.labels()[:4].round(3).tolist()) == (1, [0.0, 1.0, 1.0, 0.0])
    assert counts.events == pytest.approx(1.0, rel=1e-3)


def test_looks_come_at_strides_and_at_growing_distances_from_the_start() -> None:
    partitioner = JaccardPartitioner()
    due = [n for n in range(500_000) if partitioner.due(n)]
    gaps = np.diff(due)
    assert due[0] == 256
    assert not (np.array(due) % 64).any()
    assert gaps.min() >= 200
    assert gaps.max() <= 20_032
    assert (gaps[1:] <= np.maximum(256, 0.4 * np.array(due[1:-1]) + 64)).all()
    partitioner.forget(6400)
    assert [n for n in range(8000) if partitioner.due(n)] == [
        6400 + n for n in due if 6400 + n < 8000
    ]


@pytest.mark.parametrize("n_labels", [0, 1, 2])
def test_next_to_no_labels(n_labels: int) -> None:
    partitioner = JaccardPartitioner()
    partitioner.update(*packed([list(range(n_labels))] * 20))
    assert partitioner.refit(names_of(n_labels)) == (n_labels > 0)
    assert partitioner.clusters() == ([list(range(n_labels))] if n_labels else [])
    assert not partitioner.refit(names_of(n_labels))


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"horizon": 1.0}, "horizon"),
        ({"max_pairs": 1}, "max_pairs"),
        ({"delta": 0.0}, "delta"),
        ({"min_size": 5, "max_size": 4}, "min_size, max_size"),
    ],
)
def test_a_wrong_parameter_is_named(parameters: dict[str, float], named: str) -> None:
    with pytest.raises(UsageError, match=f"^{named}: found .*, accepted: "):
        JaccardPartitioner(**parameters)  # type: ignore[arg-type]  # wrong on purpose


def test_common_labels_are_no_cluster_because_they_are_common() -> None:
    rates = np.array([0.5] * 5 + [0.05] * 10)
    on = np.random.default_rng(0).random((5000, 15)) < rates
    together: npt.NDArray[np.float64] = on.T.astype(np.float64) @ on
    counts = np.diag(together).copy()
    np.fill_diagonal(together, 0.0)
    assert divide(counts, together, Limits(0.002, 1, 15)).max() == 0


def test_the_planted_groups_describe_the_counts_better_than_others() -> None:
    blocks = blocks_of(24, 4).astype(np.int64)
    indptr, indices = label_sets(blocks_of(24, 4), 2000, 1)
    on = np.zeros((2000, 24))
    for t, row in enumerate(np.split(indices, indptr[1:-1])):
        on[t, row] = 1.0
    together = on.T @ on
    counts = np.diag(together).copy()
    np.fill_diagonal(together, 0.0)
    planted = description_gain(counts, together, blocks)
    assert description_gain(counts, together, np.zeros(24, dtype=np.int64)) == 0.0
    for other in (blocks // 2, np.roll(blocks, 1), np.roll(blocks, 3), np.arange(24)):
        assert description_gain(counts, together, other.astype(np.int64)) < planted - 10.0
    assert divide(counts, together, Limits(0.002, 1, 24)).tolist() == blocks.tolist()
