"""The decision by cluster: probabilities of labels in, the union of the clusters' best parts out.

Whether whole label sets or unions of parts are served is not decided here; see `choose_rows`.
"""

from __future__ import annotations

import math

import numpy as np

from ihomer.instances import BoolArray, FloatArray, IntArray, OffsetArray
from ihomer.jit import kernel
from ihomer.learners.kernels.counted import (
    NEVER,
    add_cluster,
    begin,
    best_numbers,
    learn_factors,
)
from ihomer.learners.kernels.joint import F1_WEIGHT, INFLATION
from ihomer.learners.kernels.parts import (
    ACTIVE,
    ALONE,
    EVENTS,
    LEAD,
    PARTS,
    SHARE,
    SIZES,
    TRUST,
    TRUST_SQUARE,
    WEIGHT,
    PartState,
    count_set,
    learn_share,
    part_of,
    renormalise,
)
from ihomer.learners.kernels.tilt import LIVE, tilt

NOTICEABLE = 0.05  # probability of a label from which on it is looked at
TRUST_STEP = 0.1
MOST_TRUST = 1.5
LEAD_FADING = 0.9995
LEAD_LIMIT = 50.0
LEAST_LEAD = 2.0  # two events more right, so that chance alone seldom decides
_SMALLEST_P = 1e-4


@kernel
def _certain(p: float) -> float:
    return min(1.0 - _SMALLEST_P, max(_SMALLEST_P, p))


