"""From a processor, a source and sinks to figures in a `Status`.

In: the parts of a running daemon. Out: functions for `Status.gather`. It is here so that every
daemon, whatever it promises of delivery, shows the same figures of the same things.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from ihomer.connectors.base import Sink, Source
from ihomer.drift.events import Kind, Level
from ihomer.learners.ihomer import IHomer
from ihomer.stream import metrics as m
from ihomer.stream.late_labels import LateLabels
from ihomer.stream.processor import Processor
from ihomer.stream.status import Distribution, Status

Gatherer: TypeAlias = Callable[[], None]

# Of the rolling measures those that are counts tell nothing that is not told elsewhere.
_COUNTS = frozenset({"events", "events_without_labels", "labels", "scored_pairs", "likely_pairs"})


def watch_processor(status: Status, processor: Processor, slot: str = "0") -> Gatherer:
    """Events, latencies, rolling measures, dead letters and the model of one slot."""
    learner = processor.main.learner
    labels = learner.encoder.labels

    def gather() -> None:
        status.set(m.EVENTS, processor.events, slot)
        for reason, count in processor.dead_letters.counts.items():
            status.set(m.DEAD_LETTERS, count, slot, reason)
        latencies = processor.latencies
        distribution = Distribution(latencies.between(m.PREDICT_SECONDS.bounds), latencies.seconds)
        status.put(m.PREDICT_SECONDS, distribution, slot)
        for measure, figure in processor.main.rolling().items():
            if measure not in _COUNTS:
                status.set(m.ROLLING, figure, slot, measure)
        status.set(m.LABELS, len(labels), slot)
        status.set(m.LABELS_EVER, labels.ever, slot)
        status.set(m.LABELS_DROPPED, labels.dropped, slot)
        status.set(m.FEATURES, len(learner.encoder.features), slot)
        if isinstance(learner, IHomer):
            _model(learner)
        if processor.late is not None:
            _late(processor.late)

    def _late(late: LateLabels) -> None:
        status.set(m.LABEL_BUFFER_EVENTS, late.join.waiting, slot)
        status.set(m.LABEL_BUFFER_BYTES, late.join.n_bytes, slot)
        for outcome, count in late.join.counts.items():
            status.set(m.LATE_LABELS, count, slot, outcome)

    def _model(learner: IHomer) -> None:
        status.set(m.LEARNED, learner.n_learned, slot)
        status.set(m.MODEL_BYTES, learner.memory_bytes, slot)
        status.set(m.CLUSTERS, len(learner.clusters()), slot)
        counts = learner.event_counts
        status.set(m.PARTITION_CHANGES, counts.get((Kind.SWITCH, Level.PARTITION), 0), slot)
        for (kind, level), count in counts.items():
            status.set(m.LEARNER_EVENTS, count, slot, kind.value, level.value)

    return gather


def watch_source(status: Status, source: Source) -> Gatherer:
    """How far a source's partitions are behind; those that are no longer read here disappear."""
    shown: set[tuple[str, str]] = set()

    def gather() -> None:
        lag = {(topic, str(partition)): n for (topic, partition), n in source.lag().items()}
        for topic, partition in shown - set(lag):
            status.remove(m.LAG, topic, partition)
        for (topic, partition), behind in lag.items():
            status.set(m.LAG, behind, topic, partition)
        shown.clear()
        shown.update(lag)

    return gather


def watch_sinks(status: Status, sinks: Mapping[str, Sink | None]) -> Gatherer:
    """What is under way to each sink; None is one that is not wanted."""

    def gather() -> None:
        for name, sink in sinks.items():
            if sink is not None:
                messages, size = sink.queued()
                status.set(m.QUEUE_MESSAGES, messages, name)
                status.set(m.QUEUE_BYTES, size, name)

    return gather
