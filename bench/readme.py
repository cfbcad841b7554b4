"""The README's table, from documents of `bench.accuracy` and `bench.throughput`.

In: documents. Out: Markdown on standard output: ihomer's measures with the better baseline's in
brackets, measure by measure, and its events per second. It is here so that the README's figures
are copied from a run and not typed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench.command import Parser, end
from bench.learners import IHOMER
from bench.report.names import best
from bench.results import Cell, read_document
from bench.streams import REAL
from ihomer.errors import InputError
from ihomer.learners.baselines import BASELINES

MEASURES = {
    "subset_accuracy": "subset accuracy",
    "hamming_loss": "Hamming loss",
    "micro_f1": "micro-F1",
    "macro_f1": "macro-F1",
}


def table(accuracy: Sequence[Cell], throughput: Sequence[Cell]) -> str:
    """The table in Markdown, streams in the order of `REAL`, file order only.

    Raises
    ------
    InputError
        No stream has both ihomer's cell and the baselines'.
    """
    cells = {
        (cell.stream, cell.learner): cell
        for cell in accuracy
        if cell.shuffle is None and cell.status == "done" and cell.seed == 1
    }
    rates = {
        cell.stream: cell.events_per_second
        for cell in throughput
        if cell.learner == IHOMER and cell.status == "done" and "axis" not in cell.extra
    }
    heads = ["stream", "events", "labels", *MEASURES.values(), "events/s"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for stream in REAL:
        ours = cells.get((stream, IHOMER))
        baselines = [cells[stream, name] for name in BASELINES if (stream, name) in cells]
        if ours is None or len(baselines) < len(BASELINES):
            continue
        row = [stream, f"{ours.events:,}", f"{ours.labels:,}"]
        for key in MEASURES:
            bar = best(key, (cell.measures[key] for cell in baselines))
            row.append(f"{ours.measures[key]:.3f} ({bar:.3f})")
        row.append(f"{rates[stream]:,.0f}" if stream in rates else "")
        lines.append(f"| {' | '.join(row)} |")
    if len(lines) == 2:
        raise InputError("found no stream with ihomer and all baselines, accepted: bench.accuracy")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = Parser(
        prog="python -m bench.readme",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("documents", nargs="+", type=Path, metavar="FILE")
    documents = [read_document(path) for path in parser.parse_args().documents]
    found = {
        command: [cell for d in documents if d.command == command for cell in d.cells]
        for command in ("accuracy", "throughput")
    }
    print(table(found["accuracy"], found["throughput"]))


if __name__ == "__main__":
    end(main)
