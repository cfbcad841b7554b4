"""When a checkpoint is due, and what is shown of it, at-least-once, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from ihomer.connectors.memory import MemorySink, MemorySource
from ihomer.learners.ihomer import IHomer
from ihomer.stream import daemon as daemon_module
from ihomer.stream import metrics as m
from ihomer.stream.checkpoints import CheckpointStore, Failed, Written
from ihomer.stream.daemon import Daemon
from ihomer.stream.dead_letters import DeadLetters
from ihomer.stream.decode import Decoder
from ihomer.stream.keeper import Keeper
from ihomer.stream.processor import Processor
from ihomer.stream.rhythm import Rhythm
from ihomer.stream.settings import Settings
from ihomer.stream.status import Status


def test_a_checkpoint_is_due_by_events_or_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("ihomer.stream.rhythm.time.monotonic", lambda: now)
    rhythm = Rhythm(Settings(checkpoint_events=10, checkpoint_seconds=5), Status())
    assert [rhythm.due(events) for events in (0, 9, 10, 11)] == [False, False, True, True]
    rhythm.taken(11)
    assert [rhythm.due(events) for events in (11, 20, 21)] == [False, False, True]
    now = 104.9
    assert not rhythm.due(12)
    now = 105.0
    assert rhythm.due(12)
    rhythm.taken(12)
    assert not rhythm.due(12)


def test_what_became_of_a_checkpoint_is_shown() -> None:
    status = Status()
    rhythm = Rhythm(Settings(), status, "3")
    assert not rhythm.tell(None)
    assert not rhythm.tell(Failed("name", OSError(28, "No space left on device")))
    (reason,) = status.snapshot().reasons
    assert reason.subject == "checkpoint"
    assert "No space left" in reason.text
    assert rhythm.tell(Written("name", 1234, 0.5))
    status.publish()
    values = status.snapshot().values
    assert values[m.CHECKPOINTS] == {("3", "failed"): 1.0, ("3", "written"): 1.0}
    assert values[m.CHECKPOINT_BYTES] == {("3",): 1234.0}
    assert set(values[m.CHECKPOINT_AGE]) == set(values[m.CHECKPOINT_SECONDS]) == {("3",)}
    assert status.snapshot().reasons == ()


def test_an_at_least_once_daemon_shows_its_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon_module, "COMMIT_SECONDS", 0.0)
    status, settings = Status(), Settings(checkpoint_events=2)
    source = MemorySource([b'{"x": {"a": 1}, "y": ["t"]}'] * 5)
    processor = Processor(IHomer(), Decoder(), DeadLetters(None), MemorySink())
    keeper = Keeper(tmp_path, settings, processor, status, fresh=False)
    Daemon(source, processor, 2, 1, status, keeper).run()
    keeper.close()
    status.publish()
    written = status.snapshot().values[m.CHECKPOINTS]["0", "written"]
    assert written in {1.0, 2.0, 3.0}  # one that is under way puts the next off
    newest = CheckpointStore(tmp_path / "worker-0").newest()
    assert newest is not None
    assert (newest.mark.events, newest.mark.position) == (5, {"event": 5})
    assert newest.entry.manifest is not None
    assert status.snapshot().values[m.CHECKPOINT_BYTES] == {("0",): newest.entry.manifest.nbytes}
    again = Processor(IHomer(), Decoder(), DeadLetters(None), MemorySink())
    Keeper(tmp_path, settings, again, status, fresh=False).close()
    assert again.events == 5
    assert [path.name for path in tmp_path.iterdir()] == ["worker-0"]
