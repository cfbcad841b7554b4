"""What the benchmark commands share: their flags, their document, their manners.

In: a command line. Out: tasks, run through `bench.grid`, and a document as JSON. It is here so
that ``--streams`` and the like mean one thing everywhere.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import learners as known_learners
from bench import streams as known_streams
from bench.grid import Partial, run_tasks
from bench.results import Cell, Document
from bench.task import Task
from ihomer.connectors.datasets.atomic import write_whole
from ihomer.errors import IhomerError, InputError, UsageError

_PACKAGES = ("ihomer", "river", "capymoa", "numpy", "scipy", "numba", "scikit-learn")
EXIT_INTERRUPTED = 130
_PLAIN_WIDTH = 160
_UNSHOWN = ("data", "results", "json", "quiet", "jobs", "out")  # where and how, not what


def make_parser(command: str, description: str, streams: str, learners: str) -> Parser:
    """The flags that all commands have.

    Parameters
    ----------
    command
        Name of the module, ``accuracy``.
    description
        For ``--help``.
    streams, learners
        Defaults.
    """
    parser = Parser(prog=f"python -m bench.{command}", description=description)
    parser.add_argument("--data", type=Path, help="folder of the data sets (IHOMER_DATA_DIR)")
    parser.add_argument(
        "--streams",
        action="append",
        metavar="NAMES",
        help=f"names, paths, synthetic:... or groups ({', '.join(known_streams.GROUPS)}),"
        f" comma-separated; may be repeated (default {streams})",
    )
    parser.add_argument(
        "--learners",
        action="append",
        metavar="NAMES",
        help="names, ihomer?name=value, package.module:Name (river's interface) or groups"
        f" ({', '.join(known_learners.GROUPS)}), comma-separated (default {learners})",
    )
    parser.add_argument("--seeds", default="1", metavar="LIST", help="such as 1,2 or 1-5")
    parser.add_argument(
        "--shuffles",
        default="",
        metavar="LIST",
        help="seeds of shuffles that are run beside the file order, such as 1-5",
    )
    parser.add_argument("--only-shuffles", action="store_true", help="leave out the file order")
    parser.add_argument("--limit", type=positive, metavar="N", help="only the first N events")
    parser.add_argument(
        "--time-limit",
        type=seconds,
        default=600.0,
        metavar="SECONDS",
        help="for a cell, encoding apart (default 600)",
    )
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        default=None,
        metavar="FILE",
        help="write the document there (- or nothing: to standard output); an interrupted run"
        " goes on from FILE.partial",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, no table")
    parser.set_defaults(default_streams=streams, default_learners=learners)
    return parser


def add_results(parser: argparse.ArgumentParser) -> None:
    """The flag for figures of others to compare with."""
    parser.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        help="folder of published and re-run tables (default: results beside --data)",
    )


def results_folder(arguments: argparse.Namespace) -> Path | None:
    """Where figures of others lie, if they do."""
    if arguments.results is not None:
        return Path(arguments.results)
    folder = data_folder(arguments)
    beside = None if folder is None else folder.absolute().parent / "results"
    return beside if beside is not None and beside.is_dir() else None


def data_folder(arguments: argparse.Namespace) -> Path | None:
    """Where data sets lie: ``--data``, else ``IHOMER_DATA_DIR``, else the user's folder (None)."""
    found = arguments.data or os.environ.get("IHOMER_DATA_DIR")
    return Path(found) if found else None


class Parser(argparse.ArgumentParser):
    """Argparse whose faults are one line, like everybody else's."""

    def error(self, message: str) -> Any:
        """End with exit code 2."""
        raise UsageError(f"{self.prog}: {message} (see --help)")


def numbers(text: str) -> list[int]:
    """Numbers of a list with ranges.

    >>> numbers("1,3-5"), numbers("")
    ([1, 3, 4, 5], [])
    """
    found: list[int] = []
    for part in text.split(",") if text else []:
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise UsageError(f"found {part!r}, accepted: numbers and ranges such as 1,3-5")
        found += range(int(first), int(last or first) + 1)
    return list(dict.fromkeys(found))


