"""When and where kernels are compiled: not on import, and in a folder that is ours alone."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numba
import numpy as np
import platformdirs
import pytest

import ihomer
from ihomer import jit
from ihomer.instances import IntArray

KERNEL = """
from ihomer.jit import cache_folder
from ihomer.learners.kernels.linkage import average_linkage
import numpy as np
average_linkage(np.zeros((2, 2)))
print(cache_folder())
print(sum(average_linkage.stats.cache_hits.values()))
"""


@pytest.fixture(autouse=True)
def _fresh_answer() -> Iterator[None]:
    """The folder is chosen once in a process; every test here asks anew."""
    jit.cache_folder.cache_clear()
    yield
    jit.cache_folder.cache_clear()


def python(code: str, **environment: str) -> list[str]:
    """Lines that `code` prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        check=True,
        text=True,
    )
    return done.stdout.splitlines()


def is_private(folder: Path) -> bool:
    return stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_importing_the_package_imports_no_numba() -> None:
    heavy = ("numba", "scipy", "river", "pandas", "kafka")
    code = f"import sys, ihomer; print([m for m in {heavy} if m in sys.modules])"
    assert python(code) == ["[]"]


def test_the_package_offers_what_it_says_and_nothing_else() -> None:
    assert all(getattr(ihomer, name) is not None for name in ihomer.__all__)
    with pytest.raises(AttributeError, match="no attribute 'IHOMER'"):
        ihomer.IHOMER  # noqa: B018  # to ask for it is the test


def test_the_configured_folder_is_used_and_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IHOMER_CACHE_DIR", str(tmp_path / "deep" / "cache"))
    folder = jit.cache_folder()
    assert folder.parent == tmp_path / "deep" / "cache"
    assert is_private(folder)
    assert jit.cache_folder() is folder


def test_kernels_are_kept_there_and_found_again(tmp_path: Path) -> None:
    folder, hits = python(KERNEL, IHOMER_CACHE_DIR=str(tmp_path))
    assert hits == "0"
    assert Path(folder).parent == tmp_path
    assert list(Path(folder).rglob("*.nbc"))
    assert python(KERNEL, IHOMER_CACHE_DIR=str(tmp_path)) == [folder, "1"]


def test_it_falls_back_when_the_configured_folder_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    monkeypatch.setenv("IHOMER_CACHE_DIR", str(file))
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / "user" / name)
    assert jit.cache_folder().parent == tmp_path / "user" / "ihomer"


def test_it_falls_back_to_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    monkeypatch.setenv("IHOMER_CACHE_DIR", str(file))
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: file / name)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "tmp"))
    folder = jit.cache_folder()
    assert folder.is_relative_to(tmp_path / "tmp")
    assert is_private(folder)


def test_and_at_last_to_a_folder_of_this_process_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jit, "_writable", lambda folder: False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = jit.cache_folder()
    assert folder.parent.parent == tmp_path
    assert is_private(folder)
    jit.cache_folder.cache_clear()
    assert jit.cache_folder() != folder


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root writes anywhere")
def test_a_folder_without_the_right_to_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert not jit._writable(tmp_path / "inside")


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no user ids here")
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "kernels"
    folder.mkdir()
    folder.chmod(mode)
    assert not jit._writable(folder)
    folder.chmod(0o755)
    assert jit._writable(folder)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no user ids here")
def test_a_folder_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "kernels"
    assert jit._writable(folder)
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    assert not jit._writable(folder)


@pytest.mark.parametrize("change", ["edited", "added", "renamed"])
def test_the_folder_changes_with_the_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    package = tmp_path / "ihomer"
    shutil.copytree(Path(jit.__file__).parent, package)
    monkeypatch.setenv("IHOMER_CACHE_DIR", str(tmp_path / "cache"))
    here = jit.cache_folder()
    monkeypatch.setattr(jit, "__file__", str(package / "jit.py"))
    jit.cache_folder.cache_clear()
    assert jit.cache_folder() == here  # the same sources at another place
    source = package / "learners" / "kernels" / "linkage.py"
    if change == "edited":
        source.write_text(source.read_text() + "# changed\n")
    elif change == "added":
        (package / "learners" / "new.py").write_text("")
    else:
        source.rename(source.with_name("linkages.py"))
    jit.cache_folder.cache_clear()
    assert jit.cache_folder() != here


def test_numbas_own_settings_are_left_alone() -> None:
    before = vars(numba.config)["CACHE_DIR"]

    @jit.kernel
    def double(value: float) -> float:
        return 2.0 * value

    assert vars(numba.config)["CACHE_DIR"] == before
    assert double(1.5) == 3.0


def test_kernels_keep_nan_and_divide_as_numpy_does() -> None:
    @jit.kernel
    def odd(value: float) -> tuple[bool, float]:
        return bool(np.isnan(value)), 1.0 / (value - value)

    missing, _ = odd(float("nan"))
    assert missing
    assert odd(1.0) == (False, float("inf"))


def test_what_kernels_pass_to_a_kernel_compiles_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IHOMER_CACHE_DIR", str(tmp_path))

    @jit.kernel
    def twice(value: int) -> int:
        return value + value

    @jit.kernel
    def both(values: IntArray) -> tuple[int, int, int]:
        return twice(values[0]), twice(3), twice(len(values))

    assert both(np.array([-5, 2], dtype=np.int32)) == (-10, 6, 4)
    assert both(np.array([-5, 2])) == (-10, 6, 4)
    assert len(list(tmp_path.rglob("*twice*.nbc"))) == 1
    assert twice(7) == 14  # called from Python it is another function
    assert twice(2**40) == 2**41
    assert both(np.array([7], dtype=np.int32)) == (14, 6, 2)
    assert len(list(tmp_path.rglob("*twice*.nbc"))) == 2
