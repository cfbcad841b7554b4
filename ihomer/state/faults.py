"""What is said of a checkpoint that cannot be used, or of a state that cannot be saved."""

from __future__ import annotations

from ihomer.errors import InputError, UsageError


class CheckpointError(InputError):
    """A checkpoint cannot be used; its text is one line: where, what was found, what is accepted.

    Parameters
    ----------
    place
        The folder, and the file in it.
    found, accepted
        What is there, and what could be.
    """

    def __init__(self, place: object, found: str, accepted: str) -> None:
        super().__init__(f"{place}: found {found}, accepted: {accepted}")
        self.place = str(place)
        self.found = found


class StateError(UsageError):
    """Something is part of a state that no checkpoint can hold, such as another library's model."""
