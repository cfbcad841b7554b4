"""Colours, dashes and markers of learners, the same in every plot.

In: names of learners. Out: a `Style` for each. It is here so that a reader who has found a learner
in one plot finds it in the next.

The colours are told apart on white and on near-black; a second sign (dash, marker) goes with each
for those who do not see the difference.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from bench.report.headline import BETTER_BASELINE
from bench.report.names import MLHAT, SUBJECT, is_baseline, learners_in_order

_OURS = "#1668c7"
_MLHAT = "#d1495b"
_GREY = "#8a8f98"
_PEERS = (
    "#e08e0b",
    "#2a9d6f",
    "#9b5fc0",
    "#b5651d",
    "#17a2b8",
    "#c2458b",
    "#7a9a01",
    "#5c6bc0",
    "#a1887f",
    "#00897b",
)
_DASHES = ("solid", "dash", "dashdot", "longdash")
_MARKERS = ("square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star", "pentagon")


class Style(NamedTuple):
    """How a learner is drawn; dash and marker in plotly's words."""

    color: str
    dash: str
    marker: str
    width: float


def styles(learners: Iterable[str]) -> dict[str, Style]:
    """A style for each of `learners`; it depends on the names alone."""
    found: dict[str, Style] = {}
    peers = 0
    greys = 0
    for learner in learners_in_order(learners):
        if learner == SUBJECT:
            found[learner] = Style(_OURS, "solid", "circle", 2.6)
        elif learner == MLHAT:
            found[learner] = Style(_MLHAT, "dash", "star-square", 1.6)
        elif learner == BETTER_BASELINE or is_baseline(learner):
            found[learner] = Style(_GREY, ("dot", "dashdot", "dash")[greys % 3], "hexagon", 1.2)
            greys += 1
        else:
            turn = peers // len(_PEERS)
            found[learner] = Style(
                _PEERS[peers % len(_PEERS)],
                _DASHES[turn % len(_DASHES)],
                _MARKERS[peers % len(_MARKERS)],
                1.5,
            )
            peers += 1
    return found
