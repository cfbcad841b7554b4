"""Fading counts of labels and pairs against a dictionary."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.learners.partition.cooccurrence import Cooccurrence
from tests import naive
from tests.planted import packed

rows_of_labels = st.lists(
    st.lists(st.integers(0, 30), unique=True, max_size=6).map(sorted), max_size=60
)


def as_dictionary(counts: Cooccurrence) -> dict[tuple[int, int], float]:
    first, second, together = counts.pairs()
    return dict(zip(zip(first.tolist(), second.tolist(), strict=True), together, strict=True))


@given(rows_of_labels, st.sampled_from([3.0, 50.0, 10_000.0]))
def test_counts_equal_those_of_a_dictionary(rows: list[list[int]], horizon: float) -> None:
    counts = Cooccurrence(horizon)
    counts.update(*packed(rows))
    labels, pairs, events = naive.cooccurrence(rows, horizon)
    assert counts.events == pytest.approx(events)
    assert as_dictionary(counts) == pytest.approx(pairs)
    found = counts.labels()
    assert {i: found[i] for i in labels} == pytest.approx(labels)


def test_old_events_fade_and_weights_are_scaled_back() -> None:
    counts = Cooccurrence(horizon=10.0)
    counts.update(*packed([[0, 1]] * 100))
    for _ in range(50):  # e^500 would overflow
        counts.update(*packed([[2, 3]] * 100))
    assert np.isfinite(counts.labels()).all()
    assert counts.labels()[0] < 1e-6
    assert as_dictionary(counts)[2, 3] == pytest.approx(1 / (1 - np.exp(-0.1)), rel=1e-6)


def test_the_table_grows_and_then_forgets_the_rarest_pairs() -> None:
    counts = Cooccurrence(horizon=1e9, max_pairs=4096)
    rng = np.random.default_rng(1)
    often = [[0, 1], [2, 3]] * 500
    rare = [
        sorted(rng.choice(np.arange(4, 5000), 2, replace=False).tolist()) for _ in range(20_000)
    ]
    counts.update(*packed(often + rare))
    assert len(as_dictionary(counts)) <= 4096
    assert as_dictionary(counts)[0, 1] == pytest.approx(500, rel=1e-3)
    assert counts.memory_bytes < 500_000
