"""Calibration against its twin, at births of labels and whatever the cut; and what it is for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.instances import Batch
from ihomer.learners.kernels.calibration import (
    KNOTS,
    CalibrationState,
    calibrate_rows,
    empty_calibration,
)
from tests.label_streams import CUTS, MOST, TRUTHS, Truth, label_batch, pieces
from tests.naive_calibration import Calibration

Probabilities = npt.NDArray[np.float32]


def said(n: int, width: int, seed: int = 0) -> Probabilities:
    """Probabilities of all sizes, those at the ends of the grid and beyond among them."""
    logits = np.random.default_rng(seed).normal(0.0, 3.0, (n, width))
    return (1.0 / (1.0 + np.exp(-logits))).astype(np.float32)


def run(
    batch: Batch,
    state: CalibrationState,
    p: Probabilities,
    first: int = 0,
    cuts: list[int] | None = None,
) -> Probabilities:
    out = p.copy()
    for where, piece in pieces(batch, cuts or []):
        calibrate_rows(
            piece.y_indptr,
            piece.y_indices,
            piece.labelled,
            piece.known,
            first,
            state,
            out[where],
        )
    return out


@given(truth=TRUTHS, first=st.integers(0, MOST), width=st.integers(1, MOST + 2))
def test_every_position_is_as_its_twin_says(truth: Truth, first: int, width: int) -> None:
    batch, p = label_batch(truth), said(len(truth), width)
    found = run(batch, empty_calibration(), p, first)
    twin = Calibration()
    for t, y in enumerate(truth):
        here = range(first, min(int(batch.known[t]), first + width - 1))
        reserve = twin.correct(float(p[t, 0]))
        before = {label: float(p[t, 1 + label - first]) for label in here}
        for c in range(width):
            label = first + c - 1
            expected = twin.correct(before[label]) if c and label in before else reserve
            assert found[t, c] == pytest.approx(expected, abs=2e-5)
        if y is not None:
            twin.learn(before, y)


@given(truth=TRUTHS, cuts=CUTS)
def test_cuts_change_no_bit(truth: Truth, cuts: list[int]) -> None:
    batch, p = label_batch(truth), said(len(truth), 1 + MOST)
    one, other = empty_calibration(), empty_calibration()
    np.testing.assert_array_equal(run(batch, one, p), run(batch, other, p, cuts=cuts))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_is_too_sure_is_brought_back() -> None:
    """Labels that are said to be on at .9 and .1 are so at .7 and .3 of the events."""
    rng = np.random.default_rng(3)
    high = rng.random((2000, 4)) < 0.5
    on = rng.random(high.shape) < np.where(high, 0.7, 0.3)
    truth: Truth = [{0, 1, 2, 3}, *(set(np.flatnonzero(row).tolist()) for row in on)]
    p = np.full((2001, 5), 0.01, dtype=np.float32)
    p[1:, 1:] = np.where(high, 0.9, 0.1)
    found = run(label_batch(truth), empty_calibration(), p)[1001:, 1:]
    assert found[high[1000:]].mean() == pytest.approx(0.7, abs=0.03)
    assert found[~high[1000:]].mean() == pytest.approx(0.3, abs=0.03)


def test_probabilities_stay_inside_and_nothing_overflows() -> None:
    rng = np.random.default_rng(4)
    p = said(3000, 4, seed=5)
    p[::3] = np.float32(1e-30)
    p[1::3] = np.nextafter(np.float32(1.0), np.float32(0.0))
    truth: Truth = [{0, 1, 2}, *({int(k) for k in rng.integers(0, 3, 2)} for _ in range(2999))]
    state = empty_calibration()
    found = run(label_batch(truth), state, p)
    assert ((found > 0.0) & (found <= 1.0)).all()
    assert len(state.pairs) == KNOTS
    assert np.isfinite(state.pairs).all()
    assert np.isfinite(state.excess).all()
