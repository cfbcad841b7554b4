"""Records from a list, messages into a list, and names under which URIs find them.

In: bytes, events or records in memory. Out: the same as a source; in the other direction messages
as they are written. It is here for tests and for programs that embed the processor.

``memory:NAME`` names a `Channel` that this process has made with `create`; `remove` forgets it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from ihomer.connectors.base import Message, Position, Record, Sink, Source
from ihomer.errors import InputError, UsageError
from ihomer.instances import Event

_channels: dict[str, Channel] = {}
_lock = threading.Lock()


class MemorySource(Source):
    """A list as a stream that ends.

    Bytes and events become records of source `name`, partition 0 and the event number from 0 as
    offset; records stay as they are. The position is ``{"event": n}``.

    Parameters
    ----------
    items
        What to return, in order.
    name
        See `Source`.
    labels, features
        What the source declares.

    Attributes
    ----------
    committed
        The last position that was told to `commit`; None: none.
    closed
        Whether `close` was called.

    Examples
    --------
    >>> source = MemorySource([b"{}", b"[]"])
    >>> [record.value for record in source.next_batch(5, timeout=0.0)]
    [b'{}', b'[]']
    >>> source.next_batch(5, timeout=0.0) is None
    True
    """

    def __init__(
        self,
        items: Iterable[bytes | Event | Record],
        *,
        name: str = "memory",
        labels: Iterable[str] = (),
        features: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.labels = tuple(labels)
        self.features = tuple(features)
        self._records = [
            item if isinstance(item, Record) else Record(item, name, 0, number)
            for number, item in enumerate(items)
        ]
        self.length = len(self._records)
        self.committed: Position | None = None
        self.closed = False
        self._next = 0

    def next_batch(self, max_records: int, timeout: float) -> Sequence[Record] | None:
        """See `Source.next_batch`."""
        del timeout  # a list does not wait
        records = self._records[self._next : self._next + max_records]
        self._next += len(records)
        return records or None

    def position(self) -> Position:
        """See `Source.position`."""
        return {"event": self._next}

    def seek(self, position: Position) -> None:
        """See `Source.seek`."""
        self._next = event_number(self.name, position, len(self._records))

    def commit(self, position: Position) -> None:
        """Remember `position` in `committed`."""
        self.committed = position

    def close(self) -> None:
        """See `Source.close`."""
        self.closed = True


class MemorySink(Sink):
    """Messages in a list.

    Parameters
    ----------
    name
        See `Sink`.
    messages
        The list to add to; None: a new one.

    Attributes
    ----------
    messages
        What has been flushed.
    pending
        What has been written since.
    """

    def __init__(self, name: str = "memory", messages: list[Message] | None = None) -> None:
        self.name = name
        self.messages: list[Message] = [] if messages is None else messages
        self.pending: list[Message] = []
        self._closed = False

    def write(self, messages: Sequence[Message]) -> None:
        """See `Sink.write`."""
        if self._closed:
            raise ValueError(f"{self.name}: the sink is closed")
        self.pending += messages

    def flush(self) -> None:
        """See `Sink.flush`."""
        self.messages += self.pending
        self.pending = []

    def queued(self) -> tuple[int, int]:
        """See `Sink.queued`; bytes are those of the values."""
        return len(self.pending), sum(len(message.value or b"") for message in self.pending)

    def close(self) -> None:
        """See `Sink.close`."""
        self.flush()
        self._closed = True


class Channel:
    """What stands behind ``memory:NAME``.

    Parameters
    ----------
    name
        Its name.
    items, labels, features
        What its sources return and declare.

    Attributes
    ----------
    messages
        What its sinks have flushed, in order.
    """

    def __init__(
        self,
        name: str,
        items: Iterable[bytes | Event | Record] = (),
        labels: Iterable[str] = (),
        features: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.items = list(items)
        self.labels = tuple(labels)
        self.features = tuple(features)
        self.messages: list[Message] = []

    def source(self) -> MemorySource:
        """A new source at the first item."""
        return MemorySource(
            self.items, name=f"memory:{self.name}", labels=self.labels, features=self.features
        )

    def sink(self) -> MemorySink:
        """A new sink that adds to `messages`."""
        return MemorySink(f"memory:{self.name}", self.messages)


def create(
    name: str,
    items: Iterable[bytes | Event | Record] = (),
    *,
    labels: Iterable[str] = (),
    features: Iterable[str] = (),
) -> Channel:
    """Make a channel that ``memory:NAME`` finds in this process.

    Raises
    ------
    UsageError
        The name is taken, or empty.
    """
    if not name:
        raise UsageError("memory: found an empty name, accepted: memory:NAME")
    channel = Channel(name, items, labels, features)
    with _lock:
        if name in _channels:
            raise UsageError(f"memory:{name}: the name is taken; remove it first")
        _channels[name] = channel
    return channel


def find(name: str) -> Channel:
    """The channel called `name`.

    Raises
    ------
    UsageError
        There is none.
    """
    with _lock:
        channel = _channels.get(name)
        known = ", ".join(sorted(_channels)) or "none was created"
    if channel is None:
        raise UsageError(f"memory:{name}: no such name in this process, accepted: {known}")
    return channel


def remove(name: str) -> None:
    """Forget the channel called `name`; sources and sinks that have it go on.

    Raises
    ------
    UsageError
        There is none.
    """
    find(name)
    with _lock:
        _channels.pop(name, None)


def event_number(name: str, position: Position, length: int) -> int:
    """The event number in a position of a source that counts events.

    Raises
    ------
    InputError
        It has none, or one past the end.
    """
    number = position.get("event")
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= length:
        raise InputError(
            f"{name}: position: event: found {number!r}, accepted: an integer from 0 to {length}"
        )
    return number
