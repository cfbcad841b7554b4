"""The nearest-neighbour expert against its twin, under cuts, births, limits and hostile numbers."""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer.instances import Batch
from ihomer.learners.experts import neighbours as expert_module
from ihomer.learners.experts.neighbours import Found, NeighbourExpert
from ihomer.learners.kernels.best import LANES, LOWEST, best_rows
from ihomer.learners.kernels.elementary import LOGIT_CLIP
from ihomer.learners.kernels.neighbours import (
    DENSE,
    ENTRY_LIMIT,
    FIRST,
    LABEL_LIMIT,
    LEARNED,
    NEIGHBOURS,
    STOP,
    WINDOW,
)
from ihomer.learners.scaling import Rows, Scaler, single_precision
from tests import naive_neighbours as naive

Bools = npt.NDArray[np.bool_]


class Case(NamedTuple):
    """A stream as matrices: rows of length 1, label sets, which are learned."""

    x: npt.NDArray[np.float32]
    y: Bools
    labelled: Bools

    @property
    def known(self) -> npt.NDArray[np.int32]:
        seen = [np.flatnonzero(row).max(initial=-1) + 1 for row in self.y]
        return np.maximum.accumulate(np.array([0, *seen], dtype=np.int32))

    def rows(self) -> Rows:
        indptr = np.cumsum([0, *(self.x != 0).sum(1)], dtype=np.int64)
        t, j = np.nonzero(self.x)
        return Rows(indptr, j.astype(np.int32), self.x[t, j])

    def batch(self) -> Batch:
        rows = self.rows()
        y_indptr = np.cumsum([0, *self.y.sum(1)], dtype=np.int64)
        y_indices = np.nonzero(self.y)[1].astype(np.int32)
        return Batch(
            rows.indptr,
            rows.indices,
            rows.values.astype(float),
            y_indptr,
            y_indices,
            self.labelled,
            self.known,
        )


def case(
    seed: int, n: int, columns: int, labels: int, unlabelled: float = 0.1, density: float = -1.0
) -> Case:
    """Groups of similar rows; columns between rare and always there; labels that follow both."""
    rng = np.random.default_rng(seed)
    presence = rng.choice([0.03, 0.3, 1.0], columns) if density < 0 else np.full(columns, density)
    centres = rng.normal(size=(4, columns))
    group = rng.integers(4, size=n)
    x = centres[group] + 0.7 * rng.normal(size=(n, columns))
    x *= rng.random((n, columns)) < presence
    x[rng.random(n) < 0.1] *= rng.random() < 0.5  # some rows may be empty
    length = np.sqrt((x * x).sum(1, keepdims=True))
    x = np.divide(x, length, out=np.zeros_like(x), where=length > 0)
    y = rng.random((n, labels)) < np.where(group[:, None] == np.arange(labels) % 4, 0.8, 0.1)
    labelled = rng.random(n) >= unlabelled
    y[~labelled] = False
    return Case(x.astype(np.float32), y, labelled)


class Outcome(NamedTuple):
    """What an expert said of a stream, with learned events' numbers for rows."""

    events: npt.NDArray[np.int64]
    votes: npt.NDArray[np.float32]
    shares: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32]


def run(c: Case, cuts: list[int] | None = None, columns: int | None = None) -> Outcome:
    """Put `c` through a new expert in pieces; `columns` = None: as few as the piece needs."""
    return run_with(NeighbourExpert(), c, cuts or [], columns)


