"""How long one call takes on Yeast: `predict_one`, `predict_proba_one`, `learn_one`, one by one.

In: river's Yeast (bundled, 103 numeric features, 14 labels), in stream order. Out: the median, the
99th and the 99.9th percentile of each call in microseconds, of a model that learns on and of one
that was saved and loaded frozen. One thread, the garbage collector on, nothing left out: strides,
in which a model looks at itself, count as they come. Run ``python -m bench.latency``; other work on
the machine shows in the percentiles, so the best and the median of a few runs are told.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from river import datasets

from ihomer import IHomer, warm_up

WARM_UP = 400  # events learned before the first call is measured
PERCENTILES = (50.0, 99.0, 99.9)
TARGETS = {"predict_one": 100.0, "learn_one": 300.0}  # microseconds, of the 99th percentile

Event = tuple[dict[str, float], list[str]]


def yeast() -> list[Event]:
    """Features, and labels that are on."""
    found: list[Event] = []
    for x, y in datasets.Yeast():  # type: ignore[no-untyped-call]  # river's
        found.append((x, [name for name, on in y.items() if on]))
    return found


def measure(events: Sequence[Event], warm: int = WARM_UP) -> dict[str, list[float]]:
    """Microseconds of every call, test-then-train, then of a frozen model over the same events.

    Parameters
    ----------
    events
        In stream order.
    warm
        So many are learned, and asked about, before anything is measured.
    """
    model = IHomer()
    taken: dict[str, list[float]] = {}
    for number, (x, y) in enumerate(events):
        calls: list[tuple[str, Callable[[], object]]] = [
            ("predict_one", lambda x=x: model.predict_one(x)),  # type: ignore[misc]
            ("predict_proba_one", lambda x=x: model.predict_proba_one(x)),  # type: ignore[misc]
            ("learn_one", lambda x=x, y=y: model.learn_one(x, y)),  # type: ignore[misc]
        ]
        for name, call in calls:
            spent = _microseconds(call)
            if number >= warm:
                taken.setdefault(name, []).append(spent)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model")
        frozen = IHomer.load(Path(folder) / "model", frozen=True)
        for number, (x, _) in enumerate(events):
            for name, ask in (
                ("predict_one, frozen", frozen.predict_one),
                ("predict_proba_one, frozen", frozen.predict_proba_one),
            ):
                spent = _microseconds(lambda ask=ask, x=x: ask(x))  # type: ignore[misc]
                if number >= warm:
                    taken.setdefault(name, []).append(spent)
    return taken


def _microseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) / 1e3


def percentiles(taken: Sequence[float]) -> list[float]:
    """Of one run, in the order of `PERCENTILES`."""
    found: list[float] = np.percentile(np.array(taken), PERCENTILES).tolist()
    return found


def summary(runs: Sequence[dict[str, list[float]]]) -> dict[str, Any]:
    """By call: best and median over the runs of each percentile."""
    found = {}
    for name in runs[0]:
        rows = np.array([percentiles(run[name]) for run in runs])
        found[name] = {
            f"p{percentile:g}": {"best": best, "median": median}
            for percentile, best, median in zip(
                PERCENTILES, rows.min(axis=0), np.median(rows, axis=0), strict=True
            )
        }
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code says whether the targets were met in the best run."""
    parser = argparse.ArgumentParser(prog="python -m bench.latency", description=__doc__)
    parser.add_argument("--events", type=int, default=2417, help="of Yeast; default: all")
    parser.add_argument("--runs", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="JSON, nothing else")
    options = parser.parse_args(arguments)
    if not options.events > WARM_UP or options.runs < 1:
        parser.error(f"--events: accepted: more than {WARM_UP}; --runs: 1 or more")
    warm_up()
    events = yeast()[: options.events]
    found = summary([measure(events) for _ in range(options.runs)])
    if options.json:
        print(json.dumps(found))
    else:
        print(f"{'microseconds, best (median) of runs':<36}", end="")
        print("".join(f"{f'p{percentile:g}':>18}" for percentile in PERCENTILES))
        for name, row in found.items():
            told = [f"{each['best']:.0f} ({each['median']:.0f})" for each in row.values()]
            print(f"{name:<36}" + "".join(f"{each:>18}" for each in told))
    met = all(found[name]["p99"]["best"] < target for name, target in TARGETS.items())
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
