"""Everything in one go: all measurements, then the report.

In: a folder of data sets, if there is one. Out: a folder with one document per measurement and
the report made of them. `--quick` keeps to what a machine with two cores does in ten minutes: full
streams for our own learners, a short time limit for peers. Streams whose files are not there are
named and left out. An interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import orjson

from bench.command import Parser, add_results, data_folder, end, results_folder
from bench.grid import duration, sources_digest
from bench.streams import GROUPS, REAL, SMALL, Stream
from ihomer.connectors.datasets.atomic import write_whole
from ihomer.errors import InputError


class Step(NamedTuple):
    """One command of a run: the document's name, the module, its flags."""

    name: str
    module: str
    flags: tuple[str, ...]


class Finished:
    """Steps of an interrupted run whose documents need not be made again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._steps: dict[str, str] = orjson.loads(path.read_bytes()) if path.exists() else {}

    def has(self, step: Step) -> bool:
        """Whether `step` was finished with the sources and flags of today."""
        return self._steps.get(step.name) == self._mark(step)

    def add(self, step: Step) -> None:
        """Remember `step`."""
        self._steps[step.name] = self._mark(step)
        write_whole(self._path, orjson.dumps(self._steps))

    def forget(self) -> None:
        """The run is complete: the next one begins anew."""
        self._path.unlink(missing_ok=True)

    @staticmethod
    def _mark(step: Step) -> str:
        return " ".join((sources_digest(), step.module, *step.flags))


def present(names: tuple[str, ...], folder: Path | None) -> list[str]:
    """Those of `names` whose files can be opened."""
    found = []
    for name in names:
        try:
            Stream(name, folder).open().close()
        except InputError:
            continue
        found.append(name)
    return found


def quick_steps(folder: Path | None) -> list[Step]:
    """What `--quick` runs."""
    headline = ",".join(present((*GROUPS["headline"], *GROUPS["sorted"]), folder))
    every = ",".join(present(REAL, folder))
    timed = ",".join(present(("emotions", "enron", "yeast", "20ng"), folder))
    return [
        Step("accuracy", "accuracy", ("--streams", every, "--learners", "own")),
        Step(
            "peers",
            "accuracy",
            (
                "--streams",
                headline,
                "--learners",
                "river-br-lr,moa-mlht",
                "--time-limit",
                "4",
            ),
        ),
        Step(
            "throughput",
            "throughput",
            ("--streams", timed, "--learners", "ihomer,river-br-lr", "--time-limit", "10"),
        ),
        Step("scaling", "scaling", ("--quick", "--min-seconds", "0.5")),
        Step(
            "memory",
            "memory",
            (
                "--streams",
                "synthetic:linear?features=30&labels=8&events=200000",
                "--learners",
                "ihomer",
            ),
        ),
        Step("drift", "drift", ("--learners", "ihomer,no-change")),
    ]


def full_steps(folder: Path | None) -> list[Step]:
    """What a full run does; it takes a night."""
    every = ",".join(present(REAL, folder))
    small = ",".join(present(SMALL, folder))
    return [
        Step("accuracy", "accuracy", ("--streams", every, "--learners", "own", "--seeds", "1-5")),
        Step("peers", "accuracy", ("--streams", every, "--learners", "river,moa")),
        Step(
            "shuffles",
            "accuracy",
            (
                "--streams",
                small,
                "--learners",
                "own,river-br-lr",
                "--shuffles",
                "1-5",
                "--only-shuffles",
            ),
        ),
        Step(
            "throughput",
            "throughput",
            ("--streams", every, "--learners", "own,river-br-lr,moa-mlht", "--time-limit", "60"),
        ),
        Step("scaling", "scaling", ()),
        Step(
            "memory",
            "memory",
            (
                "--streams",
                "synthetic:linear?features=30&labels=8&events=2000000",
                "--streams",
                every,
                "--learners",
                "ihomer",
            ),
        ),
        Step(
            "drift",
            "drift",
            ("--learners", "own,river-br-lr,river-br-hat", "--seeds", "1-5"),
        ),
    ]


def main() -> None:
    """Run the steps, then the report."""
    parser = Parser(
        prog="python -m bench.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, help="folder of the data sets (IHOMER_DATA_DIR)")
    add_results(parser)
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="where to")
    parser.add_argument("--quick", action="store_true", help="what takes ten minutes")
    arguments = parser.parse_args()
    folder = data_folder(arguments)
    results = results_folder(arguments)
    out = arguments.out / ("quick" if arguments.quick else "full")
    out.mkdir(parents=True, exist_ok=True)
    there = present(REAL, folder)
    if len(there) < len(REAL):
        left_out = ", ".join(name for name in REAL if name not in there)
        print(f"no files for {left_out}: left out (--data names their folder)", file=sys.stderr)
    start = time.monotonic()
    finished = Finished(out / "finished.json")
    written: list[Path] = []
    for step in quick_steps(folder) if arguments.quick else full_steps(folder):
        path = out / f"{step.name}.json"
        print(f"== {step.name} ({duration(time.monotonic() - start)} so far)", file=sys.stderr)
        written.append(path)
        if finished.has(step):
            continue
        command = [sys.executable, "-m", f"bench.{step.module}", *step.flags, "--json", str(path)]
        if folder is not None and step.module in ("accuracy", "throughput", "memory", "drift"):
            command += ["--data", str(folder)]
        if results is not None and step.module in ("accuracy", "throughput"):
            command += ["--results", str(results)]
        done = subprocess.run(command, check=False)  # noqa: S603 - our own commands
        if done.returncode:
            raise InputError(f"{step.name} ended with {done.returncode}; the same command goes on")
        finished.add(step)
    command = [
        sys.executable,
        "-m",
        "bench.report",
        *map(str, written),
        "--out",
        str(out / "report"),
    ]
    if arguments.quick:
        command.append("--quick")
    if results is not None:
        command += ["--results", str(results)]
    done = subprocess.run(command, check=False)  # noqa: S603 - the same
    if done.returncode:
        raise InputError(f"the report ended with {done.returncode}")
    finished.forget()
    print(
        f"{out / 'report' / 'report.html'}: made in {duration(time.monotonic() - start)}",
        file=sys.stderr,
    )


if __name__ == "__main__":
    end(main)
