"""Events per second of learners on streams: predicting, learning and scoring with all measures.

In: names of streams and learners. Out: a table with ratios to MLHAT's re-run and to river's binary
relevance in the same run, and a document whose summary has the ratios that count (`summary`). One
process at a time; a short stream is gone through again with fresh models until a timing lasts
`--min-seconds`, and the median pass counts. Latencies are those of events that come one at a time.

MLHAT's rates are of another machine and day: they are rescaled by what river's binary relevance
over logistic regression does on yeast in this run, against what it did beside them. With
``--flat N`` a generated stream of N events is gone through instead, and the rates of its tenths
are compared: cost must not grow with what has been seen.
"""

from __future__ import annotations

import argparse
import inspect
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.command import (
    add_results,
    console,
    end,
    make_parser,
    make_tasks,
    positive,
    results_folder,
    run_document,
    seconds,
)
from bench.learners import IHOMER
from bench.report.names import HEADLINE_STREAMS, PEER, SORTED_STREAMS, is_ours
from bench.report.reference import mlhat_rates, read_reference
from bench.report.terminal import print_throughput
from bench.results import Cell
from bench.streams import GENERATED
from bench.task import Task
from ihomer.learners.ihomer import IHomer

YEAST, WIDE, LONG = "yeast", "delicious", "imdb"
# River's binary relevance over logistic regression on yeast, on the machine and day of MLHAT's
# re-run, in events per second.
PEER_THEN = 817.0
# What speed is judged on: the headline's streams and the two sorted ones.
JUDGED = (*HEADLINE_STREAMS, *SORTED_STREAMS)
NOMINAL_YEAST = 25_000.0  # events per second on yeast at which a rate on delicious is stated
TENTHS = 10
FLAT = f"{GENERATED}tree"


def main() -> None:
    """Measure and print."""
    parser = make_parser("throughput", __doc__.splitlines()[0], "real", IHOMER)
    parser.add_argument("--min-seconds", type=seconds, default=2.0, metavar="SECONDS")
    parser.add_argument(
        "--flat", type=positive, metavar="N", help=f"tenths of N events of {FLAT} instead"
    )
    add_results(parser)
    arguments = parser.parse_args()
    errors = console(errors=True)
    out = errors if arguments.json == "-" else console()
    if arguments.flat is not None:
        _flat(arguments, errors, out)
        return
    tasks = make_tasks("throughput", arguments, min_seconds=arguments.min_seconds)
    if arguments.streams is None and arguments.learners is None:
        tasks = complete(tasks)
    rates = mlhat_rates(read_reference(results_folder(arguments)))
    document = run_document(
        "throughput", tasks, arguments, 1, errors, lambda cells: summary(cells, rates)
    )
    if not arguments.quiet:
        print_throughput(document.cells, out, rates)
        print_summary(document.summary, out)


def complete(tasks: Sequence[Task]) -> list[Task]:
    """Of a default run: river on yeast, which is the unit, and two threads on delicious."""
    threaded = "threads" in inspect.signature(IHomer).parameters
    done = []
    for task in tasks:
        done.append(task)
        if task.stream == YEAST:
            done.append(replace(task, learner=PEER, min_seconds=4 * task.min_seconds))
        if task.stream == WIDE and threaded:
            done.append(replace(task, learner=f"{IHOMER}?threads=2"))
    return done


