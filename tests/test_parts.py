"""The decision by cluster against its twins, whatever the cut; and what it is worth."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.instances import Batch, BoolArray, FloatArray
from ihomer.learners import decision as decision_module
from ihomer.learners.decision import JointDecision
from ihomer.learners.kernels.clustered import (
    LEAD_FADING,
    LEAD_LIMIT,
    LEAST_LEAD,
    NOTICEABLE,
    choose_rows,
    cluster_rows,
)
from ihomer.learners.kernels.counted import NEVER, add_cluster, begin, learn_factors
from ihomer.learners.kernels.joint import EVENTS, INFLATION
from ihomer.learners.kernels.parts import (
    ACTIVE,
    BY_ACTIVE,
    BY_ACTIVE_SQUARE,
    BY_SIZE,
    BY_SIZE_SQUARE,
    LEAD,
    NUMBERS,
    SHARE,
    SIZES,
    TRUST,
    PartState,
    measure_bonds,
)
from ihomer.learners.kernels.parts import EVENTS as PART_EVENTS
from ihomer.learners.kernels.scaling import STRIDE
from ihomer.learners.kernels.tilt import SWEEPS, tilt
from ihomer.learners.parts import MAX_PARTS, REST, PartDecision
from tests import naive_parts
from tests.label_streams import CUTS, TRUTHS, Truth, decide, label_batch

PROBABILITIES = st.floats(0.01, 0.99)


def blocks(truth: Truth, seed: int) -> FloatArray:
    """Probabilities (n, labels) that know a little of the truth."""
    rng = np.random.default_rng(seed)
    batch = label_batch(truth)
    found = np.empty((len(truth), batch.n_labels))
    for t, y in enumerate(truth):
        is_on = np.isin(np.arange(batch.n_labels), list(y or ()))
        found[t] = 1.0 / (1.0 + np.exp(4.0 - 6.0 * is_on + rng.normal(0.0, 1.5, len(is_on))))
    found[np.arange(batch.n_labels) >= batch.known[:-1, None]] = np.nan
    return found


def planted(events: int, seed: int) -> tuple[Truth, FloatArray, BoolArray]:
    """Forty labels in eight blocks of five, of which one of three sets comes or none.

    Also the labels' probabilities: those of the sets, from which the truth is drawn, added up; and
    the most probable sets.
    """
    rng = np.random.default_rng(seed)
    sets = np.array([[0, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [1, 0, 1, 0, 0]])
    truth: Truth = [set(range(40))]  # all are known from the first event on
    p = np.full((1 + events, 40), 0.5)
    best = np.ones((1 + events, 40), dtype=np.bool_)
    for t in range(1, 1 + events):
        chances = rng.dirichlet((0.3, 0.1, 0.1, 0.1), 8)
        p[t] = (chances @ sets).reshape(40)
        best[t] = sets[chances.argmax(axis=1)].reshape(40)
        drawn = np.concatenate([sets[rng.choice(4, p=chance)] for chance in chances])
        truth.append(set(np.flatnonzero(drawn).tolist()))
    return truth, p, best


def by_cluster(labels: int, each: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """Labels in clusters of so many, by number."""
    return (np.arange(labels) // each).astype(np.int32)


@given(
    st.lists(PROBABILITIES, min_size=1, max_size=5),
    st.dictionaries(st.integers(0, 31), st.floats(0.0, 1e4), max_size=8),
    st.floats(0.01, 1.0),
)
def test_tilted_parts_are_those_of_the_twin(
    p: list[float], bonds: dict[int, float], floor: float
) -> None:
    labels = len(p)
    parts = {
        tuple(j for j in range(labels) if code >> j & 1): excess
        for code, excess in {0: 0.0, **bonds}.items()
        if code < 1 << labels
    }
    inside = np.zeros((labels, len(parts)))
    says = np.zeros(len(parts))
    for q, part in enumerate(parts):
        inside[list(part), q] = 1.0
        says[q] = sum(math.log(p[j] / (1 - p[j])) for j in part)
    odds, weight = np.empty(labels), np.empty(len(parts))
    excess = np.array(list(parts.values()))
    rest = tilt(np.array(p), labels, inside, says, len(parts), excess, floor, odds, weight)
    wanted = naive_parts.tilted(p, parts, floor, SWEEPS)
    found = weight * (excess + floor)
    assert found == pytest.approx([wanted[part] for part in parts], rel=1e-6, abs=1e-12)
    assert rest + weight @ excess == pytest.approx(1.0)
    for part in set(wanted) - set(parts):
        chance = rest / np.prod(1.0 + odds) * math.prod(odds[j] for j in part)
        assert chance == pytest.approx(wanted[part], rel=1e-6, abs=1e-12)


SIZE_CHANCES = st.lists(st.floats(0.01, 1.0), min_size=2, max_size=SIZES)


@given(st.lists(st.tuples(SIZE_CHANCES, st.integers(0, 1000)), min_size=1, max_size=5))
def test_numbers_of_unions_are_those_of_the_twin(given: list[tuple[list[float], int]]) -> None:
    clusters = [
        (np.array(chance) / sum(chance), np.random.default_rng(seed).normal(size=len(chance)))
        for chance, seed in given
    ]
    chances, values, insides = (np.empty((SIZES, ACTIVE)) for _ in range(3))
    came_from = np.empty((len(clusters), SIZES, ACTIVE), dtype=np.int32)
    begin(chances, values, insides)
    for i, (chance, value) in enumerate(clusters):
        both = np.zeros(SIZES), np.full(SIZES, NEVER)
        both[0][: len(chance)], both[1][: len(value)] = chance, value
        add_cluster(*both, len(chance) - 1, both[0], chances, values, insides, came_from[i])
    wanted, highest = naive_parts.sums_and_maxima(
        [(chance.tolist(), value.tolist()) for chance, value in clusters]
    )
    for k in range(SIZES):
        for a in range(ACTIVE):
            assert chances[k, a] == pytest.approx(wanted.get((k, a), 0.0), abs=1e-12)
            if (k, a) not in highest:
                assert values[k, a] <= NEVER / 2
                continue
            assert values[k, a] == pytest.approx(highest[k, a])
            # The way back has that value, too.
            cell, total, inside = k * ACTIVE + a, 0.0, 0.0
            for i in range(len(clusters) - 1, -1, -1):
                source = int(came_from[i, cell // ACTIVE, cell % ACTIVE])
                total += float(clusters[i][1][source % SIZES])
                inside += clusters[i][0][source % SIZES]
                cell = source // SIZES
            assert cell == 0
            assert total == pytest.approx(values[k, a])
            assert inside == pytest.approx(insides[k, a])


def test_factors_find_how_often_a_number_comes() -> None:
    """Clusters say one label in half of the events, and it is on in nine of ten."""
    numbers = np.zeros(NUMBERS)
    numbers[BY_SIZE_SQUARE:BY_ACTIVE] = numbers[BY_ACTIVE_SQUARE:] = 1.0
    chances = np.zeros((SIZES, ACTIVE))
    chances[0, 0] = chances[1, 1] = 0.5
    for t in range(5000):
        size = int(t % 10 > 0)
        learn_factors(chances, size, size, numbers)
    lead = numbers[BY_SIZE + 1] - numbers[BY_SIZE] + numbers[BY_ACTIVE + 1] - numbers[BY_ACTIVE]
    assert lead == pytest.approx(math.log(9.0), abs=0.3)


def part_decision(places: np.ndarray[tuple[int], np.dtype[np.int32]]) -> PartDecision:
    """One that has these clusters and has seen nothing."""
    decision = PartDecision()
    decision.regroup(places, JointDecision().state)
    return decision


def labels_of(state: PartState, part: int) -> tuple[int, ...]:
    """A part's labels."""
    start = int(state.start[part])
    return tuple(state.arena[start : start + int(state.size[part])].tolist())


