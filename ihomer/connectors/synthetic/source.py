"""A generated stream as a source: a name and parameters in, records of ready events out.

It is here so that a stream whose truth is known goes wherever a file or a topic does.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import repeat

import numpy as np

from ihomer.connectors.base import Position, Record, Source
from ihomer.connectors.memory import event_number
from ihomer.connectors.synthetic.generator import ChunkLabels, Generator
from ihomer.connectors.synthetic.labels import NONE
from ihomer.connectors.synthetic.parameters import Drift, Parameters, check, parse_query
from ihomer.connectors.synthetic.truth import Explanation, Truth
from ihomer.connectors.synthetic.uniform import CHUNK
from ihomer.errors import UsageError
from ihomer.instances import Event

_NO_END = 1 << 62


class SyntheticSource(Source):
    """A generated stream; the package's docstring lists the names and their parameters.

    An event's id and its record's offset are its number from 0, its features are a `Row` over a
    tuple of names that the events share, its labels are sorted. Labels and features that a change
    brings are not declared: they appear. The position is ``{"event": n}``.

    Parameters
    ----------
    stream
        ``linear``, ``hyperplane``, ``rbf``, ``tree``, ``xor``, ``text`` or ``blocks``; or what
        `parse_query` has made of a URI, and then nothing else.
    drift
        Changes, in the order in which they add up; a word is a `Drift` of that kind with
        everything else left open.
    **parameters
        As in a URI; numbers as numbers, ranges as ``(1, 4)`` or ``"1-4"``.

    Attributes
    ----------
    truth
        What was planted.
    parameters
        All of them, defaults filled in.

    Raises
    ------
    UsageError
        A name, key or value is none that is accepted.

    Examples
    --------
    >>> source = SyntheticSource("linear", events=1000, drift=Drift("sudden", at=0.5))
    >>> len(source.next_batch(5000, timeout=0.0)), len(source.labels), len(source.features)
    (1000, 8, 30)
    >>> [(change.of, change.start) for change in source.truth.changes]
    [('concept', 500)]
    """

    def __init__(
        self,
        stream: str | Parameters,
        *,
        drift: Drift | Sequence[Drift] | str = (),
        **parameters: float | str | tuple[int, int],
    ) -> None:
        if isinstance(stream, Parameters):
            if drift or parameters:
                raise UsageError("SyntheticSource: found more beside Parameters, accepted: nothing")
            self.parameters = stream
        else:
            self.parameters = check(stream, parameters, drift)
        p = self.parameters
        generator = self._generator = Generator(p)
        self.name = f"synthetic:{p.name}"
        self.labels = generator.names[: p.labels]
        self.features = generator.features.base
        self.n_attributes = len(self.features)
        self.length = p.events or None
        self.truth = Truth(p, generator)
        self._names = np.array(generator.names, dtype=object)
        self._labels_of = lru_cache(maxsize=4)(generator.labels)
        self._next = 0
        self._chunk = -1
        self._records: list[Record] = []

    @classmethod
    def from_uri(cls, uri: str) -> SyntheticSource:
        """The stream that ``synthetic:NAME?key=value&...`` names.

        Raises
        ------
        UsageError
            As the class.
        """
        _, _, rest = uri.partition(":")
        name, _, query = rest.partition("?")
        return cls(parse_query(name, query))

    def next_batch(self, max_records: int, timeout: float) -> Sequence[Record] | None:
        """See `Source.next_batch`."""
        del timeout  # nothing to wait for
        stop = self._next + max_records
        if self.length is not None:
            stop = min(stop, self.length)
        found: list[Record] = []
        while self._next < stop:
            chunk = self._next // CHUNK
            if chunk != self._chunk:
                self._records, self._chunk = self._draw(chunk), chunk
            first = chunk * CHUNK
            part = self._records[self._next - first : min(stop - first, CHUNK)]
            found += part
            self._next += len(part)
        return found or None

    def position(self) -> Position:
        """See `Source.position`."""
        return {"event": self._next}

    def seek(self, position: Position) -> None:
        """See `Source.seek`."""
        length = _NO_END if self.length is None else self.length
        self._next = event_number(self.name, position, length)

    def close(self) -> None:
        """See `Source.close`."""

    def explain(self, event: int) -> Explanation:
        """How the labels of event number `event` came about.

        Raises
        ------
        IndexError
            The stream has no such event.
        """
        state = self.truth.state(event)
        labels: ChunkLabels = self._labels_of(event // CHUNK)
        row = event % CHUNK
        planted = set(labels.planted.label[labels.planted.row == row].tolist())
        on = set(labels.on.label[labels.on.row == row].tolist())
        return Explanation(
            event,
            tuple(block for block in labels.blocks[row].tolist() if block != NONE),
            self._named(planted),
            self._named(on - planted),
            self._named(planted - on),
            state,
        )

    def _named(self, labels: set[int]) -> tuple[str, ...]:
        return tuple(self._names[sorted(labels)].tolist())

    def _draw(self, chunk: int) -> list[Record]:
        labels: ChunkLabels = self._labels_of(chunk)
        rows = self._generator.rows(chunk, labels)
        on = self._names[labels.on.label].tolist()
        cuts = np.searchsorted(labels.on.row, np.arange(CHUNK + 1)).tolist()
        numbers = range(chunk * CHUNK, (chunk + 1) * CHUNK)
        # Half the time of a loop, which is a good part of all there is.
        sets = map(on.__getitem__, map(slice, cuts, cuts[1:]))
        events = map(Event, numbers, rows, sets)
        return list(map(Record, events, repeat(self.name), repeat(0), numbers))
