"""Many cells: worker processes side by side, resumed after an interruption, with time left.

In: tasks, a number of processes, a place for what is finished. Out: cells in the tasks' order. It
is here so that no command loses an hour's figures to a closed terminal.
"""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

import orjson
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

import bench
import ihomer
from bench.results import Cell, cell_from
from bench.task import Task
from ihomer.errors import InputError

_GRACE = 300.0  # seconds past three time limits after which a silent worker is ended


class Partial:
    """Finished cells on disk, one a line, until the whole run is done.

    A cell is taken over only if its task and the sources of both packages are what they were.

    Parameters
    ----------
    path
        The file; None: nothing is kept.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._sources = sources_digest()
        self._lock = threading.Lock()

    def found(self) -> dict[str, Cell]:
        """Cells of an interrupted run by the key of their task's digest."""
        if self._path is None or not self._path.exists():
            return {}
        cells: dict[str, Cell] = {}
        for line in self._path.read_bytes().splitlines():
            with contextlib.suppress(orjson.JSONDecodeError):  # the line that was being written
                kept = orjson.loads(line)
                if kept["sources"] == self._sources:
                    cells[kept["task"]] = cell_from(kept["cell"])
        return cells

    def add(self, task: Task, cell: Cell) -> None:
        """Keep one more cell."""
        if self._path is None:
            return
        kept = {"sources": self._sources, "task": digest(task), "cell": asdict(cell)}
        with self._lock, self._path.open("ab") as file:
            # The line break comes first: the line before it may have been torn off.
            file.write(b"\n" + orjson.dumps(kept))

    def remove(self) -> None:
        """Forget the run: its document is written."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def sources_digest() -> str:
    """Hash of the sources that a figure depends on."""
    found = hashlib.blake2b(digest_size=8)
    for package in (bench, ihomer):
        folder = Path(package.__path__[0])
        for path in sorted((*folder.rglob("*.py"), *folder.rglob("*.java"))):
            found.update(path.relative_to(folder).as_posix().encode())
            found.update(path.read_bytes())
    return found.hexdigest()


def digest(task: Task) -> str:
    """What a task is, in a line."""
    return hashlib.blake2b(
        orjson.dumps(task.to_dict(), option=orjson.OPT_SORT_KEYS), digest_size=12
    ).hexdigest()


def run_task(
    task: Task,
    on_progress: Callable[[int], None] = lambda _: None,
    on_start: Callable[[subprocess.Popen[bytes]], None] = lambda _: None,
    grace: float = _GRACE,
) -> Cell:
    """Run `task` in a process of its own; a worker that dies or hangs makes a failed cell."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "bench.cell"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(bench.__path__[0]).parent,
    )
    on_start(worker)
    assert worker.stdin is not None  # noqa: S101 - for the type checker: PIPE was asked for
    assert worker.stdout is not None  # noqa: S101 - the same
    assert worker.stderr is not None  # noqa: S101 - the same
    errors: list[bytes] = []
    reader = threading.Thread(target=lambda: errors.extend(worker.stderr or []), daemon=True)
    reader.start()
    late = threading.Timer(3 * task.time_limit + grace, worker.kill)
    late.start()
    cell = None
    try:
        with contextlib.suppress(BrokenPipeError):  # a worker that died at once says why below
            worker.stdin.write(orjson.dumps(task.to_dict()))
            worker.stdin.close()
        for line in worker.stdout:
            found = orjson.loads(line)
            if "cell" in found:
                cell = cell_from(found["cell"])
            else:
                on_progress(found["progress"])
        worker.wait()
    finally:
        late.cancel()
        if worker.poll() is None:
            worker.kill()
            worker.wait()
        reader.join(timeout=5.0)
        worker.stdout.close()
        worker.stderr.close()
    if cell is None:
        last = b"".join(errors).decode(errors="replace").strip().splitlines()
        reason = last[-1] if last else "the worker said nothing"
        cell = Cell(task.stream, task.learner, task.seed, task.shuffle, extra=dict(task.options))
        cell.status = "failed"
        cell.reason = f"worker ended with {worker.returncode}: {reason}"
    return cell


class Forecast:
    """Time left, from what the cells so far took.

    A cell is expected to take as long for each (event, label) pair as the same learner's cells so
    far, or, before there is one, as all cells; where the size of its stream is not known yet, as
    long as those took on average. Never more than its time limit.
    """

    def __init__(self) -> None:
        self._seen: dict[str, list[tuple[float, float]]] = {}
        self._sizes: dict[str, float] = {}

    def add(self, task: Task, cell: Cell, seconds: float) -> None:
        """The cell of `task` took so long."""
        if cell.length and cell.labels:
            self._sizes[task.stream] = float(cell.length * cell.labels)
        done = float(cell.events * cell.labels)
        self._seen.setdefault(task.learner, []).append((done, seconds))

    def left(self, tasks: Sequence[Task], jobs: int) -> float | None:
        """Seconds that `tasks` will take; None: nothing is known yet."""
        every = [pair for pairs in self._seen.values() for pair in pairs]
        if not every:
            return None
        total = 0.0
        for task in tasks:
            seen = self._seen.get(task.learner, every)
            pairs, spent = (sum(column) for column in zip(*seen, strict=True))
            expected = spent / len(seen)
            if pairs and task.stream in self._sizes:
                # Not less than the shortest: every process has to start.
                shortest = min(seconds for _, seconds in seen)
                expected = max(shortest, spent / pairs * self._sizes[task.stream])
            total += min(expected, 1.5 * task.time_limit + 60.0)
        return total / jobs


