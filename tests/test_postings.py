"""The learner of many labels against its twin, and what holds for any stream."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer.instances import Batch, Encoder, Event
from ihomer.learners.kernels.postings import COLUMNS, ENTRIES, LEAST, SIZE, class_room
from ihomer.learners.kernels.weighing import WEAK, weigh_rows
from ihomer.learners.postings import PostingLearner, Ranked
from tests.label_streams import pieces
from tests.naive_postings import NaiveRanking

F = np.float32


def stream(
    seed: int, n: int, features: int, labels: int, on: int = 4, unlabelled: float = 0.1
) -> Batch:
    """Events whose labels are hinted at by their features, with empty rows and sets among them."""
    rng = np.random.default_rng(seed)
    encoder = Encoder()
    for t in range(n):
        sets = np.unique(rng.zipf(1.3, rng.integers(0, on + 1)) % labels)
        words = np.concatenate([sets % features, rng.integers(0, features, rng.integers(0, 5))])
        x = {f"w{j}": float(rng.integers(1, 4)) for j in np.unique(words)}
        y = None if rng.random() < unlabelled else [f"l{i:03d}" for i in sets]
        encoder.add(Event(t, x, y))
    return encoder.take()


def run(learner: PostingLearner, batch: Batch, cuts: list[int]) -> Ranked:
    """All segments, cut at the strides and at `cuts`."""
    found = []
    for _, piece in pieces(batch, cuts):
        start = 0
        while start < len(piece):
            room = 128 - learner.n_learned % 128
            within = np.cumsum(piece.labelled[start:])
            stop = start + min(128, int(np.searchsorted(within, room)) + 1)
            segment = piece.slice(start, min(stop, len(piece)))
            found.append(learner.run(segment, 1 + int(batch.indices.max(initial=-1))))
            start += len(segment)
    sizes = np.concatenate([np.diff(part.indptr) for part in found])
    return Ranked(
        np.concatenate([[0], np.cumsum(sizes)]),
        *(np.concatenate([part[k] for part in found]) for k in (1, 2, 3)),
    )


def same(one: Ranked, other: Ranked) -> bool:
    return all(np.array_equal(one[k], other[k]) for k in range(len(one)))


streams = st.builds(
    stream,
    seed=st.integers(0, 1 << 30),
    n=st.integers(1, 120),
    features=st.integers(1, 60),
    labels=st.integers(1, 150),
    on=st.integers(0, 30),
)


@given(streams, st.booleans())
@settings(max_examples=40, deadline=None)
def test_candidates_are_those_of_the_twin_bit_for_bit(batch: Batch, many_columns: bool) -> None:
    learner, twin = PostingLearner(), NaiveRanking()
    columns = 1 + int(batch.indices.max(initial=-1))
    if many_columns:  # so that lists are full at `LEAST`
        learner._postings.progress[COLUMNS] = twin.postings.columns = ENTRIES // LEAST
    rows = PostingLearner()
    rows._make_room(columns, batch.n_labels)
    weighed = rows.weighed(batch, columns)
    found = learner.run(batch, columns)
    for t in range(len(batch)):
        a, b = weighed.indptr[t : t + 2]
        row = list(zip(weighed.indices[a:b].tolist(), weighed.values[a:b], strict=True))
        a, b = batch.y_indptr[t : t + 2]
        on = batch.y_indices[a:b].tolist() if batch.labelled[t] else None
        expected = twin.run(row, on)
        a, b = found.indptr[t : t + 2]
        assert found.labels[a:b].tolist() == [label for label, _, _ in expected]
        assert found.scores[a:b].tolist() == [p for _, p, _ in expected]
        assert found.on[a:b].tolist() == [decided for _, _, decided in expected]
    for j, entries in twin.postings.lists.items():
        state = learner._postings
        assert state.used[j] == len(entries) <= state.room[j]
        first, room = int(state.start[j]), int(state.room[j])
        held = state.entry[first : first + SIZE * room].reshape(SIZE, room)[:, : len(entries)]
        assert held[0].tolist() == [entry.label for entry in entries]
        assert held[1].view(F).tolist() == [float(entry.weight) for entry in entries]


@given(streams, st.lists(st.integers(1, 120), max_size=4))
@settings(max_examples=25, deadline=None)
def test_neither_batches_nor_a_restore_change_anything(batch: Batch, cuts: list[int]) -> None:
    whole = run(PostingLearner(), batch, [])
    learner = PostingLearner()
    assert same(whole, run(learner, batch, cuts))
    copy = pickle.loads(pickle.dumps(learner))  # noqa: S301 - our own
    assert same(run(learner, batch, []), run(copy, batch, cuts))


@given(streams)
@settings(max_examples=25, deadline=None)
def test_lists_share_the_arena_without_overlap(batch: Batch) -> None:
    learner = PostingLearner()
    run(learner, batch, [])
    state = learner._postings
    taken = np.zeros(len(state.entry), dtype=np.int64)
    for first, room in zip(state.start, state.room, strict=True):
        taken[first : first + SIZE * room] += 1
    for size, head in enumerate(state.free):
        place = int(head)
        while place >= 0:
            taken[place : place + SIZE * class_room(size)] += 1
            place = int(state.entry[place])
    end = int(state.progress[1])
    assert (taken[:end] == 1).all()
    assert not taken[end:].any()


def test_a_full_arena_stays_full_and_the_learner_goes_on() -> None:
    batch = stream(1, 2000, 400, 150)
    small = PostingLearner()
    small._most_numbers = len(small._postings.entry)
    found = run(small, batch, [])
    assert len(small._postings.entry) == small._most_numbers
    assert np.isfinite(found.scores).all()


def test_unlabelled_events_leave_nothing_behind() -> None:
    learner = PostingLearner()
    run(learner, stream(2, 200, 30, 50, unlabelled=0.0), [])
    before = pickle.dumps(learner)
    run(learner, stream(3, 60, 40, 50, unlabelled=1.0), [])
    after = pickle.loads(before)  # noqa: S301 - our own
    question = stream(4, 40, 30, 50, unlabelled=1.0)
    assert same(run(learner, question, []), run(after, question, []))


def test_it_learns_what_is_planted_and_its_probabilities_hold() -> None:
    batch = stream(5, 6000, 300, 250, on=3, unlabelled=0.0)
    found = run(PostingLearner(), batch, [])
    hits = total = 0
    expected = came = 0.0
    for t in range(3000, 6000):
        a, b = batch.y_indptr[t : t + 2]
        true = batch.y_indices[a:b]
        a, b = found.indptr[t : t + 2]
        if len(true):
            total += 1
            hits += found.labels[a] in true
        expected += found.scores[a:b].sum()
        came += np.isin(found.labels[a:b], true).sum()
    assert hits / total > 0.7
    assert abs(expected - came) < 0.05 * came


@pytest.mark.parametrize("value", [1e300, -1e300, 1e-300])
def test_hostile_values_stay_finite(value: float) -> None:
    encoder, learner = Encoder(), PostingLearner()
    events = [Event(t, {"a": value, f"b{t % 7}": 1.0}, [f"l{t % 5}"]) for t in range(300)]
    events += [Event(300, {"a": float("nan")}, [f"l{i}" for i in range(400)])] * 20
    found = run(learner, encoder.encode(events), [])
    assert np.isfinite(found.scores).all()
    assert found.scores.min() >= 0.0
    assert found.scores.max() <= 1.0


@given(
    st.lists(st.lists(st.integers(0, 9), max_size=8, unique=True), min_size=1, max_size=20),
    st.integers(0, 1 << 30),
)
@settings(max_examples=40, deadline=None)
def test_features_are_weighed_by_their_rarity(rows: list[list[int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    indptr = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    indices = np.array([j for row in rows for j in sorted(row)], dtype=np.int32)
    values = rng.normal(size=len(indices)).astype(np.float32)
    labelled = rng.random(len(rows)) < 0.7
    held, events = np.zeros(8, dtype=np.int32), np.zeros(1, dtype=np.int64)
    for t, row in enumerate(rows):  # a column that nobody has learned has no count
        labelled[t] &= all(j < 8 for j in row)
    out = (np.empty_like(indptr), np.empty_like(indices), np.empty_like(values))
    weigh_rows(indptr, indices, values, labelled, held, events, *out)
    df, n = dict.fromkeys(range(10), 0), 0
    for t in range(len(rows)):
        part = slice(indptr[t], indptr[t + 1])
        n += labelled[t]
        for j in indices[part]:
            df[j] += labelled[t]
        itself = 1 - labelled[t]
        n_with = n + itself
        idf = np.array([1 + np.log((1 + n_with) / (1 + df[j] + itself)) for j in indices[part]])
        x = values[part] * idf
        keep = x * x > WEAK * (x * x).sum() / max(1, len(x))
        mine = slice(out[0][t], out[0][t + 1])
        assert out[1][mine].tolist() == indices[part][keep].tolist()
        length = np.sqrt((x[keep] ** 2).sum())
        np.testing.assert_allclose(out[2][mine], x[keep] / max(length, 1e-30), rtol=1e-5)
    assert events[0] == n


def test_forgotten_labels_and_columns_are_as_if_they_had_never_been() -> None:
    batch = stream(3, 600, 40, 30)
    columns = 1 + int(batch.indices.max())
    learner = PostingLearner()
    run(learner, batch, [])
    gone = np.arange(0, batch.n_labels, 3, dtype=np.int32)
    kept = np.setdiff1d(np.arange(batch.n_labels), gone)
    before = {j: _entries(learner, j) for j in range(columns)}
    bias = learner._postings.bias.copy()
    learner.forget_labels(np.append(gone, np.int32(10_000)))
    for j, found in before.items():
        assert _entries(learner, j) == [entry for entry in found if entry[0] in kept]
    assert any(len(found) > len(_entries(learner, j)) for j, found in before.items())
    fresh = PostingLearner()
    fresh._make_room(1, batch.n_labels)
    assert (learner._postings.bias[gone] == fresh._postings.bias[gone]).all()
    assert (learner._postings.bias[kept] == bias[kept]).all()
    ranked = learner.run(batch.unlabelled(), columns)
    assert len(ranked.labels)
    assert not np.isin(ranked.labels, gone).any()
    learner.forget_columns(np.arange(columns))
    assert not any(_entries(learner, j) for j in range(columns))


def _entries(learner: PostingLearner, j: int) -> list[tuple[int, ...]]:
    """The list of a column."""
    state = learner._postings
    first, room = int(state.start[j]), int(state.room[j])
    parts = state.entry[first : first + SIZE * room].reshape(SIZE, room)[:, : state.used[j]]
    return [tuple(row) for row in parts.T.tolist()]
