"""Minutes of everything at once, to see whether a worker grows: for `make soak`.

In: how many minutes, how many events a second. Out: a line a minute, figures, and an exit code: 0
when memory, file descriptors and threads of a worker that lives throughout stay flat and
`tools.invariants` finds nothing; 1 otherwise.

One application, two slots, two workers. The first worker lives from start to end and is the one
that is judged. The second is killed (SIGKILL) once a minute and replaced, and once a minute it is
stopped in order and replaced, so that the first is given the other slot and asked for it back
again and again. The stream has drift, labels and features that appear and vanish, and malformed
events.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import NamedTuple

import orjson

from ihomer.connectors.base import Message
from tools.broker import Broker, BrokerError, free_port
from tools.invariants import InvariantError, Invariants
from tools.rig import BAD_EVERY, Daemon, Rig

MINUTES, PER_SECOND = 20, 200
SETTLING = 5  # minutes that do not count; fewer in a short run
MEMORY_PER_MINUTE = 1 << 20
MOST_MORE = 2  # file descriptors or threads
SESSION_MS = 6_000
CONCEPT = 6_000  # events after which a label goes, another comes, and all of them turn
FORGET_AFTER = 8_192
MODEL_MB = 32  # of a slot: a model that may still grow would be taken for a leak
_KILL_AT, _CHANGE_AT, _LOOK_AT = 10, 35, 55  # seconds of each minute
_PATIENCE_S = 120.0
_MODEL = "ihomer_model_bytes{"


def events(start: int, stop: int, partitions: int) -> Iterator[Message]:
    """Labelled events with their number as id, one in `BAD_EVERY` of them malformed.

    Each `CONCEPT` events one of four labels and one of four features give way to new ones, and
    what the labels mean turns.
    """
    begin = round(1000 * time.time()) - 1_000_000
    for i in range(start, stop):
        chance = random.Random(i)  # noqa: S311 - for test data
        concept = i // CONCEPT
        names = [f"f{concept + k}" for k in range(4)]
        x = {name: round(chance.gauss(0.0, 1.0), 6) for name in names}
        turned = random.Random(concept)  # noqa: S311
        on = [
            f"label {concept + k}"
            for k in range(4)
            if sum(turned.gauss(0.0, 1.0) * x[name] for name in names) > 0.5
        ]
        body = orjson.dumps({"id": i, "x": x, "y": on})
        if i % BAD_EVERY == BAD_EVERY - 1:
            body = body[:-2]
        yield Message(body, b"key %d" % i, timestamp=begin + i, origin=i % partitions)


class Sample(NamedTuple):
    """What a process holds at a moment.

    Attributes
    ----------
    seconds
        Since the start of the run.
    rss
        Bytes.
    descriptors, threads
        Their numbers.
    """

    seconds: float
    rss: int
    descriptors: int
    threads: int


def sample(pid: int, seconds: float) -> Sample | None:
    """What process `pid` holds now; None: it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        descriptors = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return None
    found = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    if "VmRSS" not in found:
        return None
    rss = 1024 * int(found["VmRSS"].split()[0])
    return Sample(seconds, rss, descriptors, int(found["Threads"]))


def slope(values: Sequence[float]) -> float:
    """Growth from one value to the next: the median of the slopes of all pairs (Theil and Sen).

    >>> slope([5.0, 6.0, 90.0, 8.0, 9.0]), slope([3.0])
    (1.0, 0.0)
    """
    pairs = combinations(enumerate(values), 2)
    slopes = [(later - earlier) / (j - i) for (i, earlier), (j, later) in pairs]
    return median(slopes) if slopes else 0.0


@dataclass
class Judgement:
    """Whether a process is flat, from its samples, by the medians of each minute.

    The slot that comes and goes with the other worker moves all three figures; a median of a
    minute is that of its longest state.

    Attributes
    ----------
    minutes
        How many counted.
    rss_per_minute
        Bytes; see `slope`.
    rss
        Bytes, in the first and in the last minute that counted.
    descriptors, threads
        Most of a minute's medians, in the first and in the last half of the minutes.
    """

    minutes: int
    rss_per_minute: float
    rss: tuple[float, float]
    descriptors: tuple[float, float]
    threads: tuple[float, float]

    @property
    def faults(self) -> list[str]:
        """What is not flat."""
        if self.minutes < 2:
            return ["too short to be judged"]
        found = []
        if self.rss_per_minute >= MEMORY_PER_MINUTE:
            found.append(f"memory grows by {self.rss_per_minute / 2**20:.2f} MB a minute")
        for name, (early, late) in (
            ("file descriptors", self.descriptors),
            ("threads", self.threads),
        ):
            if late > early + MOST_MORE:
                found.append(f"{name} grow from {early:g} to {late:g}")
        return found


