"""``ihomer data``: streams by name: what there is, where it lies, how to get it, to send it.

In: names and sources. Out: a table, file names that ``ihomer replay`` takes, files in the data
folder, events in any format. It is here so that a published table can be made again with a command
or two, and any stream can be sent to a daemon.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ihomer.errors import IhomerError, InputError, UsageError
from ihomer.stream.cli.options import QuietOption
from ihomer.stream.cli.printing import print_json

if TYPE_CHECKING:
    from rich.console import Console

    from ihomer.connectors.datasets.catalogue import DataSet

_PLAIN_SECONDS = 10.0
_UPDATE_SECONDS = 0.1
_PLAIN_WIDTH = 160
_MEGA = 1e6

data_app = typer.Typer(
    name="data",
    help="Published and generated streams: list, find, download, write in any format.",
    no_args_is_help=True,
    add_completion=False,
)

DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="PATH",
        help="Folder of data files; else $IHOMER_DATA_DIR, else the user's data folder.",
        show_default=False,
    ),
]


@data_app.command("list", epilog="Example: ihomer data list --data-dir data")
def list_command(
    data_dir: DataDirOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array, nothing else.")] = False,
) -> None:
    """Show every published stream, its figures, its source, and where it is."""
    from ihomer.connectors.datasets.catalogue import CATALOGUE
    from ihomer.connectors.datasets.store import data_folder

    folder = data_folder(data_dir)
    if as_json:
        rows = [asdict(data_set) | {"uris": _uris(data_set, folder)} for data_set in CATALOGUE]
        print_json(rows)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("name", title=Text(f"data sets, those present in {folder}"))
    for column in ("events", "features", "labels", "labels/event"):
        table.add_column(column, justify="right")
    table.add_column("source")
    table.add_column("present", overflow="fold")
    for data_set in CATALOGUE:
        table.add_row(
            data_set.name,
            f"{data_set.events:,}",
            f"{data_set.features:,}",
            f"{data_set.labels:,}",
            f"{data_set.cardinality:.2f}",
            data_set.source,
            Text(" ".join(_shown(uri) for uri in _uris(data_set, folder)) or "-"),
        )
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    console.print(table)


@data_app.command("path", epilog="Example: ihomer replay $(ihomer data path birds)")
def path_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A stream of ihomer data list.")],
    data_dir: DataDirOption = None,
) -> None:
    """Print where a stream is: one source a line, in stream order, as replay takes them."""
    from ihomer.connectors.datasets.store import find

    for uri in find(name, data_dir):
        typer.echo(uri)


@data_app.command("fetch", epilog="Example: ihomer data fetch emotions birds --data-dir data")
def fetch_command(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Streams of ihomer data list.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every stream.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Download though it is there; the bytes must agree.")
    ] = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Download nothing; compare files with recorded checksums."),
    ] = False,
    data_dir: DataDirOption = None,
    quiet: QuietOption = False,
) -> None:
    """Download streams that are not there yet.

    A download that was interrupted goes on where it stopped. The first download's checksum is
    recorded in the folder, and every later one is held to it. With several streams, one that
    fails does not keep the others from being tried.
    """
    from rich.console import Console

    from ihomer.connectors.datasets.catalogue import CATALOGUE, find_data_set
    from ihomer.connectors.datasets.store import data_folder

    if everything == bool(names):
        raise UsageError("found neither names nor --all, or both; accepted: one of them")
    if again and verify:
        raise UsageError("--again and --verify: found both, accepted: one of them")
    chosen = list(CATALOGUE) if everything else [find_data_set(name) for name in names or ()]
    folder = data_folder(data_dir)
    errors = Console(stderr=True)
    failed: IhomerError | None = None
    for data_set in chosen:
        try:
            if verify:
                _verify(data_set, folder, skip_absent=everything, quiet=quiet)
            else:
                _fetch(data_set, folder, errors, again=again, quiet=quiet)
        except IhomerError as error:
            if len(chosen) == 1:
                raise
            typer.echo(f"ihomer: error: {error}", err=True)
            failed = failed or error
    if failed is not None:
        raise typer.Exit(failed.exit_code)


@data_app.command(
    "write",
    epilog="Example: ihomer data write 'synthetic:linear?drift=sudden' events.jsonl"
    " --truth truth.json",
)
def write_command(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Any source that ends.")],
    to: Annotated[str, typer.Argument(metavar="TO", help="PATH, - or kafka://HOST:PORT/TOPIC.")],
    truth: Annotated[
        Path | None,
        typer.Option("--truth", metavar="FILE", help="What was planted in a generated stream."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="Stop after N events.")
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Write a stream's events to a topic as JSON, or to a file in the format that its name says.

    .jsonl, .csv, .tsv, .parquet, .arrow, .arff, .libsvm and .xmc, the ones of text also with .gz,
    .bz2, .xz or .zst behind; without any of them it is JSON Lines.

    A generated stream (synthetic:NAME?key=value&...) becomes one that a daemon can read. Its truth
    (changes, labels, blocks) is written beside it with --truth.
    """
    import orjson
    from rich.console import Console

    from ihomer.connectors.datasets.atomic import write_whole
    from ihomer.connectors.synthetic import SyntheticSource
    from ihomer.connectors.uri import open_sink, open_source, parse_uri
    from ihomer.stream.assemble import check_places
    from ihomer.stream.cli.progress import progress
    from ihomer.stream.event_files.write import format_of, write_events_as
    from ihomer.stream.write_events import write_events

    check_places([source], [to, None if truth is None else str(truth)])
    if parse_uri(source).scheme == "kafka":
        raise UsageError(f"{source}: a topic has no end, accepted: files, data sets, synthetic:")
    stream = open_source(source)
    try:
        if stream.length is None and limit is None and isinstance(stream, SyntheticSource):
            raise UsageError(f"{source}: found events=0 (no end), accepted: with --limit N")
        if truth is not None and not isinstance(stream, SyntheticSource):
            raise UsageError(f"--truth: {source} has none, accepted: synthetic:NAME")
        if truth is not None and not truth.absolute().parent.is_dir():
            raise InputError(f"{truth}: cannot be written (the folder does not exist)")
        location = parse_uri(to)
        form = format_of(to, location)
        sink = open_sink(to) if form is None else None
        try:
            with progress(Console(stderr=True), source, limit or stream.length, quiet=quiet) as on:
                if sink is not None:
                    written = write_events(stream, sink, limit, on)
                elif form is not None:
                    written = write_events_as(form, stream, location, limit, on)
        finally:
            if sink is not None:
                sink.close()
        if truth is not None and isinstance(stream, SyntheticSource):
            write_whole(truth, orjson.dumps(stream.truth.to_json(), option=orjson.OPT_INDENT_2))
    finally:
        stream.close()
    if not quiet and to != "-":
        typer.echo(f"{written:,} events: {to}")


