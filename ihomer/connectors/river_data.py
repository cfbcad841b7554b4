"""The multi-label data sets that come with river, as sources.

In: a name. Out: records whose values are ready events. It is here so that there is a real stream
to try without any download.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ihomer.connectors.base import Position, Record, Source
from ihomer.connectors.memory import event_number
from ihomer.errors import InputError, UsageError
from ihomer.instances import Event, Row


class _File(NamedTuple):
    file: str  # in river's folder of data sets
    labels: int  # the last columns


# By name in a URI. River's other multi-label data set (Music) is downloaded.
BUNDLED = {"yeast": _File("yeast.csv.gz", 14)}


def _folder() -> Path:
    """River's folder of data sets, found without its import, which takes over a second."""
    found = find_spec("river.datasets")
    if found is None or found.origin is None:
        raise InputError("river: found no data sets in the installed package, accepted: river 0.26")
    return Path(found.origin).parent


class RiverSource(Source):
    """One of river's data sets, whole in memory.

    An event's id and its record's offset are its number from 0; the features are a `Row` over one
    tuple of names. The position is ``{"event": n}``.

    Parameters
    ----------
    dataset
        One of `BUNDLED`, in either case.

    Attributes
    ----------
    n_attributes
        Number of features.

    Raises
    ------
    UsageError
        The name is none of them.
    """

    def __init__(self, dataset: str) -> None:
        known = BUNDLED.get(dataset.lower())
        if known is None:
            raise UsageError(
                f"river:{dataset}: found {dataset!r}, accepted (bundled with river and"
                f" multi-label): {', '.join(f'river:{name}' for name in BUNDLED)}"
            )
        self.name = f"river:{dataset.lower()}"
        self._records: list[Record] = []
        with gzip.open(_folder() / known.file, "rt", encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            names = next(rows)
            first = len(names) - known.labels
            self.features, self.labels = tuple(names[:first]), tuple(names[first:])
            for number, row in enumerate(rows):
                values = np.array(row[:first], dtype=np.float64)
                states = zip(self.labels, row[first:], strict=True)
                on = [label for label, state in states if state == "1"]
                event = Event(number, Row(self.features, values), on)
                self._records.append(Record(event, self.name, 0, number))
        self.length = len(self._records)
        self.n_attributes = len(self.features)
        self._next = 0

    def next_batch(self, max_records: int, timeout: float) -> Sequence[Record] | None:
        """See `Source.next_batch`."""
        del timeout  # nothing to wait for
        records = self._records[self._next : self._next + max_records]
        self._next += len(records)
        return records or None

    def position(self) -> Position:
        """See `Source.position`."""
        return {"event": self._next}

    def seek(self, position: Position) -> None:
        """See `Source.seek`."""
        self._next = event_number(self.name, position, len(self._records))

    def close(self) -> None:
        """See `Source.close`."""
