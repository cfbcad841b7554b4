"""The partition by itself and over time: names in, clusters, events and their hierarchy out."""

from __future__ import annotations

import itertools
import json
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from bench.label_sets import blocks_of, exchanged, label_sets
from ihomer import LabelPartitioner
from ihomer.drift.events import EventLog, Kind, Level
from ihomer.errors import MalformedEventError, UsageError
from ihomer.instances import IntArray, OffsetArray
from ihomer.learners.partition.base import Partitioner
from ihomer.learners.partition.blocks import BlockPartitioner
from ihomer.learners.partition.cooccurrence import LARGEST_SET, Cooccurrence
from ihomer.learners.partition.hierarchy import HierarchyNode
from ihomer.learners.partition.jaccard import JaccardPartitioner
from ihomer.learners.partition.keeper import PartitionKeeper
from ihomer.learners.partition.kinds import KINDS, PartitionKind, make_partitioner
from ihomer.learners.partition.ring import LabelRing
from tests import naive_partition as naive
from tests.planted import independent_sets, packed

Rows = tuple[OffsetArray, IntArray]
SKEWS = [(0.0, 0.0), (0.5, 0.5), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)]
OURS: list[PartitionKind] = ["blocks", "jaccard"]


def names_of(n: int) -> list[str]:
    return [f"label {i:04}" for i in range(n)]


def joined(*parts: Rows) -> Rows:
    sizes = np.concatenate([np.diff(indptr) for indptr, _ in parts])
    return np.cumsum([0, *sizes]), np.concatenate([labels for _, labels in parts])


def named(rows: Rows, names: Sequence[str]) -> list[list[str]]:
    indptr, labels = rows
    return [[names[i] for i in row.tolist()] for row in np.split(labels, indptr[1:-1])]


def agreement(clusters: Sequence[set[str]], blocks: IntArray, names: Sequence[str]) -> float:
    found = np.full(len(blocks), -1)
    for number, cluster in enumerate(clusters):
        found[[names.index(name) for name in cluster]] = number
    assert (found >= 0).all()
    return float(adjusted_rand_score(blocks, found))


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize("skew", SKEWS)
def test_planted_blocks_of_a_long_stream_are_found_followed_and_told_of(
    kind: PartitionKind, skew: tuple[float, float]
) -> None:
    names, blocks = names_of(40), blocks_of(40, 8)
    moved = exchanged(blocks, 5)
    partitioner = LabelPartitioner(kind)
    partitioner.update_many(named(label_sets(blocks, 2000, 5, *skew), names))
    assert agreement(partitioner.clusters(), blocks, names) >= 0.99
    assert partitioner.unplaced() == set()
    told = len(partitioner.events())
    for row in named(label_sets(moved, 2000, 6, *skew), names):
        partitioner.update(row)
        assert sum(map(len, partitioner.clusters())) == 40  # nobody loses its place
    assert agreement(partitioner.clusters(), moved, names) >= 0.99
    later = partitioner.events()[told:]
    alarm = next(event for event in later if event.kind is Kind.ALARM)
    assert alarm.level is Level.STRUCTURE
    assert 2000 < alarm.event <= 2500
    assert alarm.statistic is not None
    assert alarm.bound is not None
    assert abs(alarm.statistic) > alarm.bound
    changes = [event for event in later if event.level is Level.PARTITION]
    assert {event.kind for event in changes} <= {Kind.SPLIT, Kind.MERGE, Kind.MOVE}
    assert {label for event in changes for label in event.labels} <= set(names)


EIGHT, FOUR = blocks_of(40, 8), blocks_of(40, 4)


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [(FOUR, EIGHT, {Kind.SPLIT}), (EIGHT, FOUR, {Kind.MERGE})],
    ids=["split", "merge"],
)
def test_splits_and_merges_are_found_within_two_thousand_events(
    kind: PartitionKind, before: IntArray, after: IntArray, kinds: set[Kind]
) -> None:
    names = names_of(40)
    partitioner = LabelPartitioner(kind)
    rows = joined(label_sets(before, 4096, 1), label_sets(after, 2048, 2))
    partitioner.update_many(named(rows, names))
    assert agreement(partitioner.clusters(), after, names) >= 0.99
    later = [event for event in partitioner.events() if event.event > 4096]
    assert kinds <= {event.kind for event in later if event.level is Level.PARTITION}
    assert any(event.kind is Kind.RESET for event in later)


