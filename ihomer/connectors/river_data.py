"""The multi-label data sets that come with river, as sources.

In: a name. Out: records whose values are ready events. It is here so that there is a real stream
to try without any download.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ihomer.connectors.base import Position, Record, Source
from ihomer.connectors.memory import event_number
from ihomer.errors import UsageError
from ihomer.instances import Event, Row

# Name in a URI to class in river.datasets. Its other multi-label set (Music) is downloaded.
BUNDLED = {"yeast": "Yeast"}


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
        # The import takes over a second: only those who ask for a data set wait for it.
        from river import datasets

        self.name = f"river:{dataset.lower()}"
        self._records: list[Record] = []
        # Read to the end at once: river leaves its file open when an iteration is broken off.
        for number, (x, y) in enumerate(getattr(datasets, known)()):
            if not number:
                self.features, self.labels = tuple(x), tuple(y)
            values = np.fromiter(map(x.__getitem__, self.features), np.float64, len(self.features))
            on = [label for label, state in y.items() if state]
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
