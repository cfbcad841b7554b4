"""Compiling all kernels ahead of their first use, in several processes where that is sooner.

In: parts of the package, each with a function that runs its kernels on something small. Out:
nothing but compiled kernels, in this process and in the cache folder.

Only a part that misses something starts processes: fresh ones of this Python, as many as this
process has cores at most, which fill the cache folder and end. Whatever they leave out, for
whatever reason, is compiled here.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from numba.core import event

from ihomer.jit import cache_folder

_MOST_PROCESSES = 4  # the largest part takes a quarter of all the time

Progress = Callable[[int, int, str], None]


class Part(NamedTuple):
    """Kernels that are compiled together.

    Attributes
    ----------
    name
        What they do, for people.
    place
        ``"module:function"``; the function runs them and takes nothing.
    seconds
        About how long they are compiled, to share parts out; 0: only after all others, because
        they are made of them.
    """

    name: str
    place: str
    seconds: int

    def run(self) -> None:
        """Compile the kernels that are missing, and load the others."""
        module, _, function = self.place.partition(":")
        getattr(importlib.import_module(module), function)()


def warm_up(parts: Sequence[Part], progress: Progress, processes: int | None) -> None:
    """Compile the kernels of all parts, or load them from the cache folder.

    Parameters
    ----------
    parts
        Those with `Part.seconds` 0 last.
    progress, processes
        As `ihomer.warm_up` has them.
    """
    waiting: list[Part] = []
    for number, part in enumerate(parts):
        progress(number - len(waiting), len(parts), part.name)
        if not _is_compiled(part):
            waiting.append(part)
    missing = tuple(waiting)

    def tell() -> None:
        name = waiting[0].name if waiting else "done"
        progress(len(parts) - len(waiting), len(parts), name)

    def done(place: str) -> None:
        for part in [part for part in waiting if part.place == place]:
            waiting.remove(part)
            tell()

    tell()
    _fill_cache([part for part in missing if part.seconds], processes or _cores(), done)
    for part in missing:
        part.run()
        done(part.place)


class _Missing(BaseException):
    """Raised where numba begins to compile: nothing between may take it for an error."""


class _Stop(event.Listener):
    """Ends what runs in this thread at the first kernel that has to be compiled."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def on_start(self, event: event.Event) -> None:  # noqa: ARG002 - numba's interface
        if threading.get_ident() == self._thread:
            raise _Missing

    def on_end(self, event: event.Event) -> None:
        """Nothing to do."""


def _is_compiled(part: Part) -> bool:
    """Load a part's kernels; whether all of them were there."""
    try:
        with event.install_listener("numba:compile", _Stop()):
            part.run()
    except _Missing:
        return False
    return True


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return min(_MOST_PROCESSES, len(os.sched_getaffinity(0)))
    return min(_MOST_PROCESSES, os.cpu_count() or 1)


def _fill_cache(parts: Sequence[Part], processes: int, done: Callable[[str], None]) -> None:
    """Compile `parts` in other processes; `done` is told each one's place."""
    # A program that has Python built in would start itself once more.
    named = Path(sys.executable or "").stem.startswith("python")
    count = min(processes, len(parts))
    if count < 2 or not named or getattr(sys, "frozen", False):
        return
    environment = {
        **os.environ,
        # What this process found, by its search path and its choice of a folder, they find.
        "IHOMER_CACHE_DIR": str(cache_folder().parent),
        "PYTHONPATH": os.pathsep.join(str(Path(folder).absolute()) for folder in sys.path),
    }
    read_end, write_end = os.pipe()
    children: list[subprocess.Popen[bytes]] = []
    try:
        with os.fdopen(read_end, encoding="utf-8") as lines:
            try:
                for share in _shares(parts, count):
                    command = [sys.executable, "-P", "-m", __name__, *share]
                    children.append(
                        subprocess.Popen(  # noqa: S603 - this Python, on this package's modules
                            command,
                            env=environment,
                            stdin=subprocess.DEVNULL,
                            stdout=write_end,
                            stderr=subprocess.DEVNULL,
                        )
                    )
            except OSError:
                pass  # those that have started do what they can
            finally:
                os.close(write_end)
            for line in lines:  # until no process is left that could write one
                done(line.strip())
    finally:
        for child in children:
            child.kill()
            child.wait()


def _shares(parts: Iterable[Part], count: int) -> list[list[str]]:
    """Places for each of `count` processes: the longest first, each to whom has least to do."""
    shares: list[list[str]] = [[] for _ in range(count)]
    seconds = [0] * count
    for part in sorted(parts, key=lambda part: -part.seconds):
        least = seconds.index(min(seconds))
        shares[least].append(part.place)
        seconds[least] += part.seconds
    return shares


def main() -> None:
    """Compile the parts at the places that the command line names; write each when it is done."""
    for place in sys.argv[1:]:
        Part("", place, 0).run()
        sys.stdout.write(f"{place}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
