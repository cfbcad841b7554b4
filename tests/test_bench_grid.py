"""The grid: workers, what they leave behind when interrupted, how long is left."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from bench import accuracy, grid
from bench.command import make_parser, make_tasks, numbers, run_document
from bench.grid import Forecast, Partial, digest, run_task, run_tasks
from bench.results import Cell, read_document
from bench.task import Task
from ihomer.errors import InputError, UsageError

YEAST = Task("accuracy", "river:yeast", "majority", limit=50, time_limit=60.0)


def quiet() -> Console:
    return Console(file=io.StringIO())


def test_a_worker_measures_its_cell() -> None:
    cell = run_task(YEAST)
    assert (cell.status, cell.reason) == ("done", "")
    assert (cell.events, cell.length, cell.labels, cell.features) == (50, 50, 14, 103)
    assert 0.0 < cell.measures["micro_f1"] < 1.0
    assert [point["events"] for point in cell.series] == [10, 20, 30, 40, 50]


def test_a_stream_that_is_not_there_makes_a_failed_cell_with_one_line() -> None:
    cell = run_task(Task("accuracy", "no-such-file.arff", "majority"))
    assert cell.status == "failed"
    assert "no-such-file.arff" in cell.reason
    assert "\n" not in cell.reason


def test_a_worker_that_dies_makes_a_failed_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    def dying(*_: object, **options: object) -> subprocess.Popen[bytes]:
        code = "import sys; sys.stderr.write('out of luck'); sys.exit(3)"
        return popen([sys.executable, "-c", code], **options)  # type: ignore[call-overload,no-any-return]

    popen = subprocess.Popen
    monkeypatch.setattr("bench.grid.subprocess.Popen", dying)
    cell = run_task(YEAST)
    assert (cell.status, cell.reason) == ("failed", "worker ended with 3: out of luck")


def test_a_worker_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def hanging(*_: object, **options: object) -> subprocess.Popen[bytes]:
        return popen([sys.executable, "-c", "import time; time.sleep(600)"], **options)  # type: ignore[call-overload,no-any-return]

    popen = subprocess.Popen
    monkeypatch.setattr("bench.grid.subprocess.Popen", hanging)
    task = Task("accuracy", "river:yeast", "majority", time_limit=0.1)
    assert run_task(task, grace=0.2).status == "failed"


def test_what_is_finished_is_taken_over_and_the_rest_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.json.partial"
    other = Task("accuracy", "river:yeast", "no-change", limit=50)
    kept = Cell(
        "river:yeast", "majority", 1, measures={"micro_f1": 0.125, "macro_f1": float("nan")}
    )
    Partial(path).add(YEAST, kept)
    with path.open("ab") as file:
        file.write(b'\n{"task": "torn')  # the line that was being written when it ended
    ran: list[Task] = []

    def running(task: Task, *_: object) -> Cell:
        ran.append(task)
        return Cell(task.stream, task.learner, task.seed, status="unavailable", reason="test")

    monkeypatch.setattr(grid, "run_task", running)
    cells = run_tasks([YEAST, other], 1, Partial(path), quiet())
    assert ran == [other]
    assert cells[0].measures["micro_f1"] == 0.125
    assert cells[1].status == "unavailable"
    assert set(Partial(path).found()) == {digest(YEAST), digest(other)}


def test_cells_of_other_sources_or_another_task_are_not_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p"
    Partial(path).add(YEAST, Cell("river:yeast", "majority", 1))
    assert list(Partial(path).found()) == [digest(YEAST)]
    assert (
        digest(Task("accuracy", "river:yeast", "majority", limit=51)) not in Partial(path).found()
    )
    monkeypatch.setattr(grid, "sources_digest", lambda: "changed")
    assert Partial(path).found() == {}


def test_that_every_cell_failed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = Cell("river:yeast", "majority", 1, status="failed", reason="broken")
    monkeypatch.setattr(grid, "run_task", lambda *_: failed)
    with pytest.raises(InputError, match="broken"):
        run_tasks([YEAST], 1, Partial(None), quiet())


def test_the_forecast_knows_slow_learners() -> None:
    forecast = Forecast()
    slow, fast = (Task("accuracy", "s", name) for name in ("slow", "fast"))
    assert forecast.left([slow], 1) is None
    small = Cell("s", "any", 1, events=50, length=50, labels=2)
    forecast.add(slow, small, 100.0)
    forecast.add(fast, small, 2.0)
    assert forecast.left([slow, fast, fast], 2) == pytest.approx(52.0)
    assert forecast.left([Task("accuracy", "s", "new")], 1) == pytest.approx(51.0)
    # A stream ten times as large, known from another learner's cell.
    forecast.add(
        replace(fast, stream="big"), Cell("big", "fast", 1, events=500, length=500, labels=2), 4.0
    )
    assert forecast.left([replace(slow, stream="big")], 1) == pytest.approx(960.0)
    assert forecast.left([replace(slow, stream="unknown")], 1) == pytest.approx(100.0)


@pytest.mark.parametrize("text", ["a", "1-", "-3", "1,,2", "2.5"])
def test_lists_of_numbers_are_checked(text: str) -> None:
    with pytest.raises(UsageError, match="accepted: numbers and ranges"):
        numbers(text)


def test_tasks_are_stream_by_stream_and_unseeded_learners_run_once() -> None:
    parser = make_parser("accuracy", "", "river:yeast", "ihomer")
    arguments = parser.parse_args(
        ["--learners", "ihomer,majority", "--seeds", "1-2", "--shuffles", "7"]
    )
    found = [(t.learner, t.seed, t.shuffle) for t in make_tasks("accuracy", arguments)]
    assert found == [
        ("ihomer", 1, None),
        ("majority", 1, None),
        ("ihomer", 2, None),
        ("ihomer", 1, 7),
        ("majority", 1, 7),
        ("ihomer", 2, 7),
    ]


def test_a_document_is_written_whole_and_read_again(tmp_path: Path) -> None:
    parser = make_parser("accuracy", "", "river:yeast", "majority")
    path = tmp_path / "out.json"
    arguments = parser.parse_args(["--json", str(path), "--limit", "20", "--quiet"])
    tasks = make_tasks("accuracy", arguments)
    document = run_document("accuracy", tasks, arguments, 1, quiet())
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]
    again = read_document(path)
    assert again.cells[0].measures == pytest.approx(document.cells[0].measures, nan_ok=True)
    assert again.arguments["limit"] == 20


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"{", "no benchmark document"), (b'{"format": 9}', "found format 9"), (b"[]", "document")],
)
def test_what_is_no_document_is_said(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=complaint):
        read_document(path)


def test_a_bad_command_line_is_one_line_with_exit_code_2() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.accuracy", "--learners", "ihomr"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("bench: error: learner: found 'ihomr', accepted: ihomer,")
    assert done.stderr.count("\n") == 1


def test_progress_of_a_worker_is_json_lines() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.cell"],
        input=orjson.dumps(YEAST.to_dict()),
        capture_output=True,
        check=True,
    )
    assert list(orjson.loads(done.stdout.splitlines()[-1])) == ["cell"]


def test_ratios_are_to_the_better_baseline_and_to_the_re_run() -> None:
    def cell(learner: str, subset: float, hamming: float, shuffle: int | None = None) -> Cell:
        found = dict.fromkeys(accuracy.RATIOS, 0.0)
        found.update(subset_accuracy=subset, hamming_loss=hamming)
        return Cell("s", learner, 1, shuffle, measures=found)

    cells = [
        cell("ihomer", 0.6, 0.1),
        cell("majority", 0.3, 0.4),
        cell("no-change", 0.2, 0.2),
        cell("ihomer", 0.5, 0.1, shuffle=1),
    ]
    accuracy.add_ratios(cells, {"s": {"subset_accuracy": 0.5, "hamming_loss": 0.2}})
    found = cells[0].extra["ratios"]
    assert found["better_baseline"] == pytest.approx({"subset_accuracy": 2.0, "hamming_loss": 0.5})
    assert found["mlhat"] == pytest.approx({"subset_accuracy": 1.2, "hamming_loss": 0.5})
    # The re-run is in file order, and no baseline was run on this shuffle.
    assert cells[3].extra["ratios"] == {"mlhat": {}, "better_baseline": {}}
