"""What is held at a time: transactions by size and age, and a slow sink that slows the source."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.connectors.base import Message, Record
from ihomer.connectors.kafka_reader import Lag
from ihomer.connectors.kafka_records import record_size
from ihomer.connectors.memory import MemorySink, MemorySource
from ihomer.stream import daemon as daemon_module
from ihomer.stream.assemble import make_processor
from ihomer.stream.checkpoints import configuration_of
from ihomer.stream.chronicle import Listener
from ihomer.stream.daemon import Daemon
from ihomer.stream.exactly_once import slot as slot_module
from ihomer.stream.exactly_once.filling import PATIENCE, Ahead, Bounds, Filling
from ihomer.stream.exactly_once.model import Model
from ihomer.stream.exactly_once.plan import Outlets, Plan, make_plan
from ihomer.stream.exactly_once.recovery import Recovered
from ihomer.stream.exactly_once.slot import Slot
from ihomer.stream.exactly_once.watchdog import Watchdog
from ihomer.stream.processor import Processor
from ihomer.stream.settings import Settings
from ihomer.stream.status import Status


@given(
    st.lists(st.integers(0, 3_000), max_size=60),
    st.integers(1, 20),
    st.integers(200, 5_000),
    st.integers(1, 8),
)
def test_no_transaction_is_larger_than_its_bounds(
    sizes: list[int], most: int, nbytes: int, step: int
) -> None:
    filling, ahead = Filling(Bounds(most, nbytes, 1.0)), Ahead()
    records = [Record(b"x" * size, "t", 0, offset) for offset, size in enumerate(sizes)]
    unread = iter(records)
    done: list[list[Record]] = [[]]
    for _ in range(4 * len(records) + 4):
        if not ahead:
            ahead.put([record for _, record in zip(range(step), unread, strict=False)])
        room = filling.room
        found = ahead.take(min(step, room), filling.room_bytes, alone=not filling.records)
        filling.begin(0.0)
        filling.add(len(found), sum(map(record_size, found)))
        done[-1] += found
        assert len(done[-1]) == filling.records <= most
        assert len(done[-1]) <= 1 or filling.nbytes <= nbytes
        if filling.ripe(len(found), 0.0, lambda: 0):
            filling.empty()
            done.append([])
    assert [record for each in done for record in each] == records


@given(
    st.lists(st.tuples(st.integers(1, 300), st.integers(1, 5_000)), min_size=1, max_size=20),
    st.integers(1, 300),
)
def test_what_is_asked_for_fits_by_the_size_of_what_came(
    added: list[tuple[int, int]], step: int
) -> None:
    bounds = Bounds(2_000, 1 << 20, 0.05)
    filling = Filling(bounds)
    assert filling.ahead(step) == step
    for records, size in added:
        if filling.room <= 0:
            filling.empty()
        filling.add(records, records * size)
        mean = filling.nbytes / filling.records
        asked = filling.ahead(step)
        assert asked >= step
        if asked > step:
            assert asked <= filling.room
            assert filling.nbytes + asked * mean <= bounds.nbytes * (1 + 1e-9)


def test_a_transaction_is_closed_when_it_is_time() -> None:
    filling = Filling(Bounds(100, 1_000, 0.05))
    assert not filling.ripe(0, 9.0, lambda: 0)  # there is nothing in it
    filling.begin(1.0)
    filling.add(5, 10)
    assert filling.ripe(0, 1.0, lambda: 0)  # nothing more to read: an event alone goes at once
    assert not filling.ripe(0, 1.0, lambda: 101)  # more is there and on its way
    assert not filling.ripe(5, 1.04, lambda: 0)
    assert filling.ripe(5, 1.06, lambda: 100)
    assert not filling.ripe(5, 1.06, lambda: 101)  # all of those have waited for longer already
    assert filling.ripe(5, 1.0 + PATIENCE * 0.051, lambda: 101)
    filling.begin(2.0)
    assert filling.ripe(5, 1.06, lambda: 0)  # its age is that of the first
    filling.empty()
    filling.begin(2.0)
    filling.add(100, 10)
    assert filling.ripe(100, 2.0, lambda: 0)  # it is full
    filling.empty()
    filling.begin(2.0)
    filling.add(1, 1_000)
    assert filling.room == 0


class EndlessReader:
    """Records without end, and how many of them were taken."""

    trouble = None

    def __init__(self, value: bytes) -> None:
        self.given = 0
        self._value = value
        self._offsets = count()

    def poll(self, most: int, timeout: float) -> list[Record]:
        del timeout
        self.given += most
        return [Record(self._value, "in", 0, next(self._offsets)) for _ in range(most)]

    def behind(self) -> Lag:
        return {("in", 0): 1_000_000}

    def partitions(self, topic: str) -> list[int]:
        return [0] if topic == "in" else []

    def go_to(self, offsets: object) -> None:
        """They go on where they are."""

    def close(self) -> None:
        """Nothing to let go of."""


class SlowTransactions:
    """Commits only while it may, and counts what it was given."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.committed = 0
        self.began = threading.Event()

    def open(self) -> None:
        """Ours."""

    def fitted(self, outputs: Sequence[Any]) -> list[Any]:
        return list(outputs)

    def commit(self, outputs: Sequence[Any], entry: bytes, offsets: object) -> int:
        del entry, offsets
        self.began.set()
        assert self.may.wait(60)
        self.committed += len(outputs)
        return 0

    def close(self) -> None:
        """Nothing to let go of."""


