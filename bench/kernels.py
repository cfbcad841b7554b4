"""Where the time goes: microseconds per event in each compiled kernel, and outside of them all.

In: names of streams. Out: a table, with ``--markdown`` the page of the documentation, too. Every
kernel that Python calls is timed where it is called, on the clock of the thread, so that a busy
machine changes little; what a kernel calls itself is part of it. What is left over is Python:
cutting, dispatching, allocating.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba.core.dispatcher
from rich.table import Table

from bench.command import Parser, console, data_folder, end, positive
from bench.learners import IHOMER, parse_learner
from bench.passes import Pass
from bench.streams import Stream
from ihomer.connectors.datasets.atomic import write_whole
from ihomer.stream.assemble import warm_up

DEFAULT = ("flags", "yeast", "20ng", "bibtex", "delicious")


def main() -> None:
    """Measure and print."""
    parser = Parser(prog="python -m bench.kernels", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of the data sets (IHOMER_DATA_DIR)")
    parser.add_argument("--streams", default=",".join(DEFAULT))
    parser.add_argument("--learner", default=IHOMER)
    parser.add_argument("--passes", type=positive, default=3)
    parser.add_argument("--markdown", type=Path, help="write the page docs/kernels.md there")
    arguments = parser.parse_args()
    warm_up()
    streams = arguments.streams.split(",")
    columns = [
        profile(Stream(name, data_folder(arguments)), arguments.learner, arguments.passes)
        for name in streams
    ]
    rows = table_rows(columns)
    table = Table("µs per event", *streams)
    for row in rows:
        table.add_row(*row)
    console().print(table)
    if arguments.markdown is not None:
        write_whole(arguments.markdown, markdown(streams, rows).encode())


@contextmanager
def timed_kernels(spent: dict[str, float]) -> Iterator[None]:
    """Within, each call from Python of a kernel of the package adds its seconds to `spent`."""
    wrapped: list[tuple[Any, str, Any]] = []
    clock = time.thread_time

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            start = clock()
            result = function(*arguments)
            spent[name] += clock() - start
            return result

        return call

    for module in [m for name, m in sys.modules.items() if name.startswith("ihomer.")]:
        for name, value in list(vars(module).items()):
            if isinstance(value, numba.core.dispatcher.Dispatcher):
                if ".kernels." in module.__name__:
                    continue  # compiled code calls it there
                wrapped.append((module, name, value))
                setattr(module, name, timed(value.py_func.__name__, value))
    try:
        yield
    finally:
        for module, name, value in wrapped:
            setattr(module, name, value)


def profile(stream: Stream, learner: str, passes: int) -> dict[str, float]:
    """Microseconds per event by kernel, medians over `passes`; ``"Python"`` is what is left."""
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(passes):
        run = Pass(stream, parse_learner(learner), 0, 1e9)
        batches = list(stream.batches(run.encoder, parse_learner(learner).batch_size))
        spent: dict[str, float] = defaultdict(float)
        with timed_kernels(spent):
            start = time.thread_time()
            run.over(batches)
            total = time.thread_time() - start
        spent["Python"] = total - sum(spent.values())
        for name, seconds in spent.items():
            found[name].append(1e6 * seconds / run.events)
    return {name: statistics.median(values) for name, values in found.items()}


def table_rows(columns: list[dict[str, float]]) -> list[list[str]]:
    """A row for each kernel, the dearest first, and the sum."""
    names = sorted(
        {name for column in columns for name in column},
        key=lambda name: -sum(column.get(name, 0.0) / sum(column.values()) for column in columns),
    )
    rows = [[name, *(f"{column.get(name, 0.0):.2f}" for column in columns)] for name in names]
    return [*rows, ["all", *(f"{sum(column.values()):.1f}" for column in columns)]]


def markdown(streams: list[str], rows: list[list[str]]) -> str:
    """The page.

    >>> print(markdown(["yeast"], [["mix_rows", "2.10"], ["all", "2.1"]]).splitlines()[-1])
    | all | 2.1 |
    """
    lines = [
        "# Where the time goes",
        "",
        "Microseconds per event of predicting and learning, by kernel, scoring included",
        "(`tally_batch`); one thread, on the thread's own clock, the median of several passes over",
        "the whole stream from its first event. Made by",
        f"`python -m bench.kernels --data FOLDER --streams {','.join(streams)} --markdown FILE`.",
        "",
        "What a kernel calls is part of it. `Python` is what is left over: cutting, dispatching,",
        "allocating; it is larger where a stream is so short that little is ever reused.",
        "",
        "| " + " | ".join(["kernel", *streams]) + " |",
        "|---" * (1 + len(streams)) + "|",
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    end(main)
