"""Watches how often each label is on, and how many are at a time: label sets in, an alarm out.

Every label's share of the recent events is held against its share of the events before them, at
several lengths of "recent" at once, and so is the mean size of the label sets. It is here because
a learner that copes with labels that come, go, or change places in frequency hides it from
detectors that look at its losses.

The two shares are compared by their log-likelihood ratio: for K of N events with the label on, k
of them among the latest w, ``G = N H(K/N) - w H(k/w) - (N - w) H((K - k)/(N - w))`` with the
entropy H in nats. Where the order of events means nothing, k is hypergeometric whatever the
label's frequency and whatever else is on with it, and G exceeds x with a probability of about
``exp(-x)`` (Hoeffding, Probability inequalities for sums of bounded random variables, Journal of
the American Statistical Association 58, 1963, section 6; up to a factor that grows as a root of
the counts). So a bound of ``margin + ln(labels)`` holds for all labels together (Bonferroni). The
mean of ``ln(1 + labels on)`` is compared by the exponent of Bernstein's inequality.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ihomer.instances import BoolArray, FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel

SCALES = 5  # lengths of "recent": each is four times the one before
RATIO = 4
UNIT = 32  # events between two tests, and the shortest length, for up to so many labels:
LABELS = 1024  # for twice as many, both double
LONGEST = 1 << 30  # events that are counted before the older ones are forgotten: counts are int32

_NEWER, _OLDER = 1, 2  # rows of the first scale; row 0 is now
_OLDEST = _OLDER + 2 * (SCALES - 1)
_SEEN = 0  # place in `Counts.numbers`
_STATISTIC, _BOUND, _SINCE = 0, 1, 2  # places in `Counts.latest`
_SUM, _SQUARES, _LARGEST = 0, 1, 2  # places in `Counts.sizes`


class Counts(NamedTuple):
    """What has been counted since the last alarm's change, now and at some earlier events.

    Row 0 is now; rows ``1 + 2 s`` and ``2 + 2 s`` are as it was at the last two events whose
    number is divisible by the length of scale s.

    Attributes
    ----------
    on
        int32 (1 + 2 * `SCALES`, labels): events with each label on.
    sizes
        float64 (1 + 2 * `SCALES`, 3): sums of ``ln(1 + labels on)`` and of its square; the
        largest.
    times
        int64 (1 + 2 * `SCALES`,): number of events; -1 = there is no such row yet.
    numbers
        int64 (1,): labels seen on.
    latest
        float64 (3,): statistic of the latest alarm, its bound, events since the change.
    changed
        bool (labels,): labels whose share had changed.
    """

    on: IntArray
    sizes: FloatArray
    times: OffsetArray
    numbers: OffsetArray
    latest: FloatArray
    changed: BoolArray


@kernel
def _entropy(k: float, n: float) -> float:
    """Entropy, in nats, of a share of k in n, times n."""
    if k <= 0.0 or k >= n:
        return 0.0
    return n * math.log(n) - k * math.log(k) - (n - k) * math.log(n - k)


@kernel
def share_statistic(k: float, w: float, total: float, n: float) -> float:
    """Log-likelihood ratio of two shares, k of w and the rest of `total` of n, against one."""
    return _entropy(total, n) - _entropy(k, w) - _entropy(total - k, n - w)


@kernel
def size_statistic(
    recent: float, w: float, total: float, squares: float, n: float, largest: float
) -> float:
    """Bernstein's exponent for the difference of two means, `recent` / w and that of the rest.

    The variance is that of all n, the values lie between 0 and `largest`.
    """
    gap = abs(recent / w - (total - recent) / (n - w))
    mean = total / n
    spread = 2.0 * (max(0.0, squares / n - mean * mean) + largest * gap / 3.0)
    return 0.0 if spread <= 0.0 else w * (n - w) / n * gap * gap / spread


@kernel
def _unit(seen: int) -> int:
    """Events between two tests for so many labels."""
    unit = UNIT
    while seen > LABELS:
        seen //= 2
        unit *= 2
    return unit


@kernel
def _test(counts: Counts, margin: float) -> int:
    """The row since which something has changed most clearly; -1: nothing has."""
    on, times, sizes = counts.on, counts.times, counts.sizes
    n = float(times[0])
    bound = margin + math.log(1.0 + counts.numbers[_SEEN])
    best, found = bound, -1
    for row in range(1, times.shape[0]):
        if times[row] <= 0:
            continue
        w = n - times[row]
        statistic = size_statistic(
            sizes[0, _SUM] - sizes[row, _SUM],
            w,
            sizes[0, _SUM],
            sizes[0, _SQUARES],
            n,
            sizes[0, _LARGEST],
        )
        if statistic > best:
            best, found = statistic, row
        limit = bound * w * (n - w) / n
        for label in range(on.shape[1]):
            total = float(on[0, label])
            gap = (total - on[row, label]) * n - w * total
            # The statistic is at most chi-squared: this rules out nearly all labels.
            if gap * gap > limit * total * (n - total):
                statistic = share_statistic(total - on[row, label], w, total, n)
                if statistic > best:
                    best, found = statistic, row
    if found >= 0:
        counts.latest[_STATISTIC] = best
        counts.latest[_BOUND] = bound
        counts.latest[_SINCE] = n - times[found]
        w = n - times[found]
        for label in range(on.shape[1]):
            total = float(on[0, label])
            recent = total - on[found, label]
            counts.changed[label] = share_statistic(recent, w, total, n) > bound
    return found


@kernel
def _forget(counts: Counts, row: int) -> None:
    """Begin anew with what was counted since `row`."""
    on, times, sizes = counts.on, counts.times, counts.sizes
    seen = 0
    for label in range(on.shape[1]):
        on[0, label] -= on[row, label]
        seen += int(on[0, label] > 0)
    counts.numbers[_SEEN] = seen
    sizes[0, _SUM] -= sizes[row, _SUM]
    sizes[0, _SQUARES] -= sizes[row, _SQUARES]
    times[0] -= times[row]
    times[1:] = -1


@kernel
def _mark(counts: Counts, unit: int) -> None:
    """Keep what is counted now where a scale is due."""
    length = unit
    for scale in range(SCALES):
        if counts.times[0] % length:
            return
        newer, older = _NEWER + 2 * scale, _OLDER + 2 * scale
        counts.times[older] = counts.times[newer]
        counts.times[newer] = counts.times[0]
        counts.sizes[older] = counts.sizes[newer]
        counts.sizes[newer] = counts.sizes[0]
        counts.on[older] = counts.on[newer]
        counts.on[newer] = counts.on[0]
        length *= RATIO


@kernel
def watch_priors(
    counts: Counts,
    y_indptr: OffsetArray,
    y_indices: IntArray,
    labelled: BoolArray,
    margin: float,
    longest: int,
    alarms: BoolArray,
) -> int:
    """Count the labelled events in order and test what is counted.

    Parameters
    ----------
    counts
        With room for all labels that are on.
    y_indptr, y_indices, labelled
        As in `Batch`.
    margin, longest
        See `PriorsMonitor`.
    alarms
        bool (n,), written: whether a change was found with that event.

    Returns
    -------
    int
        Number of alarms.
    """
    on, times, sizes = counts.on, counts.times, counts.sizes
    found = 0
    for t in range(labelled.shape[0]):
        alarms[t] = False
        if not labelled[t]:
            continue
        for k in range(y_indptr[t], y_indptr[t + 1]):
            label = y_indices[k]
            counts.numbers[_SEEN] += int(on[0, label] == 0)
            on[0, label] += 1
        size = math.log(1.0 + (y_indptr[t + 1] - y_indptr[t]))
        sizes[0, _SUM] += size
        sizes[0, _SQUARES] += size * size
        sizes[0, _LARGEST] = max(sizes[0, _LARGEST], size)
        times[0] += 1
        unit = _unit(counts.numbers[_SEEN])
        if times[0] % unit:
            continue
        row = _test(counts, margin)
        if row >= 0:
            alarms[t] = True
            found += 1
            _forget(counts, row)
        elif times[0] >= longest and times[_OLDEST] > 0:
            _forget(counts, _OLDEST)
        _mark(counts, unit)
    return found


class PriorsAlarm(NamedTuple):
    """What an alarm rests on.

    Attributes
    ----------
    change
        The largest statistic, in nats: how clear the change is.
    bound
        What it had to exceed.
    since
        About so many labelled events ago was the change.
    labels
        Ids of the labels whose own share had changed, ascending; none where it was only the size
        of the label sets.
    """

    change: float
    bound: float
    since: int
    labels: tuple[int, ...]


class PriorsMonitor:
    """Recent shares of all labels, and sizes of label sets, against those before.

    An event costs O(labels on) and, amortised, at most a constant for the tests: with more labels
    they become rarer. Memory is 44 bytes for a label. After an alarm the events since the change
    are what later ones are compared with.

    Parameters
    ----------
    margin
        Nats that a statistic has to exceed beside the logarithm of the number of labels.
    longest
        After so many events without an alarm all but some last thousands are forgotten.

    Examples
    --------
    >>> monitor = PriorsMonitor()
    >>> sets = np.array([0, 1] * 500 + [0, 2] * 100, dtype=np.int32)
    >>> monitor.update(np.arange(1201), sets, np.ones(1200, dtype=np.bool_))
    True
    >>> monitor.latest.since, monitor.latest.labels
    (32, (2,))
    """

    def __init__(self, margin: float = 10.0, longest: int = LONGEST) -> None:
        self.margin = margin
        self.longest = longest
        rows = 1 + 2 * SCALES
        self._counts = Counts(
            np.zeros((rows, 0), dtype=np.int32),
            np.zeros((rows, 3)),
            np.array([0] + [-1] * (rows - 1)),
            np.zeros(1, dtype=np.int64),
            np.zeros(3),
            np.zeros(0, dtype=np.bool_),
        )
        self._n_alarms = 0

    @property
    def latest(self) -> PriorsAlarm | None:
        """The latest alarm, None while there has been none."""
        if not self._n_alarms:
            return None
        change, bound, since = self._counts.latest.tolist()
        labels = tuple(np.flatnonzero(self._counts.changed).tolist())
        return PriorsAlarm(change, bound, int(since), labels)

    @property
    def width(self) -> int:
        """Number of events that are counted: those since the last change."""
        return int(self._counts.times[0])

    @property
    def n_alarms(self) -> int:
        """Number of alarms so far."""
        return self._n_alarms

    @property
    def memory_bytes(self) -> int:
        """Bytes of the counts."""
        return sum(part.nbytes for part in self._counts)

    def update_many(
        self, y_indptr: OffsetArray, y_indices: IntArray, labelled: BoolArray
    ) -> BoolArray:
        """Look at the label sets of n events in order; the cut into batches plays no role.

        Parameters
        ----------
        y_indptr, y_indices
            int64 (n + 1,), int32 (positives,): labels that are on.
        labelled
            bool (n,): the others are passed over.

        Returns
        -------
        BoolArray
            bool (n,): whether a change was found with that event.
        """
        self._make_room(int(y_indices.max(initial=-1)) + 1)
        alarms = np.empty(len(labelled), dtype=np.bool_)
        self._n_alarms += watch_priors(
            self._counts, y_indptr, y_indices, labelled, self.margin, self.longest, alarms
        )
        return alarms

    def update(self, y_indptr: OffsetArray, y_indices: IntArray, labelled: BoolArray) -> bool:
        """As `update_many`; whether one of the events brought an alarm."""
        return bool(self.update_many(y_indptr, y_indices, labelled).any())

    def forget_labels(self, labels: IntArray) -> None:
        """Let ids stand for labels that were never on; the sizes of label sets stay as they are."""
        counts = self._counts
        known = labels[labels < counts.on.shape[1]]
        counts.numbers[_SEEN] -= np.count_nonzero(counts.on[0, known])
        counts.on[:, known] = 0
        counts.changed[known] = False

    def _make_room(self, labels: int) -> None:
        old = self._counts.on
        if labels <= old.shape[1]:
            return
        width = max(64, labels, 2 * old.shape[1])
        on = np.zeros((len(old), width), dtype=np.int32)
        on[:, : old.shape[1]] = old
        changed = np.zeros(width, dtype=np.bool_)
        changed[: old.shape[1]] = self._counts.changed
        self._counts = self._counts._replace(on=on, changed=changed)
