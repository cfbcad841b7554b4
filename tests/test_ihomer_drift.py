"""What the estimator does when the stream changes."""

from __future__ import annotations

import numpy as np
import pytest

from ihomer import IHomer
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
