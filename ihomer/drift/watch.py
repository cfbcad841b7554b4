"""A detector that is fed in batches and asked once a stride whether it has become worse.

In: numbers of which more is worse. Out: yes or no. Asked after the same numbers it gives the same
answer, however they came in.
"""

from __future__ import annotations

import numpy as np

from ihomer.drift.adwin import ADWIN
from ihomer.instances import FloatArray


class Watch:
    """ADWIN over a quantity, telling a rise from a fall.

    Parameters
    ----------
    delta
        ADWIN's confidence.

    Examples
    --------
    >>> watch = Watch()
    >>> watch.collect(np.zeros(256))
    >>> watch.risen()
    False
    >>> watch.collect(np.ones(64))
    >>> watch.risen()
    True
    """

    def __init__(self, delta: float = 0.002) -> None:
        self._detector = ADWIN(delta=delta)
        self._waiting: list[FloatArray] = []

    def collect(self, values: FloatArray) -> None:
        """Add float64 (n,) values, to be looked at by the next `risen`."""
        if len(values):  # predictions alone must not let the list grow
            self._waiting.append(values)

    def risen(self) -> bool:
        """Whether the values collected since the last call show a change for the worse."""
        values = np.concatenate([np.zeros(0), *self._waiting])
        self._waiting.clear()
        alarms = self._detector.update_many(values)
        latest = self._detector.latest
        return bool(alarms.any()) and latest is not None and latest.change > 0
