"""Decisions as objects: which one an objective means, and the bounded table of label sets."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from ihomer.errors import UsageError
from ihomer.instances import Batch
from ihomer.learners import decision as module
from ihomer.learners.arrays import nbytes
from ihomer.learners.decision import (
    OBJECTIVES,
    JointDecision,
    ThresholdDecision,
    make_decision,
)
from ihomer.learners.kernels.joint import JointState, find_set
from ihomer.learners.kernels.scaling import STRIDE
from ihomer.learners.kernels.thresholds import HALF, MACRO, MICRO
from tests.label_streams import Truth, label_batch, pieces

LABELS = 14


def stream(seed: int, n: int) -> Truth:
    """Sets of which few are frequent; all labels are on at first, so their ids are known."""
    rng = np.random.default_rng(seed)
    sets = [rng.choice(LABELS, rng.integers(12), replace=False) for _ in range(400)]
    picks = rng.geometric(0.01, n - 1)
    return [set(range(LABELS)), *(set(sets[min(399, int(k))].tolist()) for k in picks)]


def learn(decision: JointDecision, batch: Batch, stride: int = STRIDE) -> None:
    for _, piece in pieces(batch, list(range(0, len(batch), stride))):
        p, on = np.full((len(piece), piece.n_labels), 0.2), np.zeros((len(piece), piece.n_labels))
        decision.run(p, piece, on.astype(np.bool_))


def counts(state: JointState) -> dict[frozenset[int], tuple[float, float, int]]:
    """Of each set in the table: its count, its recent count, and as of when."""
    found = {}
    for number in range(int(state.sizes[0])):
        labels = state.arena[state.start[number] :][: state.size[number]]
        assert (np.diff(labels) > 0).all()
        assert find_set(state, labels, 0, len(labels), state.hashes[number]) == number
        found[frozenset(labels.tolist())] = (
            float(state.counts[number]),
            float(state.recent[number]),
            int(state.stamp[number]),
        )
    assert len(found) == state.sizes[0]
    return found


def in_front(state: JointState) -> list[frozenset[int]]:
    """The candidates in their order, each with its rank."""
    found = []
    for rank, number in enumerate(state.top[: state.sizes[2]]):
        assert state.rank[number] == rank
        found.append(frozenset(state.arena[state.start[number] :][: state.size[number]].tolist()))
    assert (state.rank[: state.sizes[0]] >= 0).sum() == state.sizes[2]
    return found


def test_objectives() -> None:
    assert isinstance(make_decision("subset"), JointDecision)
    kinds = {"subset": HALF, "hamming": HALF, "micro-f1": MICRO, "macro-f1": MACRO}
    assert set(OBJECTIVES) == set(kinds)
    for objective, kind in kinds.items():
        decision = make_decision(objective, joint=False)
        assert isinstance(decision, ThresholdDecision)
        assert decision.kind == kind
    assert isinstance(make_decision("hamming"), ThresholdDecision)
    with pytest.raises(UsageError, match="found 'f1', accepted: 'subset', 'hamming'"):
        make_decision("f1")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_nothing_is_decided_before_a_label_is_known(objective: str) -> None:
    decision = make_decision(objective)
    truths: list[Truth] = [[None], [set()], [set(), None, set()], []]
    for truth in truths:
        batch = label_batch(truth)
        decision.run(np.zeros((len(truth), 0)), batch, np.zeros((len(truth), 0), dtype=np.bool_))
        decision.adapt()
    on = np.zeros((1, 3), dtype=np.bool_)
    decision.run(np.full((1, 3), np.nan), label_batch([{0, 1, 2}]), on)
    assert not on.any()
    parts = nbytes(decision.parts.state) if isinstance(decision, JointDecision) else 0
    assert decision.memory_bytes == parts + nbytes(decision.state)  # type: ignore[attr-defined]


def test_growth_keeps_every_set_and_count() -> None:
    truth = stream(1, 1500)
    decision = JointDecision()
    before = decision.state
    learn(decision, label_batch(truth))
    state = decision.state
    for name in ("hashes", "slots", "arena", "on"):
        assert len(getattr(state, name)) > len(getattr(before, name))
    expected = Counter(frozenset(y or ()) for y in truth)
    found = counts(state)
    assert set(found) == set(expected)
    total = sum(count for count, _, _ in found.values())
    for labels, (count, _, _) in found.items():
        assert count / total == pytest.approx(expected[labels] / len(truth), rel=0.1)
    on = Counter(label for y in truth for label in y or ())
    for label in range(LABELS):
        assert state.on[label] / total == pytest.approx(on[label] / len(truth), rel=0.1)
    front = [found[labels][0] for labels in in_front(state)]
    assert front == sorted((count for count, _, _ in found.values()), reverse=True)[: len(front)]


@pytest.mark.parametrize("room", [1, 2, 3])
def test_rooms_of_any_size_change_no_bit(room: int) -> None:
    batch = label_batch(stream(room, 200))
    decision, roomy = JointDecision(), JointDecision()
    roomy._make_room(room * 1000, room * 9000, room * LABELS)
    learn(decision, batch)
    learn(roomy, batch, stride=17)
    assert counts(decision.state) == counts(roomy.state)
    assert in_front(decision.state) == in_front(roomy.state)
    assert (decision.state.numbers == roomy.state.numbers).all()


def test_sets_with_the_same_hash_are_told_apart() -> None:
    decision = JointDecision()
    learn(decision, label_batch([{0, 1, 2}, {1, 2}]))
    state = decision.state
    assert state.sizes[0] == 2
    for labels, number in (([0, 1, 2], 0), ([0, 1, 3], None), ([3, 1, 2], None), ([0, 1], None)):
        ids = np.array(labels, dtype=np.int32)
        found = find_set(state, ids, 0, len(ids), state.hashes[0])
        if number is None:
            assert found < 0
            assert state.slots[-found - 1] == -1  # where it would be put
        else:
            assert found == number


@pytest.mark.parametrize("bound", ["sets", "arena"])
def test_a_full_table_forgets_the_rarer_half(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decision = JointDecision()
    learn(decision, label_batch(stream(2, 600)))
    before, order, old = counts(decision.state), in_front(decision.state), decision.state
    decision.adapt()
    assert decision.state is old  # there is room
    if bound == "sets":
        monkeypatch.setattr(module, "MAX_SETS", len(before) + STRIDE - 1)
    else:
        monkeypatch.setattr(module, "MAX_ARENA", int(old.sizes[1]) - 1)
    decision.adapt()
    state = decision.state
    after = counts(state)
    assert len(after) == len(before) // 2
    assert all(before[labels] == kept for labels, kept in after.items())
    dropped = [before[labels][0] for labels in before if labels not in after]
    assert min(count for count, _, _ in after.values()) >= max(dropped)
    assert in_front(state) == [labels for labels in order if labels in after]
    assert state.sizes[1] == sum(map(len, after))
    assert state.sizes[3] == old.sizes[3]
    assert (state.numbers == old.numbers).all()
    assert (state.on == old.on).all()
    # What was forgotten can come back, and stands behind what was not.
    learn(decision, label_batch([set(range(LABELS)), *stream(3, 200)]).slice(1, 201))
    again = counts(decision.state)
    assert set(after) <= set(again)
    front = [again[labels][0] for labels in in_front(decision.state)]
    assert front == sorted(front, reverse=True)


def test_forgetting_changes_no_decision_on_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few sets make up a stream, single ones come and go: the few are decided as before."""
    rng = np.random.default_rng(4)
    common = [{0, 1}, {2, 3, 4}, {5}]
    truth: Truth = [{*range(LABELS)}]
    for t in range(640):
        rare = t % 4 == 3
        y = set(rng.choice(LABELS, 6, replace=False).tolist()) if rare else common[t % 3]
        truth.append(y)
    monkeypatch.setattr(module, "MAX_SETS", 2 * STRIDE)
    batch, decision = label_batch(truth), JointDecision()
    largest = 0
    for _, piece in pieces(batch, list(range(STRIDE, len(batch), STRIDE))):
        learn(decision, piece)
        largest = max(largest, int(decision.state.sizes[0]))
        decision.adapt()
        assert decision.state.sizes[0] <= STRIDE
    assert largest <= 2 * STRIDE
    assert set(in_front(decision.state)[:3]) == {frozenset(y) for y in common}
    found = counts(decision.state)
    for y in common:
        assert found[frozenset(y)][0] == pytest.approx(160, rel=0.03)
    # Seen through noise that hides one of two labels, a common set is recognised.
    on = np.zeros((1, LABELS), dtype=np.bool_)
    p = np.full((1, LABELS), 0.05)
    p[0, :2] = 0.9, 0.4
    decision.run(p, label_batch([set(range(LABELS)), None]).slice(1, 2), on)
    assert np.flatnonzero(on[0]).tolist() == [0, 1]