@pytest.mark.parametrize("skew", SKEWS)
def test_without_drift_nothing_changes_any_more_in_a_long_stream(skew: tuple[float, float]) -> None:
    partitioner = LabelPartitioner()
    rows = label_sets(blocks_of(40, 8), 20_000, 3, *skew)
    partitioner.update_many(named(rows, names_of(40)))
    assert [event for event in partitioner.events() if event.event > 2000] == []


def test_a_thousand_labels_are_found() -> None:
    blocks = blocks_of(1000, 50)
    partitioner = BlockPartitioner()
    partitioner.update(*label_sets(blocks, 10_000, 1, 0.5, 0.5))
    partitioner.refit(names_of(1000))
    found = np.full(1000, -1)
    for number, cluster in enumerate(partitioner.clusters()):
        found[cluster] = number
    placed = found >= 0
    assert placed.mean() >= 0.95
    assert adjusted_rand_score(blocks[placed], found[placed]) >= 0.98


@pytest.mark.parametrize("seed", range(4))
def test_independent_labels_of_a_long_stream_are_one_cluster(seed: int) -> None:
    partitioner = LabelPartitioner()
    partitioner.update_many(named(independent_sets(30, 4000, seed), names_of(30)))
    assert [len(cluster) for cluster in partitioner.clusters()] == [30]


def test_labels_that_exclude_each_other_are_one_cluster() -> None:
    partitioner = LabelPartitioner()
    rng = np.random.default_rng(0)
    partitioner.update_many([[f"label {i}"] for i in rng.integers(0, 20, 1024)])
    assert [len(cluster) for cluster in partitioner.clusters()] == [20]


def test_a_label_that_occurs_with_no_other_waits_while_there_are_several_clusters() -> None:
    partitioner = LabelPartitioner()
    partitioner.update_many([["a", "b"], ["c", "d"], ["e"]] * 300)
    assert partitioner.clusters() == [{"a", "b"}, {"c", "d"}]
    assert partitioner.unplaced() == {"e"}


rows_of_names = st.lists(
    st.sets(st.sampled_from("abcdefghijkl"), max_size=6).map(sorted), min_size=1, max_size=60
)


