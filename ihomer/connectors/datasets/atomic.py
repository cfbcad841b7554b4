"""Files that are there whole or not at all, and one process at a time.

In: bytes, or a finished temporary file. Out: a file under its name, on the disk. It is here because
downloads are interrupted, and because two of them may want the same file.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_POLL_SECONDS = 0.1


def publish(temporary: Path, target: Path) -> None:
    """Make the finished file `temporary`, of the same folder, the file `target`."""
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(target)
    if sys.platform != "win32":  # there a folder cannot be opened, and need not be
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_whole(target: Path, data: bytes) -> None:
    """Make `data` the content of `target`, whatever happens meanwhile."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        publish(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def alone(path: Path, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock that the file `path` stands for; it is removed afterwards.

    Parameters
    ----------
    path
        A name of its own, in an existing folder.
    on_wait
        Called once if another process, or thread, holds it.
    """
    told = False
    while True:
        file = path.open("ab")
        try:
            if _locked(file.fileno()):
                if _is_still(path, file.fileno()):
                    break
            else:
                if on_wait is not None and not told:
                    on_wait()
                    told = True
                time.sleep(_POLL_SECONDS)
        except BaseException:
            file.close()
            raise
        file.close()
    try:
        yield
    finally:
        if sys.platform != "win32":  # there an open file cannot be removed: an empty one stays
            path.unlink(missing_ok=True)
        file.close()


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the one who held the lock has not removed the name that we opened it under."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _locked(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
