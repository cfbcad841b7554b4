"""The page's sections on how good predictions are.

In: `Context`. Out: sections: what was run, headline, measures, tests of significance.
"""

from __future__ import annotations

import math
from html import escape
from typing import Any

from bench.report import diagrams, tables
from bench.report.groups import measures_of, rows_of
from bench.report.headline import BETTER_BASELINE
from bench.report.names import (
    MAIN_MEASURES,
    MLHAT,
    SORTED_STREAMS,
    SUBJECT,
    better,
    measure,
)
from bench.report.parts import NOT_MEASURED, Context, Section, details, items, paragraph
from bench.report.significance import (
    ALPHA,
    MIN_LEARNERS,
    MIN_STREAMS,
    ROPE,
    Comparison,
    Outcome,
    in_words,
)
from bench.report.tables import Table, Td, name_td, number_td


def about(context: Context) -> Section:
    """What was run, when, on what, with what."""
    body = []
    if context.quick:
        body.append(
            paragraph(
                "A quick run: our own learners on full streams, peers under a short time limit,"
                " few repetitions. Quote the figures of a full run.",
                "warning",
            )
        )
    for document in context.run.documents:
        lines: list[tuple[str, str]] = []
        for title, found in (
            ("machine", document.machine),
            ("versions", document.versions),
            ("arguments", document.arguments),
        ):
            lines += [(f"{title}: {key}", _plain(value)) for key, value in found.items()]
        counts: dict[str, int] = {}
        for cell in document.cells:
            counts[cell.status] = counts.get(cell.status, 0) + 1
        cells = ", ".join(f"{n} {status}" for status, n in counts.items())
        listed = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in lines)
        summary = f"{document.command}: {cells}; made {document.made}"
        body.append(details(summary, f"<dl>{listed}</dl>\n"))
    if not context.run.documents:
        body.append(paragraph("No documents were given."))
    if context.run.superseded:
        body.append(
            paragraph(
                f"{context.run.superseded} cells were measured more than once; those of the"
                " document given last are shown."
            )
        )
    if context.reference.absent:
        body.append(
            paragraph(f"Reference files that were not there: {in_words(context.reference.absent)}.")
        )
    body.append(
        paragraph(
            "Evaluation is prequential: every event, from the first to the last, is predicted,"
            " scored, then learned. No warm-up is left out and no tail is cut off; empty"
            " predictions and empty truths are scored. All label names are declared before the"
            " first event. Every learner sees the same files in the same order."
        )
    )
    return Section("about", "What was run", "".join(body))


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def headline_section(context: Context) -> Section:
    """Ratios of means."""
    found = context.found
    title = "Headline"
    if not context.groups:
        return Section("headline", title, paragraph(NOT_MEASURED))
    if not found.streams:
        text = "None of the headline streams was measured in file order, so there is no headline."
        return Section("headline", title, paragraph(text))
    which = f"Means over {in_words(found.streams)}"
    if found.missing:
        which += f" (headline streams not in this run: {in_words(found.missing)})"
    body = [
        paragraph(
            f"{which}; file order; mean over seeds first. A learner is listed if it finished all"
            f" of them. “{BETTER_BASELINE}” takes on each stream and for each measure the best of"
            " no-change, majority and majority-set."
        ),
        _means(context).html(),
    ]
    for reference in (MLHAT, BETTER_BASELINE):
        table = _ratios(context, reference)
        if table is not None:
            body.append(table.html())
    shown = [
        stream for stream in SORTED_STREAMS if any(r.stream == stream for r, _ in context.groups)
    ]
    if shown:
        body.append(
            paragraph(
                f"{in_words(shown)} are not in these means: their files are sorted by label, so in"
                " file order they measure persistence, not learning. They are in the tables below."
            )
        )
    if found.left_out:
        body.append("<p>Not in these means, for want of finished streams:</p>\n")
        body.append(items([f"{name}: {in_words(lacks)}" for name, lacks in found.left_out.items()]))
    if found.means:
        body.append(
            diagrams.inline_svg(diagrams.headline_bars(found, context.looks), "headline-bars")
        )
    return Section("headline", title, "".join(body))


