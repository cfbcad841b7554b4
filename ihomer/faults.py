"""Named points at which tests make the process fail; without them, one comparison each.

In: ``IHOMER_FAULT``, a list of ``POINT:N[:ACTION]`` separated by commas. Out: at the N-th pass of
POINT since the start of the process, ACTION: ``kill`` (SIGKILL, the default: nothing is flushed,
nobody is told), ``stop`` (SIGSTOP: a process that is paused for longer than its session) or
``full`` (the error of a full disk). Only tests set the variable. It is here, on the ground floor,
because the points are on all floors.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections import Counter

from ihomer.errors import UsageError

VARIABLE = "IHOMER_FAULT"
POINTS = (
    "during-recovery",
    "before-poll",
    "after-decode",
    "after-learn",
    "before-copy",
    "before-begin",
    "mid-produce",
    "before-offsets",
    "before-commit",
    "after-commit",
    "mid-checkpoint-write",
    "before-rename",
    "after-rename",
    "before-trim",
)
"""In the order of a batch's life; the checkpoint's are passed on its own thread."""
FILE_POINTS = (
    "before-flush",
    "before-position",
    "mid-position-write",
    "before-position-rename",
    "after-position-rename",
    "before-cut",
    "mid-cut",
)
"""Where files are the source and the sinks; others of `POINTS` are passed there, too."""
ACTIONS = ("kill", "stop", "full")

_lock = threading.Lock()
_passed: Counter[str] = Counter()


def parse(text: str) -> dict[tuple[str, int], str]:
    """What should happen at which pass of which point.

    Raises
    ------
    UsageError
        A point or an action is unknown, or a number is none.

    Examples
    --------
    >>> parse("after-commit:3, before-rename:1:full")
    {('after-commit', 3): 'kill', ('before-rename', 1): 'full'}
    """
    wanted: dict[tuple[str, int], str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, rest = part.partition(":")
        number, _, action = rest.partition(":")
        action = action or "kill"
        if name not in POINTS + FILE_POINTS or not number.isdecimal() or action not in ACTIONS:
            raise UsageError(
                f"environment {VARIABLE}: found {part!r}, accepted: POINT:N[:ACTION] with a point"
                f" of {', '.join(POINTS + FILE_POINTS)} and an action of {', '.join(ACTIONS)}"
            )
        wanted[name, int(number)] = action
    return wanted


_wanted = parse(os.environ.get(VARIABLE, ""))


def reach(name: str) -> None:
    """Pass the point `name`.

    Raises
    ------
    OSError
        The action is ``full``.
    """
    if _wanted:
        _pass(name)


def _pass(name: str) -> None:
    with _lock:
        _passed[name] += 1
        action = _wanted.get((name, _passed[name]))
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif action == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
