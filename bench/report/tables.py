"""Tables as HTML that sorts and as LaTeX, from one description of their cells.

In: rows of `Td`. Out: text, with everything that comes from data escaped. It is here so that no
other file of the report writes a table's markup.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from bench.report.groups import Figure, Group, Groups, Row, learners_of, rows_of
from bench.report.headline import better_baseline
from bench.report.names import MLHAT, best, better, is_baseline, is_ours, measure
from bench.report.reference import Reference
from bench.results import Cell

DIGITS = 4


@dataclass(slots=True)
class Td:
    """A cell of a table.

    Attributes
    ----------
    text
        Plain text; it is escaped when it is written.
    sort
        What the cell sorts by; None: nothing, so it sorts last.
    title
        Shown on hover.
    classes
        CSS classes.
    note
        Plain text after `text`, in small print.
    """

    text: str
    sort: float | str | None = None
    title: str = ""
    classes: str = ""
    note: str = ""


def name_td(text: str, title: str = "") -> Td:
    """A cell that names its line."""
    return Td(text, text, title, "name")


def number_td(value: float | None, digits: int = DIGITS, classes: str = "") -> Td:
    """A number with fixed decimals; a dash for None and NaN."""
    if value is None or not math.isfinite(value):
        return Td("–", None, "", f"none {classes}".strip())
    return Td(f"{value:,.{digits}f}", value, "", classes)


@dataclass(slots=True)
class Table:
    """A table with one header line; `foot` does not take part in sorting."""

    caption: str
    head: list[Td]
    body: list[list[Td]]
    foot: list[list[Td]] = field(default_factory=list)

    def html(self) -> str:
        """The table as HTML that scrolls sideways when it is wide and sorts on a click."""
        head = "".join(
            f'<th scope="col"{_attributes(cell)}><button type="button">'
            f"{escape(cell.text)}</button></th>"
            for cell in self.head
        )
        return (
            f'<figure class="table"><figcaption>{escape(self.caption)}</figcaption>'
            f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
            f"<tbody>{''.join(map(_line, self.body))}</tbody>"
            + (f"<tfoot>{''.join(map(_line, self.foot))}</tfoot>" if self.foot else "")
            + "</table></div></figure>\n"
        )


def _line(cells: Sequence[Td]) -> str:
    texts = []
    for i, cell in enumerate(cells):
        tag = 'th scope="row"' if i == 0 else "td"
        note = f" <small>{escape(cell.note)}</small>" if cell.note else ""
        texts.append(f"<{tag}{_attributes(cell)}>{escape(cell.text)}{note}</{tag[:2]}>")
    return f"<tr>{''.join(texts)}</tr>\n"


def _attributes(cell: Td) -> str:
    found = {
        "class": cell.classes,
        "title": cell.title,
        "data-sort": "" if cell.sort is None else str(cell.sort),
    }
    return "".join(f' {key}="{escape(value)}"' for key, value in found.items() if value)


def progress(cell: Cell) -> str:
    """How far a cell came that its time limit stopped.

    Examples
    --------
    >>> progress(Cell("bibtex", "knn", 1, status="time-limit", events=312, length=7395))
    '312 of 7,395 events'
    """
    return f"{cell.events:,} of {cell.length:,} events"


def unfinished_td(group: Group | None) -> Td:
    """What stands in place of a figure that is not there, and why."""
    if group is None:
        return Td("–", None, "not measured in this run", "none")
    cell = group.worst
    if cell.status == "time-limit":
        prefix = "; ".join(
            f"{measure(key).short} of that prefix {cell.measures[key]:.{DIGITS}f}"
            for key in ("subset_accuracy", "micro_f1")
            if key in cell.measures
        )
        text = ", ".join(filter(None, [cell.reason, prefix]))
        return Td(f"> limit, {progress(cell)}", None, text, "limit")
    if cell.status == "done":
        return Td("–", None, "this measure is undefined here", "none")
    return Td(cell.status, None, cell.reason, cell.status)


@dataclass(slots=True)
class MeasureTable:
    """Figures of one measure: rows by learners, with what each has to be measured by.

    Attributes
    ----------
    key
        The measure.
    rows, columns
        Columns are the learners and `MLHAT` where it has figures.
    figures
        By row and column; absent where there is none.
    bars
        The better baseline by row.
    partial
        Row and learner of figures that some seed or shuffle is missing from.
    """

    key: str
    rows: list[Row]
    columns: list[str]
    figures: dict[tuple[Row, str], Figure]
    bars: dict[Row, float]
    partial: set[tuple[Row, str]]

    def is_best(self, row: Row, column: str) -> bool:
        """Whether no column of `row` has a better figure, at the digits that are shown."""
        found = {c: self.figures[row, c].mean for c in self.columns if (row, c) in self.figures}
        top = best(self.key, found.values())
        return top is not None and column in found and _same(found[column], top)

    def is_below(self, row: Row, column: str) -> bool:
        """Whether the figure is worse than what the better baseline obtains."""
        bar = self.bars.get(row)
        mean = self.figures[row, column].mean
        if bar is None or is_baseline(column) or _same(mean, bar):
            return False
        return better(self.key, bar, mean)


def _same(one: float, other: float) -> bool:
    return f"{one:.{DIGITS}f}" == f"{other:.{DIGITS}f}"


def measure_table(groups: Groups, reference: Reference, key: str) -> MeasureTable:
    """The figures of the measure `key`; MLHAT's re-run follows ours where there is one."""
    rows = rows_of(groups)
    figures = {}
    partial = set()
    for place, found in groups.items():
        figure = found.figure(key)
        if figure is not None:
            figures[place] = figure
            if not found.finished:
                partial.add(place)
    for row in rows:
        theirs = reference.mlhat.get(row, {}).get(key)
        if theirs is not None:
            figures[row, MLHAT] = theirs
    columns = learners_of(groups)
    if any(column == MLHAT for _, column in figures):
        ours = list(filter(is_ours, columns))
        columns.insert(len(ours), MLHAT)  # beside ours: it is what ours is measured by
    bars = {row: better_baseline(groups, reference, row, key) for row in rows}
    known = {row: bar for row, bar in bars.items() if bar is not None}
    return MeasureTable(key, rows, columns, figures, known, partial)


