"""One slot: a model, the partitions that it learns from, and its commits.

In: records of its partitions. Out: transactions of predictions, dead letters, a journal entry and
offsets, and checkpoints behind them. The steps are numbered as in the design: poll (1), predict
and learn (2), transaction (3, 4), checkpoint (5). It is here so that whoever runs a slot, a test
or a thread of a worker, calls `open`, `step` and `finish` and nothing else.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence

import structlog

from ihomer import faults
from ihomer.connectors.base import Record
from ihomer.connectors.kafka_journal import Entry, Journal, Kind
from ihomer.connectors.kafka_ranges import Offsets, Range, copy_of, range_of, runs
from ihomer.connectors.kafka_reader import LostRangeError, RangeReader
from ihomer.connectors.kafka_records import record_size
from ihomer.connectors.kafka_transactions import Transactions
from ihomer.errors import IhomerError, InputError
from ihomer.stream import metrics
from ihomer.stream.checkpoints import CheckpointStore, Mark
from ihomer.stream.exactly_once.commit import Batch, Committer
from ihomer.stream.exactly_once.filling import Ahead, Bounds, Filling
from ihomer.stream.exactly_once.model import Model, RefusedError
from ihomer.stream.exactly_once.plan import Plan
from ihomer.stream.exactly_once.positions import added, difference
from ihomer.stream.exactly_once.recovery import Recovered, Recovery, position_of
from ihomer.stream.exactly_once.retention import warn_of_retention
from ihomer.stream.exactly_once.watchdog import Watchdog
from ihomer.stream.rhythm import Rhythm
from ihomer.stream.status import Severity, Status
from ihomer.stream.watch import watch_processor

log = structlog.get_logger("ihomer")

_BUSY_S = 0.005
_LOOK_S = 1.0  # how often partitions are looked for that were added, and lag is told


class Slot:
    """See the module.

    Parameters
    ----------
    plan, number
        Which slot of which application.
    owns
        Whether the group says that it is ours.
    stopping
        Set when somebody wants it back: `open` ends early.
    dropped
        Set when it is no longer ours: nothing more is waited for.
    watchdog
        Over the client's calls.
    status
        Told of recovery, commits and checkpoints.
    """

    def __init__(
        self,
        plan: Plan,
        number: int,
        owns: Callable[[], bool],
        stopping: threading.Event,
        dropped: threading.Event,
        watchdog: Watchdog,
        status: Status,
    ) -> None:
        self._plan = plan
        self._status = status
        self._name = str(number)
        self._learning = threading.Lock()
        self._figures: Callable[[], None] | None = None
        self.number = number
        self._stopping = stopping
        self._dropped = dropped
        self._watchdog = watchdog
        self._owner = secrets.token_hex(8)
        self._transactions = Transactions(
            plan.output, f"{plan.app}-{number}", plan.topics, (plan.journal, number), plan.app
        )
        self._journal = Journal(plan.source, plan.journal, number)
        self._store = CheckpointStore(
            plan.folder(number), plan.checkpoint_keep, lambda line: log.warning(line, slot=number)
        )
        self._reader = RangeReader(
            plan.source,
            plan.inputs,
            lambda: stopping.is_set() or dropped.is_set(),
            plan.fetch_bytes,
        )
        self._committer = Committer(
            self._transactions, self._journal, owns, self._committed, watchdog, dropped, status
        )
        self._model: Model
        self._offsets: Offsets = {}
        self._batch = 0
        self._epoch = 0
        self._ranges: list[Range] = []
        self._filling = Filling(
            Bounds(plan.transaction_events, plan.transaction_bytes, plan.max_wait_ms / 1000.0)
        )
        self._made = 0  # bytes of outputs that are counted in it
        self._ahead = Ahead()
        self._came = 0  # records of the last poll
        self._learned = 0  # records; a recovery learns labels again, too
        self._rhythm = Rhythm(plan.settings, status, self._name)
        self._captured_batch = 0
        self._look_at = 0.0
        self._unlike = False  # whether the topics have other numbers of partitions
        self._journal_end = 0
        self._trimmer: threading.Thread | None = None

    @property
    def events(self) -> int:
        """Events that the model has seen."""
        return self._model.events

    # Coming to life.

    def open(self, *, fresh: bool = False) -> None:
        """Fence everybody else, then recover.

        Raises
        ------
        Stopped
            The slot is wanted back.
        IhomerError
            It cannot be recovered; see `Recovery.run`.
        """
        begun = time.monotonic()
        with self._watchdog.over("the start of a transaction", self._dropped):
            self._transactions.open()
        log.info(
            "transactional id taken",
            slot=self.number,
            seconds=round(time.monotonic() - begun, 3),
        )
        warn_of_retention(self._plan, self.number, self._store)
        found = Recovery(
            self._plan,
            self.number,
            self._store,
            self._journal,
            self._reader,
            lambda: self._stopping.is_set() or self._dropped.is_set(),
        ).run(fresh=fresh)
        self._model = found.model
        self._offsets = found.offsets
        self._batch = found.number
        self._epoch = found.epoch
        self._committer.start(found.after)
        self._journal_end = found.after
        if found.fresh:
            self._tell("fresh", ())
            found.number, found.after, found.saved = self._batch, self._journal_end, False
        if found.lost:
            self._tell("skip", tuple(found.lost))
            found.number, found.after = self._batch, self._journal_end
        if not found.saved:
            self._save(found)
        self._rhythm.taken(self._learned)
        self._captured_batch = self._batch
        self._add_partitions()
        self._reader.go_to(self._offsets)
        self._status.set(metrics.RECOVERY_SECONDS, time.monotonic() - begun, self._name)
        self._status.set(metrics.RECOVERY_EVENTS, found.relearned, self._name)
        self._show()

    def _show(self) -> None:
        """Let figures of the processor be gathered, never while it learns."""
        gather = watch_processor(self._status, self._model.processor, self._name)

        def figures() -> None:
            with self._learning:
                gather()

        self._figures = figures
        self._status.gather(figures)

    def _save(self, found: Recovered) -> None:
        """Write a checkpoint and wait for it: the state from which the first batch goes on."""
        try:
            self._store.save(self._model.state(), found.mark(self._plan.configuration))
        except InputError as error:
            if self._batch == 0 or found.fresh:
                raise
            log.warning("no checkpoint written", slot=self.number, reason=str(error))

    def _tell(self, kind: Kind, ranges: tuple[Range, ...]) -> None:
        """Commit an entry without events."""
        self._submit_entry(kind, ranges)
        self._committer.wait(None)

    # Steps 1 to 4.

    def step(self) -> None:
        """Poll, learn what has come, and commit what can be committed.

        Raises
        ------
        DroppedError
            The model must be dropped.
        IhomerError
            The input or the brokers cannot be used.
        """
        faults.reach("before-poll")
        idle = self._committer.idle
        room = self._filling.room
        came = self._came = self._poll(min(room, self._plan.batch_size)) if room > 0 else 0
        self._status.judge("source", self._reader.trouble)
        now = time.monotonic()
        if self._filling.ripe(came, now, self._waiting) and (idle or self._committer.wait(_BUSY_S)):
            self._submit()
        if now >= self._look_at:
            self._look_at = now + _LOOK_S
            self._look_around()

    def _waiting(self) -> int:
        """Records in the topic that were not learned yet."""
        return len(self._ahead) + sum(self._reader.behind().values())

    def _poll(self, most: int) -> int:
        """Read and learn; returns how many records there were."""
        filling = self._filling
        if not self._ahead:
            # With something in hand the client is only asked for what it has, and given a moment to
            # fetch more if that was nothing.
            wait = self._plan.max_wait_ms / 1000.0
            if filling.records:
                wait = 0.0 if self._came else min(_BUSY_S, wait)
            try:
                # Of two topics the order is made when they are asked: step by step.
                asked = filling.ahead(most) if len(self._plan.inputs) == 1 else most
                self._ahead.put(self._reader.poll(asked, wait))
            except LostRangeError as lost:
                self._skip(lost)
                return 0
        records = self._ahead.take(most, filling.room_bytes, alone=not filling.records)
        if not records:
            return 0
        self._filling.begin(time.monotonic())
        for run in runs(records):
            try:
                with self._learning:
                    self._model.learn(run)
            except RefusedError as refused:
                # What came before is committed, so that a restart meets the fault again, first.
                if refused.done is not None:
                    if refused.done:
                        self._add(run[: refused.done])
                    self._flush()
                raise refused.reason from None
            self._add(run)
            if self._model.halt is not None:
                self._flush()
                raise self._model.halt
        return len(records)

    def _add(self, run: Sequence[Record]) -> None:
        """Take note of what has been learned in one step."""
        self._ranges.append(range_of(run, self._offsets))
        made = self._model.held - self._made
        self._made = self._model.held
        self._filling.add(len(run), sum(map(record_size, run)) + made)
        self._learned += len(run)

    def _skip(self, lost: LostRangeError) -> None:
        """Go on behind events that are gone, if that is accepted."""
        if not self._plan.skip_lost or lost.begin <= lost.start:
            raise lost
        self._flush()
        start = self._offsets[lost.topic].get(lost.partition, lost.start)
        gone = Range(lost.topic, lost.partition, start, lost.begin, 0, "")
        log.warning("events are lost", slot=self.number, range=str(gone))
        self._offsets[lost.topic][lost.partition] = lost.begin
        self._tell("skip", (gone,))
        self._reader.skip_to(lost.topic, lost.partition, lost.begin)

    def _flush(self) -> None:
        """Commit what is open, and wait for it."""
        self._committer.wait(None)
        if self._filling.records:
            self._submit()
            self._committer.wait(None)

    def _submit(self) -> None:
        """Hand the open batch to the committer, which is idle."""
        self._status.add(metrics.BATCHES)
        self._status.observe(metrics.BATCH_EVENTS, self._filling.records)
        ranges, self._ranges = tuple(self._ranges), []
        self._filling.empty()
        self._made = 0
        self._submit_entry("batch", ranges)

    def _submit_entry(self, kind: Kind, ranges: tuple[Range, ...]) -> None:
        self._batch += 1
        entry = Entry(
            kind,
            self._batch,
            self._owner,
            self._epoch,
            self._model.events,
            ranges,
            copy_of(self._offsets),
        )
        outputs = self._transactions.fitted(self._model.take())
        captured = kind == "batch" and self._rhythm.due(self._learned) and self._capture()
        faults.reach("before-begin")
        self._committer.submit(Batch(entry, outputs, captured))

    # Step 5.

    def _capture(self) -> bool:
        """Copy the state, unless the one before is still being written."""
        if self._store.busy or self._store.captured:
            return False
        faults.reach("before-copy")
        self._store.capture(self._model.state())
        self._rhythm.taken(self._learned)
        self._captured_batch = self._batch
        return True

    def _committed(self, batch: Batch, offset: int) -> None:
        """On the committer's thread: the batch is safe, so its state may be written."""
        self._journal_end = offset + 1
        self._status.add(metrics.COMMITS)
        if batch.captured and not self._dropped.is_set():
            entry = batch.entry
            self._store.write(
                Mark(
                    batch=entry.number,
                    epoch=entry.epoch,
                    events=entry.events,
                    position=position_of(entry.offsets, offset + 1),
                    configuration=self._plan.configuration,
                )
            )

    def _look_around(self) -> None:
        """What is done now and then: news of the last checkpoint, partitions that were added."""
        self._after_write()
        self._add_partitions()
        for (topic, partition), records in self._reader.behind().items():
            self._status.set(metrics.LAG, records, topic, str(partition))

    def _after_write(self) -> None:
        written = self._rhythm.tell(self._store.take_outcome())
        if written and (self._trimmer is None or not self._trimmer.is_alive()):
            self._trimmer = threading.Thread(target=self._trim, daemon=True)
            self._trimmer.start()

    def _trim(self) -> None:
        """Delete entries that no kept checkpoint needs."""
        try:
            kept = [each.mark.position for each in self._store.list() if each.mark is not None]
            needed = min((int(at["journal"]) for at in kept if at is not None), default=0)
            faults.reach("before-trim")
            if needed:
                self._journal.trim(needed)
        except (IhomerError, OSError) as error:
            log.debug("the journal is not shortened", slot=self.number, reason=str(error))

    def _add_partitions(self) -> None:
        unlike = difference(self._plan, self._reader)
        if unlike is not None:
            # Nothing is read into the wrong model; the events wait.
            if not self._unlike:
                log.warning("partitions are not read", slot=self.number, reason=unlike)
            self._status.trouble("partitions", unlike, Severity.DEGRADED)
        elif self._unlike:
            self._status.clear("partitions")
        self._unlike = unlike is not None
        if self._unlike:
            return
        new = added(self._plan, self.number, self._reader, self._offsets)
        for topic, at in new.items():
            self._offsets.setdefault(topic, {}).update(at)
        if new:
            self._ahead.clear()
            self._reader.go_to(self._offsets)

    # The end.

    def finish(self, deadline: float) -> None:
        """Commit what is open and write a last checkpoint, before `deadline` (monotonic).

        Raises
        ------
        DroppedError
            The slot was lost meanwhile.
        """
        self._flush()
        self._store.wait(max(0.0, deadline - time.monotonic()))
        if self._captured_batch < self._batch and not self._store.busy:
            self._store.capture(self._model.state())
            self._store.write(
                Mark(
                    batch=self._batch,
                    epoch=self._epoch,
                    events=self._model.events,
                    position=position_of(self._offsets, self._journal_end),
                    configuration=self._plan.configuration,
                )
            )
        self._rhythm.tell(self._store.wait(max(0.0, deadline - time.monotonic())))

    def close(self) -> None:
        """Let go of everything; what is open is left to the next owner to abort."""
        self._dropped.set()
        if self._figures is not None:
            self._status.drop(self._figures)
        self._status.forget("slot", self._name)
        self._status.clear("partitions")
        for topic, at in self._offsets.items():
            for partition in at:
                self._status.remove(metrics.LAG, topic, str(partition))
        self._committer.close()
        self._store.discard()
        self._transactions.close()
        self._reader.close()
        self._store.close()
