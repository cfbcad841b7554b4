"""The joint decision against its twin, whatever the cut; and what it is worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ihomer.instances import FloatArray
from ihomer.learners.decision import JointDecision
from ihomer.learners.kernels.joint import (
    ALPHA,
    CANDIDATES,
    EMPTY,
    EVENTS,
    HITS,
    JOINT_RIGHT,
    NUMBERS,
    PLAIN_RIGHT,
    RECENT_TOTAL,
    SHARE,
    TRIES,
    WEIGHT,
    JointState,
)
from tests import naive_decision
from tests.label_streams import CUTS, TRUTHS, Truth, decide, label_batch

KINDS = st.sampled_from(["even", "extreme", "informed"])
NEAR = 1e-4  # what the twin finds closer than that may go either way in single precision


def draw(seed: int, truth: Truth, kind: str = "even") -> FloatArray:
    """Probabilities (n, labels), NaN where a label is not known yet."""
    rng = np.random.default_rng(seed)
    batch = label_batch(truth)
    shape = len(truth), batch.n_labels
    found = rng.random(shape)
    if kind == "extreme":
        found = rng.choice([0.0, 1e-12, 1e-4, 0.5, 1.0 - 1e-12, 1.0, *rng.random(3)], shape)
    elif kind == "informed":
        for t, y in enumerate(truth):
            is_on = np.isin(np.arange(shape[1]), list(y or ()))
            found[t] = 1.0 / (1.0 + np.exp(-(3.0 * is_on - 1.5 + rng.normal(0.0, 1.5, shape[1]))))
    found[np.arange(shape[1]) >= batch.known[:-1, None]] = np.nan
    return np.asarray(found, dtype=np.float64)


def remembered(state: JointState) -> list[frozenset[int]]:
    """The label sets in the table, by number."""
    spans = zip(state.start, state.size, strict=True)
    return [
        frozenset(state.arena[start : start + size].tolist())
        for start, size in list(spans)[: int(state.sizes[0])]
    ]


def agree(
    truth: Truth, scores: FloatArray, *, weight: float = 1.0, hits: float = 1.0
) -> tuple[int, JointDecision, naive_decision.Joint]:
    """Events until the twin was undecided, all of which agreed; then both learners."""
    batch = label_batch(truth)
    decision, twin = JointDecision(), naive_decision.Joint(hits=hits)
    decision.state.numbers[[WEIGHT, HITS]] = weight, hits
    for t, y in enumerate(truth):
        one = batch.slice(t, t + 1)
        known = int(batch.known[t])
        chosen = twin.decide(scores[t, :known].tolist())
        if chosen.margin < NEAR:
            return t, decision, twin
        on = decide(decision, scores[t : t + 1, : one.n_labels], one)
        assert set(np.flatnonzero(on[0]).tolist()) == chosen.on
        if y is not None:
            twin.learn(frozenset(y), chosen)
    state, numbers = decision.state, decision.state.numbers
    sets = remembered(state)
    scale = twin.weight / numbers[WEIGHT]
    assert len(sets) == len(twin.counts) == len(set(sets))
    counted = dict(zip(sets, (state.counts[: len(sets)] * scale).tolist(), strict=True))
    assert counted == pytest.approx(twin.counts, rel=1e-9)
    assert [sets[number] for number in state.top[: state.sizes[2]]] == twin.top
    assert [state.rank[number] for number in state.top[: state.sizes[2]]] == list(
        range(len(twin.top))
    )
    ages = state.sizes[3] - state.stamp[: len(sets)]
    recent = dict(zip(sets, (state.recent[: len(sets)] * 0.98**ages).tolist(), strict=True))
    assert recent == pytest.approx(twin.recent, rel=1e-4)
    for label, count in twin.on.items():
        assert state.on[label] * scale == pytest.approx(count, rel=1e-9)
    assert numbers[EVENTS] * scale == pytest.approx(twin.events, rel=1e-9)
    assert numbers[EMPTY] * scale == pytest.approx(twin.empties, rel=1e-9)
    assert numbers[RECENT_TOTAL] == pytest.approx(sum(twin.recent.values()))
    assert numbers[SHARE] == pytest.approx(twin.share, abs=1e-4)
    assert numbers[ALPHA] == pytest.approx(twin.alpha, abs=1e-3)
    assert numbers[[HITS, TRIES]] == pytest.approx([twin.hits, twin.tries])
    assert numbers[JOINT_RIGHT:PLAIN_RIGHT] == pytest.approx(twin.joint_right)
    assert numbers[PLAIN_RIGHT:NUMBERS] == pytest.approx(twin.plain_right)
    return len(truth), decision, twin


@given(
    truth=TRUTHS,
    seed=st.integers(0, 1000),
    kind=KINDS,
    weight=st.sampled_from([1.0, 999_950.0]),
    hits=st.sampled_from([1.0, 0.0]),
)
@example([None, set(), None, set()], 0, "even", 1.0, 1.0)
@example([{0, 1}, *[{0}, {0, 1}] * 15], 0, "informed", 999_990.0, 1.0)
def test_every_decision_and_count_is_as_its_twin_says(
    truth: Truth, seed: int, kind: str, weight: float, hits: float
) -> None:
    scores = draw(seed, truth, kind)
    if weight > 1.0:
        # The twin never brings its counts down; the kernel does within 20 events or so.
        agree(truth, scores, weight=weight, hits=hits)
    else:
        agree(truth, scores, hits=hits)


def test_the_twin_is_seldom_undecided() -> None:
    """Else the test above would compare nothing."""
    compared, joint = 0, 0
    groups = [{0, 1}, {1, 2, 3}, {4}, {0, 5}, set[int]()]
    for seed in range(30):
        picks = np.random.default_rng(seed).integers(len(groups), size=24)
        truth: Truth = [{0, 1, 2, 3, 4, 5}, *(groups[k] for k in picks)]
        scores = draw(seed, truth, "informed")
        compared += agree(truth, scores)[0]
        on = decide(JointDecision(), scores, label_batch(truth))
        joint += int(((scores >= 0.5) != on).any(axis=1).sum())
    assert compared >= 0.9 * 30 * 25
    assert joint > 30  # the decision was not the plain one


def test_the_twin_is_seldom_undecided_where_nobody_is_ever_right() -> None:
    compared = 0
    for seed in range(30):
        rows = np.random.default_rng(seed).random((12, 8)) < 0.5
        truth: Truth = [set(range(8)), *(set(np.flatnonzero(row).tolist()) for row in rows)]
        done, decision, _ = agree(truth, draw(seed, truth), hits=0.0)
        compared += done * int(decision.state.numbers[HITS] == 0.0)
    assert compared >= 0.6 * 30 * 13


def test_more_sets_than_candidates_keep_the_most_frequent_in_front() -> None:
    rng = np.random.default_rng(3)
    pairs = [{a, b} for a in range(20) for b in range(a)]
    truth: Truth = [set(range(20))]
    truth += [pairs[min(189, int(k))] for k in rng.geometric(0.02, 400)]
    batch = label_batch(truth)
    decision = JointDecision()
    decide(decision, np.full((len(truth), 20), 0.1), batch)
    state = decision.state
    sets = remembered(state)
    counts = [sum(1.00005**t for t, y in enumerate(truth) if y == set(s)) for s in sets]
    assert state.counts[: len(sets)] / state.counts[0] == pytest.approx(
        np.array(counts) / counts[0]
    )
    assert len(sets) > CANDIDATES == state.sizes[2]
    top = state.top.tolist()
    assert len(set(top)) == CANDIDATES
    assert [state.rank[number] for number in top] == list(range(CANDIDATES))
    found = state.counts[top]
    assert (np.diff(found) <= 0).all()
    others = np.delete(state.counts[: len(sets)], top)
    assert others.max() <= found[-1]
    assert (np.delete(state.rank[: len(sets)], top) == -1).all()


@given(truth=TRUTHS, seed=st.integers(0, 1000), kind=KINDS, cuts=CUTS)
def test_cuts_change_no_bit(truth: Truth, seed: int, kind: str, cuts: list[int]) -> None:
    scores, batch = draw(seed, truth, kind), label_batch(truth)
    whole, in_pieces = JointDecision(), JointDecision()
    on = decide(whole, scores, batch)
    assert (decide(in_pieces, scores, batch, cuts) == on).all()
    sets, used = int(whole.state.sizes[0]), int(whole.state.sizes[1])
    used_of = {"arena": used, "on": batch.n_labels, "slots": 0}
    for name in JointState._fields:
        a, b = getattr(whole.state, name), getattr(in_pieces.state, name)
        length = used_of.get(name, len(a) if len(a) == len(b) else sets)
        assert a[:length].tobytes() == b[:length].tobytes(), name


@given(truth=TRUTHS, seed=st.integers(0, 1000), kind=KINDS, hits=st.sampled_from([1.0, 0.0]))
def test_labels_that_are_not_known_are_never_on(
    truth: Truth, seed: int, kind: str, hits: float
) -> None:
    batch, decision = label_batch(truth), JointDecision()
    decision.state.numbers[HITS] = hits
    on = decide(decision, draw(seed, truth, kind), batch)
    assert not on[np.arange(batch.n_labels) >= batch.known[:-1, None]].any()


def test_unlabelled_events_change_nothing() -> None:
    truth: Truth = [{0}, {0, 1}, {1}]
    decision = JointDecision()
    decide(decision, draw(1, truth), label_batch(truth))
    before = [array.copy() for array in decision.state]
    unlabelled = label_batch([*truth, None, None, None]).slice(3, 6)
    on = decide(decision, np.full((3, 2), 0.9), unlabelled)
    assert on.all()
    assert all((a == b).all() for a, b in zip(before, decision.state, strict=True))


@pytest.mark.parametrize("empties", [False, True])
def test_nothing_is_predicted_only_where_nothing_happens(empties: bool) -> None:
    """All labels are unlikely; the likeliest is taken all the same unless sets are ever empty."""
    rng = np.random.default_rng(4)
    truth: Truth = [{0, 1, 2, 3}, *({int(k)} for k in rng.integers(4, size=59))]
    if empties:
        truth[10::10] = [set() for _ in truth[10::10]]
    decision = JointDecision()
    decide(decision, draw(1, truth), label_batch(truth))
    # Nobody has been right of late, so the plain set speaks unless it is hopeless.
    decision.state.numbers[JOINT_RIGHT:PLAIN_RIGHT] = 0.0
    decision.state.numbers[PLAIN_RIGHT:NUMBERS] = 1.0
    decision.state.numbers[HITS] = decision.state.numbers[TRIES]
    event = label_batch([*truth, None]).slice(60, 61)
    on = decide(decision, np.array([[0.01, 0.02, 0.03, 0.02]]), event)
    assert on[0].tolist() == [False, False, not empties, False]


def test_where_no_set_is_ever_right_the_threshold_falls() -> None:
    """Twelve coins in each event: no set comes twice, F1 decides."""
    rng = np.random.default_rng(5)
    n, labels = 300, 24
    p = rng.uniform(0.1, 0.45, (n, labels))
    truth: Truth = [
        set(range(labels)),
        *(set(np.flatnonzero(r).tolist()) for r in rng.random((n - 1, labels)) < p[1:]),
    ]
    decision = JointDecision()
    on = decide(decision, p, label_batch(truth))
    assert decision.state.numbers[HITS] < 0.02 * decision.state.numbers[TRIES]
    late = slice(n - 20, n)
    assert 0.3 < on[late].mean() < 0.95  # at one half none would be
    for t in range(n - 20, n):
        assert p[t, on[t]].min() > p[t, ~on[t]].max()
        assert p[t, on[t]].min() == pytest.approx(naive_decision.tempered(p[t].tolist()), abs=0.1)


def test_inflating_counts_are_brought_down_in_time_over_a_long_stream() -> None:
    """Counts start one event short of the limit, and forty thousand events double the weight."""
    rng = np.random.default_rng(6)
    groups = [{0, 1}, {1}, {2, 3}, set()]
    picks = rng.integers(4, size=64 * 625)
    decision, unscaled = JointDecision(), JointDecision()
    decision.state.numbers[WEIGHT] = 999_999.0
    whole = label_batch([{0, 1, 2, 3}, *(groups[k] for k in picks)])
    p = np.full((len(whole), 4), 0.3)
    on = [decide(each, p, whole) for each in (decision, unscaled)]
    assert (on[0] == on[1]).mean() > 0.999
    state = decision.state
    assert 1.0 < state.numbers[WEIGHT] < 10.0
    assert np.isfinite(state.counts).all()
    for name in ("counts", "on"):
        ratio = getattr(state, name)[:4] / getattr(unscaled.state, name)[:4]
        assert ratio == pytest.approx(state.numbers[WEIGHT] / unscaled.state.numbers[WEIGHT])


def test_labels_that_go_together_are_decided_together_over_a_long_stream() -> None:
    """Two labels are on or off together, and each is seen through noise of its own."""
    rng = np.random.default_rng(7)
    n = 2000
    together = rng.random(n) < 0.5
    together[0] = True
    is_on = np.stack([together, together, rng.random(n) < 0.3], axis=1)
    is_on[0] = True
    z = np.where(is_on, 1.0, -1.0) + rng.normal(0.0, 1.5, (n, 3))
    z[:, 2] = np.where(is_on[:, 2], 3.0, -3.0)
    scores = 1.0 / (1.0 + np.exp(-z))
    batch = label_batch([set(np.flatnonzero(row).tolist()) for row in is_on])
    on = decide(JointDecision(), scores, batch)
    late = slice(500, n)
    jointly = (on == is_on)[late].all(axis=1).mean()
    plainly = ((scores >= 0.5) == is_on)[late].all(axis=1).mean()
    assert jointly > plainly + 0.1


def test_labels_that_do_not_go_together_lose_little_over_a_long_stream() -> None:
    rng = np.random.default_rng(8)
    n = 2000
    z = rng.normal(-0.5, 2.5, (n, 5))
    is_on = rng.random((n, 5)) < 1.0 / (1.0 + np.exp(-z))
    is_on[0] = True
    scores = 1.0 / (1.0 + np.exp(-z))
    on = decide(
        JointDecision(), scores, label_batch([set(np.flatnonzero(r).tolist()) for r in is_on])
    )
    late = slice(500, n)
    jointly = (on == is_on)[late].all(axis=1).mean()
    plainly = ((scores >= 0.5) == is_on)[late].all(axis=1).mean()
    assert jointly > plainly - 0.02


@pytest.mark.parametrize("kind", ["constant", "alternating", "mixed"])
def test_states_stay_finite_over_a_long_stream_of_hostile_scores(kind: str) -> None:
    rng = np.random.default_rng(9)
    n = 20_000
    scores = rng.choice([0.0, 1.0, 5e-324, 1e-12, 0.5, 1.0 - 1e-16], (n, 6))
    is_on = rng.random((n, 6)) < 0.5
    if kind != "mixed":
        flips = np.arange(n) % 2 == 0 if kind == "alternating" else np.ones(n, np.bool_)
        scores[:] = np.where(flips, 1.0, 0.0)[:, None]
        is_on[:] = ~flips[:, None]
    is_on[0] = True
    decision = JointDecision()
    decide(decision, scores, label_batch([set(np.flatnonzero(row).tolist()) for row in is_on]))
    assert all(np.isfinite(array).all() for array in decision.state if array.dtype.kind == "f")
    numbers = decision.state.numbers
    assert 0.01 <= numbers[SHARE] <= 0.99
    assert 0.1 <= numbers[ALPHA] <= 1.5
