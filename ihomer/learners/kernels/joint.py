"""The joint decision: probabilities of labels in, the label set that is most likely right out.

Labels that go together are often decided better together. Candidates are the label sets seen most
often and the set of all labels above one half; a candidate's score weighs how often the set has
been seen against what the features say of each of its labels, and how much either counts is
learned while the stream runs. Where the plain set has been right more often than the joint choice,
it is taken; where neither is ever right, a set of high expected F1 is.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ihomer.instances import BoolArray, Float32Array, FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel
from ihomer.learners.kernels.candidates import TABLED, add_members, move_members, put_members
from ihomer.learners.kernels.elementary import exp32, log32
from ihomer.learners.kernels.sums import sum32

HashArray = npt.NDArray[np.uint64]

VECTOR = 16  # numbers that the widest processors work on at once
CANDIDATES = 100  # label sets that are scored for an event
INFLATION = 1.0 + 1.0 / 20_000  # each event counts so much more than the one before
_RENORMALISE = 1e6
RECENT = 0.98  # fading of the recent counts of sets, per event
RECENT_SHARE = 0.1  # of a set's frequency that the recent counts make up
F1_WEIGHT = 0.3  # of the expected F1, beside the probability that the whole set is right
SHARE_STEP = 0.01
ALPHA_STEP = 0.1
PAIRED_FADING = 0.9995  # of the counts of who was right, where the two choices differ
HOPE_FADING = 0.999
HOPELESS = 0.02  # share of events with the whole set right below which F1 decides
TEMPERATE = 0.7  # how far the threshold then goes from 1/2 to the one of the best expected F1
NEVER_EMPTY = 0.02  # share of empty sets below which a prediction is not left empty

_SMALLEST_P = 1e-4
_ZERO = np.float32(0.0)
_HALF = np.float32(0.5)
_ONE = np.float32(1.0)
_LEAST = np.float32(1e-9)
_TWICE_F1_WEIGHT = np.float32(2.0 * F1_WEIGHT)
_FAR = np.float32(-80.0)
_LOG_RECENT = np.float32(math.log(RECENT))

# Places in `JointState.numbers`.
EVENTS, WEIGHT, RECENT_TOTAL, SHARE, ALPHA, ALPHA_SQUARE, HITS, TRIES, EMPTY = range(9)
JOINT_RIGHT, PLAIN_RIGHT = 9, 13  # four bins each
NUMBERS = 17


class JointState(NamedTuple):
    """Label sets seen, label priors, and what has been learned about weighing them.

    Attributes
    ----------
    hashes
        uint64 (sets,): of the sets' labels.
    start, size
        int64, int32 (sets,): where a set's labels stand in `arena`, ascending.
    counts, recent
        float64 (sets,): inflating counts; recent counts as of event `stamp`.
    stamp
        int64 (sets,).
    top
        int32 (CANDIDATES,): the most frequent sets, descending.
    rank
        int32 (sets,): place in `top`, or -1.
    slots
        int32 (power of two,): open addressing by hash, -1 = free.
    arena
        int32: the sets' labels.
    on
        float64 (labels,): inflating counts of labels.
    sizes
        int64 (4,): sets, entries of the arena in use, sets in `top`, learned events.
    numbers
        float64 (NUMBERS,): see the constants above.
    """

    hashes: HashArray
    start: OffsetArray
    size: IntArray
    counts: FloatArray
    recent: FloatArray
    stamp: OffsetArray
    top: IntArray
    rank: IntArray
    slots: IntArray
    arena: IntArray
    on: FloatArray
    sizes: OffsetArray
    numbers: FloatArray


@kernel
def hash_labels(labels: IntArray, start: int, stop: int) -> np.uint64:
    """FNV-1a over labels, with a shift that mixes the high bits down."""
    h = np.uint64(14695981039346656037)
    for k in range(start, stop):
        h = (h ^ np.uint64(labels[k])) * np.uint64(1099511628211)
        h ^= h >> np.uint64(29)
    return h


@kernel
def find_set(state: JointState, labels: IntArray, start: int, stop: int, h: np.uint64) -> int:
    """Number of the set ``labels[start:stop]``, or -(slot + 1) of the free slot it would take."""
    mask = np.uint64(state.slots.shape[0] - 1)
    slot = h & mask
    while True:
        found = state.slots[slot]
        if found < 0:
            return -int(slot) - 1
        if state.hashes[found] == h and state.size[found] == stop - start:
            base = state.start[found]
            same = True
            for k in range(stop - start):
                if state.arena[base + k] != labels[start + k]:
                    same = False
                    break
            if same:
                return int(found)
        slot = (slot + np.uint64(1)) & mask


@kernel
def _recent(state: JointState, number: int, now: int) -> float:
    """A set's recent count as of event `now`."""
    return float(state.recent[number] * exp32(_LOG_RECENT * np.float32(now - state.stamp[number])))