@settings(max_examples=25, deadline=None)
@given(rows_of_names, st.sampled_from(OURS), st.permutations("abcdefghijkl"))
def test_the_order_in_which_labels_are_first_seen_does_not_matter(
    rows: list[list[str]], kind: PartitionKind, order: list[str]
) -> None:
    rows = rows * 20
    one, other = LabelPartitioner(kind), LabelPartitioner(kind)
    # Events of one label in another order: the same counts, other ids.
    one.update_many([[name] for name in sorted(order)] + rows)
    other.update_many([[name] for name in order] + rows)
    assert one.clusters() == other.clusters()
    assert one.unplaced() == other.unplaced()
    assert str(one.hierarchy()) == str(other.hierarchy())
    assert [event.labels for event in one.events()] == [event.labels for event in other.events()]


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from(OURS),
    st.lists(st.integers(0, 1200), max_size=4),
    st.integers(0, 1200),
)
def test_cuts_and_a_restart_from_a_copy_do_not_matter(
    seed: int, kind: PartitionKind, cuts: list[int], saved: int
) -> None:
    names, blocks = names_of(20), blocks_of(20, 4)
    rows = joined(label_sets(blocks, 600, seed), label_sets(np.roll(blocks, 3), 600, seed + 1))
    events = named(rows, names)
    whole = LabelPartitioner(kind)
    whole.update_many(events)
    copied = LabelPartitioner(kind)
    copied.update_many(events[:saved])
    copied = pickle.loads(pickle.dumps(copied))  # noqa: S301  # its own bytes
    copied.update_many(events[saved:])
    assert copied.clusters() == whole.clusters()
    assert copied.events() == whole.events()
    # The keeper is what sees batches: all sizes, and empty rows between.
    logs = []
    for edges in ([0, 1200], [0, *sorted(cuts), 1200]):
        log = EventLog()
        keeper = PartitionKeeper(make_partitioner(kind), log)
        stops = sorted({*edges, *range(128, 1201, 128)})
        for start, stop in itertools.pairwise(stops):
            keeper.update(
                np.concatenate([[0], rows[0][start : stop + 1] - rows[0][start]])
                if start in cuts
                else rows[0][start : stop + 1] - rows[0][start],
                rows[1][rows[0][start] : rows[0][stop]],
            )
            if stop % 128 == 0:
                keeper.adapt(stop, lambda: names)
        logs.append((keeper.clusters(), keeper.numbers, log.since(0)))
    assert logs[0] == logs[1]


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([BlockPartitioner, JaccardPartitioner]),
    st.sampled_from([1, 3, 5, 20, 24]),
    st.integers(1, 3),
    st.sampled_from([0.0, 1.0]),
)
@example(1, BlockPartitioner, 3, 2, 0.0)
def test_clusters_are_disjoint_and_keep_to_their_limits(
    seed: int,
    make: type[BlockPartitioner] | type[JaccardPartitioner],
    largest: int,
    smallest: int,
    skew: float,
) -> None:
    partitioner = make(min_size=min(smallest, largest), max_size=largest)
    blocks = blocks_of(24, 4)
    for part in range(3):
        partitioner.update(*label_sets(np.roll(blocks, part), 150, seed + part, skew, skew))
        before = {label for cluster in partitioner.clusters() for label in cluster}
        partitioner.refit(names_of(24))
        clusters = partitioner.clusters()
        placed = [label for cluster in clusters for label in cluster]
        assert len(placed) == len(set(placed))
        assert before <= set(placed)
        assert sorted(placed + partitioner.unplaced()) == list(
            range(len(partitioner.counts.labels()))
        )
        assert all(len(cluster) <= largest for cluster in clusters)
        if part == 1:
            partitioner.forget(300)


@given(
    st.lists(
        st.tuples(
            st.lists(st.lists(st.integers(0, 5), max_size=4, unique=True), max_size=9),
            st.lists(st.integers(0, 5), max_size=3, unique=True),
        ),
        max_size=6,
    ),
    st.integers(1, 8),
    st.integers(LARGEST_SET, LARGEST_SET + 20),
    st.integers(1, 9),
)
def test_the_ring_forgets_ids_whatever_the_cuts(
    parts: list[tuple[list[list[int]], list[int]]], most: int, labels: int, step: int
) -> None:
    ring, cut = LabelRing(most, labels), LabelRing(most, labels)
    held: list[list[int]] = []
    for rows, gone in parts:
        ring.add(*packed(rows))
        for a in range(0, len(rows), step):
            cut.add(*packed(rows[a : a + step]))
        held = [*held, *(row for row in rows if row)][-most:]
        for each in (ring, cut):
            each.forget_labels(np.array(sorted(gone), dtype=np.int32))
        held = [[label for label in row if label not in gone] for row in held]
        for each in (ring, cut):
            indptr, flat = each.last(most)
            found = [flat[a:b].tolist() for a, b in itertools.pairwise(indptr)]
            assert found == held