def run_with(
    expert: NeighbourExpert, c: Case, cuts: list[int], columns: int | None = None
) -> Outcome:
    rows, batch, parts = c.rows(), c.batch(), []
    n = len(batch)
    for start, stop in itertools.pairwise(sorted({0, n, *(cut for cut in cuts if cut < n)})):
        piece = batch.slice(start, stop)
        values = rows.values[rows.indptr[start] : rows.indptr[stop]]
        part = Rows(piece.indptr, piece.indices, values)
        needed = int(piece.indices.max(initial=-1)) + 1
        if piece.labelled.any():
            expert.make_room(part, piece, needed if columns is None else columns)
        found = expert.search(part, piece)
        logits = np.zeros((len(piece), 1 + c.y.shape[1]), dtype=np.float32)
        expert.vote(found, 0, np.full_like(logits, -1.0), logits)
        progress = expert.state.progress
        base = int(progress[LEARNED] - progress[STOP])
        events = np.where(found.neighbours >= 0, found.neighbours.astype(np.int64) + base, -1)
        parts.append((events, found.votes, found.shares, logits))
    return Outcome(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def assert_same(a: Outcome, b: Outcome) -> None:
    for ours, theirs in zip(a, b, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def assert_is_its_twin(c: Case, found: Outcome) -> list[naive.Vote]:
    """Compare event by event; return the twin's votes, up to a tie that fell the other way.

    The twin adds in another order, so two events may score the same but for the last digit. What
    is learned from them differs from there on.
    """
    twin, _ = naive.search(c.x, c.y, c.labelled, c.known)
    for t, vote in enumerate(twin):
        number = len(vote.events)
        events = found.events[t, :number].tolist()
        assert (found.events[t, number:] == -1).all()
        if events != vote.events:
            scores = [[vote.scores[event] for event in those] for those in (events, vote.events)]
            np.testing.assert_allclose(scores[0], scores[1], rtol=0, atol=1e-6)
            return twin[:t]
        np.testing.assert_allclose(found.votes[t, :number], vote.votes, rtol=1e-4, atol=1e-6)
        assert not found.votes[t, number:].any()
        assert found.shares[t] == pytest.approx(vote.share, rel=1e-4)
    return twin


@st.composite
def cases(draw: st.DrawFn) -> Case:
    seed, n = draw(st.integers(0, 2**32)), draw(st.integers(1, 200))
    return case(seed, n, draw(st.integers(1, 30)), draw(st.integers(1, 20)))


@settings(max_examples=25)
@given(cases())
def test_it_is_its_twin(c: Case) -> None:
    found = run(c)
    twin = assert_is_its_twin(c, found)
    sets = [set(np.flatnonzero(row).tolist()) for row in c.y[c.labelled]]
    prior = np.full((len(c.x), 1 + c.y.shape[1]), -1.0, dtype=np.float32)
    logits = naive.votes(twin, sets, prior, range(c.y.shape[1]))
    for t, row in enumerate(logits):
        np.testing.assert_allclose(found.logits[t], row, rtol=1e-3, atol=1e-3)


@settings(max_examples=25)
@given(cases(), st.lists(st.integers(0, 300), max_size=6))
def test_it_is_the_same_however_it_is_cut(c: Case, cuts: list[int]) -> None:
    assert_same(run(c, cuts), run(c))
    assert_same(run(c, columns=1000), run(c))


def test_single_events_are_a_batch() -> None:
    c = case(3, 400, 12, 5)
    assert_same(run(c, list(range(400))), run(c))


def test_lists_and_dense_columns_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    c = case(5, 700, 40, 6)
    cuts = list(range(0, 700, 64))
    expert = NeighbourExpert()
    mixed = run_with(expert, c, cuts)
    assert expert.state.progress[DENSE] > 8
    assert (expert.state.place < 0).any()
    monkeypatch.setattr(expert_module, "DENSE_LIMIT", 0)
    expert = NeighbourExpert()
    assert_same(run_with(expert, c, cuts), mixed)
    assert expert.state.progress[DENSE] == 0


def test_a_dense_column_goes_back_to_a_list() -> None:
    # Half of the columns are there always at first and almost never later, the others the reverse.
    n, columns = 3000, 16
    c = case(7, n, columns, 4, density=1.0)
    x = c.x.copy()
    old, new = np.arange(columns) < 8, np.arange(columns) >= 8
    rare = np.random.default_rng(1).random((n, columns)) < 0.02
    late = np.arange(n)[:, None] >= 600
    x[np.where(late, old, new) & ~rare] = 0
    c = Case(x, c.y, c.labelled)
    expert = NeighbourExpert()
    found = run_with(expert, c, list(range(0, n, 64)))
    assert (expert.state.place[:8] < 0).all()
    assert (expert.state.place[8:] >= 0).all()
    assert_same(found, run(c))


def test_columns_and_labels_come_while_the_window_stays() -> None:
    # New columns turn up at 200 and 300 events, most of them dense; new labels at 250.
    c = case(13, 450, 60, 40, density=0.6)
    x, y, at = c.x.copy(), c.y.copy(), np.arange(450)
    x[:200, 12:] = 0
    x[:300, 30:] = 0
    y[:250, 5:] = False
    c = Case(x, y, c.labelled)
    expert = NeighbourExpert()
    cuts = at[::50].tolist()
    parts = Case(x[:150], y[:150], c.labelled[:150])
    run_with(expert, parts, cuts)
    before = expert.state
    expert = NeighbourExpert()
    found = run_with(expert, c, cuts)
    assert len(expert.state.place) > len(before.place)
    assert len(expert.state.on) > len(before.on)
    assert expert.state.dense.shape[1] > before.dense.shape[1]
    assert len(expert.state.split) == len(before.split)  # nothing had to move
    assert_same(found, run(c))
    assert_is_its_twin(c, found)


def test_the_window_moves_and_old_statistics_fade() -> None:
    c = case(11, 4250, 5, 3, unlabelled=0.02)
    expert = NeighbourExpert()
    found = run_with(expert, c, list(range(0, 4250, 64)))
    assert expert.state.progress[STOP] - expert.state.progress[FIRST] == WINDOW
    assert len(expert.state.split) < 2 * WINDOW
    assert_is_its_twin(c, found)


def test_long_rows_shorten_the_window() -> None:
    c = case(13, 460, 300, 3, density=1.0, unlabelled=0.0)
    c.x[c.x == 0] = 0.01
    expert = NeighbourExpert()
    found = run_with(expert, c, list(range(0, 460, 50)))
    held = expert.state.indptr[expert.state.progress[[FIRST, STOP]]]
    assert ENTRY_LIMIT - 300 < held[1] - held[0] <= ENTRY_LIMIT
    assert_is_its_twin(c, found)


def test_long_label_sets_shorten_the_window() -> None:
    n, labels = 100, 3000
    c = case(17, n, 5, labels, unlabelled=0.0)
    c = Case(c.x, np.ones((n, labels), dtype=np.bool_), c.labelled)
    expert = NeighbourExpert()
    found = run_with(expert, c, [10, 64])
    assert expert.state.progress[STOP] - expert.state.progress[FIRST] == LABEL_LIMIT // labels
    assert_is_its_twin(c, found)


def test_blocks_say_what_the_whole_says() -> None:
    c = case(19, 200, 10, 9)
    expert = NeighbourExpert()
    rows, batch = c.rows(), c.batch()
    expert.make_room(rows, batch, 10)
    found = expert.search(rows, batch)
    prior = np.random.default_rng(0).normal(size=(200, 10)).astype(np.float32)
    whole = np.zeros((200, 10), dtype=np.float32)
    expert.vote(found, 0, prior, whole)
    for first, stop in ((0, 4), (4, 9)):
        part = np.zeros((200, 1 + stop - first), dtype=np.float32)
        expert.vote(found, first, prior[:, [0, *range(first + 1, stop + 1)]], part)
        np.testing.assert_array_equal(part[:, 0], whole[:, 0])
        np.testing.assert_array_equal(part[:, 1:], whole[:, first + 1 : stop + 1])


def test_a_label_says_what_the_reserve_says_until_it_is_born() -> None:
    c = case(23, 200, 10, 6)
    c.y[:150, 5] = False
    found = run(c)
    born = int(np.flatnonzero(c.y[:, 5])[0])
    np.testing.assert_array_equal(found.logits[: born + 1, 6], found.logits[: born + 1, 0])
    assert (found.logits[born + 1 :, 6] > found.logits[born + 1 :, 0]).any()


def test_unlabelled_events_change_nothing() -> None:
    c = case(29, 150, 10, 4, unlabelled=0.0)
    expert = NeighbourExpert()
    run_with(expert, c, [])
    before = [array.copy() for array in expert.state[:-4]]
    asked = Case(c.x, np.zeros_like(c.y), np.zeros_like(c.labelled))
    wide = Case(np.hstack([asked.x, asked.x]) / np.float32(2), asked.y, asked.labelled)
    assert run_with(expert, asked, []).votes.any()
    assert run_with(expert, wide, []).votes.any()  # columns that the state has no room for
    for was, now in zip(before, expert.state[:-4], strict=True):
        np.testing.assert_array_equal(was, now)
    assert not any(array.any() for array in (expert.state.mass, expert.state.slope))


def test_duplicates_vote_newest_first() -> None:
    x = np.zeros((5, 2), dtype=np.float32)
    x[:, 0] = 1.0
    c = Case(x, np.ones((5, 1), dtype=np.bool_), np.ones(5, dtype=np.bool_))
    assert run(c).events[-1, :5].tolist() == [3, 2, 1, 0, -1]


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.integers(0, WINDOW), st.sampled_from([1, 3, 50, 10**6]))
def test_the_best_rows_are_found_newest_first(seed: int, n: int, values: int) -> None:
    # Few values make ties, also of the score that is the last to get in; some rows are unrelated.
    rng = np.random.default_rng(seed)
    score = (rng.integers(values, size=n) / values - 0.4).astype(np.float32)
    score[rng.random(n) < rng.choice([0.0, 0.5, 0.95, 1.0])] = LOWEST
    found = np.zeros(NEIGHBOURS, dtype=np.int32)
    lanes, likely = np.empty((2, LANES), dtype=np.float32), np.empty(n + 1, dtype=np.int32)
    number = best_rows(score, 7, lanes, likely, found)
    order = np.lexsort((-np.arange(n), -score))
    best = order[score[order] > LOWEST][:NEIGHBOURS]
    assert (found[:number] - 7).tolist() == best.tolist()


def test_it_stops_looking_at_noise() -> None:
    # One column tells the label, thirty tell nothing: an unweighted cosine could not see it.
    rng = np.random.default_rng(31)
    x = rng.normal(size=(1500, 31))
    y = x[:, :1] > 0
    x /= np.sqrt((x * x).sum(1, keepdims=True))
    found = run(Case(x.astype(np.float32), y, np.ones(1500, dtype=np.bool_)))
    right = (found.logits[:, 1] > 0) == y[:, 0]
    assert right[-500:].mean() > 0.8
    assert right[:16].mean() < 0.8


def test_hostile_numbers_leave_everything_finite() -> None:
    rng = np.random.default_rng(37)
    n = 3000
    extremes = [1e300, -1e300, 5e-324, -5e-324, 1.0, -1.0, 0.0, math.nan, 1e-30]
    raw = rng.choice(extremes, (n, 8))
    raw[:, 0] = 3.0
    raw[:, 1] = np.where(np.arange(n) % 2, 1e300, -1e300)
    indptr = np.cumsum([0, *(raw != 0).sum(1)], dtype=np.int64)
    t, j = np.nonzero(raw)
    y = rng.random((n, 3)) < 0.5
    batch = Batch(
        indptr,
        j.astype(np.int32),
        raw[t, j],
        np.cumsum([0, *y.sum(1)], dtype=np.int64),
        np.nonzero(y)[1].astype(np.int32),
        np.ones(n, dtype=np.bool_),
        np.full(n + 1, 3, dtype=np.int32),
    )
    scaler, expert = Scaler(), NeighbourExpert()
    scaler.reserve(8)
    logits = np.zeros((64, 4), dtype=np.float32)
    for start in range(0, n, 64):
        piece = batch.slice(start, min(start + 64, n))
        scaled = scaler.transform(piece)
        rows = single_precision(scaled._replace(values=scaled.values[: scaled.indptr[-1]]))
        expert.make_room(rows, piece, 8)
        found: Found = expert.search(rows, piece)
        out = logits[: len(piece)]
        expert.vote(found, 0, np.full_like(out, -LOGIT_CLIP), out)
        assert np.isfinite(out).all()
        assert (np.abs(out) <= LOGIT_CLIP * (1 + 1e-6)).all()
        total = found.votes.sum(1) + found.shares
        np.testing.assert_allclose(total, 1.0, rtol=1e-5)
    arrays: list[npt.NDArray[Any]] = list(expert.state)
    assert all(np.isfinite(array).all() for array in arrays)
    assert expert.memory_bytes == sum(array.nbytes for array in arrays) < 5_000_000
