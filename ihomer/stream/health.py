"""Whether a daemon lives and is ready, with the reasons.

In: a `Snapshot` and the time. Out: reasons, and a JSON object for who asks. It is here so that an
orchestrator, the service manager, an alarm and ``ihomer top`` come to the same verdict.

*Live* means that a restart would not help: it is denied only when the loop has been in one stage
for longer than anything in it may take. *Ready* means that events which come now are predicted;
a degraded daemon is ready.
"""

from __future__ import annotations

from typing import Any

from ihomer import __version__
from ihomer.stream.status import Reason, Severity, Snapshot, Stage

# A round of the loop takes milliseconds; where it does not, somebody should know.
READY_SECONDS = 10.0
# The longest that the loop allows itself to wait: two minutes for an acknowledgement, then some
# seconds for the commit.
LIVE_SECONDS = 180.0

_UNREADY = {
    Stage.START: "starting: kernels are compiled, sources and sinks are opened",
    Stage.RECOVER: "recovering: a checkpoint is loaded, events since then are learned again",
    Stage.STOP: "stopping",
}


def stalled(snapshot: Snapshot, now: float) -> str | None:
    """Why the process does not live, one line; None if it does.

    Examples
    --------
    >>> from ihomer.stream.status import Status
    >>> status = Status(clock=lambda: 0.0)
    >>> status.enter(Stage.COMMIT)
    >>> stalled(status.snapshot(), 60.0) is None
    True
    >>> stalled(status.snapshot(), 181.0)
    'the loop has been in stage commit for 181 s, accepted: up to 180 s'
    """
    return _stalled(snapshot, now, LIVE_SECONDS)


def reasons(snapshot: Snapshot, now: float) -> tuple[Reason, ...]:
    """All that keeps the daemon from being well; empty: it is.

    Parameters
    ----------
    snapshot
        What is known.
    now
        On the monotonic clock.
    """
    found = list(snapshot.reasons)
    entered = snapshot.entered
    stage = _UNREADY.get(snapshot.stage)
    if stage is not None:
        found.append(Reason("stage", stage, Severity.NOT_READY, entered))
    stall = _stalled(snapshot, now, READY_SECONDS)
    if stall is not None:
        found.append(Reason("loop", stall, Severity.NOT_READY, entered + READY_SECONDS))
    return tuple(found)


def is_ready(found: tuple[Reason, ...]) -> bool:
    """Whether events are predicted in spite of these reasons."""
    return all(reason.severity is Severity.DEGRADED for reason in found)


def report(snapshot: Snapshot, now: float) -> dict[str, Any]:
    """What ``/health/ready`` answers, as a JSON object."""
    found = reasons(snapshot, now)
    status = "not-ready" if not is_ready(found) else "degraded" if found else "ready"
    return {
        "status": status,
        "stage": snapshot.stage.value,
        "seconds_in_stage": round(now - snapshot.entered, 3),
        "reasons": [
            {
                "subject": reason.subject,
                "severity": reason.severity.value,
                "text": reason.text,
                "seconds": round(now - reason.since, 3),
            }
            for reason in found
        ],
        "version": __version__,
    }


def _stalled(snapshot: Snapshot, now: float, accepted: float) -> str | None:
    seconds = now - snapshot.entered
    if snapshot.stage is Stage.START or seconds <= accepted:
        return None
    return (
        f"the loop has been in stage {snapshot.stage} for {seconds:.0f} s, accepted: up to"
        f" {accepted:.0f} s"
    )
