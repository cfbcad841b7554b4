"""Features that share columns: rows against their twin, the matrix, and the whole learner."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.instances import BoolArray, Event, FloatArray
from ihomer.learners import model as learner
from ihomer.learners.experts.ridge import Gains
from ihomer.learners.ihomer import IHomer
from ihomer.learners.scaling import Rows, folded
from tests import naive

# Halves, of which every sum is exact.
VALUES = st.integers(-8, 8).map(lambda n: n / 2)
ROWS = st.lists(st.dictionaries(st.integers(0, 99), VALUES, max_size=20), max_size=6)


def rows_of(rows: list[dict[int, float]]) -> Rows:
    entries = [sorted(row.items()) for row in rows]
    flat = [entry for row in entries for entry in row]
    return Rows(
        np.cumsum([0, *map(len, entries)], dtype=np.int64),
        np.array([j for j, _ in flat], dtype=np.int32),
        np.array([value for _, value in flat], dtype=np.float32),
    )


@given(ROWS, st.integers(0, 7))
def test_rows_are_their_twins(rows: list[dict[int, float]], bits: int) -> None:
    found = folded(rows_of(rows), 1 << bits)
    got = []
    for a, b in zip(found.indptr[:-1], found.indptr[1:], strict=True):
        assert len(set(found.indices[a:b].tolist())) == b - a
        got.append(dict(zip(found.indices[a:b].tolist(), found.values[a:b].tolist(), strict=True)))
    assert got == naive.fold_rows(rows, 1 << bits)


def test_the_matrix_keeps_what_it_knows_of_the_columns_that_stay() -> None:
    gains = Gains(9)
    gains.make_room(64)
    n = 16
    rows = rows_of([{3: 0.5, 5 + t % 4: 0.25, 20: -0.5, 40 + t % 8: 0.5} for t in range(n)])
    gains.run(rows, np.ones(n, dtype=np.bool_))
    before = gains.state
    energy, seen = before.energy.copy(), before.seen.copy()
    variance = np.array([gains_variance(gains, j) for j in range(16)])
    assert (before.block[1 : before.progress[1]] >= 16).any()
    gains.fold(16)
    after = gains.state
    assert len(after.place) == 16
    assert (after.block[: after.progress[1]] < 16).all()
    np.testing.assert_allclose(after.energy, energy.reshape(-1, 16).sum(axis=0))
    np.testing.assert_array_equal(after.seen, seen.reshape(-1, 16).sum(axis=0))
    np.testing.assert_allclose([gains_variance(gains, j) for j in range(16)], variance)


def gains_variance(gains: Gains, column: int) -> float:
    """The diagonal of the matrix at a column, in the block or not."""
    place = int(gains.state.place[column])
    inside = gains.state.covariance[place, place]
    return float(gains.state.variance[column] if place < 0 else inside)


def words(seed: int, n: int) -> list[Event]:
    """Events with five of ever more words, the first of which says what the label is."""
    rng = np.random.default_rng(seed)
    events = []
    for t in range(n):
        topic = int(rng.integers(0, min(20, 2 + t // 100)))
        x = {f"topic{topic}": 1.0}
        x.update((f"w{j}", 1.0) for j in rng.integers(0, 50 + 8 * t, 4))
        events.append(Event(t, x, on=[f"label{topic}"]))
    return events


def run(events: list[Event], size: int) -> tuple[IHomer, FloatArray, BoolArray]:
    model = IHomer(max_memory_mb=16.0, without=["forest", "path", "neighbours"])
    scores = np.full((len(events), 20), np.nan)
    on = np.zeros(scores.shape, dtype=np.bool_)
    for first in range(0, len(events), size):
        part = model.predict_learn(model.encoder.encode(events[first : first + size]))
        width = part.scores.shape[1]
        scores[first : first + size, :width] = part.scores
        on[first : first + size, :width] = part.on
    return model, scores, on


def test_short_memory_is_shared_by_features_and_cuts_change_no_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(learner, "LINEAR_SHARE", 0.01)  # room for a few hundred columns
    events = words(3, 1500)
    model, scores, on = run(events, 300)
    for size in (1, 37):
        _, others, other = run(events, size)
        np.testing.assert_array_equal(others, scores)
        np.testing.assert_array_equal(other, on)
    block = model._engine.model.blocks[0]
    assert block.ridge is not None
    assert len(block.ridge.state.weights) == len(block.linear["raw"].state.weights) == 256
    assert len(model.encoder.features) > 2000
    # Topics whose words came after the columns were all taken are found all the same.
    place = {name: i for i, name in enumerate(model.encoder.labels.names())}
    late = [
        on[t, place[label]]
        for t, event in enumerate(events)
        for label in event.on or ()
        if t >= 1000 and label in {"label8", "label9", "label10"}
    ]
    assert np.mean(late) > 0.8
