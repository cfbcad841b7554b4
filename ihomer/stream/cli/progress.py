"""Progress for people: a bar with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_PLAIN_SECONDS = 10.0
_UPDATE_SECONDS = 0.1


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0.0:,.0f} events/s")


@contextmanager
def progress(
    console: Console, what: str, total: int | None, *, quiet: bool
) -> Iterator[Callable[[int], None]]:
    """Show how many records are done.

    Parameters
    ----------
    console
        Standard error's.
    what
        Name of the stream.
    total
        Number of records, if known.
    quiet
        Show nothing.

    Yields
    ------
    callable
        To be called with the number of records done.
    """
    if quiet:
        yield lambda _: None
        return
    if not console.is_terminal:
        shown = time.monotonic()

        def line(done: int) -> None:
            nonlocal shown
            if time.monotonic() - shown >= _PLAIN_SECONDS:
                shown = time.monotonic()
                of = f" of {total:,}" if total else ""
                console.print(f"{what}: {done:,}{of} events", highlight=False)

        yield line
        return
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=total)
        drawn = 0.0

        def move(done: int) -> None:
            nonlocal drawn
            if done == total or time.monotonic() - drawn >= _UPDATE_SECONDS:
                drawn = time.monotonic()
                bar.update(task, completed=done)

        yield move


def warm_up_with_notice(console: Console, *, quiet: bool) -> None:
    """Compile the kernels, or load them, and say so while it lasts.

    On a terminal one line shows which group of kernels is next; elsewhere one plain line is
    written, if there is anything to compile.
    """
    from ihomer.jit import cache_folder
    from ihomer.stream.assemble import warm_up

    if quiet:
        warm_up()
        return
    cold = not any(cache_folder().rglob("*.nbi"))
    if not console.is_terminal:
        if cold:
            console.print("compiling, once on this machine: up to two minutes", highlight=False)
        warm_up()
        return
    doing = "compiling, once on this machine" if cold else "loading compiled code"
    start = time.monotonic()
    with console.status(doing) as line:
        warm_up(lambda done, total, name: line.update(f"{doing}: {done} of {total}, {name}"))
    if cold:
        took = time.monotonic() - start
        console.print(f"compiled in {took:.0f} s, once on this machine", highlight=False)
