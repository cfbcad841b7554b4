"""Several sources as one stream, side by side: a record of each in turn.

In: sources, such as a topic of features and a topic of labels. Out: their records, one of the
first, one of the second, and so on; a source that has nothing for now, or has ended, is passed
over. It is here so that labels that come late may have a topic of their own. How files are merged
does not depend on the size of batches; how topics are, depends on what is there.
"""

from __future__ import annotations

from collections.abc import Sequence

from ihomer.connectors.base import Position, Record, Several, Source
from ihomer.errors import InputError


class Merge(Several):
    """`sources` side by side.

    Records keep the source, partition and offset of the source they come from. What is declared is
    what the first source declares. The position is ``{"turn": index, "sources": [{"position":
    {...}, "skip": records}, ...]}``: records are read ahead, and a place among them is that of the
    first one and a number. Closing closes all sources.

    Parameters
    ----------
    sources
        At least one.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        super().__init__(sources)
        first = self.sources[0]
        self.labels, self.features = first.labels, first.features
        self.n_attributes = first.n_attributes
        self._turn = 0
        self._ahead = [_Ahead(source) for source in self.sources]

    def next_batch(self, max_records: int, timeout: float) -> Sequence[Record] | None:
        """See `Source.next_batch`; only the last source with nothing in it is waited for."""
        found: list[Record] = []
        while len(found) < max_records:
            ahead = next((each for each in self._in_turn() if each.fill(max_records, 0.0)), None)
            if ahead is None:
                open_ones = [each for each in self._in_turn() if not each.ended]
                if found or not open_ones:
                    break
                if not open_ones[-1].fill(max_records, timeout):
                    break
                ahead = open_ones[-1]
            found.append(ahead.take())
            self._turn = (self._ahead.index(ahead) + 1) % len(self._ahead)
        return None if not found and all(each.ended for each in self._ahead) else found

    def _in_turn(self) -> list[_Ahead]:
        return [*self._ahead[self._turn :], *self._ahead[: self._turn]]

    def position(self) -> Position:
        """See `Source.position`."""
        places = [{"position": each.position, "skip": each.taken} for each in self._ahead]
        return {"turn": self._turn, "sources": places}

    def seek(self, position: Position) -> None:
        """See `Source.seek`."""
        turn, places = self._parts(position)
        for each, (inner, skip) in zip(self._ahead, places, strict=True):
            each.seek(inner, skip)
        self._turn = turn

    def commit(self, position: Position) -> None:
        """See `Source.commit`; of records that were read ahead together, all or none are done."""
        _, places = self._parts(position)
        for source, (inner, _) in zip(self.sources, places, strict=True):
            source.commit(inner)

    def _parts(self, position: Position) -> tuple[int, list[tuple[Position, int]]]:
        try:
            turn = int(position["turn"])
            places = [(dict(each["position"]), int(each["skip"])) for each in position["sources"]]
        except (KeyError, TypeError, ValueError):
            turn, places = -1, []
        if not 0 <= turn < len(self.sources) or len(places) != len(self.sources):
            raise InputError(
                f"{self.name}: position: found {position!r}, accepted: a turn and"
                f" {len(self.sources)} sources, each with position and skip"
            )
        return turn, places

    def lag(self) -> dict[tuple[str, int], int]:
        """See `Source.lag`; of all sources."""
        return {place: n for source in self.sources for place, n in source.lag().items()}

    def trouble(self) -> str | None:
        """See `Source.trouble`; the first source's that has any."""
        return next(filter(None, (source.trouble() for source in self.sources)), None)


class _Ahead:
    """A source with records that have been read and not returned.

    Attributes
    ----------
    position, taken
        Where they begin, and how many of them have been returned.
    ended
        Whether there will be no more.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._records: Sequence[Record] = ()
        self.position = source.position()
        self.taken = 0
        self.ended = False

    def fill(self, most: int, timeout: float) -> bool:
        """Whether there is a record, read now if need be."""
        if self.taken < len(self._records):
            return True
        if self.ended:
            return False
        self.position = self._source.position()
        records = self._source.next_batch(most, timeout)
        self.ended = records is None
        self._records, self.taken = records or (), 0
        return bool(self._records)

    def take(self) -> Record:
        """The next record."""
        self.taken += 1
        record = self._records[self.taken - 1]
        if self.taken == len(self._records):
            self.position, self._records, self.taken = self._source.position(), (), 0
        return record

    def seek(self, position: Position, skip: int) -> None:
        """Go to a place."""
        self._source.seek(position)
        self.position, self._records, self.taken, self.ended = position, (), 0, False
        while skip > 0:
            if not self.fill(skip, 1.0):
                raise InputError(
                    f"{self._source.name}: position: found fewer than {skip} more records behind"
                    f" {position!r}, which had been read"
                )
            skip -= 1
            self.take()
