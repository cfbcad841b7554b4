"""Priors and persistence against their twin, at births of labels and whatever the cut."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.instances import Batch
from ihomer.learners.arrays import grown
from ihomer.learners.kernels.elementary import LOGIT_CLIP
from ihomer.learners.kernels.trivial import TrivialState, empty_trivial, trivial_rows
from tests import naive_mixture
from tests.label_streams import CUTS, MOST, TRUTHS, Truth, label_batch, pieces

Logits = npt.NDArray[np.float32]


def run(
    batch: Batch, state: TrivialState, first: int = 0, cuts: list[int] | None = None
) -> tuple[Logits, Logits]:
    prior = np.full((len(batch), len(state.on)), np.nan, dtype=np.float32)
    persistence = prior.copy()
    for where, piece in pieces(batch, cuts or []):
        trivial_rows(
            piece.y_indptr,
            piece.y_indices,
            piece.labelled,
            first,
            state,
            prior[where],
            persistence[where],
        )
    return prior, persistence


@given(truth=TRUTHS, first=st.integers(0, MOST), width=st.integers(1, MOST + 2))
def test_every_position_is_as_its_twin_says(truth: Truth, first: int, width: int) -> None:
    prior, persistence = run(label_batch(truth), empty_trivial(width), first)
    history: list[set[int]] = []
    for t, y in enumerate(truth):
        for c in range(width):
            expected = naive_mixture.trivial(history, first + c - 1 if c else -1)
            assert prior[t, c] == pytest.approx(expected[0], abs=2e-5)
            assert persistence[t, c] == pytest.approx(expected[1], abs=2e-5)
        if y is not None:
            history.append(y)


@given(truth=TRUTHS, cuts=CUTS)
def test_cuts_and_room_for_more_change_no_bit(truth: Truth, cuts: list[int]) -> None:
    batch = label_batch(truth)
    state = empty_trivial(1 + MOST)
    whole = run(batch, state)
    narrow = empty_trivial(1)
    for where, piece in pieces(batch, cuts):
        # Just the room that the piece needs, as a block grows.
        narrow = grown(narrow, empty_trivial(max(len(narrow.on), 1 + piece.n_labels)))
        width = len(narrow.on)
        for said, expected in zip(run(piece, narrow), whole, strict=True):
            assert said.tobytes() == expected[where, :width].tobytes()
    for part, all_of_it in zip(narrow, state, strict=True):
        assert part.tobytes() == all_of_it[: len(part)].tobytes()


def test_unlabelled_rows_change_nothing() -> None:
    state = empty_trivial(4)
    run(label_batch([{0}, {0, 1}]), state)
    before = [array.copy() for array in state]
    batch = label_batch([None, None])
    prior, _ = run(batch, state)
    assert all((a == b).all() for a, b in zip(before, state, strict=True))
    assert (prior[0] == prior[1]).all()


def test_persistence_tells_sorted_streams() -> None:
    """Labels that stay on for hundreds of events are foreseen, but for the event they change."""
    truth: Truth = [{t // 300} for t in range(1200)]
    _, persistence = run(label_batch(truth), empty_trivial(5))
    right = [persistence[t, 1 + t // 300] > 0 for t in range(1200)]
    assert sum(right) >= 1200 - 4 * 3


def test_logits_stay_within_bounds_for_forty_thousand_events() -> None:
    rng = np.random.default_rng(1)
    state = empty_trivial(6)
    always, never, often = 0, 1, 2
    for _ in range(40):
        truth: Truth = [
            {always, *({often} if rng.random() < 0.5 else ()), *({3, 4} if t % 2 else ())}
            for t in range(1000)
        ]
        batch = label_batch([{0, 1, 2, 3, 4}, *truth]).slice(1, 1001)
        prior, persistence = run(batch, state)
        for logits in (prior, persistence):
            assert np.isfinite(logits).all()
            assert np.abs(logits).max() <= np.float32(LOGIT_CLIP)
    assert prior[-1, 1 + always] == np.float32(LOGIT_CLIP)
    assert prior[-1, 1 + never] == -np.float32(LOGIT_CLIP)
    assert abs(prior[-1, 1 + often]) < 0.2
    assert persistence[-1, 4] * persistence[-2, 4] < 0  # what alternates is foreseen to
    assert state.events[0] == pytest.approx(2000, rel=1e-6)
