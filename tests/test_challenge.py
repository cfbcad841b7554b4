"""Recovery from planted changes: who takes over, what comes back, what it may cost."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

import numpy as np
import pytest

from ihomer import IHomer
from ihomer.drift.events import Kind, LearnerEvent, Level
from ihomer.instances import Event
from ihomer.learners.challenge import ROOM
from tests.streams import assert_same_model, scores_in_batches

LABELS = ("a", "b", "c", "d")


def concepts(numbers: Sequence[int], each: int, seed: int = 0, features: int = 30) -> list[Event]:
    """Labels that follow linear rules but for a tenth; `numbers` names the rules, each in turn."""
    rng = np.random.default_rng(seed)
    made: list[Event] = []
    for number in numbers:
        rules = np.random.default_rng(1000 + number).normal(size=(len(LABELS), features))
        x = rng.normal(size=(each, features))
        on = (x @ rules.T > 0.0) ^ (rng.random((each, len(LABELS))) < 0.1)
        made += [
            Event(
                len(made) + t,
                {f"x{j}": float(value) for j, value in enumerate(x[t])},
                [label for label, is_on in zip(LABELS, on[t], strict=True) if is_on],
            )
            for t in range(each)
        ]
    return made


def told(model: IHomer) -> list[LearnerEvent]:
    return [event for event in model._engine.log.since(0) if event.level is Level.MODEL]


def errors(model: IHomer, stream: list[Event]) -> list[float]:
    """Share of wrong labels of each event."""
    found = model.predict_learn(model.encoder.encode(stream))
    names = model.encoder.labels.names()
    truth = np.array([[name in (event.on or ()) for name in names] for event in stream])
    wrong: list[float] = (found.on != truth).mean(axis=1).tolist()
    return wrong


def test_a_fresh_model_takes_over_after_a_change() -> None:
    stream = concepts([1, 2], 2048)
    wrong = {}
    for drift in (True, False):
        model = IHomer(drift=drift, labels=LABELS)
        errors(model, stream[:2048])
        assert not told(model)
        wrong[drift] = np.mean(errors(model, stream[2048:3072]))
        kinds = [event.kind for event in told(model)]
        assert kinds[:2] == ([Kind.RESET, Kind.SWITCH] if drift else [])
        for event in told(model)[1:2]:
            assert event.event <= 2048 + 256
            assert event.statistic is not None
            assert event.bound is not None
            assert event.statistic > event.bound > 0.0
    assert wrong[True] < 0.8 * wrong[False]


def test_a_concept_that_recurs_is_recalled() -> None:
    stream = concepts([1, 2, 1, 2], 1536)
    model = IHomer(labels=LABELS)
    first = errors(model, stream)
    recalled = [event.event for event in told(model) if event.kind is Kind.RECALL]
    assert [at // 1536 for at in recalled] == [2, 3]
    assert all(at % 1536 <= 256 for at in recalled)
    # What comes back needs not be learned again.
    assert np.mean(first[3072 + 128 : 3072 + 512]) < np.mean(first[128:512]) - 0.02


def test_labels_and_features_born_meanwhile_do_not_keep_a_state_from_coming_back() -> None:
    stream = concepts([1, 2, 1], 1536)
    rng = np.random.default_rng(5)
    for event in stream[2000:]:
        assert isinstance(event.x, dict)
        event.x[f"word {rng.integers(300)}"] = 1.0
        if rng.random() < 0.2:
            event.on = [*(event.on or ()), f"new {rng.integers(20)}"]
    model = IHomer(labels=LABELS)
    found = model.predict_learn(model.encoder.encode(stream))
    assert [event.event // 1536 for event in told(model) if event.kind is Kind.RECALL] == [2]
    assert np.isfinite(found.scores[-1]).all()
    assert len(model._engine.model.cluster_of) == model.encoder.labels.seen


def test_labels_born_while_the_loss_rises_are_no_hindrance() -> None:
    stream = concepts([1, 2], 1536)
    rng = np.random.default_rng(6)
    for event in stream[1600:]:
        event.on = [*(event.on or ()), f"new {rng.integers(2 + int(event.id) % 2000 // 50)}"]
    model = IHomer(labels=LABELS)
    found = model.predict_learn(model.encoder.encode(stream))
    assert Kind.SWITCH in {event.kind for event in told(model)}
    assert np.isfinite(found.scores[-1]).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_cuts_threads_and_saving_play_no_role(threads: int) -> None:
    stream = concepts([1, 2, 1], 1536, seed=3)
    for t in range(0, len(stream), 7):
        stream[t].on = None
    whole, cut = IHomer(), IHomer(threads=threads)
    expected = scores_in_batches(whole, stream, [])
    kinds = {event.kind for event in told(whole)}
    assert kinds == {Kind.RESET, Kind.SWITCH, Kind.RECALL}
    half = 2000
    found = scores_in_batches(cut, stream[:half], list(range(37, half, 149)))
    cut = pickle.loads(pickle.dumps(cut))  # noqa: S301  # made here
    rest = scores_in_batches(cut, stream[half:], list(range(50, half, 211)))
    np.testing.assert_array_equal(np.concatenate([found, rest]), expected)
    assert told(cut) == told(whole)
    assert_same_model(cut, whole)


def test_what_is_kept_of_a_batch_are_its_labelled_events() -> None:
    stream = concepts([1], 40)
    for t in (0, 1, 7, 39):
        stream[t].on = None
    with_others, alone = IHomer(labels=LABELS).encoder, IHomer(labels=LABELS).encoder
    batch = with_others.encode(stream)
    found = batch.where(batch.labelled)
    expected = alone.encode([event for event in stream if event.on is not None])
    for name in ("indptr", "indices", "values", "y_indptr", "y_indices", "labelled", "known"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        assert getattr(found, name).dtype == getattr(expected, name).dtype


def test_memory_is_bounded() -> None:
    model = IHomer(max_memory_mb=16.0, labels=LABELS)
    model.predict_learn(model.encoder.encode(concepts([1, 2, 3, 4, 5, 1, 2], 1536)))
    assert model.memory_bytes < 16.0 * 2**20
    roomy = IHomer(labels=LABELS)
    roomy.predict_learn(roomy.encoder.encode(concepts([1, 2, 3, 4, 5, 6, 7], 1536)))
    challenges = roomy._engine._challenges
    assert challenges is not None
    assert len(challenges.stored) == 4
    # What is reckoned with is more than what is taken.
    assert ROOM * roomy._engine.model.content_bytes(30, 32.0) > roomy._engine.model.memory_bytes


def test_a_stream_without_drift_is_left_alone() -> None:
    stream = concepts([1], 6000, seed=4)
    on, off = IHomer(), IHomer(drift=False)
    np.testing.assert_array_equal(
        scores_in_batches(on, stream, []), scores_in_batches(off, stream, [])
    )
    assert not told(on)
