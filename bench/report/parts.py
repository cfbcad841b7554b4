"""What the page's sections share: what they are made from, and what they are.

In: documents and reference figures. Out: `Context` and `Section`. It is here so that sections can
stand in files of their own and know nothing of each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import orjson

from bench.report.curves import Plot
from bench.report.groups import Group, Row, Run, collect, group, measures_of
from bench.report.headline import BETTER_BASELINE, Headline, headline
from bench.report.names import MAIN_MEASURES, MLHAT
from bench.report.reference import Reference
from bench.report.scaling import Sweep, sweeps
from bench.report.significance import Comparison, Outcome, compare, run_tests
from bench.report.styles import Style, styles
from bench.results import Cell, Document

NOT_MEASURED = "Not measured in this run."


@dataclass(slots=True)
class Section:
    """A part of the page: what its link says, its heading and its HTML."""

    anchor: str
    title: str
    body: str


@dataclass(slots=True)
class Context:
    """What sections and plots are made from.

    Attributes
    ----------
    run, reference, quick
        What there is.
    groups
        Of the accuracy documents.
    found
        The headline.
    sweeps
        Of all documents.
    timing, timed_alone
        Cells that speed is taken from, and whether nothing else ran beside them.
    looks
        A style for each learner, one for the whole report.
    tested
        By main measure what is compared, and the tests' outcome if it is enough for tests.
    samples
        Of the Bayesian test's posterior.
    """

    run: Run
    reference: Reference
    quick: bool
    groups: Mapping[tuple[Row, str], Group]
    found: Headline
    sweeps: list[Sweep]
    timing: list[Cell]
    timed_alone: bool
    looks: Mapping[str, Style]
    tested: dict[str, tuple[Comparison, Outcome | None]]
    samples: int


def context(
    documents: Sequence[Document], reference: Reference, quick: bool, samples: int
) -> Context:
    """Everything that is worked out once.

    Speed is taken from throughput documents; where there is none, from accuracy documents, whose
    streams may have run side by side.
    """
    run = collect(documents)
    groups = group(run.plain("accuracy"))
    alone = run.plain("throughput")
    names = {cell.learner for cells in run.cells.values() for cell in cells}
    tested: dict[str, tuple[Comparison, Outcome | None]] = {}
    for key in [key for key in MAIN_MEASURES if key in measures_of(groups)]:
        comparison = compare(groups, key)
        outcome = None
        if not comparison.shortage:
            outcome = run_tests(comparison, key, reference, samples)
        tested[key] = (comparison, outcome)
    return Context(
        run,
        reference,
        quick,
        groups,
        headline(groups, reference),
        sweeps(run.swept()),
        alone or run.plain("accuracy"),
        bool(alone),
        styles({*names, MLHAT, BETTER_BASELINE}),
        tested,
        samples,
    )


def paragraph(text: str, classes: str = "") -> str:
    """`text`, escaped, as a paragraph."""
    attribute = f' class="{classes}"' if classes else ""
    return f"<p{attribute}>{escape(text)}</p>\n"


def items(texts: Sequence[str]) -> str:
    """`texts`, escaped, as a list."""
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>\n"


def details(summary: str, body: str) -> str:
    """`body` behind a line that opens it."""
    return f"<details><summary>{escape(summary)}</summary>\n{body}</details>\n"


def plot_html(name: str, title: str, plot: Plot) -> str:
    """A place that the page's script draws `plot` in.

    Parameters
    ----------
    name
        Unique in the page; letters, digits and dashes.
    title
        Above the plot.
    plot
        ``data`` and ``layout``; the latter's ``meta`` lists choices as (key, title).
    """
    data = orjson.dumps(plot).decode()
    # Inside a script element only "</script" and "<!--" end the data; no "<" means neither.
    data = data.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    choices = plot["layout"].get("meta") or []
    select = ""
    if len(choices) > 1:
        options = "".join(
            f'<option value="{escape(key)}">{escape(words)}</option>' for key, words in choices
        )
        select = f'<label>measure <select data-for="{name}">{options}</select></label>'
    height = int(plot["layout"]["height"])
    return (
        f'<figure class="plot"><figcaption>{escape(title)} {select}</figcaption>'
        f'<div class="scroll"><div id="{name}" class="canvas" style="height:{height}px"></div>'
        f'</div><script type="application/json" data-plot="{name}">{data}</script></figure>\n'
    )
