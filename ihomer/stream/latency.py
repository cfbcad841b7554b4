"""Latencies in bounded memory: durations in, quantiles out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_LOWEST = 1e-7  # seconds
_STEPS = 230  # buckets for each factor of ten: 1% wide
_DECADES = 11


class Latencies:
    """A histogram of durations with buckets 1% wide, from 0.1 us to 10,000 s.

    Examples
    --------
    >>> latencies = Latencies()
    >>> for _ in range(99):
    ...     latencies.add(0.001)
    >>> latencies.add(0.1)
    >>> round(latencies.quantile(0.5), 4), round(latencies.quantile(0.999), 2)
    (0.001, 0.1)
    >>> latencies.between([0.01, 1.0])
    (99, 1, 0)

    Attributes
    ----------
    seconds
        Sum of all durations.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._counts = np.zeros(_STEPS * _DECADES, dtype=np.int64)

    def add(self, seconds: float, events: int = 1) -> None:
        """Count a duration for each of `events` events."""
        position = _STEPS * math.log10(max(seconds, _LOWEST) / _LOWEST)
        self._counts[min(len(self._counts) - 1, int(position))] += events
        self.seconds += seconds * events

    def quantile(self, share: float) -> float:
        """Seconds that `share` (0 to 1) of the events did not exceed, to 1%; NaN without events."""
        total = int(self._counts.sum())
        if not total:
            return math.nan
        bucket = int(np.searchsorted(np.cumsum(self._counts), math.ceil(share * total)))
        return float(_LOWEST * 10 ** ((bucket + 0.5) / _STEPS))

    def between(self, bounds: Sequence[float]) -> tuple[int, ...]:
        """How many durations lie up to each of the ascending `bounds`, and beyond, to 1%."""
        logs = np.log10(np.maximum(bounds, _LOWEST) / _LOWEST)
        ends = np.minimum(np.rint(_STEPS * logs).astype(np.int64), len(self._counts))
        below = np.concatenate([[0], np.cumsum(self._counts)])[ends]
        return tuple(np.diff(below, prepend=0, append=self._counts.sum()).tolist())
