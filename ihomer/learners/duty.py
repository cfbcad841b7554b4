"""Who works: experts that carry no weight rest, and come back now and then to be looked at.

In: weights and losses of all experts, once a stride. Out: whether an expert works in the stride
that begins. It is here so that an expert is not paid for in full while others know better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ihomer.learners.block import EXPERTS
from ihomer.learners.kernels.mixture import FADING
from ihomer.learners.kernels.scaling import STRIDE
from ihomer.learners.segment import OUTER

# An expert that carries less weight than this in the mixture rests: it works in every `EVERY`-th
# stride only, which is enough to notice that its time has come.
RESTS_BELOW = 0.06
RESTING = ("raw", "ridge", "neighbours", "net")
EVERY = 8
# Trees, which need many events to show what they can do, rest while their loss is clearly above
# the best other expert's, and that of the regressions along their paths, which starts from the
# best linear one's, is not below it.
FOREST_IN_REACH, PATH_MUST_GAIN = 1.03, 0.98
FIRST_REST = STRIDE  # learned events before which none rests
TRIAL_FADING = 0.8  # of the losses compared, per stride with all experts at work
_STRIDE_FADING = float(FADING**STRIDE)
_NOBODY: set[str] = set()


class Duty:
    """Which experts work in a stride.

    Parameters
    ----------
    base
        The linear expert that path regressions correct; it works for them, too.

    Attributes
    ----------
    resting
        Experts that work in every `EVERY`-th stride only; `"forest"` stands for trees and paths.
    """

    def __init__(self, base: str) -> None:
        self.resting: set[str] = set()
        self._base = base
        # Sums over labels of each expert's loss: fading; and in strides where all were at work.
        self._losses = [0.0] * len(EXPERTS)
        self._trial = [0.0] * len(EXPERTS)

    def at_work(self, expert: str, learned: int) -> bool:
        """Whether an expert works after `learned` events."""
        return expert not in self.now_resting(learned)

    def now_resting(self, learned: int) -> set[str]:
        """Who rests after `learned` events: nobody in every `EVERY`-th stride."""
        return self.resting if learned // STRIDE % EVERY else _NOBODY

    def adapt(self, learned: int, weights: Mapping[str, float], losses: Sequence[float]) -> None:
        """Decide anew, at the end of a stride.

        Parameters
        ----------
        learned
            Events so far, a multiple of `STRIDE`.
        weights
            Of each expert in the mixture.
        losses
            Log-losses that fade by `FADING` per event, as in `EXPERTS`; infinite for one that is
            switched off.
        """
        # While it rests, an expert's loss follows the mixture's and says nothing about it.
        if not self.resting or (learned // STRIDE - 1) % EVERY == 0:
            # What is infinite stays so.
            self._trial = [
                TRIAL_FADING * trial + (loss - _STRIDE_FADING * before)
                for trial, loss, before in zip(self._trial, losses, self._losses, strict=True)
            ]
        self._losses = [loss if math.isfinite(loss) else 0.0 for loss in losses]
        if learned < FIRST_REST:
            return
        shares = dict(weights)
        shares[self._base] += shares["path"]
        resting = {name for name in RESTING if shares[name] < RESTS_BELOW}
        trial = dict(zip(EXPERTS, self._trial, strict=True))
        forest, path = (trial.pop(name) for name in OUTER)
        best = min(trial.values())
        if forest > FOREST_IN_REACH * best and path > PATH_MUST_GAIN * best:
            resting.add("forest")
        if resting != self.resting:  # or it stays the same object
            self.resting = resting
