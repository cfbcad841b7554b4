"""Membership in the group that shares out slots, on a thread of its own.

In: the journal's topic, whose partitions are the slots. Out: calls that say which slots are ours
now, are asked back, or are lost. It is here because a worker that recovers for minutes must go on
answering the group, and because slots are handed over, not pulled away: the group waits until
the batch in flight is committed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from typing import Any, Protocol

from kafka import AsyncConsumerRebalanceListener, KafkaConsumer
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    AuthorizationError,
    InconsistentGroupProtocolError,
    InvalidSessionTimeoutError,
    KafkaError,
)
from kafka.future import Future
from kafka.structs import MemberState

from ihomer.connectors.kafka_client import TIMEOUT_S, administration, connect
from ihomer.connectors.kafka_settings import KafkaSettings
from ihomer.errors import UnavailableError, UsageError

log = logging.getLogger(__name__)

SUFFIX = ".workers"
_POLL_MS = 100
_METADATA_MS = 30_000
_CLOSE_S = 3.0
_LOOK_S = 5.0  # how often the coordinator is asked whether it knows us
_LOOK_AGAIN_S = 1.0  # and while this worker waits to be a member
_REBALANCING = ("PreparingRebalance", "CompletingRebalance")


class Listener(Protocol):
    """Who is told; the calls come on the client's thread and must return at once."""

    def assigned(self, slots: list[int]) -> None:
        """These are ours as well from now on."""

    def revoked(self, slots: list[int]) -> threading.Event:
        """These are asked back; the event is set when they have been let go."""

    def lost(self, slots: list[int]) -> None:
        """These are somebody else's already."""


class _Rebalances(AsyncConsumerRebalanceListener):  # type: ignore[misc]  # no types shipped
    """Turns the client's calls into `Listener`'s; waits for a hand-over without blocking."""

    def __init__(self, listener: Listener, deadline_s: float) -> None:
        self._listener = listener
        self._deadline_s = deadline_s

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """Tell which slots have come."""
        slots = sorted(at.partition for at in assigned)
        if slots:
            self._listener.assigned(slots)

    async def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """Return when the slots have been let go, or after the deadline."""
        slots = sorted(at.partition for at in revoked)
        if not slots:
            return
        done = self._listener.revoked(slots)
        answer = Future()

        def wait() -> None:
            if not done.wait(self._deadline_s):
                self._listener.lost(slots)
            answer.success(None)

        # The client's loop, and with it the heartbeats, goes on while this thread waits.
        threading.Thread(target=wait, name="ihomer-hand-over", daemon=True).start()
        await answer

    async def on_partitions_lost(self, lost: Iterable[Any]) -> None:
        """Tell which slots are gone."""
        slots = sorted(at.partition for at in lost)
        if slots:
            self._listener.lost(slots)


