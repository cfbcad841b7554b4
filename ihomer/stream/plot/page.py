"""The page of a replay: rolling measures, the tree of the labels' clusters, and a table of labels.

In: points of the series, the learner's events, its hierarchy and figures of its labels. Out: one
HTML file that opens without a network, with the data that its pictures are drawn from as JSON in
it. It is here so that a run can be looked at, and handed on, without anything else installed.

No script runs in it, and its own policy forbids the browser every request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import orjson

from ihomer.drift.events import LearnerEvent
from ihomer.learners.partition.hierarchy import Hierarchy
from ihomer.stream.plot.curves import MEASURES, draw_curves
from ihomer.stream.plot.dendrogram import draw_dendrogram
from ihomer.stream.plot.labels import LabelRow, draw_labels
from ihomer.stream.plot.marks import marks_of
from ihomer.stream.plot.style import STYLE

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(
    title: str,
    points: Sequence[Mapping[str, Any]],
    happened: Sequence[LearnerEvent],
    hierarchy: Hierarchy | None = None,
    labels: Sequence[LabelRow] = (),
) -> str:
    """The page.

    Parameters
    ----------
    title
        Of the stream.
    points
        As `ihomer.stream.replay.series_point` makes them, in order.
    happened
        What is marked, in order.
    hierarchy
        Of the clusters at the end; None: there is none.
    labels
        As `label_rows` makes them.

    Returns
    -------
    str
        HTML that is well-formed XML, too. Its element ``script#data`` holds a JSON object with
        what is drawn: ``stream``, ``events``, ``points``, ``marks``, ``tree``, ``labels`` and
        ``more_labels``, the number of labels that the table leaves out.
    """
    last: int = max([1, *(point["events"] for point in points), *(e.event for e in happened)])
    marks = marks_of(happened)
    tree, drawn_tree = draw_dendrogram(hierarchy, labels)
    shown, table = draw_labels(labels)
    data = {
        "stream": title,
        "events": last,
        "points": [_drawn(point) for point in points],
        "marks": marks,
        "tree": tree,
        "labels": [row._asdict() for row in shown],
        "more_labels": len(labels) - len(shown),
    }
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"/>'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"/>'
        '<meta name="viewport" content="width=device-width"/>'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><h1>{escape(title)}</h1>"
        f"<h2>Rolling measures</h2>{draw_curves(points, marks, last)}"
        f"<h2>Clusters of labels</h2>{drawn_tree}"
        f"<h2>Labels</h2>{table}"
        f'<script type="application/json" id="data">{_as_json(data)}</script></body></html>\n'
    )


def _drawn(point: Mapping[str, Any]) -> dict[str, Any]:
    """Of a point of the series what lines are drawn from."""
    return {
        name: value if name == "events" else {key: value[key] for key in MEASURES}
        for name, value in point.items()
    }


def _as_json(data: Mapping[str, Any]) -> str:
    """JSON that ends no element and is no markup, whatever a stream's names are."""
    text = orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    for sign in "&<>":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
