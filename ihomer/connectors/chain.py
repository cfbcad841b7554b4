"""Several sources as one stream, one after the other.

In: sources. Out: their records, all of the first, then all of the second. It is here so that a
data set in two files, or an archive and the topic that continues it, is one stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ihomer.connectors.base import Position, Record, Several, Source
from ihomer.errors import InputError


class Chain(Several):
    """`sources` in order; only the last may be without an end.

    Records keep the source, partition and offset of the source they come from. The position is
    ``{"source": index, "position": {...}}``. Labels and features are the union in order of
    appearance, the number of attributes the largest; the length is known if every source's is.
    Closing closes all of them.

    Parameters
    ----------
    sources
        At least one.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        super().__init__(sources)
        self.labels = _union(source.labels for source in sources)
        self.features = _union(source.features for source in sources)
        attributes = [source.n_attributes or 0 for source in sources]
        self.n_attributes = max(attributes) if all(attributes) else None
        self._current = 0
        # Where sources began that have been read, for going back over their border.
        self._starts: dict[int, Position] = {}
        self._committed = 0  # sources before this one have been told that they are done

    def next_batch(self, max_records: int, timeout: float) -> Sequence[Record] | None:
        """See `Source.next_batch`; a batch never holds records of two sources."""
        while True:
            source = self.sources[self._current]
            if self._current not in self._starts:
                self._starts[self._current] = source.position()
            records = source.next_batch(max_records, timeout)
            if records is not None or self._current == len(self.sources) - 1:
                return records
            self._current += 1

    def position(self) -> Position:
        """See `Source.position`."""
        return {"source": self._current, "position": self.sources[self._current].position()}

    def seek(self, position: Position) -> None:
        """See `Source.seek`."""
        index, inner = self._parts(position)
        self.sources[index].seek(inner)
        for later in range(index + 1, self._current + 1):
            if later in self._starts:
                self.sources[later].seek(self._starts[later])
        self._current = index

    def commit(self, position: Position) -> None:
        """See `Source.commit`; sources before the one in `position` are done to their ends."""
        index, inner = self._parts(position)
        for done in range(self._committed, index):
            self.sources[done].commit(self.sources[done].position())
        self._committed = max(self._committed, index)
        self.sources[index].commit(inner)

    def _parts(self, position: Position) -> tuple[int, Position]:
        index, inner = position.get("source"), position.get("position")
        if isinstance(index, bool) or not isinstance(index, int) or not isinstance(inner, dict):
            raise InputError(
                f"{self.name}: position: found {position!r}, accepted:"
                ' {"source": index, "position": {...}}'
            )
        if not 0 <= index < len(self.sources):
            raise InputError(
                f"{self.name}: position: source: found {index}, accepted: 0 to"
                f" {len(self.sources) - 1}, the sources that were given"
            )
        return index, inner

    def lag(self) -> dict[tuple[str, int], int]:
        """See `Source.lag`; of the source that is read now."""
        return self.sources[self._current].lag()

    def trouble(self) -> str | None:
        """See `Source.trouble`; of the source that is read now."""
        return self.sources[self._current].trouble()


def _union(parts: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for part in parts for name in part))
