"""Measures of sparse predictions: as those of dense ones, and what is theirs alone."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.errors import UsageError
from ihomer.instances import BoolArray
from ihomer.learners.base import SparsePredictions
from ihomer.stream.measures import Measures
from tests import naive, naive_many_labels, naive_reliability
from tests.predicted import (
    KS,
    Stream,
    assert_close,
    assert_identical,
    at_leisure,
    fed,
    feed,
    random_stream,
    streams,
)


class Looked(NamedTuple):
    """A stream of which some labels are looked at; the others are off and without scores."""

    stream: Stream
    candidates: BoolArray  # (n, L)
    seed: int  # of the order of candidates


@st.composite
def looked(draw: st.DrawFn) -> Looked:
    stream = draw(streams())
    seed = draw(st.integers(0, 1000))
    share = draw(st.sampled_from([0.0, 0.3, 0.8, 1.0]))
    candidates = np.random.default_rng(seed).random(stream.on.shape) < share
    return Looked(
        stream._replace(
            on=stream.on & candidates, scores=np.where(candidates, stream.scores, math.nan)
        ),
        candidates,
        seed,
    )


def everything(stream: Stream) -> BoolArray:
    """At each event the labels up to the last one that was known before."""
    told = stream.on | ~np.isnan(stream.scores)
    told[1:] |= np.logical_or.accumulate(stream.truth)[:-1]
    found = np.logical_or.accumulate(told[:, ::-1], axis=1)[:, ::-1]
    return np.ascontiguousarray(found)


def sparse(
    stream: Stream, candidates: BoolArray, start: int, stop: int, width: int, seed: int
) -> SparsePredictions:
    """Events `start` to `stop`, the candidates of each in some order."""
    rng = np.random.default_rng(seed)
    ids = [rng.permutation(np.flatnonzero(candidates[e, :width])) for e in range(start, stop)]
    rows = np.repeat(np.arange(start, stop), [len(part) for part in ids])
    labels = np.concatenate([np.zeros(0, dtype=np.int64), *ids])
    return SparsePredictions(
        n_labels=width,
        indptr=np.concatenate([[0], np.cumsum([len(part) for part in ids])]).astype(np.int64),
        labels=labels.astype(np.int32),
        scores=stream.scores[rows, labels],
        on=stream.on[rows, labels],
        events=np.arange(start, stop),
    )


def feed_sparse(
    measures: Measures, one: Looked, start: int, stop: int, width: int | None = None
) -> None:
    stream = one.stream
    truth = stream.truth[start:stop]
    known = stream.known[stop - 1] if stop else 0
    measures.update_sparse(
        sparse(stream, one.candidates, start, stop, known if width is None else width, one.seed),
        np.concatenate([[0], np.cumsum(truth.sum(axis=1))]).astype(np.int64),
        np.nonzero(truth)[1].astype(np.int32),
        stream.labelled[start:stop],
    )


def fed_sparse(one: Looked, cuts: list[int], window: int = 1000) -> Measures:
    measures = Measures(window, KS)
    for start, stop in zip([0, *cuts], [*cuts, len(one.stream.on)], strict=True):
        feed_sparse(measures, one, start, stop)
    return measures


@at_leisure
@given(streams(), st.integers(0, 3), st.integers(1, 6), st.integers(0, 1000))
def test_all_labels_as_candidates_give_the_same_bits(
    stream: Stream, never_on: int, window: int, seed: int
) -> None:
    dense = fed(stream, stream.cuts, window)
    one = fed_sparse(Looked(stream, everything(stream), seed), stream.cuts, window)
    n_labels = dense.n_labels + never_on
    assert_identical(one.result(n_labels), dense.result(n_labels))
    assert_identical(one.rolling(n_labels), dense.rolling(n_labels))


@pytest.mark.parametrize("n_labels", [31, 33, 64, 65, 400])
def test_many_candidates_give_the_same_bits(n_labels: int) -> None:
    stream = random_stream(40, n_labels, seed=n_labels)
    one = Looked(stream, everything(stream), seed=1)
    dense, found = fed(stream, stream.cuts, window=9), fed_sparse(one, stream.cuts, window=9)
    assert_identical(found.result(), dense.result())
    assert_identical(found.rolling(), dense.rolling())


@at_leisure
@given(looked(), st.integers(0, 3), st.integers(1, 6))
def test_what_is_no_candidate_is_off_and_ranked_last(
    one: Looked, never_on: int, window: int
) -> None:
    measures = fed_sparse(one, one.stream.cuts, window)
    stream, n_labels = one.stream, measures.n_labels + never_on

    def rows(full: npt.NDArray[np.generic], fill: float) -> npt.NDArray[np.generic]:
        more = max(0, n_labels - full.shape[1])
        padded = np.pad(full[:, :n_labels], ((0, 0), (0, more)), constant_values=fill)
        return padded[stream.labelled]

    on, truth, candidates = (
        rows(full, False).astype(np.bool_) for full in (stream.on, stream.truth, one.candidates)
    )
    scores = rows(stream.scores, math.nan).astype(np.float64)
    for found, last in ((measures.result(n_labels), None), (measures.rolling(n_labels), window)):
        first = 0 if last is None else max(0, len(on) - last)
        wanted = {
            **naive.measures(on[first:], scores[first:], truth[first:], KS),
            **naive_reliability.reliability(scores, truth, last, candidates),
            **naive_many_labels.many_labels(scores, truth, KS, last),
        }
        assert_close(found, wanted)


@at_leisure
@given(looked(), st.integers(1, 6), st.booleans())
def test_neither_the_cut_nor_a_change_of_form_plays_a_role(
    one: Looked, window: int, all_of_them: bool
) -> None:
    if all_of_them:
        one = one._replace(candidates=everything(one.stream))
    whole = fed_sparse(one, [], window)
    pieces = fed_sparse(one, one.stream.cuts, window)
    assert_identical(pieces.result(), whole.result())
    assert_identical(pieces.rolling(), whole.rolling())
    if not all_of_them:
        return
    mixed = Measures(window, KS)
    cuts = one.stream.cuts
    for i, (start, stop) in enumerate(zip([0, *cuts], [*cuts, len(one.stream.on)], strict=True)):
        if i % 2:
            feed_sparse(mixed, one, start, stop)
        else:
            feed(mixed, one.stream, start, stop, one.stream.known[stop - 1] if stop else 0)
    assert_identical(mixed.result(), whole.result())
    assert_identical(mixed.rolling(), whole.rolling())


@at_leisure
@given(looked(), st.integers(0, 14), st.integers(0, 14))
def test_a_slice_is_the_predictions_of_its_events(one: Looked, first: int, last: int) -> None:
    n = len(one.stream.on)
    start, stop = sorted((min(first, n), min(last, n)))
    width = one.stream.on.shape[1]
    whole = sparse(one.stream, one.candidates, 0, n, width, one.seed)
    part = whole.slice(start, stop)
    assert part.events.tolist() == list(range(start, stop))
    for t in range(start, stop):
        a, b = whole.indptr[t : t + 2]
        c, d = part.indptr[t - start : t - start + 2]
        for found, wanted in (
            (part.labels, whole.labels),
            (part.scores, whole.scores),
            (part.on, whole.on),
        ):
            np.testing.assert_array_equal(found[c:d], wanted[a:b])
    assert part.indptr[0] == 0
    assert len(part.labels) == part.indptr[-1]


def test_a_missed_label_costs_what_probability_zero_costs() -> None:
    # Label 0 is true twice and no candidate: of its first time nobody could know.
    nothing = SparsePredictions(
        n_labels=3,
        indptr=np.zeros(3, dtype=np.int64),
        labels=np.zeros(0, dtype=np.int32),
        scores=np.zeros(0),
        on=np.zeros(0, dtype=np.bool_),
        events=np.arange(2),
    )
    measures = Measures()
    measures.update_sparse(
        nothing, np.array([0, 1, 2]), np.zeros(2, dtype=np.int32), np.ones(2, dtype=np.bool_)
    )
    found = measures.result(1_000_000)
    assert found["scored_pairs"] == 1
    assert found["log_loss"] == pytest.approx(-math.log(1e-6))
    assert found["prior_log_loss"] == pytest.approx(-math.log(1.5 / 2))
    assert found["calibration_error"] == 1.0
    assert found["coverage_error"] == 1_000_000
    assert found["ranking_loss"] == 1.0
    assert found["precision_at_1"] == pytest.approx(1e-6)
    assert found["coverage_at_5"] == 0.0


def test_a_rare_label_weighs_more() -> None:
    # Event 100 has a label that was on in 99 of 100 events and one that was on in one of them.
    truth = np.zeros((101, 2), dtype=np.bool_)
    truth[:99, 0] = truth[99:, 1] = truth[100, 0] = True
    scores = np.tile([0.5, 0.4], (101, 1))
    stream = Stream(
        truth, scores, truth, np.ones(101, dtype=np.bool_), [2] * 101, list(range(1, 101))
    )
    found = fed(stream, stream.cuts, window=1).rolling()
    common, rare = (1 + (math.log(100) - 1) * 2.5**0.55 * (seen + 1.5) ** -0.55 for seen in (99, 1))
    assert found["precision_at_1"] == 1.0
    assert found["psp_at_1"] == pytest.approx(common / rare)
    assert found["psp_at_3"] == pytest.approx(1.0)


def test_coverage_counts_each_label_once_and_ties_to_the_end() -> None:
    scores = np.array([[0.9, 0.8, 0.8, 0.1], [0.9, 0.8, 0.8, 0.1], [0.1, 0.8, 0.7, 0.9]])
    truth = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1]], dtype=np.bool_)
    stream = Stream(truth, scores, truth, np.ones(3, dtype=np.bool_), [4] * 3, [])
    found = fed(stream, []).result()
    assert found["coverage_error"] == pytest.approx((3 + 3 + 1) / 3)
    assert found["coverage_at_1"] == pytest.approx(2 / 3)  # of labels 0, 1 and 3
    assert found["coverage_at_3"] == 1.0


def test_many_labels_cost_little_memory() -> None:
    stream = random_stream(50, 8, seed=3)
    one = Looked(stream, np.ones((50, 8), dtype=np.bool_), seed=0)
    measures = Measures(20, KS)
    feed_sparse(measures, one, 0, 50, width=1_000_000)
    assert sum(part.nbytes for part in measures._tally) < 28 * 1_000_000 + 30_000
    assert measures.result()["labels"] == 1_000_000


def predictions(indptr: list[int], labels: list[int]) -> SparsePredictions:
    m = len(labels)
    return SparsePredictions(
        4,
        np.array(indptr),
        np.array(labels, dtype=np.int32),
        np.zeros(m),
        np.zeros(m, np.bool_),
        np.arange(2),
    )


@pytest.mark.parametrize(
    ("indptr", "labels"),
    [
        ([0, 1, 2], [4, 0]),  # beyond the labels
        ([0, 1, 2], [-1, 0]),
        ([0, 2, 3], [1, 1, 0]),  # twice the same
        ([0, 1, 3], [0, 1]),  # beyond the candidates
        ([0, 2, 1], [0, 1]),
        ([1, 1, 2], [0, 1]),
        ([0, 1], [0]),  # one event short
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_counted(
    indptr: list[int], labels: list[int]
) -> None:
    measures = fed(random_stream(9, 4, seed=0), [])
    before = measures.result()
    ends, none = np.zeros(3, dtype=np.int64), np.zeros(0, dtype=np.int32)
    labelled = np.ones(2, dtype=np.bool_)
    with pytest.raises(UsageError, match=r"^measures: (the candidates|found indptr)"):
        measures.update_sparse(predictions(indptr, labels), ends, none, labelled)
    good = predictions([0, 1, 2], [0, 1])
    with pytest.raises(UsageError, match=r"^measures: the true labels of event 1"):
        measures.update_sparse(good, np.array([0, 0, 1]), np.array([4], dtype=np.int32), labelled)
    assert_identical(measures.result(), before)