def positive(text: str) -> int:
    """A whole number from 1, for argparse."""
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"found {text!r}, accepted: a whole number from 1")
    return int(text)


def seconds(text: str) -> float:
    """A number of seconds, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"found {text!r}, accepted: seconds, more than 0")
    return value


def make_tasks(command: str, arguments: argparse.Namespace, **more: Any) -> list[Task]:
    """All combinations, stream by stream, so that what is compared runs at about the same time.

    Raises
    ------
    UsageError, InputError
        A name is not known, or a stream's files are not there.
    """
    streams = known_streams.expand(arguments.streams or [arguments.default_streams])
    learners = known_learners.expand(arguments.learners or [arguments.default_learners])
    seeds = numbers(arguments.seeds)
    shuffles: list[int | None] = [] if arguments.only_shuffles else [None]
    shuffles += numbers(arguments.shuffles)
    if not (streams and learners and seeds and shuffles):
        raise UsageError("found no stream, learner, seed or order, accepted: at least one of each")
    folder = data_folder(arguments)
    folder = None if folder is None else folder.absolute()
    tasks = []
    for stream in streams:
        generated = stream.startswith(known_streams.GENERATED)
        # Said now and not after an hour: a stream that is not there.
        known_streams.Stream(stream, folder).open().close()
        tasks += [
            Task(
                command,
                stream,
                learner.word,
                seed,
                shuffle,
                None if folder is None else str(folder),
                arguments.limit,
                arguments.time_limit,
                **more,
            )
            for shuffle in shuffles
            for seed in seeds
            for learner in learners
            if seed == seeds[0] or learner.seeded or generated
        ]
    return tasks


def run_document(
    command: str,
    tasks: Sequence[Task],
    arguments: argparse.Namespace,
    jobs: int,
    console: Console,
    complete: Callable[[Sequence[Cell]], dict[str, Any]] = lambda _: {},
) -> Document:
    """Run `tasks`, write the document that ``--json`` asks for, and return it.

    Parameters
    ----------
    command
        See `Document`.
    tasks, jobs, console
        See `run_tasks`.
    arguments
        What the command was told; kept in the document.
    complete
        Makes the document's summary: what only all cells together tell.

    Raises
    ------
    InputError
        The file cannot be written, or every cell failed.
    """
    path = None if arguments.json in (None, "-") else Path(arguments.json)
    if path is not None and not path.absolute().parent.is_dir():
        raise InputError(f"{path}: cannot be written (the folder does not exist)")
    partial = Partial(None if path is None else path.with_name(path.name + ".partial"))
    try:
        cells = run_tasks(tasks, jobs, partial, console, quiet=arguments.quiet)
    except KeyboardInterrupt:
        if path is not None:
            console.print(f"interrupted; the same command goes on from {path}.partial")
        raise
    summary = complete(cells)
    shown = {
        key: value
        for key, value in vars(arguments).items()
        if key not in _UNSHOWN and not key.startswith("default_")
    }
    shown["streams"] = list(dict.fromkeys(task.stream for task in tasks))
    shown["learners"] = list(dict.fromkeys(task.learner for task in tasks))
    document = Document(command, machine(), versions(), shown, cells, summary=summary)
    data = document.to_json()
    if arguments.json == "-":
        sys.stdout.buffer.write(data + b"\n")
        sys.stdout.flush()
    elif path is not None:
        write_whole(path, data)
        partial.remove()
    return document


def console(*, errors: bool = False) -> Console:
    """Standard output or error; wide enough for the tables where it is no terminal."""
    stream = sys.stderr if errors else sys.stdout
    return Console(stderr=errors, width=None if stream.isatty() else _PLAIN_WIDTH)


def machine() -> dict[str, Any]:
    """What the figures were made on."""
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
    }


def versions() -> dict[str, str]:
    """Versions of what the figures depend on."""
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
    }


def end(main: Callable[[], None]) -> None:
    """Run a command's `main` and end the process: errors in one line, with an exit code."""
    try:
        main()
    except IhomerError as error:
        print(f"bench: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
