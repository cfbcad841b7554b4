"""What is known of a running daemon: filled by those who do the work, read by those who look on.

In: figures, stages and reasons, from the loop and the threads beside it. Out: a `Snapshot` that
nobody changes any more. It is here so that a look from outside (metrics, health, ``ihomer top``,
the service manager) neither waits for the loop nor makes it wait, and sees figures that belong
together.

How to fill it, in full::

    status = Status()
    status.gather(figures)                  # called on the loop's thread before each publication
    while working:
        status.enter(Stage.WAIT)            # the loop lives, and is in this stage from now on
        ...
        status.enter(Stage.PROCESS)
        status.add(metrics.BATCHES)
        status.observe(metrics.BATCH_SECONDS, seconds)
        status.set(metrics.LAG, 17, "events", "3")           # label values in the metric's order
        status.mark(metrics.CHECKPOINT_AGE, "0")             # its age counts from now
        status.trouble("checkpoint", "no space left", Severity.DEGRADED)
        status.clear("checkpoint")
        status.turn()                       # a round is over: gather and publish if it is time

Figures become visible with the next publication, all at once; stages and reasons at once. `enter`
and `turn` belong to the loop's thread, the rest may be called from any. A series appears when it is
first given a value; `remove` takes one away, `forget` all those of a slot that is no longer here.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

from ihomer.stream.metrics import STAGE_SECONDS, Kind, Metric

PUBLISH_SECONDS = 1.0
# Gathering takes at most this share of the loop's time (the measures over many labels take long),
# but however long it takes, figures are not left to get old.
GATHER_SHARE = 0.01
LONGEST_SECONDS = 30.0

Labels: TypeAlias = tuple[str, ...]


class Stage(StrEnum):
    """What the loop is at."""

    START = "start"  # compiling, connecting; takes as long as it takes
    WAIT = "wait"  # for events
    PROCESS = "process"  # decoding, predicting, learning, handing to the sinks
    COMMIT = "commit"  # waiting for acknowledgements, committing
    CHECKPOINT = "checkpoint"  # copying the state
    RECOVER = "recover"  # loading a checkpoint, learning again
    STANDBY = "standby"  # nothing is ours to do
    STOP = "stop"


class Severity(StrEnum):
    """What a reason means for who asks."""

    DEGRADED = "degraded"  # the work goes on, and somebody should look
    NOT_READY = "not-ready"  # the work does not go on


class Reason(NamedTuple):
    """Why a daemon is degraded or not ready.

    Attributes
    ----------
    subject
        What it is about, a name that stands in this program: ``"source"``, ``"checkpoint"``, ...
    text
        One line: what was found.
    severity
        What it means.
    since
        When it came up, on the monotonic clock, in seconds.
    """

    subject: str
    text: str
    severity: Severity
    since: float


class Distribution(NamedTuple):
    """A histogram's state.

    Attributes
    ----------
    counts
        Number of values up to each bound and above the one before, the last beyond all bounds.
    total
        Sum of the values.
    """

    counts: tuple[int, ...]
    total: float


Value: TypeAlias = float | Distribution


class Snapshot(NamedTuple):
    """A daemon at one moment.

    Attributes
    ----------
    values
        Of each metric that has any, by label values: a number; for an age when it was marked, on
        the monotonic clock; for a histogram a `Distribution`.
    published
        When they were gathered, on the monotonic clock.
    stage, entered
        What the loop is at, and since when.
    reasons
        By subject, in alphabetical order.
    """

    values: Mapping[Metric, Mapping[Labels, Value]]
    published: float
    stage: Stage
    entered: float
    reasons: tuple[Reason, ...]


class _Histogram:
    """Counts between bounds."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def add(self, value: float, times: int) -> None:
        self._counts[bisect_left(self._bounds, value)] += times
        self._total += value * times

    def state(self) -> Distribution:
        return Distribution(tuple(self._counts), self._total)


