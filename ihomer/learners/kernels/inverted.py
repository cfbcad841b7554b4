"""Nearest neighbours from an inverted index: each feature keeps its last events.

In: the features of one event. Out: its nearest learned events by dot product, and the share of
their label sets in which each label is on. Rare features keep events of long ago, so a label that
was seen twice is found again; common ones keep the last few, which say little anyway. What an
event costs depends on its number of features alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ihomer.instances import BoolArray, Float32Array, IntArray, OffsetArray
from ihomer.jit import kernel
from ihomer.learners.kernels.foremost import reached, those_from
from ihomer.learners.kernels.postings import LINE, NEVER, keep_best

DEPTH = 32  # events that a feature keeps
SHALLOW = 4  # of them that are looked at at least, where a feature is far more frequent than others
USUAL = np.float32(6.0)  # times the harmonic mean of the features' frequencies: all are looked at
NEIGHBOURS = 32
EVENTS = 1 << 17  # whose label sets are kept
MARKS = 1 << 20  # labels that these sets have together
WRAP = 1 << 30  # events are numbered modulo it
NEAREST = np.float32(1e-6)  # a smaller dot product makes no neighbour

_ZERO = np.float32(0.0)
_WHOLE = np.float32(1.0)
_SMALLEST = np.float32(1e-30)

# Places in `Inverted.progress`.
EVENT, MARK = 0, 1


class Inverted(NamedTuple):
    """The index, and the label sets behind it.

    Attributes
    ----------
    event
        int32 (columns * `DEPTH`,): a feature's latest events, numbers modulo `WRAP`.
    value
        float32 (columns * `DEPTH`,): its values in them.
    many
        int32 (columns,): learned events it has had, cut to stay below `WRAP`.
    first
        int64 (`EVENTS`,): where an event's labels began among all that ever were.
    length
        int32 (`EVENTS`,).
    label
        int32 (`MARKS`,): a ring of label ids.
    near
        float32 (`EVENTS`,): dot products; `NEVER` between events.
    touched
        int32 (`EVENTS` + 1,): places in `near` that are in use.
    vote
        float32 (labels,): `NEVER` between events.
    progress
        int64 (2,): learned events, and labels of all their sets.
    """

    event: IntArray
    value: Float32Array
    many: IntArray
    first: OffsetArray
    length: IntArray
    label: IntArray
    near: Float32Array
    touched: IntArray
    vote: Float32Array
    progress: OffsetArray


@kernel
def find_neighbours(
    indices: IntArray,
    values: Float32Array,
    state: Inverted,
    products: Float32Array,
    likely: IntArray,
    lanes: Float32Array,
    keys: Float32Array,
    items: IntArray,
) -> int:
    """The nearest events, best first; returns how many there are.

    Parameters
    ----------
    indices, values
        The event's features, of length 1 together.
    state
        As it was, when this returns.
    products, likely, lanes
        float32 (`EVENTS`,), int32 (`EVENTS` + 1 or more,), float32 (2, `LANES`): scratch.
    keys, items
        float32, int32 (`NEIGHBOURS`,), written: their dot products, above `NEAREST`, and places.
        Of equal ones that with the lower place comes first.
    """
    columns = state.many.shape[0]
    learned = state.progress[EVENT]
    event, values_of, near, touched = state.event, state.value, state.near, state.touched
    # Asked for together, as in `score_labels`.
    asked, known, rarity = np.int32(0), 0, _ZERO
    for i in range(indices.shape[0]):
        j = indices[i]
        if j >= columns or state.many[j] == 0:
            continue
        known += 1
        rarity += _WHOLE / np.float32(state.many[j])
        for k in range(DEPTH * j, DEPTH * j + min(DEPTH, state.many[j]), LINE):
            asked |= event[k] | np.int32(values_of[k])
    touched[0] = asked
    usual = USUAL * np.float32(known * DEPTH) / max(rarity, _SMALLEST)
    n = np.uint64(0)
    for i in range(indices.shape[0]):
        j = indices[i]
        if j >= columns or state.many[j] == 0:
            continue
        value, many = values[i], state.many[j]
        depth = min(DEPTH, many, max(SHALLOW, int(usual / np.float32(many))))
        begin = DEPTH * j
        for back in range(many - depth, many):
            at = np.uint64(begin + (back & (DEPTH - 1)))
            number = event[at]
            if (learned - number) & (WRAP - 1) > EVENTS:
                continue
            place = np.uint32(number & (EVENTS - 1))
            # Without a branch: whether an event is new here cannot be foreseen.
            before = near[place]
            new = before == NEVER
            touched[n] = place
            n += np.uint64(new)
            near[place] = (_ZERO if new else before) + values_of[at] * value
    touches = int(np.int64(n))  # a sum of both kinds would be no integer
    for i in range(touches):
        place = np.uint32(touched[i])
        products[i] = near[place]
        near[place] = NEVER
    found = 0
    least = reached(products[:touches], NEIGHBOURS, lanes)
    for k in range(those_from(products[:touches], least, likely)):
        product = products[likely[k]]
        if product > NEAREST:
            found = keep_best(product, touched[likely[k]], found, NEIGHBOURS, keys, items)
    return found


@kernel
def vote(found: int, keys: Float32Array, items: IntArray, state: Inverted, labels: IntArray) -> int:
    """Shares of the neighbours' squared dot products by label; returns how many labels have one.

    Parameters
    ----------
    found, keys, items
        As `find_neighbours` left them.
    state
        `vote` is written.
    labels
        int32: ids, in order of their first vote; past its end neighbours are passed over.
    """
    total = np.float32(0.0)
    for i in range(found):
        total += keys[i] * keys[i]
    n = 0
    for i in range(found):
        weight = keys[i] * keys[i] / total
        place = items[i]
        first = state.first[place]
        if state.progress[MARK] - first > MARKS:
            continue
        for m in range(first, first + state.length[place]):
            label = state.label[m & (MARKS - 1)]
            before = state.vote[label]
            if before != NEVER:
                state.vote[label] = before + weight
            elif n < labels.shape[0]:
                state.vote[label] = weight
                labels[n] = label
                n += 1
    return n


@kernel
def learn_event(indices: IntArray, values: Float32Array, labels: IntArray, state: Inverted) -> None:
    """Enter one event and its labels.

    A set larger than a sixteenth of `MARKS` is cut, and so are those that its labels push out.
    """
    number = state.progress[EVENT]
    place = number & (EVENTS - 1)
    many = min(labels.shape[0], MARKS // 16)
    first = state.progress[MARK]
    for k in range(many):
        state.label[(first + k) & (MARKS - 1)] = labels[k]
    state.first[place] = first
    state.length[place] = many
    state.progress[MARK] = first + many
    state.progress[EVENT] = number + 1
    for i in range(indices.shape[0]):
        j = indices[i]
        slot = state.many[j] % DEPTH
        state.event[DEPTH * j + slot] = number & (WRAP - 1)
        state.value[DEPTH * j + slot] = values[i]
        state.many[j] += 1
        if state.many[j] == WRAP:
            state.many[j] = WRAP // 2


@kernel
def forget_marks(gone: BoolArray, state: Inverted) -> None:
    """Take some labels out of all label sets that are kept.

    Parameters
    ----------
    gone
        bool (labels,).
    state
        Changed in place.
    """
    for place in range(EVENTS):
        first, kept = state.first[place], 0
        if state.progress[MARK] - first > MARKS:
            continue
        for m in range(first, first + state.length[place]):
            label = state.label[m & (MARKS - 1)]
            if not gone[label]:
                state.label[(first + kept) & (MARKS - 1)] = label
                kept += 1
        state.length[place] = kept
