"""Logarithmic losses by cluster against their definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.learners.kernels.losses import LEAST, cluster_losses
from tests.label_streams import TRUTHS, Truth, label_batch


@given(truth=TRUTHS, seed=st.integers(0, 1000), clusters=st.integers(1, 4))
def test_losses_are_those_of_their_definition(truth: Truth, seed: int, clusters: int) -> None:
    batch, rng = label_batch(truth), np.random.default_rng(seed)
    n, labels = len(batch), batch.n_labels
    known = np.arange(labels) < batch.known[:-1, None]
    scores = np.where(known, rng.choice([0.0, 1.0, 1e-12, *rng.random(5)], (n, labels)), np.nan)
    reserve = rng.random(n)
    cluster_of = rng.integers(clusters, size=labels).astype(np.int32)
    before = rng.random((n, clusters))
    loss, counted = before.copy(), np.full((n, clusters), 7, dtype=np.int64)
    cluster_losses(
        scores,
        reserve,
        batch.y_indptr,
        batch.y_indices,
        batch.labelled,
        batch.known,
        cluster_of,
        loss,
        counted,
    )
    expected, number = before.copy(), np.full((n, clusters), 7)
    for t, y in enumerate(truth):
        for label in range(int(batch.known[t + 1]) if y is not None else 0):
            p = scores[t, label] if known[t, label] else reserve[t]
            right = min(max(p, LEAST), 1 - LEAST)
            if label not in (y or ()):
                right = 1 - right
            expected[t, cluster_of[label]] -= math.log(right)
            number[t, cluster_of[label]] += 1
    np.testing.assert_allclose(loss, expected, rtol=1e-9, atol=1e-9)
    assert (counted == number).all()


def test_the_losses_of_thousands_of_labels_stay_finite_and_exact() -> None:
    labels = 5_000
    scores, reserve = np.ones((1, labels)), np.ones(1)
    loss, counted = np.zeros((1, 1)), np.zeros((1, 1), dtype=np.int64)
    known = np.full(2, labels, dtype=np.int32)
    cluster_losses(
        scores,
        reserve,
        np.array([0, 1]),
        np.array([7], dtype=np.int32),
        np.ones(1, dtype=np.bool_),
        known,
        np.zeros(labels, dtype=np.int32),
        loss,
        counted,
    )
    expected = -(labels - 1) * math.log(LEAST) - math.log(1 - LEAST)
    assert loss[0, 0] == pytest.approx(expected, rel=1e-9)
