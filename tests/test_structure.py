"""The label-structure monitor: what it measures, when it speaks, and when it keeps quiet."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer.drift.structure import StructureMonitor, pair_shares
from tests.planted import blocks_of, label_sets, packed


def naive_shares(rows: list[list[int]], places: list[int]) -> list[float]:
    """Share of pairs inside one cluster, for each event with two placed labels or more."""
    shares = []
    for row in rows:
        placed = [places[label] for label in row if places[label] >= 0]
        pairs = list(itertools.combinations(placed, 2))
        if pairs:
            shares.append(sum(a == b for a, b in pairs) / len(pairs))
    return shares


rows_of_labels = st.lists(st.sets(st.integers(0, 11), max_size=6).map(sorted), max_size=40)


@settings(deadline=None)
@given(rows_of_labels, st.lists(st.integers(-1, 3), min_size=12, max_size=12))
def test_shares_are_those_of_the_definition(rows: list[list[int]], places: list[int]) -> None:
    indptr, indices = packed(rows)
    shares = np.full(len(rows), np.nan)
    count = pair_shares(indptr, indices, np.array(places, dtype=np.int32), shares)
    assert shares[:count].tolist() == naive_shares(rows, places)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 600), max_size=6), st.integers(0, 100))
def test_cuts_into_batches_do_not_matter(cuts: list[int], seed: int) -> None:
    blocks = blocks_of(40, 8)
    moved = np.roll(blocks, 3)
    indptr, indices = label_sets(blocks, 300, seed)
    later, more = label_sets(moved, 300, seed + 1)
    indptr = np.concatenate([indptr, later[1:] + indptr[-1]])
    indices = np.concatenate([indices, more])
    whole, parts = StructureMonitor(), StructureMonitor()
    alarm = whole.update(indptr, indices, blocks)
    edges = [0, *sorted(cuts), 600]
    alarms = [
        parts.update(indptr[a : b + 1] - indptr[a], indices[indptr[a] : indptr[b]], blocks)
        for a, b in itertools.pairwise(edges)
    ]
    assert alarm
    assert any(alarms)
    assert (whole.latest, whole.width, whole.estimation) == (
        parts.latest,
        parts.width,
        parts.estimation,
    )


@pytest.mark.parametrize("seed", range(3))
def test_labels_that_change_company_are_noticed_soon(seed: int) -> None:
    rng = np.random.default_rng(seed)
    blocks = blocks_of(40, 8)
    moved = blocks.copy()
    half = rng.permutation(40)[:20]
    moved[half] = rng.permutation(blocks[half])
    monitor = StructureMonitor()
    assert not monitor.update(*label_sets(blocks, 5000, seed), blocks)
    indptr, indices = label_sets(moved, 500, seed + 10)
    delay = next(
        t
        for t in range(500)
        if monitor.update(
            np.array([0, indptr[t + 1] - indptr[t]]), indices[indptr[t] : indptr[t + 1]], blocks
        )
    )
    assert delay < 200
    alarm = monitor.latest
    assert alarm is not None
    assert alarm.change < -alarm.bound < 0
    assert alarm.since <= 2 * delay


def test_labels_without_a_place_have_not_left_one() -> None:
    blocks = blocks_of(40, 8)
    half_known = np.where(np.arange(40) % 2 == 0, blocks, -1).astype(np.int32)
    indptr, indices = label_sets(blocks, 3000, 1)
    monitor = StructureMonitor()
    assert not monitor.update(indptr, indices, half_known)
    # New labels beside the old ones change nothing either.
    late = [[0, 5, 39], [4, 39]] * 200
    nothing_placed = np.full(40, -1, dtype=np.int32)
    fresh = StructureMonitor()
    assert not fresh.update(*packed(late), nothing_placed)
    assert fresh.width == 0


def test_reset_starts_anew() -> None:
    blocks = blocks_of(8, 2)
    monitor = StructureMonitor()
    inside, across = packed([[0, 1]] * 300), packed([[0, 7]] * 300)
    monitor.update(*inside, blocks)
    monitor.reset()
    assert monitor.width == 0
    assert not monitor.update(*across, blocks)
    assert monitor.update(*inside, blocks)
