"""The offline reference: a random forest that had the first half of a stream, on the second half.

In: names of streams, generated ones above all. Out: a table and a document of the figures that an
online learner's second half is held against, with labels thresholded at one half and with a joint
decision over label sets. It is here because "how good could one be" needs an answer per stream.

The forest: scikit-learn's `RandomForestClassifier`, one for all labels, 60 trees, defaults
otherwise. The joint decision is the learner's (`JointDecision`), fitted to out-of-bag
probabilities of the first half.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.table import Table

from bench.command import (
    Parser,
    console,
    data_folder,
    end,
    machine,
    numbers,
    positive,
    versions,
)
from bench.results import Cell, Document
from bench.streams import GENERATED, Stream, expand
from ihomer.connectors.datasets.atomic import write_whole
from ihomer.errors import InputError
from ihomer.instances import BoolArray, Encoder, FloatArray

STREAMS = tuple(f"{GENERATED}{name}?events=50000" for name in ("tree", "hyperplane", "rbf", "xor"))
TREES = 60
CANDIDATES = 200
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0)
SEEN_SHARES = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999)
_LEAST = 0.01  # probabilities are cut here: a forest's 0 is no certainty
_BLOCK = 4_096  # rows decided at a time


class Halves(NamedTuple):
    """A stream as matrices, cut in the middle.

    Attributes
    ----------
    x_first, x_second
        float64 (n, features), zeros where absent, NaN where missing.
    y_first, y_second
        bool (n, labels), labels by name.
    """

    x_first: FloatArray
    y_first: BoolArray
    x_second: FloatArray
    y_second: BoolArray


class Figures(NamedTuple):
    """Subset accuracy and micro-F1 (0 where no label is true or predicted)."""

    subset_accuracy: float
    micro_f1: float


def halves(stream: Stream) -> Halves:
    """The events of `stream` as matrices; the first half has the smaller part of an odd number.

    Raises
    ------
    InputError
        Fewer than two events are labelled.
    """
    encoder = Encoder(stream.declared())
    batch = encoder.encode(event for event in stream.events() if event.on is not None)
    n = len(batch)
    if n < 2:
        raise InputError(f"{stream.name}: found {n} labelled events, accepted: at least 2")
    x = np.zeros((n, encoder.features.columns))
    x[np.repeat(np.arange(n), np.diff(batch.indptr)), batch.indices] = batch.values
    y = np.zeros((n, len(encoder.labels)), dtype=np.bool_)
    y[np.repeat(np.arange(n), np.diff(batch.y_indptr)), batch.y_indices] = True
    names = encoder.labels.names()
    y = y[:, sorted(range(len(names)), key=names.__getitem__)]
    half = n // 2
    return Halves(x[:half], y[:half], x[half:], y[half:])


def forest(
    x: FloatArray, y: BoolArray, later: FloatArray, seed: int, trees: int = TREES
) -> tuple[FloatArray, FloatArray]:
    """Out-of-bag probabilities of the events learned, and probabilities of `later` ones.

    Parameters
    ----------
    x, y
        float64 (n, features), bool (n, labels).
    later
        float64 (m, features).
    seed, trees
        Of the forest.

    Returns
    -------
    out_of_bag, probabilities
        float64 (n, labels) and (m, labels); a label that is always or never on in `y` keeps
        that as its probability.
    """
    from sklearn.ensemble import RandomForestClassifier

    out_of_bag, found = y.astype(np.float64), np.empty((len(later), y.shape[1]))
    found[:] = out_of_bag[0]
    varied = np.flatnonzero(y.any(axis=0) & ~y.all(axis=0))
    if len(varied):
        # Single precision is what the trees compare in, and no value may be past it.
        largest = float(np.finfo(np.float32).max)
        model = RandomForestClassifier(trees, oob_score=True, random_state=seed, n_jobs=1)
        truth = y[:, varied[0]] if len(varied) == 1 else y[:, varied]
        with warnings.catch_warnings():
            # Of events that every tree has learned; they are given the label's share below.
            warnings.filterwarnings("ignore", "Some inputs do not have OOB", UserWarning)
            model.fit(np.clip(x, -largest, largest), truth)
        # (n, classes) for one label, (n, classes, labels) for more.
        own = model.oob_decision_function_.reshape(len(x), 2, len(varied))
        there = own.sum(axis=1) > 0.0
        out_of_bag[:, varied] = np.where(there, own[:, 1], y[:, varied].mean(axis=0))
        parts = model.predict_proba(np.clip(later, -largest, largest))
        parts = [parts] if len(varied) == 1 else parts
        found[:, varied] = np.stack([part[:, 1] for part in parts], axis=1)
    return out_of_bag, found


class JointDecision:
    """The label set that scores best, among the frequent ones and the thresholded one.

    ``score(S) = log[a n_S / n + (1 - a) prod_l Bernoulli(S_l; prior_l)]
    + alpha sum_{l in S} (logit p_l - logit prior_l)``: how likely the set is before anything is
    known of the event, and what the event says. `a` and `alpha` are those of a small grid that
    decide best on the events learned; an event's own set is then left out of the counts.

    Parameters
    ----------
    y
        bool (n, labels), the events learned.
    probabilities
        float64 (n, labels), what a model that did not learn the event says of it.

    Attributes
    ----------
    seen_share, alpha
        What was chosen.
    """

    def __init__(self, y: BoolArray, probabilities: FloatArray) -> None:
        self._n = len(y)
        self._counts = Counter(map(bytes, y))
        # The most frequent first, ties by the set itself.
        ranked = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))[:CANDIDATES]
        sets = [np.frombuffer(key, dtype=np.bool_) for key, _ in ranked]
        self._sets = np.array(sets).reshape(len(ranked), y.shape[1])
        self._place = {key: i for i, (key, _) in enumerate(ranked)}
        prior = np.clip(y.mean(axis=0), _LEAST, 1.0 - _LEAST)
        self._prior_logit = np.log(prior / (1.0 - prior))
        self._none = float(np.log1p(-prior).sum())  # log probability of the empty set
        best = -1.0
        self.seen_share, self.alpha = SEEN_SHARES[0], ALPHAS[0]
        for share in SEEN_SHARES:
            for alpha in ALPHAS:
                found = self._decide(probabilities, share, alpha, own=y)
                right = float((found == y).all(axis=1).mean())
                if right > best:
                    best, self.seen_share, self.alpha = right, share, alpha

    def decide(self, probabilities: FloatArray) -> BoolArray:
        """Label sets for float64 (m, labels): bool (m, labels)."""
        return self._decide(probabilities, self.seen_share, self.alpha)

    def _decide(
        self, probabilities: FloatArray, share: float, alpha: float, own: BoolArray | None = None
    ) -> BoolArray:
        found = probabilities >= 0.5
        n = self._n if own is None else max(1, self._n - 1)
        counts = np.array([float(self._counts[key]) for key in self._place])
        for start in range(0, len(found), _BLOCK):
            rows = slice(start, start + _BLOCK)
            p = np.clip(probabilities[rows], _LEAST, 1.0 - _LEAST)
            gains = alpha * (np.log(p / (1.0 - p)) - self._prior_logit)
            tuned = found[rows]
            own_rows = None if own is None else own[rows]
            frequency = np.tile(counts, (len(tuned), 1))
            extra = np.array([float(self._counts[bytes(row)]) for row in tuned])
            if own_rows is not None:
                place = [self._place.get(bytes(row), -1) for row in own_rows]
                listed = np.flatnonzero(np.array(place) >= 0)
                frequency[listed, np.array(place)[listed]] -= 1.0
                extra -= (own_rows == tuned).all(axis=1)
            score = self._prior(self._sets, share, frequency / n) + gains @ self._sets.T
            best = score.argmax(axis=1)
            of_tuned = self._prior(tuned, share, extra / n) + (gains * tuned).sum(axis=1)
            better = score[np.arange(len(tuned)), best] >= of_tuned
            tuned[better] = self._sets[best[better]]
        return found

    def _prior(self, sets: BoolArray, share: float, frequency: FloatArray) -> FloatArray:
        """The first part of the score, for `sets` that were seen as often as `frequency`."""
        independent = np.exp(self._none + sets @ self._prior_logit)
        result: FloatArray = np.log(share * frequency + (1.0 - share) * independent)
        return result


def figures(y: BoolArray, predicted: BoolArray) -> Figures:
    """How well bool (n, labels) `predicted` agrees with `y`."""
    both = 2.0 * float((y & predicted).sum())
    there = float(y.sum() + predicted.sum())
    return Figures(
        float((y == predicted).all(axis=1).mean()),
        both / there if there else 0.0,
    )


def measure(stream: Stream, seed: int, trees: int = TREES) -> list[Cell]:
    """Two cells of the second half: thresholded, and decided jointly."""
    started = time.perf_counter()
    data = halves(stream)
    out_of_bag, found = forest(data.x_first, data.y_first, data.x_second, seed, trees)
    decision = JointDecision(data.y_first, out_of_bag)
    chosen = {"seen_share": decision.seen_share, "alpha": decision.alpha}
    decided = {"threshold": found >= 0.5, "joint": decision.decide(found)}
    taken = time.perf_counter() - started
    return [
        Cell(
            stream.name,
            f"forest-{name}",
            seed,
            events=len(data.y_second),
            length=len(data.y_first) + len(data.y_second),
            labels=data.y_first.shape[1],
            features=data.x_first.shape[1],
            measures=figures(data.y_second, predicted)._asdict(),
            seconds=taken,
            passes=1,
            extra={"trees": trees, **(chosen if name == "joint" else {})},
        )
        for name, predicted in decided.items()
    ]


def table(cells: list[Cell]) -> Table:
    """One row a cell."""
    shown = Table(title="offline forest, second half")
    for head in ("stream", "seed", "decision"):
        shown.add_column(head)
    for head in ("events", "subset accuracy", "micro-F1", "alpha", "seen share"):
        shown.add_column(head, justify="right")
    for cell in cells:
        values = (*cell.measures.values(), *(cell.extra.get(k) for k in ("alpha", "seen_share")))
        shown.add_row(
            cell.stream,
            str(cell.seed),
            cell.learner.removeprefix("forest-"),
            f"{cell.events:,}",
            *("" if v is None or math.isnan(v) else f"{v:.3f}" for v in values),
        )
    return shown


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m bench.offline", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the data sets (IHOMER_DATA_DIR)")
    parser.add_argument(
        "--streams", action="append", metavar="NAMES", help=f"default {','.join(STREAMS)}"
    )
    parser.add_argument(
        "--seeds", default="1", metavar="LIST", help="of forests and of streams that name none"
    )
    parser.add_argument("--trees", type=positive, default=TREES, help=f"default {TREES}")
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="write the document there"
    )
    parser.add_argument("--quiet", action="store_true", help="no table")
    return parser


def main() -> None:
    """Measure and print."""
    arguments = _parser().parse_args()
    folder = data_folder(arguments)
    names, seeds = expand(arguments.streams or STREAMS), numbers(arguments.seeds)
    streams = [(Stream(name, folder, seed=seed), seed) for name in names for seed in seeds]
    cells = [cell for stream, seed in streams for cell in measure(stream, seed, arguments.trees)]
    shown = {"streams": names, "seeds": seeds, "trees": arguments.trees}
    document = Document("offline", machine(), versions(), shown, cells)
    if arguments.json == "-":
        sys.stdout.buffer.write(document.to_json() + b"\n")
        sys.stdout.flush()
    elif arguments.json is not None:
        write_whole(Path(arguments.json), document.to_json())
    if not arguments.quiet:
        console(errors=arguments.json == "-").print(table(cells), soft_wrap=True)


if __name__ == "__main__":
    end(main)
