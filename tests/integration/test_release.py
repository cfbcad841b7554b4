"""What would be published: built from the checkout, installed elsewhere, run, type-checked."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tools.release import ROOT, build, environment, install, locked, try_out

pytestmark = pytest.mark.integration

SNIPPET = """
from ihomer import IHomer, LabelPartitioner
from ihomer.connectors.uri import open_source

model = IHomer(seed=7)
model.learn_one({"ball": 1.0}, {"sport"})
ranked = model.rank_one({"ball": 1.0}, k=5)
reveal_type(ranked)
partitioner = LabelPartitioner()
reveal_type(open_source("river:yeast").labels)
IHomer(seed="seven")
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return build(tmp_path_factory.mktemp("dist"), isolated=False)


@pytest.fixture(scope="module")
def python(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an environment with the wheel; what it needs is borrowed, to save minutes."""
    needs = Path(sysconfig.get_path("purelib"))
    return install(tmp_path_factory.mktemp("fresh") / "environment", built[0], borrow=needs)


def test_both_archives_hold_what_they_must(built: tuple[Path, Path]) -> None:
    wheel, sdist = built
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
        metadata = next(name for name in inside if name.endswith("/METADATA"))
        text = archive.read(metadata).decode()
    tracked = subprocess.run(
        ["git", "ls-files", "ihomer"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split("\n")[:-1]
    assert set(tracked) <= inside  # a checkout without git has none
    assert "ihomer/py.typed" in inside
    assert any(name.endswith("licenses/LICENSE") for name in inside)
    assert not [name for name in inside if not name.startswith(("ihomer/", "ihomer-"))]
    assert "Requires-Python: >=3.11" in text
    assert "Provides-Extra: tables" in text
    with tarfile.open(sdist) as source:
        names = {name.partition("/")[2] for name in source.getnames()}
    assert {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"} <= names
    assert any(name.startswith("tests/") for name in names)
    assert not [name for name in names if name.startswith((".venv", "dist"))]


def test_the_wheel_runs_without_the_checkout(python: Path, tmp_path: Path) -> None:
    # Compiled it is run by `make run` and `make release`; compiling takes minutes here.
    found = try_out(python, tmp_path, 40, NUMBA_DISABLE_JIT="1", PYTHONWARNINGS="ignore")
    assert 0.0 < found["micro_f1"] < 1.0


def test_its_types_are_known_to_others(python: Path, tmp_path: Path) -> None:
    (tmp_path / "snippet.py").write_text(SNIPPET)
    checker = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", os.devnull]
    done = subprocess.run(
        [*checker, "--python-executable", str(python), "snippet.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False, env=environment(),
    )  # fmt: skip
    said = done.stdout.replace("builtins.", "")
    assert 'Revealed type is "list[tuple[str, float]]"' in said, said
    assert 'Revealed type is "tuple[str, ...]"' in said, said
    assert 'Argument "seed" to "IHomer" has incompatible type "str"' in said, said
    assert "Found 1 error in 1 file" in said, said


def test_the_lock_file_is_read_whole() -> None:
    pinned = locked()
    names = [line.partition("==")[0] for line in pinned]
    assert {"numba", "river", "orjson", "backports-zstd"} <= set(names)
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert len(pinned) == sum("==" in line and not line.startswith(" ") for line in lines)
