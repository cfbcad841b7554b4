"""Plots that can be pointed at: rolling measures with drift marks, scaling, speed, memory.

In: cells. Out: plotly figures as plain objects (``data``, ``layout``), which the page's script
draws. It is here so that the page carries data once and colours follow the reader's theme.

A trace's ``meta`` names the choice it belongs to; the page shows one choice at a time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench.report.names import (
    MAIN_MEASURES,
    is_baseline,
    learners_in_order,
    measure,
    measures_in,
)
from bench.report.scaling import Sweep
from bench.report.styles import Style
from bench.results import Cell
from ihomer.errors import InputError

ARI = "ari"
_POINTS = 300  # of a curve; more cannot be told apart on a screen
_SHOWN = (*MAIN_MEASURES, "average_precision", "precision_at_1", "cardinality")

Plot = dict[str, Any]


def rolling(cells: Sequence[Cell], looks: Mapping[str, Style]) -> Plot | None:
    """Rolling measures of one stream over its events, a curve per learner.

    Of a learner's cells the first with a series is drawn. Choices: the measures that some series
    has, and the partition's agreement with the truth where series have ``ari``. Marks of drift
    (``extra["marks"]``) are lines, or areas where drift takes its time. None without any series.
    """
    first: dict[str, Cell] = {}
    for cell in cells:
        if cell.series:
            first.setdefault(cell.learner, cell)
    if not first:
        return None
    keys = {key for cell in first.values() for point in cell.series for key in point}
    choices = [key for key in measures_in(keys - {ARI}) if key in _SHOWN]
    choices += [ARI] if ARI in keys else []
    if not choices:
        return None
    data = []
    for learner in learners_in_order(first):
        style = looks[learner]
        series = _thinned(first[learner].series)
        for key in choices:
            x = [point["events"] for point in series if _is_number(point.get(key))]
            y = [_rounded(point[key]) for point in series if _is_number(point.get(key))]
            if not x:
                continue
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines" if len(x) > 1 else "markers",
                    "name": _plain(learner),
                    "x": x,
                    "y": y,
                    "meta": key,
                    "visible": key == choices[0],
                    "line": _line(style),
                    "opacity": 0.8 if is_baseline(learner) else 1.0,
                    "hovertemplate": "%{y:.4f}",
                }
            )
    marks = [mark for cell in first.values() for mark in marks_of(cell)]
    shapes, annotations = _marks(marks)
    layout = {
        "height": 380,
        "hovermode": "x unified",
        "xaxis": {"title": {"text": "events"}, "tickformat": ",d"},
        "yaxis": {"title": {"text": _choice_title(choices[0])}},
        "shapes": shapes,
        "annotations": annotations,
        "meta": [[key, _choice_title(key)] for key in choices],
    }
    return {"data": data, "layout": layout}


def marks_of(cell: Cell) -> list[dict[str, Any]]:
    """``extra["marks"]`` of `cell`, checked.

    Raises
    ------
    InputError
        A mark has no number as its start.
    """
    marks = cell.extra.get("marks") or []
    for i, mark in enumerate(marks):
        start = mark.get("start") if isinstance(mark, dict) else mark
        if not _is_number(start):
            raise InputError(
                f"cell {cell.key}: extra.marks[{i}]: found start {start!r}, accepted: a number"
            )
    return list(marks)


def scaling(found: Sequence[Sweep], looks: Mapping[str, Style]) -> Plot:
    """Seconds per event over the swept value with fitted lines, both axes logarithmic."""
    axis = found[0].axis
    several = len({sweep.family for sweep in found}) > 1
    data: list[Plot] = []
    for sweep in found:
        if not sweep.points:
            continue
        style = looks[sweep.learner]
        name = _plain(f"{sweep.learner}, {sweep.family}" if several else sweep.learner)
        x = [value for value, _ in sweep.points]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "legendgroup": name,
                "x": x,
                "y": [_rounded(y) for _, y in sweep.points],
                "marker": {"color": style.color, "symbol": style.marker, "size": 8},
            }
        )
        if math.isfinite(sweep.exponent):
            logs = [(math.log10(value), math.log10(y)) for value, y in sweep.points]
            offset = sum(y - sweep.exponent * value for value, y in logs) / len(logs)
            ends = [x[0], x[-1]]
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "name": f"{name}, fit",
                    "legendgroup": name,
                    "showlegend": False,
                    "hoverinfo": "skip",
                    "x": ends,
                    "y": [_rounded(10**offset * value**sweep.exponent) for value in ends],
                    "line": _line(style),
                }
            )
    title = "speed-up" if axis == "threads" else "seconds per event"
    layout = {
        "height": 400,
        "xaxis": {"title": {"text": axis}, "type": "log"},
        "yaxis": {"title": {"text": title}, "type": "log", "exponentformat": "power"},
    }
    return {"data": data, "layout": layout}


def speed_accuracy(
    points: Mapping[str, tuple[float, float]], title: str, looks: Mapping[str, Style]
) -> Plot:
    """Events per second against accuracy, a point per learner."""
    data = [
        {
            "type": "scatter",
            "mode": "markers+text",
            "name": _plain(learner),
            "x": [_rounded(points[learner][0])],
            "y": [_rounded(points[learner][1])],
            "text": [_plain(learner)],
            "textposition": "top center",
            "marker": {
                "color": looks[learner].color,
                "symbol": looks[learner].marker,
                "size": 11,
            },
            "showlegend": False,
        }
        for learner in points
    ]
    layout = {
        "height": 420,
        "xaxis": {"title": {"text": "events per second, geometric mean"}, "type": "log"},
        "yaxis": {"title": {"text": title}},
    }
    return {"data": data, "layout": layout}


def model_size(cells: Sequence[Cell], looks: Mapping[str, Style]) -> Plot | None:
    """Model bytes over events on both axes logarithmic; None if no cell states its size.

    Series points that hold ``model_bytes`` make curves, whole cells make points at their ends.
    """
    sized = [cell for cell in cells if cell.model_bytes or _sizes(cell)]
    data: list[Plot] = []
    for learner in learners_in_order(cell.learner for cell in sized):
        style = looks[learner]
        mine = [cell for cell in sized if cell.learner == learner]
        ends = sorted((c.events, c.model_bytes, c.stream) for c in mine if c.model_bytes)
        if ends:
            data.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": _plain(learner),
                    "legendgroup": learner,
                    "x": [events for events, _, _ in ends],
                    "y": [size for _, size, _ in ends],
                    "text": [_plain(stream) for _, _, stream in ends],
                    "hovertemplate": "%{text}: %{y:,d} bytes after %{x:,d} events",
                    "marker": {"color": style.color, "symbol": style.marker, "size": 7},
                }
            )
        for cell in mine:
            curve = _sizes(cell)
            if curve:
                data.append(
                    {
                        "type": "scatter",
                        "mode": "lines",
                        "name": _plain(f"{learner}, {cell.stream}"),
                        "legendgroup": learner,
                        "showlegend": False,
                        "x": [events for events, _ in curve],
                        "y": [size for _, size in curve],
                        "line": _line(style),
                    }
                )
    if not data:
        return None
    layout = {
        "height": 400,
        "xaxis": {"title": {"text": "events"}, "type": "log"},
        "yaxis": {"title": {"text": "model bytes"}, "type": "log"},
    }
    return {"data": data, "layout": layout}


def _sizes(cell: Cell) -> list[tuple[float, float]]:
    return [
        (point["events"], point["model_bytes"])
        for point in _thinned(cell.series)
        if _is_number(point.get("model_bytes"))
    ]


def _thinned(series: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every k-th point and the last one, those that say at how many events they are."""
    points = [point for point in series if _is_number(point.get("events"))]
    step = max(1, math.ceil(len(points) / _POINTS))
    thin = points[::step]
    if points and thin[-1] is not points[-1]:
        thin.append(points[-1])
    return thin