@kernel
def _count_set(state: JointState, labels: IntArray, start: int, stop: int, now: int) -> None:
    """Add one event to a label set's counts, and keep `top` in order."""
    sizes, counts, recent = state.sizes, state.counts, state.recent
    stamp, rank, top = state.stamp, state.rank, state.top
    h = hash_labels(labels, start, stop)
    found = find_set(state, labels, start, stop, h)
    if found < 0:
        slot = -found - 1
        found = sizes[0]
        sizes[0] += 1
        state.slots[slot] = found
        state.hashes[found] = h
        state.start[found] = sizes[1]
        state.size[found] = stop - start
        for k in range(start, stop):
            state.arena[sizes[1]] = labels[k]
            sizes[1] += 1
        counts[found] = 0.0
        recent[found] = 0.0
        stamp[found] = now
        rank[found] = -1
    counts[found] += state.numbers[WEIGHT]
    recent[found] = _recent(state, found, now) + 1.0
    stamp[found] = now
    place = rank[found]
    if place < 0:
        filled = sizes[2]
        if filled < CANDIDATES:
            place = filled
            sizes[2] += 1
        elif counts[top[filled - 1]] < counts[found]:
            place = filled - 1
            rank[top[place]] = -1
        else:
            return
        top[place] = found
        rank[found] = place
    while place > 0 and counts[top[place - 1]] < counts[found]:
        other = top[place - 1]
        top[place] = other
        rank[other] = place
        place -= 1
    top[place] = found
    rank[found] = place


@kernel
def _same_sets(
    a: IntArray, a_start: int, a_stop: int, b: IntArray, b_start: int, b_stop: int
) -> bool:
    if a_stop - a_start != b_stop - b_start:
        return False
    same = True
    for k in range(a_stop - a_start):
        same &= a[a_start + k] == b[b_start + k]
    return same


@kernel
def _temperate(
    p: Float32Array, labels: int, mass: float, terms: Float32Array, flags: BoolArray
) -> None:
    """Flag the labels above a threshold between one half and that of the best expected F1.

    The F1 of a set S is taken as 2 sum_S p / (|S| + sum p); the best threshold is half the best
    F1 (Lipton, Elkan, Naryanaswamy, ECML PKDD 2014), found by iteration.
    """
    threshold = np.float32(0.5)
    for _ in range(5):
        count = 0
        for c in range(labels):
            terms[c] = p[c] if p[c] >= threshold else _ZERO
            count += int(p[c] >= threshold)
        best = float(sum32(terms, labels)) / max(1e-9, count + mass)
        threshold = np.float32(max(1e-3, best))
    threshold = np.float32(0.5 + TEMPERATE * (threshold - 0.5))
    for c in range(labels):
        flags[c] = p[c] >= threshold


