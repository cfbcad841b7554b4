"""``ihomer run``: the daemon on a stream."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Annotated, Literal

import typer

from ihomer.errors import EXIT_UNAVAILABLE
from ihomer.stream.cli.config import ConfigOption
from ihomer.stream.cli.options import (
    BatchSizeOption,
    DeadLettersOption,
    QuietOption,
    SeedOption,
    StrictOption,
    TopKOption,
)
from ihomer.stream.settings import load_settings, mask

# A clean end is promised within ten seconds.
STOP_SECONDS = 9.0


def run_command(
    source: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="URI", help="Where events come from; may be repeated."),
    ] = None,
    sink: Annotated[
        str | None, typer.Option("--sink", metavar="URI", help="Where predictions go.")
    ] = None,
    dead_letters: DeadLettersOption = None,
    batch_size: BatchSizeOption = None,
    max_wait_ms: Annotated[
        int | None,
        typer.Option("--max-wait-ms", metavar="MS", help="How long a batch waits for events."),
    ] = None,
    top_k: TopKOption = None,
    seed: SeedOption = None,
    strict: StrictOption = None,
    log_format: Annotated[
        Literal["console", "json"] | None, typer.Option("--log-format", help="How log lines look.")
    ] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"] | None,
        typer.Option("--log-level", help="The least severe lines that are shown."),
    ] = None,
    quiet: QuietOption = False,
    config: ConfigOption = None,
) -> None:
    """Predict and learn the events of a stream until SIGTERM, SIGINT or the stream's end.

    Delivery is at-least-once: offsets are committed when the predictions of the events before
    them are acknowledged. The model lives in memory; a restart begins with an empty one.
    """
    loaded = load_settings(
        config,
        {
            "source": source,
            "sink": sink,
            "dead_letters": dead_letters,
            "batch_size": batch_size,
            "max_wait_ms": max_wait_ms,
            "top_k": top_k,
            "seed": seed,
            "strict": strict,
            "log_format": log_format,
            "log_level": log_level,
        },
    )
    settings = loaded.settings

    import structlog
    from rich.console import Console

    from ihomer.connectors.base import Sink
    from ihomer.stream.assemble import make_processor, open_input, open_output
    from ihomer.stream.cli.progress import warm_up_with_notice
    from ihomer.stream.daemon import Daemon
    from ihomer.stream.logs import configure_logging
    from ihomer.stream.replay import summary
    from ihomer.stream.report import print_report

    configure_logging(settings.log_level, settings.log_format)
    if settings.log_level != "debug":
        # In an outage the client logs dozens of lines a minute; the connector says it in one.
        logging.getLogger("kafka").setLevel(logging.CRITICAL)
    log = structlog.get_logger("ihomer")
    for warning in loaded.warnings:
        log.warning(warning)
    errors = Console(stderr=True)
    # Before the group is joined: compiling takes longer than a session may be silent.
    warm_up_with_notice(errors, quiet=quiet)
    log.info(
        "starting",
        source=[mask(uri) for uri in settings.source],
        sink=settings.sink and mask(settings.sink),
        delivery=settings.delivery,
        note="after a crash some events come again; a restart begins with an empty model",
    )
    stream = open_input(settings)
    sinks: list[Sink] = []
    try:
        for uri, envelope in ((settings.sink, False), (settings.dead_letters, True)):
            opened = open_output(uri, envelope=envelope, append=True)
            if opened is not None:
                sinks.append(opened)
        predictions = sinks[0] if settings.sink else None
        dead = sinks[-1] if settings.dead_letters else None
        processor = make_processor(settings, stream, predictions, dead)
        daemon = Daemon(stream, processor, settings.batch_size, settings.max_wait_ms)
        _stop_on_signals(daemon.stop)
        daemon.run()
        for opened in sinks:
            opened.close()
    finally:
        stream.close()
    counts = processor.dead_letters.counts
    log.info("stopped", events=processor.events, dead_letters=dict(counts))
    if not quiet:
        print_report(summary(stream, processor, settings), errors)


def _stop_on_signals(stop: Callable[[], None]) -> None:
    """Stop cleanly on the first SIGTERM or SIGINT, and for good if that takes too long."""

    def give_up() -> None:
        os.write(
            2,
            b"ihomer: error: no clean end within the time allowed; nothing is lost, what was"
            b" not acknowledged comes again\n",
        )
        os._exit(EXIT_UNAVAILABLE)

    def handler(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop()
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_DFL)
        timer = threading.Timer(STOP_SECONDS, give_up)
        timer.daemon = True
        timer.start()

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, handler)
