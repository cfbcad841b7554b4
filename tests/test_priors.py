"""The monitor of priors against its definition, when it speaks, and when it keeps quiet."""

from __future__ import annotations

import itertools
import math
import pickle

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ihomer.drift.priors import RATIO, SCALES, UNIT, PriorsAlarm, PriorsMonitor
from ihomer.instances import BoolArray, IntArray, OffsetArray
from tests.planted import packed

Sets = list[set[int]]


def entropy(k: float, n: float) -> float:
    """n times the entropy of k in n, in nats."""
    return -sum(c * math.log(c / n) for c in (k, n - k) if c > 0)


def statistics(sets: Sets, w: int) -> dict[int | None, float]:
    """Every label's statistic for the last w of `sets`, and that of their sizes under None."""
    n, recent = len(sets), sets[len(sets) - w :]
    found: dict[int | None, float] = {}
    for label in set().union(*sets):
        total, k = sum(label in y for y in sets), sum(label in y for y in recent)
        found[label] = entropy(total, n) - entropy(k, w) - entropy(total - k, n - w)
    sizes = [math.log(1 + len(y)) for y in sets]
    gap = abs(float(np.mean(sizes[n - w :]) - np.mean(sizes[: n - w])))
    spread = 2 * (float(np.var(sizes)) + max(sizes) * gap / 3)
    found[None] = 0.0 if spread < 1e-12 else w * (n - w) / n * gap**2 / spread
    return found


def naive(sets: Sets, margin: float) -> list[tuple[int, float, int, list[int]]]:
    """Place, statistic, length and labels of each alarm: all sets kept, everything recounted."""
    start, found = 0, []
    largest = 0.0  # the largest set is never forgotten
    marks: dict[int, list[int]] = {}
    for t in range(len(sets)):
        largest = max(largest, len(sets[t]))
        kept, n = sets[start : t + 1], t + 1 - start
        if n % UNIT:
            continue
        bound = margin + math.log(1 + len(set().union(*kept)))
        best: tuple[float, int] | None = None
        for mark in [mark for scale in range(SCALES) for mark in marks.get(scale, [])]:
            strongest = max(statistics(kept, n - mark).values())
            # Of two lengths that are as clear, the last digit decides.
            assume(best is None or best[1] == n - mark or abs(strongest - best[0]) > 1e-9)
            if strongest > (bound if best is None else best[0]) + 1e-9:
                best = strongest, n - mark
        if best is not None:
            each = statistics(kept, best[1])
            labels = [label for label, g in each.items() if label is not None and g > bound]
            found.append((t, best[0], best[1], sorted(labels)))
            start, marks = t + 1 - best[1], {}
            n = best[1]
        for scale in range(SCALES):
            if n % (UNIT * RATIO**scale):
                break
            marks[scale] = [*marks.get(scale, []), n][-2:]
    return found


def told(sets: Sets, margin: float) -> list[tuple[int, float, int, list[int]]]:
    """The same of the monitor, event by event."""
    monitor, found = PriorsMonitor(margin), []
    for t, y in enumerate(sets):
        indptr, indices = packed([sorted(y)])
        if monitor.update(indptr, indices, np.ones(1, dtype=np.bool_)):
            latest = monitor.latest
            assert latest is not None
            assert latest.change > latest.bound
            found.append((t, latest.change, latest.since, list(latest.labels)))
    return found


def draw(rates: np.ndarray, n: int, rng: np.random.Generator) -> Sets:
    """Label sets with independent labels."""
    return [set(np.flatnonzero(row).tolist()) for row in rng.random((n, len(rates))) < rates]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.lists(st.integers(1, 500), min_size=1, max_size=4),
    st.sampled_from([2.0, 6.0, 10.0]),
)
@example(39, [39, 39, 18], 2.0)
def test_alarms_are_those_of_the_definition(seed: int, lengths: list[int], margin: float) -> None:
    rng = np.random.default_rng(seed)
    sets = [y for n in lengths for y in draw(rng.uniform(0, 0.5, 5) ** 2, n, rng)]
    found, expected = told(sets, margin), naive(sets, margin)
    assert [(t, since, labels) for t, _, since, labels in found] == [
        (t, since, labels) for t, _, since, labels in expected
    ]
    np.testing.assert_allclose([x[1] for x in found], [x[1] for x in expected], rtol=1e-6)


