"""Prequential measures of learners on streams, side by side in processes.

In: names of streams and learners. Out: tables and a document: measures with ratios to MLHAT's
re-run and to the better of the baselines; the headline, ratios of means over ten streams; and
where a learner stays below the best of MLHAT, no-change and majority. The means over shuffles are
compared with baselines of the same run, so run those as well. Without ``--streams`` and
``--shuffles`` all real streams are run, the small ones in five shuffles, too. Each cell has the
measures of the second half of its stream as well. Events per second are shown for orientation
only: several cells run at once (`bench.throughput` measures).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import Any

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
from bench.report.deficits import deficits, mlhat_ratios
from bench.report.groups import group
from bench.report.headline import headline
from bench.report.names import best
from bench.report.reference import Reference, mlhat_figures, read_reference
from bench.report.terminal import print_accuracy
from bench.results import Cell
from bench.streams import GENERATED, SMALL
from ihomer.learners.baselines import BASELINES

SHUFFLES = "1-5"
RATIOS = ("subset_accuracy", "hamming_loss", "micro_f1", "macro_f1", "example_f1")


def main() -> None:
    """Measure and print."""
    parser = make_parser("accuracy", __doc__.splitlines()[0], "real", "own,river-br-lr")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, help="processes")
    add_results(parser)
    arguments = parser.parse_args()
    errors = console(errors=True)
    tasks = make_tasks("accuracy", arguments)
    if arguments.streams is None and not arguments.shuffles:
        small = argparse.Namespace(**vars(arguments))
        small.streams, small.shuffles, small.only_shuffles = list(SMALL), SHUFFLES, True
        tasks += make_tasks("accuracy", small)
    reference = read_reference(results_folder(arguments))
    document = run_document(
        "accuracy",
        tasks,
        arguments,
        arguments.jobs,
        errors,
        lambda cells: summary(cells, reference),
    )
    if not arguments.quiet:
        out = errors if arguments.json == "-" else console()
        print_accuracy(document.cells, out, reference)


def summary(cells: Sequence[Cell], reference: Reference) -> dict[str, Any]:
    """What all cells together tell; puts ratios into each of them, see `add_ratios`.

    Returns
    -------
    dict
        ``headline``: streams, means by learner and measure, ratios of means to MLHAT's;
        ``deficits``: see `bench.report.deficits`, the worst first.
    """
    add_ratios(cells, mlhat_figures(reference))
    groups = group(cells)
    found = headline(groups, reference)
    return {
        "headline": {
            "streams": found.streams,
            "missing": found.missing,
            "means": found.means,
            "to_mlhat": mlhat_ratios(found.means),
            "left_out": found.left_out,
        },
        "deficits": [deficit.to_dict() for deficit in deficits(groups, reference)],
    }


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


if __name__ == "__main__":
    end(main)
