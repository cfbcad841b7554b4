"""One learner for all labels, or one for each cluster: what is on trial, and what comes of it."""

from __future__ import annotations

import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer import IHomer
from ihomer.drift.events import Kind, Level
from ihomer.instances import Event
from ihomer.learners import grove
from ihomer.learners.kernels.losses import tree_gains
from ihomer.state import digest

OFF = ("ridge", "raw", "net", "neighbours")  # the trees carry all the weight


@given(st.integers(0, 2**32 - 1))
def test_gains_are_differences_of_losses(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, labels = 5, 4
    own, theirs = rng.normal(0.0, 20.0, (2, n, 2 + labels)).astype(np.float32)
    known = np.sort(rng.integers(0, labels + 1, n + 1)).astype(np.int32)
    on = rng.random((n, labels)) < 0.4
    on &= np.arange(labels) < known[1:, None]
    labelled = rng.random(n) < 0.8
    on &= labelled[:, None]
    indptr = np.concatenate([[0], np.cumsum(on.sum(axis=1))])
    gains = np.zeros(n)
    ids = np.nonzero(on)[1].astype(np.int32)
    tree_gains(own, theirs, indptr, ids, labelled, known, gains)
    for t in range(n):
        expected = 0.0
        for c in range(known[t] if labelled[t] else 0):
            for sign, logits in ((1.0, own), (-1.0, theirs)):
                z = float(logits[t, 1 + c])
                expected += sign * float(np.logaddexp(0.0, -z if on[t, c] else z))
        assert gains[t] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def blocks(n: int, own: bool) -> list[Event]:
    """Two blocks of labels; each is told by its own feature, or both by noise."""
    rng = np.random.default_rng(3)
    events = []
    for t in range(n):
        block = int(rng.integers(2))
        x = {f"x{j}": float(rng.normal()) for j in range(8)}
        if own:
            on = [f"l{block}{k}" for k in range(3) if (x[f"x{3 * block + k}"] > 0.0) or k == t % 3]
        else:
            on = [f"l{block}{k}" for k in rng.choice(3, 2, replace=False)]
        events.append(Event(t, x, on))
    return events


def outcome(model: IHomer, events: list[Event], cuts: list[int]) -> list[list[list[float]]]:
    rows = []
    for a, b in pairwise(sorted({0, *cuts, len(events)})):
        found = model.predict_learn(model.encoder.encode(events[a:b]))
        rows += [row[row == row].tolist() for row in np.asarray(found.scores)]
    return rows


def trials(model: IHomer) -> list[tuple[Kind, bool]]:
    """How trials ended, and whether the statistic passed its bound."""
    found = []
    for event in model.events():
        if (
            event.level == Level.CLUSTER
            and event.kind != Kind.ALARM
            and event.statistic is not None
        ):
            assert event.bound is not None
            found.append((Kind(event.kind), event.statistic > event.bound))
    return found


def test_clusters_that_gain_nothing_keep_one_learner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grove, "TRIAL", 512)
    model = IHomer(without=OFF, drift=False)
    outcome(model, blocks(4000, own=False), [])
    assert sorted(map(sorted, model.clusters())) == [["l00", "l01", "l02"], ["l10", "l11", "l12"]]
    assert trials(model)[:1] == [(Kind.RESET, False)]
    assert len(model._engine.model.grove.serving) == 1
    assert not model._engine.model.grove._tried


def test_clusters_that_gain_take_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grove, "TRIAL", 512)
    monkeypatch.setattr(grove, "compare", lambda gains: (1.0, 0.5) if gains else (0.0, 0.0))
    events = blocks(3000, own=True)
    model = IHomer(without=OFF, drift=False)
    expected = outcome(model, events, [])
    assert trials(model) == [(Kind.SWITCH, True)]
    present = model._engine.model.grove
    assert len(present.serving) == 3
    assert all(cluster.forest is not None for cluster in present.serving)
    assert [learner.members.tolist() for learner in present.serving[1:]] == [
        cluster.members.tolist() for cluster in present.clusters
    ]
    # Neither cuts nor threads nor a restore in the middle of the trial change a bit.
    assert outcome(IHomer(without=OFF, drift=False, threads=2), events, [100, 1111]) == expected
    first = IHomer(without=OFF, drift=False)
    rows = outcome(first, events[:1400], [700])
    assert first._engine.model.grove._tried
    # It is not seen in the state how the stream was cut.
    other = IHomer(without=OFF, drift=False)
    outcome(other, events[:1400], [100, 900, 1111])
    present, theirs = (each._engine.model.grove for each in (first, other))
    assert digest({"grove": present}) == digest({"grove": theirs})
    second = pickle.loads(pickle.dumps(first))  # noqa: S301 - made one line above
    assert rows + outcome(second, events[1400:], [11]) == expected