def arrays(sets: Sets) -> tuple[OffsetArray, IntArray, BoolArray]:
    """What the monitor takes."""
    return *packed([sorted(y) for y in sets]), np.ones(len(sets), dtype=np.bool_)


def exchanged(seed: int, labels: int = 40) -> Sets:
    """3,000 label sets, then 1,000 in which half of the labels have swapped their frequencies."""
    rng = np.random.default_rng(seed)
    rates = 0.3 / np.arange(1, labels + 1)
    other, half = rates.copy(), rng.permutation(labels)[: labels // 2]
    other[half] = np.roll(rates[half], 1)
    return [*draw(rates, 3_000, rng), *draw(other, 1_000, rng)]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 4_000), max_size=5), st.integers(0, 5), st.randoms())
def test_cuts_order_of_ids_and_unlabelled_events_do_not_matter(
    cuts: list[int], seed: int, random: object
) -> None:
    sets = exchanged(seed)
    whole = PriorsMonitor()
    alarms = whole.update_many(*arrays(sets))
    assert alarms.any()
    ids = np.random.default_rng(seed + 1).permutation(40)
    renamed: list[set[int] | None] = [{int(ids[label]) for label in y} for y in sets]
    places = sorted(random.sample(range(4_000), 50))  # type: ignore[attr-defined]  # random.Random
    for place in reversed(places):
        renamed.insert(place, None)
    parts, found = PriorsMonitor(), []
    for a, b in itertools.pairwise([0, *sorted(cuts), len(renamed)]):
        piece = renamed[a:b]
        labelled = np.array([y is not None for y in piece], dtype=np.bool_)
        found.append(parts.update_many(*packed([sorted(y or ()) for y in piece]), labelled))
        parts = pickle.loads(pickle.dumps(parts))  # noqa: S301 - written by this very test
    kept = np.array([y is not None for y in renamed])
    assert (np.concatenate(found)[kept] == alarms).all()
    assert not np.concatenate(found)[~kept].any()
    one, other = whole.latest, parts.latest
    assert one is not None
    assert other is not None
    assert one[:3] == other[:3]
    assert set(ids[list(one.labels)].tolist()) == set(other.labels)


def delay(before: np.ndarray, after: np.ndarray, seed: int) -> int | None:
    """Events until a change is noticed; no alarm may come before it."""
    rng, monitor = np.random.default_rng(seed), PriorsMonitor()
    assert not monitor.update(*arrays(draw(before, 6_000, rng)))
    alarms = monitor.update_many(*arrays(draw(after, 2_000, rng)))
    return int(alarms.argmax()) if alarms.any() else None


RATES = 0.4 / np.arange(1, 21)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("what", "after", "most"),
    [
        ("half of the ranks", RATES[[9, 1, 8, 3, 7, 5, 6, 4, 2, 0, *range(10, 20)]], 200),
        ("labels per event", RATES * 1.5, 500),
        ("a birth", np.append(RATES, 0.1), 150),
        ("a death", np.where(np.arange(20) == 3, 0.0, RATES), 300),
    ],
)
def test_changes_are_noticed_soon(what: str, after: np.ndarray, most: int, seed: int) -> None:
    before = np.zeros(len(after))
    before[:20] = RATES
    found = delay(before, after, seed)
    assert found is not None, what
    assert found <= most


