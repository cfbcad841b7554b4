"""A daemon's status in the forms that Prometheus reads.

In: a `Status`. Out: the text of ``/metrics``, beside our own metrics those of the process
(resident memory, processor time, open files). It is here so that nothing but the server needs
prometheus_client.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from ihomer import __version__
from ihomer.stream import metrics as m
from ihomer.stream.health import is_ready, reasons
from ihomer.stream.metrics import CATALOGUE, Kind, Metric
from ihomer.stream.status import Distribution, Labels, Status, Value


class Exposition:
    """Writes the metrics of `status`; each call of `render` shows one snapshot."""

    def __init__(self, status: Status) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Ours(status))
        ProcessCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The metrics in the form that an ``Accept`` header asks for, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class _Ours(Collector):
    """The catalogue's metrics that have values in one snapshot."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterator[Family]:
        snapshot = self._status.snapshot()
        now = self._status.clock()
        found = reasons(snapshot, now)
        values: dict[Metric, Mapping[Labels, Value]] = {
            **snapshot.values,
            m.BUILD: {(__version__, platform.python_version()): 1.0},
            m.READY: {(): float(is_ready(found))},
            m.REASON: {(each.subject, each.severity.value): 1.0 for each in found},
            m.LOOP_AGE: {(): snapshot.entered},
            m.FIGURES_AGE: {(): snapshot.published},
        }
        for metric in CATALOGUE:
            if values.get(metric):
                yield _family(metric, values[metric], now)


def _family(metric: Metric, series: Mapping[Labels, Value], now: float) -> Family:
    if metric.kind is Kind.HISTOGRAM:
        return _histogram(metric, series)
    make = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = make(metric.name, metric.help, labels=metric.labels)
    for labels, value in sorted(series.items()):
        if not isinstance(value, Distribution):
            family.add_metric(labels, now - value if metric.kind is Kind.AGE else value)
    return family


def _histogram(metric: Metric, series: Mapping[Labels, Value]) -> Family:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    ends = [*map(str, metric.bounds), "+Inf"]
    for labels, value in sorted(series.items()):
        if isinstance(value, Distribution):
            buckets = zip(ends, map(float, accumulate(value.counts)), strict=True)
            family.add_metric(labels, list(buckets), value.total)
    return family
