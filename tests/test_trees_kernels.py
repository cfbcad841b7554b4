"""Rare turns of the trees' kernels, brought about by hand: long lives, swaps, memory."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings

from ihomer.learners.experts.forest import Forest, name_key
from ihomer.learners.kernels.trees_grow import GRACE, new_leaf, review, tree_bytes
from ihomer.learners.kernels.trees_merit import evidence_at, new_work, prepare
from ihomer.learners.kernels.trees_rows import HALVE_AT, LOOK, STRIDE
from ihomer.learners.kernels.trees_slots import find_slot, in_sample, mix
from ihomer.learners.kernels.trees_split import (
    BERNSTEIN,
    EVIDENCE,
    HOEFFDING,
    _active_labels,
    enough,
)
from ihomer.learners.kernels.trees_state import (
    ALTERNATE,
    CODE,
    DEPTH,
    FIRST,
    FOLLOWING,
    INNER,
    KIND,
    LEAD,
    LEAD_SQUARES,
    LEAF,
    LEFT,
    LOSS,
    LOSSES,
    N_ALTERNATES,
    NEXT,
    NONE,
    PAIRS,
    PARENT,
    PROMISE,
    RESTING,
    RIGHT,
    ROOT,
    ROW,
    SEEN,
    SHARE,
    WEIGHT,
)
from ihomer.learners.kernels.trees_stride import FADE_AT, JUDGED, LEAST_PAIRS, MOST_PAIRS, verdict
from tests import naive_trees
from tests.test_forest import (
    Stream,
    as_batch,
    assert_sound,
    batch_of,
    generated,
    mean_loss,
    run,
    streams,
)


def slots_of(forest: Forest, leaf: int) -> list[int]:
    found = []
    slot = int(forest.state.nodes.link[leaf, FIRST])
    while slot != NONE:
        found.append(slot)
        slot = int(forest.state.slots.link[slot, FOLLOWING])
    return found


@pytest.mark.parametrize("value", [0, 1, 2**31, 2**32 - 1, 123456789])
def test_mix_is_its_twin_and_loses_nothing(value: int) -> None:
    assert mix(value) == naive_trees.mix(value)
    near = {mix(value ^ (1 << bit)) for bit in range(32)}
    assert len(near) == 32
    flips = [int(mix(value) ^ other).bit_count() for other in near]
    assert 12 < np.mean(flips) < 20


def test_a_sample_has_about_the_share_asked_for_and_shrinks_within_itself() -> None:
    keys = [name_key(f"word {j}") for j in range(4000)]
    for share in (0.05, 0.2, 0.7):
        chosen = {j for j, key in enumerate(keys) if in_sample(key, mix(7), share)}
        assert len(chosen) == pytest.approx(
            4000 * share, abs=4 * math.sqrt(4000 * share * (1 - share))
        )
        fewer = {j for j, key in enumerate(keys) if in_sample(key, mix(7), share / 2)}
        assert fewer < chosen
        other = {j for j, key in enumerate(keys) if in_sample(key, mix(8), share)}
        assert len(chosen & other) == pytest.approx(4000 * share * share, rel=0.4)


@settings(max_examples=40)
@given(streams())
def test_the_evidence_of_every_split_is_its_twins(stream: Stream) -> None:
    labels = 4
    forest = Forest(1, 1.0)
    forest.make_room(5, labels)
    run(forest, as_batch(stream[:1]), labels, 5)
    root = int(forest.state.trees[0, ROOT])
    forest.state.nodes.number[root, NEXT] = 1e9  # it only counts
    run(forest, batch_of(stream[1:], [labels] * len(stream)), labels, 5)
    events = [(x, {1 + c for c in y}) for x, y in stream if y is not None]
    node = naive_trees.Node(0, 0, 1.0, {0: 0.5}, events=events)
    nodes, slots = forest.state.nodes, forest.state.slots
    active = np.zeros(1 + labels, dtype=np.int32)
    n_active = _active_labels(nodes.on[root], float(len(events)), 1 + labels, active)
    assert active[:n_active].tolist() == node.active(labels)
    work = new_work(1 + labels)
    for slot in slots_of(forest, root):
        code, row, shift = (
            int(slots.link[slot, CODE]),
            int(slots.link[slot, ROW]),
            slots.shift[slot],
        )
        if code & 1 or not n_active:
            continue
        absent = find_slot(slots.table, slots.link, root, code + 1)
        missing = int(slots.link[absent, ROW]) if absent != NONE else NONE
        values = [v for v, _ in node.values(code >> 1)]
        prepare(
            work,
            slots.counts,
            slots.moments,
            row,
            nodes.on[root],
            float(len(events)),
            missing,
            active,
            n_active,
        )
        for threshold in naive_trees.thresholds(values):
            n, left = len(values), naive_trees.goes_left(node, code >> 1, threshold)
            if abs(min(left, n - left) - naive_trees.least_child(n)) < 1e-3:
                continue  # rounding decides whether a child is too small
            at, zero = (threshold - shift) / abs(shift), -shift / abs(shift)
            found = evidence_at(work, row >= 0, at, zero, n_active)
            expected = len(events) * naive_trees.merit(node, code >> 1, threshold, labels)
            assert max(found, 0.0) == pytest.approx(expected, rel=1e-3, abs=2e-3)


def test_the_three_tests_of_a_split() -> None:
    n, entropy = 200.0, 1.2
    hoeffding = entropy * math.sqrt(math.log(20.0) / (2 * n))
    bernstein = math.sqrt(2 * 0.3 * math.log(60.0) / n) + 3 * entropy * math.log(60.0) / n
    x = math.log(9)
    evidence = (0.5 * 4 + 2 * math.sqrt(4 * x) + 2 * x) / (2 * n)
    for code, bound in ((HOEFFDING, hoeffding), (BERNSTEIN, bernstein), (EVIDENCE, evidence)):
        assert enough(1.001 * bound, 0.0, entropy, 0.3, n, 4, 9, code)
        assert not enough(0.999 * bound, 0.0, entropy, 0.3, n, 4, 9, code)
        if code != EVIDENCE:
            assert not enough(1.001 * bound, 0.01, entropy, 0.3, n, 4, 9, code)
        assert not enough(0.0, 0.0, entropy, 0.3, n, 4, 9, code)
    # A tie: nothing is to be gained by waiting, but there has to be some gain.
    assert enough(1e-3, 1e-3, entropy, 0.0, 1e6, 4, 9, HOEFFDING)
    assert not enough(0.0, 0.0, entropy, 0.0, 1e6, 4, 9, HOEFFDING)


def test_an_alternate_is_judged_by_the_bound() -> None:
    n, variance = 1000.0, 0.04
    log_term = math.log(3.0 / JUDGED)
    bound = math.sqrt(2 * variance * log_term / n) + 6 * log_term / n
    for mean, expected in ((1.01 * bound, 1), (0.99 * bound, 0), (-0.99 * bound, 0)):
        assert verdict(n, n * mean, n * (variance + mean * mean)) == expected
    assert verdict(n, -1.01 * n * bound, n * (variance + bound * bound)) == -1
    assert verdict(LEAST_PAIRS - 1, LEAST_PAIRS, LEAST_PAIRS) == 0
    assert verdict(MOST_PAIRS, 0.0, 100.0) == -1


def plant_alternate(forest: Forest, node: int) -> int:
    """An alternate beside a node, as if it had warned."""
    nodes, free, trees = forest.state.nodes, forest.state.free, forest.state.trees
    link = nodes.link
    parent, depth = int(link[node, PARENT]), int(link[node, DEPTH])
    other = int(new_leaf(nodes, free, trees, parent, depth, node, 99, 2.0, 0.2))
    link[node, ALTERNATE] = other
    trees[0, N_ALTERNATES] += 1
    return other


def grown_tree(n: int = 1024) -> Forest:
    forest = Forest(1, 1.0)
    run(forest, as_batch(generated(n, 4, 4, 3)), 4, 4)
    # Places for the alternates of a test; a forest has them when it runs.
    forest._grow(0, 4)
    return forest


@pytest.mark.parametrize("side", [None, LEFT, RIGHT])
@pytest.mark.parametrize("lead", [1.0, -1.0])
def test_an_alternate_takes_the_place_or_goes(side: int | None, lead: float) -> None:
    forest = grown_tree()
    link, number = forest.state.nodes.link, forest.state.nodes.number
    node = int(forest.state.trees[0, ROOT])
    if side is not None:
        node = int(link[node, side])
    assert link[node, KIND] == INNER
    below = [int(link[node, LEFT])]
    if link[below[0], KIND] == INNER:
        plant_alternate(forest, below[0])
    other = plant_alternate(forest, node)
    parent = int(link[node, PARENT])
    number[node, [PAIRS, LEAD, LEAD_SQUARES]] = 1000.0, 1000.0 * lead, 1000.0
    number[node, [LOSS, LOSSES]] = 1.0, LOOK - 1
    before = int((link[:, KIND] > 0).sum())
    _, _, gone = run(forest, as_batch(generated(STRIDE, 4, 4, 5)), 4, 4)
    link = forest.state.nodes.link
    now = forest.state.trees[0, ROOT] if side is None else link[parent, side]
    if lead > 0:
        assert now == other
        assert node in gone[0]
        assert below[0] in gone[0]
        assert other not in gone[0]
        assert int((link[:, KIND] > 0).sum()) < before
    else:
        assert now == node
        assert gone[0].tolist() == [other]
    assert_sound(forest)


def test_a_long_life_halves_counts_and_keeps_rates() -> None:
    rng = np.random.default_rng(1)
    stream: Stream = [
        (
            {0: 1.0, 1: float(rng.normal(5.0)), 2: math.nan} if t % 2 else {0: 1.0},
            {0} if t == 0 else set(),
        )
        for t in range(STRIDE - 1)
    ]
    forest = Forest(1, 1.0)
    run(forest, batch_of(stream, [1] * STRIDE), 1, 3)
    nodes, slots = forest.state.nodes, forest.state.slots
    root = int(forest.state.trees[0, ROOT])
    # The leaf has seen much more than its statistics say, and is due at the next event.
    nodes.number[root, WEIGHT] = HALVE_AT - 1
    nodes.number[root, SEEN] = FADE_AT - 1
    nodes.number[root, NEXT] = FADE_AT
    nodes.positive[root] = [1000.0, 5000.0]
    before = {s: slots.link[s].copy() for s in slots_of(forest, root)}
    counts, moments = slots.counts.copy(), slots.moments.copy()
    run(forest, batch_of([({}, set())], [1, 1]), 1, 3)
    assert nodes.number[root, WEIGHT] == HALVE_AT / 2
    np.testing.assert_array_equal(nodes.positive[root], [500.0, 2500.0])
    assert nodes.number[root, SEEN] == FADE_AT / 2
    assert nodes.number[root, NEXT] == FADE_AT / 2 + math.floor(0.1 * FADE_AT / 2)
    np.testing.assert_array_equal(nodes.on[root], [0.0, 0.5])
    assert len(before) == 3
    for link in before.values():
        row = int(link[3])
        if row >= 0:
            np.testing.assert_array_equal(slots.counts[row], counts[row] / 2)
        else:
            np.testing.assert_array_equal(slots.moments[~row], moments[~row] / 2)
    assert_sound(forest)


def test_a_sample_shrinks_as_features_appear() -> None:
    stream: Stream = [({8 * t + j: 1.0 for j in range(8)}, set()) for t in range(STRIDE)]
    forest = Forest(5)
    run(forest, as_batch(stream), 1, 8 * STRIDE)
    state = forest.state
    for tree in range(5):
        root = int(state.trees[tree, ROOT])
        share = float(state.nodes.number[root, SHARE])
        assert share == naive_trees.sample_share(tree, 8 * STRIDE, 0.2)
        kept = slots_of(forest, root)
        features = [int(state.slots.link[s, CODE]) >> 1 for s in kept]
        seed = int(state.nodes.seed[root])
        wanted = [j for j in range(8 * STRIDE) if in_sample(int(forest.keys[j]), seed, share)]
        assert sorted(features) == wanted
    assert_sound(forest)


def test_an_interaction_of_indicators_is_found() -> None:
    rng = np.random.default_rng(6)
    stream: Stream = []
    for bits in rng.random((6000, 4)) < 0.5:
        on = {0} if bits[0] != bits[1] else set()
        stream.append(({j: 1.0 for j in range(4) if bits[j]}, on))
    out, _, _ = run(Forest(), as_batch(stream), 1, 4)
    assert mean_loss(out[4000:], stream[4000:]) < 0.4


def test_a_leaf_that_promises_more_takes_the_place_of_another() -> None:
    forest = grown_tree()
    state = forest.state
    link, number = state.nodes.link, state.nodes.number
    leaves = np.flatnonzero(link[:, KIND] == LEAF)
    sleeper, poorest = int(leaves[0]), int(leaves[-1])
    number[leaves, PROMISE] = 50.0
    number[poorest, PROMISE] = 10.0
    # Put to rest by hand: at .85 of the limit nobody is put to rest, and nobody woken for free.
    review(state, 0, 5, False, 1.0, forest.keys)
    assert (link[leaves, KIND] == RESTING).all()
    assert all(link[leaf, FIRST] == NONE for leaf in leaves)
    link[leaves[1:], KIND] = LEAF
    limit = tree_bytes(state.trees, 0, 5) / 0.85
    number[sleeper, PROMISE] = 14.0
    review(state, 0, 5, True, limit, forest.keys)
    assert link[sleeper, KIND] == RESTING
    assert number[sleeper, PROMISE] == 7.0
    number[sleeper, PROMISE] = 16.0
    review(state, 0, 5, True, limit, forest.keys)
    assert link[sleeper, KIND] == LEAF
    assert link[poorest, KIND] == RESTING
    assert (number[sleeper, [SEEN, NEXT]] == [0.0, GRACE]).all()
    assert_sound(forest)
