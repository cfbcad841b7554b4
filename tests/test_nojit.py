"""What the kernels' tests have run: which lines count, and that one left out shows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ihomer.stream import tally
from tools import nojit

SOURCE = '''
from ihomer.jit import kernel


@kernel
def half(n: int) -> int:
    """Not a line
    of the kernel."""
    if n > 3:

        return n // 2
    return [m for m in range(n)][
        -1
    ]


def other(n: int) -> int:
    return n
'''


def test_lines_of_kernels_hold_instructions() -> None:
    assert nojit.kernel_lines(SOURCE) == dict.fromkeys((9, 11, 12, 13), "half")


def test_a_line_that_is_not_run_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "made_up.py"
    path.write_text(SOURCE.replace("from ihomer.jit import kernel", "kernel = lambda f: f"))
    lines = nojit.Lines([path])
    module: dict[str, object] = {}
    exec(compile(path.read_text(), str(path), "exec"), module)  # noqa: S102 - the source above
    before = sys.gettrace()
    sys.settrace(lines.trace)
    try:
        for n in (2, 1):
            module["half"](n)  # type: ignore[operator]
            module["other"](n)  # type: ignore[operator]
    finally:
        sys.settrace(before)
    assert lines.missed() == {str(path): {"half": [11]}}
    assert nojit.report(lines) == 1
    out = capsys.readouterr().out
    assert "half: not run: 11" in out
    assert "3 of 4 lines of kernels were run (75.0%)" in out


def test_tests_of_kernels_are_found() -> None:
    found = {path.name for path in nojit.kernel_tests(nojit.ROOT / "tests", nojit.ROOT / "ihomer")}
    assert found >= {"test_adwin.py", "test_kernels.py", "test_measures.py", "test_structure.py"}
    assert not found & {"test_jit.py", "test_cli.py", "test_bench_learners.py"}


def test_kernels_of_the_package_are_found() -> None:
    assert tally.__file__ is not None
    names = set(nojit.kernel_lines(Path(tally.__file__).read_text(encoding="utf-8")).values())
    assert {"tally_batch", "_compare_event"} <= names
    assert not names & {"Tally"}


def test_mathematics_is_that_of_compiled_code() -> None:
    compiled = nojit.CompiledMath()
    assert compiled.log(0.0) == -float("inf")
    assert compiled.exp(1e4) == float("inf")
    assert compiled.sqrt(-1.0) != compiled.sqrt(-1.0)
    assert compiled.floor(2.5) == 2
    assert compiled.pi == pytest.approx(3.14159265)


def test_a_run_without_a_compiler_ends_with_what_was_missed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.nojit", "tests/test_structure.py"],
        capture_output=True,
        text=True,
        check=False,
        cwd=nojit.ROOT,
    )
    assert done.returncode == 1, done.stdout + done.stderr  # other kernels have other tests
    assert "pair_shares" not in done.stdout
    assert "tally_batch: not run" in done.stdout
