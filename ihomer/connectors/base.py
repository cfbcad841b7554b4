"""The contract between the processor and the outside: records in, messages out.

In: whatever a connector reads. Out: `Record` objects with the place they come from. In the other
direction `Message` objects, acknowledged by `Sink.flush`. It is here so that a daemon on Kafka
and a replay of a file are the same program.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from ihomer.errors import MalformedEventError, UsageError
from ihomer.instances import Event, LabelEvent

Headers: TypeAlias = tuple[tuple[str, bytes], ...]
Position: TypeAlias = dict[str, Any]

QUEUE_BYTES = (
    1 << 25
)  # of what was written to a topic and is not acknowledged, unless told otherwise


class Record(NamedTuple):
    """One thing that was read, with its place.

    Attributes
    ----------
    value
        The raw bytes to decode (``None``: a Kafka tombstone), an event that the source, whose
        format is not JSON, has already built, or a row of a table: column to string, number,
        boolean, None, list of strings, or `datetime`, which only a mapping makes an event of.
    source
        Topic, path, or name of a generated stream.
    partition
        Kafka's partition; 0 elsewhere.
    offset
        Kafka's offset; the line number in a file, from 1; the event number elsewhere, from 0.
    key, headers, timestamp
        Kafka's; the timestamp in epoch milliseconds.
    fault
        Set when the source itself found that the record cannot be an event; `value` then holds
        the original bytes for the dead letters.
    original
        Of a row of a table: its bytes as they were read, for the dead letters; None: a row is
        written there as JSON.
    """

    value: bytes | Event | LabelEvent | Mapping[str, Any] | None
    source: str
    partition: int
    offset: int
    key: bytes | None = None
    headers: Headers = ()
    timestamp: int | None = None
    fault: MalformedEventError | None = None
    original: bytes | None = None


class Message(NamedTuple):
    """One thing to write: a prediction or a dead letter.

    `origin` is the partition that the event came from; a Kafka sink writes it to partition
    ``origin mod (output partitions)``, so the order within an input partition is kept.
    """

    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    timestamp: int | None = None
    origin: int = 0


class Source(ABC):
    """Where records come from.

    Resume semantics: `position` names the first record that `next_batch` has not returned yet, as
    a dictionary that survives JSON. A new source on the same URI that is given this dictionary by
    `seek`, before its first `next_batch`, returns exactly the records that the first one would
    have returned next, with the same offsets. Nothing is implied about records that were returned:
    whether they were processed is the caller's knowledge, told to the source by `commit`.

    Attributes
    ----------
    name
        For tables and messages.
    labels
        Label names that the source declares before its first event; may be empty.
    features
        Feature names that it declares; may be empty.
    n_attributes
        Number of features before nominal ones are spread over indicators, if it is declared.
    length
        Number of records if it is known, for progress bars.
    """

    name: str
    labels: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    n_attributes: int | None = None
    length: int | None = None

    @abstractmethod
    def next_batch(self, max_records: int, timeout: float) -> Sequence[Record] | None:
        """Up to `max_records` records in stream order.

        Parameters
        ----------
        max_records
            At least 1.
        timeout
            Seconds to wait for the first record of a source that has no end.

        Returns
        -------
        sequence of Record, or None
            Empty: nothing came in time. None: the stream has ended, and stays ended.

        Raises
        ------
        InputError
            The source as a whole cannot be read (a damaged file, a lost range of offsets). One
            bad record is no error: it is returned with its `fault`.
        UnavailableError
            The service behind it does not answer.
        """

    @abstractmethod
    def position(self) -> Position:
        """The place of the next record, as a dictionary of JSON values."""

    @abstractmethod
    def seek(self, position: Position) -> None:
        """Go to a `position`; raises `InputError` if the source no longer has it."""

    def commit(self, position: Position) -> None:
        """Say that everything before `position` is done and its outputs are acknowledged.

        Sources without a memory of their own have nothing to do.
        """
        del position

    def lag(self) -> dict[tuple[str, int], int]:
        """Records behind the end, by topic and partition; empty where there is no such end."""
        return {}

    def trouble(self) -> str | None:
        """Why nothing comes although it should, in one line; None: all is well."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections; may be called twice."""


class Several(Source):
    """Sources that are read as one; what they share of its contract. Closing closes all of them.

    Parameters
    ----------
    sources
        At least one.

    Attributes
    ----------
    sources
        As given.

    Raises
    ------
    UsageError
        There is none.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        if not sources:
            raise UsageError("found no source, accepted: one or more")
        self.sources = tuple(sources)
        self.name = " ".join(source.name for source in sources)
        lengths = [source.length for source in sources]
        known = [length for length in lengths if length is not None]
        self.length = sum(known) if len(known) == len(lengths) else None

    def close(self) -> None:
        """See `Source.close`."""
        for source in self.sources:
            source.close()


class Sink(ABC):
    """Where messages go.

    A message is safe when a `flush` that was called after its `write` has returned. `write` may
    block when too much is under way. A failed message surfaces as an error of `flush` or of a
    later `write`, never silently; after it nothing may be assumed of messages since the last
    successful flush.
    """

    name: str

    @abstractmethod
    def write(self, messages: Sequence[Message]) -> None:
        """Hand over `messages`; raises `UnavailableError` or `InputError` as `flush`."""

    @abstractmethod
    def flush(self) -> None:
        """Return when all that was written is acknowledged.

        Raises
        ------
        UnavailableError
            The service behind it does not answer or refuses the messages.
        InputError
            The file system refuses them.
        """

    def queued(self) -> tuple[int, int]:
        """Messages, and about how many bytes, that were written and are not acknowledged yet."""
        return 0, 0

    @abstractmethod
    def close(self) -> None:
        """Flush, then let go of files and connections; may be called twice."""
