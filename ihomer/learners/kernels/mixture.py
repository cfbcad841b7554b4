"""Mix and stack the experts of a block of labels: their logits in, one probability per label out.

The mixture is a weighted mean of logits; an expert's weight for a label falls exponentially with
its recent log-loss there. A stacked logistic regression then corrects the mixture by how far each
expert stands from it. Which of the two speaks is again a matter of their recent losses, so the
corrections cost nothing while they are still being learned.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ihomer.instances import BoolArray, Float32Array, IntArray, OffsetArray
from ihomer.jit import kernel
from ihomer.learners.kernels.elementary import exp32, sigmoid32, softplus32
from ihomer.learners.kernels.linear import LANES
from ihomer.learners.kernels.sums import sum32

FADING = np.float32(0.998)  # of losses, per event: a horizon of 500 events
RATE = np.float32(0.5)  # a weight is exp(-RATE * fading loss)
STEP = np.float32(0.05)  # AdaGrad's, for the stack
INITIAL_SQUARE = np.float32(0.03)
STACK_LIMIT = np.float32(8.0)  # a stacked logit stays within plus and minus this
LOOK = 8  # learned events between two looks at the experts' mean weights
WEIGHT_FADING = np.float32(0.85)  # of these, per look

_ZERO = np.float32(0.0)
_TINY = np.float32(1e-30)
_ONE = np.float32(1.0)
_HALF = np.float32(0.5)
_FURTHEST = np.float32(3.0e38)


class MixtureState(NamedTuple):
    """What is known about E experts on the W positions of a block, float32.

    Attributes
    ----------
    losses
        (E, W): fading sums of the experts' log-losses.
    stack, squares
        (E + 2, W): weights by label and AdaGrad's sums; row 0 multiplies the mixture's logit,
        row e + 1 expert e's distance from it, the last row is the bias.
    shared, shared_squares
        (E + 1,): weights common to all labels of the block, without a bias.
    blend
        (2, W): fading log-losses of the mixture and of the stack.
    weights
        (E,): fading mean of the weights over labels, for looking at and for resting experts.
    progress
        int64 (1,): learned events.
    """

    losses: Float32Array
    stack: Float32Array
    squares: Float32Array
    shared: Float32Array
    shared_squares: Float32Array
    blend: Float32Array
    weights: Float32Array
    progress: OffsetArray


def empty_mixture(experts: int, width: int) -> MixtureState:
    """A state that has seen nothing."""
    return MixtureState(
        np.zeros((experts, width), dtype=np.float32),
        np.zeros((experts + 2, width), dtype=np.float32),
        np.full((experts + 2, width), INITIAL_SQUARE, dtype=np.float32),
        np.zeros(experts + 1, dtype=np.float32),
        np.full(experts + 1, INITIAL_SQUARE, dtype=np.float32),
        np.zeros((2, width), dtype=np.float32),
        np.full(experts, 1.0 / max(1, experts), dtype=np.float32),
        np.zeros(1, dtype=np.int64),
    )


@kernel
def mix_rows(
    logits: Float32Array,
    active: BoolArray,
    y_indptr: OffsetArray,
    y_indices: IntArray,
    labelled: BoolArray,
    known: IntArray,
    first: int,
    stacking: bool,
    state: MixtureState,
    out: Float32Array,
) -> None:
    """Probabilities of each row, then learn from the labelled ones.

    Parameters
    ----------
    logits
        float32 (E, n or more, W): what the experts say, within plus and minus `LOGIT_CLIP`;
        position 0 is the reserve, label l stands at 1 + l - first. Numbers everywhere, because
        loops run over whole vectors (W a multiple of 8 is fastest); what a row says of a label
        born at it is overwritten with what it says of the reserve.
    active
        bool (E,): experts that were not asked are left out.
    y_indptr, y_indices, labelled, known
        As in `Batch`.
    first
        The block's first label.
    stacking
        False: the mixture alone.
    state
        Changed in place by labelled rows; a label born at row t starts as a copy of position 0.
        What stands at positions of labels not born yet means nothing.
    out
        float32 (at least n, W): probabilities; positions of labels not known at the row repeat the
        reserve's.
    """
    experts = logits.shape[0]
    width = out.shape[1]
    least = np.empty(width, dtype=np.float32)
    total = np.empty(width, dtype=np.float32)
    mixed = np.empty(width, dtype=np.float32)
    stacked = np.empty(width, dtype=np.float32)
    weight = np.empty((experts, width), dtype=np.float32)
    sign = np.empty(width, dtype=np.float32)  # -1 for a label that is on, 1 otherwise
    error = np.empty(width, dtype=np.float32)
    term = np.empty(width, dtype=np.float32)
    for t in range(labelled.shape[0]):
        before = 1 + min(width - 1, max(0, known[t] - first))
        after = 1 + min(width - 1, max(0, known[t + 1] - first))
        # Whole vectors: what is computed of labels not known yet is overwritten at their birth.
        reach = min(width, (before + LANES - 1) // LANES * LANES)
        least[:reach] = _FURTHEST
        total[:reach] = _TINY  # nothing beside the best expert's 1; no expert: the logit is 0
        mixed[:reach] = _ZERO
        for e in range(experts):
            if active[e]:
                loss = state.losses[e]
                for c in range(reach):
                    least[c] = min(least[c], loss[c])
        for e in range(experts):
            if active[e]:
                loss = state.losses[e]
                z = logits[e, t]
                own = weight[e]
                for c in range(reach):
                    w = exp32(RATE * (least[c] - loss[c]))
                    own[c] = w
                    total[c] += w
                    mixed[c] += w * z[c]
        own = state.stack[0]
        bias = state.stack[experts + 1]
        common = _ONE + state.shared[0]
        for c in range(reach):
            total[c] = _ONE / total[c]
            mixed[c] *= total[c]
        # The stack, its labels' own weights plus the shared ones.
        for c in range(reach):
            stacked[c] = mixed[c] * (common + own[c]) + bias[c]
        for e in range(experts):
            if active[e]:
                z = logits[e, t]
                own = state.stack[e + 1]
                common = state.shared[e + 1]
                for c in range(reach):
                    stacked[c] += (common + own[c]) * (z[c] - mixed[c])
        plain, corrected = state.blend[0], state.blend[1]
        row = out[t]
        for c in range(reach):
            s = min(STACK_LIMIT, max(-STACK_LIMIT, stacked[c]))
            stacked[c] = s
            p = sigmoid32(mixed[c])
            if stacking:
                share = sigmoid32(RATE * (plain[c] - corrected[c]))
                p += share * (sigmoid32(s) - p)
            row[c] = p
        row[before:] = row[0]
        if not labelled[t]:
            continue
        if state.progress[0] % LOOK == 0:
            for e in range(experts):
                if active[e]:
                    own = weight[e]
                    for c in range(reach):
                        term[c] = own[c] * total[c]
                    mean = sum32(term, before) / np.float32(before)
                    state.weights[e] += (_ONE - WEIGHT_FADING) * (mean - state.weights[e])
        state.progress[0] += 1
        for c in range(before, after):
            mixed[c] = mixed[0]
            stacked[c] = stacked[0]
            for e in range(experts):
                logits[e, t, c] = logits[e, t, 0]
                state.losses[e, c] = state.losses[e, 0]
            for k in range(experts + 2):
                state.stack[k, c] = state.stack[k, 0]
                state.squares[k, c] = state.squares[k, 0]
            plain[c] = plain[0]
            corrected[c] = corrected[0]
        reach = min(width, (after + LANES - 1) // LANES * LANES)
        mixed[after:reach] = _ZERO
        stacked[after:reach] = _ZERO
        sign[:reach] = _ONE
        for k in range(y_indptr[t], y_indptr[t + 1]):
            position = y_indices[k] - first + 1
            if 1 <= position < after:
                sign[position] = -_ONE
        # The loss is softplus(z) for a label that is off and softplus(-z) for one that is on.
        for c in range(reach):
            term[c] = softplus32(mixed[c] * sign[c])
            plain[c] = FADING * plain[c] + term[c]
            corrected[c] = FADING * corrected[c] + softplus32(stacked[c] * sign[c])
            error[c] = sigmoid32(stacked[c]) - (_HALF - _HALF * sign[c])
        for e in range(experts):
            loss = state.losses[e]
            if active[e]:
                z = logits[e, t]
                for c in range(reach):
                    loss[c] = FADING * loss[c] + softplus32(z[c] * sign[c])
            else:
                # An expert that rests keeps its place among the others.
                for c in range(reach):
                    loss[c] = FADING * loss[c] + term[c]
        if not stacking:
            continue
        own, sums = state.stack[experts + 1], state.squares[experts + 1]
        for c in range(reach):
            sums[c] += error[c] * error[c]
            own[c] -= STEP * error[c] / np.sqrt(sums[c])
        for k in range(experts + 1):
            if k > 0 and not active[k - 1]:
                continue
            own, sums = state.stack[k], state.squares[k]
            # In one loop: where labels are few, beginning a loop costs more than what is in it.
            if k == 0:
                for c in range(reach):
                    gradient = error[c] * mixed[c]
                    term[c] = gradient
                    square = sums[c] + gradient * gradient
                    sums[c] = square
                    own[c] -= STEP * gradient / np.sqrt(square)
            else:
                z = logits[k - 1, t]
                for c in range(reach):
                    gradient = error[c] * (z[c] - mixed[c])
                    term[c] = gradient
                    square = sums[c] + gradient * gradient
                    sums[c] = square
                    own[c] -= STEP * gradient / np.sqrt(square)
            gradient = sum32(term, after)
            state.shared_squares[k] += gradient * gradient
            state.shared[k] -= STEP * gradient / np.sqrt(state.shared_squares[k])
