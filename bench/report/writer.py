"""All files of a report, written into one folder or not at all.

In: documents. Out: ``report.html``, ``cells.parquet``, ``cells.csv``, ``tables/*.tex``,
``plots/*.svg`` and ``plots/*.png``. It is here so that a folder is either a whole report or what it
was before.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.report import diagrams
from bench.report.frame import cells_frame
from bench.report.groups import collect, group, measures_of
from bench.report.names import measure
from bench.report.page import page
from bench.report.parts import Context, context
from bench.report.parts_cost import speed_points
from bench.report.reference import read_reference
from bench.report.tables import latex_measure, measure_table
from bench.results import Document
from ihomer.errors import InputError

SAMPLES = 10_000  # standard error of a probability at most .005
# What a report consists of; a folder that holds anything else is not replaced.
_CONTENTS = {"report.html", "cells.parquet", "cells.csv", "tables", "plots"}


def make(
    documents: Sequence[Document],
    out: Path,
    published: Path | None,
    quick: bool = False,
    samples: int = SAMPLES,
) -> Path:
    """Write the report; see `bench.report.make`."""
    reference = read_reference(published)
    _check(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    found = context(documents, reference, quick, samples)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        new = Path(scratch) / "new"
        new.mkdir(mode=0o755)
        (new / "tables").mkdir()
        (new / "plots").mkdir()
        frame = cells_frame(found.run)
        frame.to_parquet(new / "cells.parquet", index=False)
        frame.to_csv(new / "cells.csv", index=False, lineterminator="\n")
        for key in measures_of(found.groups):
            table = measure_table(found.groups, reference, key)
            text = latex_measure(table, found.groups)
            (new / "tables" / f"{_file_name(key)}.tex").write_text(text, encoding="utf-8")
        _plots(found, new / "plots")
        (new / "report.html").write_text(page(found), encoding="utf-8")
        _replace(out, new, Path(scratch) / "old")
    return out / "report.html"


def latex(documents: Sequence[Document], key: str, published: Path | None) -> str:
    """One LaTeX table; see `bench.report.latex`."""
    reference = read_reference(published)
    groups = group(collect(documents).plain("accuracy"))
    if key not in measures_of(groups):
        names = ", ".join(measures_of(groups)) or "none, there are no accuracy documents"
        raise InputError(f"measure: found {key}, accepted: {names}")
    return latex_measure(measure_table(groups, reference, key), groups)


def _check(out: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"{out}: found a file, accepted: a folder to write the report into")
    others = sorted({path.name for path in out.iterdir()} - _CONTENTS)
    if others:
        raise InputError(
            f"{out}: found {others[0]}, which is no part of a report; accepted: a new or empty"
            " folder, or an earlier report, which is replaced"
        )


def _replace(out: Path, new: Path, old: Path) -> None:
    """Put `new` in the place of `out`, which stays as it was if that fails."""
    if not out.exists():
        new.rename(out)
        return
    out.rename(old)
    try:
        new.rename(out)
    except OSError:
        old.rename(out)
        raise


def _plots(found: Context, folder: Path) -> None:
    looks = found.looks
    if found.found.means:
        diagrams.save(diagrams.headline_bars(found.found, looks), folder, "headline")
    for key, (comparison, outcome) in found.tested.items():
        if outcome is not None:
            title = f"Average rank by {measure(key).title}, {len(comparison.rows)} streams"
            figure = diagrams.critical_difference(outcome, title, looks)
            diagrams.save(figure, folder, f"critical_difference_{key}")
    points = speed_points(found, "micro_f1")
    if len(points) > 1:
        figure = diagrams.speed_accuracy(points, "mean micro-F1", looks)
        diagrams.save(figure, folder, "speed_accuracy")
    for axis in dict.fromkeys(sweep.axis for sweep in found.sweeps):
        of_axis = [sweep for sweep in found.sweeps if sweep.axis == axis and sweep.points]
        if of_axis:
            figure = diagrams.scaling_plot(axis, of_axis, looks)
            diagrams.save(figure, folder, f"scaling_{_file_name(axis)}")


def _file_name(key: str) -> str:
    """`key` as a file name, whatever a document calls its measures."""
    return "".join(sign if sign.isalnum() or sign in "-_" else "-" for sign in key)
