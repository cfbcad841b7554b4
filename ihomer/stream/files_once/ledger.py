"""One application from files to files: its lock, its position file, its checkpoints.

In: word of each batch and of each commit. Out: a position file behind each commit, checkpoints now
and then, and at the next start model, source and outputs as they were at the last commit. It is
here because nobody else knows all of them together.

A commit is: the outputs are on the disk (1), then the position file says so (2). A crash before (2)
leaves outputs that are too long; they are cut, and the events are learned again. A crash before a
checkpoint leaves an old model; the events up to the position are learned again, with the gates of
the outputs shut.
"""

from __future__ import annotations

import fcntl
import os
import time

import structlog

from ihomer import faults
from ihomer.connectors.base import Position, Sink, Source
from ihomer.connectors.files.sink import FileSink
from ihomer.drift.events import LearnerEvent
from ihomer.errors import InputError
from ihomer.stream import metrics
from ihomer.stream.bookkeeper import Bookkeeper
from ihomer.stream.checkpoints import CheckpointStore, Loaded, Mark, configuration_of
from ihomer.stream.daemon import log_event
from ihomer.stream.files_once import outputs
from ihomer.stream.files_once.inputs import Inputs, declared
from ihomer.stream.files_once.outputs import Gate
from ihomer.stream.files_once.places import file_app, paths_of
from ihomer.stream.files_once.position import NAME, Progress, read, write
from ihomer.stream.files_once.steps import Steps
from ihomer.stream.processor import Processor
from ihomer.stream.resuming import require_compatible
from ihomer.stream.rhythm import Rhythm
from ihomer.stream.settings import Settings
from ihomer.stream.status import Stage, Status

log = structlog.get_logger("ihomer")

_SLOT = "0"
_LOCK = "lock"


