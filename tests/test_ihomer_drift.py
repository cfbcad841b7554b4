"""What the estimator does when the stream changes."""

from __future__ import annotations

import numpy as np
import pytest

from bench.cell import measure
from bench.task import Task
from ihomer import IHomer
from ihomer.drift.events import Kind, Level
from ihomer.instances import Event
from tests.streams import events, stream


def flipped(n: int, at: int, seed: int) -> list[Event]:
    """A label that follows a feature, and from event `at` on its opposite."""
    rng = np.random.default_rng(seed)
    stream = []
    for t in range(n):
        a, b = rng.normal(size=2)
        on = [name for name, side in (("first", a), ("second", b)) if (side > 0) == (t < at)]
        stream.append(Event(t, {"a": float(a), "b": float(b)}, on))
    return stream


@pytest.mark.parametrize("partition", [True, False])
def test_a_flip_of_the_labels_is_noticed_and_unlearned(partition: bool) -> None:
    stream = flipped(3000, 2000, 1)
    truth = np.array([[name in (e.on or ()) for name in ("first", "second")] for e in stream])
    losses = {}
    for drift in (True, False):
        model = IHomer(drift=drift, partition=partition, labels=("first", "second"))
        model.predict_learn(model.encoder.encode(stream[:2000]))
        assert model.counts["local_alarms"] == model.counts["global_alarms"] == 0
        found = model.predict_learn(model.encoder.encode(stream[2000:]))
        order = [model.encoder.labels.names().index(name) for name in ("first", "second")]
        losses[drift] = float((found.on[:, order] != truth[2000:]).mean())
        alarms = model.counts["local_alarms"] + model.counts["global_alarms"]
        assert (alarms > 0) == drift
    # The experts and their mixture move by themselves.
    assert max(losses.values()) < 0.1


def test_a_stream_without_drift_raises_no_alarm() -> None:
    model = IHomer()
    model.predict_learn(model.encoder.encode(events(stream(3000, 20))))
    assert model.counts["local_alarms"] == model.counts["global_alarms"] == 0


def test_labels_that_change_company_are_noticed() -> None:
    """Labels swap groups, features stay with them: only the structure of the label sets moves."""
    rng = np.random.default_rng(21)

    def sets(n: int, groups: list[list[str]]) -> list[Event]:
        made = []
        for t in range(n):
            on = [name for name in groups[int(rng.integers(2))] if rng.random() < 0.8]
            made.append(Event(t, dict.fromkeys(on, 1.0), on))
        return made

    model = IHomer()
    model.predict_learn(model.encoder.encode(sets(1500, [["a", "b", "c"], ["d", "e", "f"]])))
    assert model.clusters() == [{"a", "b", "c"}, {"d", "e", "f"}]
    model.predict_learn(model.encoder.encode(sets(1500, [["a", "b", "f"], ["d", "e", "c"]])))
    assert model.counts["global_alarms"] > 0
    assert model.clusters() == [{"a", "b", "f"}, {"c", "d", "e"}]


def test_trees_may_grow_while_their_regressions_rest() -> None:
    """Then nodes are given back that the regressions have never had a column for."""
    stream = "synthetic:xor?events=20000&drift=recurring&at=5000&period=5000"
    cell = measure(Task("accuracy", stream, "ihomer", limit=7_000))
    assert (cell.status, cell.reason) == ("done", "")


def test_labels_that_swap_their_frequencies_are_told_of_and_nothing_is_done() -> None:
    """The features say the labels all the same, so no loss rises."""
    rng = np.random.default_rng(8)
    rates = 0.5 / np.arange(1, 9)

    def sets(n: int, rates: np.ndarray) -> list[Event]:
        made = []
        for t in range(n):
            on = [f"l{i}" for i in np.flatnonzero(rng.random(8) < rates)]
            made.append(Event(t, dict.fromkeys(on, 1.0), on))
        return made

    before, after = sets(4000, rates), sets(2000, rates[::-1])
    model = IHomer()
    model.predict_learn(model.encoder.encode(before))
    at = model.n_events
    model.predict_learn(model.encoder.encode(after))
    told = [e for e in model.events(at) if e.level is Level.PRIORS]
    assert told
    first = told[0]
    assert (first.kind, first.cluster) == (Kind.ALARM, None)
    assert 4000 < first.event < 4300
    assert first.statistic is not None
    assert first.bound is not None
    assert first.statistic > first.bound
    assert first.labels


def test_a_rise_of_the_loss_is_told_with_its_event_and_size() -> None:
    model = IHomer()
    model.predict_learn(model.encoder.encode(flipped(3000, 2000, 1)))
    for level in (Level.LOSS, Level.CLUSTER):
        told = [e for e in model.events() if e.level is level]
        assert told, level
        assert told[0].kind is Kind.ALARM
        assert 2000 < told[0].event < 2100
        assert told[0].statistic is not None
        assert told[0].bound is not None
        assert told[0].statistic > told[0].bound
