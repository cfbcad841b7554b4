"""Numbers of clusters for life, and what a change of the partition is called."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ihomer.drift.events import Kind, Level
from ihomer.learners.partition.lineage import Lineage

LABELS = 8


def clusters(draw: st.DrawFn, labels: int) -> list[int]:
    """Each label's place from 1, places without a gap; 0: none."""
    raw = draw(st.lists(st.integers(0, 4), min_size=labels, max_size=labels))
    places = {0: 0} | {c: 1 + i for i, c in enumerate(sorted({*raw} - {0}))}
    return [places[c] for c in raw]


@st.composite
def histories(draw: st.DrawFn) -> list[list[int]]:
    grown = draw(st.lists(st.integers(1, LABELS), min_size=1, max_size=6).map(sorted))
    return [clusters(draw, n) for n in grown]


@given(histories())
def test_numbers_are_for_life_and_events_say_what_moved(history: list[list[int]]) -> None:
    lineage = Lineage()
    number_of: dict[int, int] = {}  # of each label's cluster, as events tell it
    ever: set[int] = {0}
    present: list[int] = []
    for after in history:
        before = present + [0] * (len(after) - len(present))
        old = [0, *lineage.numbers]
        for label in range(len(present), len(after)):
            number_of[label] = 0
        events = lineage.follow(
            128, np.array(before, np.int32), np.array(after, np.int32), max(after)
        )
        new = [0, *lineage.numbers]
        assert len(new) == len(set(new)) == 1 + max(after)
        alive, was_alive = {0} | {new[c] for c in after}, {old[c] for c in before} | {0}
        for event in events:
            assert (event.event, event.level) == (128, Level.PARTITION)
            assert event.cluster is not None
            ids = [label for label in event.labels if isinstance(label, int)]
            sources = {number_of[label] for label in ids}
            assert len(sources) == 1
            source = sources.pop()
            assert source != event.cluster
            expected = Kind.MOVE
            if source and event.cluster:
                fresh, over = event.cluster not in was_alive, source not in alive
                assert not (fresh and over)
                expected = Kind.SPLIT if fresh else Kind.MERGE if over else Kind.MOVE
            assert event.kind == expected
            assert f"cluster {source}" in event.action or event.action == "found a place"
        for event in events:
            for id_ in event.labels:
                assert isinstance(id_, int)
                number_of[id_] = event.cluster or 0
        assert [number_of[label] for label in range(len(after))] == [new[c] for c in after]
        # A number that is gone never comes back.
        assert not (set(new) - set(old)) & ever
        ever |= set(new)
        present = after


@given(histories())
def test_the_largest_part_keeps_the_number(history: list[list[int]]) -> None:
    lineage = Lineage()
    present: list[int] = []
    for after in history:
        before = present + [0] * (len(after) - len(present))
        old = [0, *lineage.numbers]
        lineage.follow(128, np.array(before, np.int32), np.array(after, np.int32), max(after))
        overlap = np.zeros((len(old), 1 + max(after)), dtype=int)
        np.add.at(overlap, (before, after), 1)
        for a in range(1, len(old)):
            for b in range(1, 1 + max(after)):
                size = overlap[a, b]
                alone = size > 0 and (
                    size > np.delete(overlap[a, 1:], b - 1).max(initial=0)
                    and size > np.delete(overlap[1:, b], a - 1).max(initial=0)
                )
                if alone:
                    assert lineage.numbers[b - 1] == old[a]
        present = after