def run_tasks(
    tasks: Sequence[Task],
    jobs: int,
    partial: Partial,
    console: Console,
    *,
    quiet: bool = False,
) -> list[Cell]:
    """The cells of `tasks`, in their order.

    Parameters
    ----------
    tasks
        Each different from the others.
    jobs
        Processes side by side; 1 where time is what is measured.
    partial
        Where finished cells are kept and found.
    console
        For progress.
    quiet
        Show nothing.

    Raises
    ------
    InputError
        Every cell failed.
    KeyboardInterrupt
        After the workers have been ended; what is finished is kept.
    """
    kept = partial.found()
    cells = {digest(task): kept[digest(task)] for task in tasks if digest(task) in kept}
    todo = [task for task in tasks if digest(task) not in cells]
    if cells and not quiet:
        console.print(f"{len(cells)} of {len(tasks)} cells are there from before", highlight=False)
    forecast = Forecast()
    workers: set[subprocess.Popen[bytes]] = set()
    stopping = threading.Event()

    def one(task: Task, on_progress: Callable[[int], None]) -> tuple[Cell, float]:
        if stopping.is_set():
            raise KeyboardInterrupt
        start = time.monotonic()
        cell = run_task(task, on_progress, workers.add)
        return cell, time.monotonic() - start

    board = _Board(console, len(tasks), len(cells), quiet=quiet)
    with board, ThreadPoolExecutor(max_workers=jobs) as pool:
        running = {pool.submit(one, task, board.watcher(task)): task for task in todo}
        try:
            for future in as_completed(running):
                task = running[future]
                cell, seconds = future.result()
                cells[digest(task)] = cell
                partial.add(task, cell)
                forecast.add(task, cell, seconds)
                left = [other for other in todo if digest(other) not in cells]
                board.finished(task, cell, forecast.left(left, jobs))
        except BaseException:
            stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in list(workers):
                if worker.poll() is None:
                    worker.kill()
            raise
    made = [cells[digest(task)] for task in tasks]
    if made and all(cell.status == "failed" for cell in made):
        raise InputError(f"every cell failed, the first with: {made[0].reason}")
    return made


class _Board:
    """Progress: a bar for each running cell on a terminal, a line per finished cell elsewhere."""

    def __init__(self, console: Console, total: int, done: int, *, quiet: bool) -> None:
        self._console = console
        self._total = total
        self._done = done
        self._quiet = quiet
        self._rows: dict[str, TaskID] = {}
        self._bar: Progress | None = None
        if console.is_terminal and not quiet:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[left]}"),
                console=console,
            )
            self._all = self._bar.add_task("cells", total=total, completed=done, left="")

    def __enter__(self) -> _Board:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def watcher(self, task: Task) -> Callable[[int], None]:
        """What a running cell tells its progress."""
        bar = self._bar
        if bar is None:
            return lambda _: None
        row = bar.add_task(_title(task), total=None, left="", visible=False)
        self._rows[digest(task)] = row
        return lambda events: bar.update(row, completed=events, visible=True)

    def finished(self, task: Task, cell: Cell, left: float | None) -> None:
        """One more cell is done."""
        self._done += 1
        if self._quiet:
            return
        remaining = "" if not left else f", about {duration(left)} left"
        line = f"[{self._done}/{self._total}] {_title(task)}: {_outcome(cell)}{remaining}"
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)
        if self._bar is not None:
            self._bar.remove_task(self._rows[digest(task)])
            self._bar.update(self._all, completed=self._done, left=remaining.removeprefix(", "))


def _title(task: Task) -> str:
    parts = [task.stream, task.learner]
    if task.shuffle is not None:
        parts.append(f"shuffle {task.shuffle}")
    if task.seed != 1:
        parts.append(f"seed {task.seed}")
    return " ".join(parts)


def _outcome(cell: Cell) -> str:
    if cell.status in ("failed", "unavailable"):
        return f"{cell.status} ({cell.reason})"
    subset, micro = cell.measures["subset_accuracy"], cell.measures["micro_f1"]
    text = f"subset accuracy {subset:.4f}, micro-F1 {micro:.4f}, {cell.events_per_second:,.0f}/s"
    return text if cell.status == "done" else f"{text}, {cell.reason}"


def duration(seconds: float) -> str:
    """A time for people.

    >>> duration(42), duration(600), duration(9000)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