class Ledger(Bookkeeper):
    """See the module. To be called in this order: `prepare`, `gate`, `begin`, then as a bookkeeper.

    Parameters
    ----------
    settings
        Allow exactly-once from files to files.
    status
        Is kept up to date.
    fresh
        Begin with an empty model at the start of the input, whatever there is.

    Raises
    ------
    InputError
        The folder cannot be written, or another process has it.
    """

    def __init__(self, settings: Settings, status: Status, *, fresh: bool) -> None:
        self._settings = settings
        self._status = status
        self._fresh = fresh
        self._configuration = configuration_of(settings)
        self._sources, self._outputs = paths_of(settings)
        self.folder = settings.state_dir / file_app(settings) / _SLOT
        self._lock = self._take()
        self._store = CheckpointStore(self.folder, settings.checkpoint_keep, log.warning)
        self._rhythm = Rhythm(settings, status, _SLOT)
        self._gates: list[Gate] = []
        self._inputs: Inputs | None = None
        self._known: Progress | None = None
        self._loaded: Loaded | None = None
        self._silent = False
        self._spoiled = False  # the model is ahead of the position
        self._events = 0  # after the last batch
        self._lengths: list[int] = []  # of the outputs then
        self._too_long = False  # the outputs, since
        self._kept = 0  # batch of the newest checkpoint
        self._source: Source
        self._declared = 0  # a checksum; what a source declares does not change
        self._processor: Processor
        self._steps: Steps
        self._epoch = 1
        self._began = 0
        self._empty = True
        self._start: Position
        self._position: Position  # committed
        self._behind: Position  # behind the last batch

    def _take(self) -> int:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise InputError(
                f"{self.folder}: {error.strerror or error}, accepted: a folder that can be written"
                " (state_dir)"
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise InputError(
                f"{self.folder}: found another process at work here, accepted: one at a time, or"
                " another name (app) or folder (state_dir)"
            ) from None
        return lock

    # Before anything is opened.

    def prepare(self) -> None:
        """Look at everything there is, and only then bring the outputs to their lengths.

        Raises
        ------
        InputError
            Something is not as it was left, is damaged, or the configuration has changed.
        """
        self._inputs = Inputs(self._sources)
        try:
            known = read(self.folder)
        except InputError:
            if not self._fresh:
                raise
            known = None
        if self._fresh:
            self._anew(known)
            return
        self._loaded = loaded = self._store.newest()
        if loaded is not None:
            require_compatible(loaded, self._settings)
        if known is None:
            if loaded is not None and loaded.mark.position is not None:
                raise InputError(
                    f"{self.folder}: found checkpoints, but no {NAME}; accepted: the folder as it"
                    " was left, or --fresh to begin anew"
                )
            return
        self._go_on(known, loaded)

    def _anew(self, known: Progress | None) -> None:
        # Numbers go on, or a checkpoint of the old model would count as a newer one.
        batch, epoch = self._store.highest()
        if known is not None:
            batch, epoch = max(batch, known.batch), max(epoch, known.epoch)
        self._began, self._epoch = batch + 1, epoch + 1
        outputs.put_away(self._outputs.values())

    def _go_on(self, known: Progress, loaded: Loaded | None) -> None:
        assert self._inputs is not None  # noqa: S101 - for the type checker
        steps = Steps.from_json(known.steps)
        if loaded is not None and loaded.mark.batch < known.began:
            loaded = self._loaded = None  # of a model before --fresh
        if loaded is None and not (known.empty and steps.first <= known.began):
            raise InputError(
                f"{self.folder}: found no checkpoint of the model that {NAME} goes on with,"
                " accepted: the folder as it was left, or --fresh to begin anew"
            )
        if loaded is not None and not steps.first <= loaded.mark.batch <= known.batch:
            raise InputError(
                f"checkpoint {loaded.entry.name}: found batch {loaded.mark.batch}, accepted:"
                f" {steps.first} to {known.batch}, as {NAME} says, or --fresh to begin anew"
            )
        self._inputs.go_on(known.inputs)
        outputs.check(known.outputs, self._outputs.values(), ended=known.ended)
        if not known.ended:
            outputs.cut(known.outputs)
        self._known = known

    # Around what is opened.

    def gate(self, sink: Sink | None) -> Gate | None:
        """A place for one of the outputs, which is written in the end; None stays None."""
        if sink is None:
            return None
        if not isinstance(sink, FileSink):
            raise TypeError(sink)
        found = Gate(sink)
        self._gates.append(found)
        return found

    def happened(self, found: LearnerEvent) -> None:
        """A line in the log for what happens to the model, once."""
        if not self._silent:
            log_event(found)

    def begin(self, source: Source, processor: Processor) -> None:
        """Bring the model and the source to the position, or to the beginning.

        Raises
        ------
        InputError
            The input cannot be read, or the folder cannot be written.
        """
        begun = time.monotonic()
        self._status.enter(Stage.RECOVER)
        self._source, self._processor = source, processor
        self._declared = declared(source)
        if self._known is not None and self._known.declared != self._declared:
            raise InputError(
                f"{source.name}: found other names of labels or features than before, accepted: the"
                " file (and xml) as it was, or --fresh to begin anew"
            )
        before = events = 0
        if self._loaded is not None:
            processor.restore(self._loaded.roots)
            before = processor.events
        if self._known is not None:
            events = self._replay(self._known)
        else:
            self._first()
        self._loaded = None
        self._position = source.position()
        self._rhythm.taken(processor.events - events)
        for gate in self._gates:
            gate.flush()
        self._settle()
        outputs.sync_folders(self._outputs.values())
        self._write(ended=False)
        if self._known is None:
            self._store.save(processor.state(), self._mark())
            self._kept = self._steps.last
        self._status.set(metrics.RECOVERY_SECONDS, time.monotonic() - begun, _SLOT)
        self._status.set(metrics.RECOVERY_EVENTS, events, _SLOT)
        log.info(
            "recovered" if self._known is not None else "the model is new to this input",
            folder=str(self.folder),
            batch=self._steps.last,
            events=processor.events,
            learned_again=processor.events - before,
            seconds=round(time.monotonic() - begun, 3),
        )

    def _first(self) -> None:
        if self._loaded is not None:  # it was imported
            self._began, self._epoch = self._loaded.mark.batch, self._loaded.mark.epoch + 1
            self._empty = False
        self._steps = Steps(self._began)
        self._start = self._source.position()

    def _replay(self, known: Progress) -> int:
        """Learn again what lies between checkpoint and position; returns how many events."""
        steps, source, processor = Steps.from_json(known.steps), self._source, self._processor
        mark = None if self._loaded is None else self._loaded.mark
        batch = known.began if mark is None else mark.batch
        epoch = 0 if mark is None else mark.epoch
        before = processor.events
        position = None if mark is None else mark.position
        source.seek(dict(known.start if position is None else position))
        self._silent = True
        for gate in self._gates:
            gate.open = False
        for count in steps.after(batch):
            self._status.enter(Stage.RECOVER)
            faults.reach("during-recovery")
            records = source.next_batch(count, 0.0) or ()
            if len(records) != count:
                raise InputError(
                    f"{source.name}: found {len(records)} records where {count} had been read"
                )
            processor.process(records)
        for gate in self._gates:
            gate.open = True
        self._silent = False
        if processor.events != known.events:
            raise InputError(
                f"{self.folder}: after batch {known.batch} the model has seen {processor.events}"
                f" events, {NAME} says {known.events}"
            )
        source.seek(dict(known.position))
        self._steps, self._kept = steps, batch
        self._epoch = 1 + max(known.epoch, epoch)
        self._began, self._empty, self._start = known.began, known.empty, dict(known.start)
        return processor.events - before

    # As a bookkeeper.

    def learned(self, records: int) -> None:
        """See `Bookkeeper.learned`."""
        self._steps.add(records)
        self._settle()

    def _settle(self) -> None:
        self._events = self._processor.events
        self._behind = self._source.position()
        self._lengths = [gate.length() for gate in self._gates]

    def refused(self) -> Position | None:
        """See `Bookkeeper.refused`."""
        done = self._processor.events - self._events
        if done and self._processor.late is None:
            # It has stopped at the first malformed record, as if the batch ended before it.
            self._source.seek(self._behind)
            self._source.next_batch(done, 0.0)
            self.learned(done)
            return self._behind
        # Where labels come late, records are no events, and nobody knows how many were taken.
        self._spoiled = self._too_long = True
        return None

    def _cut_back(self) -> None:
        if self._too_long:
            for gate, length in zip(self._gates, self._lengths, strict=True):
                gate.cut(length)
            self._too_long = False

    def record(self, position: Position) -> None:
        """See `Bookkeeper.record`."""
        self._cut_back()
        faults.reach("before-position")
        self._position = position
        self._write(ended=False)

    def committed(self) -> None:
        """Write a checkpoint if it is time."""
        self._hear(self._store.take_outcome())
        if self._rhythm.due(self._processor.events):
            self._checkpoint()

    def finish(self, seconds: float) -> None:
        """Write a last checkpoint, wait for it about so long, and say that this is the end."""
        end = time.monotonic() + seconds
        self._cut_back()
        self._hear(self._store.wait(seconds))
        self._checkpoint()
        self._hear(self._store.wait(max(0.0, end - time.monotonic())))
        self._write(ended=True)

    def _checkpoint(self) -> None:
        if self._store.busy or self._spoiled or self._kept == self._steps.last:
            return
        faults.reach("before-copy")
        self._status.enter(Stage.CHECKPOINT)
        self._store.capture(self._processor.state())
        self._rhythm.taken(self._processor.events)
        self._kept = self._steps.last
        self._store.write(self._mark())

    def _hear(self, outcome: object) -> None:
        """Once a checkpoint is written, batches before the oldest one need not be known."""
        if self._rhythm.tell(outcome):
            marks = [each.mark for each in self._store.list() if each.mark is not None]
            ours = [mark.batch for mark in marks if mark.batch >= self._began]
            self._steps.forget(min(ours, default=0))

    def _mark(self) -> Mark:
        return Mark(
            batch=self._steps.last,
            epoch=self._epoch,
            events=self._processor.events,
            position=self._position,
            configuration=self._configuration,
        )

    def _write(self, *, ended: bool) -> None:
        assert self._inputs is not None  # noqa: S101 - for the type checker
        self._inputs.advance(self._source, self._position)
        write(
            self.folder,
            Progress(
                batch=self._steps.last,
                events=self._events,
                epoch=self._epoch,
                position=self._position,
                inputs=self._inputs.to_json(),
                declared=self._declared,
                outputs={gate.path: gate.length() for gate in self._gates},
                steps=self._steps.to_json(),
                began=self._began,
                start=self._start,
                empty=self._empty,
                ended=ended,
            ),
        )

    def close(self) -> None:
        """Let go of the folder and the files."""
        self._store.close()
        if self._inputs is not None:
            self._inputs.close()
        os.close(self._lock)
