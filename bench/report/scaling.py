"""How time grows with one parameter of the stream, as a fitted power law.

In: cells that are points of a sweep (``extra`` holds ``axis`` and ``value``). Out: `Sweep` objects
with exponents. It is here so that a claim about scaling is a number with an interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from bench.report.names import learners_in_order
from bench.results import Cell
from ihomer.errors import InputError

AXES = ("events", "features", "labels", "labels-many", "clusters", "threads")


@dataclass(slots=True)
class Sweep:
    """Points of one learner along one axis on one kind of stream, and the line through them.

    Attributes
    ----------
    axis, family, learner
        `family`: the stream without its parameters.
    points
        (value, seconds per event), ascending; for threads (threads, speed-up over the smallest
        number of threads).
    skipped
        Number of cells that are not done or took no time; they enter no fit.
    exponent, low, high
        Slope of log10 over log10 by least squares and its 95% interval; NaN where there are too
        few points (an exponent takes two different values, an interval three points).
    """

    axis: str
    family: str
    learner: str
    points: list[tuple[float, float]]
    skipped: int
    exponent: float = math.nan
    low: float = math.nan
    high: float = math.nan


def sweeps(cells: Iterable[Cell]) -> list[Sweep]:
    """The sweeps among `cells`, in a fixed order.

    Raises
    ------
    InputError
        An axis has no positive number as its value.
    """
    found: dict[tuple[str, str, str], Sweep] = {}
    for cell in cells:
        if "axis" not in cell.extra:
            continue
        value = cell.extra.get("value")
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise InputError(
                f"cell {cell.key}: extra.value: found {value!r}, accepted: a number above 0"
            )
        family = cell.stream.partition("?")[0]
        key = (str(cell.extra["axis"]), family, cell.learner)
        sweep = found.setdefault(key, Sweep(*key, points=[], skipped=0))
        if cell.status == "done" and cell.seconds > 0 and cell.events > 0:
            sweep.points.append((float(value), cell.seconds / cell.events))
        else:
            sweep.skipped += 1
    for sweep in found.values():
        sweep.points.sort()
        if sweep.axis == "threads":
            sweep.points = _speed_up(sweep.points)
        _fit(sweep)
    learners = learners_in_order(sweep.learner for sweep in found.values())
    return sorted(
        found.values(),
        key=lambda sweep: (
            AXES.index(sweep.axis) if sweep.axis in AXES else len(AXES),
            sweep.axis,
            sweep.family,
            learners.index(sweep.learner),
        ),
    )


def _speed_up(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    if not points:
        return []
    least = points[0][0]
    base = float(np.mean([seconds for value, seconds in points if value == least]))
    return [(value, base / seconds) for value, seconds in points]


def _fit(sweep: Sweep) -> None:
    if len({value for value, _ in sweep.points}) < 2:
        return
    x, y = np.log10(np.array(sweep.points)).T
    line = stats.linregress(x, y)
    sweep.exponent = float(line.slope)
    if len(x) > 2:
        margin = float(stats.t.ppf(0.975, len(x) - 2) * line.stderr)
        sweep.low, sweep.high = sweep.exponent - margin, sweep.exponent + margin