def test_a_refit_does_not_mix_two_owners_of_an_id() -> None:
    log = EventLog()
    keeper = PartitionKeeper(make_partitioner("blocks"), log)
    keeper.update(*packed([[0, 1], [2, 3]] * 500))
    keeper.forget_labels(np.array([1], dtype=np.int32))
    keeper.update(*packed([[0], [1, 2, 3]] * 500))
    indptr, flat = keeper._ring.last(2000)
    rows = [flat[a:b].tolist() for a, b in itertools.pairwise(indptr)]
    assert rows == [[0], [2, 3]] * 500 + [[0], [1, 2, 3]] * 500
    # What is dropped and counted again from the ring is the new owner's alone.
    keeper.partitioner.forget()
    keeper.partitioner.update(indptr, flat)
    first, second, _ = keeper.partitioner.counts.pairs()
    assert (0, 1) not in set(zip(first.tolist(), second.tolist(), strict=True))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=8), max_size=12),
    st.integers(1, 20),
    st.integers(0, 25),
)
def test_the_ring_holds_the_latest_label_sets(
    batches: list[list[list[int]]], most: int, asked: int
) -> None:
    ring = LabelRing(most, LARGEST_SET)
    seen: list[list[int]] = []
    for batch in batches:
        kept = [row for row in batch if row]
        seen += kept
        assert ring.add(*packed(batch)) == len(kept)
    indptr, labels = ring.last(asked)
    found = [row.tolist() for row in np.split(labels, indptr[1:-1])] if len(indptr) > 1 else []
    wanted = min(most, asked)
    expected = seen[-wanted:] if wanted else []
    while sum(map(len, expected)) > LARGEST_SET:
        expected = expected[1:]
    assert found == expected
    assert len(ring) <= most


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sets(st.integers(0, 9), max_size=5).map(sorted), max_size=40),
    st.sampled_from([2.0, 1e4]),
)
def test_shares_are_those_of_the_definition(rows: list[list[int]], horizon: float) -> None:
    counts = Cooccurrence(horizon, shared=True)
    counts.update(*packed(rows * 2))
    first, second, found = counts.shares()
    pairs = dict(zip(zip(first.tolist(), second.tolist(), strict=True), found, strict=True))
    assert pairs == pytest.approx(naive.shares(rows * 2, horizon), rel=1e-4, abs=1e-9)


# The hierarchy.


def brute(rows: list[list[str]], clusters: Sequence[set[str]]) -> list[float]:
    """Heights of average linkage of the clusters, by brute force."""
    distance = naive.dissimilarities(rows)

    def mean(a: frozenset[str], b: frozenset[str]) -> float:
        return float(np.mean([distance[frozenset((i, j))] for i in a for j in b]))

    groups = [frozenset(cluster) for cluster in clusters]
    heights = []
    while len(groups) > 1:
        a, b = min(itertools.combinations(groups, 2), key=lambda pair: mean(*pair))
        heights.append(mean(a, b))
        groups = [group for group in groups if group not in (a, b)] + [a | b]
    return sorted(heights)


@pytest.mark.parametrize("kind", OURS)
def test_the_hierarchy_is_average_linkage_with_diameters(kind: PartitionKind) -> None:
    names = names_of(24)
    rows = named(label_sets(blocks_of(24, 6), 1024, 4, 0.5, 0.5), names)
    partitioner = LabelPartitioner(kind)
    partitioner.update_many(rows)
    tree = partitioner.hierarchy()
    assert tree.root is not None
    nodes = list(tree.nodes())
    assert sorted(map(set, (leaf.labels for leaf in tree.leaves())), key=sorted) == sorted(
        partitioner.clusters(), key=sorted
    )
    heights = sorted(node.dissimilarity for node in nodes if node.sides)
    assert heights == pytest.approx(brute(rows, partitioner.clusters()), abs=0.01)  # they fade
    distance = naive.dissimilarities(rows)
    for node in nodes:
        inside = [distance[frozenset(p)] for p in itertools.combinations(node.labels, 2)]
        assert node.diameter == pytest.approx(max(inside, default=0.0), abs=0.01)
        assert node.size == len(node.labels)
        assert 0.0 < node.bound <= 1.0
        if node.sides:
            assert sorted(node.sides[0].labels + node.sides[1].labels) == list(node.labels)
        elif inside:
            assert node.dissimilarity == pytest.approx(np.mean(inside), abs=0.01)


