"""Which differences between learners over many streams are more than chance.

In: groups. Out: a `Comparison` and the `Outcome` of its tests. It is here so that a table of means
is not the last word. The statistics themselves are scipy's (Friedman, studentized range), those of
scikit-posthocs (Nemenyi, Wilcoxon with Holm's correction) and baycomp's (Bayesian signed-rank
test); the way they are used follows Demšar (2006) and Benavoli et al. (2017), both in the Journal
of Machine Learning Research.

One line per stream, so that lines are independent: file order, for streams sorted by label the
mean over shuffles (they are left out if they were not shuffled).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from bench.report.groups import Groups, Row, learners_of, rows_of
from bench.report.names import MLHAT, SORTED_STREAMS, SUBJECT, measure
from bench.report.reference import Reference

ALPHA = 0.05
ROPE = 0.01  # differences up to this, on the measure's own scale, count as none
MIN_STREAMS = 5
MIN_LEARNERS = 3
_SHARE = 2 / 3  # a learner that finished fewer of the streams would leave too few for the others


@dataclass(slots=True)
class Comparison:
    """Learners that are compared, and the rows that all of them finished.

    Attributes
    ----------
    learners, rows
        Columns and lines of `values`.
    values
        float64 (rows, learners).
    left_out
        Learners that are not compared, with the number of rows that each finished.
    """

    learners: list[str]
    rows: list[Row]
    values: npt.NDArray[np.float64]
    left_out: dict[str, int]

    @property
    def shortage(self) -> str:
        """Why this is too little to test, or nothing."""
        if len(self.learners) < MIN_LEARNERS:
            return f"{_count(len(self.learners), 'learner')}; a test needs {MIN_LEARNERS} or more"
        if len(self.rows) < MIN_STREAMS:
            return (
                f"{_count(len(self.rows), 'stream')} that all compared learners finished;"
                f" a test needs {MIN_STREAMS} or more"
            )
        if (self.values == self.values[:, :1]).all():
            return "all learners have the same figures on every stream"
        return ""


class Bayes(NamedTuple):
    """Posterior probabilities of the Bayesian signed-rank test, over `n` streams.

    `ours`: `SUBJECT` is better by more than `ROPE`; `rope`: neither is; `theirs`: `other` is.
    """

    other: str
    ours: float
    rope: float
    theirs: float
    n: int


@dataclass(slots=True)
class Outcome:
    """Outcome of all tests on one measure.

    Attributes
    ----------
    ranks
        Average rank by learner, best first; 1 is best.
    statistic, p
        Friedman's chi-squared and its p value.
    distance
        Nemenyi's critical difference of average ranks at `ALPHA`.
    nemenyi, wilcoxon
        p values of all pairs, learners by learners; Wilcoxon's corrected by Holm.
    bayes
        Of `SUBJECT` against each other learner and MLHAT's re-run, where it is compared.
    """

    ranks: dict[str, float]
    statistic: float
    p: float
    distance: float
    nemenyi: pd.DataFrame
    wilcoxon: pd.DataFrame
    bayes: list[Bayes] = field(default_factory=list)


def rows_to_test(groups: Groups) -> list[Row]:
    """One row per stream; see the module."""
    rows = rows_of(groups)
    chosen = []
    for row in rows:
        if row.stream in SORTED_STREAMS:
            wanted = row.shuffled
        else:
            wanted = not row.shuffled or Row(row.stream) not in rows
        if wanted:
            chosen.append(row)
    return chosen


def compare(groups: Groups, key: str) -> Comparison:
    """What can be compared by the measure `key`.

    A learner is compared if it finished at least two thirds of the rows of the one that finished
    most. If that leaves fewer than `MIN_STREAMS` common rows, learners that finished the fewest
    are left out one by one as long as `MIN_LEARNERS` remain; `SUBJECT` stays.
    """
    finished: dict[str, dict[Row, float]] = {learner: {} for learner in learners_of(groups)}
    for row in rows_to_test(groups):
        for learner, means in finished.items():
            found = groups.get((row, learner))
            figure = found.figure(key) if found is not None and found.finished else None
            if figure is not None:
                means[row] = figure.mean
    most = max((len(values) for values in finished.values()), default=0)
    learners = [
        name for name, values in finished.items() if values and len(values) >= _SHARE * most
    ]
    while True:
        rows = [r for r in rows_to_test(groups) if all(r in finished[name] for name in learners)]
        others = [name for name in learners if name != SUBJECT]
        if len(rows) >= MIN_STREAMS or len(learners) <= MIN_LEARNERS or not others:
            break
        learners.remove(min(others, key=lambda name: (len(finished[name]), name)))
    if not learners:
        rows = []
    values = np.array([[finished[name][row] for name in learners] for row in rows])
    return Comparison(
        learners,
        rows,
        values.reshape(len(rows), len(learners)),
        {name: len(values) for name, values in finished.items() if name not in learners},
    )


def run_tests(
    comparison: Comparison, key: str, reference: Reference, samples: int = 20_000
) -> Outcome:
    """All tests on `comparison`, which has no `Comparison.shortage`.

    Parameters
    ----------
    comparison
        What is compared.
    key
        Its measure.
    reference
        Where MLHAT's figures are.
    samples
        Of the Bayesian test's posterior, drawn with a fixed seed.
    """
    # Imported here: it brings seaborn and statsmodels along, which takes seconds.
    import scikit_posthocs

    learners = comparison.learners
    # Higher is better from here on.
    values = -comparison.values if measure(key).lower else comparison.values
    n, k = values.shape
    average = stats.rankdata(-values, axis=1).mean(axis=0)
    statistic, p = stats.friedmanchisquare(*values.T)
    frame = pd.DataFrame(values, columns=learners)
    wilcoxon = scikit_posthocs.posthoc_wilcoxon(
        frame.melt(var_name="learner", value_name="value"),
        val_col="value",
        group_col="learner",
        zero_method="zsplit",  # equal figures count half for either side
        p_adjust="holm",
    )
    return Outcome(
        ranks={learners[i]: float(average[i]) for i in np.argsort(average, kind="stable")},
        statistic=float(statistic),
        p=float(p),
        distance=float(
            stats.studentized_range.ppf(1 - ALPHA, k, math.inf)
            / math.sqrt(2)
            * math.sqrt(k * (k + 1) / (6 * n))
        ),
        nemenyi=scikit_posthocs.posthoc_nemenyi_friedman(frame),
        wilcoxon=wilcoxon.loc[learners, learners],
        bayes=_bayes(comparison, key, values, reference, samples),
    )


def _bayes(
    comparison: Comparison,
    key: str,
    values: npt.NDArray[np.float64],
    reference: Reference,
    samples: int,
) -> list[Bayes]:
    if SUBJECT not in comparison.learners:
        return []
    ours = values[:, comparison.learners.index(SUBJECT)]
    pairs = [
        (name, ours, values[:, column])
        for column, name in enumerate(comparison.learners)
        if name != SUBJECT
    ]
    theirs = [reference.mlhat_mean(row, key) for row in comparison.rows]
    known = [i for i, value in enumerate(theirs) if value is not None]
    if len(known) >= MIN_STREAMS:
        sign = -1.0 if measure(key).lower else 1.0
        mlhat = np.array([sign * value for value in theirs if value is not None])
        pairs.append((MLHAT, ours[known], mlhat))
    return [_signed_rank(name, mine, other, samples) for name, mine, other in pairs]


def _signed_rank(
    name: str, ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64], samples: int
) -> Bayes:
    from baycomp import SignedRankTest

    left, rope, right = SignedRankTest.probs(ours, theirs, ROPE, nsamples=samples, random_state=1)
    return Bayes(name, float(left), float(rope), float(right), len(ours))


def in_words(names: Sequence[str]) -> str:
    """The names with commas and an "and".

    Examples
    --------
    >>> in_words(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _count(n: int, what: str) -> str:
    return f"{n or 'no'} {what}{'' if n == 1 else 's'}"