def _fetch(data_set: DataSet, folder: Path, errors: Console, *, again: bool, quiet: bool) -> None:
    from ihomer.connectors.datasets.fetch import fetch

    def tell(line: str) -> None:
        if not quiet:
            errors.print(line, highlight=False, markup=False, soft_wrap=True)

    with transfer(errors, data_set.name, quiet=quiet) as on_progress:
        done = fetch(data_set, folder, again=again, on_progress=on_progress, on_line=tell)
    for warning in done.warnings:
        typer.echo(f"ihomer: warning: {warning}", err=True)
    if not quiet:
        state = "fetched" if done.downloaded else "present"
        typer.echo(f"{data_set.name}: {state}: {' '.join(done.uris)}")


def _verify(data_set: DataSet, folder: Path, *, skip_absent: bool, quiet: bool) -> None:
    from ihomer.connectors.datasets.fetch import verify
    from ihomer.connectors.datasets.store import find

    if data_set.bundled is not None:
        return
    files = verify(data_set, folder)
    if not files and not skip_absent:
        find(data_set, folder)  # says what to do
    for file, known in files:
        if not quiet:
            state = "as recorded" if known else "no checksum recorded (put there by hand)"
            typer.echo(f"{file}: {state}")


def _uris(data_set: DataSet, folder: Path) -> list[str]:
    from ihomer.connectors.datasets.store import find

    try:
        return find(data_set, folder)
    except InputError:  # not there, or not whole
        return []


def _shown(uri: str) -> str:
    """A file's name, because the table's title has the folder; a source's URI."""
    return Path(uri).name if Path(uri).is_file() else uri


@contextmanager
def transfer(
    console: Console, what: str, *, quiet: bool
) -> Iterator[Callable[[int, int | None], None]]:
    """Show how many bytes are there: a bar with rate and time left, or plain lines.

    Parameters
    ----------
    console
        Standard error's.
    what
        Name of the stream.
    quiet
        Show nothing.

    Yields
    ------
    callable
        To be called with the number of bytes that are there, and that there will be, or None.
    """
    if quiet:
        yield lambda _done, _total: None
        return
    if not console.is_terminal:
        yield _plain(console, what)
        return
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=None, visible=False)
        drawn = 0.0
        before = -1

        def move(done: int, total: int | None) -> None:
            nonlocal drawn, before
            if before < 0 or done <= before:
                # An attempt begins: what was there already is no speed.
                bar.reset(task, total=total, completed=done, visible=True)
            elif done == total or time.monotonic() - drawn >= _UPDATE_SECONDS:
                drawn = time.monotonic()
                bar.update(task, completed=done)
            before = done

        yield move


def _plain(console: Console, what: str) -> Callable[[int, int | None], None]:
    start = shown = time.monotonic()
    first = before = -1

    def line(done: int, total: int | None) -> None:
        nonlocal start, shown, first, before
        now = time.monotonic()
        if before < 0 or done <= before:
            first, start = done, now
        before = done
        if now - shown >= _PLAIN_SECONDS:
            shown = now
            console.print(progress_line(what, done, total, first, now - start), highlight=False)

    return line


def progress_line(what: str, done: int, total: int | None, first: int, seconds: float) -> str:
    """How far a download is, whose byte `first` came `seconds` ago.

    Examples
    --------
    >>> progress_line("imdb", 6_000_000, 12_000_000, 2_000_000, 10.0)
    'imdb: 6.0 of 12.0 MB, 0.40 MB/s, 15 s left'
    >>> progress_line("imdb", 6_000_000, None, 0, 10.0)
    'imdb: 6.0 MB, 0.60 MB/s'
    """
    rate = (done - first) / seconds if seconds else 0.0
    of = "" if total is None else f" of {total / _MEGA:.1f}"
    left = f", {(total - done) / rate:.0f} s left" if total is not None and rate else ""
    return f"{what}: {done / _MEGA:.1f}{of} MB, {rate / _MEGA:.2f} MB/s{left}"
