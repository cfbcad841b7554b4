"""One event on the short way and in a batch: the same answers and the same model, bit for bit."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest

from ihomer import IHomer
from ihomer.instances import Event
from ihomer.learners.experts.linear import NO_BASE
from ihomer.learners.single import Single
from ihomer.prepared import PreparedCalls
from ihomer.state import digest
from tests.streams import learned, stream


def _unless(twin: IHomer, way: Any, otherwise: Any) -> Any:
    def chosen(self: Single, model: Any, *rest: Any, **more: Any) -> Any:
        if model is twin._engine.model:
            return otherwise
        return way(self, model, *rest, **more)

    return chosen


@pytest.mark.parametrize("objective", ["subset", "hamming", "macro-f1"])
@pytest.mark.parametrize("without", [(), ("forest", "path"), ("ridge", "net"), ("neighbours",)])
def test_one_event_is_predicted_and_learned_as_in_a_batch(
    objective: Any, without: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = stream(420, 11)
    model, twin = (learned([], objective=objective, without=without) for _ in range(2))
    # The twin takes the batches' way.
    monkeypatch.setattr(Single, "predict", _unless(twin, Single.predict, None))
    monkeypatch.setattr(Single, "learn", _unless(twin, Single.learn, False))
    for number, (x, y) in enumerate(pairs):
        for each in (x, {"never seen": 1.0, **x}, {}) if number % 7 == 0 else (x,):
            assert model.predict_one(each) == twin.predict_one(each)
            assert model.predict_proba_one(each) == twin.predict_proba_one(each)
            assert model.rank_one(each, 2) == twin.rank_one(each, 2)
        model.learn_one(x, y)
        twin.learn_one(x, y)
    assert digest({"model": model}) == digest({"model": twin})


def _arrays(found: Any) -> list[Any]:
    """All arrays in an object of lists, tuples and dictionaries."""
    if isinstance(found, np.ndarray):
        return [found]
    parts = found.values() if isinstance(found, dict) else found
    if not isinstance(found, dict | list | tuple):
        return []
    return [array for part in parts for array in _arrays(part)]


@pytest.mark.parametrize("objective", ["subset", "hamming", "macro-f1"])
@pytest.mark.parametrize("without", [(), ("forest",), ("path",), ("ridge", "net"), ("neighbours",)])
def test_what_a_chain_is_given_follows_from_what_it_is_held_by(
    objective: Any, without: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a chain would go on with an array that has been replaced."""
    model = learned([], objective=objective, without=without)
    way, names = PreparedCalls.chain, set()

    def chain(self: PreparedCalls, name: Any, held: Any, steps: Any, needed: str = "") -> bool:
        single = model._engine.model.single
        if self is single._call:
            known = {id(array) for array in _arrays([held, vars(single), NO_BASE])}
            for step in steps():
                assert {id(array) for array in _arrays(step[2:])} <= known, (name, step[0])
                names.add(step[0])
        return way(self, name, held, steps, needed)

    monkeypatch.setattr(PreparedCalls, "chain", chain)
    for x, y in stream(420, 11):
        model.predict_one(x)
        model.predict_proba_one(x)
        model.learn_one(x, y)
    assert {"scale", "raw", "mix", "scores"} <= names
    assert ("gains" in names) == ("ridge" not in without)


def test_models_that_take_turns_do_not_mix(tmp_path: Any) -> None:
    pairs = stream(60, 2)
    models = [IHomer(seed=seed) for seed in range(3)]
    for model in models:
        for x, y in pairs[: 20 * (1 + model.seed)]:
            model.learn_one(x, y)
    x = pairs[-1][0]
    expected = [model.predict_proba_one(x) for model in models]
    models[2].save(tmp_path / "model")
    models.append(IHomer.load(tmp_path / "model"))
    expected.append(expected[2])
    for _ in range(3):
        assert [model.predict_proba_one(x) for model in models] == expected


def test_arrays_that_were_replaced_are_let_go() -> None:
    model = IHomer()
    model.learn_one({"a": 1.0}, {"x"})
    model.predict_one({"a": 1.0})
    weights = weakref.ref(model._engine.model.blocks[0].linear["raw"].state.weights)
    assert weights() is not None
    names = {f"feature {n}": 1.0 for n in range(500)}
    model.predict_learn(model.encoder.encode([Event(n, names, ["x"]) for n in range(3)]))
    assert weights() is None
