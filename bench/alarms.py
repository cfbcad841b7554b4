"""When detectors tell of planted changes: the learner's own by level, and river's ADWIN beside it.

In: a generated stream with its truth, ihomer. Out: a cell's marks, and when there were alarms, as
the number of events learned by then. river's ADWIN, with its defaults, gets what any learner could
give it: the loss of each event over all labels, once as the mean logarithmic loss and once as
Hamming loss. It says nothing of direction, so its alarms count where its mean has risen, and once
more as they come; ours are of rises too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from river import drift

from bench.learners import IHOMER, Learner
from bench.passes import Pass
from bench.results import Cell
from bench.streams import Stream
from bench.task import Task
from ihomer.connectors.synthetic import SyntheticSource
from ihomer.drift.events import Kind
from ihomer.errors import UsageError
from ihomer.instances import Batch, FloatArray
from ihomer.learners.base import Predictions, SparsePredictions

LEVELS = ("cluster", "loss", "priors", "structure")  # ours
RIVERS = ("river log loss", "river Hamming", "river any change")
LEAST = 1e-4  # probabilities count as no closer to 0 and 1


class _Detector(Protocol):
    """What is used of river's."""

    @property
    def drift_detected(self) -> bool:
        """Whether the latest number brought an alarm."""

    @property
    def estimation(self) -> float:
        """Mean of the window."""

    def update(self, x: float) -> Any:
        """Add a number."""


def event_losses(
    batch: Batch, predictions: Predictions | SparsePredictions
) -> tuple[FloatArray, FloatArray]:
    """Mean logarithmic loss and Hamming loss of each event over the labels known before it.

    Labels that are on but not known yet count as wrong in the second and not in the first: they
    have no probability. Without any label both are 0.

    Raises
    ------
    UsageError
        There are too many labels for a probability of each.
    """
    if isinstance(predictions, SparsePredictions):
        raise UsageError(
            f"found {predictions.n_labels:,} labels, of which some have no probability,"
            " accepted: fewer, so that each has one"
        )
    n = len(batch)
    y = np.zeros((n, batch.n_labels), dtype=np.bool_)
    y[np.repeat(np.arange(n), np.diff(batch.y_indptr)), batch.y_indices] = True
    scores = np.clip(predictions.scores, LEAST, 1.0 - LEAST)
    known = ~np.isnan(scores)
    right = np.where(known, np.where(y, scores, 1.0 - scores), 1.0)
    wrong = (y != predictions.on).sum(axis=1)
    return (
        -np.log(right).sum(axis=1) / np.maximum(1, known.sum(axis=1)),
        wrong / np.maximum(1, (known | y).sum(axis=1)),
    )


def run(
    stream: Stream, learner: Learner, task: Task, cell: Cell, on_progress: Callable[[int], None]
) -> Pass:
    """Fill `cell` with the stream's changes and with the alarms.

    Raises
    ------
    UsageError
        The stream is not a generated one, or the learner has no detectors to listen to.
    """
    source = stream.open()
    try:
        if not isinstance(source, SyntheticSource):
            raise UsageError(f"{stream.name}: no truth beside it, accepted: synthetic:...")
        changes = source.truth.changes
    finally:
        source.close()
    if learner.name != IHOMER:
        raise UsageError(f"{learner.word}: tells of no alarms, accepted: {IHOMER}, {IHOMER}?...")
    told: dict[str, list[int]] = {level: [] for level in (*LEVELS, *RIVERS)}
    on_log_loss: _Detector = drift.ADWIN()  # type: ignore[no-untyped-call]  # river has no types
    on_hamming: _Detector = drift.ADWIN()  # type: ignore[no-untyped-call]  # the same
    main = Pass(stream, learner, task.seed, task.time_limit)
    heard = 0
    for batch, predictions in main.run():
        before = main.events - len(batch)
        for event in main.candidate.events(heard):
            heard = event.number
            if event.kind is Kind.ALARM and event.level.value in told:
                told[event.level.value].append(event.event)
        log_loss, hamming = event_losses(batch, predictions)
        for place, (loss, share) in enumerate(zip(log_loss, hamming, strict=True), before + 1):
            change = _change(on_log_loss, float(loss))
            if change:
                told["river any change"].append(place)
            if change > 0:
                told["river log loss"].append(place)
            if _change(on_hamming, float(share)) > 0:
                told["river Hamming"].append(place)
        on_progress(main.events)
    cell.extra["told"] = told
    cell.extra["marks"] = [
        {"start": c.start, "stop": c.stop, "of": c.of, "how": c.how, "what": c.what}
        for c in changes
        if c.start < main.events
    ]
    return main


def _change(detector: _Detector, value: float) -> float:
    """Feed a number; by how much the detector's mean has changed with an alarm, 0 without one."""
    before = detector.estimation
    detector.update(value)
    return detector.estimation - before if detector.drift_detected else 0.0