def _marks(marks: Sequence[dict[str, Any]]) -> tuple[list[Plot], list[Plot]]:
    """Shapes and their captions, each mark once however many learners state it."""
    shapes: list[Plot] = []
    captions: list[Plot] = []
    seen: dict[tuple[float, float, str], None] = {}
    for mark in marks:
        start = float(mark["start"])
        stop = mark.get("stop")
        words = " ".join(str(mark[key]) for key in ("how", "of") if mark.get(key))
        end = float(stop) if stop is not None and _is_number(stop) else start
        seen[start, end, words] = None
    for i, (start, stop, words) in enumerate(sorted(seen)):
        wide = stop > start
        shapes.append(
            {
                "type": "rect" if wide else "line",
                "xref": "x",
                "yref": "paper",
                "x0": start,
                "x1": stop,
                "y0": 0,
                "y1": 1,
                "layer": "below",
                "line": {"color": "#d1495b", "width": 0 if wide else 1.8, "dash": "dash"},
                "fillcolor": "rgba(209, 73, 91, 0.16)",
            }
        )
        captions.append(
            {
                "x": start,
                "y": 1.0 + 0.055 * (i % 2),
                "xref": "x",
                "yref": "paper",
                "text": _plain(words),
                "showarrow": False,
                "xanchor": "left",
                "yanchor": "bottom",
                "font": {"size": 10, "color": "#d1495b"},
            }
        )
    return shapes, captions


def _plain(words: str) -> str:
    """Plotly reads a little HTML in texts; a name from data must not become markup."""
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _choice_title(key: str) -> str:
    return "Partition's agreement (ARI)" if key == ARI else measure(key).title


def _line(style: Style) -> Plot:
    return {"color": style.color, "dash": style.dash, "width": style.width}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
