"""The estimator: the same result whatever the cuts, the order and the declarations."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer import IHomer
from ihomer.errors import MalformedEventError, UsageError
from ihomer.instances import Event
from ihomer.learners.ihomer import PARTS
from tests.streams import arrays, assert_same_model, events, learned, scores_in_batches, stream

# What does not matter.


@settings(max_examples=12)
@given(
    st.integers(0, 1000),
    st.lists(st.integers(1, 399), max_size=12),
    st.sampled_from([0.0, 0.3]),
)
def test_batch_cuts_play_no_role(seed: int, cuts: list[int], unlabelled: float) -> None:
    whole, cut = IHomer(), IHomer()
    given_events = events(stream(400, seed), unlabelled)
    expected = scores_in_batches(whole, given_events, [])
    found = scores_in_batches(cut, given_events, cuts)
    np.testing.assert_array_equal(found, expected)
    assert_same_model(cut, whole)


@pytest.mark.parametrize("size", [1, 63, 64, 65])
def test_batches_of_every_size_are_the_same(size: int) -> None:
    given_events = events(stream(700, 3), 0.1)
    whole, cut = IHomer(), IHomer()
    expected = scores_in_batches(whole, given_events, [])
    found = scores_in_batches(cut, given_events, list(range(size, 700, size)))
    np.testing.assert_array_equal(found, expected)
    assert whole.counts["partition_changes"] > 0
    assert_same_model(cut, whole)


def test_one_event_at_a_time_is_the_batch() -> None:
    pairs = stream(300, 1)
    batch, single = IHomer(), IHomer()
    expected = scores_in_batches(batch, events(pairs), [])
    found = np.full(expected.shape, np.nan)
    for t, (x, y) in enumerate(pairs):
        for label, p in single.predict_proba_one(x).items():
            index = single.encoder.labels.get(label)
            assert index is not None
            found[t, index] = p[True]
            assert p[False] == 1.0 - p[True]
        single.learn_one(x, y)
    np.testing.assert_array_equal(found, expected)
    assert_same_model(single, batch)


def test_predictions_say_what_had_been_learned() -> None:
    model = IHomer()
    stream = [Event(t, {"a": 1.0}, None if t % 3 == 0 else ["y"]) for t in range(200)]
    for start, stop in [(0, 130), (130, 200)]:
        found = model.predict_learn(model.encoder.encode(stream[start:stop]))
        expected = [sum(event.on is not None for event in stream[:t]) for t in range(start, stop)]
        assert found.events.tolist() == expected
        np.testing.assert_array_equal(found.on, np.nan_to_num(found.scores) >= 0.5)


@given(st.randoms(use_true_random=False))
@settings(max_examples=10)
def test_the_order_of_features_plays_no_role(random: Any) -> None:
    pairs = stream(80, 2)
    plain, shuffled = learned(pairs), IHomer()
    for x, y in pairs:
        items = list(x.items())
        random.shuffle(items)
        names = sorted(y)
        random.shuffle(names)
        shuffled.learn_one(dict(items), names)
    assert_same_model(shuffled, plain)
    for x, _ in stream(10, 3):
        items = list(x.items())
        random.shuffle(items)
        assert shuffled.predict_proba_one(dict(items)) == plain.predict_proba_one(x)


def test_declaring_labels_changes_no_score() -> None:
    pairs = stream(200, 4)
    plain = IHomer()
    declared = IHomer(labels=["unheard of", *sorted({name for _, y in pairs for name in y})])
    for x, y in pairs:
        found, expected = declared.predict_proba_one(x), plain.predict_proba_one(x)
        assert expected.items() <= found.items()
        assert set(found) == set(declared.labels or ())
        plain.learn_one(x, y)
        declared.learn_one(x, y)
    assert_same_model(declared, plain)


def test_a_label_born_late_is_one_that_was_off_before() -> None:
    pairs = [(x, y | ({"late"} if t >= 150 else set())) for t, (x, y) in enumerate(stream(260, 5))]
    by_sets, by_dicts = IHomer(), IHomer()
    for t, (x, y) in enumerate(pairs):
        of_sets, of_dicts = by_sets.predict_proba_one(x), by_dicts.predict_proba_one(x)
        assert ("late" in of_sets) == (t > 150)
        assert ("late" in of_dicts) == (t > 0)
        assert of_sets.items() <= of_dicts.items()
        if t == 150:
            # It has learned to be off, before it was on the first time.
            assert of_dicts["late"][True] < 0.1
        by_sets.learn_one(x, y)
        by_dicts.learn_one(x, {"late": "late" in y, **dict.fromkeys(y, True)})
    assert_same_model(by_sets, by_dicts)


def test_unlabelled_events_change_nothing() -> None:
    pairs = stream(300, 6)
    plain, mixed = IHomer(), IHomer()
    expected = scores_in_batches(plain, events(pairs), [])
    rng = np.random.default_rng(0)
    crowd: list[Event] = []
    for t, event in enumerate(events(pairs)):
        crowd.append(event)
        # Features that are known by now: a name's id is given where it first appears.
        crowd += [Event("?", pairs[rng.integers(t + 1)][0]) for _ in range(rng.integers(3))]
    found = scores_in_batches(mixed, crowd, [100, 101, 333])
    labelled = np.array([event.on is not None for event in crowd])
    np.testing.assert_array_equal(found[labelled], expected)
    assert_same_model(mixed, plain)


def test_unlabelled_events_alone_are_predicted_and_not_learned() -> None:
    model = learned(stream(100, 7))
    before = pickle.loads(pickle.dumps(model))  # noqa: S301  # made here
    batch = model.encoder.encode([Event(t, x) for t, (x, _) in enumerate(stream(50, 8))])
    found = model.predict_learn(batch)
    assert found.events.tolist() == [100] * 50
    assert np.isfinite(found.scores).all()
    assert_same_model(model, before)


def test_predicting_changes_nothing() -> None:
    model = learned(stream(150, 9), labels=("declared",))
    before = pickle.loads(pickle.dumps(model))  # noqa: S301  # made here
    for x, _ in stream(30, 10):
        fresh = {**x, "a new name": 2.0, "a new kind": "new", "new list": ["p", "q"]}
        assert model.predict_proba_one(fresh) == model.predict_proba_one(fresh)
        model.predict_one(fresh)
        model.rank_one(fresh, k=3)
    assert_same_model(model, before)


def test_the_partition_moves_scores_by_little() -> None:
    given_events = events(stream(1200, 11))
    split, whole = IHomer(drift=False), IHomer(drift=False, partition=False)
    found = scores_in_batches(split, given_events, [500])
    expected = scores_in_batches(whole, given_events, [])
    assert len(split.clusters()) == 2
    assert whole.clusters() == []
    # Trees alone know of clusters.
    assert np.nanmean(np.abs(found - expected)) < 0.005


def test_clusters_are_the_groups_of_the_stream() -> None:
    model = IHomer()
    scores_in_batches(model, events(stream(1000, 12, groups=3)), [])
    expected = [{f"{group}{letter}" for letter in "abc"} for group in range(3)]
    assert model.clusters() == expected


# Bounds and odd events.


def test_features_past_the_bound_share_columns_and_stay_finite() -> None:
    model = IHomer(max_features=8)
    for t in range(300):
        x = {f"name {t % 50}": 1e300, "same": -1e300, f"once {t}": 1.0}
        assert all(math.isfinite(p[True]) for p in model.predict_proba_one(x).values())
        model.learn_one(x, {"even"} if t % 2 else {"odd", "even"})
    assert model.encoder.features.columns == 10
    assert all(np.isfinite(a).all() for a in arrays(model))
    assert model.memory_bytes < learned([({f"n{t}": 1.0}, {"y"}) for t in range(300)]).memory_bytes


def test_a_label_past_the_bound_is_refused_and_nothing_is_learned() -> None:
    model = IHomer(max_labels=2)
    model.learn_one({"a": 1.0}, {"one", "two"})
    before = pickle.dumps(model)
    with pytest.raises(MalformedEventError, match=r"'three' is new and max_labels = 2"):
        model.learn_one({"brand new": 1.0}, {"one", "three"})
    assert pickle.dumps(model) == before
    model.learn_one({"a": 1.0}, {"one": True, "three": False})  # off: nothing is lost
    assert set(model.predict_one({"a": 1.0})) == {"one", "two"}


def test_a_label_past_the_bound_is_dropped_on_request() -> None:
    model = IHomer(max_labels=2, new_labels="drop")
    model.learn_one({"a": 1.0}, {"one", "two"})
    model.learn_one({"a": 1.0}, {"one", "three"})
    assert set(model.predict_one({"a": 1.0})) == {"one", "two"}
    assert model.n_learned == 2
    assert model.encoder.labels.dropped == 1


def test_before_the_first_event() -> None:
    model = IHomer()
    assert model.predict_one({"a": 1.0}) == {}
    assert model.predict_proba_one({}) == {}
    assert model.rank_one({"a": 1.0}) == []
    assert model.clusters() == []
    assert model.n_learned == 0
    declared = IHomer(labels=("b", "a"))
    found = declared.predict_proba_one({"x": 1.0})
    assert list(found) == ["a", "b"] or list(found) == ["b", "a"]
    assert found["a"] == found["b"]
    assert 0.4 < found["a"][True] < 0.6


def test_events_without_features_are_learned_by_the_bias() -> None:
    model = IHomer()
    rng = np.random.default_rng(17)
    for _ in range(200):
        model.learn_one({}, {"always", "half"} if rng.random() < 0.5 else {"always"})
    found = model.predict_proba_one({})
    assert found["always"][True] > 0.95
    assert 0.3 < found["half"][True] < 0.7


def test_events_without_labels_are_learned() -> None:
    model = IHomer(labels=("never",))
    before = model.predict_proba_one({"a": 1.0})["never"][True]
    for t in range(100):
        model.learn_one({"a": 1.0 + t % 2}, set())
    assert model.n_learned == 100
    assert model.predict_proba_one({"a": 1.0})["never"][True] < 0.05 < before
    assert model.clusters() == []


@pytest.mark.parametrize("names", [["only"], ["a", "b", "c"]])
def test_all_labels_always_on(names: list[str]) -> None:
    model = IHomer()
    for t in range(400):
        model.learn_one({"a": float(t % 7)}, names)
    assert model.predict_one({"a": 3.0}) == dict.fromkeys(names, True)
    assert all(np.isfinite(a).all() for a in arrays(model))


def test_features_come_and_go() -> None:
    model = IHomer()
    for t in range(200):
        model.learn_one({f"only {t}": 1.0}, {"y"} if t % 2 else set())
    assert np.isfinite(list(model.predict_proba_one({})["y"].values())).all()
    assert np.isfinite(list(model.predict_proba_one({"unheard": 5.0})["y"].values())).all()


def test_missing_is_not_zero() -> None:
    """The feature says it all where it is there; None, NaN and absence are told apart."""
    model = IHomer()
    for t in range(200):
        model.learn_one({"a": 1.0 if t % 2 else -1.0, "b": 0.5 + t % 3}, {"y"} if t % 2 else set())
    missing = model.predict_proba_one({"a": None, "b": 0.5})
    assert missing == model.predict_proba_one({"a": math.nan, "b": 0.5})
    low, high = (model.predict_proba_one({"a": a, "b": 0.5})["y"][True] for a in (-1.0, 1.0))
    # It is off every other time, so it is rather off now.
    assert low < 0.02 < 0.05 < missing["y"][True] < 0.5 < 0.9 < high
    gone = IHomer()
    for t in range(200):
        gone.learn_one({"a": 3.0 + t % 2, "b": None}, {"y"} if t % 2 else set())
    assert np.isfinite(gone.predict_proba_one({"b": 1.0})["y"][True])
    for p in ({"a": 4.0}, {"a": 4.0, "b": None}):
        assert gone.predict_one(p) == {"y": True}


def test_ranking_is_by_probability_and_ties_by_name() -> None:
    model = IHomer(labels=("z", "m"))
    for t in range(60):
        model.learn_one({"a": 1.0}, ["b", "a", "c"] if t % 3 else ["c"])
    ranked = model.rank_one({"a": 1.0}, k=10)
    assert [name for name, _ in ranked] == ["c", "a", "b", "m", "z"]
    assert ranked[1][1] == ranked[2][1]
    assert ranked[3][1] == ranked[4][1]
    assert dict(ranked) == {n: p[True] for n, p in model.predict_proba_one({"a": 1.0}).items()}
    assert model.rank_one({"a": 1.0}, k=2) == ranked[:2]
    assert len(model.rank_one({"a": 1.0})) == 5


def test_learning_from_missing_values_harms_nothing() -> None:
    rng = np.random.default_rng(22)
    model, hits = IHomer(), []
    for t in range(600):
        b = float(rng.normal())
        x = {"b": None if t % 3 else b}
        if x["b"] is not None:
            hits.append(model.predict_one(x).get("y", False) == (b > 0))
        model.learn_one(x, {"y"} if b > 0 else set())
    assert np.mean(hits) > 0.9


@pytest.mark.parametrize("objective", ["hamming", "micro-f1", "macro-f1"])
def test_the_objective_decides_and_changes_no_probability(objective: str) -> None:
    pairs = stream(300, 13)
    model, default = learned(pairs, objective=objective), learned(pairs)
    for x, _ in stream(30, 14):
        found = model.predict_proba_one(x)
        assert found == default.predict_proba_one(x)
        if objective == "hamming":
            assert model.predict_one(x) == {label: p[True] >= 0.5 for label, p in found.items()}


@pytest.mark.parametrize("part", PARTS)
def test_a_model_without_a_part_learns_all_the_same(part: str) -> None:
    pairs = stream(200, 15)
    model = learned(pairs, without=[part])
    assert np.isfinite([p[True] for p in model.predict_proba_one(pairs[0][0]).values()]).all()
    hits = [all(model.predict_proba_one(x)[label][True] > 0.3 for label in y) for x, y in pairs]
    assert np.mean(hits) > 0.8


def test_threads_change_nothing() -> None:
    pairs = stream(200, 16)
    many = [(x, y | {f"rare {t % 300}"}) for t, (x, y) in enumerate(pairs)]
    assert_same_model(learned(many, threads=3), learned(many))


@pytest.mark.parametrize("kind", [set, frozenset, list, tuple, iter, dict.fromkeys])
def test_labels_come_in_any_collection(kind: Any) -> None:
    model = IHomer()
    labels = kind(["a", "b"])
    if isinstance(labels, dict):
        labels = dict.fromkeys(labels, True)
    model.learn_one({"x": 1.0}, labels)
    assert set(model.predict_one({})) == {"a", "b"}


# Mistakes.


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"objective": "recall"},
            "objective: found 'recall', accepted: 'subset', 'hamming', 'micro-f1' or",
        ),
        ({"trees": 0}, "trees: found 0, accepted: 1 to 100"),
        ({"split_test": "gini"}, "split_test: found 'gini'"),
        ({"threads": 0}, "threads: found 0, accepted: 1 or more"),
        ({"max_memory_mb": 1}, "max_memory_mb: found 1, accepted: 16 or more"),
        ({"without": ["stacks"]}, "without: found"),
        ({"without": "raw"}, "without: found 'raw'"),
        ({"new_labels": "ignore"}, "new_labels: found 'ignore', accepted: 'error' or 'drop'"),
        ({"max_features": 0}, "max_features: found 0"),
        ({"max_labels": 0}, "max_labels: found 0"),
        ({"max_labels": 1, "labels": ("a", "b")}, "max_labels: 2 labels declared"),
        ({"labels": "news"}, "labels: found 'news', accepted: a sequence of strings"),
        ({"labels": (1, 2)}, "labels"),
    ],
)
def test_wrong_parameters_are_named(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        IHomer(**parameters)


@pytest.mark.parametrize("y", ["news", {1: True}, [None], {"a", 3}])
def test_labels_that_are_no_strings_are_refused(y: Any) -> None:
    model = learned(stream(10, 16))
    before = pickle.dumps(model)
    with pytest.raises(UsageError, match="y: found"):
        model.learn_one({"a": 1.0}, y)
    assert pickle.dumps(model) == before


@pytest.mark.parametrize(
    "value",
    [math.inf, -math.inf, 10**400, object(), [1.0], {"a": 1}, b"a"],
    ids=["inf", "-inf", "huge", "object", "numbers", "mapping", "bytes"],
)
def test_values_that_are_not_accepted_are_named_and_nothing_is_kept(value: Any) -> None:
    model = learned(stream(10, 16))
    before = pickle.dumps(model)
    with pytest.raises(MalformedEventError, match=r"^x\.the name: found "):
        model.learn_one({"new": 1.0, "the name": value}, {"new label"})
    with pytest.raises(MalformedEventError, match=r"^x\.the name: found "):
        model.predict_proba_one({"new": 1.0, "the name": value})
    assert pickle.dumps(model) == before


def test_an_empty_declaration_can_be_cloned() -> None:
    model = IHomer(labels=())
    assert model.clone().predict_one({}) == {}
    assert IHomer(labels=("a",)).clone().labels == ("a",)


# Pickling and memory.


@pytest.mark.parametrize("at", [0, 40, 64, 300])
def test_a_pickled_model_goes_on_alike(at: int) -> None:
    pairs = stream(600, 17)
    model = learned(pairs[:at])
    twin = pickle.loads(pickle.dumps(model))  # noqa: S301  # made one line above
    rest = events(pairs[at:])
    found = scores_in_batches(twin, rest, [7, 50])
    np.testing.assert_array_equal(found, scores_in_batches(model, rest, []))
    assert_same_model(twin, model)


def test_memory_grows_with_features_and_labels() -> None:
    few = learned([({"a": 1.0}, {"y"})])
    features = learned([({f"n{t}": 1.0}, {"y"}) for t in range(1000)])
    labels = learned([({"a": 1.0}, {f"y{t}"}) for t in range(500)])
    assert 0 < few.memory_bytes < features.memory_bytes
    assert few.memory_bytes < labels.memory_bytes


@pytest.mark.parametrize("drift", [True, False])
def test_nothing_grows_with_time_alone(drift: bool) -> None:
    """Pickled, because lists of waiting losses are no arrays of the model.

    By then as many recent events are kept as ever will be.
    """
    model = IHomer(drift=drift, partition=False)
    x, sizes = {"a": 1.0, "b": 2.0}, []
    for t in range(44 * 64):
        model.learn_one(x, {"y"} if t % 2 else {"z"})
        if model.n_learned % 64 == 0:
            sizes.append(len(pickle.dumps(model)))
    assert sizes[-1] < sizes[35] * 1.02


def test_a_label_that_was_never_on_is_predicted_off() -> None:
    model = IHomer(labels=["a", "b"])
    assert model.predict_one({"x": 1.0}) == {"a": False, "b": False}
    model.learn_one({"x": 1.0}, {"a": True, "b": False, "c": False})
    assert model.predict_one({"x": 1.0}) == {"a": True, "b": False, "c": False}
    # Its probability is still that of a label of which nothing is known.
    assert 0.0 < model.predict_proba_one({"x": 1.0})["c"][True] < 1.0