@kernel
def cluster_rows(
    scores: FloatArray,
    y_indptr: OffsetArray,
    y_indices: IntArray,
    labelled: BoolArray,
    known: IntArray,
    state: PartState,
    on: BoolArray,
) -> None:
    """Decide each row cluster by cluster, then learn from the labelled ones.

    Parameters
    ----------
    scores
        float64 (n, labels): probabilities; only labels known at a row are looked at.
    y_indptr, y_indices, labelled, known
        As in `Batch`.
    state
        Changed in place by labelled rows; it has room for their labels, and for as many parts and
        entries as they have labels.
    on
        bool (n, labels), all False: the decisions are written here.
    """
    cluster_of, first, arena = state.cluster_of, state.first, state.arena
    n = labelled.shape[0]
    width = int(known[n])
    clusters = state.active.shape[0]
    numbers = state.numbers
    seen = np.zeros(clusters, dtype=np.bool_)
    # Clusters to look at, then labels that are decided alone, as -1 - label.
    items = np.empty(clusters + width, dtype=np.int32)
    came_from = np.empty((clusters + width, SIZES, ACTIVE), dtype=np.int32)
    # What is on in the best part of each size: a candidate, or -2 - the first so many in `order`.
    picked = np.empty((clusters + width, SIZES), dtype=np.int32)
    sorted_live = np.empty((clusters, LIVE), dtype=np.int32)
    p = np.empty(LIVE)
    odds = np.empty(LIVE)
    live = np.empty(LIVE, dtype=np.int32)
    place = np.full(width, -1, dtype=np.int32)
    inside = np.zeros((LIVE, PARTS + 1))
    says = np.empty(PARTS + 1)
    logit = np.empty(LIVE)
    bond = np.empty(PARTS + 1)
    excess = np.empty(PARTS + 1)
    weight = np.empty(PARTS + 1)
    size = np.empty(PARTS + 1, dtype=np.int32)
    part = np.empty(width, dtype=np.int32)
    chance = np.empty(SIZES)
    value = np.empty(SIZES)
    chances = np.empty((SIZES, ACTIVE))
    values = np.empty((SIZES, ACTIVE))
    insides = np.empty((SIZES, ACTIVE))
    inside_of = np.zeros(SIZES)
    held = np.empty(PARTS + 1)
    for t in range(n):
        labels = int(known[t])
        many, mass = 0, 0.0
        for c in range(labels):
            if scores[t, c] >= NOTICEABLE:
                mass += scores[t, c]
                b = cluster_of[c]
                if b == ALONE:
                    items[many] = -1 - c
                    many += 1
                elif not seen[b]:
                    seen[b] = True
                    items[many] = b
                    many += 1
        begin(chances, values, insides)
        lowest = math.log(1.0 - numbers[SHARE])
        trust = numbers[TRUST]
        slope = 0.0
        at = 0
        while at < many:
            item = int(items[at])
            value[:] = NEVER
            chance[:] = 0.0
            if item < 0:
                own = _certain(scores[t, -1 - item])
                chance[0], chance[1] = 1.0 - own, own
                value[0] = math.log(1.0 - own)
                value[1] = math.log(own)
                inside_of[1] = own
                add_cluster(chance, value, 1, inside_of, chances, values, insides, came_from[at])
                at += 1
                continue
            seen[item] = False
            fitted = 0
            for k in range(first[item], first[item + 1]):
                c = state.members[k]
                if c < labels and scores[t, c] >= NOTICEABLE:
                    if fitted == LIVE:
                        items[many] = -1 - c
                        many += 1
                        continue
                    p[fitted] = _certain(scores[t, c])
                    logit[fitted] = math.log(p[fitted] / (1.0 - p[fitted]))
                    live[fitted] = c
                    place[c] = fitted
                    fitted += 1
            floor = math.exp(trust * lowest)
            count = 1 + state.filled[item]
            inside[:fitted, :count] = 0.0
            bond[0] = state.none[item, 0]
            says[0], held[0], size[0] = 0.0, 0.0, 0
            for q in range(1, count):
                s = state.top[item, q - 1]
                bond[q] = max(lowest, state.bond[s])
                says[q], held[q], size[q] = 0.0, 0.0, state.size[s]
                for k in range(state.start[s], state.start[s] + state.size[s]):
                    c = arena[k]
                    if c >= labels:
                        says[q] -= 100.0  # not known yet: it cannot be on
                    elif place[c] >= 0:
                        inside[place[c], q] = 1.0
                        says[q] += logit[place[c]]
                        held[q] += p[place[c]]
                    else:
                        own = _certain(scores[t, c])
                        says[q] += math.log(own / (1.0 - own))
            for q in range(count):
                excess[q] = max(0.0, math.exp(trust * bond[q]) - floor)
            rest = tilt(p, fitted, inside, says, count, excess, floor, odds, weight)
            # Parts without a bond of their own: of each size, the most probable labels.
            order = sorted_live[item]
            for j in range(fitted):
                i = j
                while i > 0 and odds[order[i - 1]] < odds[j]:
                    order[i] = order[i - 1]
                    i -= 1
                order[i] = j
            chance[0] = rest
            for j in range(fitted):
                own = odds[j] / (1.0 + odds[j])
                top = min(SIZES - 1, j + 1)
                last = chance[top] * own if top == SIZES - 1 else 0.0
                for k in range(top, 0, -1):
                    chance[k] = chance[k] * (1.0 - own) + chance[k - 1] * own
                chance[top] += last
                chance[0] *= 1.0 - own
            plain, among = math.log(max(1e-300, chance[0])), 0.0
            for j in range(min(fitted, SIZES - 1)):
                plain += math.log(odds[order[j]])
                among += p[order[j]]
                value[j + 1], inside_of[j + 1] = plain, among
                picked[at, j + 1] = -2 - j
            expected, left = 0.0, 1.0
            for q in range(count):
                own = weight[q] * (excess[q] + floor)
                left -= own
                expected += own * bond[q]
                k = min(SIZES - 1, int(size[q]))
                chance[k] += weight[q] * excess[q]
                worth = math.log(own + 1e-300)
                if worth > value[k]:
                    value[k], inside_of[k], picked[at, k] = worth, held[q], q
            expected += max(0.0, left) * lowest
            most = SIZES - 1
            while value[most] <= NEVER:
                most -= 1
            add_cluster(chance, value, most, inside_of, chances, values, insides, came_from[at])
            for j in range(fitted):
                order[j] = live[order[j]]
                place[live[j]] = -1
            if labelled[t]:
                found = part_of(state, y_indices, y_indptr[t], y_indptr[t + 1], item, part)
                true_bond = bond[0] if found == 0 else lowest
                if found > 0:
                    for q in range(1, count):
                        s = state.top[item, q - 1]
                        if size[q] == found:
                            same = True
                            for k in range(found):
                                same &= arena[state.start[s] + k] == part[k]
                            if same:
                                true_bond = bond[q]
                slope = min(5.0, max(-5.0, expected - true_bond))
                numbers[TRUST_SQUARE] += slope * slope
                moved = numbers[TRUST] - TRUST_STEP * slope / math.sqrt(numbers[TRUST_SQUARE])
                numbers[TRUST] = min(MOST_TRUST, max(0.0, moved))
            at += 1
        cell = best_numbers(chances, values, insides, mass, numbers)
        for i in range(many - 1, -1, -1):
            source = came_from[i, cell // ACTIVE, cell % ACTIVE]
            chosen = source % SIZES
            cell = source // SIZES
            if chosen == 0:
                continue
            if items[i] < 0:
                on[t, -1 - items[i]] = True
            elif picked[i, chosen] <= -2:
                for j in range(-1 - picked[i, chosen]):
                    on[t, sorted_live[items[i], j]] = True
            else:
                s = state.top[items[i], picked[i, chosen] - 1]
                for k in range(state.start[s], state.start[s] + state.size[s]):
                    if arena[k] < labels:
                        on[t, arena[k]] = True
        if not labelled[t]:
            continue
        start, stop = y_indptr[t], y_indptr[t + 1]
        active, foreseen = 0, True
        for k in range(start, stop):
            foreseen &= y_indices[k] < labels and scores[t, y_indices[k]] >= NOTICEABLE
            b = cluster_of[y_indices[k]]
            again = False
            for j in range(start, k):
                again |= b != ALONE and cluster_of[y_indices[j]] == b
            if not again:
                active += 1
                if b != ALONE:
                    learn_share(state, b, part, part_of(state, y_indices, k, stop, b, part))
        # With a label on that nobody looked at no union is right, so those count that have none.
        if foreseen:
            learn_factors(chances, stop - start, active, numbers)
        numbers[WEIGHT] *= INFLATION
        numbers[EVENTS] += numbers[WEIGHT]
        count_set(state, y_indices, start, stop, numbers[WEIGHT])
        renormalise(state)


@kernel
def choose_rows(
    y_indptr: OffsetArray,
    y_indices: IntArray,
    labelled: BoolArray,
    parts: BoolArray,
    numbers: FloatArray,
    on: BoolArray,
) -> None:
    """Take the decisions by cluster where they have lately been better than those by whole sets.

    Better, by `LEAST_LEAD`, is the larger sum of fading rewards: 1 for the right set, and its F1
    times `F1_WEIGHT`.

    Parameters
    ----------
    y_indptr, y_indices, labelled
        As in `Batch`.
    parts
        bool (n, labels): the decisions by cluster.
    numbers
        See `PartState`; `LEAD` is changed by labelled rows.
    on
        bool (n, labels): the decisions by whole sets; changed.
    """
    for t in range(labelled.shape[0]):
        wanted = int(y_indptr[t + 1] - y_indptr[t])
        differ, whole, here = False, 0, 0
        for c in range(on.shape[1]):
            differ |= on[t, c] != parts[t, c]
            whole += int(on[t, c])
            here += int(parts[t, c])
        lead = numbers[LEAD]
        if not differ:
            continue
        if labelled[t]:
            whole_hit, here_hit = 0, 0
            for k in range(y_indptr[t], y_indptr[t + 1]):
                if y_indices[k] < on.shape[1]:
                    whole_hit += int(on[t, y_indices[k]])
                    here_hit += int(parts[t, y_indices[k]])
            gain = _reward(here_hit, here, wanted) - _reward(whole_hit, whole, wanted)
            moved = LEAD_FADING * lead + gain
            numbers[LEAD] = min(LEAD_LIMIT, max(-LEAD_LIMIT, moved))
        if lead > LEAST_LEAD:
            on[t] = parts[t]


@kernel
def _reward(hit: int, chosen: int, wanted: int) -> float:
    """What a set with `hit` right labels of `chosen`, where `wanted` are true, is worth."""
    right = 1.0 if hit == chosen and hit == wanted else 0.0
    f1 = 2.0 * hit / (chosen + wanted) if chosen + wanted > 0 else 1.0
    return right + F1_WEIGHT * f1
