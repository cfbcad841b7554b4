"""The forest against its twin, under cuts, births, little memory, drift and hostile numbers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer.errors import UsageError
from ihomer.instances import Batch, Float32Array, IntArray
from ihomer.learners.experts.forest import SPLIT_TESTS, Forest, SplitTest, name_key
from ihomer.learners.kernels.elementary import LOGIT_CLIP
from ihomer.learners.kernels.trees_state import (
    ALTERNATE,
    CODE,
    DROPPED,
    FEATURE,
    FIRST,
    FOLLOWING,
    HELD,
    INNER,
    KIND,
    LEAF,
    LEFT,
    MAX_DEPTH,
    N_ALTERNATES,
    N_COUNTS,
    N_MOMENTS,
    N_NODES,
    N_WATCHES,
    NODE,
    NONE,
    OF_COUNTS,
    OF_MOMENTS,
    OF_NODES,
    OF_PENDING,
    OF_SLOTS,
    OF_WATCHES,
    PARENT,
    RESTING,
    RIGHT,
    ROOT,
    ROW,
    THRESHOLD,
    TREE,
    UNUSED,
    WATCH,
)
from tests import naive_trees
from tests.naive_trees import Features

Stream = list[tuple[Features, set[int] | None]]  # labels as ids


def batch_of(stream: Stream, known: list[int]) -> Batch:
    indptr = np.cumsum([0, *(len(x) for x, _ in stream)], dtype=np.int64)
    y_indptr = np.cumsum([0, *(len(y or ()) for _, y in stream)], dtype=np.int64)
    return Batch(
        indptr,
        np.array([j for x, _ in stream for j in sorted(x)], dtype=np.int32),
        np.array([x[j] for x, _ in stream for j in sorted(x)], dtype=np.float64),
        y_indptr,
        np.array([i for _, y in stream for i in sorted(y or ())], dtype=np.int32),
        np.array([y is not None for _, y in stream], dtype=np.bool_),
        np.array(known, dtype=np.int32),
    )


def as_batch(stream: Stream) -> Batch:
    """A label is known from the first event on which it, or one with a larger id, is on."""
    known = [0, *itertools.accumulate((max(y or {-1}, default=-1) + 1 for _, y in stream), max)]
    return batch_of(stream, known)


def places(labels: int) -> tuple[IntArray, IntArray]:
    members = np.arange(labels, dtype=np.int32)
    return members, members + np.int32(1)


def run(
    forest: Forest, batch: Batch, labels: int, columns: int, cuts: list[int] | None = None
) -> tuple[Float32Array, list[int], list[IntArray]]:
    """Logits, lengths of paths and the ids that went, piece by piece."""
    out = np.full((len(batch), 1 + labels), np.nan, dtype=np.float32)
    lengths: list[int] = []
    gone: list[IntArray] = []
    for a, b in itertools.pairwise([0, *sorted(cuts or []), len(batch)]):
        forest.make_room(columns, labels)
        paths, went = forest.run(batch.slice(a, b), *places(labels), out[a:b])
        assert ((paths.nodes >= 0) & (paths.nodes < forest.nodes)).all()
        lengths += np.diff(paths.indptr).tolist()
        gone.append(went)
    return out, lengths, gone


def assert_sound(forest: Forest) -> None:
    """Every place is either free or in use once, and what is counted is what is there."""
    nodes, slots, watches, free, trees = forest.state
    tops = free.tops
    assert tops[OF_PENDING] == 0
    kinds = nodes.link[:, KIND]
    found: list[int] = []
    used_slots: list[int] = []
    for tree, state in enumerate(trees):
        mine = [int(state[ROOT])]
        counts = moments = inner = alternates = 0
        for node in mine:
            link = nodes.link[node]
            assert link[TREE] == tree
            assert link[KIND] in (INNER, LEAF, RESTING)
            if link[KIND] == INNER:
                inner += 1
                for child in (link[LEFT], link[RIGHT]):
                    assert nodes.link[child, PARENT] == node
                    mine.append(int(child))
                if link[ALTERNATE] != NONE:
                    alternates += 1
                    assert nodes.link[link[ALTERNATE], PARENT] == link[PARENT]
                    mine.append(int(link[ALTERNATE]))
                assert link[FIRST] == NONE
            slot, before = link[FIRST], len(used_slots)
            while slot != NONE:
                used_slots.append(int(slot))
                assert slots.link[slot, NODE] == node
                row = slots.link[slot, ROW]
                counts += row >= 0
                moments += row < 0 and row != DROPPED
                slot = slots.link[slot, FOLLOWING]
            assert link[HELD] == len(used_slots) - before
        found += mine
        expected = (len(mine), counts, moments, inner, alternates)
        assert tuple(state[[N_NODES, N_COUNTS, N_MOMENTS, N_WATCHES, N_ALTERNATES]]) == expected
    assert len(set(found)) == len(found)
    assert sorted([*found, *free.nodes[: tops[OF_NODES]]]) == list(range(len(kinds)))
    assert sorted([*used_slots, *free.slots[: tops[OF_SLOTS]]]) == list(range(len(slots.link)))
    rows = slots.link[used_slots, ROW]
    in_counts = [*rows[rows >= 0], *free.counts[: tops[OF_COUNTS]]]
    in_moments = [*~rows[(rows < 0) & (rows != DROPPED)], *free.moments[: tops[OF_MOMENTS]]]
    assert sorted(in_counts) == list(range(len(slots.counts)))
    assert sorted(in_moments) == list(range(len(slots.moments)))
    used_watches = [n for n in found if kinds[n] == INNER]
    in_watches = [*nodes.link[used_watches, WATCH], *free.watches[: tops[OF_WATCHES]]]
    assert sorted(in_watches) == list(range(len(watches.counters)))
    assert sorted(slots.table[slots.table > 0] - 1) == sorted(used_slots)
    pairs = {tuple(slots.link[s, [NODE, CODE]]) for s in used_slots}
    assert len(pairs) == len(used_slots)
    assert (kinds[free.nodes[: tops[OF_NODES]]] <= UNUSED).all()


# One stream for the twin: a mixture of kinds of features, with births.


@st.composite
def streams(draw: st.DrawFn, columns: int = 5, labels: int = 4) -> Stream:
    """Numeric, sparse, nominal and missing values; labels that follow features, and are born."""
    n = draw(st.integers(1, 230))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kinds = rng.integers(0, 4, columns)
    missing = draw(st.sampled_from([0.0, 0.1]))
    noise = draw(st.sampled_from([0.02, 0.2, 0.5]))
    follows = rng.integers(0, columns, labels)
    signs = rng.choice([-1.0, 1.0], labels)
    born = rng.integers(0, 100, labels) * (rng.random(labels) < 0.5)
    stream: Stream = []
    for t in range(n):
        x: Features = {}
        for j, kind in enumerate(kinds):
            if rng.random() < missing:
                x[j] = math.nan
            elif kind == 0:
                x[j] = float(rng.normal(1000.0, 2.0))
            elif kind == 1:
                x[j] = float(rng.normal())
            elif rng.random() < 0.3:
                x[j] = 1.0 if kind == 2 else float(rng.normal(2.0))
        centre = {0: 1000.0, 1: 0.0, 2: 0.5, 3: 0.0}
        y = set()
        for c in range(labels):
            j = int(follows[c])
            on = signs[c] * (x.get(j, 0.0) - centre[int(kinds[j])]) > 0.0
            if rng.random() < noise:
                on = bool(rng.random() < 0.4)
            if on and t >= born[c]:
                y.add(c)
        stream.append((x, None if rng.random() < 0.05 else y))
    return stream


@settings(max_examples=40)
@given(streams(), st.integers(0, 2**32 - 1))
def test_a_forest_is_its_twin(stream: Stream, seed: int) -> None:
    columns, labels, trees = 5, 4, 3
    forest = Forest(trees, split_test="evidence", alternates=False, seed=seed)
    forest.make_room(columns, labels)
    keys = forest.keys.tolist()
    twins = [naive_trees.Tree(i, seed, 0.2) for i in range(trees)]
    batch = as_batch(stream)
    learned = 0
    for t, (x, y) in enumerate(stream):
        out, lengths, _ = run(forest, batch.slice(t, t + 1), labels, columns)
        paths = [twin.path(x) for twin in twins]
        assert lengths == [sum(len(path) - 1 for path in paths)]
        for c in range(labels + 1):
            p = sum(path[-1].rate(c) for path in paths) / trees
            assert out[0, c] == pytest.approx(naive_trees.logit(p), abs=1e-4)
        if y is None:
            continue
        for twin in twins:
            twin.learn(x, {1 + c for c in y})
        learned += 1
        if learned % 32 == 0:
            born = int(batch.known[t + 1])
            for i, twin in enumerate(twins):
                follow(forest, twin, int(forest.state.trees[i, ROOT]), twin.root, born, keys)
    assert_sound(forest)


def follow(
    forest: Forest,
    twin: naive_trees.Tree,
    at: int,
    node: naive_trees.Node,
    labels: int,
    keys: list[int],
) -> None:
    """Judge what the forest did to a node at the end of a stride, and do the same."""
    link, number = forest.state.nodes.link[at], forest.state.nodes.number[at]
    if node.children:
        for child, to in zip(node.children, (link[LEFT], link[RIGHT]), strict=True):
            follow(forest, twin, int(to), child, labels, keys)
        return
    if len(node.events) < node.attempt:
        assert link[KIND] == LEAF
        return
    # Looked for when a leaf has that many events, made at the end of the stride.
    node.share = min(node.share, naive_trees.sample_share(twin.number, twin.columns, 0.2))
    merits = naive_trees.candidates(node, labels, keys) if node.active(labels) else {}
    best = max(merits.values(), default=0.0)
    surplus = naive_trees.surplus(node, best, labels, naive_trees.tried(node, keys))
    if link[KIND] == INNER:
        assert best > 0.0
        assert surplus > -1e-3
        feature, threshold = int(link[FEATURE]), float(number[THRESHOLD])
        near = {
            (j, v): m
            for (j, v), m in merits.items()
            if j == feature and v == pytest.approx(threshold, rel=1e-6, abs=1e-6)
        }
        assert near
        assert max(near.values()) == pytest.approx(best, rel=1e-3)
        twin.split(node, feature, threshold)
    else:
        assert best == 0.0 or surplus < 1e-3
        seen = len(node.events)
        node.attempt = seen + max(32, seen // 10)


@settings(max_examples=15)
@given(streams(), st.lists(st.integers(0, 230), max_size=8), st.booleans())
def test_cuts_change_nothing(stream: Stream, cuts: list[int], alternates: bool) -> None:
    stream = stream * 3
    batch = as_batch(stream)
    whole, lengths, _ = run(Forest(4, alternates=alternates), batch, 4, 5)
    cut = [c for c in cuts if c < len(stream)]
    pieces, cut_lengths, _ = run(Forest(4, alternates=alternates), batch, 4, 5, cut)
    assert whole.tobytes() == pieces.tobytes()
    assert lengths == cut_lengths


@settings(max_examples=10)
@given(streams())
def test_room_for_labels_may_come_late_or_early(stream: Stream) -> None:
    batch = as_batch(stream)
    labels = batch.n_labels
    early = Forest(4)
    early.make_room(5, labels + 30)
    first, _, _ = run(early, batch, labels, 5)
    late = Forest(4)
    second = np.empty_like(first)
    for t in range(len(batch)):
        now = int(batch.known[t + 1])
        late.make_room(5, now)
        out = np.empty((1, 1 + now), dtype=np.float32)
        late.run(batch.slice(t, t + 1), *places(now), out)
        second[t, : 1 + now] = out[0]
        second[t, 1 + now :] = out[0, 0]
    assert first.tobytes() == second.tobytes()


@settings(max_examples=10)
@given(streams(), st.permutations(range(5)))
def test_numbers_of_features_do_not_matter(stream: Stream, order: list[int]) -> None:
    stream = [({j: x.get(j, math.nan) for j in range(5)}, y) for x, y in stream]
    results = []
    for numbers in (list(range(5)), order):
        forest = Forest(4)
        keys = np.zeros(5, dtype=np.int64)
        for j, to in enumerate(numbers):
            keys[to] = name_key(f"feature {j}")
        forest.make_room(5, 4, keys)
        renamed: Stream = [({numbers[j]: v for j, v in x.items()}, y) for x, y in stream]
        results.append(run(forest, as_batch(renamed), 4, 5)[0])
    assert results[0].tobytes() == results[1].tobytes()


# Longer streams, by hand.


def generated(
    n: int, columns: int, labels: int, seed: int, *, shift: int = 0, relevant: int = 4
) -> Stream:
    """Uniform features; label c is on where feature (c + shift) % relevant lies in its half."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1.0, 1.0, (n, columns))
    noise = rng.random((n, labels)) < 0.1
    stream: Stream = []
    for t in range(n):
        on = {
            c
            for c in range(labels)
            if (x[t, (c + shift) % relevant] * (-1) ** (c // relevant) > 0.2) != noise[t, c]
        }
        stream.append((dict(enumerate(x[t].tolist())), on))
    return stream


def mean_loss(out: Float32Array, stream: Stream) -> float:
    labels = out.shape[1] - 1
    y = np.array([[c in (on or ()) for c in range(labels)] for _, on in stream])
    z = out[:, 1:].astype(np.float64)
    return float(np.logaddexp(0.0, np.where(y, -z, z)).sum(axis=1).mean())


@pytest.mark.parametrize("split_test", SPLIT_TESTS)
def test_every_split_test_finds_the_feature(split_test: SplitTest) -> None:
    stream = generated(3000, 6, 1, 0, relevant=1)
    forest = Forest(1, 1.0, split_test)
    out, _, _ = run(forest, as_batch(stream), 1, 6)
    root = forest.state.trees[0, ROOT]
    # The test of evidence decides after 32 events, when chance may still be ahead.
    if split_test != "evidence":
        assert forest.state.nodes.link[root, FEATURE] == 0
        assert abs(forest.state.nodes.number[root, THRESHOLD] - 0.2) < 0.3
    assert mean_loss(out[1500:], stream[1500:]) < 0.5


def test_noise_grows_small_trees_by_the_bounds() -> None:
    rng = np.random.default_rng(3)
    stream: Stream = [
        (dict(enumerate(rng.normal(size=6).tolist())), {c for c in range(3) if rng.random() < 0.3})
        for _ in range(480)
    ]
    sizes = {}
    for split_test in SPLIT_TESTS:
        forest = Forest(5, split_test=split_test)
        run(forest, as_batch(stream), 3, 6)
        sizes[split_test] = int((forest.state.nodes.link[:, KIND] == INNER).sum())
    assert sizes["hoeffding"] <= 2
    assert sizes["bernstein"] <= 6
    assert sizes["evidence"] <= 20


def test_an_interaction_without_marginal_gain_is_found() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(6000, 4))
    stream: Stream = [
        (dict(enumerate(row.tolist())), {0} if row[0] * row[1] > 0 else set()) for row in x
    ]
    out, _, _ = run(Forest(), as_batch(stream), 1, 4)
    assert mean_loss(out[4000:], stream[4000:]) < 0.5 < math.log(2.0)


def test_labels_that_were_never_on_share_the_reserves_logit() -> None:
    stream = generated(700, 5, 3, 1)
    out, _, _ = run(Forest(4), as_batch(stream), 5, 5)
    assert (out[:, 4:] == out[:, :1]).all()
    assert (out[:, 1] != out[:, 0])[1:].any()
    # What is always off ends at the clip.
    assert out[-1, 0] == pytest.approx(-LOGIT_CLIP)


def test_after_a_drift_alternates_take_over() -> None:
    stream = generated(4000, 6, 4, 7) + generated(4000, 6, 4, 8, shift=1)
    batch = as_batch(stream)
    losses = {}
    for alternates in (True, False):
        forest = Forest(4, alternates=alternates)
        out, _, gone = run(forest, batch, 4, 6, list(range(64, 8000, 64)))
        losses[alternates] = mean_loss(out[6000:], stream[6000:])
        went = np.concatenate(gone)
        assert (len(went) > 0) == alternates
        planted, switched = forest.take_alternates()
        assert (planted >= switched > 0) == alternates
        assert forest.take_alternates() == (0, 0)
        for ids in gone:
            assert len(set(ids.tolist())) == len(ids)
        assert_sound(forest)
    assert losses[True] < 0.95 * losses[False]


def test_ids_that_went_are_given_out_again_in_a_later_call() -> None:
    stream = generated(4000, 6, 4, 7) + generated(6000, 6, 4, 8, shift=1)
    batch = as_batch(stream)
    forest = Forest(4)
    forest.make_room(6, 4)
    went: set[int] = set()
    again = False
    for a in range(0, len(batch), 64):
        part = batch.slice(a, min(a + 64, len(batch)))
        alive = set(np.flatnonzero(forest.state.nodes.link[:, KIND]).tolist())
        out = np.empty((len(part), 5), dtype=np.float32)
        paths, gone = forest.run(part, *places(4), out)
        assert set(gone.tolist()) <= alive | set(range(len(alive), forest.nodes))
        again |= bool(went & set(paths.nodes.tolist()))
        went |= set(gone.tolist())
        now = set(np.flatnonzero(forest.state.nodes.link[:, KIND]).tolist())
        assert not set(gone.tolist()) & now
    assert again


@pytest.mark.parametrize("budget", [150_000, 400_000])
def test_memory_stays_below_the_budget(budget: int) -> None:
    stream = generated(6000, 12, 6, 11)
    batch = as_batch(stream)
    small, large = Forest(4, budget_bytes=budget), Forest(4)
    out, _, _ = run(small, batch, 6, 12, list(range(100, 6000, 100)))
    run(large, batch, 6, 12)
    assert small.memory_bytes <= budget < large.memory_bytes
    kinds = small.state.nodes.link[:, KIND]
    assert (kinds == RESTING).any()
    assert np.isfinite(out).all()
    assert_sound(small)
    # With less memory it still learns.
    assert mean_loss(out[3000:], stream[3000:]) < mean_loss(out[:300], stream[:300])


def test_leaves_wake_when_there_is_memory_again() -> None:
    stream = generated(6000, 12, 6, 11)
    batch = as_batch(stream)
    forest = Forest(4, budget_bytes=150_000)
    run(forest, batch.slice(0, 3000), 6, 12)

    def resting() -> int:
        link = forest.state.nodes.link
        return int(((link[:, KIND] == RESTING) & (link[:, FIRST] == NONE)).sum())

    before, grown = resting(), int((forest.state.nodes.link[:, KIND] == INNER).sum())
    assert before > 0
    forest.set_budget(1 << 26)
    run(forest, batch.slice(3000, 6000), 6, 12)
    assert int((forest.state.nodes.link[:, KIND] == INNER).sum()) > grown
    assert_sound(forest)


def test_trees_are_no_deeper_than_they_may_be() -> None:
    # Every label tells the sign of one threshold of a single feature: the deeper the better.
    rng = np.random.default_rng(2)
    values = rng.random(6000)
    stream: Stream = [
        ({0: float(v)}, {c for c in range(12) if int(v * 4096) >> c & 1}) for v in values
    ]
    forest = Forest(2, 1.0)
    _, lengths, _ = run(forest, as_batch(stream), 12, 1)
    assert max(lengths) <= 2 * MAX_DEPTH
    assert_sound(forest)


HOSTILE = [1e300, -1e300, 1e-310, -5e-324, 1.0, 0.1, -1.0, 1e150, math.nan, 1e12, 1e-12]


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_hostile_numbers_leave_everything_finite(seed: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 4, columns)
    fixed = rng.choice(HOSTILE, columns)
    stream: Stream = []
    for t in range(400):
        x: Features = {}
        for j in range(columns):
            if kinds[j] == 0:
                x[j] = float(rng.choice(HOSTILE))
            elif kinds[j] == 1:
                x[j] = float(fixed[j])
            elif kinds[j] == 2:
                x[j] = 1e300 * (-1) ** t
            elif rng.random() < 0.5:
                x[j] = float(fixed[j] * rng.random())
        stream.append((x, {c for c in range(3) if rng.random() < 0.4 or x.get(c, 0.0) > 1e9}))
    forest = Forest(4)
    out, _, _ = run(forest, as_batch(stream), 3, columns)
    assert np.isfinite(out).all()
    state = forest.state
    for array in (*state.nodes, *state.slots, *state.watches):
        assert np.isfinite(array).all()
    assert_sound(forest)


def test_rearranged_labels_keep_what_is_known_about_them() -> None:
    stream = generated(3000, 6, 4, 13)
    order = [2, 0, 3, 1]
    renamed: Stream = [(x, {order.index(c) for c in on or ()}) for x, on in stream]
    plain, moved = Forest(4), Forest(4)
    first, _, _ = run(plain, as_batch(stream), 4, 6)
    run(moved, batch_of(stream[:2000], [4] * 2001), 4, 6)
    moved = moved.derived(np.array([1 + c for c in order], dtype=np.int32), np.zeros(4))
    second, _, _ = run(moved, batch_of(renamed[2000:], [4] * 1001), 4, 6)
    # Sums over labels are taken in another order, so splits may differ where merits are equal.
    np.testing.assert_allclose(second[:200, 0], first[2000:2200, 0], atol=1e-5)
    for place, c in enumerate(order):
        np.testing.assert_allclose(second[:200, 1 + place], first[2000:2200, 1 + c], atol=1e-5)


def test_a_derived_forest_leaves_the_other_one_as_it_was() -> None:
    stream = generated(900, 6, 4, 13)
    plain, source = Forest(4), Forest(4)
    for forest in (plain, source):
        run(forest, as_batch(stream[:600]), 4, 6)
    order = np.array([3, 1], dtype=np.int32)
    new = source.derived(order, np.zeros(2))
    run(new, batch_of([(x, {0}) for x, _ in stream[:300]], [2] * 301), 2, 6)
    rest = batch_of(stream[600:], [4] * 301)
    assert (run(source, rest, 4, 6)[0] == run(plain, rest, 4, 6)[0]).all()
    # Two copies say the same and have nothing in common.
    again, other = (source.derived(order, np.zeros(2)) for _ in range(2))
    rest = batch_of([(x, {1}) for x, _ in stream[:300]], [2] * 301)
    assert (run(again, rest, 2, 6)[0] == run(other, rest, 2, 6)[0]).all()


def test_a_cluster_may_grow_past_its_room() -> None:
    stream = generated(300, 6, 2, 19)
    forest = Forest(3)
    run(forest, as_batch(stream), 2, 6)
    forest = forest.derived(np.array([1, 2, *([0] * 18)], dtype=np.int32), np.full(20, 0.1))
    out = np.empty((1, 21), dtype=np.float32)
    forest.run(batch_of([(stream[0][0], None)], [20, 20]), *places(20), out)
    np.testing.assert_allclose(out[0, 3:], math.log(0.1 / 0.9), atol=1e-4)
    arrays = [part for group in forest.state[:4] for part in group]
    assert all(part.flags.c_contiguous for part in arrays)  # another order compiles anew


def test_a_label_from_elsewhere_starts_independent_at_its_prior() -> None:
    stream = generated(600, 6, 3, 17)
    forest = Forest(3)
    run(forest, as_batch(stream), 3, 6)
    forest = forest.derived(np.array([3, 0, 1], dtype=np.int32), np.array([0.0, 0.25, 0.0]))
    nodes, slots = forest.state.nodes, forest.state.slots
    used = nodes.link[:, KIND] != UNUSED
    weight, seen = nodes.number[used, 1], nodes.number[used, 2]
    np.testing.assert_allclose(nodes.positive[used, 2], 0.25 * weight, rtol=1e-6)
    np.testing.assert_allclose(nodes.on[used, 2], 0.25 * seen, rtol=1e-6)
    np.testing.assert_allclose(slots.counts[:, 2], 0.25 * slots.counts[:, 0], rtol=1e-6)
    np.testing.assert_allclose(slots.moments[:, 2], 0.25 * slots.moments[:, 0], rtol=1e-6)
    out = np.empty((1, 4), dtype=np.float32)
    row = batch_of([(stream[0][0], None)], [3, 3])
    forest.run(row, *places(3), out)
    assert out[0, 2] == pytest.approx(math.log(0.25 / 0.75), abs=1e-5)
    # A shrunken cluster leaves no traces in the columns that it does not use.
    forest = forest.derived(np.array([1], dtype=np.int32), np.zeros(1))
    assert not forest.state.slots.counts[:, 2:].any()
    assert not forest.state.slots.moments[:, 2:].any()
    assert not forest.state.nodes.on[:, 2:].any()


def test_unlabelled_events_change_nothing() -> None:
    stream = generated(300, 5, 3, 19)
    forest = Forest(3)
    run(forest, as_batch(stream), 3, 5)
    before = [a.tobytes() for part in forest.state[:3] for a in part]
    again: Stream = [(x, None) for x, _ in stream]
    run(forest, batch_of(again, [3] * 301), 3, 5)
    assert [a.tobytes() for part in forest.state[:3] for a in part] == before


def test_events_without_features_and_a_single_label() -> None:
    stream: Stream = [({}, {0} if t % 3 == 0 else set()) for t in range(200)]
    out, lengths, _ = run(Forest(2), as_batch(stream), 1, 0)
    assert max(lengths) == 0
    assert out[-1, 1] == pytest.approx(math.log(0.335 / 0.665), abs=0.05)


@pytest.mark.parametrize(
    "wrong",
    [{"trees": 0}, {"share": 0.0}, {"share": 1.1}, {"split_test": "gini"}, {"budget_bytes": 0}],
)
def test_parameters_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Forest(**wrong)  # type: ignore[arg-type]