def learn(decision: PartDecision, scores: FloatArray, batch: Batch) -> None:
    """Let the parts alone decide and learn."""
    if not decision.works:
        return
    decision.make_room(len(batch.y_indices), batch.n_labels)
    parts, on = np.zeros((2, *scores.shape), dtype=np.bool_)
    for _, kernel, *arguments in decision.steps(scores, batch.y, decision.state.numbers, parts, on):
        kernel(*arguments)


@given(TRUTHS, st.integers(0, 100), st.integers(1, 4))
def test_counts_and_bonds_are_those_of_the_twin(truth: Truth, seed: int, each: int) -> None:
    batch, scores = label_batch(truth), blocks(truth, seed)
    places = by_cluster(max(2 * each, batch.n_labels), each)
    decision = part_decision(places)
    learn(decision, scores, batch)
    state = decision.state
    twin = naive_parts.Counts(places.tolist())
    for y in truth:
        if y is not None:
            twin.add(sorted(y), INFLATION)
    found = {labels_of(state, p): state.counts[p] for p in range(int(state.sizes[0]))}
    assert found == pytest.approx(twin.parts)
    if not twin.events:
        return
    measure_bonds(state)
    share = state.numbers[SHARE]
    for b in range(len(state.active)):
        top = state.top[b, : state.filled[b]]
        assert state.none[b, 0] == pytest.approx(twin.bond((), b, share), abs=1e-9)
        for p in top:
            assert state.bond[p] == pytest.approx(twin.bond(labels_of(state, p), b, share))
        of_cluster = [count for part, count in twin.parts.items() if places[part[0]] == b]
        expected = sorted(of_cluster, reverse=True)[: len(top)]
        assert state.counts[top].tolist() == pytest.approx(expected)