def test_the_hierarchy_is_written_in_three_ways() -> None:
    partitioner = LabelPartitioner()
    rows = [["it's", "a b"], ["x\ny", "(z)"], ["it's", "a b", "x\ny", "(z)"]]
    partitioner.update_many(rows * 100 + [["p", "q"]] * 300)
    tree = partitioner.hierarchy()
    assert str(tree).splitlines()[0].startswith("6 labels, dissimilarity 1.000 +- ")
    assert len(str(tree).splitlines()) >= 3
    text = tree.to_newick()
    assert text.endswith(";")
    assert "'it''s':" in text
    assert "'x y':" in text
    assert "\n" not in text
    assert text.count("(") - 1 == text.count(")") - 1  # one of each is in a name
    rows_of_nodes = json.loads(tree.to_json())
    assert rows_of_nodes[0]["size"] == 6
    assert sorted(name for node in rows_of_nodes for name in node.get("labels", [])) == sorted(
        ["it's", "a b", "x\ny", "(z)", "p", "q"]
    )
    for node in rows_of_nodes:
        if "sides" in node:
            assert sum(rows_of_nodes[side]["size"] for side in node["sides"]) == node["size"]


def test_no_clusters_have_an_empty_hierarchy_and_one_has_one_node() -> None:
    partitioner = LabelPartitioner()
    assert partitioner.hierarchy().root is None
    assert str(partitioner.hierarchy()) == "no clusters"
    assert partitioner.hierarchy().to_newick() == ";"
    assert partitioner.hierarchy().to_json() == "[]"
    partitioner.update_many([["only"]] * 256)
    root = partitioner.hierarchy().root
    assert isinstance(root, HierarchyNode)
    assert (root.labels, root.dissimilarity, root.diameter, root.sides) == (("only",), 0, 0, ())


# Use and misuse.


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_takes_whatever_comes(kind: PartitionKind) -> None:
    partitioner = LabelPartitioner(kind)
    everything = [f"label {i}" for i in range(LARGEST_SET + 20)]
    events = [[], everything, ["a"], ["a", "a", "b"], everything[:100]]
    partitioner.update_many(events * 120)
    assert partitioner.n_learned == 600
    placed = [label for cluster in partitioner.clusters() for label in cluster]
    assert len(placed) == len(set(placed))
    assert set(placed) | partitioner.unplaced() == {*everything, "a", "b"}
    assert partitioner.memory_bytes < 3_000_000


def test_the_published_form_splits_a_long_stream_late_and_at_arbitrary_pivots() -> None:
    names, blocks = names_of(40), blocks_of(40, 8)
    partitioner = LabelPartitioner("jaccard-published")
    partitioner.update_many(named(label_sets(blocks, 2048, 1), names))
    assert len(partitioner.clusters()) == 1
    partitioner.update_many(named(label_sets(blocks, 8192, 2), names))
    assert len(partitioner.clusters()) > 1
    assert agreement(partitioner.clusters(), blocks, names) < 0.9


WRONG: Any = LabelPartitioner  # may be misused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WRONG("tree"), "kind: found 'tree', accepted: 'blocks', "),
        (lambda: WRONG(new_labels="keep"), "new_labels: found 'keep', accepted: "),
        (lambda: LabelPartitioner(max_labels=0), "max_labels: found 0, accepted: 1 or more"),
        (lambda: LabelPartitioner().update("sport"), "labels: found the string 'sport'"),
        (lambda: WRONG().update([1]), "labels: found a label that is no string"),
    ],
)
def test_misuse_is_told_in_one_line(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_labels_are_bounded() -> None:
    strict = LabelPartitioner(max_labels=2)
    strict.update(["a", "b"])
    with pytest.raises(MalformedEventError, match="max_labels = 2 is reached"):
        strict.update(["c"])
    assert strict.n_learned == 1
    lenient = LabelPartitioner(max_labels=2, new_labels="drop")
    lenient.update_many([["a", "b", "c"]] * 256)
    assert lenient.clusters() == [{"a", "b"}]


def test_a_partitioner_is_what_the_keeper_needs() -> None:
    made: list[Partitioner] = [make_partitioner(kind) for kind in KINDS]
    for partitioner in made:
        partitioner.update(*packed([[0, 1], [2, 3]] * 200))
        assert partitioner.refit(names_of(4))
        before = partitioner.clusters()
        partitioner.forget(400)
        assert partitioner.clusters() == before
        assert partitioner.unplaced() == []
        gain = partitioner.advantage(*packed([[0, 2], [1, 3]] * 200), names_of(4))
        assert gain > 100.0 or isinstance(partitioner, type(make_partitioner("jaccard-published")))
