"""Labels that vanish and return in the learner: what is forgotten, what is kept, what is told."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from ihomer import IHomer, vocabulary
from ihomer.drift.events import Kind, LearnerEvent
from ihomer.drift.priors import PriorsAlarm
from ihomer.instances import Encoder, Event, Row
from ihomer.learners.block import LabelBlock
from ihomer.learners.decision import JointDecision, ThresholdDecision
from ihomer.learners.kernels.thresholds import MACRO
from ihomer.learners.memory import STRONGEST, forget, recall, remember
from ihomer.learners.model import Model
from ihomer.learners.partition.cooccurrence import Cooccurrence
from ihomer.learners.partition.jaccard import JaccardPartitioner

Rows = list[dict[str, tuple[bool, float]]]
ABSENCE = 600  # the neighbours' window is shorter


@pytest.fixture(autouse=True)
def _short_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "LEAST_ABSENCE", ABSENCE)
    monkeypatch.setattr(vocabulary, "CLEAN_UP", 256)


def _wandering(n: int) -> list[Event]:
    """Half of twelve labels live at a time, each with its own word."""
    rng = np.random.default_rng(0)
    found = []
    for t in range(n):
        alive = [label for label in range(12) if (t // 700 + label) % 4 < 2]
        y = sorted(f"l{label}" for label in rng.choice(alive, 2, replace=False))
        x: dict[str, float] = {f"w{name}": 1.0 for name in y if rng.random() < 0.8}
        x |= {f"b{rng.integers(30)}": 1.0, "level": float(rng.normal())}
        found.append(Event(t, x, y if rng.random() < 0.95 else None))
    return found


def _model(*, threads: int = 1) -> IHomer:
    return IHomer(max_labels=9, new_labels="drop", forget_labels_after=800, threads=threads)


def _by_name(model: IHomer, events: Sequence[Event], cuts: Sequence[int]) -> Rows:
    rows: Rows = []
    for a, b in itertools.pairwise(sorted({0, *cuts, len(events)})):
        batch = model.encoder.encode(events[a:b])
        found = model.predict_learn(batch)
        for first, last, names in batch.names(model.encoder.labels.names()):
            for on, scores in zip(
                found.on[first:last].tolist(), found.scores[first:last].tolist(), strict=True
            ):
                row = zip(names, on, scores, strict=False)
                rows.append({name: (is_on, p) for name, is_on, p in row if p == p})
    return rows


def test_nothing_depends_on_batches_threads_or_a_restore() -> None:
    events = _wandering(3000)
    model = _model()
    expected = _by_name(model, events, range(0, 3000, 64))
    assert model.encoder.labels.changes > 10
    cuts = np.random.default_rng(1).integers(0, 3000, 20).tolist()
    other = _model(threads=2)
    assert _by_name(other, events, cuts) == expected
    assert other._engine.log.since(0) == model._engine.log.since(0)
    first = _model()
    rows = _by_name(first, events[:1701], [300])
    second = pickle.loads(pickle.dumps(first))  # noqa: S301 - our own
    assert rows + _by_name(second, events[1701:], [11]) == expected
    assert other.clusters() == model.clusters() == second.clusters()


def test_what_lives_is_known_and_what_has_vanished_is_not() -> None:
    model = _model()
    events = [*_wandering(2000), *[Event(0, {"level": 1.0}, ["l0", "l1"])] * 1100]
    _by_name(model, events, range(0, 3100, 128))
    labels = model.encoder.labels
    living = {name for name in labels.names() if labels.get(name) is not None}
    assert living == {"l0", "l1"}
    assert (len(labels), labels.ever) == (2, 12)
    assert len(labels.vacant) == labels.seen - 2
    assert set(model.predict_one({"level": 1.0})) == living
    assert set().union(*model.clusters()) <= living


def test_births_and_deaths_are_told() -> None:
    model = _model()
    events = _wandering(3000)
    _by_name(model, events, range(0, 3000, 100))
    told = [e for e in model._engine.log.since(0) if e.kind in (Kind.BIRTH, Kind.DEATH)]
    assert all(event.event % 128 == 0 for event in told)
    alive: set[str] = set()
    returned: set[str] = set()
    for event in told:
        names = {str(name) for name in event.labels}
        if event.kind is Kind.DEATH:
            assert event.action == ""
            alive -= names
            returned |= names
            continue
        assert not names & alive
        assert event.action == ("warm" if names <= returned else "new")
        alive |= names
    known = model.encoder.labels
    late = {name for e in events[2900:] for name in e.on or ()}
    assert alive | late >= {name for name in known.names() if known.get(name) is not None}
    assert {e.action for e in told} == {"", "new", "warm"}


def _loss(model: IHomer, events: Sequence[Event], label: str) -> float:
    """Mean log-loss of a label over events, learned one by one, once it is known."""
    losses = []
    for event in events:
        assert event.on is not None
        p = model.predict_proba_one(event.x).get(label)
        if p is not None:
            losses.append(-float(np.log(p[label in event.on])))
        model.learn_one(event.x, event.on)
    return float(np.mean(losses[-180:]))


def _two_phases(seed: int) -> tuple[list[Event], list[Event]]:
    """Label "a" shows in its words, is away for more than 800 events, and comes back."""
    rng = np.random.default_rng(seed)

    def events(n: int, names: str) -> Iterator[Event]:
        for t in range(n):
            on = [str(name) for name in rng.choice(list(names), 1)]
            x = {f"{name}{rng.integers(6)}": 1.0 for name in on for _ in range(2)}
            x |= {f"noise{rng.integers(40)}": 1.0 for _ in range(4)}
            yield Event(t, x, on)

    return [*events(600, "abcde"), *events(1200, "bcde")], list(events(200, "abcde"))


def test_a_label_that_returns_is_predicted_better_than_a_new_one() -> None:
    losses: dict[str, list[float]] = {"stayed": [], "returned": [], "new": []}
    for seed in range(3):
        before, after = _two_phases(seed)
        for name, found in losses.items():
            model = IHomer(forget_labels_after=None if name == "stayed" else 800)
            if name == "new":
                model._engine._leavers._budget = 0.0  # nothing is kept of it
            for a in range(0, len(before), 100):
                model.predict_learn(model.encoder.encode(before[a : a + 100]))
            assert (model.encoder.labels.get("a") is not None) == (name == "stayed")
            found.append(_loss(model, after, "a"))
    stayed, returned, new = (np.mean(found) for found in losses.values())
    assert returned < 0.5 * new
    assert returned < 1.5 * stayed


def test_matrices_tell_labels_that_vanish_meanwhile_apart() -> None:
    events = _wandering(2500)
    names = [f"l{label}" for label in range(12)]
    values = [dict(event.x) for event in events if not isinstance(event.x, Row)]
    words = sorted({str(key) for x in values for key in x})
    X = np.array([[x.get(word, 0.0) for word in words] for x in values], dtype=np.float64)
    Y = np.array([[name in (event.on or ()) for name in names] for event in events])
    single, whole = (IHomer(forget_labels_after=800, labels=names) for _ in range(2))
    on, p = whole.predict_learn_many(X, Y, words, names)
    parts = [
        single.predict_learn_many(X[a : a + 50], Y[a : a + 50], words, names)
        for a in range(0, 2500, 50)
    ]
    assert whole.encoder.labels.changes > 5
    np.testing.assert_array_equal(on, np.concatenate([part[0] for part in parts]))
    np.testing.assert_array_equal(p, np.concatenate([part[1] for part in parts]))


def test_detectors_and_ring_know_nothing_of_former_owners() -> None:
    model = _model()
    engine = model._engine
    assert engine._keeper is not None
    events = [*_wandering(1500), *[Event(0, {"level": 1.0}, ["l0"])] * 1300]
    _by_name(model, events, range(0, 2800, 128))
    vacant = np.array(sorted(model.encoder.labels.vacant), dtype=np.int32)
    assert len(vacant) > 5
    assert not engine._priors._counts.on[:, vacant].any()
    assert not np.isin(engine._keeper._ring.last(20_000)[1], vacant).any()
    assert (engine._keeper._places[vacant] < 0).all()


def test_alarms_name_the_labels_that_there_were() -> None:
    model = _model()
    engine = model._engine
    _by_name(model, _wandering(700), [])
    alarm = PriorsAlarm(20.0, 10.0, 64, (0,))
    former = model.encoder.labels.name(0)
    engine._priors_told = 700, alarm, alarm.labels
    engine._forget_labels(np.array([0], dtype=np.int32))
    engine._held = {0: "another"}
    found: object = engine._priors_told
    assert found == (700, alarm, (former,))


# The parts.


@pytest.fixture(scope="module")
def learned() -> Model:
    model = IHomer()
    _by_name(model, _wandering(900), range(0, 900, 128))
    return model._engine.model


def _columns(block: LabelBlock, position: int) -> list[npt.NDArray[np.float64]]:
    """All that experts, mixture and counts hold for a position."""
    found = [array[..., position] for array in block.mixture[:3]]
    found += [block.mixture.blend[:, position]]
    found += [array[position] for array in block.trivial[:4]]
    for expert in (*block.linear.values(), block.ridge):
        assert expert is not None
        whole = np.flatnonzero(expert.reach > position)
        found += [expert.state.weights[whole, position], expert.state.bias[position]]
    assert block.net is not None
    net = block.net.state
    found += [net.second[position], net.bias[position], net.lifts[:, position]]
    found += [net.gains[:, position], net.errors[position], net.bias_squares[position]]
    return [np.atleast_1d(np.asarray(part, dtype=np.float64)) for part in found]


def test_a_place_that_is_nobodys_is_as_the_reserve(learned: Model) -> None:
    model = pickle.loads(pickle.dumps(learned))  # noqa: S301 - our own
    block = model.blocks[0]
    kept = [_columns(block, 2), _columns(block, 4)]
    model.forget_labels(np.array([2], dtype=np.int32))
    for expert in (*block.linear.values(), block.ridge):
        expert.reach[:] = np.maximum(expert.reach, 4)
    for mine, reserve in zip(_columns(block, 3), _columns(block, 0), strict=True):
        n = len(mine)
        np.testing.assert_array_equal(mine, reserve[:n] if n <= len(reserve) else mine)
    for position, before in ((2, kept[0]), (4, kept[1])):
        for mine, theirs in zip(_columns(block, position), before, strict=True):
            np.testing.assert_array_equal(mine[: len(theirs)], theirs)
    assert 2 in model.nursery.members
    assert model.cluster_of[2] == 0


def test_what_is_kept_comes_back_at_another_place(learned: Model) -> None:
    model = pickle.loads(pickle.dumps(learned))  # noqa: S301 - our own
    block = model.blocks[0]
    memory = remember(block, 3)
    assert 0 < memory.memory_bytes < 4096
    weights = block.ridge.state.weights[:, 3].copy()
    reserve = block.ridge.state.weights[:, 0].copy()
    forget(block, np.array([3, 5], dtype=np.int32))
    recall(block, 5, memory)
    away = np.abs(weights - reserve)
    away[block.ridge.reach <= 3] = 0.0
    strongest = np.argsort(-away)[:STRONGEST]
    strongest = strongest[away[strongest] > 0.0]
    found = block.ridge.state.weights[:, 5]
    kept = memory.weights[-1].columns
    assert set(kept) <= set(strongest)
    assert len(kept) >= min(len(strongest), STRONGEST) - 2  # ties stay out
    np.testing.assert_array_equal(found[kept], weights[kept])
    others = np.setdiff1d(np.arange(len(weights)), kept)
    np.testing.assert_array_equal(found[others], reserve[others])
    again = remember(block, 5)
    np.testing.assert_array_equal(again.mixture, memory.mixture)
    np.testing.assert_array_equal(again.net, memory.net)


def test_weights_return_to_folded_columns(learned: Model) -> None:
    model = pickle.loads(pickle.dumps(learned))  # noqa: S301 - our own
    block = model.blocks[0]
    memory = remember(block, 3)
    kept = memory.weights[-1]
    assert kept.columns.max() >= 16
    block.fold(16)
    recall(block, 3, memory)
    for column in range(16):
        values = kept.cells[0, kept.columns % 16 == column]
        if len(values):
            assert block.ridge.state.weights[column, 3] in values


def test_memories_are_bounded() -> None:
    model = IHomer(max_memory_mb=16, max_labels=9, new_labels="drop", forget_labels_after=800)
    model._engine._leavers._budget = 6000.0
    _by_name(model, _wandering(2500), range(0, 2500, 128))
    leavers = model._engine._leavers
    assert 0 < leavers.memory_bytes <= 6000
    assert leavers.memory_bytes == sum(kept.memory_bytes for kept in leavers._kept.values())


def test_counts_of_pairs_without_the_labels_forgotten() -> None:
    rng = np.random.default_rng(0)
    sets = [np.sort(rng.choice(9, rng.integers(1, 4), replace=False)) for _ in range(60)]
    indptr = np.concatenate([[0], np.cumsum([len(s) for s in sets])]).astype(np.int64)
    counts, others = Cooccurrence(1e9), Cooccurrence(1e9)
    counts.update(indptr, np.concatenate(sets).astype(np.int32))
    gone = np.array([2, 5, 40], dtype=np.int32)
    counts.forget_labels(gone)
    kept = [s[~np.isin(s, gone)] for s in sets]
    indptr = np.concatenate([[0], np.cumsum([len(s) for s in kept])]).astype(np.int64)
    others.update(indptr, np.concatenate(kept).astype(np.int32))
    np.testing.assert_allclose(counts.labels(), others.labels())
    mine, theirs = (
        {(i, j): n for i, j, n in zip(*(a.tolist() for a in each.pairs()), strict=True)}
        for each in (counts, others)
    )
    assert mine == pytest.approx(theirs)


def test_a_cluster_without_labels_is_gone() -> None:
    partitioner = JaccardPartitioner()
    for first in [0, 2] * 200:
        partitioner.update(np.array([0, 2]), np.array([first, first + 1], dtype=np.int32))
    assert partitioner.refit(["a", "b", "c", "d"])
    partitioner.forget_labels(np.array([0, 1, 3], dtype=np.int32))
    assert sorted(partitioner.clusters()) == [[], [2]]
    assert partitioner.unplaced() == [0, 1, 3]


def test_decisions_forget_sets_and_counts() -> None:
    encoder = Encoder()
    sets = [["a", "b"], ["b"], ["c"], ["c", "a"], []] * 10
    batch = encoder.encode([Event(t, {}, s) for t, s in enumerate(sets)])
    scores = np.full((50, 3), 0.3)
    joint, macro = JointDecision(), ThresholdDecision(MACRO)
    for decision in (joint, macro):
        decision.run(scores, batch, np.zeros((50, 3), dtype=np.bool_))
        decision.forget_labels(np.array([0, 99], dtype=np.int32))
    n = int(joint.state.sizes[0])
    held = [
        joint.state.arena[start : start + size].tolist()
        for start, size in zip(joint.state.start[:n], joint.state.size[:n], strict=True)
    ]
    assert sorted(held) == [[], [1], [2]]
    assert joint.state.on[0] == 0.0 < joint.state.on[1]
    assert (macro.state.both[0], macro.state.either[0]) == (0.5, 2.0)
    assert macro.state.either[1] != 2.0
    decision = ThresholdDecision(0)
    decision.forget_labels(np.array([0], dtype=np.int32))


def test_a_told_event_is_typed() -> None:
    model = IHomer()
    _by_name(model, _wandering(300), [])
    (first, *_) = model._engine.log.since(0)
    assert isinstance(first, LearnerEvent)
    assert (first.kind, first.action, first.event) == (Kind.BIRTH, "new", 128)
