"""When a checkpoint is due, and what is shown of one that was written or was not.

In: the number of events, and how writing has ended. Out: yes or no; figures and a reason in a
`Status`, a line in the log. It is here because every daemon that writes checkpoints, whatever it
promises of delivery, must do both alike.
"""

from __future__ import annotations

import time

import structlog

from ihomer.stream import metrics
from ihomer.stream.checkpoints import Failed, Written
from ihomer.stream.settings import Settings
from ihomer.stream.status import Severity, Status

log = structlog.get_logger("ihomer")


class Rhythm:
    """See the module.

    Parameters
    ----------
    settings
        How often: `checkpoint_seconds`, `checkpoint_events`.
    status
        Shows the newest checkpoint.
    slot
        Under which name.
    """

    def __init__(self, settings: Settings, status: Status, slot: str = "0") -> None:
        self._seconds = settings.checkpoint_seconds
        self._events = settings.checkpoint_events
        self._status = status
        self._slot = slot
        self.taken(0)

    def taken(self, events: int) -> None:
        """The state of now, after so many events, is in a checkpoint or will be."""
        self._taken_events = events
        self._taken_at = time.monotonic()

    def due(self, events: int) -> bool:
        """Whether it is time for the next one, after so many events."""
        return (
            time.monotonic() - self._taken_at >= self._seconds
            or events - self._taken_events >= self._events
        )

    def tell(self, outcome: object) -> bool:
        """Show how writing has ended; returns whether a checkpoint was written.

        Parameters
        ----------
        outcome
            `Written`, `Failed`, or None: there is no news.
        """
        status, slot = self._status, self._slot
        if isinstance(outcome, Failed):
            log.warning(
                "no checkpoint written; the daemon goes on, a recovery takes longer",
                slot=slot,
                reason=str(outcome.error),
            )
            status.add(metrics.CHECKPOINTS, 1, slot, "failed")
            status.trouble("checkpoint", str(outcome.error), Severity.DEGRADED)
        if not isinstance(outcome, Written):
            return False
        status.add(metrics.CHECKPOINTS, 1, slot, "written")
        status.mark(metrics.CHECKPOINT_AGE, slot)
        status.set(metrics.CHECKPOINT_BYTES, outcome.nbytes, slot)
        status.observe(metrics.CHECKPOINT_SECONDS, outcome.seconds, slot)
        status.clear("checkpoint")
        return True
