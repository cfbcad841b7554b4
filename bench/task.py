"""One cell to be measured: which learner on which stream, and under what limits."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.streams import Stream


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker process is told.

    Attributes
    ----------
    command
        Which measurement: one of `bench.cell.MEASUREMENTS`.
    stream, learner, seed, shuffle
        See `bench.results.Cell`.
    folder
        Where data sets lie; None: the user's data folder.
    limit
        Largest number of events; None: all.
    time_limit
        Seconds of predicting, learning and scoring after which the cell is given up.
    min_seconds
        Passes with fresh models are repeated until they have taken this long together.
    options
        What one measurement alone needs.
    """

    command: str
    stream: str
    learner: str
    seed: int = 1
    shuffle: int | None = None
    folder: str | None = None
    limit: int | None = None
    time_limit: float = 600.0
    min_seconds: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)

    def open(self) -> Stream:
        """The stream, as it is to be gone through."""
        folder = None if self.folder is None else Path(self.folder)
        return Stream(self.stream, folder, self.shuffle, self.seed, self.limit)

    def to_dict(self) -> dict[str, Any]:
        """The task as JSON values."""
        return asdict(self)
