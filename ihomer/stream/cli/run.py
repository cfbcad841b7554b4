"""``ihomer run``: the daemon on a stream."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ihomer import __version__
from ihomer.errors import EXIT_UNAVAILABLE
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
from ihomer.stream.settings import Settings, load_settings, mask

if TYPE_CHECKING:  # what the flags do not need is imported when the daemon starts
    from ihomer.connectors.base import Sink
    from ihomer.stream.bookkeeper import Bookkeeper
    from ihomer.stream.status import Status
    from ihomer.stream.systemd import Notifier

# A clean end is promised within ten seconds.
STOP_SECONDS = 9.0
SAME_SIGNAL_SECONDS = 1.0
SWITCH_SECONDS = 0.001
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
    allow_code: AllowCodeOption = None,
    http: Annotated[
        str | None,
        typer.Option(
            "--http",
            metavar="HOST:PORT",
            help="Serve /metrics, /health/live and /health/ready there.",
        ),
    ] = None,
    delivery: Annotated[
        Literal["exactly-once", "at-least-once"] | None,
        typer.Option("--delivery", help="What is promised to readers of the predictions."),
    ] = None,
    app: Annotated[
        str | None, typer.Option("--app", metavar="NAME", help="Names journal, groups and folder.")
    ] = None,
    slots: Annotated[
        int | None, typer.Option("--slots", metavar="N", help="Number of models.")
    ] = None,
    state_dir: Annotated[
        str | None,
        typer.Option("--state-dir", metavar="FOLDER", help="Where checkpoints are kept."),
    ] = None,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh",
            help="Begin with an empty model, whatever there is; from files at their beginning,"
            " and outputs of before are put away.",
        ),
    ] = False,
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

    From topics to topics, and from plain files to plain files, delivery is exactly-once: every
    event is predicted and learned once, whatever crashes, and a restart goes on with the model as
    it was. Elsewhere it is at-least-once: after a crash some events are predicted and learned
    again.
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
            "allow_code": allow_code,
            "http": http,
            "delivery": delivery,
            "app": app,
            "slots": slots,
            "state_dir": state_dir,
            "log_format": log_format,
            "log_level": log_level,
        },
    )
    settings = loaded.settings

    import structlog
    from rich.console import Console

    from ihomer.connectors.uri import parse_uri
    from ihomer.stream.assemble import (
        check_late_labels,
        check_places,
        make_processor,
        open_output,
        open_stream,
    )
    from ihomer.stream.cli.outside import seen_from_outside
    from ihomer.stream.cli.progress import warm_up_with_notice
    from ihomer.stream.daemon import Daemon, log_event
    from ihomer.stream.decoder_hook import check_decoder
    from ihomer.stream.exactly_once.plan import app_of, choose_delivery
    from ihomer.stream.files_once.ledger import Ledger
    from ihomer.stream.keeper import Keeper
    from ihomer.stream.logs import configure_logging
    from ihomer.stream.replay import summary
    from ihomer.stream.report import print_report
    from ihomer.stream.status import Status
    from ihomer.stream.watch import watch_processor, watch_sinks, watch_source

    configure_logging(settings.log_level, settings.log_format)
    if settings.log_level != "debug":
        # In an outage the client logs dozens of lines a minute; the connector says it in one.
        logging.getLogger("kafka").setLevel(logging.CRITICAL)
    log = structlog.get_logger("ihomer")
    for warning in loaded.warnings:
        log.warning(warning)
    outputs = (settings.sink, settings.dead_letters, settings.events, settings.unjoined)
    check_places([*settings.source, *filter(None, [settings.labels_source])], outputs)
    check_decoder(settings)
    check_late_labels(settings)
    errors = Console(stderr=True)
    log.info(
        "starting",
        version=__version__,
        source=[mask(uri) for uri in settings.source],
        sink=settings.sink and mask(settings.sink),
        dead_letters=settings.dead_letters and mask(settings.dead_letters),
        events=settings.events and mask(settings.events),
    )
    chosen = choose_delivery(settings)
    log.info(f"delivery is {chosen.name}", reason=chosen.reason)
    if not settings.sink:
        log.warning("no sink is set: predictions are scored and not written")
    if not settings.dead_letters:
        log.warning("no dead_letters are set: the first malformed event ends this command")
    status = Status()
    # On the way out, after an error too, the sinks are closed before the source.
    with ExitStack() as opened:
        notifier = opened.enter_context(seen_from_outside(status, settings))
        # Before the group is joined: compiling takes longer than a session may be silent.
        warm_up_with_notice(errors, quiet=quiet)
        _settle()
        if chosen.name == "exactly-once" and not chosen.files:
            _run_exactly_once(settings, status, notifier, fresh=fresh)
            return
        ledger = None
        if chosen.name == "exactly-once":
            ledger = Ledger(settings, status, fresh=fresh)
            opened.callback(ledger.close)
            ledger.prepare()
        stream = open_stream(settings)
        opened.callback(stream.close)

        def output(
            uri: str | None, *, envelope: bool = False, predictions: bool = False
        ) -> Sink | None:
            queue = settings.queue_mb << 20
            sink = open_output(
                uri, envelope=envelope, append=True, queue_bytes=queue, predictions=predictions
            )
            if sink is not None:
                opened.callback(sink.close)
            return sink if ledger is None else ledger.gate(sink)

        predictions = output(settings.sink, predictions=True)
        dead = output(settings.dead_letters, envelope=True)
        told = output(settings.events)
        unjoined = output(settings.unjoined)
        processor = make_processor(
            settings,
            stream,
            predictions,
            dead,
            events=told,
            on_event=log_event if ledger is None else ledger.happened,
            unjoined=unjoined,
        )
        keeper: Bookkeeper | None = ledger
        if ledger is not None:
            ledger.begin(stream, processor)
        elif parse_uri(settings.source[-1]).scheme == "kafka":
            # A source that begins anew at each start would be learned once more each time.
            folder = settings.state_dir / app_of(settings)
            keeper = Keeper(folder, settings, processor, status, fresh=fresh)
            opened.callback(keeper.close)
        else:
            log.info("the model is kept in memory only: a restart begins with an empty model")
        sinks = {
            "predictions": predictions,
            "dead-letters": dead,
            "events": told,
            "unjoined": unjoined,
        }
        status.gather(watch_processor(status, processor))
        status.gather(watch_source(status, stream))
        status.gather(watch_sinks(status, sinks))
        daemon = Daemon(
            stream, processor, settings.batch_size, settings.max_wait_ms, status, keeper
        )
        _stop_on_signals(daemon.stop, notifier.stopping)
        log.info("ready")
        notifier.ready()
        daemon.run()
    _ignore_signals()
    counts = processor.dead_letters.counts
    log.info("stopped", events=processor.events, dead_letters=dict(counts))
    if not quiet:
        print_report(summary(stream, processor, settings), errors)


def _run_exactly_once(
    settings: Settings, status: Status, notifier: Notifier, *, fresh: bool
) -> None:
    """Run the slots that the group gives us until a signal comes."""
    import structlog

    from ihomer.connectors.memory import MemorySource
    from ihomer.stream.assemble import make_processor
    from ihomer.stream.checkpoints import configuration_of
    from ihomer.stream.chronicle import Listener
    from ihomer.stream.exactly_once.plan import Outlets, make_plan
    from ihomer.stream.exactly_once.worker import Worker
    from ihomer.stream.processor import Processor

    def make(outlets: Outlets, listener: Listener) -> Processor:
        return make_processor(
            settings,
            MemorySource(()),  # a topic declares no labels
            outlets.sink,
            outlets.dead_letters,
            events=outlets.events,
            on_event=listener,
            unjoined=outlets.unjoined,
        )

    plan = make_plan(settings, make, configuration_of(settings), fresh=fresh)
    worker = Worker(plan, settings.stuck_seconds, status)
    _stop_on_signals(worker.stop, notifier.stopping)
    log = structlog.get_logger("ihomer")
    log.info("ready", app=plan.app, slots=plan.slots, state_dir=str(plan.state_dir))
    notifier.ready()
    worker.run()
    _ignore_signals()
    log.info("stopped", events=worker.events)


def _settle() -> None:
    """Prepare for months: what is loaded by now stays, what is freed goes, threads take turns."""
    from ihomer.stream import allocator

    allocator.settle()
    # Compiled kernels are a million objects that no collection need look at again.
    gc.collect()
    gc.freeze()
    # A thread that comes back from a kernel or the network asks for the interpreter and gets it
    # after this time from a thread that counts; by default 5 ms, as long as a whole batch takes.
    sys.setswitchinterval(SWITCH_SECONDS)


def _ignore_signals() -> None:
    """All is done: in the moment that the interpreter's own end takes, a signal would count."""
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)


def _stop_on_signals(*stops: Callable[[], None]) -> None:
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
            for stop in stops:
                stop()
            timer = threading.Timer(STOP_SECONDS, give_up)
            timer.daemon = True
            timer.start()
        elif time.monotonic() - first >= SAME_SIGNAL_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for each in _SIGNALS:
        signal.signal(each, handler)
