"""How a learner gets over planted changes: drop, events to recover, area lost, alarms, partition.

In: a generated stream with its truth, a learner. Out: a cell's marks, recoveries and series. The
level that a learner has to come back to is its own: that of a fresh learner of the same kind that
begins where the change ends, after `FRESH` events; a concept that is harder than the one before
it is then no failure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import numpy as np

from bench.learners import Learner
from bench.passes import Pass, spacing
from bench.results import Cell
from bench.streams import Stream
from bench.task import Task
from ihomer.connectors.synthetic import SyntheticSource
from ihomer.errors import UsageError
from ihomer.instances import Batch, FloatArray
from ihomer.learners.base import Predictions, SparsePredictions

FRESH = 5_000  # events of a fresh learner, and that a recovery may take
LEVEL = 1_000  # the last ones of them make the level
WINDOW = 500  # events of the rolling mean that has to reach it
SHARE = 0.95  # of the level


def example_f1(batch: Batch, predictions: Predictions | SparsePredictions) -> FloatArray:
    """Example-based F1 of each event, float64 (n,); both sets empty: 1."""
    n = len(batch)
    true = np.diff(batch.y_indptr)
    rows = np.repeat(np.arange(n), true)
    if isinstance(predictions, SparsePredictions):
        on_rows = np.repeat(np.arange(n), np.diff(predictions.indptr))[predictions.on]
        on_labels = predictions.labels[predictions.on]
        predicted = np.bincount(on_rows, minlength=n)
        # One number for each pair of event and label.
        pairs = rows * predictions.n_labels + batch.y_indices
        hit = np.isin(pairs, on_rows * predictions.n_labels + on_labels)
    else:
        predicted = predictions.on.sum(axis=1)
        hit = predictions.on[rows, batch.y_indices]
    hits = np.bincount(rows, weights=hit, minlength=n)
    both = predicted + true
    return np.where(both > 0, 2.0 * hits / np.maximum(both, 1), 1.0)


def recovery(scores: FloatArray, start: int, stop: int, level: float) -> dict[str, Any]:
    """How a series of scores gets over one change.

    Parameters
    ----------
    scores
        float64 (n,), one per event.
    start, stop
        First event of the change, first one after its transition.
    level
        What a fresh learner reaches after the change.

    Returns
    -------
    dict
        ``before``, mean of the `WINDOW` events before; ``level``; ``drop``, before less the lowest
        rolling mean afterwards; ``events_to_recover``, events from `stop` until the mean of the
        last `WINDOW` events (of those since `stop` while they are fewer, but at least a fifth)
        is `SHARE` of the level, None if it never is within `FRESH`; ``area``, the sum over those
        events of what is missing to the level, in events' worth of F1.
    """
    after = scores[stop : stop + FRESH]
    before = float(np.mean(scores[max(0, start - WINDOW) : start])) if start else math.nan
    if not len(after):
        return {
            "before": before,
            "level": level,
            "drop": math.nan,
            "events_to_recover": None,
            "area": math.nan,
        }
    total = np.concatenate([[0.0], np.cumsum(after)])
    ends = np.arange(1, len(after) + 1)
    begins = np.maximum(0, ends - WINDOW)
    rolling = (total[ends] - total[begins]) / (ends - begins)
    settled = rolling[WINDOW // 5 - 1 :]
    reached = np.flatnonzero(settled >= SHARE * level)
    return {
        "before": before,
        "level": level,
        "drop": before - float(settled.min()) if len(settled) else math.nan,
        "events_to_recover": int(reached[0]) + WINDOW // 5 if len(reached) else None,
        "area": float(np.maximum(0.0, level - rolling).sum()),
    }


def run(
    stream: Stream, learner: Learner, task: Task, cell: Cell, on_progress: Callable[[int], None]
) -> Pass:
    """Fill `cell` with what the truth beside `stream` allows to be measured.

    Raises
    ------
    UsageError
        The stream is not a generated one.
    """
    source = stream.open()
    try:
        if not isinstance(source, SyntheticSource):
            raise UsageError(f"{stream.name}: no truth beside it, accepted: synthetic:...")
        truth = source.truth
    finally:
        source.close()
    every = spacing(cell.length, 64)
    main = Pass(stream, learner, task.seed, task.time_limit, window=WINDOW, every=every)
    scores: list[FloatArray] = []
    alarms: list[dict[str, Any]] = []
    counts = main.candidate.counts()
    for batch, predictions in main.run():
        scores.append(example_f1(batch, predictions))
        on_progress(main.events)
        now = main.candidate.counts()
        alarms += [
            {"events": main.events, "kind": kind, "count": now[kind] - counts.get(kind, 0)}
            for kind in now
            if now[kind] > counts.get(kind, 0)
        ]
        counts = now
        if main.point_due():
            point: dict[str, Any] = main.point()
            found = main.candidate.clusters()
            if found:
                point["ari"] = agreement(found, truth.partition(main.events - 1))
                point["clusters"] = len(found)
            cell.series.append(point)
    marks = [
        {"start": c.start, "stop": c.stop, "of": c.of, "how": c.how, "what": c.what}
        for c in truth.changes
        if c.start < main.events
    ]
    cell.extra["marks"] = marks
    cell.extra["alarms"] = counts
    cell.extra["alarms_at"] = alarms
    whole = np.concatenate(scores) if scores else np.zeros(0)
    cell.extra["recoveries"] = (
        [] if main.timed_out else _recoveries(whole, marks, stream, learner, task)
    )
    return main


def _recoveries(
    scores: FloatArray,
    marks: Sequence[dict[str, Any]],
    stream: Stream,
    learner: Learner,
    task: Task,
) -> list[dict[str, Any]]:
    found = []
    for mark in marks:
        stop = int(mark["stop"])
        level = fresh_level(stream, learner, task, stop)
        found.append({"at": mark["start"], **mark, **recovery(scores, mark["start"], stop, level)})
    return found


def fresh_level(stream: Stream, learner: Learner, task: Task, start: int) -> float:
    """Mean example-based F1 over the last events of a fresh learner that begins at `start`."""
    part = Stream(stream.name, seed=task.seed)
    part.hold(list(islice(stream.events(), start, start + FRESH)))
    fresh = Pass(part, learner, task.seed, task.time_limit)
    scores = [example_f1(batch, predictions) for batch, predictions in fresh.run()]
    return float(np.mean(np.concatenate(scores)[-LEVEL:])) if scores else math.nan


def agreement(found: Sequence[Sequence[str]], planted: Sequence[Sequence[str]]) -> float:
    """Adjusted Rand index of two partitions over the labels that both place; NaN for none."""
    from sklearn.metrics import adjusted_rand_score

    places = {label: number for number, group in enumerate(found) for label in group}
    truth = {label: number for number, group in enumerate(planted) for label in group}
    shared = [label for label in places if label in truth]
    if not shared:
        return math.nan
    return float(
        adjusted_rand_score([truth[label] for label in shared], [places[label] for label in shared])
    )
