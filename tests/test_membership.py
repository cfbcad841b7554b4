"""A worker whose joining comes to no end starts over; one that waits for others waits."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from kafka.structs import MemberState

from ihomer.connectors import kafka_membership
from ihomer.connectors.kafka_membership import Membership
from ihomer.connectors.kafka_settings import KafkaSettings

SESSION_S = 0.05


class Consumer:
    """A client that stays in one state."""

    def __init__(self, state: MemberState) -> None:
        self.state = state
        self.closed = False

    def poll(self, timeout_ms: int) -> None:
        time.sleep(0.005)

    def assignment(self) -> set[Any]:
        return set()

    def paused(self) -> set[Any]:
        return set()

    def group_metadata(self) -> Any:
        return SimpleNamespace(state=self.state, member_id="ours")

    def close(self, **_: object) -> None:
        self.closed = True


class Nobody:
    def assigned(self, slots: list[int]) -> None: ...

    def revoked(self, slots: list[int]) -> threading.Event:
        raise AssertionError

    def lost(self, slots: list[int]) -> None:
        raise AssertionError


def run(
    monkeypatch: pytest.MonkeyPatch, state: MemberState, group: dict[str, Any], seconds: float
) -> list[Consumer]:
    """The consumers that a membership went through while the coordinator said `group`."""
    made: list[Consumer] = []

    def connect(self: Membership) -> Consumer:
        # Only the first one is stuck.
        made.append(Consumer(MemberState.STABLE if made else state))
        return made[-1]

    monkeypatch.setattr(Membership, "_connect", connect)
    monkeypatch.setattr(
        Membership, "_group", lambda _: group if len(made) == 1 else {"members": MEMBERS}
    )
    for name in ("_LOOK_S", "_LOOK_AGAIN_S"):
        monkeypatch.setattr(kafka_membership, name, 0.02)
    settings = KafkaSettings(("h:1",), "t", session_timeout_ms=round(1000 * SESSION_S))
    membership = Membership(settings, "app", "app.journal", Nobody(), 60.0)
    membership.start()
    limit = time.monotonic() + seconds
    while len(made) == 1 and time.monotonic() < limit:
        time.sleep(0.005)
    membership.close(5.0)
    assert membership.error is None
    assert all(each.closed for each in made)
    return made


MEMBERS = [{"member_id": "theirs"}, {"member_id": "ours"}]
REBALANCING = MemberState.REBALANCING


@pytest.mark.parametrize(
    ("state", "group"),
    [
        (REBALANCING, {"group_state": "Stable", "members": MEMBERS}),
        (REBALANCING, {"group_state": "Empty", "members": []}),
        (REBALANCING, {"group_state": "PreparingRebalance", "members": MEMBERS[:1]}),
        (MemberState.STABLE, {"group_state": "Stable", "members": MEMBERS[:1]}),
    ],
)
def test_a_worker_that_the_group_leaves_out_joins_anew(
    monkeypatch: pytest.MonkeyPatch, state: MemberState, group: dict[str, Any]
) -> None:
    assert len(run(monkeypatch, state, group, 10.0)) == 2


@pytest.mark.parametrize(
    ("state", "group"),
    [
        (REBALANCING, {"group_state": "PreparingRebalance", "members": MEMBERS}),
        (REBALANCING, {"group_state": "CompletingRebalance", "members": MEMBERS}),
        (MemberState.STABLE, {"group_state": "Stable", "members": MEMBERS}),
    ],
)
def test_a_worker_that_waits_for_others_waits(
    monkeypatch: pytest.MonkeyPatch, state: MemberState, group: dict[str, Any]
) -> None:
    assert len(run(monkeypatch, state, group, 0.5)) == 1
