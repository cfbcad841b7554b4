"""Memory of learners over a stream: the process's resident set, the model as it states itself.

In: names of streams and learners. Out: a table and a document with both over the events. The
stream is not held in memory, so that what grows is the learner.
"""

from __future__ import annotations

import math
import os

from rich.table import Table

from bench.command import console, end, make_parser, make_tasks, positive, run_document
from bench.results import Cell

STREAMS = "synthetic:linear?features=30&labels=8&events=200000"


def main() -> None:
    """Measure and print."""
    parser = make_parser("memory", __doc__.splitlines()[0], STREAMS, "ihomer")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, help="processes")
    arguments = parser.parse_args()
    errors = console(errors=True)
    tasks = make_tasks("memory", arguments)
    document = run_document("memory", tasks, arguments, arguments.jobs, errors)
    if not arguments.quiet:
        out = errors if arguments.json == "-" else console()
        out.print(table(document.cells), soft_wrap=True)


def table(cells: list[Cell]) -> Table:
    """One row a cell: peak, model at the end, growth of the model over the second half."""
    shown = Table(title="memory")
    shown.add_column("stream")
    shown.add_column("learner")
    for head in ("events", "peak MB", "above idle MB", "model MB", "second half"):
        shown.add_column(head, justify="right")
    for cell in cells:
        if cell.status in ("failed", "unavailable"):
            shown.add_row(cell.stream, cell.learner, cell.status)
            continue
        above = cell.peak_rss_mb - float(cell.extra.get("idle_rss_mb", 0.0))
        model = "" if cell.model_bytes is None else f"{cell.model_bytes / 1e6:,.1f}"
        change = growth(cell)
        shown.add_row(
            cell.stream,
            cell.learner,
            f"{cell.events:,}",
            f"{cell.peak_rss_mb:,.0f}",
            f"{above:,.0f}",
            model,
            "" if math.isnan(change) else f"{change:+.1%}",
        )
    return shown


def growth(cell: Cell) -> float:
    """Growth of the model from the middle of the stream to its end, as a share; NaN: unknown."""
    sizes = [point["model_bytes"] for point in cell.series if point.get("model_bytes")]
    if len(sizes) < 2:
        return math.nan
    return float(sizes[-1] / sizes[len(sizes) // 2] - 1.0)


if __name__ == "__main__":
    end(main)
