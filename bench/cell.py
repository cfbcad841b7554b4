"""A worker process: one task in, one cell out.

In: a `Task` as JSON on standard input. Out: lines of JSON on standard output, ``{"progress": n}``
while it goes on and ``{"cell": {...}}`` at the end. It is here so that every cell has a process of
its own: its peak memory is its own, and a peer that breaks takes nothing with it.

Run by `bench.grid`, never by people.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
import orjson

from bench import alarms, recovery
from bench.learners import Learner, parse_learner
from bench.passes import SERIES_MEASURES, Pass, spacing
from bench.results import Cell
from bench.streams import Stream
from bench.task import Task
from ihomer.errors import IhomerError
from ihomer.stream.assemble import warm_up
from ihomer.stream.latency import Latencies
from ihomer.stream.measures import Measures
from ihomer.stream.replay import peak_rss_mb

_LATENCY_EVENTS = 2_000
_LATENCY_SECONDS = 2.0

Progress = Callable[[int], None]


def measure(task: Task, on_progress: Progress = lambda _: None) -> Cell:
    """The cell of `task`; what goes wrong is its status, not an exception."""
    cell = Cell(task.stream, task.learner, task.seed, task.shuffle, extra=dict(task.options))
    try:
        learner = parse_learner(task.learner)
        reason = learner.missing()
        if reason is not None:
            cell.status, cell.reason = "unavailable", reason
            return cell
        stream = task.open()
        if learner.own:
            warm_up()
        else:
            _warm_up_measures()
        MEASUREMENTS[task.command](task, stream, learner, cell, on_progress)
    except IhomerError as error:
        cell.status, cell.reason = "failed", str(error)
    except Exception as error:  # noqa: BLE001 - a peer may raise anything; its cell says what
        cell.status, cell.reason = "failed", f"{type(error).__name__}: {error}".splitlines()[0]
    return cell


def _warm_up_measures() -> None:
    """Compile or load what scores: a peer's clock must not pay for it."""
    one = np.zeros(1, dtype=np.bool_)
    Measures().update(one[None, :], np.zeros((1, 1)), np.array([0, 1]), np.zeros(1, np.int32), ~one)


def _describe(cell: Cell, stream: Stream) -> None:
    survey = stream.survey()
    cell.length = survey.length
    cell.labels, cell.features = len(survey.shape.labels), survey.shape.features


def _conclude(cell: Cell, run: Pass, seconds: float, passes: int) -> None:
    cell.events = run.events
    cell.measures = run.result()
    cell.seconds, cell.passes = seconds, passes
    cell.events_per_second = run.events / seconds if seconds > 0 else math.nan
    cell.peak_rss_mb = max(peak_rss_mb(), peak_rss_mb(children=True))
    cell.model_bytes = run.model_bytes
    if run.timed_out:
        cell.status = "time-limit"
        cell.reason = f"stopped after {run.events:,} of {cell.length:,} events"


def _accuracy(
    task: Task, stream: Stream, learner: Learner, cell: Cell, on_progress: Progress
) -> None:
    """Measures over the whole stream and, prequentially, over its second half; and a series."""
    stream.keep()
    _describe(cell, stream)
    every = spacing(cell.length, 10)
    run = Pass(stream, learner, task.seed, task.time_limit, every=every)
    half, later = cell.length // 2, Measures()
    for batch, predictions in run.run():
        start = max(0, half - (run.events - len(batch)))
        if start < len(batch):
            rest = predictions.slice(start, len(batch))
            later.update_batch(batch.slice(start, len(batch)), rest)
        on_progress(run.events)
        if run.point_due():
            cell.series.append(run.point())
    _conclude(cell, run, run.seconds, 1)
    if cell.status == "done":
        found = later.result(run.encoder.labels.ever)
        cell.extra["second_half"] = {key: found[key] for key in SERIES_MEASURES}
    cell.extra["counts"] = run.candidate.counts()
    cell.extra["clusters"] = len(run.candidate.clusters())


def _throughput(
    task: Task, stream: Stream, learner: Learner, cell: Cell, on_progress: Progress
) -> None:
    """Passes with fresh models until they are long enough to be timed; one event at a time too."""
    stream.keep()
    _describe(cell, stream)
    seconds: list[float] = []
    while True:
        left = task.time_limit - sum(seconds)
        run = Pass(stream, learner, task.seed, left)
        run.finish(on_progress)
        if run.timed_out and seconds:
            break  # the passes before this one are what was measured
        seconds.append(run.seconds)
        last = run
        if run.timed_out or sum(seconds) >= task.min_seconds:
            break
    _conclude(cell, last, statistics.median(seconds), len(seconds))
    cell.extra["pass_seconds"] = seconds
    if "axis" not in task.options:
        cell.extra.update(_latency(stream, learner, task.seed))


