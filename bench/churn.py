"""Whether memory stays level while labels and features are born and vanish without end.

In: a number of events. Out: what a learner states of its memory, and the process's resident set,
over the events. A process of its own (`python -m bench.churn`), so that the resident set is only
the learner's.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import orjson

from bench.cell import resident_mb
from ihomer import IHomer
from ihomer.instances import Event
from ihomer.stream.measures import Measures
from ihomer.vocabulary import LEAST_ABSENCE

EVENTS = 200_000
ALIVE, EVERY = 40, 50  # labels at a time; one is born after so many events, and the oldest goes
_POINTS, _BATCH = 64, 100


def events(n: int, seed: int = 0, alive: int = ALIVE, every: int = EVERY) -> Iterator[Event]:
    """One to three labels with words of their own, words of all, and words that come but once."""
    rng = np.random.default_rng(seed)
    for t in range(n):
        oldest = t // every
        labels = np.unique(rng.integers(oldest, oldest + alive, 1 + rng.integers(3))).tolist()
        x = {f"w{label}_{word}": 1.0 for label in labels for word in rng.integers(6, size=2)}
        x |= {f"b{word}": 1.0 for word in rng.integers(200, size=4)}
        x[f"n{t}"] = 1.0
        yield Event(t, x, [f"l{label}" for label in labels])


def measure(n: int) -> dict[str, Any]:
    """Run a learner that forgets as soon as it may, with measures, over `n` events.

    Returns
    -------
    dict
        ``series``: events, bytes that the learner states, MB of 10^6 bytes resident;
        ``growth`` and ``rss_growth``: of the largest in the last quarter over the largest in the
        second one, as shares; ``labels``: ever; ``ids``, ``columns``: largest in use; ``seconds``.
    """
    model = IHomer(forget_labels_after=LEAST_ABSENCE, forget_features_after=LEAST_ABSENCE)
    measures, encoder = Measures(), model.encoder
    series: list[dict[str, float]] = []
    start, done = time.perf_counter(), 0
    stream = events(n)
    while part := list(islice(stream, _BATCH)):
        batch = encoder.encode(part)
        measures.update_batch(batch, model.predict_learn(batch))
        done += len(batch)
        if done * _POINTS // n > len(series):
            point = {"model_bytes": model.memory_bytes, "rss_mb": resident_mb()}
            series.append({"events": done, **point})
    return {
        "events": done,
        "seconds": time.perf_counter() - start,
        "labels": encoder.labels.ever,
        "ids": encoder.labels.seen,
        "columns": encoder.features.columns,
        "micro_f1": measures.result(encoder.labels.ever)["micro_f1"],
        "growth": _growth([point["model_bytes"] for point in series]),
        "rss_growth": _growth([point["rss_mb"] for point in series]),
        "series": series,
    }


def _growth(sizes: list[float]) -> float | None:
    quarter = len(sizes) // 4
    if not quarter:
        return None
    return max(sizes[-quarter:]) / max(sizes[quarter : 2 * quarter]) - 1.0


def main() -> None:
    """Print what was measured as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.churn", description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS, help="how many")
    sys.stdout.buffer.write(orjson.dumps(measure(parser.parse_args().events)) + b"\n")


if __name__ == "__main__":
    main()