def plan_of(folder: Path, **keys: Any) -> Plan:
    settings = Settings(source=["kafka://h:1/in"], sink="kafka://h:1/out", state_dir=folder, **keys)

    def make(outlets: Outlets, listener: Listener) -> Processor:
        return make_processor(
            settings, MemorySource(()), outlets.sink, outlets.dead_letters, on_event=listener
        )

    return make_plan(settings, make, configuration_of(settings), fresh=False)


Open = Callable[[bytes, Path, dict[str, int]], tuple[Slot, EndlessReader, SlowTransactions]]


@pytest.fixture
def open_slot(monkeypatch: pytest.MonkeyPatch) -> Open:
    """A slot with an input that never ends and an output that waits to be let go."""

    def open_it(
        value: bytes, folder: Path, keys: dict[str, int]
    ) -> tuple[Slot, EndlessReader, SlowTransactions]:
        reader, transactions = EndlessReader(value), SlowTransactions()
        monkeypatch.setattr(slot_module, "RangeReader", lambda *_: reader)
        monkeypatch.setattr(slot_module, "Transactions", lambda *_: transactions)
        monkeypatch.setattr(slot_module, "warn_of_retention", lambda *_: None)

        class Nothing:
            def __init__(self, plan: Plan, *_: object) -> None:
                self._plan = plan

            def run(self, *, fresh: bool) -> Recovered:
                del fresh
                return Recovered(Model(self._plan), {"in": {0: 0}})

        monkeypatch.setattr(slot_module, "Recovery", Nothing)
        found = Slot(
            plan_of(folder, **keys),
            0,
            lambda: True,
            threading.Event(),
            threading.Event(),
            Watchdog(60.0),
            Status(),
        )
        found.open()
        return found, reader, transactions

    return open_it


@pytest.mark.parametrize(
    ("padding", "keys", "most"),
    [
        (0, {"transaction_events": 100, "batch_size": 16}, 2 * 100),
        # 40 kB each: 26 in a transaction of 2^20 bytes, and a step may be read and not taken.
        (40_000, {"transaction_mb": 1, "batch_size": 16}, 2 * 26 + 16),
    ],
)
def test_a_slow_sink_slows_the_source(
    padding: int, keys: dict[str, int], most: int, tmp_path: Path, open_slot: Open
) -> None:
    value = b'{"x":{"a":1},"y":["b"],"ignored":"' + b"x" * padding + b'"}'
    slot, reader, transactions = open_slot(value, tmp_path, keys)
    while not transactions.began.is_set():
        slot.step()
    for _ in range(200):
        slot.step()
    given = reader.given
    assert most // 2 < given <= most
    for _ in range(20):
        slot.step()
    assert reader.given == given, "the source goes on although nothing is taken"
    transactions.may.set()
    while reader.given < 3 * most:
        slot.step()
    slot.finish(time.monotonic() + 60)
    # One output for each event that was learned; what was read ahead is read again by the next.
    assert transactions.committed == slot.events > 2 * most
    slot.close()


class SlowSink(MemorySink):
    """Holds a bounded number of messages; a write that finds it full waits for all of them."""

    def __init__(self, bound: int) -> None:
        super().__init__()
        self._bound = bound
        self.waited = 0

    def write(self, messages: Sequence[Message]) -> None:
        for message in messages:
            super().write([message])
            if len(self.pending) >= self._bound:
                self.waited += 1
                self.flush()


class Counting(MemorySource):
    """Counts what it has given, and what of it has been answered by `sink` when it is asked."""

    def __init__(self, items: Sequence[bytes], sink: MemorySink) -> None:
        super().__init__(items)
        self._sink = sink
        self.given = 0
        self.held = 0

    def next_batch(self, max_records: int, timeout: float) -> Sequence[Record] | None:
        self.held = max(self.held, self.given - len(self._sink.messages))
        found = super().next_batch(max_records, timeout)
        self.given += len(found or ())
        return found


def test_at_least_once_holds_no_more_than_the_sink_and_a_batch() -> None:
    sink = SlowSink(bound=20)
    source = Counting([b'{"x":{"a":1},"y":["b"]}'] * 500, sink)
    processor = make_processor(Settings(source=["memory:in"]), source, sink, None)
    Daemon(source, processor, batch_size=8, max_wait_ms=1).run()
    assert len(sink.messages) == source.given == 500
    assert sink.waited > 20
    assert 8 <= source.held < 20 + 8


class Scripted(MemorySource):
    """Returns what it is told, poll by poll, and notes what was answered when it is asked."""

    def __init__(self, batches: Sequence[int], sink: MemorySink) -> None:
        super().__init__([b'{"x":{"a":1},"y":["b"]}'] * sum(batches))
        self._batches = iter(batches)
        self._sink = sink
        self.answered: list[int] = []
        self.waits: list[float] = []

    def next_batch(self, max_records: int, timeout: float) -> Sequence[Record] | None:
        self.answered.append(len(self._sink.messages))
        self.waits.append(timeout)
        wanted = next(self._batches, None)
        if wanted is None:
            return None
        return super().next_batch(min(wanted, max_records), timeout) if wanted else []


def test_an_event_alone_is_answered_after_one_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    # However slow the machine, it is the empty poll that makes it commit.
    monkeypatch.setattr(daemon_module, "COMMIT_SECONDS", 3600.0)
    sink = MemorySink()
    source = Scripted([0, 1, 0, 0], sink)
    processor = make_processor(Settings(source=["memory:in"]), source, sink, None)
    Daemon(source, processor, batch_size=8, max_wait_ms=50).run()
    # It comes with the second poll; the third waits for others, in vain; then it is answered.
    assert source.answered[:4] == [0, 0, 0, 1]
    assert set(source.waits) == {0.05}
