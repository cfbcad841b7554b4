"""The C library's allocator, told what a process is that runs for months.

In: nothing. Out: settings of glibc's malloc; on other systems nothing happens. It is here because
slots come and go, each on a thread of its own: by default every new thread gets a heap of its own
(up to eight for each core), and arrays that were freed raise the size from which the next ones are
mapped, so that memory which nobody uses stays with the process. The environment (``MALLOC_*``) is
stronger. Only the daemon calls this: a library has no business with its host's allocator.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Any

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # of malloc.h
MAPPED_BYTES = 1 << 22  # from this size on an array is mapped, and unmapped when it is freed
ARENAS = 2
_VARIABLES = ("MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


@cache
def _glibc() -> Any:
    try:
        if not os.confstr("CS_GNU_LIBC_VERSION"):
            return None
        library = ctypes.CDLL(None)
    except (AttributeError, OSError, ValueError):  # Windows, other C libraries
        return None
    return library if hasattr(library, "mallopt") else None


def settle() -> bool:
    """Bound the heaps, before other threads run; whether that was possible.

    Examples
    --------
    >>> settle() in (True, False)
    True
    """
    library = _glibc()
    if library is None or any(name in os.environ for name in _VARIABLES):
        return False
    arenas = library.mallopt(_M_ARENA_MAX, ARENAS)
    return bool(library.mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES) and arenas)


def trim() -> bool:
    """Give free memory back to the system, after much of it was freed; whether any was.

    Examples
    --------
    >>> trim() in (True, False)
    True
    """
    library = _glibc()
    return library is not None and bool(library.malloc_trim(0))
