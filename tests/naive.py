"""The slow, obvious references that kernels and incremental code are held against."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt


def measures(
    on: npt.NDArray[np.bool_],
    scores: npt.NDArray[np.float64],
    truth: npt.NDArray[np.bool_],
    ks: tuple[int, ...],
) -> dict[str, float]:
    """Every measure from its definition; on, scores (NaN = none) and truth are (n, L) in full."""
    n, n_labels = on.shape

    def mean(values: list[float]) -> float:
        return math.fsum(values) / len(values) if values else math.nan

    def ratio(part: float, whole: float) -> float:
        return part / whole if whole else 0.0

    def by_event(of: Callable[[set[int], set[int]], float]) -> float:
        pairs = [
            ({j for j in range(n_labels) if truth[i, j]}, {j for j in range(n_labels) if on[i, j]})
            for i in range(n)
        ]
        return mean([of(y, p) if y or p else 1.0 for y, p in pairs])

    both = [int((on[:, j] & truth[:, j]).sum()) for j in range(n_labels)]
    predicted = [int(on[:, j].sum()) for j in range(n_labels)]
    positives = [int(truth[:, j].sum()) for j in range(n_labels)]
    labels = range(n_labels)
    figures = {
        "subset_accuracy": mean([float((on[i] == truth[i]).all()) for i in range(n)]),
        "hamming_loss": mean([float(on[i, j] != truth[i, j]) for i in range(n) for j in labels]),
        "micro_f1": ratio(2 * sum(both), sum(predicted) + sum(positives)),
        "macro_f1": mean([ratio(2 * both[j], predicted[j] + positives[j]) for j in labels]),
        "micro_precision": ratio(sum(both), sum(predicted)),
        "micro_recall": ratio(sum(both), sum(positives)),
        "macro_precision": mean([ratio(both[j], predicted[j]) for j in labels]),
        "macro_recall": mean([ratio(both[j], positives[j]) for j in labels]),
        "example_f1": by_event(lambda y, p: 2 * len(y & p) / (len(y) + len(p))),
        "example_precision": by_event(lambda y, p: ratio(len(y & p), len(p))),
        "example_recall": by_event(lambda y, p: ratio(len(y & p), len(y))),
        "example_jaccard": by_event(lambda y, p: len(y & p) / len(y | p)),
    }
    below_all = min([0.0, *scores[np.isfinite(scores)].tolist()]) - 1.0
    ranked = [
        (np.where(np.isnan(scores[i]), below_all, scores[i]).tolist(), truth[i].tolist())
        for i in range(n)
        if truth[i].any()
    ]
    expected = [_expected_truth_by_position(s, y) for s, y in ranked]
    for k in ks:
        figures[f"precision_at_{k}"] = mean([sum(e[:k]) / k for e in expected])
    for k in ks:
        figures[f"ndcg_at_{k}"] = mean(
            [
                _dcg(e[:k]) / _dcg(sorted(map(float, y), reverse=True)[:k])
                for e, (_, y) in zip(expected, ranked, strict=True)
            ]
        )
    figures["one_error"] = mean([1.0 - e[0] for e in expected])
    figures["ranking_loss"] = mean([_ranking_loss(s, y) for s, y in ranked])
    figures["average_precision"] = mean([_average_precision(s, y) for s, y in ranked])
    figures["events"] = n
    figures["events_without_labels"] = n - len(ranked)
    figures["labels"] = n_labels
    figures["cardinality"] = mean([float(truth[i].sum()) for i in range(n)])
    return figures


def _expected_truth_by_position(scores: list[float], truth: list[bool]) -> list[float]:
    """Chance that the label at each position is true when ties are put in order by lot."""
    expected = []
    for score in sorted(scores, reverse=True):
        tied = [truth[j] for j in range(len(scores)) if scores[j] == score]
        expected.append(sum(tied) / len(tied))
    return expected


def _dcg(gains: list[float]) -> float:
    return sum(gain / math.log2(position + 2) for position, gain in enumerate(gains))


def _ranking_loss(scores: list[float], truth: list[bool]) -> float:
    pairs = [
        scores[j] <= scores[i]
        for i in range(len(truth))
        for j in range(len(truth))
        if truth[j] and not truth[i]
    ]
    return sum(pairs) / len(pairs) if pairs else 0.0


def _average_precision(scores: list[float], truth: list[bool]) -> float:
    precisions = []
    for j in range(len(truth)):
        if truth[j]:
            at_or_above = [truth[i] for i in range(len(truth)) if scores[i] >= scores[j]]
            precisions.append(sum(at_or_above) / len(at_or_above))
    return sum(precisions) / len(precisions)


def prediction(
    on: list[bool], scores: list[float], names: list[str], top_k: int
) -> tuple[list[str], list[list[str | float]]]:
    """Labels and scored pairs of one prediction, from their definition."""
    labels = sorted(name for name, state in zip(names, on, strict=True) if state)
    scored = [(name, s) for name, s in zip(names, scores, strict=True) if math.isfinite(s)]
    scored.sort(key=lambda pair: (-pair[1], pair[0]))
    return labels, [[name, score] for name, score in scored[:top_k]]


def cooccurrence(
    rows: list[list[int]], horizon: float
) -> tuple[dict[int, float], dict[tuple[int, int], float], float]:
    """Faded counts of labels, of pairs i < j and of events: all shrink before each new event."""
    fade = math.exp(-1.0 / horizon)
    labels: dict[int, float] = {}
    pairs: dict[tuple[int, int], float] = {}
    events = 0.0
    for row in rows:
        labels = {label: count * fade for label, count in labels.items()}
        pairs = {pair: count * fade for pair, count in pairs.items()}
        events = events * fade + 1.0
        for a, first in enumerate(row):
            labels[first] = labels.get(first, 0.0) + 1.0
            for second in row[a + 1 :]:
                pairs[first, second] = pairs.get((first, second), 0.0) + 1.0
    return labels, pairs, events