def summary(cells: Sequence[Cell], mlhat: Mapping[str, float]) -> dict[str, Any]:
    """The figures that speed is judged by, as far as `cells` tell them; others are absent.

    Parameters
    ----------
    cells
        Of one run.
    mlhat
        MLHAT's events per second in its re-run, by stream.

    Returns
    -------
    dict
        ``scale``: what MLHAT's rates are multiplied by; and by learner (ihomer and its variants)
        ``to_mlhat``: by stream; ``geometric_mean`` and ``smallest`` with ``smallest_stream`` of
        those in `JUDGED`, and ``lacking``, the streams of `JUDGED` that were not measured;
        ``yeast_to_river``; ``delicious_rate`` and the same ``delicious_at_nominal``, at
        `NOMINAL_YEAST` events per second on yeast; ``imdb_seconds``. ``two_threads``: the rate on
        delicious with two threads to that with one.
    """
    rates: dict[str, dict[str, float]] = {}
    for cell in cells:
        if cell.status == "done" and "axis" not in cell.extra and cell.shuffle is None:
            rates.setdefault(cell.learner, {})[cell.stream] = cell.events_per_second
    peer = rates.get(PEER, {}).get(YEAST)
    found: dict[str, Any] = {} if peer is None else {"scale": peer / PEER_THEN, "river_yeast": peer}
    for learner, own in rates.items():
        if not is_ours(learner):
            continue
        figures: dict[str, Any] = {}
        if peer is not None:
            ratios = {
                s: rate / (mlhat[s] * found["scale"]) for s, rate in own.items() if s in mlhat
            }
            judged = {stream: ratios[stream] for stream in JUDGED if stream in ratios}
            figures["to_mlhat"] = ratios
            if judged:
                figures["geometric_mean"] = statistics.geometric_mean(judged.values())
                figures["smallest_stream"] = min(judged, key=lambda stream: judged[stream])
                figures["smallest"] = min(judged.values())
            figures["lacking"] = [stream for stream in JUDGED if stream not in judged]
            if YEAST in own:
                figures["yeast_to_river"] = own[YEAST] / peer
        if WIDE in own:
            figures["delicious_rate"] = own[WIDE]
            if YEAST in own:
                figures["delicious_at_nominal"] = own[WIDE] * NOMINAL_YEAST / own[YEAST]
        long = [cell for cell in cells if (cell.stream, cell.learner) == (LONG, learner)]
        if LONG in own:
            figures["imdb_seconds"] = long[-1].seconds
        found[learner] = figures
    one, two = (rates.get(word, {}).get(WIDE) for word in (IHOMER, f"{IHOMER}?threads=2"))
    if one and two:
        found["two_threads"] = two / one
    return found


def print_summary(found: Mapping[str, Any], out: Console) -> None:
    """The summary in words, one line for each learner."""
    if "scale" in found:
        text = f"{PEER} on yeast: {found['river_yeast']:,.0f}/s; MLHAT's rates times"
        out.print(Text(f"{text} {found['scale']:.3f}"))
    for learner, figures in found.items():
        if not isinstance(figures, Mapping):
            continue
        parts = []
        if "geometric_mean" in figures:
            parts.append(f"{figures['geometric_mean']:,.0f} times MLHAT (geometric mean)")
            parts.append(f"least {figures['smallest']:,.0f} on {figures['smallest_stream']}")
        if figures.get("lacking"):
            parts.append(f"without {', '.join(figures['lacking'])}")
        if "yeast_to_river" in figures:
            parts.append(f"{figures['yeast_to_river']:.1f} times {PEER} on yeast")
        if "delicious_rate" in figures:
            parts.append(f"delicious {figures['delicious_rate']:,.0f}/s")
        if "delicious_at_nominal" in figures:
            at = figures["delicious_at_nominal"]
            parts.append(f"{at:,.0f}/s there where yeast does {NOMINAL_YEAST:,.0f}/s")
        if "imdb_seconds" in figures:
            parts.append(f"imdb in {figures['imdb_seconds']:.1f} s")
        if parts:
            out.print(Text(f"{learner}: {'; '.join(parts)}"), soft_wrap=True)
    if "two_threads" in found:
        out.print(Text(f"two threads on delicious: {found['two_threads']:.2f} times one"))


def _flat(arguments: argparse.Namespace, errors: Console, out: Console) -> None:
    """Rates of the tenths of a long stream."""
    if arguments.streams is None:
        arguments.streams = [f"{FLAT}?events={arguments.flat}"]
    tasks = make_tasks("throughput", arguments)
    tasks = [replace(t, command="tenths", limit=arguments.flat) for t in tasks]
    document = run_document("throughput", tasks, arguments, 1, errors, flat_summary)
    if arguments.quiet:
        return
    table = Table(title="events per second in each tenth", box=None)
    heads = ("stream", "learner", *map(str, range(1, TENTHS + 1)), "last / second")
    for i, head in enumerate(heads):
        table.add_column(head, justify="left" if i < 2 else "right")
    for cell in document.cells:
        rates = [f"{rate:,.0f}" for rate in cell.extra.get("tenths", [])]
        table.add_row(cell.stream, cell.learner, *rates, f"{last_to_second(cell):.3f}")
    out.print(table, soft_wrap=True)


def flat_summary(cells: Sequence[Cell]) -> dict[str, Any]:
    """By stream and learner the last tenth's rate to the second one's."""
    return {
        f"{cell.stream} {cell.learner}": {"last_to_second": last_to_second(cell)} for cell in cells
    }


def last_to_second(cell: Cell) -> float:
    """The last tenth's rate to the second one's: the first tenth is still filling up; or NaN."""
    rates = cell.extra.get("tenths", [])
    return rates[-1] / rates[1] if len(rates) == TENTHS else math.nan


if __name__ == "__main__":
    end(main)
