"""Label sets from planted blocks: a structure and uniform numbers in, positives out.

It is here for the streams whose features follow their labels (`text`, `blocks`), and for the
label noise of all. Each event has one or two active blocks, drawn by their weights; from each,
some labels are drawn without repetition, by their shares.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ihomer.connectors.synthetic.population import DEAD, Population
from ihomer.connectors.synthetic.uniform import CHUNK, Randomness
from ihomer.instances import IntArray, OffsetArray

NONE = -1


class Positives(NamedTuple):
    """Labels that are on, in any order.

    Attributes
    ----------
    row
        int64 (p,), the event's place in its chunk.
    label
        int32 (p,), label ids.
    """

    row: OffsetArray
    label: IntArray


class Sizes(NamedTuple):
    """How many blocks and labels an event has.

    Attributes
    ----------
    two
        Probability of a second block.
    one_block, two_blocks
        Least and largest number of labels from the block of an event of one, and from each block
        of an event of two; each number between is as likely.
    factor
        These numbers are multiplied by it, and rounded up or down so that their mean is kept;
        one label is the least.
    """

    two: float
    one_block: tuple[int, int]
    two_blocks: tuple[int, int]
    factor: float = 1.0


def draw_blocks(
    population: Population, two: float, randomness: Randomness, chunk: int, rows: OffsetArray
) -> OffsetArray:
    """Active blocks of the events at `rows` of a chunk, int64 (n, 2); `NONE` = no second one.

    The second one is drawn by the weights without the first.
    """
    first_u = randomness.uniforms("first block", chunk, CHUNK)[rows]
    second_u = randomness.uniforms("second block", chunk, CHUNK)[rows]
    first = np.searchsorted(population.ends, first_u, side="right")
    weight = population.weights[first]
    # The first one's stretch is cut out of the unit interval.
    before = np.where(first > 0, population.ends[first - 1], 0.0)
    place = second_u * (1.0 - weight)
    place += np.where(place >= before, weight, 0.0)
    second = np.searchsorted(population.ends, place, side="right")
    has_two = randomness.uniforms("two", chunk, CHUNK)[rows] < two
    # Equal only by rounding at the edge, or because there is no other block.
    second[~has_two | (second == first)] = NONE
    return np.stack((first, second), axis=1)


def draw_labels(
    population: Population,
    sizes: Sizes,
    blocks: OffsetArray,
    randomness: Randomness,
    chunk: int,
    rows: OffsetArray,
) -> Positives:
    """Labels from the active `blocks` of the events at `rows` of a chunk.

    Successive draws without repetition, as a race: label i arrives at ``-log(u) / share_i``, and
    the first ones are on (Efraimidis and Spirakis, 2006).
    """
    found: list[Positives] = []
    alone = blocks[:, 1] == NONE
    for slot in range(2):
        active = np.flatnonzero(blocks[:, slot] != NONE)
        if not len(active):
            continue
        least, most = np.where(
            alone[active][:, None], np.array(sizes.one_block), np.array(sizes.two_blocks)
        ).T
        at = rows[active]
        draw = randomness.uniforms(f"how many {slot}", chunk, CHUNK)[at]
        many = least + np.floor(draw * (most - least + 1))
        if sizes.factor != 1.0:
            chance = randomness.uniforms(f"rounding {slot}", chunk, CHUNK)[at]
            many = np.maximum(np.floor(many * sizes.factor + chance), 1.0)
        members = population.padded(blocks[active, slot])
        width = members.shape[1]
        arrival = randomness.uniforms(f"race {slot}", chunk, CHUNK * width)
        arrival = -np.log(arrival.reshape(width, CHUNK)[:, at].T)
        arrival /= np.where(members == DEAD, 1.0, population.shares[members])
        arrival[members == DEAD] = np.inf
        ranked = np.take_along_axis(members, np.argsort(arrival, axis=1, kind="stable"), axis=1)
        chosen = (np.arange(width) < many[:, None]) & (ranked != DEAD)
        which, _ = np.nonzero(chosen)
        found.append(Positives(at[which], ranked[chosen]))
    return joined(found)


def joined(parts: list[Positives]) -> Positives:
    """All of `parts` as one."""
    return Positives(
        np.concatenate([part.row for part in parts] or [np.zeros(0, dtype=np.int64)]),
        np.concatenate([part.label for part in parts] or [np.zeros(0, dtype=np.int32)]),
    )


def add_noise(
    clean: Positives, live: IntArray, share: float, randomness: Randomness, chunk: int
) -> IntArray:
    """Replace each positive with probability `share` by any label of `live`.

    Parameters
    ----------
    clean
        Sorted by row and label, so that the outcome does not depend on how they were drawn.

    Returns
    -------
    IntArray
        int32 (p,), in the order of `clean`; a label may now be there twice in a row.
    """
    place = place_in_row(clean.row)
    width = int(place.max(initial=-1)) + 1
    at = place * CHUNK + clean.row
    draw = randomness.uniforms("noise", chunk, CHUNK * width)[at]
    replaced = np.flatnonzero(draw < share)
    # What is below `share` is uniform below it, so it chooses the label too.
    which = (draw[replaced] / share * len(live)).astype(np.int64)
    label = clean.label.copy()
    label[replaced] = live[np.minimum(which, len(live) - 1)]
    return label


def place_in_row(row: OffsetArray) -> OffsetArray:
    """Number of each element among those of its row, from 0; `row` ascends."""
    first = np.searchsorted(row, row, side="left")
    return np.arange(len(row)) - first
