"""The streams of a benchmark: a name or a URI becomes events, in file order or in a seeded shuffle.

In: names such as ``yeast``, groups such as ``headline``, URIs. Out: `Stream` objects, each of
which can be gone through again for every learner. It is here so that all commands mean the same
by a name, and every learner sees the same events in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.candidate import Shape
from bench.report.names import HEADLINE_STREAMS as HEADLINE
from bench.report.names import SORTED_STREAMS as SORTED
from ihomer.connectors.base import Record, Source
from ihomer.connectors.datasets.store import find
from ihomer.connectors.uri import open_sources, parse_uri
from ihomer.errors import InputError, MalformedEventError, UsageError
from ihomer.instances import Batch, Encoder, Event, Row
from ihomer.stream.dead_letters import place_by_line
from ihomer.stream.decode import Decoder, id_by_line

REAL = (*HEADLINE, *SORTED, "delicious", "imdb")
GENERATED = "synthetic:"
# Concepts to be learned, each as it is and with a sudden redraw in the middle. `--seeds` draws
# others.
CONCEPTS = tuple(
    f"{GENERATED}{concept}?events=50000{drift}"
    for concept in ("tree", "hyperplane", "rbf", "xor")
    for drift in ("", "&drift=sudden")
)
SMALL = ("flags", "foodtruck", "emotions", "birds", "medical", "scene", "yeast")
GROUPS = {
    "headline": HEADLINE,
    "sorted": SORTED,
    "small": SMALL,
    "real": REAL,
    "generated": CONCEPTS,
}

_READ = 4096  # records at a time


def expand(words: Sequence[str]) -> list[str]:
    """Names and URIs behind `words`, which may hold groups and commas; each once, in order."""
    names = [name for word in words for name in word.split(",") if name]
    return list(dict.fromkeys(n for name in names for n in GROUPS.get(name, (name,))))


@dataclass(frozen=True, slots=True)
class Survey:
    """What one look at a whole stream tells.

    Attributes
    ----------
    length
        Number of events.
    shape
        See `Shape`.
    """

    length: int
    shape: Shape


class Stream:
    """One stream of a benchmark.

    Parameters
    ----------
    name
        A data set's name, a path or a URI of a stream that ends.
    folder
        Where data sets lie; None: the user's data folder.
    shuffle
        None: file order. Otherwise event number ``permutation(n)[t]`` comes at t, with
        ``numpy.random.default_rng(shuffle).permutation``.
    seed
        Of a generated stream whose URI names none.
    limit
        Stop after so many events; a shuffle is made of the whole stream first.

    Raises
    ------
    UsageError, InputError
        There is no such stream, or no such file.
    """

    def __init__(
        self,
        name: str,
        folder: Path | None = None,
        shuffle: int | None = None,
        seed: int = 1,
        limit: int | None = None,
    ) -> None:
        self.name = name
        self.shuffle = shuffle
        self.limit = limit
        if name.startswith(GENERATED):
            with_seed = "seed=" in name
            self.uris = [name if with_seed else f"{name}{'&' if '?' in name else '?'}seed={seed}"]
        elif ":" in name or Path(name).exists():
            self.uris = [name]
        else:
            self.uris = list(find(name, folder))
        if any(parse_uri(uri).scheme == "kafka" for uri in self.uris):
            raise UsageError(f"{name}: a topic has no end, accepted: files and generated streams")
        self._kept: list[Event] | None = None
        self._survey: Survey | None = None

    def open(self) -> Source:
        """The source behind the name, in file order."""
        return open_sources(self.uris)

    def declared(self) -> tuple[str, ...]:
        """Labels that the source names before its first event."""
        source = self.open()
        try:
            return source.labels
        finally:
            source.close()

    def keep(self) -> None:
        """Hold all events in memory from now on, for streams that are gone through often."""
        if self._kept is None:
            self._kept = list(self._read(None if self.shuffle is not None else self.limit))
            if self.shuffle is not None:
                order = np.random.default_rng(self.shuffle).permutation(len(self._kept))
                self._kept = [self._kept[i] for i in order[: self.limit]]

    def hold(self, events: list[Event]) -> None:
        """Be these events from now on: a part of a stream under its name."""
        self._kept, self._survey = events, None

    def events(self) -> Iterator[Event]:
        """All events in the stream's order.

        Raises
        ------
        InputError
            An event is malformed: a benchmark leaves nothing out.
        """
        if self.shuffle is not None:
            self.keep()
        return self._read(self.limit) if self._kept is None else iter(self._kept)

    def _read(self, limit: int | None) -> Iterator[Event]:
        decoder = Decoder(default_id=id_by_line)
        source = self.open()
        left = limit
        try:
            while left is None or left > 0:
                records = source.next_batch(_READ if left is None else min(_READ, left), 1.0)
                if records is None:
                    return
                for record in records:
                    yield _event(record, decoder)
                left = None if left is None else left - len(records)
        finally:
            source.close()

    def batches(self, encoder: Encoder, size: int) -> Iterator[Batch]:
        """The stream over the ids of `encoder`, `size` events at a time."""
        for event in self.events():
            encoder.add(event)
            if len(encoder) == size:
                yield encoder.take()
        if len(encoder):
            yield encoder.take()

    def survey(self) -> Survey:
        """Go through the stream once and say how large it is; remembered."""
        if self._survey is None:
            encoder = Encoder(self.declared())
            length, sparse = 0, True
            for event in self.events():
                if not length:
                    sparse = not isinstance(event.x, Row) or event.x.indices is not None
                length += 1
                encoder.add(event)
                if len(encoder) == _READ:
                    encoder.take()
            labels = sorted((*encoder.labels.names(), *encoder.labels.unseen()))
            self._survey = Survey(length, Shape(tuple(labels), encoder.features.columns, sparse))
        return self._survey


def _event(record: Record, decoder: Decoder) -> Event:
    try:
        return decoder.decode(record)
    except MalformedEventError as fault:
        raise InputError(f"{place_by_line(record)}: {fault}") from None
