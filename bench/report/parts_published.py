"""The page's section on figures that others published, kept apart from what was measured here.

In: `Context`. Out: a section.
"""

from __future__ import annotations

from bench.report.groups import Row
from bench.report.names import SUBJECT, better, measure, streams_in_order
from bench.report.parts import Context, Section, items, paragraph
from bench.report.reference import FROM_EVENT_150, TAIL_ONLY, Published
from bench.report.significance import in_words
from bench.report.tables import Table, Td, name_td, number_td

_SOURCES = {
    "ihomer": "from the repository of iHOMER's authors",
    "mlhat": "from the repository of MLHAT's authors",
}


def published(context: Context) -> Section:
    """Published tables, joined by stream."""
    title = "Published figures"
    tables = []
    unjoined: dict[str, None] = {}
    for table in context.reference.published:
        streams = {row.stream for row, _ in context.groups if not row.shuffled}
        shown = [s for s in streams_in_order(table.values) if s in streams]
        unjoined.update(dict.fromkeys(table.unjoined))
        if shown:
            tables.append(_table(context, table, shown))
    if not tables:
        return Section(
            "published",
            title,
            paragraph("No published table has a stream in common with this run."),
        )
    body = [
        paragraph(
            "Not measured here. These are the figures that others published, obtained on their"
            " machines and by their evaluators; only the column at the left of the rule is ours."
            " How far to trust them:",
            "warning",
        ),
        items(_caveats()),
        *tables,
    ]
    if unjoined:
        body.append(
            paragraph(
                "Streams of these tables that are not shown, because they are not certainly the"
                f" ones measured here: {in_words(list(unjoined))}. Eukaryote is among them: two"
                " data sets go by that name, with different features."
            )
        )
    return Section("published", title, "".join(body))


def _caveats() -> list[str]:
    tail = (
        "The column iHomer is not comparable everywhere: several of its entries can only come from"
        f" a short tail of the stream (marked †; of the table's streams {in_words(TAIL_ONLY)}:"
        " Scene's subset accuracy is 56/57 while its macro-F1 is 1/6, so one label of six occurs"
        f" in what was scored), and those marked ‡ start at event 150 ({in_words(FROM_EVENT_150)})."
    )
    both = (
        "Streams are reproduced here in full and no tail is scored, so where the figures differ,"
        " both stand."
    )
    full = "The other 17 columns are of full streams."
    return [tail, full, both, "Times are those of other machines."]


def _table(context: Context, table: Published, streams: list[str]) -> str:
    key = table.measure
    ours = [SUBJECT] if any(learner == SUBJECT for _, learner in context.groups) else []
    head = [
        Td("stream", classes="name"),
        *(Td(f"{learner} (here)", classes="here") for learner in ours),
        *(Td(f"{method} (published)", classes="theirs") for method in table.methods),
    ]
    lines = []
    for stream in streams:
        line = [name_td(stream, f"{table.names[stream]} in the published table")]
        line += [_here(context, stream, learner, key) for learner in ours]
        for method in table.methods:
            value = table.values[stream][method]
            cell = number_td(value, 1 if key == "seconds" else 4, "theirs")
            mark, why = _caveat(method, table.names[stream])
            if mark:
                cell.text += mark
                cell.title = why
                cell.classes += " caveat"
            line.append(cell)
        lines.append(line)
    words = "Seconds for the stream" if key == "seconds" else measure(key).title
    direction = (
        ""
        if key == "seconds"
        else (", lower is better" if better(key, 0.0, 1.0) else ", higher is better")
    )
    caption = f"{words}{direction}; published columns {_SOURCES.get(table.source, '')}"
    return f'<div class="published">{Table(caption, head, lines).html()}</div>\n'


def _here(context: Context, stream: str, learner: str, key: str) -> Td:
    group = context.groups.get((Row(stream), learner))
    if group is None or not group.finished:
        return Td("–", None, "not finished here", "none here")
    if key == "seconds":
        return number_td(sum(c.seconds for c in group.done) / len(group.done), 1, "here")
    figure = group.figure(key)
    return number_td(None if figure is None else figure.mean, 4, "here")


def _caveat(method: str, name: str) -> tuple[str, str]:
    if method == "iHomer" and name in TAIL_ONLY:
        return "†", "can only come from a short tail of the stream"
    if method == "iHomer" and name in FROM_EVENT_150:
        return "‡", "scored from event 150 on"
    return "", ""
