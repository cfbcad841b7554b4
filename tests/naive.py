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
    """Faded counts of labels, of pairs i < j and of events; events without labels do not count."""
    fade = math.exp(-1.0 / horizon)
    labels: dict[int, float] = {}
    pairs: dict[tuple[int, int], float] = {}
    events = 0.0
    for row in filter(None, rows):
        labels = {label: count * fade for label, count in labels.items()}
        pairs = {pair: count * fade for pair, count in pairs.items()}
        events = events * fade + 1.0
        for a, first in enumerate(row):
            labels[first] = labels.get(first, 0.0) + 1.0
            for second in row[a + 1 :]:
                pairs[first, second] = pairs.get((first, second), 0.0) + 1.0
    return labels, pairs, events


def scale_rows(
    rows: list[dict[int, float]],
    labelled: list[bool],
    columns: int,
    stride: int = 128,
    refresh: int = 16,
) -> list[dict[int, float]]:
    """Scaled rows from the whole history; rows hold non-zero values by column, NaN = missing.

    Columns from `columns` on are not remembered. After the first stride, mean and deviation of
    dense columns are those of the last multiple of `refresh` events.
    """
    history: list[dict[int, float]] = []
    dense: set[int] = set()
    scaled_rows = []
    for row, learned in zip(rows, labelled, strict=True):
        scaled: dict[int, float] = {}
        for j in sorted(set(row) | dense):
            value = row.get(j, 0.0)
            if math.isnan(value):
                continue
            value = min(1e100, max(-1e100, value))
            settled = j in dense and len(history) >= stride
            known = history[: len(history) // refresh * refresh] if settled else history
            past = [old[j] for old in known if j in old] if j < columns else []
            missing = sum(map(math.isnan, past))
            nonzero = [min(1e100, max(-1e100, v)) for v in past if not math.isnan(v)]
            nonzero += [value] if j in row and not settled else []
            mean = math.fsum(nonzero) / len(nonzero)
            variance = math.fsum((v - mean) ** 2 for v in nonzero) / len(nonzero)
            if j in dense:
                events = len(known) + (0 if settled else 1)
                share = min(1.0, len(nonzero) / max(1, events - missing))
                deviation = math.sqrt(share * variance + share * (1 - share) * mean**2)
                if deviation <= 1e-9 * abs(mean):
                    continue
                scaled[j] = (value - share * mean) / deviation
            else:
                scaled[j] = value / math.sqrt(math.fsum(v**2 for v in nonzero) / len(nonzero))
            scaled[j] = min(4.0, max(-4.0, scaled[j]))
        length = math.sqrt(math.fsum(v**2 for v in scaled.values()))
        scaled_rows.append({j: v / length for j, v in scaled.items()} if length else {})
        if not learned:
            continue
        history.append({j: v for j, v in row.items() if j < columns})
        if len(history) < stride or len(history) % stride == 0:
            dense = set()
            for j in range(columns):
                there = [old[j] for old in history if j in old]
                missing = sum(map(math.isnan, there))
                nonzeros = len(there) - missing
                if nonzeros and 2 * nonzeros >= len(history) - missing:
                    dense.add(j)
    return scaled_rows


def average_linkage(
    distance: npt.NDArray[np.float64],
) -> list[tuple[frozenset[int], frozenset[int], float]]:
    """Merges of the two nearest groups by mean distance of their pairs, nearest first."""
    groups = [frozenset([i]) for i in range(len(distance))]
    merges = []

    def apart(a: frozenset[int], b: frozenset[int]) -> float:
        return float(np.mean([distance[i, j] for i in a for j in b]))

    while len(groups) > 1:
        pairs = [(a, b) for k, a in enumerate(groups) for b in groups[k + 1 :]]
        a, b = min(pairs, key=lambda pair: apart(*pair))
        merges.append((a, b, apart(a, b)))
        groups = [group for group in groups if group not in (a, b)] + [a | b]
    return merges


def drift_weight(how: str, t: int, start: int, width: int, period: int) -> float:
    """Weight of the new state at event t, each kind from its definition."""
    if t < start:
        return 0.0
    if how == "blip":
        return 1.0 if t < start + width else 0.0
    if how == "recurring":
        return 1.0 if ((t - start) // period) % 2 == 0 else 0.0
    if how == "sudden" or t >= start + width:
        return 1.0
    return (t - start + 0.5) / width


def fold_rows(rows: list[dict[int, float]], columns: int) -> list[dict[int, float]]:
    """Rows, by column, with the columns modulo `columns`."""
    found = []
    for row in rows:
        folded: dict[int, float] = {}
        for j in sorted(row):
            folded[j % columns] = folded.get(j % columns, 0.0) + row[j]
        found.append(folded)
    return found
