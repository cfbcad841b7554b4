"""Commits on a thread of their own, one at a time, each until its fate is known.

In: batches that are learned, as bytes. Out: their journal offsets, or the reason why the model
must be dropped. It is here so that the next batch is learned while one is committed, and so that
nothing is learned again when a commit fails: the same bytes go into another transaction.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from ihomer.connectors.kafka_journal import Entry, Journal, composition_checksum, encode
from ihomer.connectors.kafka_transactions import (
    FencedError,
    Output,
    Transactions,
    UnknownOutcomeError,
)
from ihomer.errors import UnavailableError
from ihomer.stream import metrics
from ihomer.stream.exactly_once.watchdog import Watchdog
from ihomer.stream.status import Severity, Status

log = structlog.get_logger("ihomer")

_FIRST_S = 0.2
_LONGEST_S = 5.0


class DroppedError(Exception):
    """The model in memory must be dropped: only checkpoint and journal bring it back."""


class Backoff:
    """Waits that grow, with jitter, until somebody gives up.

    Parameters
    ----------
    given_up
        Ends a wait at once.
    """

    def __init__(self, given_up: threading.Event) -> None:
        self._given_up = given_up
        self._next_s = _FIRST_S

    def wait(self) -> None:
        """Wait once."""
        # The jitter keeps workers that met the same outage apart; nothing else hangs on it.
        self._given_up.wait(self._next_s * random.uniform(0.5, 1.0))  # noqa: S311
        self._next_s = min(2 * self._next_s, _LONGEST_S)


@dataclass(frozen=True)
class Batch:
    """What is committed in one transaction.

    Attributes
    ----------
    entry
        The journal's.
    outputs
        What is written.
    captured
        Whether the state behind this batch is captured for a checkpoint.
    """

    entry: Entry
    outputs: Sequence[Output]
    captured: bool = False


def same(found: Entry, ours: Entry) -> bool:
    """Whether an entry of the journal is our own."""
    return (
        found.number == ours.number
        and found.owner == ours.owner
        and composition_checksum(found.ranges) == composition_checksum(ours.ranges)
    )


def fate(found: Sequence[tuple[int, Entry]], ours: Entry) -> int | None:
    """What the journal's end says about a commit whose outcome is unknown.

    Parameters
    ----------
    found
        Entries behind the last one that is known, with their offsets.
    ours
        The one that was sent.

    Returns
    -------
    int or None
        Its offset: it is committed. None: it is not.

    Raises
    ------
    DroppedError
        Somebody else has written.
    """
    for offset, entry in found:
        if same(entry, ours):
            return offset
        if entry.number >= ours.number or entry.epoch > ours.epoch:
            raise DroppedError(
                f"batch {entry.number} of the journal is of another owner (epoch {entry.epoch})"
            )
    return None


class Committer:
    """See the module.

    Parameters
    ----------
    transactions, journal
        Of the slot.
    owns
        Whether the group says that the slot is still ours; asked before anybody is fenced.
    committed
        Called on the committer's thread with each batch and its offset.
    watchdog
        Over the client's calls.
    given_up
        Set when nobody waits for commits any more.
    status
        Told how transactions end, and that Kafka is away.
    """

    def __init__(
        self,
        transactions: Transactions,
        journal: Journal,
        owns: Callable[[], bool],
        committed: Callable[[Batch, int], None],
        watchdog: Watchdog,
        given_up: threading.Event,
        status: Status,
    ) -> None:
        self._status = status
        self._transactions = transactions
        self._journal = journal
        self._owns = owns
        self._committed = committed
        self._watchdog = watchdog
        self._given_up = given_up
        self._after = 0  # journal offset behind the last entry that is known
        self._batch: Batch | None = None
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="ihomer-commit", daemon=True)

    def start(self, after: int) -> None:
        """Begin; the journal is known up to offset `after`."""
        self._after = after
        self._thread.start()

    @property
    def idle(self) -> bool:
        """Whether nothing is under way; raises what has gone wrong."""
        with self._changed:
            if self._error is not None:
                raise self._error
            return self._batch is None

    def wait(self, seconds: float | None) -> bool:
        """Wait for `idle`; False if it takes longer, raises what has gone wrong."""
        with self._changed:
            self._changed.wait_for(lambda: self._batch is None or self._error, seconds)
        return self.idle

    def submit(self, batch: Batch) -> None:
        """Commit `batch`; the committer is idle."""
        with self._changed:
            self._batch = batch
            self._changed.notify_all()

    def close(self) -> None:
        """End the thread when it has nothing to do."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._batch is not None or self._closed)
                batch = self._batch
            if batch is None:
                return
            try:
                offset = self.commit(batch)
                self._count("committed")
                self._after = offset + 1
                self._committed(batch, offset)
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                return
            with self._changed:
                self._batch = None
                self._changed.notify_all()

    def commit(self, batch: Batch) -> int:
        """Commit until it is known to be done.

        Returns
        -------
        int
            The entry's offset.

        Raises
        ------
        DroppedError
            Fenced, deposed, or given up.
        """
        entry = encode(batch.entry)
        while True:
            try:
                with self._watchdog.over("a commit", self._given_up):
                    return self._transactions.commit(batch.outputs, entry, batch.entry.offsets)
            except FencedError as error:
                self._count("fenced")
                raise DroppedError(f"fenced: {error}") from None
            except UnknownOutcomeError as error:
                self._count("unknown")
                log.warning(
                    "the outcome of a commit is unknown, the journal is asked",
                    slot=self._journal.slot,
                    batch=batch.entry.number,
                    reason=str(error),
                )
            offset = self._settle(batch)
            if offset is not None:
                return offset

    def _count(self, outcome: str) -> None:
        self._status.add(metrics.TRANSACTIONS, 1, str(self._journal.slot), outcome)

    def _settle(self, batch: Batch) -> int | None:
        """Learn a batch's fate from the journal; None: it is to be sent again."""
        backoff = Backoff(self._given_up)
        while not self._given_up.is_set():
            try:
                # A deposed worker that took the transactional id would fence its successor.
                if not self._owns():
                    raise DroppedError("the group has given the slot to another worker")
                with self._watchdog.over("the start of a transaction", self._given_up):
                    self._transactions.open()
                offset = fate(self._journal.read(self._after).entries, batch.entry)
            except UnavailableError as error:
                log.warning("Kafka is away, trying on", slot=self._journal.slot, reason=str(error))
                self._status.trouble("kafka", str(error), Severity.DEGRADED)
                backoff.wait()
            else:
                self._status.clear("kafka")
                log.warning(
                    "the outcome of a commit is known",
                    slot=self._journal.slot,
                    batch=batch.entry.number,
                    committed=offset is not None,
                )
                return offset
        raise DroppedError("given up while Kafka was away")
