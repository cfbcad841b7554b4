"""Detectors side by side that are fed in batches and asked once a stride what has become worse.

In: losses of which more is worse, in columns. Out: for each column, and for all of them together,
yes or no. Asked after the same numbers they give the same answers, however they came in.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ihomer.drift.adwin import ADWIN, ROWS, Alarm, Window, adwin_update
from ihomer.instances import BoolArray, FloatArray, OffsetArray
from ihomer.jit import kernel

_MODEL = ADWIN()  # its defaults are ours
_CHANGE = 0  # place in `Window.latest`


@kernel
def watch_means(
    sums: FloatArray,
    numbers: OffsetArray,
    windows: Window,
    delta: float,
    clock: int,
    min_length: int,
    grace: int,
    alarms: BoolArray,
) -> None:
    """Feed each column's means to its detector, and the means over all columns to the last one.

    Parameters
    ----------
    sums, numbers
        float64, int64 (n, k): a mean is a sum by its number; where the number is 0 there is none.
    windows
        k + 1 windows: the arrays of `Window` with one axis more in front.
    delta, clock, min_length, grace
        As `adwin_update`.
    alarms
        bool (k + 1,): True is written where there was an alarm.
    """
    columns = sums.shape[1]
    for w in range(columns + 1):
        window = Window(
            windows.buckets[w],
            windows.totals[w],
            windows.spreads[w],
            windows.counters[w],
            windows.sums[w],
            windows.latest[w],
        )
        for t in range(sums.shape[0]):
            total, number = 0.0, 0
            for c in range(w if w < columns else 0, w + 1 if w < columns else columns):
                total += sums[t, c]
                number += numbers[t, c]
            if number > 0 and adwin_update(window, total / number, delta, clock, min_length, grace):
                alarms[w] = True


class Watches:
    """ADWIN over several quantities and over their mean, telling a rise from a fall.

    Parameters
    ----------
    columns
        How many quantities.

    Examples
    --------
    >>> watches = Watches(1)
    >>> watches.collect(np.zeros((256, 1)), np.ones((256, 1), dtype=np.int64))
    >>> watches.risen()
    [False, False]
    >>> watches.collect(np.ones((64, 1)), np.ones((64, 1), dtype=np.int64))
    >>> watches.risen()
    [True, True]
    """

    def __init__(self, columns: int) -> None:
        self._windows = _windows(columns + 1)
        self._alarms = np.zeros(columns + 1, dtype=np.bool_)

    def collect(self, sums: FloatArray, numbers: OffsetArray) -> None:
        """Add the means of n events; see `watch_means`."""
        watch_means(
            sums,
            numbers,
            self._windows,
            _MODEL.delta,
            _MODEL.clock,
            _MODEL.min_window_length,
            _MODEL.grace_period,
            self._alarms,
        )

    def risen(self) -> list[bool]:
        """Whether each quantity, and last their mean, has changed for the worse since last asked.

        It is the latest alarm that tells a rise from a fall.
        """
        if not self._alarms.any():
            return [False] * len(self._alarms)
        found: list[bool] = (self._alarms & (self._windows.latest[:, _CHANGE] > 0.0)).tolist()
        self._alarms[:] = False
        return found

    def alarm(self, column: int) -> Alarm:
        """What the latest alarm of a column rests on; the last column is that of all together."""
        change, bound, since = self._windows.latest[column].tolist()
        return Alarm(change, bound, int(since))

    def rearrange(self, sources: Sequence[int]) -> None:
        """Give the columns to other quantities; that of all together stays.

        Parameters
        ----------
        sources
            For each of the new columns its present number, or -1 for a quantity that is new.
        """
        old, old_alarms = self._windows, self._alarms
        places = np.array([*sources, len(old_alarms) - 1])
        kept = np.flatnonzero(places >= 0)
        self._windows = _windows(len(places))
        self._alarms = np.zeros(len(places), dtype=np.bool_)
        self._alarms[kept] = old_alarms[places[kept]]
        for array, source in zip(self._windows, old, strict=True):
            array[kept] = source[places[kept]]


def _windows(count: int) -> Window:
    """So many empty windows; see `new_window`."""
    buckets = _MODEL.max_buckets + 1
    windows = Window(
        np.zeros((count, ROWS), dtype=np.int64),
        np.zeros((count, ROWS, buckets)),
        np.zeros((count, ROWS, buckets)),
        np.zeros((count, 4), dtype=np.int64),
        np.zeros((count, 2)),
        np.zeros((count, 3)),
    )
    windows.counters[:, 2] = 1  # a row in use
    return windows
