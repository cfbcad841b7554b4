"""Memory of learners over a stream: the process's resident set, the model as it states itself.

In: names of streams and learners. Out: a table and a document with both over the events, the
largest size that a model stated against the limit that it was given, and the peak of a whole
``ihomer replay`` of imdb where its file is there. Streams are not held in memory, so that what
grows is the learner; without ``--streams`` two millions of generated events are gone through, text
with more words than columns and labels that are born all the time, and dense features; and 200,000
in which labels and features are born and vanish throughout (`bench.churn`, some minutes).
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench import churn
from bench.command import (
    console,
    data_folder,
    end,
    make_parser,
    make_tasks,
    positive,
    run_document,
)
from bench.learners import IHOMER
from bench.results import Cell
from bench.streams import GENERATED, Stream
from ihomer.errors import InputError

EVENTS = 2_000_000
_TEXT = f"{GENERATED}text?events={EVENTS}&labels=200&words=200000"
STREAMS = f"{_TEXT}&drift=gradual&of=labels&at=0.1&width=0.8,{GENERATED}tree?events={EVENTS}"
REPLAYED = "imdb"
_REPLAY = "import sys; from ihomer.stream.cli import main; main()"


def main() -> None:
    """Measure and print."""
    parser = make_parser("memory", __doc__.splitlines()[0], STREAMS, IHOMER)
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, help="processes")
    arguments = parser.parse_args()
    if arguments.time_limit == parser.get_default("time_limit"):
        arguments.time_limit = 7200.0  # what grows shows late
    errors = console(errors=True)
    tasks = make_tasks("memory", arguments)
    replayed = REPLAYED if arguments.streams is None else None
    churned = None if replayed is None else min(churn.EVENTS, arguments.limit or churn.EVENTS)
    document = run_document(
        "memory",
        tasks,
        arguments,
        arguments.jobs,
        errors,
        lambda cells: summary(cells, replayed, data_folder(arguments), arguments.limit, churned),
    )
    if not arguments.quiet:
        out = errors if arguments.json == "-" else console()
        out.print(table(document.cells), soft_wrap=True)
        print_summary(document.summary, out)


def summary(
    cells: Sequence[Cell],
    replayed: str | None,
    folder: Path | None,
    limit: int | None,
    churned: int | None = None,
) -> dict[str, Any]:
    """What memory is judged by.

    Returns
    -------
    dict
        ``largest``: by stream and learner the model's largest size, its limit and their ratio;
        ``replay``: peak resident set in MB of 10^6 bytes of a replay of `replayed`, absent where
        that has no file; ``churn``: see `bench.churn.measure`, of so many events as `churned`.
    """
    found: dict[str, Any] = {"largest": {}}
    for cell in cells:
        largest = cell.extra.get("largest_model_bytes")
        bound = cell.extra.get("limit_bytes")
        if largest:
            found["largest"][f"{cell.stream} {cell.learner}"] = {
                "bytes": largest,
                "limit_bytes": bound,
                "share": largest / bound if bound else None,
            }
    if replayed is not None:
        peak = replay_peak(replayed, folder, limit)
        if peak is not None:
            found["replay"] = {"stream": replayed, "peak_rss_mb": peak}
    if churned:
        command = [sys.executable, "-m", "bench.churn", "--events", str(churned)]
        found["churn"] = orjson.loads(_output(command, "labels that come and go"))
    return found


def replay_peak(name: str, folder: Path | None, limit: int | None) -> float | None:
    """Peak resident set of ``ihomer replay``, MB of 10^6 bytes; None: the stream is not there."""
    try:
        stream = Stream(name, folder)
        stream.open().close()
    except InputError:
        return None
    command = [sys.executable, "-c", _REPLAY, "replay", *stream.uris, "--json", "-", "--quiet"]
    if limit is not None:
        command += ["--limit", str(limit)]
    return float(orjson.loads(_output(command, f"replay of {name}"))["peak_rss_mb"])


def _output(command: list[str], what: str) -> bytes:
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - our own
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise InputError(f"{what}: {lines[-1] if lines else 'no reason given'}")
    return done.stdout


def print_summary(found: dict[str, Any], out: Console) -> None:
    """One line for each figure."""
    for name, each in found["largest"].items():
        share = "no limit" if each["share"] is None else f"{each['share']:.1%} of its limit"
        text = f"{name}: model {each['bytes'] / 2**20:,.1f} MiB at most, {share}"
        out.print(Text(text), soft_wrap=True)
    if "replay" in found:
        each = found["replay"]
        out.print(Text(f"replay of {each['stream']}: {each['peak_rss_mb']:,.0f} MB at most"))
    if "churn" in found:
        each = found["churn"]
        last = each["series"][-1]
        text = (
            f"{each['labels']:,} labels that came and went in {each['events']:,} events:"
            f" {each['ids']:,} ids, {each['columns']:,} columns, model"
            f" {last['model_bytes'] / 1e6:,.1f} MB ({each['growth']:+.1%} from the second quarter"
            f" to the last), process {last['rss_mb']:,.0f} MB ({each['rss_growth']:+.1%})"
        )
        out.print(Text(text), soft_wrap=True)


def table(cells: Sequence[Cell]) -> Table:
    """One row a cell: peak, model at the end, growth of the model over the second half."""
    shown = Table(title="memory")
    shown.add_column("stream")
    shown.add_column("learner")
    for head in ("events", "peak MB", "above idle MB", "model MB", "second half"):
        shown.add_column(head, justify="right")
    for cell in cells:
        if cell.status in ("failed", "unavailable"):
            shown.add_row(cell.stream, cell.learner, cell.status)
            continue
        above = cell.peak_rss_mb - float(cell.extra.get("idle_rss_mb", 0.0))
        model = "" if cell.model_bytes is None else f"{cell.model_bytes / 1e6:,.1f}"
        change = growth(cell)
        shown.add_row(
            cell.stream,
            cell.learner,
            f"{cell.events:,}",
            f"{cell.peak_rss_mb:,.0f}",
            f"{above:,.0f}",
            model,
            "" if math.isnan(change) else f"{change:+.1%}",
        )
    return shown


def growth(cell: Cell) -> float:
    """Growth of the model from the middle of the stream to its end, as a share; NaN: unknown."""
    sizes = [point["model_bytes"] for point in cell.series if point.get("model_bytes")]
    if len(sizes) < 2:
        return math.nan
    return float(sizes[-1] / sizes[len(sizes) // 2] - 1.0)


if __name__ == "__main__":
    end(main)
