"""``python -m bench.report RESULTS.json... --out FOLDER``: make a report from result documents.

In: files that the benchmarks wrote. Out: a folder; see `bench.report.make`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.report import make
from bench.results import read_document
from ihomer.errors import IhomerError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.report",
        description="Tables, plots, tests of significance and one page from result documents.",
        epilog="example: python -m bench.report accuracy.json throughput.json --out report",
    )
    parser.add_argument(
        "documents", nargs="+", type=Path, metavar="RESULTS.json", help="what a benchmark wrote"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="where the report goes"
    )
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FOLDER",
        help="figures of others to compare with; default: ../shared/results where it exists",
    )
    parser.add_argument(
        "--quick", action="store_true", help="say on the page that its figures are provisional"
    )
    options = parser.parse_args(arguments)
    published = options.results
    if published is None and Path("../shared/results").is_dir():
        published = Path("../shared/results")
    try:
        documents = [read_document(path) for path in options.documents]
        print(make(documents, options.out, published, options.quick))
    except IhomerError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
