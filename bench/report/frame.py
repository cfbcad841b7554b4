"""The cells of all documents as one flat table, for whoever wants to work on with them.

In: a `Run`. Out: a pandas frame with one line per cell and measures as columns. It is here so that
the files ``cells.parquet`` and ``cells.csv`` have one layout.
"""

from __future__ import annotations

import math

import pandas as pd

from bench.report.groups import Run
from bench.report.names import measures_in

_COLUMNS = (
    "command",
    "stream",
    "learner",
    "seed",
    "shuffle",
    "status",
    "reason",
    "events",
    "length",
    "labels",
    "features",
    "cardinality",
    "seconds",
    "events_per_second",
    "passes",
    "peak_rss_mb",
    "model_bytes",
    "axis",
    "value",
)


def cells_frame(run: Run) -> pd.DataFrame:
    """One line per cell; a measure ``m`` is the column ``m``.

    `Cell.series` and what is nested in `Cell.extra` are left in the documents.
    """
    keys = measures_in(k for cells in run.cells.values() for c in cells for k in c.measures)
    lines = [
        {
            "command": command,
            "stream": cell.stream,
            "learner": cell.learner,
            "seed": cell.seed,
            "shuffle": cell.shuffle,
            "status": cell.status,
            "reason": cell.reason,
            "events": cell.events,
            "length": cell.length,
            "labels": cell.labels,
            "features": cell.features,
            "cardinality": cell.measures.get("cardinality", math.nan),
            "seconds": cell.seconds,
            "events_per_second": cell.events_per_second,
            "passes": cell.passes,
            "peak_rss_mb": cell.peak_rss_mb,
            "model_bytes": cell.model_bytes,
            "axis": cell.extra.get("axis"),
            "value": cell.extra.get("value"),
            **{key: cell.measures.get(key, math.nan) for key in keys},
        }
        for command, cells in sorted(run.cells.items())
        for cell in cells
    ]
    integers = ("seed", "shuffle", "events", "length", "labels", "features", "passes")
    frame = pd.DataFrame(lines, columns=[*_COLUMNS, *keys])
    return frame.astype(
        dict.fromkeys((*integers, "model_bytes"), "Int64")
        | dict.fromkeys(("value", *keys), "float64")
        | dict.fromkeys(("reason", "axis"), "string")
    )
