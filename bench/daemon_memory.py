"""A gigabyte of events through a daemon: how far its resident set moves from where it started.

In: how much, on a broker that is started here. Out: a line and a document. Half of the bytes are
events of 50 kB (a text beside the features that nobody asked for), half are Yeast's, of 1.9 kB;
they come in turns of a few megabytes, faster than they can be learned, so that all that may be
held is held.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson

from bench import daemon_parts as parts
from bench.command import Parser, console, end, machine, positive, versions
from bench.results import Document
from ihomer.connectors.datasets.atomic import write_whole
from ihomer.connectors.files.reader import STANDARD
from ihomer.errors import InputError, UnavailableError
from tools.broker import Broker, BrokerError
from tools.invariants import View
from tools.rig import Daemon
from tools.soak import sample

STREAM = "river:yeast"
LARGE_BYTES = 50_000
WANTED_BYTES = 1 << 30
_TURN_BYTES = 1 << 24
_EVERY_S = 0.25
_PATIENCE_S = 900.0


def main() -> None:
    """Measure and print."""
    parser = Parser(prog="python -m bench.daemon_memory", description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=positive, default=1000, help="of 10^6 bytes")
    parser.add_argument("--json", nargs="?", const=STANDARD, metavar="FILE", help="the document")
    arguments = parser.parse_args()
    try:
        with Broker() as broker, tempfile.TemporaryDirectory(prefix="ihomer-bench-") as folder:
            found = measure(broker, Path(folder), arguments.megabytes * 10**6)
    except BrokerError as error:
        raise UnavailableError(str(error)) from None
    except AssertionError as error:  # a daemon that ended, with its log
        raise InputError(str(error)) from None
    shown = {"megabytes": arguments.megabytes}
    data = Document("daemon-memory", machine(), versions(), shown, [], summary=found).to_json()
    if arguments.json == STANDARD:
        sys.stdout.buffer.write(data + b"\n")
    elif arguments.json is not None:
        write_whole(Path(arguments.json), data)
    out = console(errors=arguments.json == STANDARD)
    out.print(
        f"{found['bytes'] / 1e6:,.0f} MB in {found['events']:,} events, {found['seconds']:.0f} s:"
        f" resident set {found['rss_start'] / 2**20:,.0f} MB at the start,"
        f" {found['rss_most'] / 2**20:,.0f} at most, {found['rss_end'] / 2**20:,.0f} at the end;"
        f" growth {found['growth'] / 2**20:,.0f} MB (under {WANTED_BYTES >> 20:,} is wanted);"
        f" load {found['load']:.1f}",
        soft_wrap=True,
    )


def measure(broker: Broker, folder: Path, nbytes: int) -> dict[str, Any]:
    """Send and watch.

    Returns
    -------
    dict
        ``bytes``, ``events``, ``seconds``; ``rss_start`` (the slot is ready, nothing was read),
        ``rss_most``, ``rss_end`` and ``growth`` (most less start) in bytes; ``load``, processes
        that wanted to run over the last minute.

    Raises
    ------
    AssertionError
        The daemon ended, or does not get there.
    """
    for topic in ("events", "predictions"):
        broker.create_topic(topic, 2)
    uri = f"kafka://{broker.bootstrap}"
    daemon = Daemon(
        folder / "daemon.log",
        [
            *("--source", f"{uri}/events?group=memory", "--sink", f"{uri}/predictions"),
            *("--quiet", "--state-dir", str(folder / "state")),
        ],
        {},
    )
    try:
        daemon.wait_for_log("slot ready")
        pid = daemon.process.pid
        start = _rss(pid)
        most, begun = start, time.monotonic()
        answers = View(broker.bootstrap, "predictions")
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            sending = pool.apply_async(send, (f"{uri}/events", nbytes))
            answered = 0
            while not sending.ready() or answered < sending.get()[0]:
                if not daemon.running or time.monotonic() > begun + _PATIENCE_S:
                    raise AssertionError(f"not in time:\n{daemon.log}")
                time.sleep(_EVERY_S)
                most = max(most, _rss(pid))
                answers.update()
                answered += answers.total()
                for records in answers.records.values():
                    records.clear()
            events, sent = sending.get()
        answers.close()
        seconds, last = time.monotonic() - begun, _rss(pid)
        daemon.stop()
    finally:
        if daemon.running:
            daemon.kill()
    return {
        "bytes": sent,
        "events": events,
        "seconds": seconds,
        "rss_start": start,
        "rss_most": most,
        "rss_end": last,
        "growth": most - start,
        "load": os.getloadavg()[0],
    }


def _rss(pid: int) -> int:
    found = sample(pid, 0.0)
    if found is None:
        raise AssertionError("the daemon ended")
    return found.rss


def send(uri: str, nbytes: int) -> tuple[int, int]:
    """Write about `nbytes`; events and bytes of them."""
    small = parts.copies(STREAM, 2_417)
    text = "x" * (LARGE_BYTES - len(small[0]))
    large = [orjson.dumps(orjson.loads(each) | {"text": text}) for each in small[:200]]
    events = sent = 0
    while sent < nbytes:
        for kind in (large, small):
            size = sum(map(len, kind)) / len(kind)
            count = round(min(_TURN_BYTES, nbytes / 2) / size)
            turn = [kind[i % len(kind)] for i in range(events, events + count)]
            parts.produce(uri, turn, 2)
            events += count
            sent += sum(map(len, turn))
    return events, sent


if __name__ == "__main__":
    end(main)
