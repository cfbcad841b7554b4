"""Kill -9 from file to files, again and again, at named points and at random.

In: how many kills, a seed. Out: counts by point, and an exit code: 0 when outputs and model were,
after each few kills, byte for byte and bit for bit those of a run that nobody has disturbed.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ihomer.faults import FILE_POINTS
from tools.file_rig import CHECKPOINT_EVENTS, FileRig

RANDOM = "random"
POINTS = (
    "during-recovery",
    "before-poll",
    "after-decode",
    "after-learn",
    "before-copy",
    "mid-checkpoint-write",
    "before-rename",
    "after-rename",
    *FILE_POINTS,
)
"""Those that are passed from files to files; the first kill of a life reaches no recovery."""
TWIN = "twin"
LIFE_KILLS = 10  # so many deaths before one process may come to the end
_RECOVERING = ("during-recovery", "before-cut", "mid-cut")
_DEAD = -int(signal.SIGKILL)


@dataclass
class Outcome:
    """What a run of kills has shown.

    Attributes
    ----------
    seed
        Of the run.
    kills
        By named point, or `RANDOM`.
    lives
        How often outputs and model were compared.
    seconds
        Of the whole run.
    """

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    lives: int = 0
    seconds: float = 0.0

    def lines(self) -> list[str]:
        """For a person."""
        counts = ", ".join(f"{point} {self.kills[point]}" for point in (*POINTS, RANDOM))
        lives = f"compared with the twin, and equal: {self.lives}"
        return [
            f"kills: {self.kills.total()} ({counts})",
            f"{lives}; seed {self.seed}; {self.seconds:.0f} s",
        ]


def chaos(rig: FileRig, kills: int, per_point: int, seed: int) -> Outcome:
    """Kill so many times, each named point at least so often.

    Raises
    ------
    AssertionError
        What is left differs from what an undisturbed run leaves.
    """
    begun = time.monotonic()
    chance = random.Random(seed)  # noqa: S311 - it chooses faults
    outcome = Outcome(seed)
    twin = time.monotonic()
    rig.finish(TWIN)
    length = time.monotonic() - twin
    rig.finish("second")
    length = min(length, time.monotonic() - twin - length)
    wanted = [point for point in POINTS for _ in range(per_point)]
    wanted += [RANDOM] * max(0, kills - len(wanted))
    chance.shuffle(wanted)
    while wanted:
        name = f"life-{outcome.lives}"
        for number in range(LIFE_KILLS):
            # A recovery has something to do only behind a death.
            fit = [each for each in wanted if number or each not in _RECOVERING]
            if not fit:
                fit = ["after-learn"]
            point = fit[0]
            fault = "" if point == RANDOM else f"{point}:{_pass(point, chance)}"
            run = rig.start(name=name, fault=fault)
            wait = chance.uniform(0.0, length) if point == RANDOM else 60.0
            code = run.end_after(wait)
            if code == 0:
                break  # it was at its end before
            if code != _DEAD:
                raise AssertionError(f"{name}, {point}: exit code {code}:\n{run.log}")
            outcome.kills[point] += 1
            if point in wanted:
                wanted.remove(point)
            if chance.random() < 0.5:
                rig.tear(b'{"id": 7, "lab', name)
        rig.finish(name)
        rig.check(name, TWIN)
        outcome.lives += 1
    outcome.seconds = time.monotonic() - begun
    return outcome


def _pass(point: str, chance: random.Random) -> int:
    """A pass of the point that a short life comes to."""
    return 1 if point in _RECOVERING or point == "before-copy" else chance.randint(1, 3)


def main() -> None:
    """Parse the command line, kill, tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--per-point", type=int, default=5)
    parser.add_argument("--events", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")
    os.environ["IHOMER_CHECKPOINT_EVENTS"] = str(CHECKPOINT_EVENTS)
    with tempfile.TemporaryDirectory(prefix="ihomer-file-chaos-") as folder:
        rig = FileRig(Path(folder), arguments.events, ["--batch-size", "64"])
        outcome = chaos(rig, arguments.kills, arguments.per_point, arguments.seed)
    print("\n".join(outcome.lines()))
    sys.exit(0)


if __name__ == "__main__":
    main()
