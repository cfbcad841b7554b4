"""The first minute on a new machine: what an import costs, and where compiled code may go."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from ihomer import jit
from ihomer.stream import assemble
from ihomer.stream.cli.progress import warm_up_with_notice
from tests.first_use import NOBODY, ONE_KERNEL, ROOT, as_nobody, kernels, python

pytestmark = pytest.mark.integration

HEAVY = ("numba", "llvmlite", "river", "scipy", "pandas", "numpy", "rich", "typer", "kafka")


def test_importing_the_package_imports_nothing_heavy_and_compiles_nothing(tmp_path: Path) -> None:
    code = f"import sys, ihomer; print([m for m in {HEAVY} if m in sys.modules])"
    assert python(code, {"IHOMER_CACHE_DIR": str(tmp_path)}) == ["[]"]
    assert list(tmp_path.iterdir()) == []


def test_importing_the_learner_and_the_command_line_compiles_nothing(tmp_path: Path) -> None:
    code = """
import ihomer
model = ihomer.IHomer()
import ihomer.stream.assemble, ihomer.stream.cli, ihomer.stream.measures
from numba.core.dispatcher import Dispatcher
import gc
print(sum(len(each.overloads) for each in gc.get_objects() if isinstance(each, Dispatcher)))
"""
    assert python(code, {"IHOMER_CACHE_DIR": str(tmp_path)})[-1] == "0"
    assert kernels(tmp_path) == {}


def test_a_read_only_install_without_a_home_compiles_into_the_temporary_folder(
    tmp_path: Path,
) -> None:
    package = tmp_path / "site" / "ihomer"
    shutil.copytree(ROOT / "ihomer", package, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (*package.rglob("*"), package):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path for path in package.rglob("*") if "__pycache__" not in path.parts}
    file, temporary = tmp_path / "file", tmp_path / "tmp"
    file.write_text("a home that is no folder")
    temporary.mkdir()
    home = {"HOME": str(file), "XDG_CACHE_HOME": str(file / "cache"), "TMPDIR": str(temporary)}
    try:
        folder, hits = python(ONE_KERNEL, home, where=package.parent)
        assert hits == "0"
        assert Path(folder).is_relative_to(temporary)
        assert python(ONE_KERNEL, home, where=package.parent) == [folder, "1"]
        after = {path for path in package.rglob("*") if "__pycache__" not in path.parts}
        assert after == before
        assert kernels(package) == {}
    finally:
        for path in (package, *package.rglob("*")):
            path.chmod(0o755)


@pytest.mark.skipif(as_nobody() is None, reason="only root becomes somebody else")
def test_another_user_compiles_into_a_folder_of_his_own(tmp_path: Path) -> None:
    # pytest's own folders are root's alone.
    shared = Path("/tmp") / f"ihomer-test-{os.getpid()}"  # noqa: S108 - for two users at once
    shared.mkdir(mode=0o1777)
    shared.chmod(0o1777)
    try:
        environment = {"TMPDIR": str(shared), "HOME": "/nonexistent"}
        ours = {**environment, "XDG_CACHE_HOME": str(tmp_path / "file" / "x")}
        (tmp_path / "file").write_text("no folder")
        mine, _ = python(ONE_KERNEL, ours)
        theirs, hits = python(ONE_KERNEL, environment, as_nobody() or ())
        assert hits == "0"  # what another user has compiled is not executed
        assert Path(theirs).is_relative_to(shared)
        assert theirs != mine
        assert Path(theirs).stat().st_uid == NOBODY
        assert python(ONE_KERNEL, environment, as_nobody() or ()) == [theirs, "1"]
    finally:
        shutil.rmtree(shared)


@pytest.mark.parametrize(
    ("terminal", "cold", "quiet", "told"),
    [
        (False, True, False, ["compiling, once on this machine: up to two minutes"]),
        (False, False, False, []),
        (False, True, True, []),
        (True, True, False, ["compiling, once on this machine: 1 of 2, measures", "compiled in"]),
        (True, False, False, ["loading compiled code: 1 of 2, measures"]),
        (True, True, True, []),
    ],
)
def test_compiling_is_said_while_it_lasts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,
    cold: bool,
    quiet: bool,
    told: list[str],
) -> None:
    calls = []
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=100, color_system=None)

    def warm_up(progress: Callable[[int, int, str], None] = lambda *_: None) -> None:
        calls.append(1)
        for done, name in enumerate(("learner", "measures")):
            progress(done, 2, name)

    if not cold:
        (tmp_path / "kernel.nbi").touch()
    monkeypatch.setattr(jit, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(assemble, "warm_up", warm_up)
    warm_up_with_notice(console, quiet=quiet)
    assert calls == [1]
    shown = file.getvalue()
    assert all(text in shown for text in told), shown
    assert bool(shown) == bool(told)
    if not terminal:
        assert shown.splitlines() == told
