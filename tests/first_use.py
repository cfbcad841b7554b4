"""What the tests of first use share: Python processes that know nothing yet, other users' too."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import ihomer

NOBODY = 65534
ROOT = Path(ihomer.__path__[0]).parent

# One small kernel, compiled or loaded; where it is kept; how many came from there.
ONE_KERNEL = """
import numpy as np
from ihomer.jit import cache_folder
from ihomer.learners.kernels.linkage import average_linkage
average_linkage(np.zeros((2, 2)))
print(cache_folder())
print(sum(average_linkage.stats.cache_hits.values()))
"""


def python(
    code: str, environment: dict[str, str], before: Sequence[str] = (), where: Path = ROOT
) -> list[str]:
    """Lines that `code` prints in a process with nothing of this one's but `environment`.

    Parameters
    ----------
    code
        Python.
    environment
        All variables beside those that find Python and the package.
    before
        A command that the process is started by.
    where
        Folder that the package is imported from.
    """
    done = subprocess.run(
        [*before, sys.executable, "-W", "error", "-c", code],
        env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(where), **environment},
        capture_output=True,
        check=False,
        text=True,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def kernels(folder: Path) -> dict[str, int]:
    """Compiled kernels below `folder`, with the time of their last change in ns."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_mtime_ns
        for path in folder.rglob("*.nb[ci]")
    }


@functools.cache
def as_nobody() -> tuple[str, ...] | None:
    """The command that starts another user's process; None: there is none, or it needs root.

    Where this Python lies in a folder that others may not enter, the other user is given the right
    to read it, and still none to write.
    """
    if not hasattr(os, "getuid") or os.getuid() != 0 or shutil.which("setpriv") is None:
        return None
    plain = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    may_read = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    for command in (plain, (*plain, *may_read)):
        tried = subprocess.run(
            [*command, sys.executable, "-c", "import numba"],
            capture_output=True,
            check=False,
            cwd="/",
        )
        if tried.returncode == 0:
            return command
    return None
