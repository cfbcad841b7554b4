"""Compiling everything on a new machine, once: whole, complete, kept. Takes a minute."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.first_use import NOBODY, as_nobody, kernels, python

pytestmark = pytest.mark.integration

WARM_UP = """
import sys, time
start = time.perf_counter()
import ihomer
imported = time.perf_counter()
ihomer.warm_up()
from ihomer.stream.assemble import warm_up
warm_up()
print(imported - start, time.perf_counter() - imported)
"""
REPLAY = """
import sys
sys.argv = ["ihomer", "replay", SOURCE, "--limit", "3000", "--quiet", "--json", "-"]
from ihomer.stream.cli import main
main()
"""
SOURCES = (
    "synthetic:hyperplane?events=3000&drift=sudden",
    "synthetic:text?events=3000&labels=300&words=20000&drift=sudden&of=labels",
    "synthetic:rbf?events=3000",
)


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[tuple[dict[str, str], Path, tuple[str, ...]]]:
    """Environment, folder for kernels and command of somebody who has compiled nothing yet.

    Root becomes another user, who has no home: that is asked of a first use, too, and compiling
    everything twice would show nothing more.
    """
    before = as_nobody()
    if before is None:
        yield {"IHOMER_CACHE_DIR": str(tmp_path)}, tmp_path, ()
        return
    shared = Path("/tmp/ihomer-first-use-of-nobody")  # noqa: S108 - pytest's folders are root's
    shutil.rmtree(shared, ignore_errors=True)
    shared.mkdir(mode=0o777)
    shared.chmod(0o777)
    try:
        yield {"TMPDIR": str(shared), "HOME": "/nonexistent"}, shared, before
        (folder,) = shared.glob("ihomer-*")
        assert folder.stat().st_uid == NOBODY
    finally:
        shutil.rmtree(shared)


def test_the_first_warm_up_compiles_everything_and_later_ones_nothing(
    stranger: tuple[dict[str, str], Path, tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    environment, folder, before = stranger
    seconds = []
    compiled: dict[str, int] = {}
    for _ in range(2):
        start = time.perf_counter()
        imported, warm = map(float, python(WARM_UP, environment, before)[-1].split())
        seconds.append((imported, warm, time.perf_counter() - start))
        again = kernels(folder)
        assert not compiled or again == compiled
        compiled = again
    assert compiled
    with capsys.disabled():
        for name, (imported, warm, whole) in zip(("first", "later"), seconds, strict=True):
            sys.stdout.write(
                f"\n{name} warm-up: import {imported:.2f} s, warm-up {warm:.1f} s,"
                f" process {whole:.1f} s, {len(compiled)} files"
            )
    for source in SOURCES:
        lines = python(REPLAY.replace("SOURCE", repr(source)), environment, before)
        assert json.loads("".join(lines))["events"] == 3000
        missed = sorted(set(kernels(folder)) - set(compiled))
        assert missed == [], f"{source} compiled what the warm-up had left out"