@kernel
def joint_rows(
    scores: FloatArray,
    y_indptr: OffsetArray,
    y_indices: IntArray,
    labelled: BoolArray,
    known: IntArray,
    state: JointState,
    on: BoolArray,
) -> None:
    """Decide each row, then learn from the labelled ones.

    Parameters
    ----------
    scores
        float64 (n, labels): probabilities; only labels known at a row are looked at.
    y_indptr, y_indices, labelled, known
        As in `Batch`.
    state
        Changed in place by labelled rows; it has room for their label sets and labels.
    on
        bool (n, labels), all False: the decisions are written here.
    """
    sizes, top, arena = state.sizes, state.top, state.arena
    start, rank, counts = state.start, state.rank, state.counts
    width = max(1, int(known[labelled.shape[0]]))
    # Loops with logarithms and exponentials run over whole vectors: what is left over by a vector
    # would cost as much as several of them.
    padded = (width + VECTOR - 1) // VECTOR * VECTOR
    room = (CANDIDATES + VECTOR) // VECTOR * VECTOR
    p = np.full(padded, _HALF, dtype=np.float32)
    evidence = np.empty(padded, dtype=np.float32)  # logit p - logit of the prior
    prior = np.full(padded, _HALF, dtype=np.float32)  # logit of the prior
    against = np.full(padded, _HALF, dtype=np.float32)  # 1 - p
    never = np.empty(padded, dtype=np.float32)  # log-prior of a label that is off
    plain = np.zeros(width, dtype=np.bool_)
    chosen = np.empty(width + 1, dtype=np.int32)  # the labels of the plain set
    value = np.zeros(room, dtype=np.float32)
    gain = np.zeros(room, dtype=np.float32)
    inside = np.zeros(room, dtype=np.float32)
    size = np.zeros(room, dtype=np.float32)
    age = np.zeros(room, dtype=np.float32)
    frequent = np.zeros(room, dtype=np.float32)
    lately = np.zeros(room, dtype=np.float32)
    utility = np.zeros(room, dtype=np.float32)
    # Membership of labels in candidates, where labels are few.
    tabled = width <= TABLED
    table = np.zeros((width if tabled else 0, CANDIDATES), dtype=np.float32)
    if tabled:
        for q in range(sizes[2]):
            s = top[q]
            put_members(table, arena, start[s], start[s] + state.size[s], q)
    zero = int(np.int64(0))  # a plain 0 as an argument has the callee compiled once more
    numbers = state.numbers
    for t in range(labelled.shape[0]):
        labels = int(known[t])
        weight, events = numbers[WEIGHT], numbers[EVENTS]
        half, scale = 0.5 * weight, 1.0 / (events + weight)
        for c in range(labels):
            odds = min(1.0 - _SMALLEST_P, max(_SMALLEST_P, scores[t, c]))
            plain[c] = odds >= 0.5
            p[c] = np.float32(odds)
            against[c] = np.float32(1.0 - odds)
            rate = (state.on[c] + half) * scale
            prior[c] = np.float32(rate)
            never[c] = np.float32(1.0 - rate)
        # Apart, because with nothing but float32 in a loop it runs many labels at a time.
        whole = (labels + VECTOR - 1) // VECTOR * VECTOR
        for c in range(labels, whole):
            p[c] = against[c] = prior[c] = never[c] = _HALF
        for c in range(whole):
            log_never = log32(never[c])
            log_odds = log32(prior[c]) - log_never
            never[c] = log_never
            prior[c] = log_odds
            evidence[c] = log32(p[c] / against[c]) - log_odds
        nothing = float(sum32(never, labels))  # log-probability of the empty set, by the priors
        mass = float(sum32(p, labels))
        n_plain = 0
        for c in range(labels):
            chosen[n_plain] = c
            n_plain += int(plain[c])
        if n_plain == 0 and labels > 0 and numbers[EMPTY] <= NEVER_EMPTY * events:
            best = 0
            for c in range(labels):
                if p[c] > p[best]:
                    best = c
            chosen[0] = best
            n_plain = 1
        # Scores of the candidates; the plain set stands behind them unless it is one of them.
        count = sizes[2]
        share, alpha = np.float32(numbers[SHARE]), np.float32(numbers[ALPHA])
        now = sizes[3]
        found = find_set(state, chosen, zero, n_plain, hash_labels(chosen, zero, n_plain))
        plain_at = int(rank[found]) if found >= 0 else -1
        often_weight = np.float32((1.0 - RECENT_SHARE) / max(1e-9, events))
        recent_weight = np.float32(RECENT_SHARE / max(1e-9, numbers[RECENT_TOTAL]))
        if tabled:
            add_members(table, labels, count, evidence, prior, p, gain, value, inside)
        else:
            for q in range(count):
                s = top[q]
                says, chance, within = _ZERO, _ZERO, _ZERO
                for k in range(start[s], start[s] + state.size[s]):
                    label = arena[k]
                    if label < labels:
                        says += evidence[label]
                        chance += prior[label]
                        within += p[label]
                gain[q], inside[q], value[q] = says, within, chance
        for q in range(count):
            s = top[q]
            size[q] = np.float32(state.size[s])
            age[q] = np.float32(now - state.stamp[s])
            frequent[q] = np.float32(counts[s]) * often_weight
            lately[q] = np.float32(state.recent[s]) * recent_weight
        rest = np.float32(nothing)
        for q in range((count + VECTOR - 1) // VECTOR * VECTOR):
            often = frequent[q] + lately[q] * exp32(_LOG_RECENT * age[q])
            both = share * often + (_ONE - share) * exp32(max(_FAR, rest + value[q]))
            value[q] = log32(both) + alpha * gain[q]
        total = count
        if plain_at < 0:
            says, chance, within = _ZERO, _ZERO, _ZERO
            for k in range(n_plain):
                c = chosen[k]
                says += evidence[c]
                chance += prior[c]
                within += p[c]
            plain_at = count
            gain[count], inside[count], size[count] = says, within, np.float32(n_plain)
            value[count] = log32(_ONE - share) + (rest + chance) + alpha * says
            total = count + 1
        highest = value[0]
        for q in range(total):
            if value[q] > highest:
                highest = value[q]
        for q in range((total + VECTOR - 1) // VECTOR * VECTOR):
            value[q] = exp32(value[q] - highest)
        norm = sum32(value, total)
        for q in range(total):
            value[q] /= norm
            f1 = _TWICE_F1_WEIGHT * inside[q] / max(_LEAST, size[q] + np.float32(mass))
            utility[q] = value[q] + f1
        joint, most = plain_at, utility[plain_at]
        for q in range(total):
            if utility[q] > most:
                joint, most = q, utility[q]
        posterior = value[joint]
        level = 3 if posterior > 0.5 else 2 if posterior > 0.25 else 1 if posterior > 0.1 else 0
        differ = joint != plain_at
        # With another choice than the plain one, `joint` is a set of the table.
        s = top[joint] if differ else 0
        base = start[s] if differ else 0
        stop = base + state.size[s] if differ else 0
        if numbers[HITS] < HOPELESS * numbers[TRIES]:
            _temperate(p, labels, mass, never, on[t])
        elif differ and numbers[JOINT_RIGHT + level] >= numbers[PLAIN_RIGHT + level]:
            for k in range(base, stop):
                if arena[k] < labels:
                    on[t, arena[k]] = True
        else:
            for k in range(n_plain):
                on[t, chosen[k]] = True
        if not labelled[t]:
            continue
        y_start, y_stop = y_indptr[t], y_indptr[t + 1]
        plain_right = _same_sets(chosen, zero, n_plain, y_indices, y_start, y_stop)
        right = plain_right
        if differ:
            right = _same_sets(arena, base, stop, y_indices, y_start, y_stop)
            at = JOINT_RIGHT + level
            numbers[at] = PAIRED_FADING * numbers[at] + (1.0 if right else 0.0)
            at = PLAIN_RIGHT + level
            numbers[at] = PAIRED_FADING * numbers[at] + (1.0 if plain_right else 0.0)
        numbers[HITS] = HOPE_FADING * numbers[HITS] + (1.0 if right else 0.0)
        numbers[TRIES] = HOPE_FADING * numbers[TRIES] + 1.0
        # How much a set's frequency counts: the share of the true sets that it explains.
        found = find_set(state, y_indices, y_start, y_stop, hash_labels(y_indices, y_start, y_stop))
        if events > 0.0:
            responsible = 0.0
            if found >= 0:
                often = counts[found] * often_weight
                often += _recent(state, found, now) * recent_weight
                b = nothing
                for k in range(y_start, y_stop):
                    b += prior[y_indices[k]]  # of a set seen before all labels are known
                by_set = numbers[SHARE] * often
                by_labels = (1.0 - numbers[SHARE]) * math.exp(max(-700.0, b))
                responsible = by_set / max(1e-300, by_set + by_labels)
            moved = numbers[SHARE] + SHARE_STEP * (responsible - numbers[SHARE])
            numbers[SHARE] = min(0.99, max(0.01, moved))
        # How much the features count: a gradient step on the log-posterior of the true set.
        if found >= 0 and 0 <= rank[found] < count:
            for q in range(total):
                utility[q] = value[q] * gain[q]
            expected = float(sum32(utility, total))
            slope = min(5.0, max(-5.0, expected - gain[rank[found]]))
            numbers[ALPHA_SQUARE] += slope * slope
            moved = numbers[ALPHA] - ALPHA_STEP * slope / math.sqrt(numbers[ALPHA_SQUARE])
            numbers[ALPHA] = min(1.5, max(0.1, moved))
        # Counts.
        now += 1
        sizes[3] = now
        numbers[WEIGHT] *= INFLATION
        weight = numbers[WEIGHT]
        numbers[EVENTS] += weight
        if y_start == y_stop:
            numbers[EMPTY] += weight
        place = rank[found] if found >= 0 else -1
        _count_set(state, y_indices, y_start, y_stop, now)
        if tabled:
            found = found if found >= 0 else sizes[0] - 1
            if place < 0 and rank[found] >= 0:
                place = sizes[2] - 1
                put_members(table, y_indices, y_start, y_stop, place)
            move_members(table, place, rank[found])
        for k in range(y_start, y_stop):
            state.on[y_indices[k]] += weight
        numbers[RECENT_TOTAL] = RECENT * numbers[RECENT_TOTAL] + 1.0
        if weight > _RENORMALISE:
            numbers[EVENTS] /= weight
            numbers[EMPTY] /= weight
            for c in range(state.on.shape[0]):
                state.on[c] /= weight
            for s in range(sizes[0]):
                counts[s] /= weight
            numbers[WEIGHT] = 1.0