def test_the_labels_that_changed_are_named() -> None:
    rng, monitor = np.random.default_rng(4), PriorsMonitor()
    after = RATES.copy()
    after[[2, 15]] = 0.0, 0.3
    assert PriorsMonitor().latest is None
    assert not monitor.update(*arrays(draw(RATES, 4_000, rng)))
    alarms = monitor.update_many(*arrays(draw(after, 1_000, rng)))
    alarm = monitor.latest
    assert isinstance(alarm, PriorsAlarm)
    assert monitor.n_alarms == alarms.sum()
    assert set(alarm.labels) <= {2, 15}
    assert 15 in alarm.labels
    assert alarm.since <= alarms.argmax() + UNIT


@pytest.mark.parametrize("labels", [1, 2, 300, 3_000])
def test_nothing_is_said_where_nothing_changes(labels: int) -> None:
    rng = np.random.default_rng(labels)
    rates = np.minimum(0.5, 2.0 / np.arange(1, labels + 1))
    monitor = PriorsMonitor()
    for _ in range(10):
        on = rng.random((1_000, labels)) < rates
        indptr = np.concatenate([[0], on.sum(axis=1).cumsum()])
        sets = np.nonzero(on)[1].astype(np.int32)
        assert not monitor.update(indptr, sets, np.ones(1_000, dtype=np.bool_))


def test_what_is_long_ago_is_forgotten() -> None:
    monitor = PriorsMonitor(longest=20_000)
    recent = 2 * UNIT * RATIO ** (SCALES - 1)
    one, widths = arrays([{0}] * 1_000), []
    for _ in range(40):
        assert not monitor.update(*one)
        widths.append(monitor.width)
    assert min(widths[19:]) >= recent / 2
    assert max(widths) <= 20_000 + recent < 40_000
    assert monitor.update(*arrays([set()] * 100))


def test_extremes_and_memory() -> None:
    monitor, all_on = PriorsMonitor(), set(range(200))
    sets = [*[set()] * 300, *[all_on] * 300, *[set()] * 300]
    alarms = np.flatnonzero(monitor.update_many(*arrays(sets)))
    assert len(alarms) == 2
    assert alarms[0] < 300 + 2 * UNIT
    assert alarms[1] < 600 + 2 * UNIT
    before = monitor.memory_bytes
    monitor.update(*arrays(sets * 3))
    assert monitor.memory_bytes == before <= 400 * 50 + 1_000
    assert not PriorsMonitor().update(*arrays([]))


@pytest.mark.parametrize("seed", range(3))
def test_an_id_that_changes_hands_brings_no_history(seed: int) -> None:
    rng = np.random.default_rng(seed)
    before, after = draw(np.array([0.3, 0.2, 0.4]), 700, rng), draw(np.full(3, 0.25), 600, rng)
    # The same label sets, without the former owner of id 2: its events keep their size.
    monitor, twin = PriorsMonitor(), PriorsMonitor()
    for each in (monitor, twin):
        each.update(*arrays(before))
    monitor.forget_labels(np.array([2, 900], dtype=np.int32))
    twin._counts.on[:, 2] = 0
    twin._counts.numbers[0] = 2
    found = monitor.update_many(*arrays(after))
    np.testing.assert_array_equal(found, twin.update_many(*arrays(after)))
    assert monitor.latest == twin.latest
    assert monitor._counts.numbers[0] == 3


def test_a_label_as_frequent_as_the_former_owner_of_its_id_is_new() -> None:
    one, both = {0}, {0, 1}
    monitor, keeping = PriorsMonitor(), PriorsMonitor()
    for each in (monitor, keeping):
        each.update(*arrays([one, both] * 400))
    monitor.forget_labels(np.array([1], dtype=np.int32))
    for each in (monitor, keeping):
        each.update(*arrays([one, both] * 100))
    assert keeping.latest is None  # nothing has changed for it
    assert monitor.latest is not None
    assert monitor.latest.labels == (1,)
    monitor.forget_labels(np.array([1], dtype=np.int32))
    assert not monitor.latest.labels  # the alarm was not the next owner's
