"""Prequential measures of learners on streams, side by side in processes.

In: names of streams and learners. Out: a table with ratios to MLHAT's re-run and to the better of
the baselines, and a document. Events per second are shown for orientation only: several cells run
at once (`bench.throughput` measures).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
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
from bench.report.names import best
from bench.report.reference import read_reference
from bench.report.terminal import print_accuracy
from bench.results import Cell
from bench.streams import GENERATED
from ihomer.learners.baselines import BASELINES

RATIOS = ("subset_accuracy", "hamming_loss", "micro_f1", "macro_f1", "example_f1")


def main() -> None:
    """Measure and print."""
    parser = make_parser("accuracy", __doc__.splitlines()[0], "real", "own,river-br-lr")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, help="processes")
    add_results(parser)
    arguments = parser.parse_args()
    errors = console(errors=True)
    tasks = make_tasks("accuracy", arguments)
    reference = mlhat_figures(results_folder(arguments))
    document = run_document(
        "accuracy",
        tasks,
        arguments,
        arguments.jobs,
        errors,
        lambda cells: add_ratios(cells, reference),
    )
    if not arguments.quiet:
        out = errors if arguments.json == "-" else console()
        print_accuracy(document.cells, out, reference)


def add_ratios(cells: Sequence[Cell], reference: Mapping[str, Mapping[str, float]]) -> None:
    """Put the ratios to MLHAT's re-run and to the better baseline into ``extra["ratios"]``.

    By measure; the better baseline is taken measure by measure among those run on the same stream
    in the same order. What would be divided by 0 is left out.
    """
    done = [cell for cell in cells if cell.status == "done"]
    for cell in done:
        others = [
            other.measures
            for other in done
            if other.learner in BASELINES
            and (other.stream, other.shuffle) == (cell.stream, cell.shuffle)
            # Of a generated stream another seed is another stream; baselines have none themselves.
            and (other.seed == cell.seed or not cell.stream.startswith(GENERATED))
        ]
        found: dict[str, dict[str, float]] = {"mlhat": {}, "better_baseline": {}}
        for key in RATIOS:
            bars = {
                "mlhat": reference.get(cell.stream, {}).get(key) if cell.shuffle is None else None,
                "better_baseline": best(key, (m[key] for m in others)),
            }
            for name, bar in bars.items():
                if bar:
                    found[name][key] = cell.measures[key] / bar
        cell.extra["ratios"] = found


def mlhat_figures(folder: Path | None) -> dict[str, dict[str, float]]:
    """MLHAT's figures of its re-run in file order, by stream and measure."""
    return {
        row.stream: {key: figure.mean for key, figure in figures.items()}
        for row, figures in read_reference(folder).mlhat.items()
        if not row.shuffled
    }


if __name__ == "__main__":
    end(main)