def judge(samples: Sequence[Sample], settling: int) -> Judgement:
    """Judge a process by its samples, those of the first `settling` minutes left out."""
    minutes: dict[int, list[Sample]] = defaultdict(list)
    for each in samples:
        minutes[int(each.seconds // 60)].append(each)
    counted = [minutes[minute] for minute in sorted(minutes) if minute >= settling]
    rss = [float(median(each.rss for each in found)) for found in counted]
    half = len(counted) // 2

    def halves(values: Sequence[float]) -> tuple[float, float]:
        return max(values[:half], default=0.0), max(values[half:], default=0.0)

    return Judgement(
        len(counted),
        slope(rss),
        (rss[0], rss[-1]) if rss else (0.0, 0.0),
        halves([median(each.descriptors for each in found) for found in counted]),
        halves([median(each.threads for each in found) for found in counted]),
    )


@dataclass
class Outcome:
    """What a run has shown.

    Attributes
    ----------
    events, kills, changes
        How many.
    judgement
        Of the worker that lived throughout.
    digests
        Checkpoints that were compared with an uninterrupted run's state.
    most
        The largest figures of any worker: bytes, descriptors, threads.
    """

    events: int = 0
    kills: int = 0
    changes: int = 0
    judgement: Judgement | None = None
    digests: int = 0
    most: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def lines(self) -> list[str]:
        """The outcome as text."""
        most = self.most
        done = f"{self.events} events, {self.kills} kills, {self.changes} workers changed in order"
        found = [
            f"{done}, {self.digests} checkpoints compared bit for bit",
            f"most of a worker: {most['rss'] >> 20} MB, {most['descriptors']} file descriptors",
        ]
        seen = self.judgement
        if seen is not None:
            found.append(
                f"the worker that lived throughout, {seen.minutes} minutes that count: memory"
                f" {seen.rss[0] / 2**20:.1f} to {seen.rss[1] / 2**20:.1f} MB, slope"
                f" {seen.rss_per_minute / 2**20:+.3f} MB a minute; file descriptors"
                f" {seen.descriptors[0]:g} to {seen.descriptors[1]:g}; threads"
                f" {seen.threads[0]:g} to {seen.threads[1]:g}"
            )
        return found


class Soak:
    """One run; see the module.

    Parameters
    ----------
    rig
        Two slots; nothing runs.
    minutes, per_second
        How long, and how fast events come.
    """

    def __init__(self, rig: Rig, minutes: int, per_second: int) -> None:
        self._rig = rig
        self._minutes = minutes
        self._per_second = per_second
        self._outcome = Outcome()
        self._samples: list[Sample] = []
        self._begun = 0.0
        self._address = f"127.0.0.1:{free_port()}"
        self._other: Daemon
        self._steady: Daemon
        self._found: Invariants

    def run(self) -> Outcome:
        """Let it run; raises at the first fault."""
        rig = self._rig
        rig.produce(self._per_second)
        self._steady = self._start(http=self._address)
        self._steady.wait_for_log("slot ready", 2)
        self._found = rig.invariants()
        self._other = self._start()
        self._begun = time.monotonic()
        try:
            for minute in range(self._minutes):
                self._minute(minute)
            self._end()
        finally:
            self._found.close()
            rig.close()
        settling = min(SETTLING, self._minutes // 2)
        self._outcome.judgement = judge(self._samples, settling)
        self._outcome.events = rig.produced
        self._outcome.digests = self._found.digests_compared
        return self._outcome

    def _start(self, **variables: str) -> Daemon:
        return self._rig.start("--slots", str(self._rig.slots), **variables)

    def _model_bytes(self) -> float:
        """Bytes of the models of the steady worker, as it says itself."""
        with urllib.request.urlopen(f"http://{self._address}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(_MODEL))

    def _minute(self, minute: int) -> None:
        # On a busy machine a start takes longer than the schedule: nobody is changed before.
        self._until(60 * minute + _KILL_AT, self._has_a_slot)
        self._other.kill()
        self._outcome.kills += 1
        self._other = self._start()
        self._until(60 * minute + _CHANGE_AT, self._has_a_slot)
        self._other.stop()
        self._outcome.changes += 1
        self._other = self._start()
        self._until(60 * minute + _LOOK_AT)
        self._found.check()
        self._until(60 * (minute + 1))
        last = self._samples[-1]
        models = self._model_bytes()
        print(
            f"minute {minute + 1:3}: {self._rig.produced:8} events, steady worker"
            f" {last.rss / 2**20:6.1f} MB (its models {models / 2**20:.1f}), {last.descriptors}"
            f" descriptors, {last.threads} threads",
            flush=True,
        )

    def _has_a_slot(self) -> bool:
        if not self._other.running:
            raise AssertionError(f"a worker ended:\n{self._other.log}")
        return "slot ready" in self._other.log

    def _until(self, seconds: float, condition: Callable[[], bool] = lambda: True) -> None:
        """Produce and sample, once a second, until so many seconds after the start.

        And until `condition` holds.
        """
        limit = seconds + _PATIENCE_S
        while (now := time.monotonic() - self._begun) < seconds or not condition():
            if now > limit:
                raise AssertionError(f"no slot for the new worker:\n{self._other.log}")
            if not self._steady.running:
                raise AssertionError(f"the worker ended:\n{self._steady.log}")
            missing = round(now * self._per_second) - self._rig.produced
            # After a pause the rest comes bit by bit: a flood would be another test.
            self._rig.produce(max(0, min(missing, 2 * self._per_second)))
            for daemon in (self._steady, self._other):
                found = sample(daemon.process.pid, time.monotonic() - self._begun)
                if found is None:
                    continue
                if daemon is self._steady:
                    self._samples.append(found)
                most = self._outcome.most
                for name, value in found._asdict().items():
                    if name != "seconds":
                        most[name] = max(most[name], value)
            left = seconds - (time.monotonic() - self._begun)
            time.sleep(min(1.0, left) if left > 0.0 else 0.2)

    def _end(self) -> None:
        """All that was produced must be answered, and answered as it should be."""
        limit = time.monotonic() + _PATIENCE_S
        while self._answered() < self._rig.produced:
            if time.monotonic() > limit:
                raise AssertionError(f"not all is answered:\n{self._steady.log}")
            time.sleep(0.2)
        self._other.stop()
        self._steady.stop()
        self._found.check()

    def _answered(self) -> int:
        self._found.sink.update()
        self._found.dead_letters.update()
        return self._found.sink.total() + self._found.dead_letters.total()


def main() -> int:
    """Run it; the exit code is 0, 1 for a fault found, 69 without a broker, 130 after Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=int, default=MINUTES)
    parser.add_argument("--rate", type=int, default=PER_SECOND, help="events a second")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    try:
        with Broker() as broker, tempfile.TemporaryDirectory(prefix="ihomer-soak-") as folder:
            rig = Rig(
                broker,
                Path(folder),
                partitions=4,
                slots=2,
                session_ms=SESSION_MS,
                events=events,
                checkpoint_seconds="20",
                # The journal is shortened behind the oldest one, and has to be read before that.
                checkpoint_keep="20",
                max_memory_mb=str(MODEL_MB),
                forget_labels_after=str(FORGET_AFTER),
                forget_features_after=str(FORGET_AFTER),
            )
            outcome = Soak(rig, arguments.minutes, arguments.rate).run()
    except (InvariantError, AssertionError) as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    except BrokerError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 69
    except KeyboardInterrupt:
        print("stopped")
        return 130
    for line in outcome.lines():
        print(line)
    print(f"load of the machine: {load:.1f} before, {os.getloadavg()[0]:.1f} after")
    judgement = outcome.judgement
    faults = ["nothing was judged"] if judgement is None else judgement.faults
    for fault in faults:
        print(f"soak: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