def html_measure(table: MeasureTable, groups: Groups) -> Table:
    """`table` for the page."""
    body = []
    for row in table.rows:
        line = [name_td(row.title)]
        for column in table.columns:
            figure = table.figures.get((row, column))
            if figure is None:
                other = Td("–", None, "not in the re-run", "none")
                line.append(other if column == MLHAT else unfinished_td(groups.get((row, column))))
                continue
            classes = ["best"] if table.is_best(row, column) else []
            titles = [f"mean of {figure.n}"] if figure.n > 1 else []
            if table.is_below(row, column):
                classes.append("below")
                titles.append(f"worse than the better baseline, {table.bars[row]:.{DIGITS}f}")
            note = f"± {figure.sd:.{DIGITS}f}" if figure.n > 1 else ""
            if (row, column) in table.partial:
                found = groups[row, column]
                note += f" ({figure.n} of {len(found.cells)})"
                titles.append(f"the others: {found.worst.status}, {found.worst.reason}")
            if column == MLHAT:
                classes.append("theirs")
            text = f"{figure.mean:.{DIGITS}f}"
            line.append(Td(text, figure.mean, "; ".join(titles), " ".join(classes), note.strip()))
        body.append(line)
    found_measure = measure(table.key)
    direction = "lower is better" if found_measure.lower else "higher is better"
    head = [Td("stream", classes="name"), *(Td(column) for column in table.columns)]
    return Table(f"{found_measure.title} ({direction})", head, body)


_TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
}


def tex(text: str) -> str:
    r"""`text` with LaTeX's special characters escaped, on one line.

    Examples
    --------
    >>> print(tex("a_b & 5%"))
    a\_b \& 5\%
    """
    return "".join(_TEX.get(sign, sign) for sign in " ".join(text.split()))


def latex_measure(table: MeasureTable, groups: Groups) -> str:
    """`table` as a LaTeX ``tabular`` for the package booktabs."""
    found_measure = measure(table.key)
    lines = [
        f"% {found_measure.title}, {'lower' if found_measure.lower else 'higher'} is better.",
        r"% \usepackage{booktabs}",
        "% $>$: stopped by the time limit; --: no figure; bold: best of its line.",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        " & ".join(["stream", *(tex(column) for column in table.columns)]) + r" \\",
        r"\midrule",
    ]
    for row in table.rows:
        line = [tex(row.title)]
        for column in table.columns:
            figure = table.figures.get((row, column))
            if figure is None:
                group = groups.get((row, column))
                late = group is not None and group.worst.status == "time-limit"
                line.append("$>$" if late else "--")
                continue
            text = f"{figure.mean:.{DIGITS}f}"
            if table.is_best(row, column):
                text = rf"\textbf{{{text}}}"
            if figure.n > 1:
                text += rf" {{\scriptsize$\pm${figure.sd:.{DIGITS}f}}}"
            line.append(text)
        lines.append(" & ".join(line) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])
