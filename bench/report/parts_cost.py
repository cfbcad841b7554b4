"""The page's sections on what learners cost: speed, memory, scaling.

In: `Context`. Out: sections.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping

from bench.report import curves
from bench.report.groups import Groups, Row, group, learners_of, rows_of
from bench.report.names import MLHAT, PEER
from bench.report.parts import NOT_MEASURED, Context, Section, paragraph, plot_html
from bench.report.tables import Table, Td, name_td, number_td, unfinished_td


def rates(groups: Groups) -> dict[str, dict[Row, float]]:
    """Events per second by learner and row, of groups that finished."""
    found: dict[str, dict[Row, float]] = {learner: {} for learner in learners_of(groups)}
    for row in rows_of(groups):
        for learner, values in found.items():
            place = groups.get((row, learner))
            rate = place.rate() if place is not None and place.finished else None
            if rate is not None:
                values[row] = rate
    return found


def mean_ratio(one: Mapping[Row, float], other: Mapping[Row, float]) -> tuple[float, int] | None:
    """Geometric mean of `one` / `other` over their common rows, and how many those are."""
    ratios = [one[row] / other[row] for row in one if other.get(row, 0) > 0]
    return (statistics.geometric_mean(ratios), len(ratios)) if ratios else None


def speed_points(context: Context, key: str) -> dict[str, tuple[float, float]]:
    """By learner of the headline: geometric mean of events/s and mean of the measure `key`.

    Both over the headline streams that were timed; a learner that did not finish all of them is
    left out.
    """
    timed = rates(group(context.timing))
    some = {row for found in timed.values() for row in found}
    wanted = [row for row in map(Row, context.found.streams) if row in some]
    points = {}
    for learner in learners_of(context.groups):
        speeds = [timed.get(learner, {}).get(row) for row in wanted]
        groups = [context.groups.get((row, learner)) for row in wanted]
        figures = [g.figure(key) if g is not None and g.finished else None for g in groups]
        known = [
            (speed, figure.mean)
            for speed, figure in zip(speeds, figures, strict=True)
            if speed is not None and figure is not None
        ]
        if wanted and len(known) == len(wanted):
            points[learner] = (
                statistics.geometric_mean([speed for speed, _ in known]),
                statistics.fmean([mean for _, mean in known]),
            )
    return points


def speed(context: Context) -> Section:
    """Events per second."""
    title = "Speed"
    groups = group(context.timing)
    if not groups:
        return Section("speed", title, paragraph(NOT_MEASURED))
    rows, learners = rows_of(groups), learners_of(groups)
    found = rates(groups)
    theirs = {row: rate for row in rows if (rate := _mlhat_rate(context, row)) is not None}
    body = [
        paragraph(
            "Events per second, predicting, learning and scoring; geometric mean over seeds. "
            + (
                "Timed alone, short streams repeated with fresh models."
                if context.timed_alone
                else "There is no throughput document: these are the times of the accuracy run,"
                " whose streams may have run side by side and slowed each other down."
            )
        )
    ]
    head = [Td("stream", classes="name"), *(Td(learner) for learner in learners)]
    if theirs:
        head.append(Td(MLHAT))
    lines = []
    for row in rows:
        line = [name_td(row.title)]
        for learner in learners:
            rate = found[learner].get(row)
            line.append(
                _rate_td(rate) if rate is not None else unfinished_td(groups.get((row, learner)))
            )
        if theirs:
            line.append(_rate_td(theirs.get(row)))
        lines.append(line)
    body.append(Table("Events per second", head, lines).html())
    body.append(_ratio_table(found, theirs).html())
    if theirs:
        body.append(
            paragraph(
                f"{MLHAT}: as measured in the re-run, on whatever machine that was; not rescaled"
                " to this one."
            )
        )
    if PEER not in found:
        body.append(paragraph(f"{PEER} was not timed in this run, so there is no ratio to it."))
    points = speed_points(context, "micro_f1")
    if len(points) > 1:
        plot = curves.speed_accuracy(points, "mean micro-F1", context.looks)
        body.append(
            plot_html(
                "speed-accuracy",
                "Speed and accuracy over the headline streams that were timed",
                plot,
            )
        )
    return Section("speed", title, "".join(body))


def _mlhat_rate(context: Context, row: Row) -> float | None:
    return context.reference.mlhat_mean(row, "events_per_second")


def _rate_td(rate: float | None) -> Td:
    return number_td(rate, 0 if rate is None or rate >= 100 else 1)


def _ratio_table(found: Mapping[str, Mapping[Row, float]], theirs: Mapping[Row, float]) -> Table:
    head = [
        Td("learner", classes="name"),
        Td("events/s"),
        Td("streams"),
        Td(f"ratio to {MLHAT}"),
        Td("over streams"),
        Td(f"ratio to {PEER}"),
        Td("over streams"),
    ]
    lines = []
    for learner, rates_ in found.items():
        line = [name_td(learner)]
        mean = statistics.geometric_mean(rates_.values()) if rates_ else None
        line += [_rate_td(mean), number_td(len(rates_), 0)]
        for other in (theirs, found.get(PEER, {})):
            ratio = mean_ratio(rates_, other)
            line += [
                number_td(None if ratio is None else ratio[0], 2),
                number_td(None if ratio is None else ratio[1], 0),
            ]
        lines.append(line)
    return Table("Geometric means over the streams that each finished", head, lines)


def memory(context: Context) -> Section:
    """Peak resident memory and model sizes."""
    title = "Memory"
    cells = context.run.plain("memory") or context.timing
    groups = group(cells)
    peaks = {place: _largest([c.peak_rss_mb for c in g.done]) for place, g in groups.items()}
    sizes = {place: _largest([c.model_bytes or 0 for c in g.done]) for place, g in groups.items()}
    if not any(peaks.values()) and not any(sizes.values()):
        return Section("memory", title, paragraph(NOT_MEASURED))
    body = []
    for caption, values, unit in (
        ("Peak resident memory of the process, MB (largest over seeds)", peaks, 1.0),
        ("Model size as the learner states it, kB (largest over seeds)", sizes, 1e3),
    ):
        if not any(values.values()):
            continue
        learners = [
            n for n in learners_of(groups) if any(v for (_, m), v in values.items() if m == n)
        ]
        head = [Td("stream", classes="name"), *(Td(learner) for learner in learners)]
        lines = []
        for row in rows_of(groups):
            line = [name_td(row.title)]
            for learner in learners:
                value = values.get((row, learner))
                line.append(
                    number_td(value / unit, 1)
                    if value
                    else unfinished_td(groups.get((row, learner)))
                )
            lines.append(line)
        body.append(Table(caption, head, lines).html())
    plot = curves.model_size(cells, context.looks)
    if plot is not None:
        body.append(plot_html("model-size", "Model size over events", plot))
    return Section("memory", title, "".join(body))


def _largest(values: list[float]) -> float:
    return max(values, default=0.0)


def scaling(context: Context) -> Section:
    """Fitted exponents along each swept axis."""
    title = "Scaling"
    if not context.sweeps:
        return Section("scaling", title, paragraph(NOT_MEASURED))
    body = [
        paragraph(
            "Least squares of log seconds per event over log value (scipy.stats.linregress), with"
            " the 95% interval of the slope. Seconds per event that do not change have the"
            " exponent 0: the whole stream then takes time in proportion to its events. For"
            " threads the speed-up over the fewest threads is fitted, and 1 is ideal. Cells that"
            " were not done enter no fit."
        )
    ]
    lines = []
    for sweep in context.sweeps:
        interval = f"{sweep.low:.3f} to {sweep.high:.3f}" if math.isfinite(sweep.low) else "–"
        values = [value for value, _ in sweep.points]
        lines.append(
            [
                name_td(sweep.axis),
                name_td(sweep.family),
                name_td(sweep.learner),
                number_td(sweep.exponent, 3),
                Td(interval, sweep.low if math.isfinite(sweep.low) else None),
                number_td(len(sweep.points), 0),
                Td(f"{min(values):,g} to {max(values):,g}" if values else "–"),
                number_td(sweep.skipped, 0),
            ]
        )
    heads = ("axis", "stream", "learner", "exponent", "95% interval", "points", "range", "not done")
    head = [Td(text, classes="name" if i < 3 else "") for i, text in enumerate(heads)]
    body.append(Table("Fitted exponents", head, lines).html())
    for number, axis in enumerate(dict.fromkeys(sweep.axis for sweep in context.sweeps)):
        found = [sweep for sweep in context.sweeps if sweep.axis == axis and sweep.points]
        if found:
            body.append(
                plot_html(f"scaling-{number}", f"Over {axis}", curves.scaling(found, context.looks))
            )
    return Section("scaling", title, "".join(body))
