"""Kill -9, again and again, at named points and at random, and look each time what is left.

In: how many kills, a seed. Out: counts by point, times to take over, and an exit code: 0 when
`tools.invariants` found nothing after any of them. A worker is always running and another stands
by; whoever is killed is replaced, so that each recovery is also a hand-over.
"""

from __future__ import annotations

import argparse
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from ihomer.faults import POINTS
from ihomer.learners.ihomer import IHomer
from tools.broker import Broker, BrokerError
from tools.invariants import InvariantError, Invariants
from tools.late import Placing, Sent
from tools.rig import Daemon, Rig

RANDOM = "random"
CHECKPOINT_EVENTS = 2_000
SESSION_MS = 1_500
RESUME_S = 15.0
_PATIENCE_S = 60.0
_LATE: dict[str | None, Placing] = {"one": "one topic", "two": "two topics"}
_REPLAYED = re.compile(r"replaying what the journal has.*?records=(\d+)")


@dataclass
class Outcome:
    """What a run of kills has shown.

    Attributes
    ----------
    seed, events
        Of the run.
    kills
        By named point, or `RANDOM`.
    takeover_s
        From each death to the next prediction that a reader saw.
    replayed
        Records that each recovery learned again.
    digests
        Checkpoints that were compared with the twin's state.
    labels
        What became of labels that came late, if they did.
    seconds
        Of the whole run.
    """

    seed: int
    events: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    takeover_s: list[float] = field(default_factory=list)
    replayed: list[int] = field(default_factory=list)
    digests: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def lines(self) -> list[str]:
        """The outcome as text."""
        found = [f"{point:24}{self.kills[point]:5}" for point in (*POINTS, RANDOM)]
        found.append(f"{'kills':24}{self.kills.total():5}")
        found.append(f"seed {self.seed}, {self.events} events, {self.seconds:.0f} s")
        if self.takeover_s:
            found.append(
                f"from a death to the next prediction: median {median(self.takeover_s):.2f} s,"
                f" longest {max(self.takeover_s):.2f} s"
            )
        if self.replayed:
            found.append(
                f"records learned again: median {median(self.replayed):.0f}, most"
                f" {max(self.replayed)}"
            )
        found.append(f"checkpoints that were, bit for bit, the twin's state: {self.digests}")
        if self.labels:
            counts = ", ".join(f"{name} {count}" for name, count in self.labels.items() if count)
            found.append(f"late labels: {counts}")
        return found


def schedule(kills: int, per_point: int, chance: random.Random) -> list[str]:
    """Faults in a random order: each point `per_point` times, the rest at random.

    >>> found = schedule(20, 1, random.Random(0))
    >>> len(found), found.count("random")
    (20, 6)
    """
    named = [f"{point}:{chance.randint(1, 3)}" for point in POINTS for _ in range(per_point)]
    # A recovery may have no more than one batch to learn again.
    named = [re.sub(r"^(during-recovery|before-trim):.*", r"\1:1", each) for each in named]
    found = named[:kills] + [RANDOM] * (kills - len(named))
    chance.shuffle(found)
    return found


def check_labels(counts: dict[str, int], learned: int, sent: Sent) -> None:
    """See that every label was learned once, where all came in time, and that the counts add up.

    Parameters
    ----------
    counts
        Of the last state; see `ihomer.stream.late_labels.LateLabels.figures`.
    learned
        Events that the model has learned.
    sent
        What there was.

    Raises
    ------
    InvariantError
        It is not so.
    """
    found = {name: count for name, count in counts.items() if name != "bytes" and count}
    wanted = {
        "events": sent.features,
        "labels": sent.labels,
        "joined": sent.features - sent.never,
        "twice": sent.twice,
        "waiting": sent.never,
    }
    early = found.pop("early", 0)  # on two topics any labels may overtake their features
    if found != {name: count for name, count in wanted.items() if count}:
        raise InvariantError(f"labels: found {found}, wanted: {wanted}")
    if learned != wanted["joined"] or early < sent.early:
        raise InvariantError(f"labels: {learned} events were learned, {early} labels came first")


