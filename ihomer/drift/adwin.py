"""ADWIN, compiled: numbers in, alarms out.

It is here, beside river's, because its state is arrays, which can be copied and saved, and because
it takes many numbers in one call. It gives the same alarms as `river.drift.ADWIN`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from river import base

from ihomer.errors import UsageError
from ihomer.instances import BoolArray, FloatArray, OffsetArray
from ihomer.jit import kernel

# Row r holds buckets of 2**r values: enough rows for 2**48 values.
_ROWS = 48


class AdwinState(NamedTuple):
    """The window as an exponential histogram.

    Attributes
    ----------
    totals, variances
        float64 (rows, max_buckets + 1): sum, and sum of squared deviations, of each bucket; the
        oldest bucket of a row comes first.
    used
        int64 (rows,): buckets in each row.
    sums
        float64 (2,): of all values in the window, and of their squared deviations.
    counts
        int64 (3,): values in the window, values since the last alarm, whether the last value
        raised one.
    """

    totals: FloatArray
    variances: FloatArray
    used: OffsetArray
    sums: FloatArray
    counts: OffsetArray


@kernel
def _insert(state: AdwinState, value: float) -> None:
    most = state.totals.shape[1] - 1
    width = state.counts[0] + 1
    state.counts[0] = width
    if width > 1:
        distance = value - state.sums[0] / (width - 1)
        state.sums[1] += (width - 1) * distance * distance / width
    state.sums[0] += value
    total, variance = value, 0.0
    for row in range(state.used.shape[0]):
        state.totals[row, state.used[row]] = total
        state.variances[row, state.used[row]] = variance
        state.used[row] += 1
        if state.used[row] <= most:
            return
        # The row overflows: its two oldest buckets become one of the next row.
        size = 2.0**row
        distance = (state.totals[row, 0] - state.totals[row, 1]) / size
        total = state.totals[row, 0] + state.totals[row, 1]
        variance = state.variances[row, 0] + state.variances[row, 1]
        variance += 0.5 * size * distance * distance
        _shift(state, row, 2)


@kernel
def _shift(state: AdwinState, row: int, by: int) -> None:
    """Drop the `by` oldest buckets of a row."""
    left = state.used[row] - by
    for k in range(left):
        state.totals[row, k] = state.totals[row, k + by]
        state.variances[row, k] = state.variances[row, k + by]
    state.used[row] = left


@kernel
def _last_row(state: AdwinState) -> int:
    row: int = state.used.shape[0] - 1
    while row > 0 and state.used[row] == 0:
        row -= 1
    return row


@kernel
def _drop_oldest(state: AdwinState) -> None:
    row = _last_row(state)
    size = 2.0**row
    total = state.totals[row, 0]
    state.counts[0] -= int(size)
    state.sums[0] -= total
    width = state.counts[0]
    distance = total / size - state.sums[0] / width
    between = size * width * distance * distance / (size + width)
    state.sums[1] -= state.variances[row, 0] + between
    _shift(state, row, 1)


@kernel
def _cut_exists(state: AdwinState, delta: float, least: int) -> bool:
    """Whether the window's older and younger part differ in mean, at any boundary of buckets."""
    width = state.counts[0]
    older, younger = 0.0, float(width)
    older_total, younger_total = 0.0, state.sums[0]
    confidence = math.log(2.0 * math.log(width) / delta)
    variance = state.sums[1] / width
    for row in range(_last_row(state), -1, -1):
        for k in range(state.used[row]):
            if row == 0 and k == state.used[row] - 1:
                return False
            older += 2.0**row
            younger -= 2.0**row
            older_total += state.totals[row, k]
            younger_total -= state.totals[row, k]
            if older >= least and younger >= least:
                inverse = 1.0 / (older - least + 1.0) + 1.0 / (younger - least + 1.0)
                bound = math.sqrt(2.0 * inverse * variance * confidence)
                bound += 2.0 / 3.0 * confidence * inverse
                if abs(older_total / older - younger_total / younger) > bound:
                    return True
    return False


