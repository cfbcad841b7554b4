"""Prequential measures of learners on streams, side by side in processes.

In: names of streams and learners. Out: a table with ratios to MLHAT's re-run and to the better of
the baselines, and a document. Events per second are shown for orientation only: several cells run
at once (`bench.throughput` measures).
"""

from __future__ import annotations

import os
from pathlib import Path

from bench.command import (
    add_results,
    console,
    end,
    make_parser,
    make_tasks,
    positive,
    results_folder,
    run_document,
)
from bench.report.reference import read_reference
from bench.report.terminal import print_accuracy


def main() -> None:
    """Measure and print."""
    parser = make_parser("accuracy", __doc__.splitlines()[0], "real", "own,river-br-lr")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, help="processes")
    add_results(parser)
    arguments = parser.parse_args()
    errors = console(errors=True)
    tasks = make_tasks("accuracy", arguments)
    document = run_document("accuracy", tasks, arguments, arguments.jobs, errors)
    if not arguments.quiet:
        out = errors if arguments.json == "-" else console()
        print_accuracy(document.cells, out, mlhat_figures(results_folder(arguments)))


def mlhat_figures(folder: Path | None) -> dict[str, dict[str, float]]:
    """MLHAT's figures of its re-run in file order, by stream and measure."""
    return {
        row.stream: {key: figure.mean for key, figure in figures.items()}
        for row, figures in read_reference(folder).mlhat.items()
        if not row.shuffled
    }


if __name__ == "__main__":
    end(main)
