"""Who is told what a daemon has done, so that a restart can go on.

In: word of each batch, of each commit, of the end. Out: whatever a restart needs, on the disk. It
is here so that the daemon's loop does not know what is promised of delivery.
"""

from __future__ import annotations

from ihomer.connectors.base import Position


class Bookkeeper:
    """Keeps nothing; those that keep something say what."""

    def learned(self, records: int) -> None:
        """A batch of so many records has been processed; nothing of it is acknowledged yet."""
        del records

    def refused(self) -> Position | None:
        """The batch that was read last cannot be processed to its end.

        Returns
        -------
        Position or None
            A place in that batch up to which it is done; None: up to its beginning.
        """
        return None

    def record(self, position: Position) -> None:
        """Everything before `position` is acknowledged; it is done when this returns.

        Raises
        ------
        InputError
            That cannot be written.
        """
        del position

    def committed(self) -> None:
        """It is done: there is time for other things."""

    def finish(self, seconds: float) -> None:
        """The daemon ends, and all that it has done is committed.

        Parameters
        ----------
        seconds
            How long this may take, about.
        """
        del seconds

    def close(self) -> None:
        """Let go of everything."""
