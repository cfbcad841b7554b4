"""ADWIN: numbers in, an alarm out where their mean has changed, in memory that grows with ln n.

In: losses or shares, one at a time or as an array. Out: for each of them whether the mean of the
recent past differs from that of the older past. It is here, beside river's, because a learner
feeds one detector per cluster and per tree node: this one takes a whole micro-batch in one call,
and its state is a handful of arrays. On the same input it raises the same alarms as river's.

A window of recent values is kept as buckets of 1, 2, 4, ... values, each with its sum and its sum
of squared deviations. Every `clock` values each border between buckets is tried as a cut; when the
means of the two sides differ by more than the bound, the oldest bucket is dropped, until no cut
is left. As in river, the first value after an alarm starts a new window.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from river import base

from ihomer.errors import UsageError
from ihomer.instances import BoolArray, FloatArray, OffsetArray
from ihomer.jit import kernel

ROWS = 40  # rows of buckets, enough for 2 ** 40 values

_TICKS, _WIDTH, _USED, _ALARM = 0, 1, 2, 3  # places in `Window.counters`
_TOTAL, _SPREAD = 0, 1  # places in `Window.sums`
_CHANGE, _BOUND, _SINCE = 0, 1, 2  # places in `Window.latest`


class Window(NamedTuple):
    """A window of values as flat arrays.

    Attributes
    ----------
    buckets
        int64 (rows,): how many buckets row r holds, each of ``2 ** r`` values, oldest first.
    totals, spreads
        float64 (rows, max_buckets + 1): each bucket's sum and sum of squared deviations.
    counters
        int64 (4,): values since the window began, values in it, rows in use, 1 after an alarm.
    sums
        float64 (2,): sum and sum of squared deviations of all values in the window.
    latest
        float64 (3,): the latest alarm's change of the mean, its bound, values since the change.
    """

    buckets: OffsetArray
    totals: FloatArray
    spreads: FloatArray
    counters: OffsetArray
    sums: FloatArray
    latest: FloatArray


def new_window(max_buckets: int, rows: int = ROWS) -> Window:
    """An empty window."""
    return Window(
        np.zeros(rows, dtype=np.int64),
        np.zeros((rows, max_buckets + 1)),
        np.zeros((rows, max_buckets + 1)),
        np.array([0, 0, 1, 0], dtype=np.int64),
        np.zeros(2),
        np.zeros(3),
    )


@kernel
def _drop(window: Window, row: int, count: int) -> None:
    """Take the oldest `count` buckets out of a row; the window's own sums stay."""
    totals, spreads = window.totals, window.spreads
    left = window.buckets[row] - count
    for k in range(left):
        totals[row, k] = totals[row, k + count]
        spreads[row, k] = spreads[row, k + count]
    window.buckets[row] = left


@kernel
def _forget_oldest(window: Window) -> None:
    """Take the oldest bucket and its values out of the window."""
    row = window.counters[_USED] - 1
    size = 1 << row
    total = window.totals[row, 0]
    window.counters[_WIDTH] -= size
    window.sums[_TOTAL] -= total
    width = float(window.counters[_WIDTH])
    gap = total / size - window.sums[_TOTAL] / width
    window.sums[_SPREAD] -= window.spreads[row, 0] + size * width * gap * gap / (size + width)
    _drop(window, row, 1)
    if window.buckets[row] == 0:
        window.counters[_USED] -= 1


