"""The daemon against the client's own ceiling, how soon its answers are seen, how it comes back.

In: a stream's events as JSON, repeated in other orders, on a broker that is started here. Out: a
table and a document whose summary has what the daemon is judged by. In turns, so that both meet
the same neighbours on the machine: (a) the client alone, consume, produce, offsets and journal in
one transaction per 1,000 events, nothing decoded, nothing learned; (b) ``ihomer run``, exactly
once. Rates are those from the first commit to the last. Then events are produced at half of (b)'s
rate and a read_committed reader tells how long after its production each one's answer was seen.
At last a worker is killed (SIGKILL), and the log of the one that stands by tells, part by part,
what the way back took.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from kafka import TopicPartition
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench import daemon_parts as parts
from bench.command import Parser, console, end, machine, positive, seconds, versions
from bench.daemon_parts import Mark
from bench.results import Document
from ihomer.connectors.datasets.atomic import write_whole
from ihomer.errors import InputError, UnavailableError
from tools.broker import Broker, BrokerError
from tools.rig import Daemon

STREAM = "river:yeast"
SESSION_MS = 6_000  # of the workers; the least that brokers accept unless told otherwise
WANTED_SHARE, WANTED_P99_S = 0.5, 0.4
_PATIENCE_S = 120.0
_WARMING_S = 2.0  # of the paced run
_ALONE_PER_SECOND = 2.0  # so slow that each event is alone
_IN, _OUT = "events", "predictions"
_QUANTILES = ("p50", "p90", "p99", "most")


def main() -> None:
    """Measure and print."""
    parser = Parser(prog="python -m bench.daemon", description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=positive, default=40_000, help="in a round")
    parser.add_argument("--rounds", type=positive, default=3, help="of both, in turns")
    parser.add_argument("--partitions", type=positive, default=1, help="of the input")
    parser.add_argument("--pace-seconds", type=seconds, default=20.0, metavar="SECONDS")
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE", help="write the document")
    parser.add_argument("--quiet", action="store_true", help="no progress, no table")
    arguments = parser.parse_args()
    errors = console(errors=True)
    try:
        with Broker() as broker, tempfile.TemporaryDirectory(prefix="ihomer-bench-") as folder:
            bench = Bench(broker, Path(folder), arguments, errors)
            summary = bench.run()
    except BrokerError as error:
        raise UnavailableError(str(error)) from None
    except AssertionError as error:  # a daemon that ended or did not get there, with its log
        raise InputError(str(error)) from None
    shown = {
        name: value for name, value in vars(arguments).items() if name not in ("json", "quiet")
    }
    data = Document("daemon", machine(), versions(), shown, [], summary=summary).to_json()
    if arguments.json == "-":
        sys.stdout.buffer.write(data + b"\n")
        sys.stdout.flush()
    elif arguments.json is not None:
        write_whole(Path(arguments.json), data)
    if not arguments.quiet:
        print_summary(summary, errors if arguments.json == "-" else console())


class Bench:
    """One run; see the module.

    Parameters
    ----------
    broker
        Running, empty.
    folder
        For logs and states.
    arguments
        Of the command line.
    out
        Told of what is being done.
    """

    def __init__(self, broker: Broker, folder: Path, arguments: Any, out: Console) -> None:
        self._broker = broker
        self._folder = folder
        self._events: int = arguments.events
        self._rounds: int = arguments.rounds
        self._partitions: int = arguments.partitions
        self._pace_s: float = arguments.pace_seconds
        self._out = None if arguments.quiet else out
        self._context = multiprocessing.get_context("spawn")
        self._apps = 0

    def run(self) -> dict[str, Any]:
        """Measure everything; the document's summary."""
        for topic in (_IN, _OUT, "copies"):
            self._broker.create_topic(topic, self._partitions)
        self._broker.create_topic("ceiling.journal", 1)
        self._say("writing events")
        values = parts.copies(STREAM, self._events)
        parts.produce(self._uri(_IN), values, self._partitions)
        found: dict[str, Any] = {
            "stream": STREAM,
            "event_bytes": sum(map(len, values)) / len(values),
            "load": {"before": _load()},
        }
        pairs = []
        size = 0
        for number in range(self._rounds):
            daemon, rate = self._daemon(number)
            size = size or self._size_of_a_prediction()
            last = number == self._rounds - 1
            if not last:
                daemon.stop()
            # A daemon that is idle costs next to nothing, and a standing one is needed below.
            ceiling = self._ceiling(size)
            pairs.append({"ceiling": ceiling, "daemon": rate})
        found["prediction_bytes"] = size
        found |= compared(pairs)
        half = found["daemon_per_second"] / 2.0
        found["latency"] = self._latency(values, half, self._pace_s, _WARMING_S)
        found["alone"] = self._latency(values, _ALONE_PER_SECOND, self._pace_s, 1.0)
        daemon.stop()
        found["recovery"] = self._recovery()
        found["load"]["after"] = _load()
        return found

    def _say(self, text: str) -> None:
        if self._out is not None:
            self._out.print(Text(f"... {text}"), soft_wrap=True)

    def _uri(self, topic: str, query: str = "") -> str:
        return f"kafka://{self._broker.bootstrap}/{topic}?{query}".removesuffix("?")

    def _start(self, app: str, number: int = 0, **variables: str) -> Daemon:
        source = self._uri(_IN, f"group={app}&session_timeout_ms={SESSION_MS}")
        return Daemon(
            self._folder / f"{app}-{number}.log",
            [
                *("--source", source, "--sink", self._uri(_OUT), "--log-format", "json"),
                *("--quiet", "--state-dir", str(self._folder / "state")),
            ],
            {f"IHOMER_{name.upper()}": value for name, value in variables.items()},
        )

    def _app(self) -> str:
        self._apps += 1
        return f"app-{self._apps}"

    # (b) and (a).

    def _daemon(self, number: int) -> tuple[Daemon, dict[str, Any]]:
        app = self._app()
        self._say(f"round {number + 1} of {self._rounds}: the daemon")
        daemon = self._start(app)
        marks = self._watch(daemon, f"{app}.journal")
        return daemon, rate_of(marks)

    def _watch(self, daemon: Daemon, journal: str) -> list[Mark]:
        """Marks of a daemon's commits until it has done all events of a round."""
        consumer = None
        while consumer is None:
            daemon.wait_for_log("slot ready")
            consumer = self._reader(journal)
        marks: list[Mark] = []
        limit = time.monotonic() + _PATIENCE_S
        while not marks or marks[-1].events < self._events:
            if time.monotonic() > limit or not daemon.running:
                raise AssertionError(f"not done in time:\n{daemon.log}")
            for records in consumer.poll(timeout_ms=200).values():
                for record in records:
                    events = orjson.loads(record.value)["events"]
                    marks.append(Mark(time.monotonic(), events, cpu_of(daemon.process.pid)))
        consumer.close(autocommit=False)
        return marks

    def _reader(self, topic: str) -> Any:
        return parts.reader(self._broker.bootstrap, topic, fetch_max_wait_ms=20)

    def _size_of_a_prediction(self) -> int:
        consumer = self._reader(_OUT)
        sizes: list[int] = []
        while len(sizes) < self._events // 2:
            for records in consumer.poll(timeout_ms=1000).values():
                sizes += [len(record.value) for record in records]
        consumer.close(autocommit=False)
        return round(statistics.fmean(sizes))

    def _ceiling(self, size: int) -> dict[str, Any]:
        self._say("the client's ceiling")
        with self._context.Pool(1) as pool:
            marks = pool.apply(
                parts.ceiling,
                (
                    self._broker.bootstrap,
                    (_IN, "copies", "ceiling.journal"),
                    self._events,
                    size,
                ),
            )
        return rate_of(marks)

    # Latency.

    def _latency(
        self, values: Sequence[bytes], per_second: float, seconds: float, warming: float
    ) -> dict[str, Any]:
        """From produced to visible, of events at a steady rate."""
        self._say(f"{per_second:,.0f} events per second for {seconds:g} s")
        skip = int(warming * per_second)
        count = skip + int(seconds * per_second)
        paced = [values[i % len(values)] for i in range(count)]
        told = self._context.Manager().Queue()
        with self._context.Pool(2) as pool:
            reader = pool.apply_async(
                parts.follow, (self._broker.bootstrap, _OUT, count, skip, told)
            )
            told.get()
            begun = time.monotonic()
            late = pool.apply(parts.pace, (self._uri(_IN), paced, self._partitions, per_second))
            took = time.monotonic() - begun
            found = np.array(reader.get())
        quantiles = np.quantile(found, [0.5, 0.9, 0.99])
        return {
            "per_second": late.sent / took,
            "events": len(found),
            "p50_s": float(quantiles[0]),
            "p90_s": float(quantiles[1]),
            "p99_s": float(quantiles[2]),
            "most_s": float(found.max()),
            "producer_late_s": late.latest_s,
        }

    # Recovery.

    def _recovery(self) -> dict[str, Any]:
        """Kill a worker that has half of the events behind its checkpoint; another stands by."""
        app = self._app()
        self._say("a worker is killed, another stands by")
        every = str(self._events // 2)
        first = self._start(app, checkpoint_events=every, checkpoint_seconds="3600")
        first.wait_for_log("slot ready")
        second = self._start(app, 1, checkpoint_events=every, checkpoint_seconds="3600")
        second.wait_for_log('"event": "ready"')
        self._watch(first, f"{app}.journal")
        consumer = self._reader(f"{app}.journal")
        place = TopicPartition(f"{app}.journal", 0)
        before = consumer.end_offsets([place])[place]
        consumer.seek(place, before)
        killed = time.time()
        first.kill()
        parts.produce(self._uri(_IN), parts.copies(STREAM, 100), self._partitions)
        limit = time.monotonic() + _PATIENCE_S
        while not consumer.poll(timeout_ms=20):
            if time.monotonic() > limit:
                raise AssertionError(f"nothing came back:\n{second.log}")
        seen = time.time()
        consumer.close(autocommit=False)
        found = recovery_of(second.log, killed, seen)
        second.stop()
        return found


def _load() -> float:
    """Processes that wanted to run, over the last minute."""
    return os.getloadavg()[0]


def cpu_of(pid: int) -> float:
    """CPU seconds of a process so far, all its threads, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rate_of(marks: Sequence[Mark]) -> dict[str, Any]:
    """Events per second and CPU seconds per 1,000 events from the first mark to the last.

    >>> rate_of([Mark(1.0, 1000, 0.5), Mark(3.0, 5000, 1.5)])
    {'per_second': 2000.0, 'cpu_s_per_1000': 0.25}
    """
    first, last = marks[0], marks[-1]
    events = last.events - first.events
    return {
        "per_second": events / (last.at - first.at),
        "cpu_s_per_1000": 1000.0 * (last.cpu - first.cpu) / events,
    }


def compared(pairs: Sequence[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Medians of both, and the median of their ratios, each of two rounds side by side."""
    found: dict[str, Any] = {"rounds": list(pairs)}
    for name in ("ceiling", "daemon"):
        for figure in ("per_second", "cpu_s_per_1000"):
            found[f"{name}_{figure}"] = statistics.median(pair[name][figure] for pair in pairs)
    found["share"] = statistics.median(
        pair["daemon"]["per_second"] / pair["ceiling"]["per_second"] for pair in pairs
    )
    return found


def recovery_of(log: str, killed: float, seen: float) -> dict[str, Any]:
    """The parts of a way back, in seconds, from the log of the worker that took over.

    Parameters
    ----------
    log
        Its lines, JSON.
    killed, seen
        When the other one was killed, when the first new answer was seen (seconds since 1970).
    """
    lines = [orjson.loads(line) for line in log.splitlines() if line.startswith("{")]
    by_name = {line["event"]: line for line in lines}

    def at(event: str) -> float:
        return datetime.fromisoformat(by_name[event]["timestamp"]).timestamp()

    recovered = by_name["recovered"]
    events = recovered["replayed_events"]
    replay = recovered["replay_seconds"]
    return {
        "given_the_slot_s": at("slots assigned") - killed,
        "transactional_id_s": by_name["transactional id taken"]["seconds"],
        "model_load_s": recovered["load_seconds"],
        "journal_s": recovered["journal_seconds"],
        "replay_s": replay,
        "replayed_events": events,
        "replay_per_second": events / replay if replay else None,
        "first_answer_s": seen - at("slot ready"),
        "all_s": seen - killed,
    }


def print_summary(found: dict[str, Any], out: Console) -> None:
    """The table, and one line for each of the rest."""
    shown = Table(title=f"daemon, {found['stream']}, events of {found['event_bytes']:,.0f} bytes")
    shown.add_column("")
    for head in ("events/s", "CPU s per 1,000"):
        shown.add_column(head, justify="right")
    for name, title in (("ceiling", "client alone"), ("daemon", "ihomer run")):
        shown.add_row(
            title,
            f"{found[f'{name}_per_second']:,.0f}",
            f"{found[f'{name}_cpu_s_per_1000']:.3f}",
        )
    out.print(shown)
    each = [p["daemon"]["per_second"] / p["ceiling"]["per_second"] for p in found["rounds"]]
    late, alone, back = found["latency"], found["alone"], found["recovery"]
    before, after = found["load"]["before"], found["load"]["after"]
    lines = [
        f"the daemon's share of the ceiling: {found['share']:.2f} ({WANTED_SHARE} is wanted;",
        f" rounds {', '.join(f'{share:.2f}' for share in each)})\n",
        f"from produced to visible at {late['per_second']:,.0f} events/s: {_quantiles(late)}",
        f" (p99 under {1000 * WANTED_P99_S:.0f} ms is wanted)\n",
        f"an event alone: {_quantiles(alone)}\n",
        f"after kill -9: given the slot {back['given_the_slot_s']:.2f} s (session",
        f" {SESSION_MS / 1000:g} s), transactional id {back['transactional_id_s']:.2f} s, model",
        f" {back['model_load_s']:.2f} s, journal {back['journal_s']:.2f} s, replay of",
        f" {back['replayed_events']:,} events {back['replay_s']:.2f} s, first answer",
        f" {back['first_answer_s']:.2f} s; in all {back['all_s']:.2f} s\n",
        f"load of the machine: {before:.1f} before, {after:.1f} after",
    ]
    out.print(Text("".join(lines)), soft_wrap=True)


def _quantiles(found: dict[str, Any]) -> str:
    """Quantiles in milliseconds, for people."""
    shown = ((name, 1000 * found[f"{name}_s"]) for name in _QUANTILES)
    return ", ".join(f"{name} {value:.0f} ms" for name, value in shown)


if __name__ == "__main__":
    end(main)
