"""Whether adapting costs anything while it adapts: a learner beside its twin that does not.

In: generated streams whose concept stays. Out: paired differences of mean subset accuracy and
micro-F1 over the events after the first at which the two predict differently. ``partition`` and
``partition-linear``: label structure changes and the learner re-partitions, its twin is a copy
whose partition is frozen where the change begins; on text words tell each label by itself, on
linear the labels of a block depend on one another. ``alternates``: labels become more
frequent, an alternate subtree takes over, its twin has none.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from rich.table import Table

from bench.command import Parser, console, end, machine, numbers, positive, versions
from bench.recovery import agreement
from bench.streams import GENERATED, Stream
from ihomer.connectors.datasets.atomic import write_whole
from ihomer.connectors.synthetic import SyntheticSource
from ihomer.errors import UsageError
from ihomer.instances import Batch, BoolArray, Encoder, FloatArray
from ihomer.learners.ihomer import IHomer

WINDOWS = (2_000, 20_000)  # events after a change
LEAST = -0.005  # that the lower end of the first window's interval has to reach
BATCH = 256
STREAMS = {
    "partition": f"{GENERATED}text?events=24500&labels=40&blocks=8&words=5000"
    "&drift=sudden&of=structure&at=3000",
    "partition-linear": f"{GENERATED}linear?events=24500&labels=40&blocks=8"
    "&drift=sudden&of=structure&at=3000",
    "alternates": f"{GENERATED}tree?events=34500&drift=sudden&of=priors&what=cardinality&at=4000",
}
MEASURES = ("subset accuracy", "micro-F1")
# Two-sided 95% of Student's t, by degrees of freedom; beyond, the normal's.
_T = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 7: 2.36, 9: 2.26, 14: 2.14, 19: 2.09, 29: 2.05}


@dataclass(frozen=True, slots=True)
class Found:
    """One pair's figures.

    Attributes
    ----------
    kind, seed
        Which.
    start
        First event at which the two predict differently; None: they never do.
    agreement
        Adjusted Rand index of the learner's clusters with the truth, at the end.
    gains
        By window: mean differences of `MEASURES`, learner less twin.
    """

    kind: str
    seed: int
    start: int | None
    agreement: float
    gains: dict[int, tuple[float, float]]


class Counts:
    """What the measures are made of, event by event."""

    def __init__(self) -> None:
        self._parts: list[FloatArray] = []

    def add(self, batch: Batch, on: BoolArray) -> None:
        """Count a batch."""
        true = np.zeros(on.shape, dtype=np.bool_)
        true[np.repeat(np.arange(len(batch)), np.diff(batch.y_indptr)), batch.y_indices] = True
        both = (on & true).sum(axis=1)
        exact = (on == true).all(axis=1)
        self._parts.append(np.stack([exact, both, on.sum(axis=1) + true.sum(axis=1)], axis=1))

    def measures(self, start: int, stop: int) -> FloatArray:
        """`MEASURES` over events `start` to `stop`."""
        counts = np.concatenate(self._parts)[start:stop]
        exact, both, all_on = counts.sum(axis=0)
        return np.array([exact / len(counts), 2.0 * both / max(1.0, all_on)])


def _share(model: IHomer, encoder: Encoder) -> None:
    """Let a model read batches that others read, too."""
    model._encoder = encoder
    model._engine.name = encoder.labels.name


def measure(kind: str, stream: str, seed: int) -> Found:
    """Run a learner and its twin.

    Raises
    ------
    UsageError
        The stream is not a generated one.
    """
    opened = Stream(stream, seed=seed)
    source = opened.open()
    if not isinstance(source, SyntheticSource):
        raise UsageError(f"{stream}: no truth beside it, accepted: synthetic:...")
    truth = source.truth
    encoder = Encoder(opened.declared())
    # What is cut at the change is cut for both.
    split = truth.changes[0].start if truth.changes else 0
    events = list(opened.events())
    cuts = sorted({*range(0, split, BATCH), *range(split, len(events), BATCH), len(events)})
    batches = [encoder.encode(events[a:b]) for a, b in pairwise(cuts)]
    without = ("alternates",) if kind == "alternates" else ()
    pair = [IHomer(seed=seed), IHomer(seed=seed, without=without)]
    for model in pair:
        _share(model, encoder)
    counts = [Counts(), Counts()]
    start: int | None = None
    for first, batch in zip(cuts, batches, strict=False):
        if kind.startswith("partition") and first <= split:
            if first == split:
                pair[1] = copy.deepcopy(pair[0])
                _share(pair[1], encoder)
                pair[1]._engine._keeper = None
            else:
                pair[1] = pair[0]
        one = pair[0] is pair[1]
        found = [model.predict_learn(batch) for model in pair[: 1 if one else 2]]
        for count, predictions in zip(counts, [found[0], found[-1]], strict=True):
            count.add(batch, predictions.on)
        if start is None:
            scores = [np.nan_to_num(predictions.scores, nan=-1.0) for predictions in found]
            other = (scores[0] != scores[-1]) | (found[0].on != found[-1].on)
            differ = np.flatnonzero(other.any(axis=1))
            start = None if not len(differ) else first + int(differ[0])
    gains = {}
    for window in WINDOWS:
        if start is not None and start + window <= len(events):
            ours, twins = (count.measures(start, start + window) for count in counts)
            gains[window] = (float(ours[0] - twins[0]), float(ours[1] - twins[1]))
    ari = agreement(list(map(sorted, pair[0].clusters())), truth.partition(len(events) - 1))
    return Found(kind, seed, start, ari, gains)


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and the ends of its 95% interval.

    >>> [round(end, 3) for end in interval([0.0, 0.2])]
    [0.1, -1.171, 1.371]
    """
    n = len(values)
    if n < 2:
        return (float(values[0]) if n else math.nan), math.nan, math.nan
    t = _T.get(n - 1, min((t for f, t in _T.items() if f < n - 1), default=1.96))
    half = t * float(np.std(values, ddof=1)) / math.sqrt(n)
    mean = float(np.mean(values))
    return mean, mean - half, mean + half