def _means(context: Context) -> Table:
    found = context.found
    head = [Td("learner", classes="name"), *_measure_heads()]
    body = []
    for learner, means in found.means.items():
        line = [name_td(learner)]
        for key in MAIN_MEASURES:
            cell = number_td(means.get(key))
            values = [m[key] for m in found.means.values() if key in m]
            if key in means and not any(better(key, value, means[key]) for value in values):
                cell.classes = "best"
            line.append(cell)
        body.append(line)
    return Table("Means", head, body)


def _ratios(context: Context, reference: str) -> Table | None:
    found = context.found
    if reference not in found.means:
        return None
    body = []
    for learner in found.means:
        if learner in (MLHAT, BETTER_BASELINE):
            continue
        line = [name_td(learner)]
        for key in MAIN_MEASURES:
            ratio = found.ratio(learner, reference, key)
            cell = number_td(ratio, 3)
            if ratio is not None and ratio != 1:
                cell.classes = "above" if better(key, ratio, 1.0) else "below"
            line.append(cell)
        body.append(line)
    caption = f"Ratio of the mean to that of: {reference}"
    return Table(caption, [Td("learner", classes="name"), *_measure_heads()], body)


def _measure_heads() -> list[Td]:
    return [Td(measure(k).short + (" (lower)" if measure(k).lower else "")) for k in MAIN_MEASURES]


def measures_section(context: Context) -> Section:
    """The streams, and one table per measure."""
    groups = context.groups
    title = "Measures by stream"
    if not groups:
        return Section("measures", title, paragraph(NOT_MEASURED))
    body = [
        paragraph(
            "Mean over seeds and shuffles ± sample standard deviation. Bold: best of its line, the"
            " re-run of MLHAT's public code included. Marked ▼: worse than the better baseline."
            " “> limit”: stopped by the time limit after so many events; the figures of such a"
            " prefix enter no mean and no test. A click on a heading sorts."
        ),
        _streams(context).html(),
    ]
    others: list[str] = []
    for key in measures_of(groups):
        table = tables.measure_table(groups, context.reference, key)
        html = tables.html_measure(table, groups).html()
        (body if key in MAIN_MEASURES else others).append(html)
    if others:
        body.append(details(f"{len(others)} more measures", "".join(others)))
    reasons = sorted(
        {
            f"{learner} on {row.title}, seed {cell.seed}: {cell.status}"
            + (f" ({tables.progress(cell)})" if cell.status == "time-limit" else "")
            + (f" – {cell.reason}" if cell.reason else "")
            for (row, learner), found in groups.items()
            for cell in found.cells
            if cell.status != "done"
        }
    )
    if reasons:
        body.append(details(f"{len(reasons)} cells without a full figure, and why", items(reasons)))
    return Section("measures", title, "".join(body))


def _streams(context: Context) -> Table:
    head = [Td(text) for text in ("stream", "events", "features", "labels", "cardinality")]
    head[0].classes = "name"
    body = []
    for row in rows_of(context.groups):
        if row.shuffled and any(
            r.stream == row.stream and not r.shuffled for r, _ in context.groups
        ):
            continue
        cells = [c for (r, _), g in context.groups.items() if r == row for c in g.cells]
        longest = max(cells, key=lambda cell: (cell.length, cell.status == "done"))
        whole = [
            c.measures["cardinality"]
            for c in cells
            if c.status == "done" and "cardinality" in c.measures
        ]
        body.append(
            [
                name_td(row.stream),
                number_td(longest.length, 0),
                number_td(longest.features, 0),
                number_td(longest.labels, 0),
                number_td(whole[0] if whole else math.nan, 2),
            ]
        )
    return Table("Streams", head, body)