class Status:
    """See the module.

    Parameters
    ----------
    clock
        Seconds that only grow; another one in tests.

    Attributes
    ----------
    clock
        As given.
    watched
        Whether anybody reads it; if not, nothing is gathered.

    Examples
    --------
    >>> from ihomer.stream.metrics import BATCHES
    >>> status = Status()
    >>> status.add(BATCHES)
    >>> status.snapshot().values.get(BATCHES) is None
    True
    >>> status.publish()
    >>> status.snapshot().values[BATCHES][()]
    1.0
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.watched = True
        self._lock = threading.Lock()  # between those who fill; a reader never takes it
        self._values: dict[Metric, dict[Labels, float]] = {}
        self._histograms: dict[Metric, dict[Labels, _Histogram]] = {}
        self._kept: dict[Metric, dict[Labels, Distribution]] = {}  # histograms of others
        self._gatherers: list[Callable[[], None]] = []
        now = clock()
        self._due = now
        self._turned = False
        self._reasons: tuple[Reason, ...] = ()
        # Each of these is replaced as a whole, so that a reader on another thread has either.
        self._stage = (Stage.START, now)
        self._published: tuple[Mapping[Metric, Mapping[Labels, Value]], float] = ({}, now)

    # Figures: from any thread.

    def add(self, metric: Metric, amount: float = 1.0, *labels: str) -> None:
        """Let a counter grow."""
        with self._lock:
            series = self._series(metric, labels, Kind.COUNTER)
            series[labels] = series.get(labels, 0.0) + amount

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Set a gauge, or a counter that is kept elsewhere."""
        with self._lock:
            self._series(metric, labels, Kind.GAUGE, Kind.COUNTER)[labels] = float(value)

    def mark(self, metric: Metric, *labels: str) -> None:
        """Let an age begin now."""
        with self._lock:
            self._series(metric, labels, Kind.AGE)[labels] = self.clock()

    def observe(self, metric: Metric, value: float, *labels: str, times: int = 1) -> None:
        """Count a value in a histogram, `times` times."""
        with self._lock:
            self._check(metric, labels, Kind.HISTOGRAM)
            series = self._histograms.setdefault(metric, {})
            if labels not in series:
                series[labels] = _Histogram(metric.bounds)
            series[labels].add(value, times)

    def put(self, metric: Metric, distribution: Distribution, *labels: str) -> None:
        """Set a histogram that is kept elsewhere.

        Raises
        ------
        ValueError
            It has another number of buckets than the metric.
        """
        if len(distribution.counts) != len(metric.bounds) + 1:
            raise ValueError(f"{metric.name}: {len(distribution.counts)} buckets")
        with self._lock:
            self._check(metric, labels, Kind.HISTOGRAM)
            self._kept.setdefault(metric, {})[labels] = distribution

    def remove(self, metric: Metric, *labels: str) -> None:
        """Take one series away; nothing happens if there is none."""
        with self._lock:
            for table in self._tables():
                table.get(metric, {}).pop(labels, None)

    def forget(self, label: str, value: str) -> None:
        """Take every series away whose label `label` has `value`."""
        with self._lock:
            for metric, series in [each for table in self._tables() for each in table.items()]:
                if label in metric.labels:
                    at = metric.labels.index(label)
                    for labels in [labels for labels in series if labels[at] == value]:
                        del series[labels]

    def _tables(self) -> tuple[dict[Metric, dict[Labels, Any]], ...]:
        return self._values, self._histograms, self._kept

    def _series(self, metric: Metric, labels: Labels, *kinds: Kind) -> dict[Labels, float]:
        self._check(metric, labels, *kinds)
        return self._values.setdefault(metric, {})

    @staticmethod
    def _check(metric: Metric, labels: Labels, *kinds: Kind) -> None:
        if metric.kind not in kinds or len(labels) != len(metric.labels):
            raise TypeError(f"{metric.name}: a {metric.kind} with labels {metric.labels}")

    # Reasons: from any thread.

    def trouble(self, subject: str, text: str, severity: Severity = Severity.NOT_READY) -> None:
        """Say why the daemon is not well; the same subject's earlier reason is replaced.

        Its text is shown to whoever may ask: no secrets, and nothing of an event's content.
        """
        with self._lock:
            kept = {reason.subject: reason for reason in self._reasons}
            old = kept.get(subject)
            same = old is not None and old.severity is severity
            since = old.since if same and old is not None else self.clock()
            kept[subject] = Reason(subject, text, severity, since)
            self._reasons = tuple(kept[name] for name in sorted(kept))

    def clear(self, subject: str) -> None:
        """Take a reason back; nothing happens if there is none."""
        if any(reason.subject == subject for reason in self._reasons):
            with self._lock:
                self._reasons = tuple(one for one in self._reasons if one.subject != subject)

    def judge(self, subject: str, text: str | None) -> None:
        """`trouble` with a text, `clear` without."""
        if text is None:
            self.clear(subject)
        else:
            self.trouble(subject, text)

    # The loop's own.

    def gather(self, gatherer: Callable[[], None]) -> None:
        """Have `gatherer` called on the loop's thread before each publication; it calls `set`."""
        self._gatherers.append(gatherer)

    def drop(self, gatherer: Callable[[], None]) -> None:
        """Have `gatherer` called no more."""
        self._gatherers.remove(gatherer)

    def enter(self, stage: Stage) -> None:
        """Say that the loop lives and is at `stage` from now on, also if it was before."""
        before, entered = self._stage
        now = self.clock()
        self._stage = (stage, now)
        self.add(STAGE_SECONDS, now - entered, before.value)

    def turn(self) -> None:
        """Say that a round of the loop is over: gathers and publishes if it is time."""
        start = self.clock()
        if start < self._due:
            return
        self.publish()
        end = self.clock()
        wait = min(max(PUBLISH_SECONDS, (end - start) / GATHER_SHARE), LONGEST_SECONDS)
        # The first time tells nothing: it loads what later ones find loaded.
        self._due = end + (wait if self._turned else PUBLISH_SECONDS)
        self._turned = True

    def publish(self) -> None:
        """Gather, and make the figures of now visible, if there is anybody to see them."""
        if not self.watched:
            return
        for gatherer in self._gatherers:
            gatherer()
        with self._lock:
            values: dict[Metric, dict[Labels, Value]] = {
                metric: dict(series) for metric, series in self._values.items()
            }
            for metric, series in self._kept.items():
                values[metric] = dict(series)
            for metric, histograms in self._histograms.items():
                states = {labels: each.state() for labels, each in histograms.items()}
                values[metric] = {**values.get(metric, {}), **states}
        self._published = (values, self.clock())

    # For those who look on: from any thread, without waiting.

    def snapshot(self) -> Snapshot:
        """The figures of the last publication, and stage and reasons of now."""
        values, published = self._published
        stage, entered = self._stage
        return Snapshot(values, published, stage, entered, self._reasons)
