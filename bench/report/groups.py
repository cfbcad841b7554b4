"""The cells of all documents, each once, and in groups over seeds and shuffles.

In: documents. Out: a `Run` and its groups. It is here so that what a mean is made of, and what
stays out of it, is decided in one place.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bench.report.names import learners_in_order, measures_in, streams_in_order
from bench.results import Cell, Document


class Row(NamedTuple):
    """One line of a table: a stream in file order, or the same stream over shuffles.

    Figures of file order and of shuffles are never mixed in a mean.
    """

    stream: str
    shuffled: bool = False

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.stream} (shuffled)" if self.shuffled else self.stream


class Figure(NamedTuple):
    """Mean of a figure over `n` cells and its sample standard deviation (NaN for one cell)."""

    mean: float
    sd: float
    n: int


@dataclass(slots=True)
class Group:
    """The cells of one learner on one row: its seeds and shuffles."""

    row: Row
    learner: str
    cells: list[Cell] = field(default_factory=list)

    @property
    def done(self) -> list[Cell]:
        """The cells that went through the whole stream."""
        return [cell for cell in self.cells if cell.status == "done"]

    @property
    def finished(self) -> bool:
        """Whether every cell went through the whole stream; only then it enters a mean of rows."""
        return bool(self.cells) and len(self.done) == len(self.cells)

    @property
    def worst(self) -> Cell:
        """A cell that tells why the group is not finished; the first cell if it is."""
        order = ("failed", "time-limit", "unavailable", "done")
        return min(self.cells, key=lambda cell: order.index(cell.status))

    def figure(self, measure: str) -> Figure | None:
        """Mean over the cells that are done; None if there is none, or one without the measure."""
        return mean_of([cell.measures.get(measure, math.nan) for cell in self.done])

    def rate(self) -> float | None:
        """Events per second, geometric mean over the cells that are done."""
        rates = [cell.events_per_second for cell in self.done if cell.events_per_second > 0]
        return statistics.geometric_mean(rates) if rates else None


Groups = Mapping[tuple[Row, str], Group]


def mean_of(values: Sequence[float]) -> Figure | None:
    """Mean and standard deviation; None for no value at all and for a NaN among them.

    Examples
    --------
    >>> mean_of([1.0, 3.0])
    Figure(mean=2.0, sd=1.4142135623730951, n=2)
    """
    if not values or any(not math.isfinite(value) for value in values):
        return None
    sd = statistics.stdev(values) if len(values) > 1 else math.nan
    return Figure(statistics.fmean(values), sd, len(values))


@dataclass(slots=True)
class Run:
    """Everything that the report is made of.

    Attributes
    ----------
    documents
        As given.
    cells
        By command, in a fixed order; of cells that were measured twice the one of the last
        document counts.
    superseded
        Number of cells that a later document replaced.
    """

    documents: list[Document]
    cells: dict[str, list[Cell]]
    superseded: int

    def plain(self, command: str) -> list[Cell]:
        """The cells of `command` that sweep no parameter."""
        return [cell for cell in self.cells.get(command, []) if "axis" not in cell.extra]

    def swept(self) -> list[Cell]:
        """The cells, of whatever command, that are one point of a sweep."""
        return [cell for cells in self.cells.values() for cell in cells if "axis" in cell.extra]


def collect(documents: Sequence[Document]) -> Run:
    """The cells of `documents`, each key of a command once, in a fixed order."""
    kept: dict[tuple[str, ...], Cell] = {}
    total = 0
    for document in documents:
        for cell in document.cells:
            sweep = (str(cell.extra.get("axis", "")), str(cell.extra.get("value", "")))
            kept[(document.command, cell.key, *sweep)] = cell
            total += 1
    streams = {s: i for i, s in enumerate(streams_in_order(c.stream for c in kept.values()))}
    learners = {n: i for i, n in enumerate(learners_in_order(c.learner for c in kept.values()))}

    def place(item: tuple[tuple[str, ...], Cell]) -> tuple[Any, ...]:
        key, cell = item
        shuffle = -1 if cell.shuffle is None else cell.shuffle
        return streams[cell.stream], learners[cell.learner], shuffle, cell.seed, key

    cells: dict[str, list[Cell]] = {}
    for key, cell in sorted(kept.items(), key=place):
        cells.setdefault(key[0], []).append(cell)
    return Run(list(documents), cells, total - len(kept))


def group(cells: Iterable[Cell]) -> dict[tuple[Row, str], Group]:
    """`cells` by row and learner."""
    groups: dict[tuple[Row, str], Group] = {}
    for cell in cells:
        row = Row(cell.stream, cell.shuffle is not None)
        groups.setdefault((row, cell.learner), Group(row, cell.learner)).cells.append(cell)
    return groups


def rows_of(groups: Groups) -> list[Row]:
    """The rows of `groups` in the order of tables: a shuffled stream after its file order."""
    rows = {row for row, _ in groups}
    return [
        row
        for stream in streams_in_order(row.stream for row in rows)
        for row in (Row(stream), Row(stream, shuffled=True))
        if row in rows
    ]


def learners_of(groups: Groups) -> list[str]:
    """The learners of `groups` in the order of tables."""
    return learners_in_order(learner for _, learner in groups)


def measures_of(groups: Groups) -> list[str]:
    """The measures that some cell of `groups` has, the main ones first."""
    return measures_in(key for g in groups.values() for cell in g.cells for key in cell.measures)
