"""From result documents to tables, plots, tests of significance and one self-contained page.

The functions here load what they need when they are called, so that a program that measures can
import `bench.report.terminal` without plots and statistics in its memory.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from bench.results import Document

__all__ = ["latex", "make", "summary_text"]


def make(
    documents: Sequence[Document], out: Path, published: Path | None, quick: bool = False
) -> Path:
    """Write the report on `documents` into the folder `out`.

    An earlier report in `out` is replaced as a whole; nothing half-written is left behind. The
    same documents give the same bytes.

    Parameters
    ----------
    documents
        Of any commands; what no document holds is said to be missing.
    out
        Gets ``report.html``, ``cells.parquet``, ``cells.csv``, ``tables/*.tex``, ``plots/*.svg``
        and ``plots/*.png``.
    published
        Folder with the figures of others (see `bench.report.reference`); None: there are none.
    quick
        Whether the page says that its figures are not to be quoted.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    InputError
        `out` is a file or holds what is no part of a report, `published` cannot be read, or a cell
        holds what the report cannot make sense of.
    """
    from bench.report import writer

    return writer.make(documents, out, published, quick)


def latex(documents: Sequence[Document], measure: str, published: Path | None = None) -> str:
    """The table of one measure as LaTeX, for the package booktabs.

    Raises
    ------
    InputError
        No accuracy document has the measure, or `published` cannot be read.
    """
    from bench.report import writer

    return writer.latex(documents, measure, published)


def summary_text(
    documents: Sequence[Document], published: Path | None = None, width: int = 160
) -> str:
    """The tables that a terminal gets at the end of a run, as plain text `width` columns wide.

    Raises
    ------
    InputError
        `published` cannot be read.
    """
    from rich.console import Console

    from bench.report.groups import collect
    from bench.report.reference import mlhat_rates, read_reference
    from bench.report.terminal import print_accuracy, print_throughput

    reference = read_reference(published)
    run = collect(documents)
    file = io.StringIO()
    console = Console(file=file, width=width, no_color=True, highlight=False)
    if run.plain("accuracy"):
        print_accuracy(run.plain("accuracy"), console, reference)
    if run.plain("throughput"):
        print_throughput(run.plain("throughput"), console, mlhat_rates(reference))
    return file.getvalue()
