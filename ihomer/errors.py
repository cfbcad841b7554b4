"""What can go wrong, in the words a user sees, and the exit code that goes with it.

Every error that is somebody's mistake or somebody's outage derives from `IhomerError`; its text
is one line that names the place (file, line, topic, partition, offset, key), what was found and
what is accepted. Anything else that escapes is a defect of ours and ends with `EXIT_INTERNAL`.

Exit codes follow BSD's sysexits, except for usage, where every command line tool says 2.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_USAGE = 2
EXIT_INPUT = 65
EXIT_UNAVAILABLE = 69
EXIT_INTERNAL = 70
EXIT_STUCK = 75


class IhomerError(Exception):
    """Base of the errors that are reported in one line, without a stack trace."""

    exit_code = EXIT_INTERNAL


class UsageError(IhomerError):
    """A wrong argument, URI or configuration key."""

    exit_code = EXIT_USAGE


class InputError(IhomerError):
    """Input that cannot be read or is not what was declared."""

    exit_code = EXIT_INPUT


class UnavailableError(IhomerError):
    """A service (the broker) does not answer or refuses us."""

    exit_code = EXIT_UNAVAILABLE


class MalformedEventError(InputError):
    """One event that cannot be used; the stream goes on without it.

    Parameters
    ----------
    stage
        Where it was found out: ``"read"``, ``"parse"``, ``"schema"`` or ``"vocabulary"``.
    kind
        A short stable name of the fault for counting, such as ``"not-json"``.
    message
        One line: the field, what was found, what is accepted.
    """

    def __init__(self, stage: str, kind: str, message: str) -> None:
        super().__init__(stage, kind, message)
        self.stage = stage
        self.kind = kind
        self.message = message

    def bare(self) -> MalformedEventError:
        """The same without where it was raised, to be kept.

        A traceback holds the calls that it came through, and with them a batch of events; a call
        that keeps the error is then held by itself, until a collector finds them both.
        """
        self.__traceback__ = self.__context__ = self.__cause__ = None
        return self

    def __str__(self) -> str:
        return self.message
