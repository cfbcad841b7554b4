"""Streams of predictions with their truth, in full, and the figures that they should give."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ihomer.stream.measures import Measures
from tests import naive, naive_many_labels, naive_reliability

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

KS = (1, 3, 5)

at_leisure = settings(deadline=None)  # the first example may compile, and the machine be busy


class Stream(NamedTuple):
    """A stream in full: rows over all labels; ``known[e]`` of them are known after event e."""

    on: Bools
    scores: Floats
    truth: Bools
    labelled: Bools
    known: list[int]
    cuts: list[int]


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    n = draw(st.integers(0, 14))
    n_labels = draw(st.integers(0, 8))
    shape = (n, n_labels)
    on = draw(hnp.arrays(np.bool_, shape))
    truth = draw(hnp.arrays(np.bool_, shape))
    # Few values, so that ties are common.
    value = st.sampled_from([0.0, 0.07, 0.1, 0.25, 0.5, 1.0, math.nan])
    scores = draw(hnp.arrays(np.float64, shape, elements=value))
    for rows in (on, truth):
        kinds = draw(st.lists(st.sampled_from(["drawn", "none", "all"]), min_size=n, max_size=n))
        for event, kind in enumerate(kinds):
            if kind != "drawn":
                rows[event] = kind == "all"
    labelled = draw(hnp.arrays(np.bool_, n, elements=st.sampled_from([True, True, True, False])))
    known: list[int] = []
    before = draw(st.integers(0, n_labels))
    for event in range(n):
        truth[event] &= labelled[event]
        on[event, before:] = False
        scores[event, before:] = math.nan
        fresh = np.flatnonzero(truth[event])
        before = max(before, int(fresh[-1]) + 1 if len(fresh) else 0)
        known.append(before)
    cuts = sorted(draw(st.lists(st.integers(0, n), max_size=5)))
    return Stream(on, scores, truth, labelled, known, cuts)


def feed(measures: Measures, stream: Stream, start: int, stop: int, width: int) -> None:
    truth = stream.truth[start:stop]
    y_indptr = np.concatenate([[0], np.cumsum(truth.sum(axis=1))]).astype(np.int64)
    measures.update(
        stream.on[start:stop, :width],
        stream.scores[start:stop, :width],
        y_indptr,
        np.nonzero(truth)[1].astype(np.int32),
        stream.labelled[start:stop],
    )


def fed(stream: Stream, cuts: list[int], window: int = 1000, width: int | None = None) -> Measures:
    """Measures of a stream cut into batches, each as wide as the labels known at its end."""
    measures = Measures(window, KS)
    for start, stop in zip([0, *cuts], [*cuts, len(stream.on)], strict=True):
        known = stream.known[stop - 1] if stop else 0
        feed(measures, stream, start, stop, known if width is None else width)
    return measures


def expected(stream: Stream, n_labels: int, last: int | None = None) -> dict[str, float]:
    """The naive figures of the labelled events, or of the last few, over `n_labels` labels."""

    def rows(full: npt.NDArray[np.generic], fill: float) -> npt.NDArray[np.generic]:
        padded = np.full((len(full), n_labels), fill, dtype=full.dtype)
        width = min(full.shape[1], n_labels)
        padded[:, :width] = full[:, :width]
        return padded[stream.labelled]

    on, truth = (rows(full, 0).astype(np.bool_) for full in (stream.on, stream.truth))
    scores = rows(stream.scores, math.nan).astype(np.float64)
    first = 0 if last is None else max(0, len(on) - last)
    return {
        **naive.measures(on[first:], scores[first:], truth[first:], KS),
        **naive_reliability.reliability(scores, truth, last),
        **naive_many_labels.many_labels(scores, truth, KS, last),
    }


def assert_close(found: dict[str, float], wanted: dict[str, float]) -> None:
    assert list(found) == list(wanted)
    assert found == pytest.approx(wanted, rel=1e-12, abs=1e-12, nan_ok=True)


def assert_identical(found: dict[str, float], wanted: dict[str, float]) -> None:
    """Bit for bit, NaN included."""
    assert {key: float(value).hex() for key, value in found.items()} == {
        key: float(value).hex() for key, value in wanted.items()
    }


def random_stream(n: int, n_labels: int, seed: int) -> Stream:
    rng = np.random.default_rng(seed)
    truth = rng.random((n, n_labels)) < 0.3
    truth[rng.random(n) < 0.05] = False
    truth[rng.random(n) < 0.05] = True
    scores = np.round(0.4 * truth + 0.6 * rng.random((n, n_labels)), 1)
    scores[rng.random((n, n_labels)) < 0.2] = math.nan
    on = np.nan_to_num(scores) > 0.4
    on[rng.random(n) < 0.1] = False
    known = [n_labels] * n
    return Stream(on, scores, truth, np.ones(n, dtype=np.bool_), known, [n // 3])
