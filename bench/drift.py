"""Recovery from planted changes: drop, events to recover, area lost, alarms, label structure.

In: generated streams, learners. Out: a table and a document with rolling measures and marks. What
each figure means is said in `bench.recovery`. Where no streams are named the table of
`bench.detectors` follows.
"""

from __future__ import annotations

import math
import os
from copy import copy
from typing import Any

from rich.table import Table

from bench import detectors
from bench.command import console, end, make_parser, make_tasks, positive, run_document
from bench.recovery import FRESH
from bench.results import Cell
from bench.streams import GENERATED
from ihomer.errors import UsageError

STREAMS = tuple(
    f"{GENERATED}{rest}"
    for rest in (
        "linear?events=20000&drift=sudden",
        "tree?events=20000&drift=gradual&width=2000",
        "hyperplane?events=20000&drift=incremental&width=4000",
        "rbf?events=20000&drift=recurring&at=5000&period=5000",
        "linear?events=20000&drift=blip&width=1000",
        "linear?events=20000&drift=sudden&of=priors&what=cardinality",
        "linear?events=20000&drift=sudden&of=features",
        "linear?events=20000&labels=16&drift=sudden&of=labels&what=born",
        "text?events=20000&labels=40&blocks=8&drift=sudden&of=structure",
        "text?events=20000&labels=40&blocks=8&drift=sudden&of=structure&what=split",
        "linear?events=20000",
    )
)
# Of the concept alone, for recovery.
HOWS = {
    "sudden": "sudden&at=5000",
    "gradual": "gradual&at=5000&width=2000",
    "incremental": "incremental&at=5000&width=4000",
    "recurring": "recurring&at=5000&period=5000",
}
RECOVERY = tuple(
    f"{GENERATED}{concept}?events={25_000 if how == 'recurring' else 15_000}&drift={change}"
    for how, change in HOWS.items()
    for concept in ("linear", "tree", "hyperplane", "rbf", "xor")
)


def main() -> None:
    """Measure and print."""
    parser = make_parser("drift", __doc__.splitlines()[0], " ".join(STREAMS), "ihomer,no-change")
    parser.add_argument(
        "--recovery", action="store_true", help="concepts that change in four ways instead"
    )
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, help="processes")
    arguments = parser.parse_args()
    whole = arguments.streams is None and not arguments.recovery
    if arguments.streams is None:
        arguments.streams = list(RECOVERY if arguments.recovery else STREAMS)
    errors = console(errors=True)
    tasks = make_tasks("drift", arguments)
    for task in tasks:
        if not task.stream.startswith(GENERATED) or task.shuffle is not None:
            raise UsageError(
                f"{task.stream}: no truth beside it, accepted: {GENERATED}..., not shuffled"
            )
    if whole:
        listening = copy(arguments)
        listening.streams, listening.learners = list(detectors.STREAMS), ["ihomer"]
        tasks += make_tasks("detectors", listening)
    document = run_document("drift", tasks, arguments, arguments.jobs, errors, detectors.summary)
    if not arguments.quiet:
        out = errors if arguments.json == "-" else console()
        out.print(table(document.cells), soft_wrap=True)
        out.print(means(document.cells), soft_wrap=True)
        if whole:
            out.print(detectors.table(document.summary), soft_wrap=True)


def table(cells: list[Cell]) -> Table:
    """One row a change of each cell."""
    shown = Table(title="drift", box=None, padding=(0, 1, 0, 0))
    for head in ("stream", "learner", "change"):
        shown.add_column(head, overflow="fold", min_width=8)
    for head in ("at", "before", "drop", "level", "recovered", "area", "alarms"):
        shown.add_column(head, justify="right")
    for cell in cells:
        if "told" in cell.extra:
            continue  # of the table of detectors
        if cell.status != "done":
            shown.add_row(short(cell.stream), cell.learner, cell.status)
            continue
        for mark in cell.extra["recoveries"] or [None]:
            shown.add_row(short(cell.stream), cell.learner, *_change(cell, mark))
    return shown


def means(cells: list[Cell]) -> Table:
    """One row a kind of change and learner: means over streams, seeds and changes.

    A change that was not recovered from counts as the most events that a recovery may take.
    """
    shown = Table(title="recovery", box=None, padding=(0, 1, 0, 0))
    for head in ("change", "learner"):
        shown.add_column(head)
    for head in ("changes", "recovered", "events", "area", "level", "example F1"):
        shown.add_column(head, justify="right")
    done: dict[tuple[str, str], list[tuple[dict[str, Any], float]]] = {}
    for cell in cells:
        for mark in cell.extra.get("recoveries") or ():
            place = f"{mark['how']} {mark['what'] or mark['of']}", cell.learner
            done.setdefault(place, []).append((mark, cell.measures["example_f1"]))
    for (change, learner), found in sorted(done.items()):
        took = [mark["events_to_recover"] for mark, _ in found]
        count = len(found)
        shown.add_row(
            change,
            learner,
            str(count),
            str(sum(events is not None for events in took)),
            f"{sum(FRESH if events is None else events for events in took) / count:,.0f}",
            _number(sum(mark["area"] for mark, _ in found) / count, 0),
            _number(sum(mark["level"] for mark, _ in found) / count),
            _number(sum(f1 for _, f1 in found) / count),
        )
    return shown


def short(stream: str) -> str:
    """The name and size of a generated stream; what changes has columns of its own.

    >>> short("synthetic:linear?events=20000&labels=16&drift=sudden&of=labels")
    'linear events=20000 labels=16'
    """
    name, _, query = stream.removeprefix(GENERATED).partition("?")
    return " ".join([name, *query.partition("drift=")[0].split("&")]).strip()


def _change(cell: Cell, mark: dict[str, Any] | None) -> list[str]:
    # Changes of the partition are counted beside them, but are no alarms.
    alarms = [a for a in cell.extra["alarms_at"] if "alarm" in a["kind"]]
    if mark is None:
        return ["none", "", "", "", "", "", "", str(sum(a["count"] for a in alarms))]
    after = [a for a in alarms if mark["start"] < a["events"] <= mark["stop"] + 5_000]
    took = mark["events_to_recover"]
    return [
        f"{mark['how']} {mark['what'] or mark['of']}",
        f"{mark['start']:,}",
        _number(mark["before"]),
        _number(mark["drop"]),
        _number(mark["level"]),
        "not" if took is None else f"{took:,}",
        _number(mark["area"], 0),
        str(sum(a["count"] for a in after)),
    ]


def _number(value: float | None, digits: int = 3) -> str:
    return "" if value is None or math.isnan(value) else f"{value:,.{digits}f}"


if __name__ == "__main__":
    end(main)
