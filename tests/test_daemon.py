"""The daemon's loop: acknowledged first, committed after, nothing committed that is not done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ihomer.connectors.base import Message, Position, Record
from ihomer.connectors.memory import MemorySink, MemorySource
from ihomer.errors import InputError, UnavailableError
from ihomer.learners.ihomer import IHomer
from ihomer.stream import daemon as daemon_module
from ihomer.stream.daemon import Daemon
from ihomer.stream.dead_letters import DeadLetters
from ihomer.stream.decode import Decoder
from ihomer.stream.processor import Processor

EVENT = b'{"x": {"a": 1}, "y": ["t"]}'


class Source(MemorySource):
    """Tells what happens; may do something before a batch, or have nothing for a while."""

    def __init__(
        self, values: Sequence[bytes], happened: list[Any], *, endless: bool = False
    ) -> None:
        super().__init__(values)
        self._happened = happened
        self._endless = endless
        self.before: Callable[[], None] = lambda: None

    def next_batch(self, max_records: int, timeout: float) -> Sequence[Record] | None:
        self.before()
        records = super().next_batch(max_records, timeout)
        return [] if records is None and self._endless else records

    def commit(self, position: Position) -> None:
        self._happened.append(("commit", position["event"]))
        super().commit(position)


class Sink(MemorySink):
    """Tells what happens; may refuse to acknowledge more than so many messages."""

    def __init__(self, name: str, happened: list[Any], room: int = 1000) -> None:
        super().__init__(name)
        self._happened = happened
        self._room = room

    def write(self, messages: Sequence[Message]) -> None:
        super().write(messages)
        self._happened.append((f"write {self.name}", len(messages)))

    def flush(self) -> None:
        if len(self.messages) + len(self.pending) > self._room:
            raise UnavailableError("not acknowledged")
        super().flush()
        self._happened.append((f"flush {self.name}", len(self.messages)))


@pytest.fixture
def happened() -> list[Any]:
    return []


@pytest.fixture(autouse=True)
def _commit_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon_module, "COMMIT_SECONDS", 0.0)


def make(source: Source, sink: Sink, letters: Sink | None = None, batch_size: int = 2) -> Daemon:
    processor = Processor(IHomer(), Decoder(), DeadLetters(letters), sink)
    return Daemon(source, processor, batch_size, max_wait_ms=1)


def test_predictions_and_dead_letters_are_acknowledged_before_the_commit(
    happened: list[Any],
) -> None:
    source = Source([EVENT, b"bad", EVENT], happened)
    make(source, Sink("sink", happened), Sink("letters", happened)).run()
    assert happened == [
        ("write sink", 1),
        ("write letters", 1),
        ("flush sink", 1),
        ("flush letters", 1),
        ("commit", 2),
        ("write sink", 1),
        ("flush sink", 2),
        ("flush letters", 1),
        ("commit", 3),
        # At the end: nothing new, nothing to commit.
        ("flush sink", 2),
        ("flush letters", 1),
    ]


@pytest.mark.parametrize("refuses", ["sink", "letters"])
def test_what_is_not_acknowledged_is_not_committed(happened: list[Any], refuses: str) -> None:
    values = [EVENT, b"bad"] * 3
    source = Source(values, happened)
    rooms = {"sink": 1000, "letters": 1000} | {refuses: 2}
    sink, letters = (Sink(name, happened, room) for name, room in rooms.items())
    with pytest.raises(UnavailableError, match="not acknowledged"):
        make(source, sink, letters).run()
    assert source.committed == {"event": 4}


def test_after_a_malformed_event_the_batches_before_it_are_committed(
    happened: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon_module, "COMMIT_SECONDS", 1000.0)
    source = Source([*[EVENT] * 5, b"bad", EVENT], happened)
    sink = Sink("sink", happened)
    with pytest.raises(InputError, match="offset 5"):
        make(source, sink).run()
    assert source.committed == {"event": 4}
    assert len(sink.messages) == 5


def test_it_commits_when_there_is_nothing_to_do(
    happened: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle topic's last events are not left uncommitted until the next ones."""
    monkeypatch.setattr(daemon_module, "COMMIT_SECONDS", 1000.0)
    source = Source([EVENT] * 3, happened, endless=True)
    daemon = make(source, Sink("sink", happened))
    calls: list[Position | None] = []

    def before() -> None:
        calls.append(source.committed)
        if len(calls) == 5:
            daemon.stop()

    source.before = before
    daemon.run()
    assert calls == [None, None, None, {"event": 3}, {"event": 3}]


def test_stop_finishes_what_was_read(happened: list[Any]) -> None:
    source = Source([EVENT] * 100, happened, endless=True)
    sink = Sink("sink", happened)
    daemon = make(source, sink, batch_size=10)
    calls: list[None] = []

    def before() -> None:
        calls.append(None)
        if len(calls) == 3:
            daemon.stop()

    source.before = before
    daemon.run()
    # Asked to stop before the third batch was handed over: that one is done, no further one read.
    assert len(sink.messages) == 30
    assert source.committed == {"event": 30}


def test_stop_from_another_thread_ends_an_idle_daemon(happened: list[Any]) -> None:
    source = Source([], happened, endless=True)
    daemon = make(source, Sink("sink", happened))
    running = threading.Thread(target=daemon.run)
    running.start()
    daemon.stop()
    running.join(30.0)
    assert not running.is_alive()
    assert source.committed is None