class Membership:
    """A member of group ``<app>.workers``.

    Parameters
    ----------
    settings
        Brokers, security, session time-out.
    app
        Names the group.
    journal
        Name of the journal's topic.
    listener
        Who is told.
    deadline_s
        Longest wait for a slot that is asked back; then it is lost.

    Raises
    ------
    UnavailableError
        No broker answers in time.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        app: str,
        journal: str,
        listener: Listener,
        deadline_s: float,
    ) -> None:
        self._settings = settings
        self.group = app + SUFFIX
        self._journal = journal
        self._listener = listener
        self._deadline_s = deadline_s
        self._stopping = threading.Event()
        self.error: Exception | None = None
        self._consumer = self._connect()
        self._thread = threading.Thread(target=self._run, name="ihomer-membership", daemon=True)

    def _connect(self) -> Any:
        settings = self._settings
        consumer, _ = connect(
            KafkaConsumer,
            settings,
            TIMEOUT_S,
            group_id=self.group,
            enable_auto_commit=False,
            # Nothing is read; this only keeps the client from asking where to begin.
            auto_offset_reset="latest",
            partition_assignment_strategy=[CooperativeStickyAssignor],
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_ms,
            metadata_max_age_ms=_METADATA_MS,
            metrics_enabled=False,
        )
        rebalances = _Rebalances(self._listener, self._deadline_s)
        consumer.subscribe([self._journal], listener=rebalances)
        return consumer

    def start(self) -> None:
        """Join the group."""
        self._thread.start()

    def _run(self) -> None:
        group = self.group
        stable = looked = time.monotonic()
        forgotten = 0
        try:
            while not self._stopping.is_set():
                try:
                    self._consumer.poll(timeout_ms=_POLL_MS)
                    new = self._consumer.assignment() - self._consumer.paused()
                    if new:
                        self._consumer.pause(*new)
                    now = time.monotonic()
                    settled = self._consumer.group_metadata().state is MemberState.STABLE
                    if settled:
                        stable = now
                    elif now - stable < 2 * self._session_s:
                        continue  # a death is noticed, and shared out, within that
                    if now - looked < (_LOOK_S if settled else _LOOK_AGAIN_S):
                        continue
                    looked = now
                    # The client may believe itself a member that the group has forgotten, or
                    # wait for an answer to its joining that has been given to nobody.
                    forgotten = 0 if self._known(settled=settled) else forgotten + 1
                    if now - stable > self._patience_s or forgotten > 1:
                        self._join_anew()
                        stable, forgotten = time.monotonic(), 0
                except InvalidSessionTimeoutError:
                    raise UsageError(
                        f"session_timeout_ms={self._settings.session_timeout_ms} is outside the"
                        " broker's limits (by default 6000 to 1800000)"
                    ) from None
                except InconsistentGroupProtocolError:
                    raise UsageError(
                        f"group {group} has members that are no workers; accepted: another app"
                    ) from None
                except AuthorizationError as error:
                    raise UnavailableError(f"not allowed to join group {group}: {error}") from None
                except (KafkaError, UnavailableError) as error:
                    log.debug("group %s: tried again: %s", group, error)
                    self._stopping.wait(0.2)
        except Exception as error:  # noqa: BLE001 - the worker raises it
            self.error = error
        finally:
            self._leave()

    @property
    def _patience_s(self) -> float:
        """How long a rebalance may take: the hand-over, and a dead member's session twice."""
        return self._deadline_s + 2 * self._session_s

    @property
    def _session_s(self) -> float:
        return self._settings.session_timeout_ms / 1000.0

    def _known(self, *, settled: bool) -> bool:
        """Whether the coordinator has us as a member, and if we wait for it, waits for others."""
        group = self._group()
        return bool(self._our_part(group)) and (settled or group["group_state"] in _REBALANCING)

    def _join_anew(self) -> None:
        """Start over with another consumer: now and then the client's joining comes to no end."""
        log.warning("group %s does not know this worker, it joins anew", self.group)
        owned = sorted(at.partition for at in self._consumer.assignment())
        if owned:
            self._listener.lost(owned)
        self._leave()
        self._consumer = self._connect()

    def _leave(self) -> None:
        try:
            self._consumer.close(autocommit=False, timeout_ms=round(1000 * _CLOSE_S))
        except KafkaError as error:
            log.debug("group %s not left in order: %s", self.group, error)

    def owns(self, slot: int) -> bool:
        """Whether the group's coordinator has this slot as ours, asked now.

        Raises
        ------
        UnavailableError
            It does not answer.
        """
        ours = self._our_part(self._group()).get("member_assignment") or {}
        return any(
            topic["topic"] == self._journal and slot in topic["partitions"]
            for topic in ours.get("assigned_partitions", ())
        )

    def _group(self) -> dict[str, Any]:
        """What the group's coordinator says of the group."""
        with administration(self._settings) as connection:
            found: dict[str, Any] = connection.client.describe_groups([self.group])[self.group]
            return found

    def _our_part(self, group: dict[str, Any]) -> dict[str, Any]:
        """What a group's description says of this member; empty: it knows none."""
        member = self._consumer.group_metadata().member_id
        return next(
            (each for each in group["members"] if member and each["member_id"] == member), {}
        )

    def close(self, timeout_s: float) -> None:
        """Leave the group, so that the others take over at once."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
