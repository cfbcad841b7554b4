"""Detectors against river's ADWIN: delay, changes missed, false alarms, by level and kind of drift.

In: generated streams, ihomer. Out: a table, and the same figures as a document's summary. Delay:
events from the start of a change to the first alarm; median over streams and seeds, a missed change
counts as endless. Missed: no alarm within 5,000 events or before the next change. False alarms:
those before the first change of a stream, and all where nothing changes. What each detector hears
is said in `bench.alarms`; the last column but three is that of all our levels together.
"""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from bench.alarms import LEVELS, RIVERS
from bench.command import console, end, make_parser, make_tasks, positive, run_document
from bench.results import Cell
from bench.streams import GENERATED

WITHIN = 5_000  # events in which an alarm has to come
ANY = "any of ours"
COLUMNS = (*LEVELS, ANY, *RIVERS)

_CONCEPTS = ("linear", "tree", "hyperplane", "rbf", "xor")
_TEXT = "text?events=12000&labels=40&blocks=8"
_LINEAR = "linear?events=12000"
STREAMS = tuple(
    f"{GENERATED}{rest}"
    for rest in (
        *(f"{name}?events=12000&drift=sudden" for name in _CONCEPTS),
        *(f"{name}?events=12000&drift=gradual&width=2000" for name in _CONCEPTS),
        *(f"{name}?events=12000&drift=incremental&width=4000" for name in _CONCEPTS),
        *(f"{name}?events=20000&drift=recurring&at=5000&period=5000" for name in _CONCEPTS),
        *(f"{name}?events=12000&drift=blip&width=1000" for name in _CONCEPTS),
        *(
            f"{_TEXT}&drift=sudden&of=structure&what={what}"
            for what in ("exchange", "merge", "split")
        ),
        f"{_TEXT}&drift=sudden&of=priors&what=rank",
        f"{_LINEAR}&labels=16&drift=sudden&of=priors&what=rank",
        f"{_TEXT}&drift=sudden&of=priors&what=cardinality",
        f"{_LINEAR}&drift=sudden&of=priors&what=cardinality",
        *(
            f"{stream}&drift=sudden&of=labels&what={what}"
            for what in ("born", "dying")
            for stream in (_TEXT, f"{_LINEAR}&labels=16")
        ),
        *(f"{_LINEAR}&drift=sudden&of=features&what={what}" for what in ("replace", "vanish")),
        *(f"{name}?events=100000" for name in _CONCEPTS if name != "hyperplane"),
        # As it turns, labels become more and less frequent: here it stands still.
        "hyperplane?events=100000&turn=1000000000000",
        "linear?events=100000&labels=16",
        "text?events=100000&labels=40&blocks=8",
    )
)


def main() -> None:
    """Measure and print."""
    parser = make_parser("detectors", __doc__.splitlines()[0], " ".join(STREAMS), "ihomer")
    parser.set_defaults(seeds="1-3")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, help="processes")
    arguments = parser.parse_args()
    if arguments.streams is None:
        arguments.streams = list(STREAMS)
    errors = console(errors=True)
    tasks = make_tasks("detectors", arguments)
    document = run_document("drift", tasks, arguments, arguments.jobs, errors, summary)
    if not arguments.quiet:
        out = errors if arguments.json == "-" else console()
        out.print(table(document.summary), soft_wrap=True)


def summary(cells: Sequence[Cell]) -> dict[str, Any]:
    """The table's figures, of the cells that detectors were listened to in.

    Returns
    -------
    dict
        ``detectors``: a list with ``of``, ``what``, ``how``, ``changes`` (their number), ``delay``
        (median by column, None: endless) and ``missed`` (share by column); ``false_alarms``:
        ``events`` and ``per_100000`` (by column). Empty where there is no such cell.
    """
    heard = [cell for cell in cells if cell.status == "done" and "told" in cell.extra]
    if not heard:
        return {}
    found: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    quiet_events, false = 0, dict.fromkeys(COLUMNS, 0)
    for cell in heard:
        told = {**cell.extra["told"]}
        told[ANY] = sorted(event for level in LEVELS for event in told[level])
        starts = [int(mark["start"]) for mark in cell.extra["marks"]]
        quiet = min([*starts, cell.events])
        quiet_events += quiet
        for column in COLUMNS:
            false[column] += sum(event <= quiet for event in told[column])
        for mark in cell.extra["marks"]:
            start = int(mark["start"])
            stop = min(s for s in (*starts, cell.events, start + WITHIN) if s > start)
            delays = found.setdefault(
                (mark["of"], mark["what"], mark["how"]), {column: [] for column in COLUMNS}
            )
            for column in COLUMNS:
                after = [event - start for event in told[column] if start < event <= stop]
                delays[column].append(min(after, default=math.inf))
    rows = [
        {
            "of": of,
            "what": what,
            "how": how,
            "changes": len(delays[ANY]),
            "delay": {column: _median(delays[column]) for column in COLUMNS},
            "missed": {
                column: sum(map(math.isinf, delays[column])) / len(delays[column])
                for column in COLUMNS
            },
        }
        for (of, what, how), delays in found.items()
    ]
    rates = {column: 1e5 * false[column] / max(1, quiet_events) for column in COLUMNS}
    return {"detectors": rows, "false_alarms": {"events": quiet_events, "per_100000": rates}}


def _median(delays: Sequence[float]) -> float | None:
    middle = statistics.median(delays)
    return None if math.isinf(middle) else middle


def table(figures: dict[str, Any]) -> Table:
    """One row a kind of change, and one for false alarms, of what `summary` has found."""
    shown = Table(
        title="detectors: median delay in events, share missed", box=None, padding=(0, 1, 0, 0)
    )
    shown.add_column("change", overflow="fold", min_width=20)
    shown.add_column("n", justify="right")
    for column in COLUMNS:
        shown.add_column(column, justify="right")
    for row in figures.get("detectors", ()):
        shown.add_row(
            f"{row['how']} {row['what'] if row['of'] != 'concept' else 'concept'}",
            str(row["changes"]),
            *(_delay(row["delay"][column], row["missed"][column]) for column in COLUMNS),
        )
    if not figures:
        return shown
    false = figures["false_alarms"]
    shown.add_row(
        "false alarms / 100,000",
        f"{false['events']:,}",
        *(f"{false['per_100000'][column]:.2f}" for column in COLUMNS),
    )
    return shown


def _delay(delay: float | None, missed: float) -> str:
    said = "-" if delay is None else f"{delay:,.0f}"
    return f"{said} {missed:.0%}" if missed else said


if __name__ == "__main__":
    end(main)
