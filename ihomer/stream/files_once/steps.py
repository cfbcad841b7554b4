"""How many records each batch had, since the oldest checkpoint that may be needed.

In: the number of records of each batch that was learned. Out: the same, in order, from any batch
on. It is here because arrays grow at the ends of batches: a recovery that cuts the stream as the
life before it did ends with the same state, bit for bit. Runs of equal batches are one pair, so
a stream of any length needs a few dozen bytes for each start of the daemon.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Steps:
    """Batches ``first + 1, first + 2, ...``, each with its number of records.

    Parameters
    ----------
    first
        Number of the batch before the first one that is known here.
    runs
        Pairs of how many batches and how many records in each.

    Examples
    --------
    >>> steps = Steps(7)
    >>> for records in (64, 64, 64, 10):
    ...     steps.add(records)
    >>> steps.to_json(), steps.last, list(steps.after(9))
    ({'first': 7, 'runs': [[3, 64], [1, 10]]}, 11, [64, 10])
    """

    def __init__(self, first: int, runs: list[list[int]] | None = None) -> None:
        self.first = first
        self._runs = [] if runs is None else runs

    @property
    def last(self) -> int:
        """Number of the last batch."""
        return self.first + sum(times for times, _ in self._runs)

    def add(self, records: int) -> None:
        """One more batch."""
        if self._runs and self._runs[-1][1] == records:
            self._runs[-1][0] += 1
        else:
            self._runs.append([1, records])

    def forget(self, batch: int) -> None:
        """Let go of all batches up to and including `batch`."""
        while self._runs and self.first < batch:
            gone = min(self._runs[0][0], batch - self.first)
            self._runs[0][0] -= gone
            self.first += gone
            if not self._runs[0][0]:
                del self._runs[0]

    def after(self, batch: int) -> Iterator[int]:
        """Number of records of each batch behind `batch`, which is `first` or a later one.

        Raises
        ------
        ValueError
            Batches behind `batch` are not known any more, or it has not been yet.
        """
        if not self.first <= batch <= self.last:
            raise ValueError(f"batch {batch}, known: {self.first} to {self.last}")
        skip = batch - self.first
        for times, records in self._runs:
            left = max(0, times - skip)
            skip = max(0, skip - times)
            for _ in range(left):
                yield records

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"first": self.first, "runs": [list(run) for run in self._runs]}

    @classmethod
    def from_json(cls, found: Any) -> Steps:
        """The inverse of `to_json`; raises `ValueError` where it is none."""
        try:
            first, runs = found["first"], found["runs"]
            numbers = [first, *(number for run in runs for number in run)]
            fine = all(type(number) is int and number >= 0 for number in numbers)
            if not fine or any(len(run) != 2 or not run[0] for run in runs):
                raise ValueError
            return cls(first, [list(run) for run in runs])
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"steps {found!r}") from None
