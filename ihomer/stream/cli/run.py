"""``ihomer run``: the daemon on a stream."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType
from typing import Annotated, Literal

import typer

from ihomer import __version__
from ihomer.errors import EXIT_UNAVAILABLE
from ihomer.stream.cli.config import ConfigOption
from ihomer.stream.cli.options import (
    BatchSizeOption,
    DeadLettersOption,
    EventsOption,
    QuietOption,
    SeedOption,
    StrictOption,
    TopKOption,
)
from ihomer.stream.settings import load_settings, mask

# A clean end is promised within ten seconds.
STOP_SECONDS = 9.0
SAME_SIGNAL_SECONDS = 1.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run_command(
    source: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="URI", help="Where events come from; may be repeated."),
    ] = None,
    sink: Annotated[
        str | None, typer.Option("--sink", metavar="URI", help="Where predictions go.")
    ] = None,
    dead_letters: DeadLettersOption = None,
    events: EventsOption = None,
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
            "events": events,
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

    from ihomer.connectors.uri import open_sources
    from ihomer.stream.assemble import check_places, make_processor, open_output
    from ihomer.stream.cli.progress import warm_up_with_notice
    from ihomer.stream.daemon import Daemon, log_event
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
    check_places(settings.source, (settings.sink, settings.dead_letters, settings.events))
    errors = Console(stderr=True)
    log.info(
        "starting",
        version=__version__,
        source=[mask(uri) for uri in settings.source],
        sink=settings.sink and mask(settings.sink),
        dead_letters=settings.dead_letters and mask(settings.dead_letters),
        events=settings.events and mask(settings.events),
    )
    log.info("delivery is at-least-once: after a crash some events are predicted again")
    log.info("the model is kept in memory only: a restart begins with an empty model")
    if not settings.sink:
        log.warning("no sink is set: predictions are scored and not written")
    if not settings.dead_letters:
        log.warning("no dead_letters are set: the first malformed event ends this command")
    # Before the group is joined: compiling takes longer than a session may be silent.
    warm_up_with_notice(errors, quiet=quiet)
    # On the way out, after an error too, the sinks are closed before the source.
    with ExitStack() as opened:
        stream = open_sources(settings.source)
        opened.callback(stream.close)
        predictions = open_output(settings.sink, append=True)
        dead = open_output(settings.dead_letters, envelope=True, append=True)
        told = open_output(settings.events, append=True)
        for each in (predictions, dead, told):
            if each is not None:
                opened.callback(each.close)
        processor = make_processor(
            settings, stream, predictions, dead, events=told, on_event=log_event
        )
        daemon = Daemon(stream, processor, settings.batch_size, settings.max_wait_ms)
        _stop_on_signals(daemon.stop)
        log.info("ready")
        daemon.run()
    # All is done. The interpreter's own end takes a moment, in which a signal would count as the
    # cause of the end.
    for each_signal in _SIGNALS:
        signal.signal(each_signal, signal.SIG_IGN)
    counts = processor.dead_letters.counts
    log.info("stopped", events=processor.events, dead_letters=dict(counts))
    if not quiet:
        print_report(summary(stream, processor, settings), errors)


def _stop_on_signals(stop: Callable[[], None]) -> None:
    """Stop cleanly on the first SIGTERM or SIGINT, and for good if that takes too long.

    A second signal ends the process at once, unless it comes with the first: ``timeout`` and
    terminals signal a process and then its group.
    """
    first: float | None = None

    def give_up() -> None:
        os.write(
            2,
            b"ihomer: error: no clean end within the time allowed; nothing is lost, what was"
            b" not acknowledged comes again\n",
        )
        os._exit(EXIT_UNAVAILABLE)

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal first
        del frame
        if first is None:
            first = time.monotonic()
            stop()
            timer = threading.Timer(STOP_SECONDS, give_up)
            timer.daemon = True
            timer.start()
        elif time.monotonic() - first >= SAME_SIGNAL_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for each in _SIGNALS:
        signal.signal(each, handler)
