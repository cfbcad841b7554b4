"""A worker: a member of the group that runs the slots it is given, each on a thread.

In: a plan. Out: how it ended. It is here so that slots come and go, while the group is answered,
without any of them knowing of it.
"""

from __future__ import annotations

import gc
import threading
import time

import structlog

from ihomer.connectors.kafka_journal import ensure_journal
from ihomer.connectors.kafka_membership import Membership
from ihomer.connectors.kafka_reader import Stopped
from ihomer.errors import UnavailableError
from ihomer.stream import allocator
from ihomer.stream.exactly_once.commit import Backoff, DroppedError
from ihomer.stream.exactly_once.plan import Plan
from ihomer.stream.exactly_once.positions import require_alike
from ihomer.stream.exactly_once.slot import Slot
from ihomer.stream.exactly_once.watchdog import Watchdog
from ihomer.stream.status import Stage, Status

log = structlog.get_logger("ihomer")

HAND_OVER_S = 8.0
LEAVE_S = 4.0
_TICK_S = 0.1


class Runner(threading.Thread):
    """A slot's thread, from recovery to hand-over.

    Parameters
    ----------
    plan, slot, membership, watchdog, status
        Of the worker.
    fresh
        Begin with an empty model.
    backoff
        Set where the slot has failed here before: waited for once, and the group is asked whether
        the slot is still ours before it is taken.
    """

    def __init__(
        self,
        plan: Plan,
        slot: int,
        membership: Membership,
        watchdog: Watchdog,
        status: Status,
        *,
        fresh: bool,
        backoff: Backoff | None,
    ) -> None:
        super().__init__(name=f"ihomer-slot-{slot}", daemon=True)
        self.slot = slot
        self.stopping = threading.Event()
        self.dropped = threading.Event()
        self.done = threading.Event()
        self.ready = threading.Event()
        self.error: BaseException | None = None
        self.events = 0
        self._plan = plan
        self._membership = membership
        self._watchdog = watchdog
        self._status = status
        self._fresh = fresh
        self._backoff = backoff

    def run(self) -> None:
        """See the class; never raises, see `error`."""
        try:
            self._run()
        except Stopped:
            log.info("recovery stopped, the slot is asked back", slot=self.slot)
        except BaseException as error:  # noqa: BLE001 - raised by the worker
            self.error = error
        finally:
            self.done.set()

    def _run(self) -> None:
        if self._backoff is not None:
            self._backoff.wait()
            # A deposed worker that took the transactional id would fence its successor.
            if not self._membership.owns(self.slot):
                return
        slot = Slot(
            self._plan,
            self.slot,
            lambda: self._membership.owns(self.slot),
            self.stopping,
            self.dropped,
            self._watchdog,
            self._status,
        )
        try:
            slot.open(fresh=self._fresh)
            self.ready.set()
            log.info("slot ready", slot=self.slot, events=slot.events)
            while not self.stopping.is_set() and not self.dropped.is_set():
                slot.step()
                self.events = slot.events
            if not self.dropped.is_set():
                slot.finish(time.monotonic() + HAND_OVER_S / 2)
                self.events = slot.events
                log.info("slot handed over", slot=self.slot, events=slot.events)
        finally:
            slot.close()
            del slot
            gc.collect()  # clients and threads hold each other
            allocator.trim()  # it was a model and the copy of one


