"""What a cell says of itself, measurement by measurement."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from bench import drift, learners, memory, readme, run, scaling
from bench.cell import measure
from bench.results import Cell
from bench.streams import REAL
from bench.task import Task
from ihomer.errors import InputError
from ihomer.learners.baselines import BASELINES

YEAST = Task("accuracy", "river:yeast", "ihomer", limit=300, time_limit=60.0)
DRIFTING = "synthetic:linear?events=3000&drift=sudden&at=1500"


def shown(table: object) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_pass_past_its_time_limit_says_how_far_it_came() -> None:
    cell = measure(replace(YEAST, learner="river-br-lr", time_limit=0.05))
    assert cell.status == "time-limit"
    assert 0 < cell.events < cell.length == 300
    assert cell.reason == f"stopped after {cell.events} of 300 events"


def test_a_peer_that_is_not_installed_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learners.Learner, "missing", lambda _: "needs a JDK")
    cell = measure(YEAST)
    assert (cell.status, cell.reason, cell.events) == ("unavailable", "needs a JDK", 0)


def test_a_learner_that_breaks_is_failed_with_its_class_and_message() -> None:
    cell = measure(replace(YEAST, learner="ihomer?max_features=nonsense"))
    assert cell.status == "failed"
    assert cell.reason.startswith(("TypeError", "ValueError", "max_features"))


def test_accuracy_does_not_depend_on_how_it_was_measured() -> None:
    found = [measure(replace(YEAST, command=name)) for name in ("accuracy", "throughput", "memory")]
    assert [cell.status for cell in found] == ["done"] * 3
    for cell in found[1:]:
        assert cell.measures == found[0].measures


def test_a_short_stream_is_repeated_until_it_can_be_timed() -> None:
    cell = measure(replace(YEAST, command="throughput", min_seconds=0.2))
    seconds = cell.extra["pass_seconds"]
    assert cell.passes == len(seconds) > 1
    assert sum(seconds) >= 0.2
    assert sum(seconds[:-1]) < 0.2
    assert cell.events_per_second == pytest.approx(
        300 / sorted(seconds)[len(seconds) // 2], rel=0.5
    )
    assert 0.0 < cell.extra["p50_us"] <= cell.extra["p99_us"]
    assert cell.extra["latency_events"] == 300


def test_threads_are_counted_together() -> None:
    task = replace(YEAST, command="threads", options={"axis": "threads", "value": 2})
    cell = measure(task)
    assert (cell.status, cell.events, cell.length) == ("done", 600, 300)
    assert cell.events_per_second == pytest.approx(600 / cell.seconds)


def test_memory_has_a_series_and_its_table() -> None:
    cell = measure(replace(YEAST, command="memory"))
    assert len(cell.series) > 2
    assert all(point["rss_mb"] > 10 and point["model_bytes"] > 0 for point in cell.series)
    assert cell.peak_rss_mb >= max(point["rss_mb"] for point in cell.series) * 0.99
    assert not math.isnan(memory.growth(cell))
    assert "ihomer" in shown(memory.table([cell, Cell("s", "gone", 1, status="failed")]))


def test_drift_has_marks_recoveries_and_alarms() -> None:
    cell = measure(Task("drift", DRIFTING, "ihomer"))
    assert cell.status == "done", cell.reason
    (mark,) = cell.extra["marks"]
    assert (mark["start"], mark["stop"], mark["of"], mark["how"]) == (
        1500,
        1500,
        "concept",
        "sudden",
    )
    (found,) = cell.extra["recoveries"]
    assert found["drop"] > 0.1
    assert found["area"] > 0.0
    assert any(alarm["events"] > 1500 for alarm in cell.extra["alarms_at"])
    assert all("ari" in point for point in cell.series[len(cell.series) // 2 :])
    assert "sudden redraw" in shown(drift.table([cell]))


def test_drift_needs_a_truth() -> None:
    cell = measure(replace(YEAST, command="drift"))
    assert cell.status == "failed"
    assert "no truth beside it" in cell.reason


def test_axes_of_scaling_are_streams_that_open() -> None:
    for axis, uris in scaling.AXES.items():
        for value, uri in uris.items():
            stream = Task("throughput", uri, "ihomer").open()
            assert stream.declared(), (axis, value)


def test_many_labels_are_an_axis_with_figures_of_its_own() -> None:
    def chosen(**flags: object) -> list[float]:
        given = {"quick": False, "axes": ["labels-many"], "million": False, **flags}
        arguments = SimpleNamespace(min_seconds=1.0, time_limit=9.0, **given)
        return [task.options["value"] for task in scaling.make_tasks(["ihomer"], arguments)]

    assert chosen() == [1_000, 10_000, 100_000]
    assert chosen(million=True) == [1_000, 10_000, 100_000, 1_000_000]
    assert chosen(quick=True) == []
    found = Cell("synthetic:text?labels=1000", "ihomer", 1, events=10, seconds=0.001)
    found.extra = {"axis": "labels-many", "value": 1000}
    found.measures = {"precision_at_1": 0.75, "psp_at_3": 0.5}
    found.events_per_second, found.model_bytes = 10_000.0, 25_000_000
    text = shown(scaling.many_labels([found]))
    for part in ("1,000", "10,000", "25", "0.7500", "0.5000"):
        assert part in text


def test_streams_without_files_are_left_out_of_a_run(tmp_path: Path) -> None:
    assert run.present(REAL, tmp_path) == ["yeast"]
    steps = {step.name: step for step in run.quick_steps(tmp_path)}
    assert steps["accuracy"].flags[1] == "yeast"
    assert {step.name for step in run.full_steps(tmp_path)} >= set(steps)


def test_an_interrupted_run_knows_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = run.Step("drift", "drift", ("--seeds", "1"))
    path = tmp_path / "finished.json"
    run.Finished(path).add(step)
    assert run.Finished(path).has(step)
    assert not run.Finished(path).has(step._replace(flags=("--seeds", "2")))
    monkeypatch.setattr(run, "sources_digest", lambda: "changed")
    assert not run.Finished(path).has(step)
    run.Finished(path).forget()
    assert not path.exists()


def test_the_readmes_table_is_made_of_cells() -> None:
    def cell(learner: str, value: float) -> Cell:
        found = dict.fromkeys(readme.MEASURES, value)
        return Cell("yeast", learner, 1, events=2417, labels=14, measures=found)

    ours = cell("ihomer", 0.5)
    cells = [ours, *(cell(name, 0.1 * (i + 1)) for i, name in enumerate(BASELINES))]
    timed = replace(cell("ihomer", 0.5), events_per_second=12_345.6)
    lines = readme.table(cells, [timed]).splitlines()
    figures = "0.500 (0.300) | 0.500 (0.100) | 0.500 (0.300) | 0.500 (0.300)"
    assert lines[2:] == [f"| yeast | 2,417 | 14 | {figures} | 12,346 |"]
    with pytest.raises(InputError, match="no stream with ihomer"):
        readme.table([ours], [])