@given(st.integers(0, 10_000), st.floats(0.0, 2.0))
def test_the_best_union_is_that_of_the_twin(seed: int, trust: float) -> None:
    """Six labels in clusters of two, one and three; each may or may not be looked at."""
    rng = np.random.default_rng(seed)
    places = np.array([0, 0, 1, 2, 2, 2], dtype=np.int32)
    decision = part_decision(places)
    truth: Truth = [set(np.flatnonzero(rng.random(6) < 0.4).tolist()) for _ in range(40)]
    truth[0] = set(range(6))
    batch = label_batch(truth)
    learn(decision, blocks(truth, seed), batch)
    state = decision.state
    measure_bonds(state)
    state.numbers[TRUST] = trust
    state.numbers[BY_SIZE : BY_SIZE + SIZES] = rng.normal(size=SIZES)
    state.numbers[BY_ACTIVE : BY_ACTIVE + ACTIVE] = rng.normal(size=ACTIVE)
    p = rng.uniform(NOTICEABLE, 0.95, 6)
    p[places == rng.integers(4)] = 0.01  # a cluster, or none, that is not looked at
    on = np.zeros((1, 6), dtype=np.bool_)
    last = label_batch([*truth, None]).slice(40, 41)
    args = last.y_indptr, last.y_indices, last.labelled, last.known
    cluster_rows(p[None], *args, state, on)
    lowest = math.log(1.0 - state.numbers[SHARE])
    floor = math.exp(trust * lowest)
    clusters = []
    for b in range(3):
        members = np.flatnonzero(places == b)
        if p[members[0]] < NOTICEABLE:
            continue
        bonds: dict[naive_parts.Part, float] = {(): state.none[b, 0]}
        for part in state.top[b, : state.filled[b]]:
            place = np.searchsorted(members, labels_of(state, part))
            bonds[tuple(place.tolist())] = max(lowest, state.bond[part])
        excess = {q: max(0.0, math.exp(trust * bond) - floor) for q, bond in bonds.items()}
        chances = naive_parts.tilted(p[members].tolist(), excess, floor, SWEEPS)
        clusters.append((members.tolist(), chances))
    ranked = naive_parts.best_union(
        clusters,
        dict(enumerate(p.tolist())),
        state.numbers[BY_SIZE : BY_SIZE + SIZES].tolist(),
        state.numbers[BY_ACTIVE : BY_ACTIVE + ACTIVE].tolist(),
    )
    near = [union for utility, union in ranked if utility > ranked[0][0] - 1e-9]
    assert tuple(np.flatnonzero(on[0]).tolist()) in near


@given(st.lists(st.tuples(*[st.frozensets(st.integers(0, 4))] * 3), min_size=1, max_size=30))
def test_the_choice_is_that_of_the_twin(
    events: list[tuple[frozenset[int], frozenset[int], frozenset[int]]],
) -> None:
    batch = label_batch([set(range(5)), *(set(y) for y, _, _ in events)]).slice(1, 1 + len(events))
    whole, parts = (
        np.array([np.isin(np.arange(5), list(event[i])) for event in events]) for i in (1, 2)
    )
    numbers = np.zeros(NUMBERS)
    on = whole.copy()
    choose_rows(batch.y_indptr, batch.y_indices, batch.labelled, parts, numbers, on)
    lead = 0.0
    for t, (y, one, other) in enumerate(events):
        served = other if lead > LEAST_LEAD else one
        assert set(np.flatnonzero(on[t])) == served
        if one != other:
            gain = naive_parts.reward(set(other), set(y)) - naive_parts.reward(set(one), set(y))
            lead = LEAD_FADING * lead + gain
    assert numbers[LEAD] == pytest.approx(lead)


@given(TRUTHS, CUTS, st.integers(0, 100))
def test_the_cut_does_not_matter(truth: Truth, cuts: list[int], seed: int) -> None:
    batch, scores = label_batch(truth), blocks(truth, seed)
    whole, cut = (JointDecision() for _ in range(2))
    for decision in (whole, cut):
        decision.regroup(by_cluster(max(6, batch.n_labels), 3))
    found = decide(whole, scores, batch)
    np.testing.assert_array_equal(found, decide(cut, scores, batch, cuts))
    # Arrays may have grown otherwise; what has been learned is the same.
    again = decide(whole, scores, batch)
    kept = pickle.loads(pickle.dumps(cut))  # noqa: S301 (our own)
    np.testing.assert_array_equal(again, decide(kept, scores, batch))


