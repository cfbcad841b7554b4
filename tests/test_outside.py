"""A daemon seen from outside: its figures are what it did, and nothing of its events is told."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from typer.testing import CliRunner

from ihomer.connectors.base import Record
from ihomer.connectors.chain import Chain
from ihomer.connectors.memory import MemorySink, MemorySource
from ihomer.drift.events import Kind, Level
from ihomer.errors import EXIT_OK, EXIT_UNAVAILABLE, EXIT_USAGE, UnavailableError
from ihomer.learners.ihomer import IHomer
from ihomer.stream import metrics as m
from ihomer.stream.address import Address
from ihomer.stream.cli import app
from ihomer.stream.cli.top import read_frame
from ihomer.stream.daemon import Daemon
from ihomer.stream.dead_letters import DeadLetters
from ihomer.stream.decode import Decoder
from ihomer.stream.exposition import Exposition
from ihomer.stream.frame import Frame, Samples, draw, parse_metrics
from ihomer.stream.health import report
from ihomer.stream.logs import configure_logging
from ihomer.stream.processor import Processor
from ihomer.stream.server import Server
from ihomer.stream.status import Distribution, Severity, Stage, Status
from ihomer.stream.watch import watch_processor, watch_sinks, watch_source

# What stands in events and in nothing else.
SECRET = "zebra"  # noqa: S105 - no password
TOKEN = "correct-horse-battery"  # noqa: S105 - nobody's


def event(number: int, labels: int = 5) -> bytes:
    body = {
        "id": f"{SECRET}-id-{number}",
        "x": {f"{SECRET}-feature-{number % 7}": number % 3, "tag": f"{SECRET}-value"},
        "y": [f"{SECRET}-label-{number % labels}", f"{SECRET}-label-{number * 7 % labels}"],
    }
    return json.dumps(body).encode()


MALFORMED = [
    b"zebra",
    b'{"id": "zebra", "x": {"zebra": [1]}}',
    b'{"id": "zebra", "x": 5}',
    b'{"x": {"zebra": NaN}}',
    b'{"x": {"a": 1}, "y": {"zebra": "zebra"}}',
    b'{"x": {"a": 1}, "y": "zebra"}',
    b'{"x": {"a": 1}, "ts": "zebra"}',
    b'{"x": {"a": 1, "a": "zebra"}, "y": ["zebra", 3]}',
]


class Behind(MemorySource):
    """A list with a lag, and trouble now and then."""

    def __init__(self, values: Sequence[bytes | Record]) -> None:
        super().__init__(values, name="events")
        self.reason: str | None = None
        self.partitions = {0, 1}

    def lag(self) -> dict[tuple[str, int], int]:
        left = len(self._records) - self._next
        return {("events", partition): left + partition for partition in self.partitions}

    def trouble(self) -> str | None:
        return self.reason


def watched(
    source: MemorySource, labels: Sequence[str] = ()
) -> tuple[Daemon, Status, Processor, MemorySink]:
    sink, letters = MemorySink("predictions"), MemorySink("letters")
    processor = Processor(IHomer(labels=labels or None), Decoder(), DeadLetters(letters), sink)
    status = Status()
    status.gather(watch_processor(status, processor))
    status.gather(watch_source(status, source))
    status.gather(watch_sinks(status, {"predictions": sink, "events": None}))
    return Daemon(source, processor, 64, 1, status), status, processor, sink


def samples(status: Status) -> Samples:
    return parse_metrics(Exposition(status).render("")[0].decode())


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name][frozenset(labels.items())]


def test_the_figures_are_what_was_done() -> None:
    good = [event(number) for number in range(600)]
    source = Behind([*good, *MALFORMED])
    daemon, status, processor, sink = watched(source)
    daemon.run()
    found = samples(status)
    assert len(sink.messages) == 600
    assert value(found, "ihomer_events_total", slot="0") == 600
    assert value(found, "ihomer_learned_total", slot="0") == 600
    assert value(found, "ihomer_batches_total") == 10
    assert value(found, "ihomer_batch_events_count") == 10
    assert value(found, "ihomer_batch_events_sum") == 600 + len(MALFORMED)
    assert value(found, "ihomer_batch_events_bucket", le="32.0") == 1  # the last 32
    assert value(found, "ihomer_batch_seconds_count") == 10
    assert value(found, "ihomer_predict_seconds_count", slot="0") == 600
    assert value(found, "ihomer_commits_total") == value(found, "ihomer_commit_seconds_count") >= 1
    reasons = {dict(key)["reason"]: n for key, n in found["ihomer_dead_letters_total"].items()}
    assert reasons == dict(processor.dead_letters.counts)
    assert sum(reasons.values()) == len(MALFORMED)
    assert value(found, "ihomer_lag_records", topic="events", partition="1") == 1
    assert value(found, "ihomer_queue_messages", queue="predictions") == 0
    assert "events" not in {dict(key)["queue"] for key in found["ihomer_queue_messages"]}
    learner = processor.main.learner
    assert isinstance(learner, IHomer)
    assert value(found, "ihomer_labels", slot="0") == 5
    assert value(found, "ihomer_clusters", slot="0") == len(learner.clusters())
    assert value(found, "ihomer_model_bytes", slot="0") == learner.memory_bytes
    told = {
        (dict(key)["kind"], dict(key)["level"]): n
        for key, n in found["ihomer_learner_events_total"].items()
    }
    assert told == {(k.value, level.value): n for (k, level), n in learner.event_counts.items()}
    switches = learner.event_counts.get((Kind.SWITCH, Level.PARTITION), 0)
    assert value(found, "ihomer_partition_changes_total", slot="0") == switches > 0
    rolling = processor.main.rolling()
    for measure in ("micro_f1", "hamming_loss", "subset_accuracy", "log_loss"):
        shown = value(found, "ihomer_rolling", slot="0", measure=measure)
        assert shown == pytest.approx(rolling[measure])
    assert {dict(key)["stage"] for key in found["ihomer_stage_seconds_total"]} == {
        *("start", "wait", "process", "commit")
    }
    assert report(status.snapshot(), status.clock())["stage"] == "stop"


def test_no_series_per_label_and_nothing_of_the_events() -> None:
    """A hundred times the labels: not one series more, and none of their names."""
    sizes = []
    for labels in (10, 1000):
        source = MemorySource([event(number, labels) for number in range(2500)])
        daemon, status, *_ = watched(source)
        daemon.run()
        body, _ = Exposition(status).render("")
        assert SECRET.encode() not in body
        families = text_string_to_metric_families(body.decode())
        sizes.append(
            sum(
                len(family.samples)
                for family in families
                # What happened to a model is bounded by kinds and levels, and differs.
                if family.name != "ihomer_learner_events"
            )
        )
        assert len(samples(status)["ihomer_learner_events_total"]) <= len(Kind) * len(Level)
    assert sizes[0] == sizes[1] < 300


def test_partitions_that_are_given_up_are_no_longer_shown() -> None:
    source = Behind([])
    status = Status()
    gather = watch_source(status, source)
    for partitions in ({0, 1}, {1, 2}, set()):
        source.partitions = partitions
        gather()
        status.publish()
        shown = {int(partition) for _, partition in status.snapshot().values[m.LAG]}
        assert shown == partitions


def test_a_source_in_trouble_is_not_ready_until_it_is_out_of_it() -> None:
    source = Behind([event(number) for number in range(3)])
    daemon, status, *_ = watched(source)
    seen: list[str] = []
    plan = iter(["Kafka at h:1 is away", "Kafka at h:1 is away", None])
    whole = source.next_batch

    def next_batch(max_records: int, timeout: float) -> Sequence[Record] | None:
        seen.append(report(status.snapshot(), status.clock())["status"])
        source.reason = next(plan, None)
        return whole(1, timeout)

    source.next_batch = next_batch  # type: ignore[method-assign]
    daemon.run()
    assert seen == ["ready", "not-ready", "not-ready", "ready"]


def test_a_chain_speaks_for_the_source_that_it_reads() -> None:
    first, second = Behind([event(1)]), Behind([event(2), event(3)])
    first.reason = "first"
    chain = Chain([first, second])
    chain.next_batch(1, 0.0)
    assert (chain.trouble(), chain.lag()["events", 0]) == ("first", 0)
    chain.next_batch(1, 0.0)
    assert (chain.trouble(), chain.lag()["events", 0]) == (None, 1)


def test_watching_does_not_change_what_is_predicted() -> None:
    values = [event(number) for number in range(300)]
    daemon, status, _, sink = watched(MemorySource(values))
    gathered = []
    status.gather(lambda: gathered.append(status.clock()))
    status.turn = status.publish  # type: ignore[method-assign]  # in every round
    daemon.run()
    assert len(gathered) > 4
    plain = MemorySink()
    processor = Processor(IHomer(), Decoder(), DeadLetters(None), plain)
    Daemon(MemorySource(values), processor, 64, 1).run()
    assert sink.messages == plain.messages


def test_nothing_of_an_event_is_logged_at_info(tmp_path: Path) -> None:
    """Neither of good events nor of bad ones, nor of what happens to the model through them."""
    source = tmp_path / "in.jsonl"
    values = [event(number) for number in range(600)]
    source.write_bytes(b"\n".join([*values[:300], *MALFORMED, *values[300:]]) + b"\n")
    for form in ("console", "json"):
        done = run(
            tmp_path,
            *("run", "--source", "in.jsonl", "--sink", f"{form}.jsonl", "--log-format", form),
            *("--dead-letters", "dead.jsonl", "--http", "127.0.0.1:0"),
        )
        assert done.returncode == EXIT_OK, done.stderr
        assert "learner event" in done.stderr
        assert SECRET not in done.stderr + done.stdout


def test_at_debug_the_labels_of_a_learner_event_are_told() -> None:
    from ihomer.drift.events import LearnerEvent
    from ihomer.stream.daemon import log_event

    stream = StringIO()
    configure_logging("debug", "json", stream)
    try:
        log_event(LearnerEvent(128, Kind.BIRTH, Level.LABEL, labels=(SECRET,), number=4))
    finally:
        structlog.reset_defaults()
    told, named = map(json.loads, stream.getvalue().splitlines())
    assert (told["level"], told["n_labels"]) == ("info", 1)
    assert (named["level"], named["number"], named["labels"]) == ("debug", 4, [SECRET])


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith("IHOMER_") or name == "IHOMER_CACHE_DIR"
    }
    return subprocess.run(
        [Path(sys.executable).with_name("ihomer"), *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**inherited, "XDG_STATE_HOME": str(folder), **environment},
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (["--http", "0.0.0.0:0"], {}, "http: found 0.0.0.0:0, which other machines can reach"),
        (["--http", "here:80"], {}, 'http (flag --http): found "here:80", accepted: an IP'),
        (["--http", "127.0.0.1:0"], {"IHOMER_HTTP_TOKEN": "short"}, "found no token, accepted"),
        (["--http", "127.0.0.1:0"], {"IHOMER_HTTP_TOKEN_FILE": "gone"}, "No such file"),
    ],
)
def test_what_may_not_be_served_ends_the_command_before_it_begins(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], says: str
) -> None:
    (tmp_path / "in.jsonl").write_bytes(event(1))
    done = run(tmp_path, "run", "--source", "in.jsonl", *arguments, **environment)
    assert done.returncode == EXIT_USAGE
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("ihomer: error:")]
    assert says in line
    assert "short" not in done.stderr
    if "here" not in arguments[1]:
        variables = {"IHOMER_HTTP": arguments[1], **environment}
        done = run(tmp_path, "config", "check", **variables)
        assert (done.returncode, says in done.stderr) == (EXIT_USAGE, True)


def test_a_token_is_in_no_log_and_no_table(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(event(1))
    arguments = ("run", "--source", "in.jsonl", "--http", "127.0.0.1:0", "--log-level", "debug")
    done = run(tmp_path, *arguments, IHOMER_HTTP_TOKEN=TOKEN)
    assert done.returncode == EXIT_OK, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    (tmp_path / "token").write_text(TOKEN)
    environment = {"IHOMER_HTTP_TOKEN_FILE": "token", "IHOMER_HTTP_TOKEN": TOKEN}
    done = run(tmp_path, "config", "show", **environment)
    assert done.returncode == EXIT_OK
    assert 'http_token_file = "token"' in done.stdout
    assert TOKEN not in done.stdout + done.stderr


# ihomer top


@pytest.fixture
def served() -> Iterator[tuple[Server, Status]]:
    source = Behind([*(event(number) for number in range(300)), *MALFORMED])
    daemon, status, *_ = watched(source)
    daemon.run()
    status.enter(Stage.WAIT)
    status.mark(m.CHECKPOINT_AGE, "0")
    status.set(m.CHECKPOINT_BYTES, 3e6, "0")
    status.set(m.LABEL_BUFFER_EVENTS, 12, "0")
    status.set(m.LABEL_BUFFER_BYTES, 3456, "0")
    for partition in range(2, 20):
        status.set(m.LAG, 100 + partition, "events", str(partition))
    status.publish()
    server = Server(status, Address("127.0.0.1", 0), TOKEN)
    yield server, status
    server.close()


def text_of(frame: Frame, before: Frame | None = None, away: str | None = None) -> str:
    console = Console(width=150, file=StringIO())
    console.print(draw(frame, before, "http://h:1", away))
    output = console.file
    assert isinstance(output, StringIO)
    return output.getvalue()


def test_top_shows_one_frame(
    served: tuple[Server, Status], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    server, status = served
    status.trouble("source", "Kafka at [h]:1 is away")
    (tmp_path / "token").write_text(TOKEN)
    for more in ([], ["--once"]):  # no terminal: one frame either way
        arguments = ["top", str(server.address), "--token-file", "token", *more]
        done = CliRunner().invoke(app, arguments, env={"COLUMNS": "150"})
        assert done.exit_code == EXIT_OK, done.output
        shown = " ".join(done.output.split())
        for part in (
            "not-ready stage wait",
            "source: Kafka at [h]:1 is away",
            "events 300 ",
            f"dead letters {len(MALFORMED)} ",
            "s old 3.0 MB",
            "wait for labels 12 3,456 bytes",
            "birth/label",
            "events 19 119",
            "and 12 more",
        ):
            assert part in shown, done.output
        assert SECRET not in shown


def test_top_checks(
    served: tuple[Server, Status], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IHOMER_HTTP_TOKEN", TOKEN)
    server, status = served
    monkeypatch.setenv("IHOMER_HTTP", str(server.address))
    status.trouble("checkpoint", "no space left", Severity.DEGRADED)
    done = CliRunner().invoke(app, ["top", "--check"])
    assert (done.exit_code, done.output) == (EXIT_OK, "degraded\ncheckpoint: no space left\n")
    status.trouble("source", "Kafka at h:1 is away")
    done = CliRunner().invoke(app, ["top", "--check"])
    assert done.exit_code == EXIT_UNAVAILABLE
    assert "ihomer: error: not ready" in done.output
    assert "ihomer: error: source: Kafka at h:1 is away" in done.output


@pytest.mark.parametrize("sent", [None, "wrong-wrong-wrong-wrong"])
def test_top_says_that_it_is_not_let_in(served: tuple[Server, Status], sent: str | None) -> None:
    with pytest.raises(UnavailableError, match="refuses the token"):
        read_frame(f"http://{served[0].address}", sent)


def test_top_says_that_nobody_answers(
    served: tuple[Server, Status], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    server, _ = served
    server.close()
    done = CliRunner().invoke(app, ["top", str(server.address), "--once"])
    assert done.exit_code == EXIT_UNAVAILABLE
    assert "nothing listens there" in done.output
    for wrong in ("http://", "ftp://h/x", "http://h:99999"):
        done = CliRunner().invoke(app, ["top", wrong, "--once"])
        assert done.exit_code == EXIT_UNAVAILABLE
        assert "Traceback" not in done.output


def test_rates_and_quantiles_are_those_since_the_frame_before() -> None:
    status = Status()

    def frame(at: float) -> Frame:
        status.publish()
        return Frame(at, samples(status), report(status.snapshot(), status.clock()))

    def put(events: int, slow: int) -> None:
        status.set(m.EVENTS, events, "0")
        bounds = m.PREDICT_SECONDS.bounds
        counts = [0] * (len(bounds) + 1)
        counts[bounds.index(0.001)] = events - slow
        counts[bounds.index(0.2)] = slow
        status.put(m.PREDICT_SECONDS, Distribution(tuple(counts), 1.0), "0")

    status.set(m.LABELS, 0, "0")
    put(1000, 0)
    first = frame(10.0)
    put(1200, 100)
    second = frame(12.0)
    shown = " ".join(text_of(second, first).split())
    assert "events 1,200 100/s" in shown
    assert "predicted after p50 <= 1 ms p99 <= 200 ms" in shown
    assert "events 1,200 100/s" not in " ".join(text_of(second).split())
    put(50, 0)  # started anew
    third = frame(13.0)
    shown = " ".join(text_of(third, second, away="nothing listens there").split())
    assert "events 50 50/s" in shown
    assert "predicted after p50 <= 1 ms p99 <= 1 ms" in shown
    assert "no answer: nothing listens there; before: not-ready" in shown


def test_a_frame_of_a_daemon_that_has_only_begun() -> None:
    status = Status()
    begun = Frame(time.monotonic(), samples(status), report(status.snapshot(), status.clock()))
    shown = text_of(begun)
    assert "not-ready" in shown
    assert "nan" not in shown


def test_top_goes_on_in_a_terminal_until_it_is_interrupted(
    served: tuple[Server, Status], tmp_path: Path
) -> None:
    server, status = served
    terminal, end = pty.openpty()
    environment = {name: text for name, text in os.environ.items() if name[:7] != "IHOMER_"}
    environment |= {"IHOMER_HTTP_TOKEN": TOKEN, "TERM": "xterm", "COLUMNS": "150", "LINES": "40"}
    command = [str(Path(sys.executable).with_name("ihomer")), "top", str(server.address)]
    process = subprocess.Popen(
        [*command, "--interval", "0.2"],
        stdin=subprocess.DEVNULL,
        stdout=end,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=environment,
    )
    os.close(end)
    shown = Shown(terminal)
    with process:
        try:
            shown.wait_for(b"ready")
            status.trouble("source", "Kafka at h:1 is away")
            shown.wait_for(b"Kafka at h:1 is away")
            server.close()
            shown.wait_for(b"no answer: ")
            again = Server(status, server.address, TOKEN)
            status.clear("source")
            status.set(m.LABEL_BUFFER_EVENTS, 987_654, "0")
            status.publish()
            shown.wait_for(b"987,654")
            again.close()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60.0)
            assert process.returncode == 130, errors
            assert errors == b""
        finally:
            process.kill()
            shown.close()


class Shown:
    """What a process shows in a terminal, read all the time: one that nobody reads blocks it."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._seen = b""
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                part = os.read(self._terminal, 65_536)
            except OSError:  # what Linux says of a terminal whose other end is closed
                return
            if not part:
                return
            with self._more:
                self._seen += part
                self._more.notify()

    def wait_for(self, text: bytes) -> None:
        """Return once `text` was shown since the last call; fails after some minutes."""
        with self._more:
            assert self._more.wait_for(lambda: text in self._seen, 300.0), self._seen[-2000:]
            self._seen = b""

    def close(self) -> None:
        """The process has ended, or been killed."""
        self._reader.join(60.0)
        os.close(self._terminal)
