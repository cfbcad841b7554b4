"""The measures against their definitions, against scikit-learn, and against themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer.errors import UsageError
from ihomer.instances import Encoder, Event
from ihomer.learners.base import Predictions
from ihomer.stream.measures import Measures
from tests import naive, naive_many_labels, naive_reliability
from tests.predicted import (
    KS,
    Stream,
    assert_close,
    assert_identical,
    at_leisure,
    expected,
    fed,
    feed,
    random_stream,
    streams,
)


@at_leisure
@given(streams(), st.integers(0, 3))
def test_whole_stream_equals_the_definitions(stream: Stream, never_on: int) -> None:
    measures = fed(stream, stream.cuts)
    n_labels = measures.n_labels + never_on
    assert_close(measures.result(n_labels), expected(stream, n_labels))


@at_leisure
@given(streams(), st.integers(0, 3), st.integers(1, 6))
def test_rolling_equals_the_definitions_at_any_time(
    stream: Stream, never_on: int, window: int
) -> None:
    measures = Measures(window, KS)
    for event in range(len(stream.on)):
        feed(measures, stream, event, event + 1, stream.known[event])
        past = slice(event + 1)
        seen = stream._replace(
            on=stream.on[past],
            scores=stream.scores[past],
            truth=stream.truth[past],
            labelled=stream.labelled[past],
        )
        n_labels = measures.n_labels + never_on
        assert_close(measures.rolling(n_labels), expected(seen, n_labels, window))


@at_leisure
@given(streams(), st.integers(0, 3))
def test_undeclared_labels_cost_nothing(stream: Stream, never_on: int) -> None:
    n_labels = stream.on.shape[1] + never_on
    declared = Stream(
        np.pad(stream.on, ((0, 0), (0, never_on))),
        np.pad(stream.scores, ((0, 0), (0, never_on)), constant_values=math.nan),
        np.pad(stream.truth, ((0, 0), (0, never_on))),
        *stream[3:],
    )
    one = fed(stream, stream.cuts, window=4)
    other = fed(declared, stream.cuts, window=4, width=n_labels)
    assert_identical(one.result(n_labels), other.result())
    assert_identical(one.rolling(n_labels), other.rolling())


@at_leisure
@given(streams(), st.integers(1, 6))
def test_the_cut_into_batches_plays_no_role(stream: Stream, window: int) -> None:
    whole = fed(stream, [], window)
    for cuts in (stream.cuts, list(range(len(stream.on)))):
        pieces = fed(stream, cuts, window)
        assert_identical(pieces.result(), whole.result())
        assert_identical(pieces.rolling(), whole.rolling())


@at_leisure
@given(streams(), st.integers(1, 6))
def test_unlabelled_events_are_not_scored(stream: Stream, window: int) -> None:
    labelled = stream.labelled
    kept = Stream(
        stream.on[labelled],
        stream.scores[labelled],
        stream.truth[labelled],
        labelled[labelled],
        [known for known, yes in zip(stream.known, labelled, strict=True) if yes],
        [],
    )
    some, every = fed(kept, [], window), fed(stream, [], window)
    assert_identical(every.result(), some.result(every.n_labels))
    assert_identical(every.rolling(), some.rolling(every.n_labels))


@pytest.mark.parametrize("n_labels", [2, 5, 12])
def test_equals_scikit_learn(n_labels: int) -> None:
    stream = random_stream(400, n_labels, seed=n_labels)
    found = fed(stream, stream.cuts).result()
    y, p = stream.truth.astype(int), stream.on.astype(int)
    metrics = sklearn.metrics
    wanted = {
        "subset_accuracy": metrics.accuracy_score(y, p),
        "hamming_loss": metrics.hamming_loss(y, p),
        # Both sets empty counts 1 with us: zero_division=1, where that is all it changes.
        "example_f1": metrics.f1_score(y, p, average="samples", zero_division=1),
        "example_jaccard": metrics.jaccard_score(y, p, average="samples", zero_division=1),
    }
    for average in ("micro", "macro"):
        for name in ("f1", "precision", "recall"):
            score = getattr(metrics, f"{name}_score")
            wanted[f"{average}_{name}"] = score(y, p, average=average, zero_division=0)
    ranked = y.any(axis=1)
    y, s = y[ranked], np.nan_to_num(stream.scores[ranked], nan=-1.0)
    wanted["ranking_loss"] = metrics.label_ranking_loss(y, s)
    wanted["average_precision"] = metrics.label_ranking_average_precision_score(y, s)
    wanted["coverage_error"] = metrics.coverage_error(y, s)
    for k in KS:
        wanted[f"ndcg_at_{k}"] = metrics.ndcg_score(y, s, k=k)
    assert {key: found[key] for key in wanted} == pytest.approx(wanted, rel=1e-12, abs=1e-12)

    # Precision and recall of an event: alike unless both its sets are empty.
    some = stream.truth.any(axis=1) | stream.on.any(axis=1)
    y, p = stream.truth[some].astype(int), stream.on[some].astype(int)
    empty = int((~some).sum())
    assert empty > 0
    for name in ("precision", "recall"):
        score = getattr(metrics, f"{name}_score")
        mean = score(y, p, average="samples", zero_division=0)
        assert found[f"example_{name}"] == pytest.approx((mean * len(y) + empty) / 400, rel=1e-12)


def one_event(scores: list[float], truth: list[int], n_labels: int) -> dict[str, float]:
    measures = Measures()
    measures.update(
        np.zeros((1, len(scores)), dtype=np.bool_),
        np.array([scores]),
        np.array([0, len(truth)]),
        np.array(truth, dtype=np.int32),
        np.array([True]),
    )
    return measures.result(n_labels)


def test_a_true_label_without_a_score_is_tied_at_the_end() -> None:
    # Ranking: label 1, then label 0 (true), then labels 2 (true), 3 and 4 tied.
    found = one_event([0.4, 0.9, math.nan], [0, 2], n_labels=5)
    assert found["precision_at_1"] == 0.0
    assert found["one_error"] == 1.0
    assert found["precision_at_3"] == pytest.approx((1 + 1 / 3) / 3)
    assert found["precision_at_5"] == pytest.approx(2 / 5)
    # Wrong of six pairs: (0, 1), (2, 1) and, tied, (2, 3) and (2, 4).
    assert found["ranking_loss"] == pytest.approx(4 / 6)
    assert found["average_precision"] == pytest.approx((1 / 2 + 2 / 5) / 2)
    gain = 1 / math.log2(3) + (1 / math.log2(4)) / 3
    assert found["ndcg_at_3"] == pytest.approx(gain / (1 + 1 / math.log2(3)))


def test_a_tie_at_the_top_counts_what_a_lot_would_obtain() -> None:
    found = one_event([0.5, 0.5, 0.5, 0.1], [1], n_labels=4)
    assert found["precision_at_1"] == pytest.approx(1 / 3)
    assert found["one_error"] == pytest.approx(2 / 3)
    assert found["precision_at_3"] == pytest.approx(1 / 3)


def test_all_labels_true_is_a_perfect_ranking() -> None:
    found = one_event([0.5, math.nan], [0, 1], n_labels=2)
    assert found["ranking_loss"] == 0.0
    assert found["average_precision"] == 1.0
    assert found["ndcg_at_3"] == pytest.approx(1.0)
    assert found["precision_at_3"] == pytest.approx(2 / 3)


def test_no_event_and_no_label() -> None:
    figures = Measures().result()
    assert figures["events"] == figures["labels"] == figures["micro_f1"] == 0
    assert math.isnan(figures["subset_accuracy"])
    assert math.isnan(figures["macro_f1"])
    assert math.isnan(figures["ranking_loss"])
    assert Measures().result(3)["macro_f1"] == 0.0


def test_a_batch_and_its_predictions() -> None:
    encoder = Encoder()
    batch = encoder.encode([Event(0, {}, on=["a"]), Event(1, {}, on=["b", "a"]), Event(2, {})])
    on = np.array([[False, False], [True, False], [True, True]])
    predictions = Predictions(on, np.where(on, 1.0, math.nan), np.arange(3))
    measures = Measures()
    measures.update_batch(batch, predictions)
    figures = measures.result(len(encoder.labels))
    assert measures.events == 2
    assert figures["example_recall"] == 0.25
    assert figures["cardinality"] == 1.5


def test_sums_do_not_drift_over_a_long_stream() -> None:
    n = 300_000
    rng = np.random.default_rng(0)
    on = rng.random((n, 3)) < 0.5
    truth = rng.random((n, 3)) < 0.5
    stream = Stream(on, on.astype(float), truth, np.ones(n, dtype=np.bool_), [3] * n, [])
    found = fed(stream, []).result()["example_f1"]
    whole = on.sum(axis=1) + truth.sum(axis=1)
    f1 = np.where(whole > 0, 2 * (on & truth).sum(axis=1) / np.maximum(whole, 1), 1.0)
    exact = math.fsum(f1.tolist()) / n
    assert abs(found - exact) <= math.ulp(exact)
    assert abs(np.cumsum(f1)[-1] / n - exact) > math.ulp(exact)  # a plain sum would be caught


def test_memory_is_bounded_by_the_window() -> None:
    stream = random_stream(3000, 6, seed=1)
    measures = fed(stream, list(range(50, 3000, 50)), window=20)
    # In numbers: at most every label of each event of the window, and growth by doubling.
    assert sum(part.size for part in measures._tally) < 2 * 20 * 6 + 20 * 40 + 300


@settings(max_examples=30, deadline=None)
@given(streams(), st.data())
def test_what_does_not_fit_is_refused_and_nothing_is_counted(
    stream: Stream, data: st.DataObject
) -> None:
    measures = fed(stream, [])
    before = measures.result()
    width = measures.n_labels
    on, scores = np.zeros((2, width), dtype=np.bool_), np.zeros((2, width))
    both = np.array([True, True])
    y_indptr, y_indices = data.draw(
        st.sampled_from(
            [
                ([0, 0, 1], [width]),  # beyond the labels
                ([0, 0, 1], [-1]),
                ([0, 2, 2], [0, 0]),  # twice the same
                ([0, 3, 1], [0]),  # beyond the ids
                ([1, 1, 1], [0]),
                ([0, 0], []),  # one event short
            ]
        )
    )
    with pytest.raises(UsageError, match=r"^measures: (the true labels|found y_indptr)"):
        measures.update(on, scores, np.array(y_indptr), np.array(y_indices, dtype=np.int32), both)
    with pytest.raises(UsageError, match="accepted"):
        measures.update(on, scores[:1], np.zeros(3, dtype=np.int64), np.zeros(0, np.int32), both)
    assert_identical(measures.result(), before)


def test_arguments_out_of_range() -> None:
    with pytest.raises(UsageError, match="window: found 0"):
        Measures(window=0)
    for ks in ((), (0, 1), (3, 3)):
        with pytest.raises(UsageError, match="ks: found"):
            Measures(ks=ks)
    measures = fed(random_stream(3, 4, seed=0), [])
    with pytest.raises(UsageError, match="n_labels: found 3, accepted: 4 or more"):
        measures.result(3)


def test_one_error_does_not_need_precision_at_one() -> None:
    stream = random_stream(50, 5, seed=2)
    measures = Measures(ks=(4, 2))
    feed(measures, stream, 0, 50, 5)
    wanted = {
        **naive.measures(*stream[:3], ks=(4, 2)),
        **naive_reliability.reliability(stream.scores, stream.truth),
        **naive_many_labels.many_labels(stream.scores, stream.truth, (4, 2)),
    }
    assert_close(measures.result(), wanted)


@pytest.mark.parametrize("n_labels", [31, 32, 33, 400])
def test_many_labels_equal_the_definitions(n_labels: int) -> None:
    # Past a block of labels, and past the number of levels up to which every level is compared.
    stream = random_stream(40, n_labels, seed=n_labels)
    rng = np.random.default_rng(n_labels)
    fine = np.where(np.isnan(stream.scores), math.nan, rng.random(stream.scores.shape) ** 4)
    fine[20:, :] = np.where(rng.random(fine[20:].shape) < 0.5, fine[20:], stream.scores[20:])
    stream = stream._replace(scores=fine)
    assert_close(fed(stream, stream.cuts, window=9).result(), expected(stream, n_labels))
    assert_close(fed(stream, stream.cuts, window=9).rolling(), expected(stream, n_labels, 9))


def test_certainty_costs_as_much_as_it_may_and_no_more() -> None:
    sure = one_event([1.0, 0.0] + [0.0] * 98, [1], n_labels=100)
    assert sure["log_loss"] == pytest.approx((2 * -math.log(1e-6) - 98 * math.log(1 - 1e-6)) / 100)
    assert sure["calibration_error"] == pytest.approx(2 / 100)
    assert sure["calibration_error_likely"] == 1.0
    assert (sure["scored_pairs"], sure["likely_pairs"]) == (100, 1)
    assert sure["prior_log_loss"] == pytest.approx(math.log(2))
    wrong = one_event([0.0] * 500, list(range(500)), n_labels=500)
    assert wrong["log_loss"] == pytest.approx(-math.log(1e-6))  # no product has vanished


def test_scores_that_are_no_probabilities_are_cut_to_them() -> None:
    odd = one_event([-math.inf, -3.0, 7.0, math.inf, 1e300], [2], n_labels=5)
    even = one_event([0.0, 0.0, 1.0, 1.0, 1.0], [2], n_labels=5)
    for key in ("log_loss", "calibration_error", "calibration_error_likely", "likely_pairs"):
        assert odd[key] == even[key]


def test_probability_without_a_pair_has_no_figure() -> None:
    found = one_event([math.nan], [0], n_labels=1)
    assert found["scored_pairs"] == 0
    assert math.isnan(found["log_loss"])
    assert math.isnan(found["calibration_error"])
    unlikely = one_event([0.05], [], n_labels=1)
    assert unlikely["calibration_error"] == pytest.approx(0.05)
    assert math.isnan(unlikely["calibration_error_likely"])