def tests_section(context: Context) -> Section:
    """Friedman, Nemenyi, Wilcoxon and the Bayesian signed-rank test for each main measure."""
    title = "Tests of significance"
    if not context.groups:
        return Section("tests", title, paragraph(NOT_MEASURED))
    body = [
        paragraph(
            "Over streams that all compared learners finished, one line per stream: file order,"
            f" and for {in_words(SORTED_STREAMS)} the mean over shuffles, without which they are"
            " left out. A learner that finished fewer than two thirds of the streams of the one"
            " that finished most is not compared; if fewer than"
            f" {MIN_STREAMS} common streams remain, those that finished fewest are left out one by"
            f" one. No test with fewer than {MIN_STREAMS} streams or {MIN_LEARNERS} learners."
        ),
        paragraph(
            "Friedman: scipy.stats.friedmanchisquare. Nemenyi and Wilcoxon (equal figures split"
            " evenly, Holm's correction over all pairs): scikit-posthocs. Bayesian signed-rank"
            f" test: baycomp, region of practical equivalence ± {ROPE} on the measure's own scale,"
            f" {context.samples:,} samples of the posterior. Significance level {ALPHA}."
        ),
    ]
    for key, (comparison, outcome) in context.tested.items():
        body.append(f"<h3>{escape(measure(key).title)}</h3>\n")
        if outcome is None:
            body.append(paragraph(f"No test: {comparison.shortage}."))
            continue
        body.append(_outcome(context, key, comparison, outcome))
    return Section("tests", title, "".join(body))


def _outcome(context: Context, key: str, comparison: Comparison, outcome: Outcome) -> str:
    verdict = (
        "the learners differ"
        if outcome.p < ALPHA
        else "no difference is shown, so read nothing into the comparisons of pairs below"
    )
    body = [
        paragraph(
            f"{len(comparison.learners)} learners on {len(comparison.rows)} streams"
            f" ({in_words([row.title for row in comparison.rows])}). Friedman: χ² ="
            f" {outcome.statistic:.2f}, {_p_words(outcome.p)}: {verdict}. Nemenyi: average ranks"
            f" differ significantly from a distance of {outcome.distance:.2f} on."
        )
    ]
    if comparison.left_out:
        lacking = [f"{name} ({n} finished)" for name, n in comparison.left_out.items()]
        body.append(paragraph(f"Not compared: {in_words(lacking)}."))
    title = f"Average rank by {measure(key).title}"
    figure = diagrams.critical_difference(outcome, title, context.looks)
    body.append(diagrams.inline_svg(figure, f"cd-{key.replace('_', '-')}"))
    names = list(outcome.ranks)
    head = [Td("learner", classes="name"), Td("rank"), *(Td(name) for name in names)]
    lines = []
    for one in names:
        line = [name_td(one), number_td(outcome.ranks[one], 2)]
        for other in names:
            p = float(outcome.wilcoxon.loc[one, other])
            line.append(
                Td("", None)
                if one == other
                else Td(_p(p), p, f"{one} and {other}", "significant" if p < ALPHA else "")
            )
        lines.append(line)
    pairs = Table("Wilcoxon signed-rank test, p values after Holm's correction", head, lines)
    body.append(details("Pairs: Wilcoxon with Holm's correction", pairs.html()))
    if outcome.bayes:
        heads = ("against", f"{SUBJECT} better", "equivalent", "other better", "streams")
        lines = []
        for found in outcome.bayes:
            chances = (found.ours, found.rope, found.theirs)
            line = [name_td(found.other)]
            for chance in chances:
                line.append(number_td(chance, 2, "best" if chance >= 1 - ALPHA else ""))
            lines.append([*line, number_td(found.n, 0)])
        head = [Td(text) for text in heads]
        head[0].classes = "name"
        caption = f"Bayesian signed-rank test of {SUBJECT}: probabilities (bold from {1 - ALPHA})"
        body.append(Table(caption, head, lines).html())
    return "".join(body)


def _p_words(p: float) -> str:
    return f"p {_p(p)}" if p < 0.0001 else f"p = {_p(p)}"


def _p(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"
