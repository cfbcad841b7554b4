"""What streams, learners and measures are called in the report, and in which order they stand.

In: names as the cells have them. Out: titles, orders and directions. It is here so that every
table, plot and test speaks of the same things in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ihomer.learners.baselines import BASELINES

HEADLINE_STREAMS = (
    "flags",
    "foodtruck",
    "cal500",
    "emotions",
    "birds",
    "medical",
    "enron",
    "yeast",
    "bibtex",
    "20ng",
)
# Their files are sorted by label: in file order they measure persistence, not learning.
SORTED_STREAMS = ("scene", "eukaryotego")
_STREAM_ORDER = (*HEADLINE_STREAMS, "delicious", "imdb", *SORTED_STREAMS)

SUBJECT = "ihomer"  # the learner that the others are compared with
PEER = "river-br-lr"  # the peer whose speed is the unit
MLHAT = "MLHAT (re-run)"


class Measure(NamedTuple):
    """How a measure is shown.

    Attributes
    ----------
    key
        As in `ihomer.stream.measures.Measures.result`.
    title, short
        For headings and for columns.
    lower
        Whether lower is better.
    """

    key: str
    title: str
    short: str
    lower: bool = False


_MEASURES = {
    measure.key: measure
    for measure in (
        Measure("subset_accuracy", "Subset accuracy", "subset acc."),
        Measure("hamming_loss", "Hamming loss", "Hamming", lower=True),
        Measure("micro_f1", "Micro-F1", "micro-F1"),
        Measure("macro_f1", "Macro-F1", "macro-F1"),
        Measure("example_f1", "Example-based F1", "example F1"),
        Measure("example_precision", "Example-based precision", "example prec."),
        Measure("example_recall", "Example-based recall", "example rec."),
        Measure("example_jaccard", "Example-based Jaccard index", "Jaccard"),
        Measure("micro_precision", "Micro-averaged precision", "micro prec."),
        Measure("micro_recall", "Micro-averaged recall", "micro rec."),
        Measure("macro_precision", "Macro-averaged precision", "macro prec."),
        Measure("macro_recall", "Macro-averaged recall", "macro rec."),
        Measure("average_precision", "Label ranking average precision", "avg. prec."),
        Measure("one_error", "One-error", "one-error", lower=True),
        Measure("ranking_loss", "Ranking loss", "ranking loss", lower=True),
        Measure("log_loss", "Log-loss", "log-loss", lower=True),
        Measure("prior_log_loss", "Log-loss of the running priors", "priors' log-loss", lower=True),
        Measure("calibration_error", "Expected calibration error", "ECE", lower=True),
        Measure(
            "calibration_error_likely",
            "Expected calibration error from .1",
            "ECE from .1",
            lower=True,
        ),
        Measure("coverage_error", "Coverage error", "coverage err.", lower=True),
    )
}
# What every run is judged by; MLHAT's re-run has exactly these.
MAIN_MEASURES = ("subset_accuracy", "hamming_loss", "micro_f1", "macro_f1", "example_f1")
# What a stream of more than `MANY_LABELS` labels is judged by, too.
MANY_MEASURES = (
    "precision_at_1",
    "precision_at_3",
    "precision_at_5",
    "psp_at_1",
    "psp_at_3",
    "psp_at_5",
    "coverage_error",
    "coverage_at_1",
    "coverage_at_5",
)
MANY_LABELS = 100
_AT_K = {
    "precision_at_": "P@",
    "ndcg_at_": "nDCG@",
    "psp_at_": "PSP@",
    "coverage_at_": "Coverage@",
}
# Counts that `Measures.result` returns beside the measures.
_COUNTS = (
    "events",
    "events_without_labels",
    "labels",
    "cardinality",
    "scored_pairs",
    "likely_pairs",
)


def measure(key: str) -> Measure:
    """How to show the measure `key`, also one that the report has not heard of.

    Examples
    --------
    >>> measure("hamming_loss").lower, measure("ndcg_at_5").title
    (True, 'nDCG@5')
    """
    found = _MEASURES.get(key)
    if found is not None:
        return found
    for prefix, title in _AT_K.items():
        if key.startswith(prefix):
            name = title + key.removeprefix(prefix)
            return Measure(key, name, name)
    return Measure(key, key.replace("_", " ").capitalize(), key)


def measures_in(keys: Iterable[str]) -> list[str]:
    """The measures among `keys`, the main ones first; counts are left out."""
    known = list(_MEASURES)
    wanted = sorted(set(keys) - set(_COUNTS))
    return sorted(wanted, key=lambda key: known.index(key) if key in _MEASURES else len(known))


def better(key: str, one: float, other: float) -> bool:
    """Whether `one` is a strictly better value of the measure `key` than `other`."""
    return one < other if measure(key).lower else one > other


def best(key: str, values: Iterable[float]) -> float | None:
    """The best of `values` of the measure `key`; None if there are none."""
    return (min if measure(key).lower else max)(values, default=None)


def streams_in_order(names: Iterable[str]) -> list[str]:
    """Each of `names` once: the public streams by length, sorted ones last, then the others."""
    return sorted(
        set(names),
        key=lambda name: (
            _STREAM_ORDER.index(name) if name in _STREAM_ORDER else len(_STREAM_ORDER),
            name,
        ),
    )


def learners_in_order(names: Iterable[str]) -> list[str]:
    """Each of `names` once: ours and its variants, peers by name, baselines.

    Examples
    --------
    >>> learners_in_order(["majority", "river-knn", "ihomer-fast", "no-change", "ihomer"])
    ['ihomer', 'ihomer-fast', 'river-knn', 'no-change', 'majority']
    """

    def place(name: str) -> tuple[int, int, str]:
        if name in BASELINES:
            return 2, BASELINES.index(name), name
        return (0 if is_ours(name) else 1), 0, name

    return sorted(set(names), key=place)


def is_ours(learner: str) -> bool:
    """Whether `learner` is ihomer or a variant of it (``ihomer?trees=1``)."""
    return learner == SUBJECT or learner.startswith((f"{SUBJECT}-", f"{SUBJECT}?"))


def is_baseline(learner: str) -> bool:
    """Whether `learner` is one of the baselines that need no features."""
    return learner in BASELINES
