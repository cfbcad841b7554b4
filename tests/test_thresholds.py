"""Thresholds against their twin, whatever the cut; and that each raises its own measure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.instances import Batch, FloatArray
from ihomer.learners.decision import ThresholdDecision
from ihomer.learners.kernels.thresholds import HALF, MACRO, MICRO
from tests import naive_decision
from tests.label_streams import CUTS, TRUTHS, Truth, decide, label_batch


def draw(seed: int, batch: Batch, *, extreme: bool) -> FloatArray:
    rng = np.random.default_rng(seed)
    found = rng.random((len(batch), batch.n_labels))
    if extreme:
        found = rng.choice([0.0, 1e-12, 0.02, 0.25, 0.5, 1.0], found.shape)
    found[np.arange(batch.n_labels) >= batch.known[:-1, None]] = np.nan
    return found


@given(
    truth=TRUTHS,
    seed=st.integers(0, 1000),
    extreme=st.booleans(),
    kind=st.sampled_from([HALF, MICRO, MACRO]),
)
def test_every_decision_and_count_is_as_its_twin_says(
    truth: Truth, seed: int, extreme: bool, kind: int
) -> None:
    batch = label_batch(truth)
    scores, decision = draw(seed, batch, extreme=extreme), ThresholdDecision(kind)
    on = decide(decision, scores, batch)
    twin = naive_decision.Thresholds(macro=kind == MACRO)
    for t, y in enumerate(truth):
        known = int(batch.known[t])
        for label in range(batch.n_labels):
            if label >= known:
                assert not on[t, label]
                continue
            threshold = 0.5 if kind == HALF else twin.threshold(label)
            if abs(scores[t, label] - threshold) > 1e-9:
                assert on[t, label] == (scores[t, label] > threshold)
            else:
                assert on[t, label] or kind != HALF
        if y is not None and kind != HALF:
            twin.learn(scores[t, :known].tolist(), set(np.flatnonzero(on[t]).tolist()), y)
    for group, both in twin.both.items():
        assert decision.state.both[group] == pytest.approx(both)
        assert decision.state.either[group] == pytest.approx(twin.either[group])


@given(
    truth=TRUTHS,
    seed=st.integers(0, 1000),
    kind=st.sampled_from([HALF, MICRO, MACRO]),
    cuts=CUTS,
)
def test_cuts_change_no_bit(truth: Truth, seed: int, kind: int, cuts: list[int]) -> None:
    batch = label_batch(truth)
    scores = draw(seed, batch, extreme=False)
    whole, in_pieces = ThresholdDecision(kind), ThresholdDecision(kind)
    assert (decide(whole, scores, batch) == decide(in_pieces, scores, batch, cuts)).all()
    for a, b in zip(whole.state, in_pieces.state, strict=True):
        length = min(len(a), len(b))
        assert length >= batch.n_labels
        assert a[:length].tobytes() == b[:length].tobytes()


def planted(n: int = 3000, labels: int = 6) -> tuple[FloatArray, npt.NDArray[np.bool_], Batch]:
    """Calibrated scores of labels that are seldom on, the later ones ever more so."""
    rng = np.random.default_rng(3)
    z = rng.normal(0.0, 1.2, (n, labels)) - np.linspace(0.5, 4.0, labels)
    scores = 1.0 / (1.0 + np.exp(-z))
    is_on = rng.random((n, labels)) < scores
    is_on[0] = True
    return scores, is_on, label_batch([set(np.flatnonzero(row).tolist()) for row in is_on])


def f1(on: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Micro-F1 and macro-F1."""
    both, either = (on & truth).sum(axis=0), on.sum(axis=0) + truth.sum(axis=0)
    return 2.0 * float(both.sum() / either.sum()), float((2.0 * both / either).mean())


def test_each_kind_is_best_by_its_own_measure_on_a_long_stream() -> None:
    scores, truth, batch = planted()
    found = {kind: decide(ThresholdDecision(kind), scores, batch) for kind in (HALF, MICRO, MACRO)}
    assert (found[HALF][1:] == (scores[1:] >= 0.5)).all()
    micro, macro = zip(*(f1(on[500:], truth[500:]) for on in found.values()), strict=True)
    assert micro[1] > micro[0] + 0.05
    assert macro[2] > macro[0] + 0.1
    assert micro[1] == max(micro)
    assert macro[2] == max(macro)
    errors = [(on != truth)[500:].mean() for on in found.values()]
    assert errors[0] == min(errors)


@pytest.mark.parametrize("kind", [MICRO, MACRO])
def test_thresholds_stay_in_their_range_through_thousands_of_hostile_events(kind: int) -> None:
    """What is predicted is never true, then everything is."""
    decision, n = ThresholdDecision(kind), 5000
    never = label_batch([{0, 1}, *(set() for _ in range(n))]).slice(1, n + 1)
    always = label_batch([{0, 1} for _ in range(n + 1)]).slice(1, n + 1)
    unlabelled = label_batch([{0, 1}, None]).slice(1, 2)
    assert decide(decision, np.full((n, 2), 0.9), never).all()
    assert not decide(decision, np.full((n, 2), 1e-300), never).any()
    assert decide(decision, np.full((n, 2), 1e-300), always).sum() == 0
    assert all(np.isfinite(array).all() for array in decision.state)
    # At its floor it asks for a little all the same.
    assert decide(decision, np.full((1, 2), 0.0201), unlabelled).all()
    assert not decide(decision, np.full((1, 2), 0.0199), unlabelled).any()
    assert decide(decision, np.ones((n, 2)), always).all()
    assert decide(decision, np.ones((n, 2)), always).all()
    # At its ceiling it is one half, never more.
    assert decide(decision, np.full((1, 2), 0.5), unlabelled).all()
    assert not decide(decision, np.full((1, 2), 0.45), unlabelled).any()