def _latency(stream: Stream, learner: Learner, seed: int) -> dict[str, float]:
    """Quantiles of the time to predict and learn one event that comes alone, in microseconds."""
    run = Pass(stream, learner, seed, _LATENCY_SECONDS, batch_size=1)
    latencies = Latencies()
    before = 0.0
    for _ in run.run():
        latencies.add(run.candidate.seconds - before)
        before = run.candidate.seconds
        if run.events >= _LATENCY_EVENTS:
            break
    return {
        "p50_us": 1e6 * latencies.quantile(0.5),
        "p99_us": 1e6 * latencies.quantile(0.99),
        "latency_events": run.events,
    }


def _memory(
    task: Task, stream: Stream, learner: Learner, cell: Cell, on_progress: Progress
) -> None:
    """Size of process and model over the events; the stream is not kept in memory."""
    cell.extra["idle_rss_mb"] = resident_mb()
    length = task.limit or _length(stream)
    every = spacing(length or 100_000, 64)
    run = Pass(stream, learner, task.seed, task.time_limit, every=every)
    cell.extra["limit_bytes"] = run.candidate.memory_limit
    largest = 0
    for _ in run.run():
        on_progress(run.events)
        own = run.candidate.model_bytes if learner.own else None
        largest = max(largest, own or 0)
        if run.point_due():
            cell.series.append(
                {
                    "events": run.events,
                    "rss_mb": resident_mb(),
                    "model_bytes": own,
                    "seconds": run.seconds,
                }
            )
    cell.length = length or run.events
    cell.extra["largest_model_bytes"] = largest or None
    cell.labels = run.encoder.labels.ever
    cell.features = run.encoder.features.columns
    _conclude(cell, run, run.seconds, 1)


def _tenths(
    task: Task, stream: Stream, learner: Learner, cell: Cell, on_progress: Progress
) -> None:
    """Events per second of each tenth of a stream that is not kept in memory."""
    cell.extra["axis"] = "tenths"
    length = task.limit or _length(stream) or 0
    every = max(1, length // 10)
    run = Pass(stream, learner, task.seed, task.time_limit, every=every)
    ends: list[tuple[int, float]] = [(0, 0.0)]
    for _ in run.run():
        on_progress(run.events)
        if len(ends) <= 10 and run.events >= len(ends) * every:
            ends.append((run.events, run.seconds))
    cell.length = length
    cell.labels, cell.features = run.encoder.labels.ever, run.encoder.features.columns
    _conclude(cell, run, run.seconds, 1)
    cell.extra["tenths"] = [
        (last[0] - first[0]) / (last[1] - first[1]) for first, last in pairwise(ends)
    ]


def _drift(task: Task, stream: Stream, learner: Learner, cell: Cell, on_progress: Progress) -> None:
    """Recovery after every planted change, alarms, agreement of the partition with the truth."""
    stream.keep()
    _describe(cell, stream)
    run = recovery.run(stream, learner, task, cell, on_progress)
    _conclude(cell, run, run.seconds, 1)


def _detectors(
    task: Task, stream: Stream, learner: Learner, cell: Cell, on_progress: Progress
) -> None:
    """When there were alarms around planted changes."""
    stream.keep()
    _describe(cell, stream)
    run = alarms.run(stream, learner, task, cell, on_progress)
    _conclude(cell, run, run.seconds, 1)


def _threads(
    task: Task, stream: Stream, learner: Learner, cell: Cell, on_progress: Progress
) -> None:
    """Several models on streams of their own, each on a thread; all of them together."""
    stream.keep()
    _describe(cell, stream)
    count = int(task.options["value"])
    best = math.inf
    started = time.perf_counter()
    passes = 0
    while time.perf_counter() - started < task.min_seconds or not passes:
        runs = [Pass(stream, learner, task.seed, task.time_limit) for _ in range(count)]
        prepared = [list(stream.batches(run.encoder, learner.batch_size)) for run in runs]
        with ThreadPoolExecutor(count) as pool:
            start = time.perf_counter()
            list(pool.map(lambda run, batches: run.over(batches), runs, prepared))
            best = min(best, time.perf_counter() - start)
        passes += 1
        on_progress(passes * cell.length * count)
    _conclude(cell, runs[0], best, passes)
    cell.events *= count
    cell.events_per_second *= count


def _length(stream: Stream) -> int | None:
    source = stream.open()
    try:
        return source.length
    finally:
        source.close()


def resident_mb() -> float:
    """Resident set of this process now, in MB of 10^6 bytes; its peak where that is unknown."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123 - no file
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass  # a system without /proc
    return peak_rss_mb()


MEASUREMENTS: dict[str, Callable[[Task, Stream, Learner, Cell, Progress], None]] = {
    "accuracy": _accuracy,
    "throughput": _throughput,
    "tenths": _tenths,
    "memory": _memory,
    "drift": _drift,
    "detectors": _detectors,
    "threads": _threads,
}


def main() -> None:
    """Read a task, write progress and the cell."""
    task = Task(**json.load(sys.stdin))
    shown = time.monotonic()

    def on_progress(events: int) -> None:
        nonlocal shown
        if time.monotonic() - shown >= 0.5:
            shown = time.monotonic()
            _write({"progress": events})

    _write({"cell": asdict(measure(task, on_progress))})


def _write(found: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(found, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