class Chaos:
    """One run; see the module.

    Parameters
    ----------
    rig
        Topics are made, nothing runs.
    kills, per_point, events, seed
        How many kills, of which at each point, over how many events at least.
    say
        Told of each kill.
    resume_s
        Longest time from a death to the next prediction; None: a busy machine takes what it takes.

    Attributes
    ----------
    found
        Looks at everything, and has seen it in the end.
    """

    def __init__(
        self,
        rig: Rig,
        kills: int,
        per_point: int,
        events: int,
        seed: int,
        say: Callable[[str], None],
        resume_s: float | None = None,
    ) -> None:
        self._resume_s = resume_s
        self._rig = rig
        self._chance = random.Random(seed)  # noqa: S311 - it chooses faults
        self._faults = schedule(kills, per_point, self._chance)
        self._chunk = -(-events // (kills + 1))
        self._say = say
        self._outcome = Outcome(seed)
        self.found: Invariants

    def run(self) -> Outcome:
        """Kill as scheduled; raises at the first fault of ours."""
        begun = time.monotonic()
        rig = self._rig
        rig.produce(self._chunk)
        try:
            # Whoever dies first has something to recover, and the first checkpoint is not its own.
            first = rig.start()
            first.wait_for_log("slot ready")
            self.found = rig.invariants()
            try:
                self._kill_all(first)
            finally:
                self.found.close()
        finally:
            rig.close()
        self._outcome.events = rig.produced
        self._outcome.digests = self.found.digests_compared
        self._outcome.seconds = time.monotonic() - begun
        return self._outcome

    def _kill_all(self, first: Daemon) -> None:
        """Let the first worker end in order, and the others by their faults."""
        first.wait_for(lambda: self._answered() > 0)
        first.stop()
        running = self._start(0)
        self._wait_for_slot(running)  # or the standby might be given it
        for number, fault in enumerate(self._faults):
            standby = self._start(number + 1)
            self._round(number, fault, running, standby)
            running = standby
        self._last(running)

    def _start(self, number: int) -> Daemon:
        """A worker with the fault whose turn it is."""
        fault = self._faults[number] if number < len(self._faults) else ""
        return self._rig.start(fault="" if fault == RANDOM else fault)

    def _wait_for_slot(self, daemon: Daemon) -> None:
        """Until it has the slot, or has died on the way there."""
        limit = time.monotonic() + _PATIENCE_S
        while daemon.running and "slot ready" not in daemon.log:
            if time.monotonic() > limit:
                raise AssertionError(f"no slot in time:\n{daemon.log}")
            time.sleep(0.05)

    def _round(self, number: int, fault: str, running: Daemon, standby: Daemon) -> None:
        point = fault.partition(":")[0]
        if point == RANDOM:
            running.wait_for_log("slot ready")
            time.sleep(self._chance.uniform(0.0, 1.5))
            running.kill()
        else:
            self._feed_until_dead(running, fault)
        died = time.monotonic()
        self._outcome.kills[point] += 1
        before = self._answered()
        self._rig.produce(self._chunk)
        limit = died + _PATIENCE_S
        while self._answered() <= before:
            if time.monotonic() > limit:
                raise AssertionError(f"nothing came after {fault}:\n{standby.log}")
            if not standby.running:
                # It was killed in its turn before it had answered anything, in its recovery.
                break
            time.sleep(0.05)
        else:
            self._outcome.takeover_s.append(time.monotonic() - died)
        self.found.check()
        for text in _REPLAYED.findall(running.log):
            self._outcome.replayed.append(int(text))
        self._say(f"{number + 1:4} {fault:28}{time.monotonic() - died:6.2f} s")

    def _feed_until_dead(self, running: Daemon, fault: str) -> None:
        """Give the worker something to do until its fault ends it."""
        limit = time.monotonic() + _PATIENCE_S
        while running.running:
            if time.monotonic() > limit:
                raise AssertionError(f"{fault} was never reached:\n{running.log}")
            time.sleep(0.1)
            backlog = self._rig.produced - self._answered()
            if backlog < CHECKPOINT_EVENTS // 2:
                self._rig.produce(CHECKPOINT_EVENTS // 2)
        if running.process.returncode != -signal.SIGKILL:
            raise AssertionError(f"{fault}: ended otherwise:\n{running.log}")

    def _answered(self) -> int:
        self.found.journal.update()  # before a checkpoint lets entries be deleted
        self.found.sink.update()
        self.found.dead_letters.update()
        return self.found.sink.total() + self.found.dead_letters.total()

    def _all_named(self) -> bool:
        """Whether the journal names the whole input."""
        self.found.check()
        return not self.found.behind()

    def _last(self, running: Daemon) -> None:
        """Let the last worker finish, and look once more."""
        self._rig.produce_rest()
        running.wait_for(lambda: self._answered() >= self._rig.produced, 300.0)
        running.wait_for(self._all_named, 300.0)
        running.stop()
        self.found.check()
        if self._rig.stream is not None and self._rig.wait_events is None:
            processor = self.found.twins[0].processor
            learner = processor.main.learner
            assert processor.late is not None and isinstance(learner, IHomer)  # noqa: S101, PT018
            self._outcome.labels = processor.late.figures()
            check_labels(self._outcome.labels, learner.n_learned, self._rig.stream.sent)
        if self._answered() != self._rig.produced:
            raise InvariantError(f"I2: {self._answered()} answers to {self._rig.produced} events")
        limit = self._resume_s
        slow = [each for each in self._outcome.takeover_s if limit is not None and each > limit]
        if slow:
            raise InvariantError(f"I8: predictions came after {slow} s, wanted: {limit:g}")
        most = CHECKPOINT_EVENTS + 2 * self._rig.settings().transaction_events
        if max(self._outcome.replayed, default=0) > most:
            raise InvariantError(f"I8: {self._outcome.replayed} records were learned again")


def main() -> int:
    """Run the command; the exit code is 1 where something does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tools.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--per-point", type=int, default=5)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument(
        "--labels", choices=("one", "two"), help="labels come late, in one topic or in two"
    )
    parser.add_argument("--resume-seconds", type=float, default=RESUME_S)
    parser.add_argument("--seed", type=int, default=None, help="by default another each time")
    arguments = parser.parse_args()
    seed = arguments.seed
    if seed is None:
        seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}", flush=True)
    try:
        with Broker() as broker, tempfile.TemporaryDirectory(prefix="ihomer-chaos-") as folder:
            rig = Rig(
                broker,
                Path(folder),
                session_ms=SESSION_MS,
                late=_LATE.get(arguments.labels),
                checkpoint_events=str(CHECKPOINT_EVENTS),
            )
            chaos = Chaos(
                rig,
                arguments.kills,
                arguments.per_point,
                arguments.events,
                seed,
                lambda line: print(line, flush=True),
                arguments.resume_seconds,
            )
            try:
                outcome = chaos.run()
            except (InvariantError, AssertionError) as error:
                print(f"seed {seed}: {error}", file=sys.stderr)
                return 1
    except BrokerError as error:
        print(error, file=sys.stderr)
        return 69
    print("\n".join(outcome.lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
