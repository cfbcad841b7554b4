"""``ihomer replay``: a prequential run over sources that end, and its figures."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from ihomer.connectors.base import Message
from ihomer.errors import InputError, UsageError
from ihomer.stream.cli.options import (
    AllowCodeOption,
    BatchSizeOption,
    ConfigOption,
    DeadLettersOption,
    EventsOption,
    QuietOption,
    SeedOption,
    StrictOption,
    TopKOption,
)
from ihomer.stream.settings import load_settings

if TYPE_CHECKING:
    from ihomer.learners.ihomer import IHomer
    from ihomer.learners.partition.hierarchy import Hierarchy
    from ihomer.stream.processor import Processor

_DRAWN = 200  # points of a plot


def replay_command(
    source: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE...",
            help="river:yeast, synthetic:NAME, PATH (.jsonl, .csv, .arff, ...; .gz, ...), -",
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
    plot: Annotated[
        str | None,
        typer.Option(
            "--plot",
            metavar="FILE",
            help="Draw measures, marks, clusters and a table of labels: one offline page.",
        ),
    ] = None,
    hierarchy: Annotated[
        str | None,
        typer.Option(
            "--hierarchy",
            metavar="FILE",
            help="Write the clusters of labels as a tree: .json, .nwk (Newick), else as text.",
        ),
    ] = None,
    label_delay: Annotated[
        int | None,
        typer.Option(
            "--label-delay",
            min=0,
            metavar="N",
            help="Give the labels of an event when N more have been predicted.",
        ),
    ] = None,
    dead_letters: DeadLettersOption = None,
    events: EventsOption = None,
    batch_size: BatchSizeOption = None,
    top_k: TopKOption = None,
    strict: StrictOption = None,
    allow_code: AllowCodeOption = None,
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
            "events": events,
            "seed": seed,
            "batch_size": batch_size,
            "top_k": top_k,
            "strict": strict,
            "allow_code": allow_code,
        },
    )
    # A configuration's outputs are the daemon's: an evaluation must not write into them unasked.
    # What it would hand over is dropped.
    policy = loaded.settings.label_policy
    settings = loaded.settings.model_copy(
        update={
            "sink": predictions or None,
            "dead_letters": dead_letters or None,
            "events": events or None,
            "unjoined": None,
            "label_policy": "drop" if policy == "hand-over" else policy,
        }
    )

    from rich.console import Console

    from ihomer.connectors.uri import parse_uri
    from ihomer.learners.baselines import BASELINES
    from ihomer.learners.ihomer import IHomer
    from ihomer.stream.assemble import (
        check_late_labels,
        check_places,
        make_processor,
        open_output,
        open_stream,
    )
    from ihomer.stream.cli.progress import progress, warm_up_with_notice
    from ihomer.stream.decoder_hook import check_decoder
    from ihomer.stream.plot import MOST_POINTS
    from ihomer.stream.replay import replay, series_point, summary
    from ihomer.stream.report import print_report

    own = (json_to, plot, hierarchy)
    outputs = (*own, settings.sink, settings.dead_letters, settings.events, series)
    inputs = [*settings.source, *filter(None, [settings.labels_source])]
    check_places(inputs, outputs)
    check_decoder(settings)
    check_late_labels(settings, label_delay)
    for uri in inputs:
        if parse_uri(uri).scheme == "kafka":
            raise UsageError(f"{uri}: a topic has no end, accepted: files and data sets (or run)")
    for path in own:
        if path not in (None, "-") and not Path(path).parent.is_dir():
            raise InputError(f"{path}: cannot be written (the folder does not exist)")
    for warning in loaded.warnings:
        typer.echo(f"ihomer: warning: {warning}", err=True)
    errors = Console(stderr=True)
    # On the way out, after an error too, the sinks are closed first: what was predicted is kept.
    with ExitStack() as opened:
        stream = open_stream(settings)
        opened.callback(stream.close)
        # The command's own output is opened before any work is done, so that a mistyped path
        # costs nothing.
        sink = open_output(settings.sink, predictions=True)
        dead = open_output(settings.dead_letters, envelope=True)
        told = open_output(settings.events)
        points = open_output(series)
        for each in (sink, dead, told, points):
            if each is not None:
                opened.callback(each.close)
        processor = make_processor(
            settings, stream, sink, dead, BASELINES, told, label_delay=label_delay
        )
        warm_up_with_notice(errors, quiet=quiet)

        drawn: list[dict[str, Any]] = []

        def on_series(events: int) -> None:
            point = series_point(processor, events)
            if points is not None:
                points.write([Message(orjson.dumps(point))])
            if plot is not None:
                drawn.append(point)
                if len(drawn) > 2 * MOST_POINTS:
                    del drawn[::2]

        total = limit if stream.length is None else min(stream.length, limit or stream.length)
        if plot is not None and every is None:
            every = max(1, (total or 100 * MOST_POINTS) // _DRAWN)
        with progress(errors, stream.name, total, quiet=quiet) as on_progress:
            replay(stream, processor, settings.batch_size, limit, every, on_series, on_progress)
        if plot is not None and (not drawn or drawn[-1]["events"] < processor.events):
            drawn.append(series_point(processor, processor.events))
        figures = summary(stream, processor, settings)
    if json_to is not None:
        option = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY
        _write(json_to, orjson.dumps(figures, option=option) + b"\n")
    learner = processor.main.learner
    if plot is not None and isinstance(learner, IHomer):
        _write(plot, _page(stream.name, drawn, processor, learner).encode())
    if hierarchy is not None and isinstance(learner, IHomer):
        _write(hierarchy, _drawn(learner.hierarchy(), hierarchy).encode() + b"\n")
    if not quiet and json_to != "-":
        print_report(figures, errors if "-" in outputs else Console())


def _page(
    title: str, points: Sequence[Mapping[str, Any]], processor: Processor, learner: IHomer
) -> str:
    """The page of a run that has ended."""
    from ihomer.stream.plot import label_rows, page

    vocabulary = learner.encoder.labels
    vacant = set(vocabulary.vacant)
    names = {i: name for i, name in enumerate(vocabulary.names()) if i not in vacant}
    main = processor.main.measures
    rows = label_rows(
        main.by_label(names),
        [other.measures.by_label(names) for other in processor.baselines.values()],
        learner.cluster_numbers(),
        main.events,
    )
    return page(title, points, learner.events(), learner.hierarchy(), rows)


def _drawn(hierarchy: Hierarchy, path: str) -> str:
    """The hierarchy in the form that a file's name asks for."""
    suffix = Path(path).suffix.lower()
    if suffix == ".json":
        return hierarchy.to_json()
    return hierarchy.to_newick() if suffix == ".nwk" else str(hierarchy)


def _write(path: str, data: bytes) -> None:
    if path == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        return
    try:
        Path(path).write_bytes(data)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
