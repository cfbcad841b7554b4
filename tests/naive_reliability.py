"""The slow, obvious reference of log-losses and calibration errors."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def reliability(
    scores: npt.NDArray[np.float64],
    truth: npt.NDArray[np.bool_],
    last: int | None = None,
    candidates: npt.NDArray[np.bool_] | None = None,
) -> dict[str, float]:
    """The measures of probabilities over all events, or the last few; (n, L), NaN = no score.

    Of sparse predictions `candidates` says which labels were looked at.
    """
    pairs: list[tuple[float, bool, float]] = []
    events = range(len(scores))
    for event in events if last is None else events[-last:]:
        for label in range(scores.shape[1]):
            missed = (
                candidates is not None
                and not candidates[event, label]
                and bool(truth[event, label])
                and bool(truth[:event, label].any())
            )
            if missed or not math.isnan(scores[event, label]):
                prior = (truth[:event, label].sum() + 0.5) / (event + 1)
                p = 0.0 if missed else min(1.0, max(0.0, float(scores[event, label])))
                pairs.append((p, bool(truth[event, label]), float(prior)))
    likely = [pair for pair in pairs if pair[0] >= 0.1]
    return {
        "log_loss": _log_loss([(p, y) for p, y, _ in pairs]),
        "prior_log_loss": _log_loss([(prior, y) for _, y, prior in pairs]),
        "calibration_error": _calibration_error([(p, y) for p, y, _ in pairs]),
        "calibration_error_likely": _calibration_error([(p, y) for p, y, _ in likely]),
        "scored_pairs": len(pairs),
        "likely_pairs": len(likely),
    }


def _log_loss(pairs: list[tuple[float, bool]]) -> float:
    if not pairs:
        return math.nan
    cut = [(min(1 - 1e-6, max(1e-6, p)), y) for p, y in pairs]
    return math.fsum(-math.log(p if y else 1 - p) for p, y in cut) / len(pairs)


def _calibration_error(pairs: list[tuple[float, bool]]) -> float:
    if not pairs:
        return math.nan
    error = 0.0
    for bin_ in range(15):
        inside = [(p, y) for p, y in pairs if min(14, int(p * 15)) == bin_]
        if inside:
            confidence = math.fsum(p for p, _ in inside) / len(inside)
            rate = sum(y for _, y in inside) / len(inside)
            error += len(inside) / len(pairs) * abs(rate - confidence)
    return error
