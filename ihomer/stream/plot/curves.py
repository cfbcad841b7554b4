"""Rolling measures over the events as lines in SVG, with marks where something happened.

In: points of the series and rows of marks. Out: a legend and a picture, a panel for each measure
and a row for each kind of mark. It is here so that a drift, and what was done about it, can be seen
beside what it cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

MEASURES = {
    "subset_accuracy": "subset accuracy",
    "micro_f1": "micro-F1",
    "macro_f1": "macro-F1",
    "hamming_loss": "Hamming loss",
}
MOST_POINTS = 1000  # of a line; more cannot be told apart
_LEFT, _WIDTH, _RIGHT, _HEIGHT, _GAP, _ROW = 140, 800, 60, 130, 34, 20
_DASHES = ("2 3", "7 3", "7 3 2 3")
_TICKS = 5


def draw_curves(
    points: Sequence[Mapping[str, Any]], marks: Sequence[Mapping[str, Any]], last: int
) -> str:
    """Legend and picture.

    Parameters
    ----------
    points
        As `ihomer.stream.replay.series_point` makes them, in order.
    marks
        As `marks_of` makes them.
    last
        Number of the last event, 1 or more: the right end of the axis.
    """

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
        f'<line class="alarm across" x1="{across(mark["event"]):.1f}"'
        f' x2="{across(mark["event"]):.1f}" y1="{_GAP}" y2="{top - _GAP}"/>'
        for row in marks
        if row["across"]
        for mark in row["marks"]
    ]
    for row in marks:
        look = "alarm" if row["kind"] == "alarm" else "change"
        parts.append(f'<text x="0" y="{top + 12}">{row["level"]} {row["kind"]}</text>')
        for mark in row["marks"]:
            x = f"{across(mark['event']):.1f}"
            parts.append(
                f'<line class="mark {look}" x1="{x}" x2="{x}" y1="{top}" y2="{top + _ROW - 4}">'
                f"<title>{escape(mark['text'])}</title></line>"
            )
        top += _ROW
    keys = " ".join(
        f'<svg width="40" height="8"><path {look} d="M0 4H40"/></svg> {escape(name)}'
        for name, look in looks.items()
    )
    return (
        f"<p>{keys}</p>"
        f'<svg id="measures" width="{_LEFT + _WIDTH + _RIGHT}" height="{top + _GAP}"'
        f' viewBox="0 0 {_LEFT + _WIDTH + _RIGHT} {top + _GAP}">{"".join(parts)}'
        f"{_ticks(across, last, top)}</svg>"
    )


def _ticks(across: Callable[[float], float], last: int, top: float) -> str:
    """Round numbers of events along the bottom, and the last one at its end."""
    step = _round(last / _TICKS)
    places = [place * step for place in range(_TICKS * 2) if place * step < last * 0.93]
    parts = [
        f'<text x="{across(place):.1f}" y="{top + 20}" text-anchor="middle">{place:,}</text>'
        for place in places
    ]
    parts.append(
        f'<text x="{_LEFT + _WIDTH}" y="{top + 20}" text-anchor="middle">{last:,} events</text>'
    )
    return "".join(parts)


def _round(value: float) -> int:
    """A 1, 2 or 5 with zeros behind it, about as large as `value`, at least 1.

    Examples
    --------
    >>> [_round(value) for value in (0.2, 3.7, 483.4, 1600.0)]
    [1, 5, 500, 2000]
    """
    power = 10 ** max(0, math.floor(math.log10(max(value, 1.0))))
    return int(min((1, 2, 5, 10), key=lambda digit: abs(digit * power - value)) * power)


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
