"""The mixture and its stack against their twin, at births and cuts; and what they are worth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ihomer.instances import Batch
from ihomer.learners.arrays import grown
from ihomer.learners.kernels.elementary import LOGIT_CLIP
from ihomer.learners.kernels.mixture import MixtureState, empty_mixture, mix_rows
from ihomer.learners.kernels.sums import sum32
from tests import naive_mixture
from tests.label_streams import CUTS, MOST, TRUTHS, Truth, label_batch, pieces

Floats = npt.NDArray[np.float32]

CLIP = np.float32(LOGIT_CLIP)
ACTIVE = st.lists(st.booleans(), min_size=1, max_size=4)
# How logits are drawn: evenly, from the bounds and zero, all the same.
KINDS = st.sampled_from(["even", "extreme", "same"])


def draw(seed: int, experts: int, n: int, width: int, kind: str = "even") -> Floats:
    rng = np.random.default_rng(seed)
    if kind == "extreme":
        found = rng.choice(np.array([-CLIP, CLIP, 0.0, 1e-12]), (experts, n, width))
    elif kind == "same":
        found = np.full((experts, n, width), rng.uniform(-CLIP, CLIP))
    else:
        found = rng.uniform(-CLIP, CLIP, (experts, n, width))
    return found.astype(np.float32)


def run(
    logits: Floats,
    active: list[bool],
    batch: Batch,
    state: MixtureState,
    *,
    first: int = 0,
    stacking: bool = True,
    cuts: list[int] | None = None,
) -> Floats:
    out = np.full(logits.shape[1:], np.nan, dtype=np.float32)
    for where, piece in pieces(batch, cuts or []):
        mix_rows(
            logits[:, where].copy(),
            np.array(active),
            piece.y_indptr,
            piece.y_indices,
            piece.labelled,
            piece.known,
            first,
            stacking,
            state,
            out[where],
        )
    return out


def log_losses(p: Floats, truth: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """(n, labels): of the labels of a block without its reserve."""
    said = p[:, 1:].astype(np.float64)
    return -np.log(np.where(truth, said, 1.0 - said))


@given(
    truth=TRUTHS,
    active=ACTIVE,
    seed=st.integers(0, 1000),
    kind=KINDS,
    first=st.integers(0, MOST),
    width=st.integers(1, MOST + 6),
    stacking=st.booleans(),
)
@example([{0, 1}, {0}, {1}], [False, False], 1, "even", 0, 4, True)
@example([{0}, *[{0, 1}, {1}, set()] * 12], [True, False, True], 1, "extreme", 0, 16, True)
def test_every_probability_and_state_is_as_its_twin_says(
    truth: Truth,
    active: list[bool],
    seed: int,
    kind: str,
    first: int,
    width: int,
    stacking: bool,
) -> None:
    batch, experts = label_batch(truth), len(active)
    logits = draw(seed, experts, len(truth), width, kind)
    state = empty_mixture(experts, width)
    out = run(logits, active, batch, state, first=first, stacking=stacking)
    twin = naive_mixture.Mixture(experts, stacking)
    for t, y in enumerate(truth):
        after = 1 + min(width - 1, max(0, int(batch.known[t + 1]) - first))
        on = None if y is None else {label - first + 1 for label in y if label >= first}
        found = twin.row(logits[:, t], active, on, after)
        known = len(found)
        assert out[t, :known] == pytest.approx(found, abs=2e-4)
        assert (out[t, known:] == out[t, 0]).all()  # a label not known yet is the reserve
    for c, position in enumerate(twin.positions):
        assert state.losses[:, c] == pytest.approx(position.losses, rel=1e-4, abs=1e-4)
        assert state.stack[:, c] == pytest.approx(position.stack, abs=1e-3)
        assert state.squares[:, c] == pytest.approx(position.squares, rel=1e-3, abs=1e-4)
        blend = [position.plain, position.corrected]
        assert state.blend[:, c] == pytest.approx(blend, rel=1e-4, abs=1e-3)
    assert state.shared == pytest.approx(twin.shared, abs=1e-3)
    assert state.shared_squares == pytest.approx(twin.shared_squares, rel=1e-3, abs=1e-3)
    assert state.weights == pytest.approx(twin.weights, abs=1e-4)


@given(truth=TRUTHS, active=ACTIVE, seed=st.integers(0, 1000), cuts=CUTS)
def test_cuts_and_room_for_more_change_no_bit(
    truth: Truth, active: list[bool], seed: int, cuts: list[int]
) -> None:
    batch, experts = label_batch(truth), len(active)
    logits = draw(seed, experts, len(truth), 1 + MOST)
    state = empty_mixture(experts, 1 + MOST)
    whole = run(logits, active, batch, state)
    narrow = empty_mixture(experts, 1)
    for where, piece in pieces(batch, cuts):
        # Just the room that the piece needs, as a block grows.
        width = max(narrow.losses.shape[1], 1 + piece.n_labels)
        narrow = grown(narrow, empty_mixture(experts, width))
        part = run(logits[:, where, :width], active, piece, narrow)
        assert part.tobytes() == np.ascontiguousarray(whole[where, :width]).tobytes()
    known = 1 + batch.n_labels
    for name in MixtureState._fields:
        a, b = getattr(narrow, name), getattr(state, name)
        wide = a.ndim == 2
        a, b = (a[:, :known], b[:, :known]) if wide else (a, b)
        assert a.tobytes() == b.tobytes()


@given(truth=TRUTHS, seed=st.integers(0, 1000), width=st.integers(1, 5))
def test_without_a_stack_two_blocks_say_what_one_says(truth: Truth, seed: int, width: int) -> None:
    batch = label_batch(truth)
    logits = draw(seed, 3, len(truth), 1 + 2 * width)
    one = run(logits, [True] * 3, batch, empty_mixture(3, 1 + 2 * width), stacking=False)
    for first in (0, width):
        inside = [0, *range(1 + first, 1 + first + width)]
        state = empty_mixture(3, 1 + width)
        part = run(logits[:, :, inside], [True] * 3, batch, state, first=first, stacking=False)
        assert part.tobytes() == np.ascontiguousarray(one[:, inside]).tobytes()


@given(n=st.integers(0, 40), seed=st.integers(0, 1000))
def test_a_sum_is_the_sum(n: int, seed: int) -> None:
    terms = np.random.default_rng(seed).normal(size=n + 3).astype(np.float32)
    assert sum32(terms, n) == pytest.approx(terms[:n].astype(np.float64).sum(), abs=1e-5)


def test_rows_and_positions_that_are_not_asked_for_have_no_effect() -> None:
    """Room for more rows than there are, and what experts say of labels not born yet."""
    truth: Truth = [{0}, {0, 1}, None, {1}]
    batch = label_batch(truth)
    logits = draw(2, 2, 7, 9)
    outs, states = [], []
    for filler in (0.0, 3.0):
        state, out = empty_mixture(2, 9), np.zeros((5, 9), dtype=np.float32)
        filled = logits.copy()
        filled[:, 4:] = filler
        filled[:, :, 3:] = filler
        arrays = batch.y_indptr, batch.y_indices, batch.labelled, batch.known
        mix_rows(filled, np.ones(2, np.bool_), *arrays, 0, True, state, out)
        assert (out[4] == 0.0).all()
        outs.append(out[:4])
        states.append(state)
    assert (outs[0] == outs[1]).all()
    for a, b in zip(*states, strict=True):
        assert (a[..., :3] == b[..., :3]).all()


def planted(seed: int, n: int, labels: int) -> tuple[Truth, npt.NDArray[np.bool_], Floats]:
    """A stream, its truth as a matrix, and the true logits (n, 1 + labels)."""
    rng = np.random.default_rng(seed)
    z = np.clip(rng.normal(-1.0, 2.0, (n, 1 + labels)), -CLIP, CLIP).astype(np.float32)
    on = rng.random((n, labels)) < 1.0 / (1.0 + np.exp(-z[:, 1:]))
    on[0] = True
    return [set(np.flatnonzero(row).tolist()) for row in on], on, z


def test_the_best_expert_gets_nearly_all_the_weight_on_a_long_stream() -> None:
    truth, _, z = planted(1, 1500, 4)
    logits = draw(3, 4, 1500, 5)
    logits[2] = z
    state = empty_mixture(4, 5)
    run(logits, [True] * 4, label_batch(truth), state)
    assert state.weights[2] > 0.95
    assert state.weights.sum() == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("stacking", [True, False])
def test_noise_beside_a_good_expert_costs_little_on_a_long_stream(stacking: bool) -> None:
    truth, on, z = planted(2, 3000, 4)
    logits = draw(4, 6, 3000, 5)
    logits[0] = z
    batch = label_batch(truth)
    alone = run(logits[:1], [True], batch, empty_mixture(1, 5), stacking=False)
    mixed = run(logits, [True] * 6, batch, empty_mixture(6, 5), stacking=stacking)
    cost = log_losses(mixed, on) - log_losses(alone, on)
    assert cost[1500:].mean() < 0.005
    assert cost.mean() < 0.02


def test_two_half_informed_experts_are_better_together_on_a_long_stream() -> None:
    """Each sees one of two independent causes: the sum of their logits is right, not the mean."""
    rng = np.random.default_rng(5)
    causes = rng.normal(0.0, 1.5, (2, 4000, 5)).astype(np.float32)
    z = causes.sum(axis=0)
    on = rng.random((4000, 4)) < 1.0 / (1.0 + np.exp(-z[:, 1:]))
    on[0] = True
    logits = np.clip(causes, -CLIP, CLIP)
    truth: Truth = [set(np.flatnonzero(row).tolist()) for row in on]
    batch = label_batch(truth)
    loss = [
        log_losses(run(logits, active, batch, empty_mixture(2, 5), stacking=stacking), on)[1000:]
        for active, stacking in [([True] * 2, True), ([True] * 2, False), ([True, False], False)]
    ]
    stacked, mixed, one = (float(each.mean()) for each in loss)
    assert stacked < mixed - 0.02
    assert mixed < one


@pytest.mark.parametrize("factor", [0.3, 0.5])
def test_the_stack_mends_a_timid_expert_on_a_long_stream(factor: float) -> None:
    truth, on, z = planted(6, 3000, 4)
    batch, timid = label_batch(truth), (z * np.float32(factor))[None]
    losses = [
        log_losses(run(timid, [True], batch, empty_mixture(1, 5), stacking=stacking), on)
        for stacking in (True, False)
    ]
    best = log_losses((1.0 / (1.0 + np.exp(-z))).astype(np.float32), on)
    stacked, mixed, true = (loss[500:].mean() for loss in (*losses, best))
    assert stacked < mixed - 0.5 * (mixed - true)


def test_a_label_born_late_knows_who_is_to_be_trusted_on_a_long_stream() -> None:
    """The reserve has seen that one expert foretells labels that stay off."""
    n = 600
    logits = np.empty((2, n, 3), dtype=np.float32)
    logits[0], logits[1] = -CLIP, CLIP
    truth: Truth = [{0} if t % 2 else set() for t in range(n)]
    truth[n - 2 :] = {1}, {0}
    logits[:, :, 1] = np.where(np.arange(n) % 2, 2.0, -2.0)
    state = empty_mixture(2, 3)
    out = run(logits, [True, True], label_batch(truth), state)
    assert out[n - 2, 2] == out[n - 2, 0] < 0.03
    # It was on at its birth: the loss of that event comes on top of the reserve's.
    assert state.losses[0, 2] > state.losses[0, 0] + 3.0


def hostile(kind: str, n: int, width: int, rng: np.random.Generator) -> tuple[Floats, Truth]:
    logits = rng.choice(
        np.array([-CLIP, CLIP, 0.0, 1e-38, -1e-45], dtype=np.float32), (3, n, width)
    )
    sets: Truth = [set(np.flatnonzero(row).tolist()) for row in rng.random((n, width - 1)) < 0.5]
    if kind == "constant":
        logits[:] = CLIP
        sets = [set() for _ in range(n)]
    elif kind == "alternating":
        logits[:] = np.where(np.arange(n) % 2, -CLIP, CLIP)[None, :, None]
        sets = [set(range(width - 1)) if t % 2 else set() for t in range(n)]
    elif kind == "denormal":
        logits[:] = 1e-45
        sets = [set(range(width - 1)) for _ in range(n)]
    return logits.astype(np.float32), sets


@pytest.mark.parametrize("kind", ["mixed", "constant", "alternating", "denormal"])
def test_states_stay_finite_for_a_hundred_thousand_hostile_rows(kind: str) -> None:
    rng = np.random.default_rng(7)
    state = empty_mixture(3, 5)
    for _ in range(10):
        logits, sets = hostile(kind, 10_000, 5, rng)
        truth: Truth = [{0, 1, 2, 3}, *sets]
        batch = label_batch(truth).slice(1, 10_001)
        out = run(logits, [True, True, False], batch, state)
        assert ((out >= 0.0) & (out <= 1.0)).all()
        assert all(np.isfinite(array).all() for array in state)
        # An event's log-loss is at most 8 or so, and fades by 1 / 500.
        assert state.losses.max() < 2100
        assert state.blend.max() < 4100