@kernel
def adwin_update(
    state: AdwinState,
    values: FloatArray,
    delta: float,
    clock: int,
    least: int,
    grace: int,
    alarms: BoolArray,
) -> None:
    """Add `values` one after the other and write an alarm flag for each.

    Parameters
    ----------
    state
        Changed in place.
    values
        float64 (n,).
    delta, clock, least, grace
        See `ADWIN`.
    alarms
        bool (n,), written.
    """
    for i in range(values.shape[0]):
        if state.counts[2]:  # as river does: after an alarm a new window begins
            state.used[:] = 0
            state.sums[:] = 0.0
            state.counts[:] = 0
        _insert(state, values[i])
        state.counts[1] += 1
        alarms[i] = False
        if state.counts[1] % clock == 0 and state.counts[0] > grace:
            while _cut_exists(state, delta, least):
                alarms[i] = True
                state.counts[2] = 1
                _drop_oldest(state)


class ADWIN(base.DriftDetector):
    """Adaptive windowing: a window that drops its older part when the mean has changed.

    As in river, the value after an alarm begins a new window.

    Parameters
    ----------
    delta
        Confidence: bound of the false alarms' rate, in (0, 1).
    clock
        Values between two looks for a change.
    max_buckets
        Buckets of each size.
    min_window_length
        Least number of values on either side of a change.
    grace_period
        No change is looked for in a window of at most so many values.

    Raises
    ------
    UsageError
        A parameter is out of its range.

    References
    ----------
    Bifet, Gavaldà: Learning from time-changing data with adaptive windowing, SDM 2007; the bound
    is that of its variance form.

    Examples
    --------
    >>> import numpy as np
    >>> detector = ADWIN()
    >>> alarms = detector.update_many(np.repeat([0.0, 1.0], 500))
    >>> int(np.flatnonzero(alarms)[0])
    511
    >>> detector.estimation > 0.9
    True
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
        if min(clock, max_buckets, min_window_length) < 1 or grace_period < 0:
            raise UsageError(
                f"ADWIN: found clock={clock}, max_buckets={max_buckets}, min_window_length="
                f"{min_window_length}, grace_period={grace_period}; accepted: 1 or more (grace: 0)"
            )
        self.delta = delta
        self.clock = clock
        self.max_buckets = max_buckets
        self.min_window_length = min_window_length
        self.grace_period = grace_period
        self._reset()

    def _reset(self) -> None:
        super()._reset()
        shape = (_ROWS, self.max_buckets + 1)
        self._state = AdwinState(
            np.zeros(shape),
            np.zeros(shape),
            np.zeros(_ROWS, dtype=np.int64),
            np.zeros(2),
            np.zeros(3, dtype=np.int64),
        )

    @property
    def width(self) -> int:
        """Number of values in the window."""
        return int(self._state.counts[0])

    @property
    def estimation(self) -> float:
        """Mean of the values in the window; 0 without any."""
        return float(self._state.sums[0]) / self.width if self.width else 0.0

    def update(self, x: float) -> None:
        """Add one value; `drift_detected` then tells whether it raised an alarm."""
        self.update_many(np.array([x], dtype=np.float64))

    def update_many(self, values: FloatArray) -> BoolArray:
        """Add values one after the other.

        Parameters
        ----------
        values
            float64 (n,), finite.

        Returns
        -------
        BoolArray
            bool (n,): which of them raised an alarm. `drift_detected` is that of the last one.

        Raises
        ------
        UsageError
            A value is not finite. Nothing is added then.
        """
        values = np.ascontiguousarray(values, dtype=np.float64)
        if not np.isfinite(values).all():
            raise UsageError("ADWIN: found a value that is not finite, accepted: finite numbers")
        alarms = np.zeros(len(values), dtype=np.bool_)
        adwin_update(
            self._state,
            values,
            self.delta,
            self.clock,
            self.min_window_length,
            self.grace_period,
            alarms,
        )
        self._drift_detected = bool(alarms[-1]) if len(alarms) else False
        return alarms