@kernel
def _insert(window: Window, value: float) -> bool:
    """Append one value and merge the two oldest buckets of every row that overflows.

    True where the last row overflows: the caller takes the oldest bucket out.
    """
    # Names for the arrays: each look into the tuple would count references.
    buckets, totals, spreads = window.buckets, window.totals, window.spreads
    counters, sums = window.counters, window.sums
    limit = totals.shape[1]
    totals[0, buckets[0]] = value
    spreads[0, buckets[0]] = 0.0
    buckets[0] += 1
    counters[_WIDTH] += 1
    width = float(counters[_WIDTH])
    if width > 1.0:
        gap = value - sums[_TOTAL] / (width - 1.0)
        sums[_SPREAD] += (width - 1.0) * gap * gap / width
    sums[_TOTAL] += value
    row = 0
    while buckets[row] == limit:
        if row + 1 == buckets.shape[0]:
            return True
        size = float(1 << row)
        gap = totals[row, 0] / size - totals[row, 1] / size
        at = buckets[row + 1]
        totals[row + 1, at] = totals[row, 0] + totals[row, 1]
        between = size * size * gap * gap / (size + size)
        spreads[row + 1, at] = spreads[row, 0] + spreads[row, 1] + between
        buckets[row + 1] += 1
        _drop(window, row, 2)
        row += 1
        counters[_USED] = max(counters[_USED], row + 1)
    return False


@kernel
def _cut(window: Window, delta: float, min_length: int) -> bool:
    """Whether some border between two buckets separates two different means.

    The first time it does so for an alarm, the border with the clearest difference is noted.
    """
    noted = window.counters[_ALARM] != 0
    found = False
    clearest = 0.0
    width = window.counters[_WIDTH]
    confidence = math.log(2.0 * math.log(width) / delta)
    variance = window.sums[_SPREAD] / width
    buckets, totals = window.buckets, window.totals
    older, newer = 0, width
    older_total, newer_total = 0.0, window.sums[_TOTAL]
    for row in range(window.counters[_USED] - 1, -1, -1):
        size = 1 << row
        for k in range(buckets[row]):
            older += size
            newer -= size
            older_total += totals[row, k]
            newer_total -= totals[row, k]
            if older < min_length or newer < min_length:
                continue
            change = newer_total / newer - older_total / older
            m = 1.0 / (older - min_length + 1) + 1.0 / (newer - min_length + 1)
            bound = math.sqrt(2.0 * m * variance * confidence) + 2.0 / 3.0 * confidence * m
            if abs(change) > bound:
                if noted:
                    return True
                found = True
                if abs(change) > clearest * bound:
                    clearest = abs(change) / bound
                    window.latest[_CHANGE] = change
                    window.latest[_BOUND] = bound
                    window.latest[_SINCE] = newer
    return found


@kernel
def adwin_update(
    window: Window, value: float, delta: float, clock: int, min_length: int, grace: int
) -> bool:
    """Add a finite value to `window`; True where the mean has changed. See `ADWIN`."""
    counters = window.counters
    if counters[_ALARM]:
        window.buckets[:] = 0
        counters[:] = 0
        counters[_USED] = 1
        window.sums[:] = 0.0
    if _insert(window, value):
        _forget_oldest(window)
    counters[_TICKS] += 1
    if counters[_TICKS] % clock == 0 and counters[_WIDTH] > grace:
        while _cut(window, delta, min_length):
            counters[_ALARM] = 1
            _forget_oldest(window)
    return bool(counters[_ALARM])


@kernel
def adwin_update_many(
    window: Window,
    values: FloatArray,
    delta: float,
    clock: int,
    min_length: int,
    grace: int,
    alarms: BoolArray,
) -> int:
    """`adwin_update` for each of `values` in turn; the results go into `alarms`.

    The number of alarms is returned, or -1 - the first place of a number that is not finite:
    nothing has been added then.
    """
    for t in range(values.shape[0]):
        if not math.isfinite(values[t]):
            return -1 - t
    found = 0
    for t in range(values.shape[0]):
        alarms[t] = adwin_update(window, values[t], delta, clock, min_length, grace)
        found += int(alarms[t])
    return found


class Alarm(NamedTuple):
    """What an alarm rests on: the cut whose sides differ most, measured by the bound.

    Attributes
    ----------
    change
        Mean after the cut minus the mean before it.
    bound
        What the size of `change` had to exceed.
    since
        Number of values after the cut: about so long ago was the change.
    """

    change: float
    bound: float
    since: int


