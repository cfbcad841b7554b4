"""Recovery after a change: the figures against obvious loops, and on series made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench import recovery
from ihomer.instances import Encoder, Event
from ihomer.learners.base import Predictions, SparsePredictions


def f1_of_sets(truth: set[str], predicted: set[str]) -> float:
    both = len(truth) + len(predicted)
    return 2 * len(truth & predicted) / both if both else 1.0


@given(data=st.data(), n=st.integers(1, 12), n_labels=st.integers(1, 5))
def test_example_f1_is_the_mean_of_the_definition(
    data: st.DataObject, n: int, n_labels: int
) -> None:
    names = [f"l{i}" for i in range(n_labels)]
    sets = data.draw(st.lists(st.sets(st.sampled_from(names)), min_size=n, max_size=n))
    encoder = Encoder()
    encoder.labels.ids(encoder.labels.admit(names))
    batch = encoder.encode([Event(i, {}, sorted(labels)) for i, labels in enumerate(sets)])
    on = data.draw(arrays(np.bool_, (n, n_labels)))
    found = recovery.example_f1(batch, Predictions(on, np.zeros(on.shape), np.zeros(n, np.int64)))
    candidates = on | data.draw(arrays(np.bool_, (n, n_labels)))
    rows, labels = np.nonzero(candidates)
    sparse = SparsePredictions(
        n_labels,
        np.concatenate([[0], np.cumsum(candidates.sum(axis=1))]),
        labels.astype(np.int32),
        np.zeros(len(rows)),
        on[rows, labels],
        np.zeros(n, np.int64),
    )
    assert recovery.example_f1(batch, sparse).tolist() == found.tolist()
    predicted = [{name for name, state in zip(names, row, strict=True) if state} for row in on]
    assert found.tolist() == pytest.approx(
        [f1_of_sets(y, p) for y, p in zip(sets, predicted, strict=True)]
    )


def test_an_instant_recovery_takes_the_least_number_of_events() -> None:
    scores = np.concatenate([np.full(2_000, 0.8), np.full(6_000, 0.6)])
    found = recovery.recovery(scores, 2_000, 2_000, level=0.6)
    assert found["before"] == pytest.approx(0.8)
    assert found["drop"] == pytest.approx(0.2)
    assert found["events_to_recover"] == recovery.WINDOW // 5
    assert found["area"] == pytest.approx(0.0, abs=1e-6)


def test_a_slow_recovery_is_found_where_the_rolling_mean_reaches_the_level() -> None:
    after = np.where(np.arange(6_000) < 1_000, 0.0, 1.0)
    scores = np.concatenate([np.ones(1_000), after])
    found = recovery.recovery(scores, 1_000, 1_000, level=1.0)
    # The mean of the last 500 is 0.95 when 475 of them are right.
    assert found["events_to_recover"] == 1_000 + 475
    assert found["drop"] == pytest.approx(1.0)
    # 1,000 events at nothing, then 500 with a mean that rises from 0 to 1.
    assert found["area"] == pytest.approx(1_000 + 249.5)


def test_the_transition_is_waited_for() -> None:
    scores = np.concatenate([np.ones(1_000), np.zeros(500), np.ones(5_000)])
    assert recovery.recovery(scores, 1_000, 1_500, level=1.0)["events_to_recover"] == 100


def test_what_never_recovers_says_so() -> None:
    scores = np.concatenate([np.ones(1_000), np.zeros(7_000)])
    found = recovery.recovery(scores, 1_000, 1_000, level=0.5)
    assert found["events_to_recover"] is None
    assert found["area"] == pytest.approx(0.5 * recovery.FRESH)


def test_a_change_at_the_end_or_the_start_is_no_fault() -> None:
    scores = np.ones(1_000)
    late = recovery.recovery(scores, 1_000, 1_000, level=1.0)
    assert late["events_to_recover"] is None
    assert math.isnan(late["area"])
    assert math.isnan(recovery.recovery(scores, 0, 0, level=1.0)["before"])


def test_agreement_is_over_the_labels_that_both_place() -> None:
    planted = [["a", "b"], ["c", "d"]]
    assert recovery.agreement([["a", "b", "x"], ["c", "d"]], planted) == pytest.approx(1.0)
    assert recovery.agreement([["a", "c"], ["b", "d"]], planted) < 0.0
    assert math.isnan(recovery.agreement([], planted))
