from __future__ import annotations

import platform
import subprocess
import sys

import pytest

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's malloc")

_GROWN = """
import threading, numpy as np
from pathlib import Path
from ihomer.stream import allocator
if {settle}:
    assert allocator.settle()
def rss():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
def work():
    kept = [np.ones(1 << 17) for _ in range(64)]  # 64 MB in pieces of 1 MB
    barrier.wait()
before = rss()
for _ in range(4):
    barrier = threading.Barrier(3)
    threads = [threading.Thread(target=work) for _ in range(3)]
    [each.start() for each in threads]
    [each.join() for each in threads]
allocator.trim()
print((rss() - before) >> 20)
"""


@glibc
def test_what_threads_have_freed_goes_back() -> None:
    code = _GROWN.format(settle=True)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 96  # of 192 that were in use at once


@glibc
def test_the_environment_is_stronger(monkeypatch: pytest.MonkeyPatch) -> None:
    from ihomer.stream import allocator

    monkeypatch.setenv("MALLOC_ARENA_MAX", "8")
    assert not allocator.settle()