def rows(found: Sequence[Found]) -> list[dict[str, Any]]:
    """One row a kind, window and measure."""
    made = []
    for kind in dict.fromkeys(one.kind for one in found):
        own = [one for one in found if one.kind == kind]
        for window in WINDOWS:
            pairs = [one.gains[window] for one in own if window in one.gains]
            for number, measure_name in enumerate(MEASURES):
                mean, low, high = interval([pair[number] for pair in pairs])
                made.append(
                    {
                        "kind": kind,
                        "window": window,
                        "measure": measure_name,
                        "pairs": len(pairs),
                        "seeds": len(own),
                        "mean": mean,
                        "low": low,
                        "high": high,
                        "agreement": float(np.mean([one.agreement for one in own])),
                    }
                )
    return made


def main() -> None:
    """Measure and print."""
    parser = Parser(prog="python -m bench.dips", description=__doc__)
    parser.add_argument("--kinds", default=",".join(STREAMS), help=f"of {', '.join(STREAMS)}")
    parser.add_argument("--seeds", default="1-20", metavar="LIST", help="such as 1,2 or 1-5")
    parser.add_argument("--jobs", type=positive, default=1, help="processes")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    arguments = parser.parse_args()
    kinds = arguments.kinds.split(",")
    for kind in kinds:
        if kind not in STREAMS:
            raise UsageError(f"--kinds: found {kind!r}, accepted: {', '.join(STREAMS)}")
    tasks = [(kind, STREAMS[kind], seed) for kind in kinds for seed in numbers(arguments.seeds)]
    if arguments.jobs == 1:
        found = [measure(*task) for task in tasks]
    else:
        with ProcessPoolExecutor(arguments.jobs) as pool:
            found = list(pool.map(measure, *zip(*tasks, strict=True)))
    summary = rows(found)
    shown = Table(title="dips: learner less its twin that does not adapt", box=None)
    for head in ("kind", "events after", "measure", "pairs", "mean", "95% interval", "ARI"):
        shown.add_column(head)
    for row in summary:
        shown.add_row(
            row["kind"],
            f"{row['window']:,}",
            row["measure"],
            f"{row['pairs']} of {row['seeds']}",
            f"{row['mean']:+.4f}",
            f"{row['low']:+.4f} to {row['high']:+.4f}",
            f"{row['agreement']:.3f}",
        )
    console().print(shown)
    if arguments.json:
        document = {"machine": machine(), "versions": versions(), "rows": summary, "pairs": found}
        write_whole(Path(arguments.json), orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS))


if __name__ == "__main__":
    end(main)
