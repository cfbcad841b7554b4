"""Detectors side by side that are fed in batches and asked once a stride what has become worse.

In: losses of which more is worse, in columns. Out: for each column, and for all of them together,
yes or no, and where and by how much. Asked after the same numbers they give the same answers,
however they came in.

Losses are sums, not means, over the labels: ADWIN's bound has a term for values between 0 and 1,
which a mean over many labels, far from either, would have to pay in full. A sum in nats may exceed
1, so the significance is stricter in turn. All columns together may be wrong about as often as
the detector of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ihomer.drift.adwin import ADWIN, ROWS, Alarm, Window, adwin_update
from ihomer.instances import FloatArray, OffsetArray
from ihomer.jit import kernel

DELTA = 1e-4  # significance, shared among the columns, and once more for all together
CLOCK = 8  # cuts of the whole are looked for every so many values
_MODEL = ADWIN(DELTA)  # its other defaults are ours; columns, which may be many, look as often
_CLOCKS = np.array([_MODEL.clock, CLOCK])
_CHANGE = 0  # place in `Window.latest`


@kernel
def watch_sums(
    sums: FloatArray,
    numbers: OffsetArray,
    learned: OffsetArray,
    windows: Window,
    delta: float,
    clocks: OffsetArray,
    min_length: int,
    grace: int,
    since: OffsetArray,
    risen: FloatArray,
) -> None:
    """Feed each column to its detector, and the sum of all columns to the last one.

    Parameters
    ----------
    sums, numbers
        float64, int64 (n, k): where the number is 0 there is no value.
    learned
        int64 (n,): number of events learned with each row.
    windows
        k + 1 windows: the arrays of `Window` with one axis more in front.
    delta
        Significance of the last detector; that of the others is 1 / k of it.
    clocks
        int64 (2,): those of a column and of the last detector; see `adwin_update`.
    min_length, grace
        As `adwin_update`.
    since
        int64 (k + 1,): the number of events is written where there is a rise and 0 stands.
    risen
        float64 (k + 1, 3): with it the alarm's `Window.latest` is.
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
        last = w == columns
        for t in range(sums.shape[0]):
            total, number = 0.0, 0
            for c in range(0 if last else w, columns if last else w + 1):
                total += sums[t, c]
                number += numbers[t, c]
            if number == 0:
                continue
            level = delta if last else delta / columns
            alarm = adwin_update(window, total, level, clocks[int(last)], min_length, grace)
            if alarm and window.latest[_CHANGE] > 0.0 and since[w] == 0:
                since[w] = learned[t]
                risen[w] = window.latest


class Watches:
    """ADWIN over several quantities and over their sum, telling a rise from a fall.

    Parameters
    ----------
    columns
        How many quantities.

    Examples
    --------
    >>> watches, one = Watches(1), np.ones((256, 1), dtype=np.int64)
    >>> watches.collect(np.zeros((256, 1)), one, np.arange(1, 257))
    >>> watches.risen()
    [False, False]
    >>> watches.collect(np.ones((64, 1)), one[:64], np.arange(257, 321))
    >>> watches.risen(), watches.told(-1)
    ([True, True], 280)
    """

    def __init__(self, columns: int) -> None:
        self._windows = _windows(columns + 1)
        self._since = np.zeros(columns + 1, dtype=np.int64)
        self._risen = np.zeros((columns + 1, 3))
        self._answered = self._since

    def collect(self, sums: FloatArray, numbers: OffsetArray, learned: OffsetArray) -> None:
        """Add the sums of n events; see `watch_sums`."""
        watch_sums(
            sums,
            numbers,
            learned,
            self._windows,
            DELTA,
            _CLOCKS,
            _MODEL.min_window_length,
            _MODEL.grace_period,
            self._since,
            self._risen,
        )

    def risen(self) -> list[bool]:
        """Whether each quantity, and last their sum, has changed for the worse since last asked."""
        self._answered = self._since
        self._since = np.zeros_like(self._since)
        found: list[bool] = (self._answered > 0).tolist()
        return found

    def told(self, column: int) -> int:
        """Number of events learned when a column's rise was found, of those last asked for."""
        return int(self._answered[column])

    def alarm(self, column: int) -> Alarm:
        """What the latest rise of a column rests on; the last column is that of all together."""
        change, bound, since = self._risen[column].tolist()
        return Alarm(change, bound, int(since))

    @property
    def memory_bytes(self) -> int:
        """Bytes of all windows, 4.2 kB for each."""
        return sum(part.nbytes for part in (*self._windows, self._since, self._risen))

    def rearrange(self, sources: Sequence[int]) -> None:
        """Give the columns to other quantities; that of all together stays.

        Parameters
        ----------
        sources
            For each of the new columns its present number, or -1 for a quantity that is new.
        """
        old, old_since, old_risen = self._windows, self._since, self._risen
        places = np.array([*sources, len(old_since) - 1])
        kept = np.flatnonzero(places >= 0)
        self._windows = _windows(len(places))
        self._since = np.zeros(len(places), dtype=np.int64)
        self._risen = np.zeros((len(places), 3))
        self._since[kept] = old_since[places[kept]]
        self._risen[kept] = old_risen[places[kept]]
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
