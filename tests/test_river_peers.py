"""River's peers against loops over river's own models, written out."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from river import linear_model, multioutput, optim, preprocessing

from bench.candidate import Shape, declare_all
from bench.peers import PEERS
from bench.peers.river_peers import (
    BinaryRelevance,
    RiverPeer,
    adaptive_forest,
    adaptive_tree,
    hoeffding_tree,
    logistic_regression,
    nearest_neighbours,
)
from ihomer.connectors.river_data import RiverSource
from ihomer.errors import UsageError
from ihomer.instances import Batch, Encoder, Event
from ihomer.learners.base import Predictions
from tests import streams

RIVER = [name for name in PEERS if name.startswith("river-")]
MAKERS = [
    logistic_regression,
    hoeffding_tree,
    adaptive_tree,
    adaptive_forest,
    nearest_neighbours,
]


def encoded(events: list[Event], labels: tuple[str, ...], *, sparse: bool) -> tuple[Batch, Shape]:
    encoder = Encoder(labels)
    declare_all(encoder, labels)
    batch = encoder.encode(events)
    return batch, Shape(labels, len(encoder.features), sparse)


def yeast(n: int) -> tuple[list[Event], tuple[str, ...]]:
    source = RiverSource("yeast")
    records = source.next_batch(n, 0.0)
    assert records is not None
    events = [record.value for record in records]
    return [e for e in events if isinstance(e, Event)], tuple(sorted(source.labels))


def made(name: str, shape: Shape, seed: int = 1) -> RiverPeer:
    peer = PEERS[name].factory(shape, Encoder(), seed)
    assert isinstance(peer, RiverPeer)
    return peer


def named(event: Event) -> dict[Any, Any]:
    """An event as a user of river would have it: names, zeros included."""
    assert not isinstance(event.x, dict)
    row: Any = event.x
    return dict(zip(row.names, row.values.tolist(), strict=True))


def mixed(n: int, *, sparse: bool) -> tuple[Batch, Shape]:
    """Numbers, indicators, missing values and events without labels."""
    pairs = streams.stream(n, seed=3)
    labels = tuple(sorted({label for _, y in pairs for label in y}))
    return encoded(streams.events(pairs, unlabelled=0.2), labels, sparse=sparse)


def in_pieces(peer: RiverPeer, batch: Batch, size: int) -> Predictions:
    parts = [
        peer.predict_learn(batch.slice(a, min(a + size, len(batch))))
        for a in range(0, len(batch), size)
    ]
    return Predictions(
        np.concatenate([p.on for p in parts]),
        np.concatenate([p.scores for p in parts]),
        np.concatenate([p.events for p in parts]),
    )


def test_binary_relevance_is_a_pipeline_per_label() -> None:
    events, labels = yeast(200)
    batch, shape = encoded(events, labels, sparse=False)
    found = made("river-br-lr", shape).predict_learn(batch)
    models = [
        preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer=optim.AdaGrad())
        for _ in labels
    ]
    for t, event in enumerate(events):
        x = named(event)
        for label, (name, model) in enumerate(zip(labels, models, strict=True)):
            assert found.on[t, label] == model.predict_one(x)
            assert found.scores[t, label] == pytest.approx(model.predict_proba_one(x)[True])
            model.learn_one(x, name in (event.on or ()))
    assert found.on.any()
    assert found.events.tolist() == list(range(200))


def test_a_chain_is_rivers_chain() -> None:
    events, labels = yeast(100)
    batch, shape = encoded(events, labels, sparse=False)
    found = made("river-cc-lr", shape).predict_learn(batch)
    model = preprocessing.StandardScaler() | multioutput.ClassifierChain(
        linear_model.LogisticRegression(optimizer=optim.AdaGrad())
    )
    for t, event in enumerate(events):
        x = named(event)
        decisions, probabilities = model.predict_one(x), model.predict_proba_one(x)
        for label, name in enumerate(labels):
            assert found.on[t, label] == decisions.get(name, False)
            expected = probabilities[name][True] if name in probabilities else math.nan
            assert found.scores[t, label] == pytest.approx(expected, nan_ok=True)
        model.learn_one(x, {name: name in (event.on or ()) for name in labels})
    assert np.isnan(found.scores[0]).all()
    assert not np.isnan(found.scores[1:]).any()


@pytest.mark.parametrize("make", MAKERS)
def test_a_decision_is_what_predict_one_says(make: Any) -> None:
    batch, shape = mixed(130, sparse=True)
    peer = RiverPeer(shape, BinaryRelevance(make, scaled=False, seed=5))
    found = peer.predict_learn(batch)
    models = [make(5) for _ in shape.labels]
    for t in range(len(batch)):
        x = peer._vector(batch, t)
        assert found.on[t].tolist() == [model.predict_one(x) is True for model in models]
        if batch.labelled[t]:
            on = batch.y_indices[batch.y_indptr[t] : batch.y_indptr[t + 1]].tolist()
            for label, model in enumerate(models):
                model.learn_one(x, label in on)
    assert found.on.any()


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("name", RIVER)
def test_the_cut_into_batches_plays_no_role(name: str, sparse: bool) -> None:
    batch, shape = mixed(90, sparse=sparse)
    whole = made(name, shape).predict_learn(batch)
    cut = in_pieces(made(name, shape), batch, 7)
    np.testing.assert_array_equal(whole.on, cut.on)
    np.testing.assert_array_equal(whole.scores, cut.scores)
    np.testing.assert_array_equal(whole.events, cut.events)
    assert whole.events[-1] == batch.labelled[:-1].sum()


def test_rivers_scaler_leaves_nothing_of_sparse_indicators() -> None:
    events = [Event(t, {"ab"[t % 2]: 1.0}, ["y"] if t % 2 else []) for t in range(100)]
    batch, shape = encoded(events, ("y",), sparse=True)
    blind = made("river-br-lr", shape).predict_learn(batch).scores[-2:, 0]
    seeing = made("river-br-lr-unscaled", shape).predict_learn(batch).scores[-2:, 0]
    assert blind[0] == pytest.approx(blind[1], abs=0.05)
    assert seeing[0] < 0.3
    assert seeing[1] > 0.7


def test_seeds_are_heard() -> None:
    assert adaptive_tree(7)._get_params()["seed"] == 7
    assert nearest_neighbours(7)._get_params()["engine"][1]["seed"] == 7
    batch, shape = mixed(60, sparse=True)
    one, same, other = (
        made("river-br-arf", shape, seed).predict_learn(batch).scores for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other, equal_nan=True)


@pytest.mark.parametrize("name", RIVER)
def test_a_learnable_stream_is_learned(name: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(300, 2))
    events = [
        Event(t, {"a": x, "b": z}, [n for n, v in (("up", x), ("down", -x)) if v > 0])
        for t, (x, z) in enumerate(values.tolist())
    ]
    batch, shape = encoded(events, ("down", "up"), sparse=False)
    on = made(name, shape).predict_learn(batch).on
    truth = np.stack([values[:, 0] <= 0, values[:, 0] > 0], axis=1)
    assert (on[150:] == truth[150:]).mean() > 0.85


class Recorder(BinaryRelevance):
    """Keeps what it is given, for want of anything to learn with."""

    def __init__(self) -> None:
        super().__init__(logistic_regression, scaled=False, seed=0)
        self.asked: list[dict[int, float]] = []
        self.taught: list[tuple[dict[int, float], list[bool]]] = []

    def predict(self, x: dict[Any, Any]) -> list[dict[bool, float]]:
        self.asked.append(x)
        return []

    def learn(self, x: dict[Any, Any], on: list[bool]) -> None:
        self.taught.append((x, on))


def test_zeros_are_told_in_dense_streams_only_and_missing_values_never() -> None:
    events = [
        Event(0, {"a": 2.0, "b": 0.0, "c": 3.0}, ["y"]),
        Event(1, {"a": None, "c": 1.0}, None),
        Event(2, {}, []),
    ]
    told: dict[bool, list[dict[int, float]]] = {
        True: [{0: 2.0, 2: 3.0}, {2: 1.0}, {}],
        False: [{0: 2.0, 1: 0.0, 2: 3.0}, {1: 0.0, 2: 1.0}, {0: 0.0, 1: 0.0, 2: 0.0}],
    }
    for sparse, expected in told.items():
        batch, shape = encoded(events, ("y",), sparse=sparse)
        recorder = Recorder()
        found = RiverPeer(shape, recorder).predict_learn(batch)
        assert recorder.asked == expected
        assert recorder.taught == [(expected[0], [True]), (expected[2], [False])]
        assert not found.on.any()
        assert np.isnan(found.scores).all()


def test_a_label_that_turns_up_late_gets_its_model_then() -> None:
    events = [Event(t, {"a": 1.0}, ["first"] if t < 5 else ["first", "late"]) for t in range(12)]
    encoder = Encoder(["first"])
    declare_all(encoder, ("first",))
    batches = [encoder.encode(events[:3]), encoder.encode(events[3:])]
    for name in RIVER:
        peer = made(name, Shape(("first",), 1, False))
        assert peer.predict_learn(batches[0]).on.shape == (3, 1)
        found = peer.predict_learn(batches[1])
        # Events 3 to 5 are predicted before it was seen.
        assert np.isnan(found.scores[:3, 1]).all()
        assert not found.on[:3, 1].any()
        assert not np.isnan(found.scores[5:]).any()
        # No model has seen it off.
        assert found.on[5:, 1].all()


def test_what_river_raises_goes_through() -> None:
    class Broken(Recorder):
        def learn(self, x: dict[Any, Any], on: list[bool]) -> None:
            raise ZeroDivisionError("float division by zero")

    batch, shape = encoded([Event(0, {"a": 1.0}, ["y"])], ("y",), sparse=True)
    with pytest.raises(ZeroDivisionError, match="float division by zero"):
        RiverPeer(shape, Broken()).predict_learn(batch)


def test_an_undeclared_column_is_refused() -> None:
    batch, _ = encoded([Event(0, {"a": 1.0, "b": 1.0}, ["y"])], ("y",), sparse=False)
    with pytest.raises(UsageError, match="features: found column 1, accepted: below 1"):
        made("river-br-lr", Shape(("y",), 1, False)).predict_learn(batch)


def test_it_states_its_time_and_size() -> None:
    batch, shape = mixed(30, sparse=True)
    peer = made("river-br-ht", shape)
    assert peer.seconds == 0.0
    empty = peer.model_bytes
    peer.predict_learn(batch)
    assert peer.seconds > 0.0
    assert peer.model_bytes > empty > 0
    peer.close()


def test_the_table_of_peers_imports_none_of_them() -> None:
    code = (
        "import sys, bench.peers as p; [i.missing() for i in p.PEERS.values()];"
        " sys.exit(any(m in sys.modules for m in ('bench.peers.river_peers', 'capymoa',"
        " 'jpype', 'river.forest')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert all(info.description for info in PEERS.values())
