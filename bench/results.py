"""The document that a benchmark writes and the report reads: one object, a list of cells.

In: figures of cells. Out: JSON. It is here so that measuring and reporting can be done at
different times and on different machines.

A document is ``{"format": 1, "command": "accuracy", "made": RFC 3339, "machine": {...},
"versions": {...}, "arguments": {...}, "summary": {...}, "cells": [...]}``; a cell is `Cell` as an
object, the summary is what only all cells together tell.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from ihomer.errors import InputError

FORMAT = 1
COMMANDS = ("accuracy", "throughput", "memory", "drift")
STATUSES = ("done", "time-limit", "unavailable", "failed")


@dataclass(slots=True)
class Cell:
    """What one learner did on one stream.

    Attributes
    ----------
    stream
        Its short name (``yeast``) or URI (``synthetic:...``).
    learner
        Its name in the table of learners.
    seed
        The learner's; for generated streams also the generator's unless the URI names one.
    shuffle
        Seed of the permutation ``numpy.random.default_rng(shuffle).permutation(n)``; None: file
        order.
    status
        ``done``; ``time-limit``: stopped after `events` events, and the figures are those of that
        prefix, so they enter no mean; ``unavailable``: what it needs is not installed; ``failed``.
    reason
        One line for people, empty for ``done``.
    events, length
        Number of events scored; number that the stream has.
    labels, features
        Of the whole stream.
    measures
        As `ihomer.stream.measures.Measures.result`.
    seconds
        Predicting, learning and scoring, of one pass (the median pass if there were several).
    events_per_second
        Over those seconds.
    passes
        Number of passes with fresh models that the timing is made of.
    peak_rss_mb, model_bytes
        Of the process, or of its child where a peer runs in one and that is larger; of the model
        as the learner states it.
    series
        Rolling measures over the last events, each an object with ``events`` beside the measures.
    extra
        What one command alone knows: drift marks, recovery, latencies, the value of a swept
        parameter.
    """

    stream: str
    learner: str
    seed: int
    shuffle: int | None = None
    status: str = "done"
    reason: str = ""
    events: int = 0
    length: int = 0
    labels: int = 0
    features: int = 0
    measures: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    events_per_second: float = 0.0
    passes: int = 0
    peak_rss_mb: float = 0.0
    model_bytes: int | None = None
    series: list[dict[str, Any]] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What tells this cell from others of its document."""
        return f"{self.stream}|{self.learner}|{self.seed}|{self.shuffle}"


@dataclass(slots=True)
class Document:
    """The cells of one run of one command, with what made them."""

    command: str
    machine: dict[str, Any]
    versions: dict[str, str]
    arguments: dict[str, Any]
    cells: list[Cell]
    made: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    summary: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """The document as indented JSON; NaN becomes null."""
        return orjson.dumps({"format": FORMAT, **asdict(self)}, option=orjson.OPT_INDENT_2)


def read_document(path: Path) -> Document:
    """The document in the file `path`.

    Raises
    ------
    InputError
        The file cannot be read or is no such document.
    """
    try:
        found = orjson.loads(path.read_bytes())
        if found["format"] != FORMAT:
            raise InputError(f"{path}: found format {found['format']}, accepted: {FORMAT}")
        del found["format"]
        found["cells"] = [cell_from(cell) for cell in found["cells"]]
        return Document(**found)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: found no benchmark document ({error})") from None


def cell_from(found: dict[str, Any]) -> Cell:
    """A cell from its JSON, where a mean over nothing is null."""
    cell = Cell(**found)
    cell.measures = {k: float("nan") if v is None else v for k, v in cell.measures.items()}
    return cell
