"""The kernels' tests without a compiler, and which lines of the kernels they have run.

In: the package's sources and tests. Out: a report; exit code 1 if a test fails or a line of a
kernel was not run, 2 if there is nothing to run. It is here because compiled code shows neither
which lines were run nor an index out of range: both are seen when Python runs the same functions.

A kernel is a function with the decorator `ihomer.jit.kernel`. The tests are those files that import
a naive twin or a module with kernels. Python is a hundred times slower: Hypothesis draws few
examples, and tests with one of `LONG` in their names are left out.
"""

from __future__ import annotations

import argparse
import ast
import functools
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
EXAMPLES = 8
# Of tests that take minutes when nothing is compiled and run no other lines than their neighbours.
LONG = ("long_stream", "thousand", "million")


class Lines:
    """Which lines of kernels there are and which have been run.

    Parameters
    ----------
    files
        Python sources.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.wanted: dict[str, dict[int, str]] = {}
        for file in files:
            found = kernel_lines(file.read_text(encoding="utf-8"))
            if found:
                self.wanted[str(file)] = found
        self._open = {file: set(lines) for file, lines in self.wanted.items()}

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        """For `sys.settrace`: follows only code that still has lines to be run."""
        del event, argument
        left = self._open.get(frame.f_code.co_filename)
        if not left or not left.intersection(_numbers(frame.f_code)):
            return None
        return self._line

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        del event, argument
        self._open[frame.f_code.co_filename].discard(frame.f_lineno)
        return self._line

    def missed(self) -> dict[str, dict[str, list[int]]]:
        """By file and kernel, the lines that were not run."""
        found: dict[str, dict[str, list[int]]] = {}
        for file, left in self._open.items():
            for line in sorted(left):
                name = self.wanted[file][line]
                found.setdefault(file, {}).setdefault(name, []).append(line)
        return found


def kernel_lines(source: str) -> dict[int, str]:
    """The lines of `source` that hold instructions of kernels, each with the kernel's name."""
    ranges = [
        (node.body[0].lineno, node.end_lineno or node.lineno, node.name)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and any(map(_is_kernel, node.decorator_list))
    ]
    lines = {line for code in _codes(compile(source, "", "exec")) for line in _numbers(code)}
    return {
        line: name
        for first, last, name in ranges
        for line in range(first, last + 1)
        if line in lines
    }


def _is_kernel(decorator: ast.expr) -> bool:
    name = decorator.attr if isinstance(decorator, ast.Attribute) else decorator
    return name == "kernel" or (isinstance(name, ast.Name) and name.id == "kernel")


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The code of every function inside `code`, not its own: definitions run on import."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def _numbers(code: CodeType) -> set[int]:
    return {line for _, _, line in code.co_lines() if line is not None}


def kernel_tests(tests: Path, package: Path) -> list[Path]:
    """Test files that import a naive twin or a module that defines kernels."""
    modules = {
        ".".join(file.relative_to(package.parent).with_suffix("").parts)
        for file in package.rglob("*.py")
        if kernel_lines(file.read_text(encoding="utf-8"))
    }
    return [
        file
        for file in sorted(tests.glob("test_*.py"))
        if any(
            name in modules or name.startswith("tests.naive")
            for name in _imported(file.read_text(encoding="utf-8"))
        )
    ]


def _imported(source: str) -> set[str]:
    """Modules, and names that may be modules, that `source` imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


class CompiledMath:
    """The module `math` as compiled code has it: where Python raises, infinity or NaN.

    >>> CompiledMath().log(0.0), CompiledMath().floor(2.5)
    (-inf, 2)
    """

    def __getattr__(self, name: str) -> Any:
        found = getattr(math, name)
        return functools.partial(_evaluate, name, found) if callable(found) else found


def _evaluate(name: str, function: Callable[..., Any], *values: Any) -> Any:
    try:
        return function(*values)
    except (ValueError, OverflowError):
        with np.errstate(all="ignore"):
            return float(getattr(np, name)(*values))


class _Plugin:
    """Few examples of Hypothesis, the same ones every time; and `CompiledMath` for kernels."""

    def __init__(self, lines: Lines) -> None:
        self._files = lines.wanted

    def pytest_collection_finish(self) -> None:
        for module in list(sys.modules.values()):
            if getattr(module, "__file__", None) in self._files and hasattr(module, "math"):
                vars(module)["math"] = CompiledMath()

    def pytest_sessionstart(self) -> None:
        from hypothesis import settings

        settings.register_profile(
            "nojit", settings.get_profile("ihomer"), max_examples=EXAMPLES, derandomize=True
        )
        settings.load_profile("nojit")


def report(lines: Lines) -> int:
    """Print what was not run; the number of lines."""
    total = sum(map(len, lines.wanted.values()))
    missed = lines.missed()
    count = 0
    for file, kernels in missed.items():
        for name, numbers in kernels.items():
            count += len(numbers)
            where = Path(file).relative_to(ROOT) if Path(file).is_relative_to(ROOT) else file
            print(f"{where}: {name}: not run: {_ranges(numbers)}")
    share = 100.0 * (total - count) / total if total else 0.0
    print(f"{total - count:,} of {total:,} lines of kernels were run ({share:.1f}%)")
    return count


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers in short.

    >>> _ranges([3, 4, 5, 9])
    '3-5, 9'
    """
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)


def main() -> int:
    """Run the tests and report; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.nojit", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="only these tests")
    arguments = parser.parse_args()
    os.environ["NUMBA_DISABLE_JIT"] = "1"  # before anybody imports numba
    import pytest

    package = ROOT / "ihomer"
    lines = Lines(sorted(package.rglob("*.py")))
    files = arguments.files or kernel_tests(ROOT / "tests", package)
    if not files or not lines.wanted:
        print("no kernels, or no tests of kernels")
        return 2
    # Division by zero and overflow follow numpy's rules in compiled code, without a warning.
    flags = ["-q", "-p", "no:cacheprovider", "-W", "ignore::RuntimeWarning"]
    flags += ["-k", " and ".join(f"not {name}" for name in LONG)]
    sys.settrace(lines.trace)
    try:
        code = pytest.main([*flags, *map(str, files)], plugins=[_Plugin(lines)])
    finally:
        sys.settrace(None)
    missed = report(lines)
    return int(bool(code) or missed > 0)


if __name__ == "__main__":
    sys.exit(main())
