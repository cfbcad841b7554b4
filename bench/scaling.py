"""How the cost of an event grows: with events, features, labels, clusters, and over threads.

In: a learner. Out: a table of seconds per event along each axis with the exponent of a power law
fitted to them, one of what many labels cost and how well they are ranked, and a throughput
document whose cells carry their axis. One process at a time. Over
threads, each thread has a model and a stream of its own in one process, which is how a service
that embeds several models runs them; the figure is what all of them do together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.table import Table

from bench.command import console, end, make_parser, run_document, seconds
from bench.learners import expand
from bench.report.scaling import Sweep, sweeps
from bench.results import Cell
from bench.streams import GENERATED
from bench.task import Task

_BASE = f"{GENERATED}linear"

# By axis: a stream for each value; everything else stays as it is.
AXES: dict[str, dict[float, str]] = {
    "events": {
        n: f"{_BASE}?features=30&labels=8&events={n}" for n in (10_000, 30_000, 100_000, 300_000)
    },
    "features": {
        n: f"{_BASE}?features={n}&irrelevant={n // 2}&labels=8&events=10000"
        for n in (10, 30, 100, 300)
    },
    # All in one block, so that what grows is the size of a cluster.
    "labels": {
        n: f"{_BASE}?features=30&labels={n}&blocks=1&cardinality=3&events=10000"
        for n in (8, 32, 128, 512)
    },
    # Sparse, as texts are; the words are the same ones in number.
    "labels-many": {
        n: f"{GENERATED}text?labels={n}&events=100000" for n in (1_000, 10_000, 100_000)
    },
    "clusters": {
        n: f"{GENERATED}blocks?features=30&labels=256&blocks={n}&events=10000" for n in (4, 16, 64)
    },
    "threads": dict.fromkeys((1, 2), f"{_BASE}?features=30&labels=64&blocks=8&events=20000"),
}
# Where it is asked for.
MILLION: dict[float, str] = {1_000_000: f"{GENERATED}text?labels=1000000&events=100000"}
QUICK_EVENTS = 100_000  # the largest stream of a quick run
_MANY = "labels-many"
_RANKING = (
    *("precision_at_1", "precision_at_3", "precision_at_5", "psp_at_1", "psp_at_3", "psp_at_5"),
    *("coverage_at_5", "micro_f1", "subset_accuracy"),
)


def make_tasks(words: Sequence[str], arguments: object) -> list[Task]:
    """One task for each axis, value and learner."""
    quick, least, limit, chosen, million = (
        getattr(arguments, name)
        for name in ("quick", "min_seconds", "time_limit", "axes", "million")
    )
    axes = dict(AXES)
    if million:
        axes[_MANY] = {**AXES[_MANY], **MILLION}
    return [
        Task(
            "threads" if axis == "threads" else "throughput",
            uri,
            learner.word,
            time_limit=limit,
            min_seconds=0.0 if axis == _MANY else least,
            options={"axis": axis, "value": value},
        )
        for axis, uris in axes.items()
        for value, uri in uris.items()
        if axis in (chosen or axes)
        and not (quick and (axis == _MANY or (axis == "events" and value > QUICK_EVENTS)))
        for learner in expand(words)
    ]


def main() -> None:
    """Measure and print."""
    parser = make_parser("scaling", __doc__.splitlines()[0], _BASE, "ihomer")
    parser.add_argument("--min-seconds", type=seconds, default=1.0, metavar="SECONDS")
    parser.add_argument("--quick", action="store_true", help="leave out the longest streams")
    parser.add_argument("--axes", nargs="+", choices=tuple(AXES), help="these alone")
    parser.add_argument("--million", action="store_true", help="labels-many to 1,000,000 too")
    arguments = parser.parse_args()
    errors = console(errors=True)
    tasks = make_tasks(arguments.learners or [arguments.default_learners], arguments)
    document = run_document("throughput", tasks, arguments, 1, errors)
    if not arguments.quiet:
        out = errors if arguments.json == "-" else console()
        out.print(table(document.cells))
        if any(cell.extra.get("axis") == _MANY for cell in document.cells):
            out.print(many_labels(document.cells))


def table(cells: Sequence[Cell]) -> Table:
    """One row for each axis and learner."""
    shown = Table(title="scaling")
    for head in ("axis", "learner", "value: us per event (threads: speed-up)", "exponent (95%)"):
        shown.add_column(head)
    for sweep in sweeps(cells):
        scale = 1.0 if sweep.axis == "threads" else 1e6
        points = ", ".join(f"{value:,g}: {scale * y:,.2f}" for value, y in sweep.points)
        shown.add_row(sweep.axis, sweep.learner, points, _exponent(sweep))
    return shown


def many_labels(cells: Sequence[Cell]) -> Table:
    """One row for each number of labels and learner: cost, and how well they are ranked."""
    shown = Table(title=_MANY)
    for head in ("labels", "learner", "events/s", "model MB", *_RANKING):
        shown.add_column(head.replace("precision_at_", "P@"), justify="right")
    for cell in cells:
        if cell.extra.get("axis") == _MANY:
            size = "" if cell.model_bytes is None else f"{cell.model_bytes / 1e6:,.0f}"
            figures = [f"{cell.measures.get(key, math.nan):.4f}" for key in _RANKING]
            speed = f"{cell.events_per_second:,.0f}"
            shown.add_row(f"{cell.extra['value']:,}", cell.learner, speed, size, *figures)
    return shown


def _exponent(sweep: Sweep) -> str:
    if sweep.exponent != sweep.exponent:
        return ""
    text = f"{sweep.exponent:+.2f}"
    return text if sweep.low != sweep.low else f"{text} ({sweep.low:+.2f} to {sweep.high:+.2f})"


if __name__ == "__main__":
    end(main)
