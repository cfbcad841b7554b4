"""``ihomer replay``: a prequential run over sources that end, and its figures."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from ihomer.connectors.base import Message
from ihomer.errors import InputError, UsageError
from ihomer.stream.cli.config import ConfigOption
from ihomer.stream.cli.options import (
    BatchSizeOption,
    DeadLettersOption,
    QuietOption,
    SeedOption,
    StrictOption,
    TopKOption,
)
from ihomer.stream.settings import load_settings


def replay_command(
    source: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE...",
            help="river:yeast, synthetic:NAME, PATH (.jsonl, .arff; .gz), -",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="Stop after N events.")
    ] = None,
    seed: SeedOption = None,
    predictions: Annotated[
        str | None, typer.Option("--predictions", metavar="URI", help="Where predictions go.")
    ] = None,
    every: Annotated[
        int | None,
        typer.Option("--every", min=1, metavar="N", help="Write rolling measures every N events."),
    ] = None,
    series: Annotated[
        str | None, typer.Option("--series", metavar="FILE", help="Where to, as JSON Lines.")
    ] = None,
    json_to: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="Write all figures as one JSON object."),
    ] = None,
    dead_letters: DeadLettersOption = None,
    batch_size: BatchSizeOption = None,
    top_k: TopKOption = None,
    strict: StrictOption = None,
    quiet: QuietOption = False,
    config: ConfigOption = None,
) -> None:
    """Predict, score and learn every event of one or more sources, in order.

    Ends with a table of the measures beside those of three baselines that need no features.
    With --json - that object is all that standard output gets; with another output there, the
    table goes to standard error.
    """
    if (every is None) != (series is None):
        raise UsageError("--every and --series: found one of them, accepted: both or neither")
    loaded = load_settings(
        config,
        {
            "source": source,
            "sink": predictions,
            "dead_letters": dead_letters,
            "seed": seed,
            "batch_size": batch_size,
            "top_k": top_k,
            "strict": strict,
        },
    )
    # A configuration's outputs are the daemon's: an evaluation must not write into them unasked.
    settings = loaded.settings.model_copy(
        update={"sink": predictions or None, "dead_letters": dead_letters or None}
    )

    from rich.console import Console

    from ihomer.connectors.uri import open_sources, parse_uri
    from ihomer.learners.baselines import BASELINES
    from ihomer.stream.assemble import check_places, make_processor, open_output
    from ihomer.stream.cli.progress import progress, warm_up_with_notice
    from ihomer.stream.replay import replay, series_point, summary
    from ihomer.stream.report import print_report

    outputs = (json_to, settings.sink, settings.dead_letters, series)
    check_places(settings.source, outputs)
    for uri in settings.source:
        if parse_uri(uri).scheme == "kafka":
            raise UsageError(f"{uri}: a topic has no end, accepted: files and data sets (or run)")
    if json_to not in (None, "-") and not Path(json_to).parent.is_dir():
        raise InputError(f"{json_to}: cannot be written (the folder does not exist)")
    for warning in loaded.warnings:
        typer.echo(f"ihomer: warning: {warning}", err=True)
    errors = Console(stderr=True)
    # On the way out, after an error too, the sinks are closed first: what was predicted is kept.
    with ExitStack() as opened:
        stream = open_sources(settings.source)
        opened.callback(stream.close)
        # The command's own output is opened before any work is done, so that a mistyped path
        # costs nothing.
        sink = open_output(settings.sink)
        dead = open_output(settings.dead_letters, envelope=True)
        points = open_output(series)
        for each in (sink, dead, points):
            if each is not None:
                opened.callback(each.close)
        processor = make_processor(settings, stream, sink, dead, BASELINES)
        warm_up_with_notice(errors, quiet=quiet)

        def on_series(events: int) -> None:
            if points is not None:
                points.write([Message(orjson.dumps(series_point(processor, events)))])

        total = limit if stream.length is None else min(stream.length, limit or stream.length)
        with progress(errors, stream.name, total, quiet=quiet) as on_progress:
            replay(stream, processor, settings.batch_size, limit, every, on_series, on_progress)
        figures = summary(stream, processor, settings)
    if json_to is not None:
        _write_json(json_to, figures)
    if not quiet and json_to != "-":
        print_report(figures, errors if "-" in outputs else Console())


def _write_json(path: str, figures: dict[str, Any]) -> None:
    data = orjson.dumps(figures, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY) + b"\n"
    if path == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        return
    try:
        Path(path).write_bytes(data)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
