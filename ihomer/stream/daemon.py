"""The daemon's loop: events from a source without an end, predictions acknowledged, then offsets.

In: a source, a processor, a way to be told to stop. Out: how it ended. At-least-once: offsets are
committed only when the predictions of the events before them are acknowledged, so after a crash
some events come again, and none is left out. What else must be known after a crash is the business
of a `Bookkeeper`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import structlog

from ihomer import faults
from ihomer.connectors.base import Position, Record, Source
from ihomer.drift.events import LearnerEvent
from ihomer.errors import InputError
from ihomer.stream import metrics
from ihomer.stream.bookkeeper import Bookkeeper
from ihomer.stream.processor import Processor
from ihomer.stream.status import Stage, Status

log = structlog.get_logger("ihomer")

COMMIT_SECONDS = 0.2
REPORT_SECONDS = 10.0
LAST_CHECKPOINT_SECONDS = 4.0


class Daemon:
    """Runs a processor until the source ends or `stop` is called.

    Parameters
    ----------
    source, processor
        Stay open.
    batch_size
        Largest number of events of a step.
    max_wait_ms
        How long an empty source is waited for at a time; also bounds how late `stop` is noticed.
    status
        Is kept up to date; None: one that nobody reads.
    keeper
        Told what has been done; None: a restart begins anew.
    """

    def __init__(
        self,
        source: Source,
        processor: Processor,
        batch_size: int,
        max_wait_ms: int,
        status: Status | None = None,
        keeper: Bookkeeper | None = None,
    ) -> None:
        self._keeper = Bookkeeper() if keeper is None else keeper
        self._status = Status() if status is None else status
        self._source = source
        self._processor = processor
        self._batch_size = batch_size
        self._wait = max_wait_ms / 1000.0
        self._stopping = threading.Event()
        self._uncommitted = False
        self._done: Position | None = None  # everything before it has been processed

    def stop(self) -> None:
        """Ask for a clean end; may be called from a signal handler or another thread."""
        self._stopping.set()

    def run(self) -> None:
        """Work until the end; everything read by then is predicted, acknowledged and committed.

        Raises
        ------
        InputError, UnavailableError
            Of the source or the sinks, or a malformed event without a place for dead letters, or
            too many of them. After an `InputError` the batches before it are acknowledged and
            committed, after too many malformed events that of the last one, too.
        """
        try:
            self._loop()
        except InputError:
            # A restart should meet the fault again, not what was done before it.
            self._end()
            raise
        self._end()

    def _end(self) -> None:
        self.commit()
        self._keeper.finish(LAST_CHECKPOINT_SECONDS)
        self._status.enter(Stage.STOP)
        self._status.publish()

    def _loop(self) -> None:
        commit_at = time.monotonic() + COMMIT_SECONDS
        report_at = time.monotonic() + REPORT_SECONDS
        reported = self._processor.events
        while not self._stopping.is_set():
            self._status.enter(Stage.WAIT)
            faults.reach("before-poll")
            records = self._source.next_batch(self._batch_size, self._wait)
            if records is None:
                break
            if records:
                self._process(records)
            self._done = self._source.position()
            halt = self._processor.halt()
            if halt is not None:
                raise halt
            self._status.judge("source", self._source.trouble())
            self._status.turn()
            now = time.monotonic()
            # Committing is a round trip: not after every batch, but at once when there is time.
            if self._uncommitted and (now >= commit_at or not records):
                self.commit()
                commit_at = now + COMMIT_SECONDS
            if now >= report_at:
                events = self._processor.events
                log.info(
                    "running",
                    events=events,
                    events_per_second=round(
                        (events - reported) / (now - report_at + REPORT_SECONDS)
                    ),
                    dead_letters=sum(self._processor.dead_letters.counts.values()),
                    **self._happened(),
                )
                reported, report_at = events, now + REPORT_SECONDS

    def _process(self, records: Sequence[Record]) -> None:
        status = self._status
        status.enter(Stage.PROCESS)
        start = time.monotonic()
        try:
            self._processor.process(records)
        except InputError:
            place = self._keeper.refused()
            if place is not None:
                self._done, self._uncommitted = place, True
            raise
        self._keeper.learned(len(records))
        self._uncommitted = True
        status.add(metrics.BATCHES)
        status.observe(metrics.BATCH_EVENTS, len(records))
        status.observe(metrics.BATCH_SECONDS, time.monotonic() - start)

    def _happened(self) -> dict[str, int]:
        chronicle = self._processor.chronicle
        return {} if chronicle is None else {"learner_events": chronicle.told}

    def commit(self) -> None:
        """Acknowledge what was written, then commit the position up to which it goes."""
        self._status.enter(Stage.COMMIT)
        start = time.monotonic()
        faults.reach("before-flush")
        self._processor.flush()
        if self._uncommitted and self._done is not None:
            self._source.commit(self._done)
            self._keeper.record(self._done)
            self._uncommitted = False
            self._status.add(metrics.COMMITS)
            self._status.observe(metrics.COMMIT_SECONDS, time.monotonic() - start)
            self._keeper.committed()


def log_event(found: LearnerEvent) -> None:
    """One line in the log for what has happened to the model.

    The names of labels come from events and may be nobody else's business: their number is told,
    and they themselves only at level ``debug``.
    """
    line = {key: value for key, value in found.to_json().items() if value not in ("", None, [])}
    # These two names are structlog's own.
    line["learned"], line["where"] = line.pop("event"), line.pop("level")
    labels = line.pop("labels", [])
    log.info("learner event", **line, **({"n_labels": len(labels)} if labels else {}))
    if labels:
        log.debug("labels of a learner event", number=found.number, labels=labels)
