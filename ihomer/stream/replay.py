"""A prequential replay: a source that ends, test-then-train, figures.

In: a source and a processor. Out: the processor's measures, a series of rolling figures if one is
wanted, and a summary. Nothing is shuffled, left out or warmed up on.
"""

from __future__ import annotations

import math
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from ihomer.connectors.base import Source
from ihomer.learners.ihomer import IHomer
from ihomer.stream.chronicle import by_kind
from ihomer.stream.processor import Processor
from ihomer.stream.settings import Settings

_PACKAGES = ("ihomer", "river", "numpy", "scipy", "numba", "orjson")


def replay(
    source: Source,
    processor: Processor,
    batch_size: int,
    limit: int | None = None,
    every: int | None = None,
    on_series: Callable[[int], None] = lambda _: None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> float:
    """Run `source` through `processor` to its end.

    Parameters
    ----------
    source, processor
        Both stay open.
    batch_size
        Largest number of events of a step.
    limit
        Stop after so many records.
    every, on_series
        Call back with the number of events whenever it is a multiple of `every`.
    on_progress
        Called with the number of records after each step.

    Returns
    -------
    float
        Seconds from the first record to the last acknowledged prediction.

    Raises
    ------
    InputError, UnavailableError
        Of the source or the sinks, or a malformed event without a place for dead letters, or too
        many of them.
    """
    start = time.perf_counter()
    done = 0
    while limit is None or done < limit:
        size = batch_size if limit is None else min(batch_size, limit - done)
        if every is not None:
            size = min(size, every - processor.events % every)
        records = source.next_batch(size, timeout=1.0)
        if records is None:
            break
        if not records:
            continue
        gained = processor.process(records)
        if processor.chronicle is not None:
            processor.chronicle.flush()  # there is little of it, and somebody may be following
        done += len(records)
        halt = processor.halt()
        if halt is not None:
            processor.flush()
            raise halt
        if every is not None and gained and processor.events % every == 0:
            on_series(processor.events)
        on_progress(done)
    processor.finish()
    processor.flush()
    return time.perf_counter() - start


def series_point(processor: Processor, events: int) -> dict[str, Any]:
    """Rolling figures of every learner after so many events."""
    return {
        "events": events,
        "ihomer": processor.main.rolling(),
        **{name: baseline.rolling() for name, baseline in processor.baselines.items()},
    }


def peak_rss_mb(*, children: bool = False) -> float:
    """Largest resident set of this process so far, in MB of 10^6 bytes.

    With `children`, of the largest of its children that have ended.
    """
    who = resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF
    peak = resource.getrusage(who).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def summary(source: Source, processor: Processor, settings: Settings) -> dict[str, Any]:
    """What ``ihomer replay --json`` prints.

    `events_per_second` counts predicting, scoring and learning; with parsing also decoding, names
    and ids. Latencies run from the arrival of a batch in the processor to its predictions.
    """
    main = processor.main
    encoder = main.learner.encoder
    learner = main.learner
    parsing = processor.parsing_seconds
    figures: dict[str, Any] = {
        "stream": source.name,
        "events": processor.events,
        "labels": encoder.labels.ever,
        "features": source.n_attributes or len(encoder.features),
        "measures": main.result(),
        "baselines": {name: other.result() for name, other in processor.baselines.items()},
        "events_per_second": _rate(processor.events, main.seconds),
        "events_per_second_with_parsing": _rate(processor.events, main.seconds + parsing),
        "batch_size": settings.batch_size,
        "p50_us": 1e6 * processor.latencies.quantile(0.5),
        "p99_us": 1e6 * processor.latencies.quantile(0.99),
        "peak_rss_mb": peak_rss_mb(),
        "dead_letters": dict(processor.dead_letters.counts),
        "labels_dropped": encoder.labels.dropped,
    }
    if processor.late is not None:
        figures["late_labels"] = processor.late.figures()
    if isinstance(learner, IHomer):
        figures["model"] = {
            "bytes": learner.memory_bytes,
            "clusters": [sorted(cluster) for cluster in learner.clusters()],
            **learner.counts,
            "events": by_kind(learner.event_counts),
        }
        figures["configuration"] = {"seed": settings.seed, "learner": learner._get_params()}
    figures["versions"] = {
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
        "cpus": os.cpu_count(),
    }
    return figures


def _rate(events: int, seconds: float) -> float:
    return events / seconds if seconds > 0 else math.nan
