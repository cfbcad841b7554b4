"""The page's sections on what happens over time: rolling curves, recovery from drift.

In: `Context`. Out: sections.
"""

from __future__ import annotations

import statistics
from collections import Counter
from typing import Any

from bench.report import curves
from bench.report.names import learners_in_order, streams_in_order
from bench.report.parts import NOT_MEASURED, Context, Section, paragraph, plot_html
from bench.report.tables import Table, Td, name_td, number_td
from bench.results import Cell
from ihomer.errors import InputError


def rolling(context: Context) -> Section:
    """Rolling measures of each stream."""
    title = "Rolling curves"
    cells = context.run.plain("drift") + context.run.plain("accuracy")
    plots: list[str] = []
    for stream in streams_in_order(cell.stream for cell in cells if cell.series):
        plot = curves.rolling([c for c in cells if c.stream == stream], context.looks)
        if plot is not None:
            plots.append(plot_html(f"rolling-{len(plots)}", stream, plot))
    if not plots:
        return Section("rolling", title, paragraph(NOT_MEASURED))
    body = paragraph(
        "Measures over the last events, the first seed of each learner, file order where it was"
        " run. Red lines and areas mark drift that was planted: at once, or taking its time. A"
        " click on a name in the legend hides it, a double click shows it alone."
    )
    return Section("rolling", title, body + "".join(plots))


def recovery(context: Context) -> Section:
    """What drift cost and how long it took."""
    title = "Recovery from drift"
    cells = context.run.plain("drift") + context.run.plain("accuracy")
    found: dict[tuple[str, str, float, str], list[dict[str, Any]]] = {}
    for cell in cells:
        for i, one in enumerate(cell.extra.get("recoveries") or []):
            at = one.get("at") if isinstance(one, dict) else one
            if not isinstance(one, dict) or isinstance(at, bool) or not isinstance(at, int | float):
                raise InputError(
                    f"cell {cell.key}: extra.recoveries[{i}]: found at {at!r}, accepted: a number"
                )
            words = [str(one[name]) for name in ("how", "of", "what") if one.get(name)]
            key = (cell.stream, cell.learner, at, " ".join(words))
            found.setdefault(key, []).append(one)
    alarms = _alarms(cells)
    if not found and alarms is None:
        return Section("drift", title, paragraph(NOT_MEASURED))
    body = []
    if found:
        body.append(
            paragraph(
                "Of example-based F1. Before: mean of the 500 events before the change. Drop: how"
                " far the rolling mean fell below that. Level: what a fresh learner of the same"
                " kind that begins after the change reaches there after 5,000 events. Events to"
                " recover: from the end of the transition until the rolling mean is 95% of that"
                " level, at least 100, median over the seeds that got there. Area: what is missing"
                " to the level over 5,000 events, in events' worth of F1. A learner that has"
                " nothing to lose recovers at once: read it beside the level."
            )
        )
        heads = (
            "stream",
            "learner",
            "drift",
            "at event",
            "before",
            "drop",
            "level",
            "events to recover",
            "recovered",
            "area",
        )
        streams = streams_in_order(key[0] for key in found)
        learners = learners_in_order(key[1] for key in found)
        lines = []
        for key in sorted(
            found, key=lambda k: (streams.index(k[0]), k[2], k[3], learners.index(k[1]))
        ):
            stream, learner, at, drift = key
            ones = found[key]
            times = [o["events_to_recover"] for o in ones if o.get("events_to_recover") is not None]
            lines.append(
                [
                    name_td(stream),
                    name_td(learner),
                    name_td(drift),
                    number_td(at, 0),
                    number_td(_mean(ones, "before")),
                    number_td(_mean(ones, "drop")),
                    number_td(_mean(ones, "level")),
                    number_td(statistics.median(times), 0)
                    if times
                    else Td("not within 5,000 events", None, "", "limit"),
                    Td(f"{len(times)} of {len(ones)}", len(times) / len(ones)),
                    number_td(_mean(ones, "area"), 1),
                ]
            )
        head = [Td(text, classes="name" if i < 3 else "") for i, text in enumerate(heads)]
        body.append(Table("Recoveries, means over seeds", head, lines).html())
    if alarms is not None:
        body.append(alarms.html())
    return Section("drift", title, "".join(body))


def _mean(ones: list[dict[str, Any]], key: str) -> float | None:
    values = [one[key] for one in ones if one.get(key) is not None]
    return statistics.fmean(values) if values else None


def _alarms(cells: list[Cell]) -> Table | None:
    counts: dict[tuple[str, str], Counter[str]] = {}
    runs: Counter[tuple[str, str]] = Counter()
    for cell in cells:
        if cell.extra.get("alarms"):
            place = (cell.stream, cell.learner)
            counts.setdefault(place, Counter()).update(cell.extra["alarms"])
            runs[place] += 1
    if not counts:
        return None
    kinds = sorted({kind for found in counts.values() for kind in found})
    streams = streams_in_order(stream for stream, _ in counts)
    learners = learners_in_order(learner for _, learner in counts)
    lines = []
    for stream, learner in sorted(
        counts, key=lambda place: (streams.index(place[0]), learners.index(place[1]))
    ):
        found = counts[stream, learner]
        n = runs[stream, learner]
        line = [number_td(found[kind] / n, 0 if n == 1 else 1) for kind in kinds]
        lines.append([name_td(stream), name_td(learner), *line])
    head = [Td("stream", classes="name"), Td("learner", classes="name"), *map(Td, kinds)]
    return Table("Alarms and changes by kind, mean over seeds", head, lines)
