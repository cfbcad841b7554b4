"""A replay as one page: rolling measures over the events, with marks where something happened.

In: points of the series and the learner's events. Out: an HTML page that needs no network, no
script and no library: lines in SVG, and texts that show when a mark is pointed at. It is here so
that a drift and what was done about it can be seen without anything else installed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

from ihomer.drift.events import Kind, LearnerEvent, Level

MEASURES = {
    "subset_accuracy": "subset accuracy",
    "micro_f1": "micro-F1",
    "macro_f1": "macro-F1",
    "hamming_loss": "Hamming loss",
}
MOST_POINTS = 1000  # of a line; more cannot be told apart
_MOST_MARKS = 500  # of a row
_LEFT, _WIDTH, _HEIGHT, _GAP, _ROW = 130, 800, 130, 34, 20
# From the bottom of a panel to the top: what goes across all panels, too.
_ACROSS = {(Kind.ALARM, Level.STRUCTURE), (Kind.ALARM, Level.LOSS), (Kind.ALARM, Level.PRIORS)}
_DASHES = ("2 3", "7 3", "7 3 2 3")
_STYLE = """
body { font: 14px system-ui, sans-serif; color: #222; background: #fff; margin: 2em; }
svg { max-width: 100%; height: auto; } text { fill: currentColor; font-size: 12px; }
.axis { stroke: #8a8f98; stroke-width: .5; fill: none; }
.line { fill: none; stroke: #8a8f98; stroke-width: 1.2; }
.ihomer { stroke: #1668c7; stroke-width: 2.2; }
.alarm { stroke: #d1495b; } .mark { stroke-width: 3; } .across { stroke-width: 1; opacity: .6; }
.change { stroke: #2a9d6f; }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #15171a; } }
"""


def page(title: str, points: Sequence[Mapping[str, Any]], happened: Sequence[LearnerEvent]) -> str:
    """The page.

    Parameters
    ----------
    title
        Of the stream.
    points
        As `ihomer.stream.replay.series_point` makes them, in order.
    happened
        What is marked, in order.
    """
    last: int = max([1, *(point["events"] for point in points), *(e.event for e in happened)])

    def across(event: float) -> float:
        return _LEFT + _WIDTH * event / last

    names = [name for name in (points[0] if points else {}) if name != "events"]
    looks = {
        name: 'class="line ihomer"'
        if name == "ihomer"
        else f'class="line" stroke-dasharray="{_DASHES[i % len(_DASHES)]}"'
        for i, name in enumerate(names)
    }
    parts = []
    top = _GAP
    for measure, label in MEASURES.items():
        parts += _panel(points, measure, label, looks, across, top)
        top += _HEIGHT + _GAP
    parts += [
        f'<line class="alarm across" x1="{across(each.event):.1f}" x2="{across(each.event):.1f}"'
        f' y1="{_GAP}" y2="{top - _GAP}"/>'
        for each in [each for each in happened if (each.kind, each.level) in _ACROSS][-_MOST_MARKS:]
    ]
    ordered = sorted(
        happened, key=lambda each: (list(Kind).index(each.kind), list(Level).index(each.level))
    )
    for (kind, level), group in groupby(ordered, key=lambda each: (each.kind, each.level)):
        look = "alarm" if kind == Kind.ALARM else "change"
        parts.append(f'<text x="0" y="{top + 12}">{level} {kind}</text>')
        marks = [(event, list(same)) for event, same in groupby(group, lambda each: each.event)]
        for event, same in marks[-_MOST_MARKS:]:
            x = f"{across(event):.1f}"
            parts.append(
                f'<line class="mark {look}" x1="{x}" x2="{x}" y1="{top}" y2="{top + _ROW - 4}">'
                f"<title>{escape(_told(same))}</title></line>"
            )
        top += _ROW
    keys = " ".join(
        f'<svg width="40" height="8"><path {look} d="M0 4H40"/></svg> {escape(name)}'
        for name, look in looks.items()
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style><h1>{escape(title)}</h1><p>{keys}</p>"
        f'<svg width="{_LEFT + _WIDTH + 20}" height="{top + _GAP}"'
        f' viewBox="0 0 {_LEFT + _WIDTH + 20} {top + _GAP}">{"".join(parts)}'
        f'<text x="{_LEFT}" y="{top + 20}">0</text>'
        f'<text x="{_LEFT + _WIDTH}" y="{top + 20}" text-anchor="end">{last:,} events</text>'
        "</svg></html>\n"
    )


def _panel(
    points: Sequence[Mapping[str, Any]],
    measure: str,
    label: str,
    looks: Mapping[str, str],
    across: Callable[[float], float],
    top: float,
) -> list[str]:
    """One measure: its frame, its scale, and a line for each learner."""
    found = {
        name: [
            (point["events"], point[name][measure])
            for point in points
            if math.isfinite(point[name][measure])
        ]
        for name in looks
    }
    values = [value for line in found.values() for _, value in line]
    low, high = min(values, default=0.0), max(values, default=1.0)
    scale = _HEIGHT / (high - low) if high > low else 0.0
    parts = [
        f'<rect class="axis" x="{_LEFT}" y="{top}" width="{_WIDTH}" height="{_HEIGHT}"/>',
        f'<text x="0" y="{top + _HEIGHT / 2}">{label}</text>',
        f'<text x="{_LEFT - 5}" y="{top + 10}" text-anchor="end">{high:.3g}</text>',
        f'<text x="{_LEFT - 5}" y="{top + _HEIGHT}" text-anchor="end">{low:.3g}</text>',
    ]
    for name, line in found.items():
        places = " ".join(
            f"{across(event):.1f},{top + _HEIGHT - scale * (value - low):.1f}"
            for event, value in line
        )
        if places:
            parts.append(f'<polyline {looks[name]} points="{places}"/>')
    return parts


def _told(same: Sequence[LearnerEvent]) -> str:
    """What the mark of one or several events says."""
    lines = [f"event {same[0].event:,}"]
    for each in same[:10]:
        what = [f"{each.level} {each.kind}"]
        what += [f"cluster {each.cluster}"] if each.cluster is not None else []
        what += [each.action] if each.action else []
        what += [", ".join(map(str, each.labels[:8]))] if each.labels else []
        if each.statistic is not None and each.bound is not None:
            what.append(f"{each.statistic:.3g} past {each.bound:.3g}")
        lines.append("; ".join(what))
    lines += [f"and {len(same) - 10} more"] if len(same) > 10 else []
    return "\n".join(lines)
