"""Score regression: every learner's figures on fixed scenarios against the ones on file.

In: ``bench/scenarios.json``. Out: one line for each scenario; exit code 1 where a figure has moved
by more than its tolerance, for the better or for the worse, or a scenario could not be run.
`--update` writes the figures found, after a change that was meant. A scenario's id is permanent:
what it measures never changes; a new measurement gets a new id.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from bench.command import Parser, console, end, positive
from bench.grid import Partial, run_tasks
from bench.results import Cell
from bench.task import Task
from ihomer.connectors.datasets.atomic import write_whole
from ihomer.errors import InputError, UsageError

SCENARIOS = Path(__file__).with_name("scenarios.json")
MEASURES = ("subset_accuracy", "hamming_loss", "micro_f1", "macro_f1", "average_precision")
EXIT_MOVED = 1
_TIME_LIMIT = 170.0


@dataclass(slots=True)
class Scenario:
    """What is run, what came out when it was last looked at, how far that may move.

    Attributes
    ----------
    id
        Permanent.
    stream, learner, seed, limit
        As in `Task`; streams need no file.
    tolerance
        Largest accepted distance, for every measure.
    values
        Figures by measure, of `MEASURES`; empty: never looked at.
    """

    id: str
    stream: str
    learner: str
    seed: int
    limit: int
    tolerance: float
    values: dict[str, float]

    def task(self) -> Task:
        """The task that measures it."""
        return Task(
            "accuracy",
            self.stream,
            self.learner,
            self.seed,
            limit=self.limit,
            time_limit=_TIME_LIMIT,
        )


def read_scenarios(path: Path = SCENARIOS) -> list[Scenario]:
    """The scenarios on file.

    Raises
    ------
    InputError
        The file cannot be read, is not what it should be, or has an id twice.
    """
    try:
        scenarios = [Scenario(**found) for found in orjson.loads(path.read_bytes())]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: found no list of scenarios ({error})") from None
    ids = [scenario.id for scenario in scenarios]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise InputError(f"{path}: found id {twice[0]!r} twice, accepted: once")
    return scenarios


def write_scenarios(scenarios: Sequence[Scenario], path: Path = SCENARIOS) -> None:
    """Put `scenarios` on file, whole or not at all."""
    data = orjson.dumps([asdict(scenario) for scenario in scenarios], option=orjson.OPT_INDENT_2)
    write_whole(path, data + b"\n")


def found_values(cell: Cell) -> dict[str, float]:
    """The figures of a cell that a scenario holds, rounded to what is on file."""
    return {measure: round(cell.measures[measure], 6) for measure in MEASURES}


def moved(scenario: Scenario, cell: Cell) -> list[str]:
    """What is wrong with a scenario's cell, one line each; empty: nothing."""
    if cell.status != "done":
        return [f"{scenario.id}: {cell.status} ({cell.reason})"]
    if not scenario.values:
        return [f"{scenario.id}: no figures on file; look at them with --update {scenario.id}"]
    found = found_values(cell)
    return [
        f"{scenario.id}: {measure} moved by {found[measure] - value:+.4f}"
        f" from {value:.4f} to {found[measure]:.4f}, accepted: {scenario.tolerance:g} at most"
        for measure, value in scenario.values.items()
        if not abs(found[measure] - value) <= scenario.tolerance
    ]


def main() -> None:
    """Run the scenarios and compare."""
    parser = Parser(
        prog="python -m bench.check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("ids", nargs="*", metavar="ID", help="only these scenarios")
    parser.add_argument("--update", action="store_true", help="write the figures found")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, help="processes")
    arguments = parser.parse_args()
    scenarios = read_scenarios()
    known = {scenario.id: scenario for scenario in scenarios}
    for name in arguments.ids:
        if name not in known:
            raise UsageError(f"found scenario {name!r}, accepted: {', '.join(known)}")
    chosen = [known[name] for name in arguments.ids] or scenarios
    errors = console(errors=True)
    cells = run_tasks([s.task() for s in chosen], arguments.jobs, Partial(None), errors)
    faults: list[str] = []
    skipped = 0
    for scenario, cell in zip(chosen, cells, strict=True):
        if cell.status == "unavailable" and os.environ.get("CI") != "true":
            skipped += 1
            print(f"{scenario.id}: skipped ({cell.reason})")
        elif arguments.update and cell.status == "done":
            scenario.values = found_values(cell)
        else:
            faults += moved(scenario, cell)
    if arguments.update:
        write_scenarios(scenarios)
    for fault in faults:
        print(fault)
    print(f"{len(chosen) - skipped} scenarios, {skipped} skipped, {len(faults)} figures moved")
    if faults:
        sys.exit(EXIT_MOVED)


if __name__ == "__main__":
    end(main)
