"""The table of detectors: what is counted as a delay, a miss and a false alarm, and of what."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bench import alarms, detectors, drift
from bench.cell import measure
from bench.results import Cell
from bench.task import Task
from ihomer.errors import UsageError
from ihomer.learners.base import Predictions, SparsePredictions
from tests.label_streams import TRUTHS, Truth, label_batch

SUDDEN = {"of": "concept", "what": "redraw", "how": "sudden", "start": 1_000, "stop": 1_000}


def heard(marks: list[int], told: dict[str, list[int]], events: int = 20_000) -> Cell:
    cell = Cell("s", "ihomer", 1, events=events)
    cell.extra["marks"] = [{**SUDDEN, "start": start, "stop": start} for start in marks]
    cell.extra["told"] = {name: told.get(name, []) for name in (*alarms.LEVELS, *alarms.RIVERS)}
    return cell


def shown(table: object) -> list[str]:
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_delays_misses_and_false_alarms_are_those_of_the_definition() -> None:
    cells = [
        # The alarm at 1,000 comes before the first event of the change.
        heard([1_000], {"loss": [1_000, 1_040, 1_050], "priors": [6_000], "structure": [6_001]}),
        heard([1_000, 3_000], {"loss": [3_100], "cluster": [1_010, 3_020]}),
        heard([], {"loss": [5, 19_999], "river log loss": [7]}),
        Cell("s", "ihomer", 2, status="failed", extra={"told": {}, "marks": []}),
        Cell("s", "ihomer", 3, extra={"recoveries": []}),
    ]
    found = detectors.summary(cells)
    (row,) = found["detectors"]
    assert (row["of"], row["what"], row["how"], row["changes"]) == (
        "concept",
        "redraw",
        "sudden",
        3,
    )
    assert row["delay"]["loss"] == 100  # of 40, none, 100
    assert row["missed"]["loss"] == pytest.approx(1 / 3)
    assert row["delay"]["priors"] is None
    assert row["missed"]["priors"] == pytest.approx(2 / 3)  # the last event that counts
    assert row["missed"]["structure"] == 1.0  # one event too late
    assert row["delay"][detectors.ANY] == 20  # of 40, 10, 20
    assert row["missed"][detectors.ANY] == 0.0
    assert found["false_alarms"]["events"] == 22_000
    per = found["false_alarms"]["per_100000"]
    assert per["loss"] == pytest.approx(3 / 0.22)
    assert per[detectors.ANY] == pytest.approx(3 / 0.22)
    assert per["river log loss"] == pytest.approx(1 / 0.22)
    lines = shown(detectors.table(found))
    assert any(line.startswith("sudden concept") and "100 33%" in line for line in lines)
    assert any(line.startswith("false alarms / 100,000") and "13.64" in line for line in lines)


def test_without_cells_of_its_own_there_is_no_table() -> None:
    assert detectors.summary([Cell("s", "ihomer", 1)]) == {}
    assert not any("false" in line for line in shown(detectors.table({})))


@given(truth=TRUTHS, seed=st.integers(0, 1000))
def test_losses_are_those_of_their_definition(truth: Truth, seed: int) -> None:
    batch, rng = label_batch(truth), np.random.default_rng(seed)
    n, labels = len(batch), batch.n_labels
    known = np.arange(labels) < batch.known[:-1, None]
    scores = np.where(known, rng.choice([0.0, 1.0, *rng.random(5)], (n, labels)), np.nan)
    on = known & (rng.random((n, labels)) < 0.5)
    predictions = Predictions(on, scores, np.zeros(n, dtype=np.int64))
    for t, (log_loss, hamming) in enumerate(
        zip(*alarms.event_losses(batch, predictions), strict=True)
    ):
        y = truth[t] or set()
        losses, wrong, count = [], 0, 0
        for label in range(labels):
            if known[t, label]:
                p = min(max(scores[t, label], alarms.LEAST), 1 - alarms.LEAST)
                losses.append(-math.log(p if label in y else 1 - p))
            if known[t, label] or label in y:
                wrong += on[t, label] != (label in y)
                count += 1
        assert log_loss == pytest.approx(sum(losses) / max(1, len(losses)))
        assert hamming == pytest.approx(wrong / max(1, count))


def test_a_loss_over_all_labels_needs_a_probability_of_each() -> None:
    batch, nothing = label_batch([{0}]), np.zeros(0)
    some = SparsePredictions(
        9,
        np.zeros(2, dtype=np.int64),
        nothing.astype(np.int32),
        nothing,
        nothing.astype(np.bool_),
        np.zeros(1, dtype=np.int64),
    )
    with pytest.raises(UsageError, match="found 9 labels"):
        alarms.event_losses(batch, some)


def test_a_learner_is_listened_to() -> None:
    stream = "synthetic:linear?events=3000&drift=sudden&at=1500"
    cell = measure(Task("detectors", stream, "ihomer"))
    assert (cell.status, cell.events) == ("done", 3_000)
    (row,) = detectors.summary([cell])["detectors"]
    assert row["delay"]["loss"] <= 200
    assert row["delay"]["river log loss"] <= 200
    assert len(shown(drift.table([cell]))) == len(shown(drift.table([])))


def test_what_cannot_be_listened_to_is_said() -> None:
    stream = "synthetic:linear?events=300"
    assert "tells of no alarms" in measure(Task("detectors", stream, "majority")).reason
    assert "no truth" in measure(Task("detectors", "river:yeast", "ihomer", limit=50)).reason