class Worker:
    """See the module.

    Parameters
    ----------
    plan
        What to run.
    stuck_s
        After so many seconds without an answer from the client the process ends.
    status
        Is kept up to date; None: one that nobody reads.

    Attributes
    ----------
    events
        Events that the models here have seen, at the end.
    """

    def __init__(self, plan: Plan, stuck_s: float, status: Status | None = None) -> None:
        self._status = Status() if status is None else status
        self._plan = plan
        self._watchdog = Watchdog(stuck_s)
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._owned: set[int] = set()
        self._runners: dict[int, Runner] = {}
        self._backoffs: dict[int, Backoff] = {}
        self._began: set[int] = set()
        self._was_ready = False
        self._membership: Membership

    @property
    def events(self) -> int:
        """Events that the models which are here have seen."""
        return sum(runner.events for runner in self._runners.values())

    def stop(self) -> None:
        """Ask for a clean end; may be called from a signal handler or another thread."""
        self._stopping.set()

    def run(self) -> None:
        """Work until `stop`.

        Raises
        ------
        IhomerError
            What has gone wrong in a slot or the group, after the other slots have been let go.
        """
        require_alike(self._plan)
        ensure_journal(self._plan.source, self._plan.journal, self._plan.slots)
        self._membership = Membership(
            self._plan.source, self._plan.app, self._plan.journal, self, HAND_OVER_S
        )
        self._membership.start()
        try:
            while not self._stopping.wait(_TICK_S):
                if self._membership.error is not None:
                    raise self._membership.error
                with self._lock:
                    owned = set(self._owned)
                for slot in sorted(owned):
                    self._care_for(slot)
                self._status.enter(self._stage(owned))
                self._status.turn()
        finally:
            self._status.enter(Stage.STOP)
            self._leave()

    def _stage(self, owned: set[int]) -> Stage:
        """What this worker is at, of its slots the one that is furthest behind."""
        if not owned:
            return Stage.STANDBY
        runners = [self._runners.get(slot) for slot in owned]
        if all(runner is not None and runner.ready.is_set() for runner in runners):
            return Stage.PROCESS
        return Stage.RECOVER

    def _care_for(self, slot: int) -> None:
        """See that a slot of ours runs."""
        runner = self._runners.get(slot)
        if runner is not None and not runner.done.is_set():
            if runner.ready.is_set():
                self._was_ready = True
                self._backoffs.pop(slot, None)
            return
        backoff = None
        if runner is not None and runner.error is not None:
            backoff = self._after_fault(runner)
        with self._lock:
            if slot not in self._owned:
                return
            fresh = self._plan.fresh and slot not in self._began
            new = Runner(
                self._plan,
                slot,
                self._membership,
                self._watchdog,
                self._status,
                fresh=fresh,
                backoff=backoff,
            )
            self._began.add(slot)
            self._runners[slot] = new
        new.start()

    def _after_fault(self, runner: Runner) -> Backoff:
        """Decide whether a slot can be taken up again; raises where it cannot."""
        error = runner.error
        assert error is not None  # noqa: S101 - for the type checker
        if isinstance(error, DroppedError):
            log.warning("the model is dropped", slot=runner.slot, reason=str(error))
        elif isinstance(error, UnavailableError) and self._was_ready:
            log.warning("Kafka is away, trying on", slot=runner.slot, reason=str(error))
        else:
            raise error
        return self._backoffs.setdefault(runner.slot, Backoff(self._stopping))

    def _leave(self) -> None:
        """Let go of all slots, then leave the group."""
        running = [each for each in self._runners.values() if not each.done.is_set()]
        for runner in running:
            runner.stopping.set()
        deadline = time.monotonic() + HAND_OVER_S
        for runner in running:
            runner.done.wait(max(0.0, deadline - time.monotonic()))
            if not runner.done.is_set():
                runner.dropped.set()
            elif runner.error is not None:
                log.warning("slot not handed over", slot=runner.slot, reason=str(runner.error))
        self._membership.close(LEAVE_S)

    # What the membership calls, on the client's thread.

    def assigned(self, slots: list[int]) -> None:
        """See `Listener.assigned`."""
        log.info("slots assigned", slots=slots)
        with self._lock:
            self._owned.update(slots)

    def revoked(self, slots: list[int]) -> threading.Event:
        """See `Listener.revoked`."""
        log.info("slots asked back", slots=slots)
        with self._lock:
            self._owned.difference_update(slots)
            running = [self._runners[slot] for slot in slots if slot in self._runners]
        for runner in running:
            runner.stopping.set()
        done = threading.Event()
        if all(runner.done.is_set() for runner in running):
            done.set()
        else:
            threading.Thread(target=_await, args=(running, done), daemon=True).start()
        return done

    def lost(self, slots: list[int]) -> None:
        """See `Listener.lost`."""
        log.warning("slots lost, their models are dropped", slots=slots)
        with self._lock:
            self._owned.difference_update(slots)
            running = [self._runners[slot] for slot in slots if slot in self._runners]
        for runner in running:
            runner.dropped.set()
            runner.stopping.set()


def _await(running: list[Runner], done: threading.Event) -> None:
    for runner in running:
        runner.done.wait()
    done.set()
