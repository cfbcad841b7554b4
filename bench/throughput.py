"""Events per second of learners on streams: predicting, learning and scoring with all measures.

In: names of streams and learners. Out: a table with ratios to MLHAT's re-run and to river's binary
relevance in the same run, and a document. One process at a time; a short stream is gone through
again with fresh models until a timing lasts `--min-seconds`, and the median pass counts. Latencies
are those of events that come one at a time.
"""

from __future__ import annotations

from bench.accuracy import mlhat_figures
from bench.command import (
    add_results,
    console,
    end,
    make_parser,
    make_tasks,
    results_folder,
    run_document,
    seconds,
)
from bench.report.terminal import print_throughput


def main() -> None:
    """Measure and print."""
    parser = make_parser("throughput", __doc__.splitlines()[0], "real", "ihomer,river-br-lr")
    parser.add_argument("--min-seconds", type=seconds, default=2.0, metavar="SECONDS")
    add_results(parser)
    arguments = parser.parse_args()
    errors = console(errors=True)
    tasks = make_tasks("throughput", arguments, min_seconds=arguments.min_seconds)
    document = run_document("throughput", tasks, arguments, 1, errors)
    if not arguments.quiet:
        out = errors if arguments.json == "-" else console()
        figures = mlhat_figures(results_folder(arguments))
        rates = {stream: each["events_per_second"] for stream, each in figures.items()}
        print_throughput(document.cells, out, rates)


if __name__ == "__main__":
    end(main)
