"""Single events that detectors look at later: what comes of it is what comes of batches."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ihomer import IHomer
from ihomer.instances import Batch, Event
from ihomer.learners.backlog import Backlog
from ihomer.learners.kernels.scaling import STRIDE
from ihomer.state import digest
from tests.streams import stream

Sets = list[tuple[set[int], int]]  # labels that are on, and how many there are then


def _single(on: set[int], before: int, after: int) -> Batch:
    return Batch(
        np.array([0, 1]),
        np.zeros(1, dtype=np.int32),
        np.ones(1),
        np.array([0, len(on)]),
        np.array(sorted(on), dtype=np.int32),
        np.ones(1, dtype=np.bool_),
        np.array([before, after], dtype=np.int32),
    )


@given(st.integers(1, 6), st.lists(st.sets(st.integers(0, 5)), max_size=20), st.booleans())
def test_what_waits_is_one_batch_of_all_that_came(
    labels: int, sets: list[set[int]], copied: bool
) -> None:
    backlog = Backlog()
    for earlier in (3, 0):  # what has been there before leaves nothing
        for number in range(earlier):
            backlog.add(_single({0}, 2, 2), np.full((1, 2), -1.0), np.array([float(number)]))
        backlog.clear()
    rng = np.random.default_rng(labels)
    scores, reserve = rng.random((len(sets), labels)), rng.random(len(sets))
    sets = [{label for label in on if label < labels} for on in sets]
    for number, on in enumerate(sets):
        batch = _single(on, labels - (number == 0), labels)
        assert backlog.follows(batch)
        given_scores, given_reserve = (
            scores[number : number + 1].copy(),
            reserve[number:][:1].copy(),
        )
        backlog.add(batch, given_scores, given_reserve)
        given_scores[:], given_reserve[:] = np.nan, np.nan  # they are the caller's
        batch.y_indices[:] = -1
        if copied:
            backlog = copy.deepcopy(backlog)
    found = backlog.batch()
    assert backlog.waiting == len(found) == len(sets)
    assert found.labelled.all()
    assert [found.y_indices[a:b].tolist() for a, b in _pairs(found.y_indptr)] == [
        sorted(on) for on in sets
    ]
    if sets:
        assert found.known.tolist() == [labels - 1] + [labels] * len(sets)
        assert backlog.scores.tolist() == scores.tolist()
        assert backlog.reserve.tolist() == reserve.tolist()
        assert not backlog.follows(_single({0}, labels, labels + 1))
        assert not backlog.follows(_single({0}, labels - 1, labels))
    backlog.clear()
    assert backlog.waiting == backlog.memory_bytes == 0
    assert backlog.follows(_single({0}, 9, 9))


def test_there_is_room_for_a_stride() -> None:
    backlog = Backlog()
    for _ in range(STRIDE):
        batch = _single({0}, 1, 1)
        assert backlog.follows(batch)
        backlog.add(batch, np.zeros((1, 1)), np.zeros(1))
    assert not backlog.follows(batch)
    assert len(backlog.batch()) == STRIDE


def _pairs(indptr: Any) -> Any:
    return zip(indptr[:-1].tolist(), indptr[1:].tolist(), strict=True)


def _one_by_one(model: IHomer, pairs: Any) -> None:
    for x, y in pairs:
        model.learn_one(x, y)


def _facts(model: IHomer) -> Any:
    return model.events(), model.clusters(), str(model.hierarchy()), model.counts, model.weights


def test_events_one_by_one_are_noticed_as_in_batches() -> None:
    """A stream with a change of the labels' company, and labels that are born in the midst."""
    pairs = stream(700, 3)
    pairs += [(x, {f"{name} again" for name in y} | y) for x, y in stream(500, 4)]
    model, twin = IHomer(), IHomer()
    _one_by_one(model, pairs)
    for start in range(0, len(pairs), 77):
        some = [Event(0, x, list(y)) for x, y in pairs[start : start + 77]]
        twin.predict_learn(twin.encoder.encode(some))
    assert _facts(model) == _facts(twin)
    assert len(model.events()) > 0
    x = pairs[-1][0]
    assert model.predict_proba_one(x) == twin.predict_proba_one(x)


def test_what_is_asked_for_or_saved_in_mid_stride_leaves_no_trace(tmp_path: Any) -> None:
    pairs = stream(640, 5)
    model, twin = IHomer(), IHomer()
    start = 0
    for number, stop in enumerate((300, 301, 430, 511, 512, 640)):
        _one_by_one(model, pairs[start:stop])
        _one_by_one(twin, pairs[start:stop])
        batches = IHomer()
        some = [Event(0, x, list(y)) for x, y in pairs[:stop]]
        batches.predict_learn(batches.encoder.encode(some))
        assert str(model.hierarchy()) == str(batches.hierarchy())
        model.save(tmp_path / str(number))
        model = IHomer.load(tmp_path / str(number))
        assert model.memory_bytes == twin.memory_bytes
        assert digest({"model": model}) == digest({"model": twin})
        start = stop
