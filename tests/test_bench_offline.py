"""The offline reference: its decision against the formula, its halves, its document."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import offline
from bench.results import read_document
from bench.streams import Stream
from ihomer.errors import InputError
from ihomer.instances import BoolArray, Event, FloatArray

SMALL = "synthetic:tree?events=400&labels=4&seed=3"


def score(
    labels: BoolArray, p: FloatArray, y: BoolArray, counts: int, n: int, share: float, alpha: float
) -> float:
    """The formula, label by label."""
    independent, evidence = 1.0, 0.0
    for label, on in enumerate(labels):
        prior = min(0.99, max(0.01, float(y[:, label].mean())))
        independent *= prior if on else 1 - prior
        q = min(0.99, max(0.01, float(p[label])))
        if on:
            evidence += math.log(q / (1 - q)) - math.log(prior / (1 - prior))
    return math.log(share * counts / n + (1 - share) * independent) + alpha * evidence


@given(seed=st.integers(0, 2**32), n=st.integers(2, 12), n_labels=st.integers(1, 4))
@settings(max_examples=40)
def test_the_set_that_is_chosen_has_the_best_score(seed: int, n: int, n_labels: int) -> None:
    rng = np.random.default_rng(seed)
    y, p = rng.random((n, n_labels)) < 0.4, rng.random((n, n_labels))
    decision = offline.JointDecision(y, p)
    later = rng.random((5, n_labels))
    for row, chosen in zip(later, decision.decide(later), strict=True):
        candidates = [*y, row >= 0.5]
        scores = [
            score(
                c, row, y, int((y == c).all(axis=1).sum()), n, decision.seen_share, decision.alpha
            )
            for c in [*candidates, chosen]
        ]
        assert any((chosen == c).all() for c in candidates)
        assert scores[-1] == pytest.approx(max(scores), rel=1e-9, abs=1e-9)


def test_an_events_own_set_does_not_count_when_the_weights_are_chosen() -> None:
    # Every set occurs once: what has been seen says nothing, whatever the events suggest.
    y = np.array([[bool(i >> k & 1) for k in range(4)] for i in range(16)])
    p = np.where(y, 0.9, 0.1)
    decision = offline.JointDecision(y, p)
    assert (decision.decide(p) == y).all()
    own = decision._decide(p, 0.999, 0.0, own=y)
    assert (own == y).mean() < 1.0


def test_candidates_are_bounded_and_ties_do_not_depend_on_the_order_of_events() -> None:
    rng = np.random.default_rng(0)
    y = rng.random((1000, 12)) < 0.5
    p = np.full((1000, 12), 0.4)
    order = rng.permutation(1000)
    one, other = offline.JointDecision(y, p), offline.JointDecision(y[order], p[order])
    assert len(one._sets) == offline.CANDIDATES
    assert (one._sets == other._sets).all()


@pytest.mark.parametrize(
    ("truth", "predicted", "expected"),
    [
        ([[1, 0], [1, 1]], [[1, 0], [0, 1]], (0.5, 0.8)),
        ([[0, 0]], [[0, 0]], (1.0, 0.0)),
        ([[1, 0]], [[0, 1]], (0.0, 0.0)),
    ],
)
def test_figures(
    truth: list[list[int]], predicted: list[list[int]], expected: tuple[float, float]
) -> None:
    found = offline.figures(np.array(truth, dtype=np.bool_), np.array(predicted, dtype=np.bool_))
    assert found == pytest.approx(expected)


def test_halves_keep_order_and_put_labels_by_name() -> None:
    stream = Stream(SMALL)
    events = [
        Event(0, {"a": 1.0}, on=["z"]),
        Event(1, {"b": 2.0}, on=None),
        Event(2, {"b": 3.0}, on=["k", "z"]),
        Event(3, {"a": 4.0, "b": 5.0}, on=[]),
    ]
    stream.hold(events)
    found = offline.halves(stream)
    assert found.x_first.tolist() == [[1.0, 0.0]]
    assert found.x_second.tolist() == [[0.0, 3.0], [4.0, 5.0]]
    assert found.y_first[:, -1].tolist() == [True]
    assert found.y_second.sum(axis=0).tolist()[-1] == 1
    stream.hold(events[:2])
    with pytest.raises(InputError, match="at least 2"):
        offline.halves(stream)


@pytest.mark.parametrize("varied", [0, 1, 2])
def test_labels_that_never_change_keep_their_probability(varied: int) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 3))
    y = np.zeros((60, 4), dtype=np.bool_)
    y[:, 1] = True
    y[:, 2 : 2 + varied] = x[:, :varied] > 0
    own, later = offline.forest(x, y, x[:7] + 1e-9, seed=1, trees=20)
    for found, shape in ((own, (60, 4)), (later, (7, 4))):
        assert found.shape == shape
        assert (found[:, 0] == 0.0).all()
        assert (found[:, 1] == 1.0).all()
    if varied:
        assert ((own[:, 2] >= 0.5) == y[:, 2]).mean() > 0.9
        assert ((later[:, 2] >= 0.5) == y[:7, 2]).all()


def test_the_command_writes_a_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "offline.json"

    def main(*arguments: str) -> None:
        monkeypatch.setattr(
            sys, "argv", ["offline", "--streams", SMALL, "--trees", "5", *arguments]
        )
        offline.main()

    main("--json", str(path))
    cells = read_document(path).cells
    assert [cell.learner for cell in cells] == ["forest-threshold", "forest-joint"]
    assert [cell.events for cell in cells] == [200, 200]
    assert "subset accuracy" in capsys.readouterr().out

    main("--json", "--quiet")
    written: dict[str, Any] = orjson.loads(capsys.readouterr().out)
    assert written["command"] == "offline"
    assert [cell["measures"] for cell in written["cells"]] == [cell.measures for cell in cells]
