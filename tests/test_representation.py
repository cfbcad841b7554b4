"""From dense rows to posting lists while the stream runs."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from ihomer import IHomer, vocabulary
from ihomer.drift.events import Kind, Level
from ihomer.instances import Event
from ihomer.learners import representation
from ihomer.learners.base import Predictions, SparsePredictions
from ihomer.learners.kernels.scaling import STRIDE


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, labels in {"KEEP": 4, "BESIDE": 16, "TOO_MANY": 60, "FEWEST": 2}.items():
        monkeypatch.setattr(representation, name, labels)


def model(**parameters: object) -> IHomer:
    """The cheapest learner that has dense rows at all."""
    return IHomer(without=["forest", "path", "net", "ridge"], partition=False, **parameters)  # type: ignore[arg-type]


def events(n: int, labels: int, features: int = 400, dense: bool = False) -> Iterator[Event]:
    """Labels in pairs, more and more of them, each with words of its own."""
    rng = np.random.default_rng(labels)
    for t in range(n):
        label = int(rng.integers(2 + int((labels - 2) * min(1.0, 2.0 * t / n))))
        words = {f"w{label}": 1.0, f"v{label // 2}": 1.0, f"x{rng.integers(features)}": 1.0}
        if dense:
            words = {f"d{j}": float(rng.normal(j == label)) for j in range(12)}
        yield Event(t, words, [f"l{label:02d}", f"m{label // 2:02d}"])


def outcome(found: Predictions | SparsePredictions) -> list[list[tuple[int, float, bool]]]:
    """Of each event its labels with a score, best first."""
    assert isinstance(found, SparsePredictions)
    columns = [found.labels.tolist(), found.scores.tolist(), found.on.tolist()]
    rows = list(zip(*columns, strict=True))
    return [rows[a:b] for a, b in zip(found.indptr[:-1], found.indptr[1:], strict=True)]


def switches(learner: IHomer) -> list[int]:
    return [
        event.event
        for event in learner._engine.log.since(0)
        if (event.kind, event.level) == (Kind.SWITCH, Level.MODEL)
    ]


def test_it_begins_dense_and_posting_lists_take_over_at_a_stride() -> None:
    learner, total = model(), 0.0
    for t, event in enumerate(events(2048, 40)):
        found = learner.predict_learn(learner.encoder.encode([event]))
        assert isinstance(found, SparsePredictions) == learner._learner.sparse or switches(
            learner
        ) == [t + 1]
        if t >= 1848:
            total += learner.encoder.labels.name(int(outcome(found)[0][0][0])) in event.on  # type: ignore[operator]
    [at] = switches(learner)
    assert at % STRIDE == 0
    born = [
        label
        for event in learner._engine.log.since(0)
        if event.kind == Kind.BIRTH
        for label in event.labels
    ]
    assert sorted(map(str, born)) == sorted(learner.encoder.labels.names())
    assert total > 190
    assert learner.n_learned == 2048


def test_neither_batches_nor_a_restore_move_the_switch() -> None:
    stream = list(events(900, 40))
    whole, cut = model(), model()
    expected = outcome(whole.predict_learn(whole.encoder.encode(stream)))
    found, start, size = [], 0, 1
    while start < len(stream):
        part = cut.predict_learn(cut.encoder.encode(stream[start : start + size]))
        start, size = start + size, size * 3 % 101
        cut = pickle.loads(pickle.dumps(cut))  # noqa: S301 - our own
        if isinstance(part, SparsePredictions):
            found += outcome(part)
    assert switches(cut) == switches(whole)
    assert found == expected[-len(found) :]
    assert len(found) > 100


def test_an_event_of_too_many_labels_is_not_for_dense_rows() -> None:
    learner = model()
    learner.learn_one({"a": 1.0}, {"one"})
    learner.learn_one({"b": 1.0}, {f"l{i}" for i in range(100)})
    assert switches(learner) == [1]
    learner.learn_one({"a": 1.0}, {"one"})
    assert learner.rank_one({"a": 1.0}, 1)[0][0] == "one"  # learned before the switch


def test_dense_features_stay_dense() -> None:
    learner = model()
    for event in events(600, 12, dense=True):
        learner.learn_one(event.x, event.on or ())
    assert len(learner.encoder.labels) > 16
    assert not switches(learner)


def test_all_faces_agree_after_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(representation, "TOO_MANY", 30)
    learner = model(labels=["declared"])
    stream = list(events(1200, 40))
    learner.predict_learn(learner.encoder.encode(stream[:-1]))
    assert learner._learner.sparse
    x = stream[-1].x
    probabilities = learner.predict_proba_one(x)
    assert set(probabilities) == set(learner.encoder.labels.names()) | {"declared"}
    ranked = learner.rank_one(x, k=3)
    assert (
        ranked
        == sorted(
            ((label, p[True]) for label, p in probabilities.items()),
            key=lambda item: (-item[1], item[0]),
        )[:3]
    )
    assert len(learner.rank_one(x, k=1000)) == len(probabilities)
    decided = learner.predict_one(x)
    assert set(decided) == set(probabilities)
    assert not decided["declared"]
    names = sorted(probabilities)
    words = sorted(x)
    on, p = learner.predict_learn_many(
        np.ones((1, len(words))),
        np.array([[name in (stream[-1].on or ()) for name in names]], dtype=float),
        words,
        names,
    )
    assert p[0].tolist() == [probabilities[name][True] for name in names]
    assert on[0].tolist() == [decided[name] for name in names]


def test_equal_scores_are_ordered_by_name() -> None:
    learner = model()
    learner.learn_one({"b": 1.0}, {f"z{99 - i}" for i in range(80)})
    batch = learner.encoder.lookup({"c": 1.0})
    found = learner.predict_learn(batch)
    rows = [(-p, learner.encoder.labels.name(label)) for label, p, _ in outcome(found)[0]]
    assert len({p for p, _ in rows}) < len(rows)
    assert rows == sorted(rows)


def test_memory_is_stated_with_what_learns_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(representation, "TOO_MANY", 50)
    learner = model(max_memory_mb=64)
    before = learner.memory_bytes
    sizes = []
    for event in events(1500, 40):
        learner.learn_one(event.x, event.on or ())
        sizes.append(learner.memory_bytes)
    assert learner._learner.sparse
    assert before < max(sizes) <= 64 * 2**20


def test_posting_lists_follow_ids_that_change_hands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "LEAST_ABSENCE", 600)
    monkeypatch.setattr(vocabulary, "CLEAN_UP", 256)

    def wandering() -> Iterator[Event]:
        rng = np.random.default_rng(5)
        for t in range(3500):
            label = int(t // 25 + rng.integers(40))
            yield Event(t, {f"w{label}": 1.0, f"x{rng.integers(400)}": 1.0}, [f"l{label}"])

    def outcomes(cuts: list[int]) -> tuple[list[list[tuple[str, float, bool]]], IHomer]:
        learner = model(max_labels=90, forget_labels_after=600)
        rows, known = [], list(wandering())
        for a, b in itertools.pairwise([0, *cuts, len(known)]):
            batch = learner.encoder.encode(known[a:b])
            found = learner.predict_learn(batch)
            for first, last, names in batch.names(learner.encoder.labels.names()):
                rows += [named(found, t, names) for t in range(first, last)]
        return rows, learner

    rows, learner = outcomes(list(range(1, 3500)))
    assert switches(learner)
    assert learner.encoder.labels.seen <= 90
    assert outcomes([700, 1111, 2500, 2501])[0] == rows
    kinds = {(event.kind, event.action) for event in learner.events()}
    assert (Kind.DEATH, "") in kinds
    dead = {name for event in learner.events() if event.kind == Kind.DEATH for name in event.labels}
    assert "l0" in dead
    best = [max(row, key=lambda entry: entry[1])[0] if row else "" for row in rows]
    true = [f"{next(iter(event.on or ()))}" for event in wandering()]
    late = slice(2000, 3500)
    hits = np.mean([a == b for a, b in zip(best[late], true[late], strict=True)])
    assert hits > 0.5


def named(
    found: Predictions | SparsePredictions, t: int, names: Sequence[str]
) -> list[tuple[str, float, bool]]:
    """An event's labels that have a score, by name."""
    if isinstance(found, SparsePredictions):
        part = slice(found.indptr[t], found.indptr[t + 1])
        labels, scores, on = found.labels[part], found.scores[part], found.on[part]
    else:
        labels = np.flatnonzero(~np.isnan(found.scores[t])).astype(np.int32)
        scores, on = found.scores[t, labels], found.on[t, labels]
    rows = zip(labels.tolist(), scores.tolist(), on.tolist(), strict=True)
    return sorted((names[i], score, decided) for i, score, decided in rows)
