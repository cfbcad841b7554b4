"""Planted changes: each changes what it says, from where it says, and nothing else."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from ihomer.connectors.synthetic import Drift, SyntheticSource
from ihomer.connectors.synthetic.parameters import NAMES, WHATS
from ihomer.drift.schedule import HOWS
from ihomer.instances import Row
from tests.generated import digest, events, row, whole

SIZES: dict[str, dict[str, Any]] = {
    "text": {"labels": 60, "blocks": 12, "words": 500},
    "blocks": {"labels": 40, "blocks": 8},
}
START, WIDTH = 700, 300


def make(name: str, *drift: Drift, **parameters: Any) -> SyntheticSource:
    sizes = SIZES.get(name, {"labels": 24, "blocks": 6})
    return SyntheticSource(name, drift=drift, **{"events": 1500, **sizes, **parameters})


@functools.cache
def undisturbed(name: str) -> tuple[Any, ...]:
    return tuple(events(make(name)))


def kinds() -> list[tuple[str, str]]:
    return [(of, what) for of, whats in WHATS.items() for what in whats]


def planned(how: str, of: str, what: str, **more: Any) -> Drift:
    width = WIDTH if how in ("gradual", "incremental", "blip") else None
    period = WIDTH if how == "recurring" else None
    return Drift(how, of=of, what=what, at=START, width=width, period=period, **more)


@pytest.mark.parametrize(("of", "what"), kinds())
@pytest.mark.parametrize("name", ["linear", "tree", "text", "blocks"])
def test_before_the_start_nothing_is_different(name: str, of: str, what: str) -> None:
    if name == "blocks" and of == "concept":
        return
    how = HOWS[(len(what) + len(name)) % len(HOWS)]
    source = make(name, planned(how, of, what))
    every, without = events(source), undisturbed(name)
    assert digest(every[:START]) == digest(list(without[:START]))
    assert digest(every[START:]) != digest(list(without[START:]))
    assert source.labels == make(name).labels
    assert source.features == make(name).features


@pytest.mark.parametrize("how", HOWS)
def test_when_each_kind_is_in_force(how: str) -> None:
    source = make("blocks", planned(how, "structure", "exchange"))
    truth = source.truth
    old, new = truth.partition(0), truth.partition(START + WIDTH - 1)
    assert old != new
    assert truth.partition(START - 1) == old
    changes = [(c.start, c.stop, c.back) for c in truth.changes]
    held = {t: truth.partition(t) for t in range(START, 1500, 7)}
    if how == "sudden":
        assert changes == [(START, START, False)]
        assert all(part == new for part in held.values())
    elif how == "blip":
        assert changes == [(START, START + WIDTH, False)]
        assert all(part == (new if t < START + WIDTH else old) for t, part in held.items())
        without = undisturbed("blocks")
        assert digest(events(source)[START + WIDTH :]) == digest(list(without[START + WIDTH :]))
    elif how == "recurring":
        assert changes == [(START + i * WIDTH, START + i * WIDTH, i % 2 == 1) for i in range(3)]
        assert all(part == (old if (t - START) // WIDTH % 2 else new) for t, part in held.items())
    else:
        assert changes == [(START, START + WIDTH, False)]
        new = truth.partition(1499)
        inside = [part for t, part in held.items() if t < START + WIDTH]
        assert all(part == new for t, part in held.items() if t >= START + WIDTH)
        if how == "gradual":
            assert {str(part) for part in inside} == {str(old), str(new)}
        else:
            assert len({str(part) for part in inside}) > 8


def stays(one: dict[str, int], other: dict[str, int]) -> bool:
    """Whether two assignments are the same up to the numbers of the blocks."""

    def groups(of: dict[str, int]) -> set[frozenset[str]]:
        return {frozenset(k for k in of if of[k] == b) for b in of.values()}

    return groups(one) == groups(other)


@pytest.mark.parametrize("size", [0.2, 0.5, 1.0])
@pytest.mark.parametrize(("of", "what"), kinds())
def test_what_happens_to_the_structure(of: str, what: str, size: float) -> None:
    if of == "concept":
        return
    if (what, size) in (("dying", 1.0), ("replace", 1.0), ("vanish", 1.0)):
        return  # nothing would be left
    drift = planned("sudden", of, what, size=None if what == "cardinality" else size)
    truth = make("blocks", drift, features=20).truth
    before, after = truth.block_of(START - 1), truth.block_of(START)
    (change,) = truth.changes
    moved = {label for label in before if before[label] != after.get(label)}
    if what == "exchange":
        assert moved == set(change.labels)
        # A chosen label whose only partners are of its own block stays.
        assert 0.6 * size * 40 <= len(moved) <= size * 40
        assert sorted(before.values()) == sorted(after.values())
    elif what == "merge":
        pairs = max(1, round(size * 8) // 2)
        assert len(set(after.values())) == 8 - pairs
        assert len(change.labels) == 2 * pairs * 5
        assert moved < set(change.labels)
    elif what == "split":
        split = round(size * 8)
        assert len(set(after.values())) == 8 + split
        assert len(change.labels) == 5 * split
        assert moved < set(change.labels)
    elif what == "born":
        assert not moved
        assert set(after) - set(before) == set(change.labels)
        assert len(change.labels) == round(size * 40)
    elif what == "dying":
        assert set(before) - set(after) == set(change.labels) == moved
        assert len(change.labels) == round(size * 40)
    else:
        assert stays(before, after)
        assert bool(change.labels) == (what == "rank")
        assert bool(change.features) == (of == "features")


@pytest.mark.parametrize("name", ["linear", "blocks"])
def test_labels_appear_when_they_are_born_and_are_gone_when_they_are_dead(name: str) -> None:
    born = make(name, planned("sudden", "labels", "born", size=0.5), events=4000)
    every = events(born)
    (change,) = born.truth.changes
    first = {label for event in every[:START] for label in event.on or ()}
    later = {label for event in every[START:] for label in event.on or ()}
    assert not set(change.labels) & (first | set(born.labels))
    assert set(change.labels) <= later
    dying = make(name, planned("sudden", "labels", "dying", size=0.5), events=4000)
    every = events(dying)
    (change,) = dying.truth.changes
    assert set(change.labels) <= {label for event in every[:START] for label in event.on or ()}
    assert not set(change.labels) & {label for event in every[START:] for label in event.on or ()}


@pytest.mark.parametrize("what", ["exchange", "merge", "split"])
def test_a_change_of_structure_keeps_how_common_labels_are(what: str) -> None:
    # Draws without repetition flatten a block's shares where it is small.
    sizes = {"blocks": 4, "one_block": 2, "two_blocks": 1, "noise": 0.0}
    source = make("blocks", Drift("sudden", what=what, at=20_000), events=40_000, **sizes)
    y = whole(source).y
    before, after = y[:20_000].mean(axis=0), y[20_000:].mean(axis=0)
    np.testing.assert_allclose(before, after, rtol=0.2, atol=0.005)
    assert abs(before.sum() - after.sum()) < 0.03
    together = y[:20_000].T.astype(float) @ y[:20_000] / 20_000
    apart = y[20_000:].T.astype(float) @ y[20_000:] / 20_000
    assert np.abs(together - apart)[~np.eye(40, dtype=bool)].max() > 0.005


def test_a_change_of_ranks_changes_how_common_labels_are() -> None:
    drift = Drift("sudden", of="priors", at=20_000)
    y = whole(make("blocks", drift, events=40_000, within=1.0, over=1.0, noise=0.0)).y
    before, after = y[:20_000].mean(axis=0), y[20_000:].mean(axis=0)
    assert np.corrcoef(before, after)[0, 1] < 0.5
    assert abs(before.sum() - after.sum()) < 0.05


@pytest.mark.parametrize("name", ["linear", "blocks", "text"])
@pytest.mark.parametrize("factor", [0.6, 1.5])
def test_a_change_of_cardinality_multiplies_it(name: str, factor: float) -> None:
    drift = Drift("sudden", of="priors", what="cardinality", at=3000, factor=factor)
    # Large blocks: where all labels of one are on there are no more.
    more = {"signal": 1.0} if name == "linear" else {}
    y = whole(make(name, drift, events=6000, blocks=2, noise=0.0, **more)).y
    sizes = y.sum(axis=1)
    ratio = sizes[3000:].mean() / sizes[:3000].mean()
    # One label is the least where labels come first.
    assert ratio == pytest.approx(factor, rel=0.06 if name == "linear" or factor > 1 else 0.2)


@pytest.mark.parametrize("name", ["linear", "hyperplane", "rbf", "tree", "xor", "text"])
def test_a_change_of_the_concept_leaves_features_and_structure(name: str) -> None:
    source = make(name, Drift("sudden", at=START))
    with_change, without = events(source), undisturbed(name)
    (change,) = source.truth.changes
    assert (change.of, change.what, change.labels) == ("concept", "redraw", ())
    assert source.truth.partition(START) == source.truth.partition(0)
    pairs = list(zip(with_change[START:], without[START:], strict=True))
    if name == "text":  # its labels come first, so these are what stays
        assert all(a.on == b.on for a, b in pairs)
        assert sum(row(a) != row(b) for a, b in pairs) > 700
    else:
        assert all(row(a) == row(b) for a, b in pairs)
        assert sum(a.on != b.on for a, b in pairs) > 400
        means = [np.mean([len(p[side].on or ()) for p in pairs]) for side in (0, 1)]
        assert means[0] == pytest.approx(means[1], rel=0.1)


def test_a_part_of_the_concept_changes_for_a_part_of_the_labels() -> None:
    drift = Drift("sudden", at=4000, size=0.25)
    source = make("linear", drift, events=8000, labels=12, blocks=1, cardinality=4, dependence=0.0)
    x, y = whole(source)
    (change,) = source.truth.changes
    assert len(change.labels) == 3
    for number, label in enumerate(source.labels):
        model = LogisticRegression().fit(x[:4000], y[:4000, number])
        drop = model.score(x[:4000], y[:4000, number]) - model.score(x[4000:], y[4000:, number])
        assert (drop > 0.05) == (label in change.labels), label


def test_an_incremental_concept_goes_all_the_way() -> None:
    drift = Drift("incremental", at=4000, width=8000)
    source = make("linear", drift, events=16_000, blocks=1, cardinality=8, dependence=0.0)
    x, y = whole(source)
    model = LogisticRegression().fit(x[:4000], y[:4000, 0])
    scores = [
        model.score(x[at : at + 2000], y[at : at + 2000, 0]) for at in (2000, 4000, 7000, 12_000)
    ]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] - scores[-1] > 0.2


@pytest.mark.parametrize("name", ["linear", "blocks", "text"])
@pytest.mark.parametrize("what", ["replace", "vanish", "appear"])
def test_features_go_and_come(name: str, what: str) -> None:
    source = make(name, planned("sudden", "features", what, size=0.3))
    (change,) = source.truth.changes
    every, without = events(source), undisturbed(name)
    old = set(source.features)
    gone, come = set(change.features) & old, set(change.features) - old
    assert bool(gone) == (what != "appear")
    assert bool(come) == (what != "vanish")
    before = {feature for event in every[:START] for feature in row(event)}
    after = {feature for event in every[START:] for feature in row(event)}
    assert not come & before
    assert not gone & after
    if name != "text":
        assert after == (old - gone) | come
        tuples = [event.x.names for event in every if isinstance(event.x, Row)]
        assert len({id(names) for names in tuples}) == 2
        assert set(tuples) == {source.features, tuple(sorted((old - gone) | come))}
    for a, b in zip(every[START:], without[START:], strict=True):
        assert a.on == b.on
        if name != "text":
            kept = {k: v for k, v in row(a).items() if k in old}
            assert kept == {k: v for k, v in row(b).items() if k not in gone}


def test_replaced_features_carry_the_old_values() -> None:
    source = make("linear", planned("sudden", "features", "replace"))
    every, without = events(source), undisturbed("linear")
    for a, b in zip(every[START:], without[START:], strict=True):
        assert sorted(row(a).values()) == sorted(row(b).values())


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.builds(
            lambda how, kind, at: (how, *kind, at),
            st.sampled_from(HOWS),
            st.sampled_from([kind for kind in kinds() if kind[0] != "concept"]),
            st.integers(0, 1000),
        ),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(["blocks", "text"]),
)
def test_changes_add_up_in_any_mixture(drifts: list[tuple[str, str, str, int]], name: str) -> None:
    planted = [
        Drift(how, of=of, what=what, at=at, size=None if what == "cardinality" else 0.2)
        for how, of, what, at in drifts
    ]
    parameters = {"features": 20} if name == "blocks" else {}
    source = make(name, *planted, events=1300, **parameters)
    every = events(source)
    first = min(drift.at for drift in planted)
    assert digest(every[: int(first)]) == digest(
        list(events(make(name, events=1300, **parameters))[: int(first)])
    )
    for t in (0, 400, 1299):
        live = source.truth.block_of(t)
        assert set(every[t].on or ()) <= set(live)
        assert len(source.truth.state(t)) == len(planted)


@pytest.mark.parametrize("name", NAMES)
def test_an_absolute_place_does_not_depend_on_the_length(name: str) -> None:
    drift = Drift("gradual", of="structure", at=600, width=300)
    short, long = make(name, drift, events=1200), make(name, drift, events=5000)
    assert digest(events(short)) == digest(events(long, 1200))
