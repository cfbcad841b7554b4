"""Partitioners of labels against planted blocks: found, found again, kept, and at what cost.

In: kinds of partitioner, seeds. Out: tables, bars met or missed, and a document of cells. A cell's
learner is the kind, its stream says what was planted; `bench.label_sets` draws it. A label counts
as placed when it is in a cluster and has been on five times since the last planted change: fewer
tell nobody where it is. Agreement is the adjusted Rand index over these.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.table import Table
from sklearn.metrics import adjusted_rand_score

from bench.command import (
    Parser,
    console,
    data_folder,
    end,
    machine,
    numbers,
    versions,
)
from bench.label_sets import blocks_of, exchanged, label_sets
from bench.results import Cell, Document
from bench.streams import REAL, Stream
from ihomer.connectors.datasets.atomic import write_whole
from ihomer.drift.events import EventLog, Kind, Level
from ihomer.instances import IntArray, OffsetArray
from ihomer.learners.kernels.scaling import STRIDE
from ihomer.learners.partition.keeper import PartitionKeeper
from ihomer.learners.partition.kinds import DEFAULT, KINDS, make_partitioner

SKEWS = ((0.5, 0.5), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0))
EVEN = (0.0, 0.0)
SEEN = 5
FOUND = 0.99  # agreement from which a split or merge counts as found
QUIET = 100_000


@dataclass(frozen=True)
class Bar:
    """What a figure has to reach: at least, or at most where it is a `ceiling`."""

    figure: str
    value: float
    ceiling: bool = False

    def met(self, found: float) -> bool:
        """Whether `found` does; NaN does not."""
        return found <= self.value if self.ceiling else found >= self.value


def _rows(*parts: tuple[OffsetArray, IntArray]) -> tuple[OffsetArray, IntArray]:
    """Streams of label sets one after the other."""
    sizes = [np.diff(indptr) for indptr, _ in parts]
    indptr = np.concatenate([np.zeros(1, dtype=np.int64), *sizes]).cumsum()
    return indptr, np.concatenate([labels for _, labels in parts])


class Run:
    """A partitioner and what it has been shown, stride by stride as the learner does.

    Parameters
    ----------
    kind
        Of `KINDS`.
    rows
        All label sets.
    n_labels
        How many labels there are.
    """

    def __init__(self, kind: str, rows: tuple[OffsetArray, IntArray], n_labels: int) -> None:
        self.log = EventLog()
        self.keeper = PartitionKeeper(make_partitioner(kind), self.log)
        self.names = [f"label {i:07}" for i in range(n_labels)]
        self.indptr, self.labels = rows
        self.at = 0
        self.counting = self.adapting = 0.0  # seconds of the processor

    def until(self, stop: int) -> Iterator[int]:
        """Go on to the last stride up to event `stop`; yields after each of them."""
        while self.at + STRIDE <= stop:
            first, last = self.indptr[self.at], self.indptr[self.at + STRIDE]
            part = self.indptr[self.at : self.at + STRIDE + 1] - first
            start = time.process_time()
            self.keeper.update(part, self.labels[first:last])
            between = time.process_time()
            self.at += STRIDE
            self.keeper.adapt(self.at, lambda: self.names)
            self.counting += between - start
            self.adapting += time.process_time() - between
            yield self.at

    def places(self) -> IntArray:
        """The cluster of each label, -1 = none."""
        found = np.full(len(self.names), -1, dtype=np.int32)
        for number, cluster in enumerate(self.keeper.clusters()):
            found[cluster] = number
        return found

    def agreement(self, blocks: IntArray, since: int) -> tuple[float, float]:
        """Agreement with `blocks`, planted at event `since`, and the share of labels placed."""
        shown = self.labels[self.indptr[min(since, self.at)] : self.indptr[self.at]]
        found = self.places()
        placed = (found >= 0) & (np.bincount(shown, minlength=len(found)) >= SEEN)
        if not placed.any():
            return 0.0, 0.0
        return float(adjusted_rand_score(blocks[placed], found[placed])), float(placed.mean())


def exchange(
    kind: str, n_labels: int, n_blocks: int, n: int, skew: tuple[float, float], seed: int
) -> Cell:
    """Agreement after `n` events, and again after `n` events with half the labels exchanged."""
    blocks = blocks_of(n_labels, n_blocks)
    moved = exchanged(blocks, seed)
    rows = _rows(label_sets(blocks, n, seed, *skew), label_sets(moved, n, seed + 1_000_000, *skew))
    run = Run(kind, rows, n_labels)
    for _ in run.until(n):
        pass
    before, placed = run.agreement(blocks, 0)
    had = run.places() >= 0
    kept = 1.0
    for _ in run.until(2 * n):
        kept = min(kept, float((run.places()[had] >= 0).mean()) if had.any() else math.nan)
    after, placed_after = run.agreement(moved, n)
    cell = _cell(f"exchange {n_labels} labels {skew[0]:g},{skew[1]:g}", kind, seed, run)
    cell.measures = {
        "agreement": before,
        "placed": placed,
        "agreement_after": after,
        "placed_after": placed_after,
        "kept": kept,
    }
    return cell


# Blocks before and after, of 40 labels: all or one of them.
_EIGHT, _FOUR = blocks_of(40, 8), blocks_of(40, 4)
_SEVEN = np.maximum(_EIGHT - 1, 0).astype(np.int32)
REGROUPINGS = {
    "split of all": (_FOUR, _EIGHT),
    "split of one": (_SEVEN, _EIGHT),
    "merge of all": (_EIGHT, _FOUR),
    "merge of two": (_EIGHT, _SEVEN),
}


def regroup(kind: str, what: str, seed: int, n: int = 6_000) -> Cell:
    """Events until a split or merge of blocks is found, NaN: not in as many as there were."""
    before, after = REGROUPINGS[what]
    rows = _rows(label_sets(before, n, seed), label_sets(after, n, seed + 1_000_000))
    run = Run(kind, rows, len(before))
    for _ in run.until(n):
        pass
    start, _ = run.agreement(before, 0)
    delay = math.nan
    for at in run.until(2 * n):
        if at > n and adjusted_rand_score(after, run.places()) >= FOUND:
            delay = float(at - n)
            break
    cell = _cell(what, kind, seed, run)
    cell.measures = {"agreement": start, "delay": delay}
    return cell


def quiet(kind: str, n_labels: int, n_blocks: int, n: int, seed: int) -> Cell:
    """What changes in 100,000 events without drift that follow `n`; the skew goes by the seed."""
    skew = SKEWS[seed % len(SKEWS)]
    blocks = blocks_of(n_labels, n_blocks)
    run = Run(kind, label_sets(blocks, n + QUIET, seed, *skew), n_labels)
    for _ in run.until(n):
        pass
    told = run.log.total
    for _ in run.until(n + QUIET):
        pass
    later = run.log.since(told)
    cell = _cell(f"quiet {n_labels} labels", kind, seed, run)
    cell.measures = {
        "agreement": run.agreement(blocks, 0)[0],
        "changes": float(
            sum(event.kind is Kind.RESET and event.level is Level.STRUCTURE for event in later)
        ),
        "labels_moved": float(
            len(
                {
                    label
                    for event in later
                    if event.level is Level.PARTITION and event.action != "found a place"
                    for label in event.labels
                }
            )
        ),
    }
    return cell


def large(kind: str, seed: int, n_labels: int = 20_000, n: int = 200_000) -> Cell:
    """Time and memory of many labels in blocks of 20."""
    blocks = blocks_of(n_labels, n_labels // 20)
    run = Run(kind, label_sets(blocks, n, seed, *SKEWS[0]), n_labels)
    next(run.until(STRIDE))
    run.counting = run.adapting = 0.0
    for _ in run.until(n):
        pass
    found, placed = run.agreement(blocks, 0)
    cell = _cell(f"large {n_labels} labels", kind, seed, run)
    cell.measures = {
        "agreement": found,
        "placed": placed,
        "counting_us": run.counting / run.at * 1e6,
        "adapting_us": run.adapting / run.at * 1e6,
        "counts_mb": run.keeper.partitioner.memory_bytes / 1e6,
        "whole_mb": run.keeper.memory_bytes / 1e6,
    }
    return cell


def halves(kind: str, name: str, folder: Path | None) -> Cell:
    """Whether the partitions of every other event and of those between agree, on a real stream."""
    ids: dict[str, int] = {}
    rows = [
        sorted({ids.setdefault(label, len(ids)) for label in event.on or ()})
        for event in Stream(name, folder).events()
    ]
    names = list(ids)
    start = time.process_time()
    found = []
    for part in (rows[::2], rows[1::2], rows):
        partitioner = make_partitioner(kind)
        indptr = np.cumsum([0, *map(len, part)], dtype=np.int64)
        partitioner.update(indptr, np.array([i for row in part for i in row], dtype=np.int32))
        partitioner.refit(names)
        places = np.full(len(names), -1)
        for number, cluster in enumerate(partitioner.clusters()):
            places[cluster] = number
        found.append(places)
    both = (found[0] >= 0) & (found[1] >= 0)
    sizes = np.bincount(found[2][found[2] >= 0])
    cell = Cell(name, kind, 0, events=len(rows), length=len(rows), labels=len(names))
    cell.seconds = time.process_time() - start
    cell.measures = {
        "agreement": float(adjusted_rand_score(found[0][both], found[1][both])),
        "clusters": float(len(sizes)),
        "largest": float(sizes.max(initial=0)),
        "placed": float((found[2] >= 0).mean()),
    }
    return cell


def _cell(stream: str, kind: str, seed: int, run: Run) -> Cell:
    cell = Cell(stream, kind, seed, events=run.at, length=run.at, labels=len(run.names))
    cell.seconds = run.counting + run.adapting
    return cell


def bars_of(stream: str) -> tuple[Bar, ...]:
    """What the default kind has to reach on a stream."""
    what, _, rest = stream.partition(" ")
    if what == "exchange":
        if rest.startswith("40 "):
            least, placed = 0.99, 1.0
        else:
            least, placed = {
                "0.5,0.5": (0.98, 0.95),
                "1,0": (0.98, 0.95),
                "0,1": (0.96, 0.80),
                "1,1": (0.96, 0.60),
            }[rest.split()[-1]]
        figures = {"agreement": least, "placed": placed}
        return (
            *(
                Bar(figure + when, bar)
                for when in ("", "_after")
                for figure, bar in figures.items()
            ),
            Bar("kept", 1.0),
        )
    if what in ("split", "merge"):
        return (Bar("delay", 2_000, ceiling=True),)
    if what == "quiet":
        few = rest.startswith("40 ")
        moved = (Bar("labels_moved", 0, ceiling=True),) if few else ()
        return (Bar("changes", 0 if few else 1, ceiling=True), *moved)
    if what == "large":
        return Bar("adapting_us", 50, ceiling=True), Bar("counts_mb", 50, ceiling=True)
    return ()


def work(arguments: argparse.Namespace) -> list[Callable[[], Cell]]:
    """What there is to be measured, in order."""
    kinds, seeds = arguments.kinds.split(","), numbers(arguments.seeds)
    folder = data_folder(arguments)
    made: list[Callable[[], Cell]] = []
    parts = set(arguments.parts.split(","))
    sizes = ((40, 8, 2_000), (2_000, 100, 20_000))
    for kind in kinds:
        if "exchange" in parts:
            # The published form tests matrices of all labels again and again: few labels only.
            for size in sizes[:1] if kind == "jaccard-published" else sizes:
                for skew in (EVEN, *SKEWS) if size[0] == 40 else SKEWS:
                    made += [partial(exchange, kind, *size, skew, seed) for seed in seeds]
        if "regroup" in parts:
            made += [partial(regroup, kind, what, s) for what in REGROUPINGS for s in seeds]
        # The others take the square of the labels.
        if "quiet" in parts and kind == DEFAULT:
            several = range(seeds[0], seeds[0] + arguments.quiet_streams)
            made += [partial(quiet, kind, *size, seed) for size in sizes for seed in several]
        if "large" in parts and kind == DEFAULT:
            made.append(partial(large, kind, seeds[0]))
        if "real" in parts and folder is not None:
            made += [partial(halves, kind, name, folder) for name in REAL]
    return made


def main() -> None:
    """Measure and print."""
    parser = Parser(prog="python -m bench.partition", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the data sets (IHOMER_DATA_DIR)")
    parser.add_argument("--kinds", default=",".join(KINDS), metavar="NAMES")
    parser.add_argument("--parts", default="exchange,regroup,quiet,large,real", metavar="NAMES")
    parser.add_argument("--seeds", default="101-103", metavar="LIST", help="such as 1,2 or 1-5")
    parser.add_argument("--quiet-streams", type=int, default=20, metavar="N")
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE", help="- or nothing: stdout")
    arguments = parser.parse_args()
    cells = []
    errors = console(errors=True)
    for number, measure in enumerate(tasks := work(arguments)):
        cells.append(measure())
        errors.print(f"{number + 1} of {len(tasks)}: {cells[-1].learner} {cells[-1].stream}")
    shown = {key: str(value) for key, value in vars(arguments).items() if key != "json"}
    document = Document("partition", machine(), versions(), shown, cells)
    document.summary = {"bars": bars(cells)}
    if arguments.json == "-":
        sys.stdout.buffer.write(document.to_json() + b"\n")
    elif arguments.json:
        write_whole(Path(arguments.json), document.to_json())
    out = errors if arguments.json == "-" else console()
    out.print(figures(cells))
    out.print(bars_table(document.summary["bars"]))


def by_stream(cells: Sequence[Cell]) -> dict[tuple[str, str], dict[str, list[float]]]:
    """Figures over the seeds, by stream and kind."""
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for cell in cells:
        figures = found.setdefault((cell.stream, cell.learner), {})
        for figure, value in cell.measures.items():
            figures.setdefault(figure, []).append(value)
    return found


def bars(cells: Sequence[Cell]) -> list[dict[str, object]]:
    """The bars of the default kind, held against the worst seed."""
    rows: list[dict[str, object]] = []
    for (stream, kind), found in by_stream(cells).items():
        for bar in bars_of(stream) if kind == DEFAULT else ():
            values = found[bar.figure]
            worst = max(values) if bar.ceiling else min(values)
            worst = math.nan if any(map(math.isnan, values)) else worst
            rows.append(
                {
                    "stream": stream,
                    "figure": bar.figure,
                    "worst": worst,
                    "bar": bar.value,
                    "met": bar.met(worst),
                }
            )
    return rows


def figures(cells: Sequence[Cell]) -> Table:
    """Means over the seeds, the worst in brackets where there are several."""
    shown = Table(title="partition", box=None, padding=(0, 1, 0, 0))
    for head in ("stream", "kind", "seeds", "figures"):
        shown.add_column(head, overflow="fold")
    for (stream, kind), found in by_stream(cells).items():
        parts = []
        for figure, values in found.items():
            bad = max if figure in ("delay", "changes", "labels_moved") else min
            text = f"{figure} {np.mean(values):.4g}"
            parts.append(text + (f" ({bad(values):.4g})" if len(values) > 1 else ""))
        shown.add_row(stream, kind, str(len(next(iter(found.values())))), ", ".join(parts))
    return shown


def bars_table(rows: Sequence[dict[str, object]]) -> Table:
    """One row a bar."""
    shown = Table(title=f"bars of {DEFAULT}", box=None, padding=(0, 1, 0, 0))
    for head in ("stream", "figure", "worst", "bar", ""):
        shown.add_column(head)
    for row in rows:
        shown.add_row(
            str(row["stream"]),
            str(row["figure"]),
            f"{row['worst']:.4g}",
            f"{row['bar']:g}",
            "met" if row["met"] else "MISSED",
        )
    return shown


if __name__ == "__main__":
    end(main)
