"""The slow, obvious references of the measures for streams of many labels."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def many_labels(
    scores: npt.NDArray[np.float64],
    truth: npt.NDArray[np.bool_],
    ks: tuple[int, ...],
    last: int | None = None,
) -> dict[str, float]:
    """Propensity-scored precision and coverage over all events, or the last few; NaN = no score."""
    n, n_labels = scores.shape
    events = [e for e in range(n)[-last if last else 0 :] if truth[e].any()]
    below_all = min([0.0, *scores[np.isfinite(scores)].tolist()]) - 1.0
    full = np.where(np.isnan(scores), below_all, scores).tolist()
    labels = range(n_labels)

    def last_rank(event: int, label: int) -> int:
        return sum(score >= full[event][label] for score in full[event])

    def weight(event: int, label: int) -> float:
        c = max(0.0, math.log(event) - 1.0) * 2.5**0.55 if event else 0.0
        return 1.0 + c * math.pow(truth[:event, label].sum() + 1.5, -0.55)

    def weight_found(event: int, k: int) -> float:
        """The k best, mean over the orders of ties."""
        total = 0.0
        row = full[event]
        for label in labels:
            if truth[event, label]:
                above = sum(score > row[label] for score in row)
                tied = sum(score == row[label] for score in row)
                total += weight(event, label) * min(tied, max(0, k - above)) / tied
        return total

    def best_weight(event: int, k: int) -> float:
        weights = [weight(event, label) for label in labels if truth[event, label]]
        return sum(sorted(weights, reverse=True)[:k])

    ever = {label for event in events for label in labels if truth[event, label]}
    figures = {}
    for k in ks:
        best = math.fsum(best_weight(e, k) for e in events)
        figures[f"psp_at_{k}"] = (
            math.fsum(weight_found(e, k) for e in events) / best if best else math.nan
        )
    depths = [max(last_rank(e, label) for label in labels if truth[e, label]) for e in events]
    figures["coverage_error"] = sum(depths) / len(depths) if depths else math.nan
    for k in ks:
        right = {
            label for e in events for label in ever if truth[e, label] and last_rank(e, label) <= k
        }
        figures[f"coverage_at_{k}"] = len(right) / len(ever) if ever else math.nan
    return figures