class ADWIN(base.DriftDetector):
    """Adaptive windowing, with river's parameters and alarms, for single values and for arrays.

    Parameters
    ----------
    delta
        Significance, in (0, 1): smaller means fewer false alarms and later true ones.
    clock
        Cuts are looked for every so many values.
    max_buckets
        A row of buckets of equal size holds so many before two are merged; 2 or more.
    min_window_length
        Both sides of a cut hold at least so many values.
    grace_period
        No cut while the window holds no more values than this.

    References
    ----------
    Bifet, Gavaldà: Learning from time-changing data with adaptive windowing, SDM 2007.

    Examples
    --------
    >>> import numpy as np
    >>> detector = ADWIN()
    >>> alarms = detector.update_many(np.repeat([0.0, 1.0], 500))
    >>> np.flatnonzero(alarms).tolist(), detector.latest
    ([511], Alarm(change=0.6, bound=0.5367286616603246, since=20))
    """

    def __init__(
        self,
        delta: float = 0.002,
        clock: int = 32,
        max_buckets: int = 5,
        min_window_length: int = 5,
        grace_period: int = 10,
    ) -> None:
        super().__init__()
        if not 0.0 < delta < 1.0:
            raise UsageError(f"delta: found {delta}, accepted: between 0 and 1")
        for name, value, least in (
            ("clock", clock, 1),
            ("max_buckets", max_buckets, 2),
            ("min_window_length", min_window_length, 1),
            ("grace_period", grace_period, 1),
        ):
            if value < least:
                raise UsageError(f"{name}: found {value}, accepted: {least} or more")
        self.delta = delta
        self.clock = clock
        self.max_buckets = max_buckets
        self.min_window_length = min_window_length
        self.grace_period = grace_period
        self._reset()

    def _reset(self) -> None:
        super()._reset()
        self._window = new_window(self.max_buckets)
        self._n_detections = 0

    def reset(self) -> None:
        """Forget every value seen."""
        self._reset()

    @property
    def width(self) -> int:
        """Number of values in the window."""
        return int(self._window.counters[_WIDTH])

    @property
    def total(self) -> float:
        """Sum of the values in the window."""
        return float(self._window.sums[_TOTAL])

    @property
    def estimation(self) -> float:
        """Mean of the values in the window; 0 while there is none."""
        return self.total / self.width if self.width else 0.0

    @property
    def n_detections(self) -> int:
        """Number of alarms so far."""
        return self._n_detections

    @property
    def latest(self) -> Alarm | None:
        """The latest alarm, None while there has been none."""
        if not self._n_detections:
            return None
        change, bound, since = self._window.latest.tolist()
        return Alarm(change, bound, int(since))

    @property
    def memory_bytes(self) -> int:
        """Bytes of the state's arrays; they never grow."""
        return sum(part.nbytes for part in self._window)

    def update(self, x: int | float) -> None:
        """Add one value; `drift_detected` tells the outcome.

        Parameters
        ----------
        x
            A finite number.

        Raises
        ------
        UsageError
            `x` is NaN or infinite.
        """
        if not math.isfinite(x):
            raise UsageError(f"x: found {x}, accepted: a finite number")
        self._drift_detected = adwin_update(
            self._window,
            float(x),
            self.delta,
            self.clock,
            self.min_window_length,
            self.grace_period,
        )
        self._n_detections += self._drift_detected

    def update_many(self, values: FloatArray) -> BoolArray:
        """Add values in order, with the same outcome as adding them one by one.

        Parameters
        ----------
        values
            float64 (n,), finite.

        Returns
        -------
        BoolArray
            bool (n,): whether a change was found with that value.

        Raises
        ------
        UsageError
            A value is NaN or infinite; none has been added then.
        """
        alarms = np.zeros(len(values), dtype=np.bool_)
        found = adwin_update_many(
            self._window,
            values,
            self.delta,
            self.clock,
            self.min_window_length,
            self.grace_period,
            alarms,
        )
        if found < 0:
            at = -1 - found
            raise UsageError(f"values[{at}]: found {values[at]}, accepted: finite numbers")
        self._n_detections += found
        self._drift_detected = bool(len(alarms)) and bool(alarms[-1])
        return alarms
