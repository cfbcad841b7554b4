"""Live, ready, degraded: what each means."""

from __future__ import annotations

import pytest

from ihomer.stream.health import LIVE_SECONDS, READY_SECONDS, is_ready, reasons, report, stalled
from ihomer.stream.status import Severity, Stage, Status


@pytest.mark.parametrize("stage", list(Stage))
def test_each_stage(stage: Stage) -> None:
    status = Status(clock=lambda: 0.0)
    status.enter(stage)
    seen = status.snapshot()
    working = stage not in (Stage.START, Stage.RECOVER, Stage.STOP)
    assert is_ready(reasons(seen, 1.0)) is working
    assert report(seen, 1.0)["status"] == ("ready" if working else "not-ready")
    # However far a start or anything else gets: within its time it lives.
    assert stalled(seen, LIVE_SECONDS) is None
    assert (stalled(seen, LIVE_SECONDS + 1.0) is None) is (stage is Stage.START)
    late = reasons(seen, READY_SECONDS + 1.0)
    assert any(each.subject == "loop" for each in late) is (stage is not Stage.START)
    assert not is_ready(late)


def test_a_heartbeat_in_the_same_stage_is_one() -> None:
    now = 0.0
    status = Status(clock=lambda: now)
    for _ in range(100):
        now += 0.9 * READY_SECONDS
        assert reasons(status.snapshot(), now)[0].subject == "stage"
        assert len(reasons(status.snapshot(), now)) == 1
        status.enter(Stage.RECOVER)


def test_reasons_and_what_they_mean() -> None:
    status = Status(clock=lambda: 5.0)
    status.enter(Stage.WAIT)
    status.trouble("checkpoint", "no space left on /var", Severity.DEGRADED)
    found = report(status.snapshot(), 8.5)
    assert (found["status"], found["stage"], found["seconds_in_stage"]) == ("degraded", "wait", 3.5)
    assert found["reasons"] == [
        {
            "subject": "checkpoint",
            "severity": "degraded",
            "text": "no space left on /var",
            "seconds": 3.5,
        }
    ]
    status.trouble("source", "Kafka at h:9092 is away")
    found = report(status.snapshot(), 8.5)
    assert found["status"] == "not-ready"
    assert [each["subject"] for each in found["reasons"]] == ["checkpoint", "source"]
    assert stalled(status.snapshot(), 8.5) is None, "a broker that is away is no cause to restart"
