"""Posting lists that are the model: each feature holds the labels that it says something about.

In: the features of one event and the labels that were on. Out: scores of the labels that these
features know, and lists changed by one step of gradient. What an event costs depends on the
lengths of its features' lists, which are bounded, never on the number of labels.

A feature's list holds at most K entries (label, weight, sum of squared gradients). Only a label
that is on makes an entry; a full list gives up the one of the smallest weight. So what was never
seen together takes no memory. A list that gives up entries again and again is that of a feature
that says little about many labels: the more it has given up, the fewer it may have.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ihomer.instances import BoolArray, Float32Array, IntArray, OffsetArray
from ihomer.jit import kernel

BIAS = np.float32(-5.0)  # of a label that has never been on
STEP = np.float32(2.0)
BIAS_STEP = np.float32(0.1)
SHORTEST, CLASSES = 4, 17  # room in a list is 4, 6, 8, 12, 16, ..., 768, 1024
ENTRIES = 1 << 22  # that lists of equal length would have together
LEAST, MOST = 64, 1024  # bounds of K
PATIENCE = 128  # entries that a list gives up before its bound falls
FEWEST = 8  # entries to which it falls at most
MOST_GIVEN_UP = 1 << 30  # that are counted
BEST = 32  # labels of the best scores that are looked at further
NEVER = np.float32(-1e30)  # no score: nothing has been added yet
MARKED = 4096  # slots in which labels to be learned are marked

# Places in `Postings.progress`.
COLUMNS, END = 0, 1
LINE = 16  # numbers that memory hands over together
SIZE = 3  # numbers of an entry: label, weight, sum of squares

_ZERO = np.float32(0.0)
_MAGNITUDE = np.int32(0x7FFFFFFF)  # the bits of a float32 but its sign
_FLOOR = np.float32(1e-12)  # of a sum of squared gradients: an inverse root stays finite


class Postings(NamedTuple):
    """Lists, labels and what one event needs.

    Attributes
    ----------
    start
        int64 (columns,): where in `entry` a feature's list begins.
    room, used
        int32 (columns,): entries that its list has room for, and entries in it.
    given_up
        int32 (columns,): entries that it has given up because it was full.
    entry
        int32 (3 * entries,): the arena. A list with room for r entries has r labels, then the bits
        of r weights, then those of r sums of squares: what is asked of all entries lies side by
        side. A list that has moved leaves its place to the next one of its room: its first number
        is then where the next such place begins, -1 = none.
    free
        int64 (`CLASSES`,): first free place of each room; -1 = none.
    bias, bias_square
        float32 (labels,).
    score
        float32 (labels,): `NEVER` between events.
    touched
        int32 (labels + 1,): ids with a score, in order of their first addition.
    mark
        bool (labels,): False between events.
    place
        int32 (labels,): where a marked label stands in a list.
    progress
        int64 (2,): at `COLUMNS` one more than the largest column learned; at `END` the arena's
        end.
    """

    start: OffsetArray
    room: IntArray
    used: IntArray
    given_up: IntArray
    entry: IntArray
    free: OffsetArray
    bias: Float32Array
    bias_square: Float32Array
    score: Float32Array
    touched: IntArray
    mark: BoolArray
    place: IntArray
    progress: OffsetArray


@kernel
def number(pattern: int) -> np.float32:
    """The float32 of 32 bits."""
    return np.int32(pattern).view(np.float32)


@kernel
def bits(value: np.float32) -> np.int32:
    """The 32 bits of a float32."""
    return np.float32(value).view(np.int32)


@kernel
def list_bound(columns: int) -> int:
    """K: entries that a list may have where `columns` features are in use."""
    return min(MOST, max(LEAST, ENTRIES // max(1, columns)))


@kernel
def own_bound(most: int, given_up: int) -> int:
    """Entries that a list may have which has given up so many, of `most` at first."""
    if given_up <= PATIENCE:
        return most
    return max(min(most, FEWEST), most * PATIENCE // given_up)


@kernel
def score_labels(indices: IntArray, values: Float32Array, state: Postings) -> int:
    """Add up what the features of one event say; returns how many labels they touched.

    Biases are left to the caller, who goes through the touched labels anyway.
    """
    columns = state.start.shape[0]
    score, touched, entry = state.score, state.touched, state.entry
    # Lists lie far apart, and waiting for one after the other takes longer than all else: here
    # they are asked for together.
    asked = np.int32(0)
    for i in range(indices.shape[0]):
        j = indices[i]
        if j >= columns:
            continue
        first, room, used = state.start[j], state.room[j], state.used[j]
        for e in range(first, first + used, LINE):
            asked |= entry[e] | entry[e + room]
    touched[0] = asked  # or it would not be done at all
    n = np.uint64(0)
    for i in range(indices.shape[0]):
        j = indices[i]
        if j >= columns:
            continue
        value = values[i]
        first, room, used = state.start[j], state.room[j], state.used[j]
        labels = state.entry[first : first + used]
        weights = state.entry[first + room : first + room + used]
        for e in range(used):
            label = np.uint32(labels[e])  # without a sign: no test for being counted from the end
            # Without a branch: whether a label is new cannot be foreseen.
            before = score[label]
            new = before == NEVER
            touched[n] = label
            n += np.uint64(new)
            score[label] = (_ZERO if new else before) + number(weights[e]) * value
    return int(np.int64(n))  # a sum of both kinds would be no integer


@kernel
def keep_best(
    key: np.float32, item: int, found: int, most: int, keys: Float32Array, items: IntArray
) -> int:
    """Put an item into a list of the `most` largest keys, equal ones by item, if it belongs there.

    Returns
    -------
    int
        Length of the list.
    """
    if found == most:
        if key < keys[found - 1] or (key == keys[found - 1] and item > items[found - 1]):
            return found
        found -= 1
    at = found
    while at > 0 and (keys[at - 1] < key or (keys[at - 1] == key and items[at - 1] > item)):
        keys[at], items[at] = keys[at - 1], items[at - 1]
        at -= 1
    keys[at], items[at] = key, item
    return found + 1


@kernel
def room_needed(indices: IntArray, positives: int, state: Postings) -> int:
    """Numbers that the arena must have room for before an event is learned."""
    needed = 0
    for i in range(indices.shape[0]):
        j = indices[i]
        if state.used[j] + positives > state.room[j]:
            needed += SIZE * class_room(_size_class(state.used[j] + positives))
    return needed


@kernel
def class_room(size: int) -> int:
    """Entries that a list of a size class has room for: powers of two, and half-way between."""
    return (SHORTEST + (SHORTEST >> 1) * (size & 1)) << (size >> 1)


@kernel
def _size_class(entries: int) -> int:
    """The least size class with room for so many entries; the last one at most."""
    size = 0
    while class_room(size) < entries and size < CLASSES - 1:
        size += 1
    return size


@kernel
def _lengthen(j: int, entries: int, state: Postings) -> None:
    """Move list `j` to where there is room for `entries`; if there is none, it stays."""
    size = _size_class(entries)
    room = class_room(size)
    to = state.free[size]
    if to >= 0:
        state.free[size] = state.entry[to]
    else:
        to = state.progress[END]
        if to + SIZE * room > state.entry.shape[0]:
            return
        state.progress[END] = to + SIZE * room
    first, old = state.start[j], state.room[j]
    for part in range(SIZE):
        for k in range(state.used[j]):
            state.entry[to + part * room + k] = state.entry[first + part * old + k]
    if old > 0:
        size = _size_class(old)
        state.entry[first] = state.free[size]
        state.free[size] = first
    state.start[j] = to
    state.room[j] = room


@kernel
def _smallest(weights: IntArray) -> int:
    """Which of some weights, given as bits, is the smallest, of equal ones the first."""
    # Without signs the bits are in the order of the numbers, and a loop over integers runs many
    # at a time.
    least = np.int64(_MAGNITUDE) << 32
    for e in range(weights.shape[0]):
        least = min(least, (np.int64(weights[e] & _MAGNITUDE) << 32) | np.int64(e))
    return int(least & _MAGNITUDE)


@kernel
def _give_up(first: int, room: int, used: int, most: int, entry: IntArray) -> int:
    """The number that a new entry of a full list is given: that of the smallest weight.

    In a list that is longer than `most`, because features were fewer when it grew or it had given
    up less, the last entry takes the place of the smallest one before; its end moves.
    """
    at = _smallest(entry[first + room : first + room + used])
    if used <= most:
        return at
    last = used - 1
    for part in range(SIZE):
        entry[first + part * room + at] = entry[first + part * room + last]
    return _smallest(entry[first + room : first + room + last])


@kernel
def learn_labels(
    indices: IntArray,
    values: Float32Array,
    labels: IntArray,
    slopes: Float32Array,
    n_on: int,
    state: Postings,
) -> None:
    """One AdaGrad step on the logistic loss of some labels (Duchi, Hazan, Singer, 2011).

    Parameters
    ----------
    indices, values
        The event's features.
    labels, slopes
        Ids and p - y of the labels to be learned; the first `n_on` are on, ascending.
    n_on
        How many.
    state
        Changed in place.
    """
    n = labels.shape[0]
    entry, mark = state.entry, state.mark
    # Few labels are learned, and this table is near where `mark` is not.
    maybe = np.zeros(MARKED, dtype=np.bool_)
    for k in range(n):
        label = labels[k]
        state.place[label] = k
        state.mark[label] = True
        maybe[label & (MARKED - 1)] = True
        slope = slopes[k]
        square = state.bias_square[label] + slope * slope
        state.bias_square[label] = square
        state.bias[label] -= BIAS_STEP * slope / np.sqrt(square + _FLOOR)
    found = np.full(n_on, -1, dtype=np.int64)
    bound = list_bound(state.progress[COLUMNS])
    asked = np.int32(0)  # as in `score_labels`
    for i in range(indices.shape[0]):
        j = indices[i]
        first = state.start[j] + 2 * state.room[j]
        for e in range(first, first + state.used[j], LINE):
            asked |= entry[e]
    state.touched[0] = asked
    for i in range(indices.shape[0]):
        j = indices[i]
        value = values[i]
        if j >= state.progress[COLUMNS]:
            state.progress[COLUMNS] = j + 1
            bound = list_bound(j + 1)
        first, room = state.start[j], state.room[j]
        list_labels = entry[first : first + state.used[j]]
        for e in range(state.used[j]):
            label = list_labels[e]
            if maybe[label & (MARKED - 1)] and mark[label]:
                k = state.place[label]
                if k < n_on:
                    found[k] = j
                weight_at, square_at = first + room + e, first + 2 * room + e
                slope = slopes[k] * value
                square = number(entry[square_at]) + slope * slope
                weight = number(entry[weight_at])
                entry[square_at] = bits(square)
                entry[weight_at] = bits(weight - STEP * slope / np.sqrt(square + _FLOOR))
        most = own_bound(bound, state.given_up[j])
        for k in range(min(n_on, most)):
            if found[k] == j:
                continue
            used = state.used[j]
            if used >= most:
                e = _give_up(first, room, used, most, entry)
                if used > most:
                    state.used[j] = used - 1
                if state.given_up[j] < MOST_GIVEN_UP:
                    state.given_up[j] += 1
            else:
                if used == room:
                    _lengthen(j, used + 1, state)
                    first, room = state.start[j], state.room[j]
                if used < room:
                    e = used
                    state.used[j] = used + 1
                elif used > 0:  # the arena is full
                    e = _smallest(entry[first + room : first + room + used])
                else:
                    break
            slope = slopes[k] * value
            square = slope * slope
            entry[first + e] = labels[k]
            entry[first + room + e] = bits(-STEP * slope / np.sqrt(square + _FLOOR))
            entry[first + 2 * room + e] = bits(square)
    for k in range(n):
        state.mark[labels[k]] = False


@kernel
def forget_entries(gone: BoolArray, state: Postings) -> None:
    """Make some labels as if they had never been on.

    Parameters
    ----------
    gone
        bool (labels,).
    state
        The other entries of a list stay in their order.
    """
    for j in range(state.start.shape[0]):
        first, room, kept = state.start[j], state.room[j], 0
        for i in range(state.used[j]):
            if gone[state.entry[first + i]]:
                continue
            if kept < i:
                for part in range(SIZE):
                    state.entry[first + part * room + kept] = state.entry[first + part * room + i]
            kept += 1
        state.used[j] = kept
    for label in range(gone.shape[0]):
        if gone[label]:
            state.bias[label] = BIAS
            state.bias_square[label] = _ZERO
