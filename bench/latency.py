"""How long one call takes on Yeast: `predict_one`, `predict_proba_one`, `learn_one`, one by one.

In: river's Yeast (bundled, 103 numeric features, 14 labels), in stream order. Out: the median, the
99th and the 99.9th percentile of each call in microseconds, of a model that learns on and of one
that was saved and loaded frozen. One thread, the garbage collector on, nothing left out: strides,
in which a model looks at itself, count as they come. Run ``python -m bench.latency``; other work on
the machine shows in the percentiles, so the best and the median of a few runs are told, and
beside the time on the clock that of the thread: what a call takes of a processor, waits left out.
A piece of plain Python that always does the same is measured beside them (`CONTROL`): by as much as
its percentiles lie apart, the machine alone draws those of a call apart.
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

CLOCKS = ("wall", "thread")
CONTROL = "always the same work"
_STEPS = 1000  # of it: some tens of microseconds

Event = tuple[dict[str, float], list[str]]
Spent = tuple[float, float]  # microseconds by both clocks


def yeast() -> list[Event]:
    """Features, and labels that are on."""
    found: list[Event] = []
    for x, y in datasets.Yeast():  # type: ignore[no-untyped-call]  # river's
        found.append((x, [name for name, on in y.items() if on]))
    return found


def measure(events: Sequence[Event], warm: int = WARM_UP) -> dict[str, list[Spent]]:
    """What every call takes, test-then-train, then of a frozen model over the same events.

    Parameters
    ----------
    events
        In stream order.
    warm
        So many are learned, and asked about, before anything is measured.
    """
    model = IHomer()
    taken: dict[str, list[Spent]] = {}
    for number, (x, y) in enumerate(events):
        calls: list[tuple[str, Callable[[], object]]] = [
            ("predict_one", lambda x=x: model.predict_one(x)),  # type: ignore[misc]
            ("predict_proba_one", lambda x=x: model.predict_proba_one(x)),  # type: ignore[misc]
            ("learn_one", lambda x=x, y=y: model.learn_one(x, y)),  # type: ignore[misc]
            (CONTROL, _control),
        ]
        for name, call in calls:
            spent = _spent(call)
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
                spent = _spent(lambda ask=ask, x=x: ask(x))  # type: ignore[misc]
                if number >= warm:
                    taken.setdefault(name, []).append(spent)
    return taken


def _control() -> int:
    total = 0
    for number in range(_STEPS):
        total += number
    return total


def _spent(call: Callable[[], object]) -> Spent:
    of_thread, start = time.thread_time_ns(), time.perf_counter_ns()
    call()
    wall, own = time.perf_counter_ns() - start, time.thread_time_ns() - of_thread
    return wall / 1e3, own / 1e3


def summary(runs: Sequence[dict[str, list[Spent]]]) -> dict[str, Any]:
    """By call and clock: best and median over the runs of each percentile."""
    found: dict[str, Any] = {}
    for name in runs[0]:
        # Of runs, percentiles and clocks.
        rows = np.array([np.percentile(np.array(run[name]), PERCENTILES, axis=0) for run in runs])
        best, median = rows.min(axis=0), np.median(rows, axis=0)
        found[name] = {
            clock: {
                f"p{percentile:g}": {"best": best[n, c].item(), "median": median[n, c].item()}
                for n, percentile in enumerate(PERCENTILES)
            }
            for c, clock in enumerate(CLOCKS)
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
        print(f"{'microseconds, best (median) of runs':<37}", end="")
        print("".join(f"{f'p{percentile:g}':>18}" for percentile in PERCENTILES))
        for name, clocks in found.items():
            for clock, row in clocks.items():
                told = [f"{each['best']:.0f} ({each['median']:.0f})" for each in row.values()]
                print(f"{name + ', ' + clock:<37}" + "".join(f"{each:>18}" for each in told))
    met = all(found[name]["wall"]["p99"]["best"] < target for name, target in TARGETS.items())
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
