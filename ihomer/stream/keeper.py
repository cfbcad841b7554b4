"""Checkpoints of an at-least-once daemon: the newest one at the start, a new one now and then.

In: a processor, and word that all it has done is acknowledged and committed. Out: checkpoints in a
folder that no other process writes to. It is here so that a restart goes on with a model; events
since the committed offsets come again, and are learned again.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import structlog

from ihomer.connectors.base import Position
from ihomer.errors import InputError
from ihomer.stream.bookkeeper import Bookkeeper
from ihomer.stream.checkpoints import CheckpointStore, Mark, configuration_of
from ihomer.stream.processor import Processor
from ihomer.stream.resuming import require_compatible
from ihomer.stream.rhythm import Rhythm
from ihomer.stream.settings import Settings
from ihomer.stream.status import Status

log = structlog.get_logger("ihomer")

_LOCK = "lock"
_MOST_WORKERS = 1000


class Keeper(Bookkeeper):
    """See the module.

    Workers of one group that run on one machine have a folder each, ``worker-0`` and so on: the
    first that no living process has.

    Parameters
    ----------
    folder
        Of the application.
    settings
        How often, how many, and what the model depends on.
    processor
        Gets the newest checkpoint's state, if there is one.
    status
        Shows the newest checkpoint.
    fresh
        Leave the processor empty all the same.

    Raises
    ------
    InputError
        The folder cannot be written, no checkpoint can be read, or the configuration has changed.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        processor: Processor,
        status: Status,
        *,
        fresh: bool,
    ) -> None:
        self._processor = processor
        self._configuration = configuration_of(settings)
        try:
            self._folder, self._lock = _take(folder)
        except OSError as error:
            raise InputError(
                f"{folder}: {error.strerror or error}, accepted: a folder that can be written"
                " (state_dir)"
            ) from None
        self._store = CheckpointStore(self._folder, settings.checkpoint_keep, log.warning)
        self._number = 0
        self._position: Position | None = None
        self._epoch = 1
        try:
            loaded = None if fresh else self._store.newest()
            if loaded is not None:
                require_compatible(loaded, settings)
                processor.restore(loaded.roots)
                self._number, self._epoch = loaded.mark.batch, loaded.mark.epoch + 1
            elif fresh:
                self._number, epoch = self._store.highest()
                self._epoch = epoch + 1
        except BaseException:
            self.close()
            raise
        log.info(
            "the model goes on" if loaded is not None else "the model is an empty one",
            folder=str(self._folder),
            events=processor.events,
        )
        self._kept = processor.events
        self._rhythm = Rhythm(settings, status)
        self._rhythm.taken(processor.events)

    def record(self, position: Position) -> None:
        """See `Bookkeeper.record`; the offsets are the group's to remember."""
        self._position = position

    def committed(self) -> None:
        """Write a checkpoint if it is time."""
        self._rhythm.tell(self._store.take_outcome())
        events = self._processor.events
        if events != self._kept and self._rhythm.due(events):
            self._write()

    def finish(self, seconds: float) -> None:
        """Write a last checkpoint and wait for it, no longer than `seconds`."""
        end = time.monotonic() + seconds
        self._rhythm.tell(self._store.wait(seconds))
        if self._processor.events != self._kept:
            self._write()
            self._rhythm.tell(self._store.wait(max(0.0, end - time.monotonic())))

    def _write(self) -> None:
        if self._store.busy:
            return
        self._number += 1
        self._store.capture(self._processor.state())
        self._kept = self._processor.events
        self._rhythm.taken(self._kept)
        self._store.write(
            Mark(
                batch=self._number,
                epoch=self._epoch,
                events=self._processor.events,
                position=self._position,
                configuration=self._configuration,
            )
        )

    def close(self) -> None:
        """Let go of the folder."""
        self._store.close()
        os.close(self._lock)


def _take(folder: Path) -> tuple[Path, int]:
    """The first folder of a worker that no living process has, and the lock on it."""
    for number in range(_MOST_WORKERS):
        found = folder / f"worker-{number}"
        found.mkdir(parents=True, exist_ok=True)
        lock = os.open(found / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return found, lock
    raise OSError(f"{_MOST_WORKERS} workers have their folders here")
