"""Compiling ahead of first use: what is missing, who compiles it, and what if they cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ihomer.warm import Part, _shares
from tests.first_use import python

pytestmark = pytest.mark.integration

KERNELS = """
import os
from ihomer.jit import kernel

@kernel
def half(value):
    return 0.5 * value

@kernel
def third(value):
    return half(value) + value

@kernel
def fourth(value):
    return 0.25 * value

def first():
    third(1.0)

def second():
    fourth(1.0)

def ends():
    if os.getpid() != int(os.environ["PARENT"]):
        raise SystemExit(3)
    fourth(1.0)

def fails():
    raise ValueError("no such part")

def both():
    third(1.0)
    fourth(1.0)
"""
WARM_UP = """
import json, os, subprocess, sys
sys.path.insert(0, FOLDER)
os.environ["PARENT"] = str(os.getpid())
from ihomer.warm import Part, warm_up

def popen(*args, plain=subprocess.Popen, **kwargs):
    started.append(1)
    return plain(*args, **kwargs)

told, started = [], []
subprocess.Popen = popen
BEFORE
parts = [
    Part("one", "parts:first", 2),
    Part("two", "parts:SECOND", 1),
    Part("all", "parts:both", 0),
]
warm_up(parts, lambda *now: told.append(now), PROCESSES)
import parts
compiled = [name for name in ("third", "fourth") if not getattr(parts, name).stats.cache_hits]
print(json.dumps([len(started), compiled, told]))
"""


def warmed(
    folder: Path, *, processes: int = 2, second: str = "second", before: str = ""
) -> tuple[int, list[str], list[list[object]]]:
    """Processes started, kernels compiled in the one that warms up, and its progress."""
    module = folder / "parts.py"
    if not module.exists():
        module.write_text(KERNELS)
    code = WARM_UP.replace("BEFORE", before).replace("SECOND", second)
    code = code.replace("PROCESSES", str(processes)).replace("FOLDER", repr(str(folder)))
    (line,) = python(code, {"IHOMER_CACHE_DIR": str(folder / "cache")})
    started, compiled, told = json.loads(line)
    return started, compiled, told


def test_processes_compile_what_is_missing_and_nothing_twice(tmp_path: Path) -> None:
    started, compiled, told = warmed(tmp_path)
    assert (started, compiled) == (2, [])
    assert told[-1] == [3, 3, "done"]
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)  # type: ignore[type-var]
    started, compiled, told = warmed(tmp_path)
    assert (started, compiled) == (0, [])
    assert told == [[0, 3, "one"], [1, 3, "two"], [2, 3, "all"], [3, 3, "done"]]


def test_one_process_compiles_everything_itself(tmp_path: Path) -> None:
    started, compiled, told = warmed(tmp_path, processes=1)
    assert (started, compiled) == (0, ["third", "fourth"])
    assert told[-1] == [3, 3, "done"]


def test_what_a_process_leaves_out_is_compiled_here(tmp_path: Path) -> None:
    started, compiled, _ = warmed(tmp_path, second="ends")
    assert (started, compiled) == (2, ["fourth"])


@pytest.mark.parametrize(
    ("before", "attempts"),
    [
        ("sys.executable = '/usr/sbin/uwsgi'", 0),
        ("sys.executable = None", 0),
        ("sys.frozen = True", 0),
        ("sys.executable = '/nowhere/python3'", 1),
    ],
)
def test_where_no_process_can_be_started_everything_is_compiled_here(
    tmp_path: Path, before: str, attempts: int
) -> None:
    started, compiled, told = warmed(tmp_path, before=before)
    assert (started, compiled) == (attempts, ["third", "fourth"])
    assert told[-1] == [3, 3, "done"]


def test_what_fails_everywhere_is_raised(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="ValueError: no such part"):
        warmed(tmp_path, second="fails")


def test_the_longest_parts_are_shared_out_first() -> None:
    parts = [Part("", name, seconds) for name, seconds in zip("abcd", (1, 5, 3, 2), strict=True)]
    assert _shares(parts, 2) == [["b", "a"], ["c", "d"]]