def in_strides(decision: JointDecision, scores: FloatArray, batch: Batch) -> BoolArray:
    """Decide and learn as a learner does."""
    found = []
    for start in range(0, len(batch), STRIDE):
        piece = batch.slice(start, min(len(batch), start + STRIDE))
        part = scores[start : start + STRIDE, : piece.n_labels]
        on = np.zeros((len(piece), scores.shape[1]), dtype=np.bool_)
        on[:, : piece.n_labels] = decide(decision, part, piece)
        found.append(on)
        decision.adapt()
    return np.concatenate(found)


def score(truth: Truth, on: BoolArray) -> float:
    """Share of whole label sets that are right, in the second half."""
    half = len(truth) // 2
    hits = [set(np.flatnonzero(row).tolist()) == y for row, y in zip(on, truth, strict=True)]
    return float(np.mean(hits[half:]))


def test_clusters_pay_where_label_sets_do_not_repeat() -> None:
    truth, scores, best = planted(1500, 3)
    batch = label_batch(truth)
    found = {}
    for clusters in (0, 8):
        decision = JointDecision()
        if clusters:
            decision.regroup(by_cluster(40, 40 // clusters))
        found[clusters] = score(truth, in_strides(decision, scores, batch))
    assert score(truth, best) > found[0] + 0.03
    assert found[8] - found[0] > 0.6 * (score(truth, best) - found[0])


def test_a_new_partition_starts_with_what_is_remembered() -> None:
    truth, scores, _ = planted(600, 4)
    batch = label_batch(truth)
    one, other = JointDecision(), JointDecision()
    one.regroup(by_cluster(40, 5))
    decide(one, scores, batch)
    decide(other, scores, batch)
    other.regroup(by_cluster(40, 5))
    seen = {}
    for decision in (one, other):
        state = decision.parts.state
        seen[decision] = {labels_of(state, p): state.counts[p] for p in range(state.sizes[0])}
    assert seen[other] == pytest.approx(seen[one])


def test_one_that_is_far_behind_rests_and_forgets_nothing() -> None:
    truth, scores, _ = planted(400, 5)
    batch = label_batch(truth)
    decision = JointDecision()
    decision.regroup(by_cluster(40, 5))
    decide(decision, scores, batch)
    decision.parts._strides = REST
    decision.parts.state.numbers[LEAD] = -LEAD_LIMIT
    worked = []
    for _ in range(2 * REST):
        decision.adapt()
        before = decision.parts.state.numbers.copy()
        decide(decision, scores[:1], batch.slice(0, 1))
        worked.append(bool((decision.parts.state.numbers != before).any()))
        decision.parts.state.numbers[LEAD] = -LEAD_LIMIT
    assert worked == ([False] * (REST - 1) + [True]) * 2
    events = decision.state.numbers[EVENTS]
    assert decision.parts.state.numbers[PART_EVENTS] == pytest.approx(events)


def test_memory_is_bounded() -> None:
    """Parts that never come again."""
    rng = np.random.default_rng(6)
    decision = JointDecision()
    decision.regroup(by_cluster(400, 20))
    most = 0
    for _ in range(150):
        truth: Truth = [set(rng.choice(400, 30, replace=False).tolist()) for _ in range(128)]
        truth[0] = set(range(400))
        batch = label_batch(truth)
        decide(decision, np.full((128, batch.n_labels), 0.01), batch)
        decision.adapt()
        most = max(most, int(decision.parts.state.sizes[0]))
    kept = int(decision.state.sizes[1])
    assert most <= 2 * kept + MAX_PARTS


def test_parts_that_serve_do_so_until_others_are_no_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decision_module, "RACE", 6)
    truth, scores, _ = planted(3000, 3)
    batch = label_batch(truth)
    cut = 12 * STRIDE
    known, coming = batch.slice(0, cut), batch.slice(cut, len(batch))
    first = by_cluster(40, 5)
    wrong = np.random.default_rng(0).permutation(first)
    as_good = (7 - first).astype(np.int32)  # the same clusters by other numbers
    frozen = JointDecision()
    frozen.regroup(first)
    in_strides(frozen, scores, known)
    assert frozen.parts.serves
    start = pickle.dumps(frozen)
    expected = in_strides(frozen, scores[cut:], coming)
    for then, kept in ((wrong, first), (as_good, as_good)):
        decision = pickle.loads(start)  # noqa: S301 - made above
        decision.regroup(then)
        found = in_strides(decision, scores[cut:], coming)
        assert decision._next is None
        np.testing.assert_array_equal(decision.parts.state.cluster_of[:40], kept)
        right = [
            sum(
                set(np.flatnonzero(on).tolist()) == y
                for on, y in zip(rows, truth[cut:], strict=True)
            )
            for rows in (found, expected)
        ]
        assert right[0] >= right[1] - 3
        decision.regroup(wrong, at_once=True)
        np.testing.assert_array_equal(decision.parts.state.cluster_of[:40], wrong)
