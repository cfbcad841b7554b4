"""``ihomer replay``: a prequential run over sources that end, and its figures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from ihomer.connectors.base import Message, Sink
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
        typer.Argument(metavar="SOURCE...", help="river:yeast, PATH (.jsonl, .arff; .gz), -"),
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
    With --json - that object is all that standard output gets.
    """
    if (every is None) != (series is None):
        raise UsageError("--every and --series: found one of them, accepted: both or neither")
    if [json_to, predictions, series].count("-") > 1:
        raise UsageError("-: found for two outputs, accepted: standard output for one of them")
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
    settings = loaded.settings

    from rich.console import Console

    from ihomer.connectors.uri import open_sink, parse_uri
    from ihomer.learners.baselines import BASELINES
    from ihomer.stream.assemble import make_processor, open_input, open_output
    from ihomer.stream.cli.progress import progress, warm_up_with_notice
    from ihomer.stream.replay import replay, series_point, summary
    from ihomer.stream.report import print_report

    for uri in settings.source:
        if parse_uri(uri).scheme == "kafka":
            raise UsageError(f"{uri}: a topic has no end, accepted: files and data sets (or run)")
    errors = Console(stderr=True)
    stream = open_input(settings)
    sinks: list[Sink] = []
    try:
        # The command's own output is opened before any work is done, so that a mistyped path
        # costs nothing.
        sink = open_output(settings.sink)
        dead = open_output(settings.dead_letters, envelope=True)
        points = open_sink(series) if series is not None else None
        sinks.extend(opened for opened in (sink, dead, points) if opened is not None)
        processor = make_processor(settings, stream, sink, dead, BASELINES)
        warm_up_with_notice(errors, quiet=quiet)

        def on_series(events: int) -> None:
            if points is not None:
                points.write([Message(orjson.dumps(series_point(processor, events)))])

        total = limit if stream.length is None else min(stream.length, limit or stream.length)
        with progress(errors, stream.name, total, quiet=quiet) as on_progress:
            replay(stream, processor, settings.batch_size, limit, every, on_series, on_progress)
        figures = summary(stream, processor, settings)
        for opened in sinks:
            opened.close()
    finally:
        stream.close()
    if json_to is not None:
        _write_json(json_to, figures)
    if not quiet and "-" not in (json_to, settings.sink, series):
        print_report(figures, Console())


def _write_json(path: str, figures: dict[str, Any]) -> None:
    data = orjson.dumps(figures, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY) + b"\n"
    if path == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        return
    try:
        Path(path).write_bytes(data)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
