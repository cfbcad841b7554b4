"""What clusters of labels are worth: none, the learner's own, one for each label, random ones.

In: streams. Out: a table and a document: measures, events per second and clusters at the end for
ihomer with one cluster (``partition=false``), with the partition of either kind, with one cluster
for each label and with random clusters of the partition's sizes. Without ``--streams``: all real
streams that are there, and planted ones with 40, 400 and 4,000 labels. Events per second are of one
process among ``--jobs``; for figures that count use ``--jobs 1``.
"""

from __future__ import annotations

from rich.table import Table

from bench.clusterings import CLUSTERINGS
from bench.command import (
    console,
    data_folder,
    end,
    make_parser,
    make_tasks,
    positive,
    run_document,
)
from bench.learners import IHOMER
from bench.results import Cell
from bench.run import present
from bench.streams import GENERATED, REAL

PLANTED = tuple(
    f"{GENERATED}{rest}"
    for rest in (
        "linear?labels=40&blocks=8&events=20000",
        "text?labels=40&blocks=8&events=20000",
        "blocks?labels=40&blocks=8&events=20000",
        "linear?labels=400&blocks=40&events=10000",
        "text?labels=400&blocks=40&events=10000",
        "text?labels=4000&blocks=200&events=5000",
    )
)
LEARNERS = (f"{IHOMER}?partition=false", IHOMER, f"{IHOMER}?partition=jaccard", *CLUSTERINGS)
SHOWN = ("subset_accuracy", "micro_f1", "macro_f1")


def main() -> None:
    """Measure and print."""
    parser = make_parser(
        "clusters",
        __doc__.splitlines()[0],
        f"the real ones and {' '.join(PLANTED)}",
        ",".join(LEARNERS),
    )
    parser.add_argument("--jobs", type=positive, default=1, help="processes")
    arguments = parser.parse_args()
    if arguments.streams is None:
        arguments.streams = [*present(REAL, data_folder(arguments)), *PLANTED]
    errors = console(errors=True)
    document = run_document(
        "accuracy", make_tasks("accuracy", arguments), arguments, arguments.jobs, errors
    )
    if not arguments.quiet:
        out = errors if arguments.json == "-" else console()
        out.print(table(document.cells), soft_wrap=True)


def table(cells: list[Cell]) -> Table:
    """One row a cell; behind a measure its difference to one cluster."""
    shown = Table(title="clusters", box=None, padding=(0, 1, 0, 0))
    for head in ("stream", "learner"):
        shown.add_column(head, overflow="fold", min_width=8)
    for head in ("clusters", "subset", "", "micro-F1", "", "macro-F1", "", "events/s"):
        shown.add_column(head, justify="right")
    alone = {
        (cell.stream, cell.seed, cell.shuffle): cell.measures
        for cell in cells
        if cell.learner == LEARNERS[0] and cell.status == "done"
    }
    for cell in cells:
        if cell.status != "done":
            shown.add_row(cell.stream.removeprefix(GENERATED), cell.learner, cell.status)
            continue
        figures = []
        for name in SHOWN:
            base = alone.get((cell.stream, cell.seed, cell.shuffle), {}).get(name)
            more = "" if base is None else f"{cell.measures[name] - base:+.3f}"
            figures += [f"{cell.measures[name]:.3f}", more]
        shown.add_row(
            cell.stream.removeprefix(GENERATED),
            cell.learner,
            str(cell.extra["clusters"]),
            *figures,
            f"{cell.events_per_second:,.0f}",
        )
    return shown


if __name__ == "__main__":
    end(main)
