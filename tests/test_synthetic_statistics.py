"""Generated streams against what was asked for, and against learners that should reach them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from ihomer.connectors.synthetic import SyntheticSource
from ihomer.connectors.synthetic.parameters import LABELS_FOLLOW
from ihomer.connectors.synthetic.uniform import Randomness
from tests.generated import Whole, events, row, whole


def test_uniform_numbers_are_uniform_and_normal_ones_normal() -> None:
    randomness = Randomness("test", 0)
    numbers = randomness.uniforms("a", 3, 100_000)
    assert 0.0 < numbers.min() < numbers.max() < 1.0
    assert chisquare(np.histogram(numbers, 50, (0.0, 1.0))[0]).pvalue > 0.001
    assert abs(np.corrcoef(numbers, randomness.uniforms("b", 3, 100_000))[0, 1]) < 0.02
    assert abs(np.corrcoef(numbers, randomness.uniforms("a", 4, 100_000))[0, 1]) < 0.02
    normal = randomness.normals("c", 0, 100_000)
    assert abs(normal.mean()) < 0.02
    assert abs(normal.std() - 1.0) < 0.02
    whole_numbers = randomness.integers("d", 0, 70_000, 7)
    assert chisquare(np.bincount(whole_numbers, minlength=7)).pvalue > 0.001
    assert sorted(randomness.order("e", 50).tolist()) == list(range(50))


@pytest.mark.parametrize("name", LABELS_FOLLOW)
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"labels": 24, "blocks": 4, "cardinality": 4.0, "within": 1.0},
        {"labels": 12, "blocks": 1, "cardinality": 1.2, "dependence": -1.0, "signal": 1.0},
    ],
)
def test_events_have_the_asked_number_of_labels(name: str, parameters: dict[str, Any]) -> None:
    source = SyntheticSource(name, events=10_000, noise=0.0, **parameters)
    asked = source.parameters.cardinality
    assert whole(source).y.sum(axis=1).mean() == pytest.approx(asked, rel=0.05)


def explained(source: SyntheticSource) -> tuple[list[tuple[int, ...]], list[int], int, int]:
    """Active blocks, planted sizes, planted labels, of these lost."""
    said = [source.explain(t) for t in range(source.length or 0)]
    planted = sum(len(one.planted) for one in said)
    return (
        [one.blocks for one in said],
        [len(one.planted) for one in said],
        planted,
        sum(len(one.lost) for one in said),
    )


def test_blocks_are_the_generator_of_the_partition_experiments() -> None:
    source = SyntheticSource("blocks", events=20_000, within=0.0, over=1.0)
    p = source.parameters
    assert (p.labels, p.blocks, p.two, p.one_block, p.two_blocks, p.noise) == (
        *(40, 8, 0.2, (1, 4), (1, 2), 0.05),
    )
    blocks, sizes, planted, lost = explained(source)
    two = np.array([len(active) == 2 for active in blocks])
    assert two.mean() == pytest.approx(0.2, abs=0.01)
    first = np.bincount([active[0] for active in blocks], minlength=8)
    weights = 1.0 / np.arange(1, 9)
    assert chisquare(first, weights / weights.sum() * 20_000).pvalue > 0.001
    alone = np.bincount(np.array(sizes)[~two])
    assert chisquare(alone[1:5]).pvalue > 0.001
    both = np.bincount(np.array(sizes)[two])
    assert chisquare(both[2:5], both.sum() * np.array([0.25, 0.5, 0.25])).pvalue > 0.001
    # One in 40 is replaced by itself, a few by another planted one.
    assert lost / planted == pytest.approx(0.05 * 39 / 40, abs=0.004)


def test_labels_of_a_block_follow_zipf() -> None:
    source = SyntheticSource(
        "blocks", events=30_000, labels=20, blocks=2, one_block=1, two=0, within=1, over=0, noise=0
    )
    y = whole(source).y
    weights = 1.0 / np.arange(1, 11)
    for block in source.truth.partition(0):
        counts = np.sort(y[:, [source.labels.index(label) for label in block]].sum(axis=0))[::-1]
        assert chisquare(counts, weights / weights.sum() * counts.sum()).pvalue > 0.001


def test_the_second_block_is_drawn_by_the_weights_of_the_rest() -> None:
    source = SyntheticSource("blocks", events=30_000, labels=12, blocks=3, two=1.0, over=1.0)
    blocks, *_ = explained(source)
    after_first = np.bincount([active[1] for active in blocks if active[0] == 0], minlength=3)
    assert after_first[0] == 0
    total = after_first.sum()
    assert chisquare(after_first[1:], total * np.array([3, 2]) / 5).pvalue > 0.001


def test_labels_come_from_active_blocks_and_noise_from_anywhere() -> None:
    source = SyntheticSource("blocks", events=2000, noise=1.0)
    block_of = source.truth.block_of(0)
    inside = outside = 0
    for t in range(2000):
        said = source.explain(t)
        assert {block_of[label] for label in said.planted} <= set(said.blocks)
        outside += sum(block_of[label] not in said.blocks for label in said.noise)
        inside += len(said.noise)
    assert outside / inside > 0.8


def test_text_is_the_planted_stream_of_many_labels() -> None:
    source = SyntheticSource("text", events=3000)
    p = source.parameters
    assert (p.labels, p.blocks, p.words, p.two, p.within, p.over) == (
        1000,
        50,
        50_000,
        0.3,
        0.8,
        0.8,
    )
    assert (p.one_block, p.two_blocks, p.noise) == ((1, 5), (1, 2), 0.05)
    assert (p.label_words, p.block_words, p.label_draws, p.block_draws) == (8, 12, 5, 6)
    assert (p.background, p.zipf) == (56, 1.0)
    blocks, sizes, planted, lost = explained(source)
    one = np.array([len(active) == 1 for active in blocks])
    assert one.mean() == pytest.approx(0.7, abs=0.03)
    assert np.array(sizes)[one].mean() == pytest.approx(3.0, abs=0.1)
    assert np.array(sizes)[~one].mean() == pytest.approx(3.0, abs=0.1)
    assert lost / planted == pytest.approx(0.05, abs=0.01)
    lengths = []
    for event in events(source):
        values = np.array(list(row(event).values()))
        assert (values**2).sum() == pytest.approx(1.0)
        assert (values > 0.0).all()
        lengths.append(len(values))
    # 28 background words, 15 of the labels, 7.8 of the blocks, some of them more than once.
    assert 35 < np.mean(lengths) < 51
    assert max(lengths) <= 56 + 5 * 5 + 2 * 6


def test_words_are_background_words_and_those_of_the_labels_and_blocks() -> None:
    alone: dict[str, Any] = {
        "labels": 10,
        "blocks": 2,
        "words": 10_000,
        "two": 0.0,
        "noise": 0.0,
        "one_block": 1,
    }
    source = SyntheticSource("text", events=3000, background=0, **alone)
    words: dict[str, set[str]] = {}
    of_block: dict[int, set[str]] = {}
    for event in events(source):
        (label,) = event.on or ()
        words.setdefault(label, set()).update(row(event))
        assert len(row(event)) <= 5 + 6
    block_of = source.truth.block_of(0)
    for label, found in words.items():
        assert len(found) == 8 + 12
        of_block.setdefault(block_of[label], set(found)).intersection_update(found)
    assert [len(common) for common in of_block.values()] == [12, 12]
    silent = SyntheticSource("text", events=5000, label_draws=0, block_draws=0, **alone)
    every = [name for event in events(silent) for name in row(event)]
    assert min(len(row(event)) for event in events_again(silent)) == 0
    assert every.count("w0000") > every.count("w0009") > every.count("w0999")


def events_again(source: SyntheticSource) -> Any:
    source.seek({"event": 0})
    return events(source)


def auc(model: Any, stream: Whole) -> float:
    """Mean area under the curve over the labels, learned on one half and measured on the other."""
    half = len(stream.x) // 2
    found = []
    for label in range(stream.y.shape[1]):
        y = stream.y[:, label]
        model.fit(stream.x[:half], y[:half])
        scores = model.predict_proba(stream.x[half:])[:, 1]
        found.append(roc_auc_score(y[half:], scores))
    return float(np.mean(found))


def forest() -> RandomForestClassifier:
    return RandomForestClassifier(30, random_state=0, min_samples_leaf=3)


@pytest.mark.parametrize(
    ("name", "parameters", "model", "least"),
    [
        ("linear", {}, LogisticRegression(), 0.85),
        ("hyperplane", {"turn": 10**9}, LogisticRegression(), 0.85),
        ("rbf", {"features": 8, "centroids": 8}, forest(), 0.85),
        ("tree", {"features": 8, "depth": 3}, forest(), 0.85),
        ("xor", {"features": 4, "irrelevant": 0}, forest(), 0.85),
    ],
)
def test_a_learner_of_the_family_learns_it(
    name: str, parameters: dict[str, Any], model: Any, least: float
) -> None:
    plain: dict[str, Any] = {"labels": 4, "blocks": 1, "cardinality": 1.5}
    learnable = whole(SyntheticSource(name, events=4000, **plain, **parameters))
    assert auc(model, learnable) > least
    # Without a signal there is nothing to learn.
    nothing = whole(SyntheticSource(name, events=6000, signal=0, **plain, **parameters))
    assert abs(auc(LogisticRegression(), nothing) - 0.5) < 0.04


def test_xor_cannot_be_learned_by_a_line() -> None:
    stream = whole(
        SyntheticSource("xor", events=8000, labels=4, blocks=1, cardinality=1.5, features=6)
    )
    assert abs(auc(LogisticRegression(), stream) - 0.5) < 0.05


def test_a_hyperplane_that_turns_half_way_round_is_the_opposite() -> None:
    source = SyntheticSource(
        "hyperplane", events=20_000, turn=32_000, labels=4, blocks=1, cardinality=2
    )
    x, y = whole(source)
    model = LogisticRegression().fit(x[:1500], y[:1500, 0])
    near, far = model.predict_proba(x[1500:2500])[:, 1], model.predict_proba(x[16_000:17_000])[:, 1]
    assert roc_auc_score(y[1500:2500, 0], near) > 0.85
    assert roc_auc_score(y[16_000:17_000, 0], far) < 0.15


def test_words_tell_labels() -> None:
    source = SyntheticSource("text", events=3000, labels=12, blocks=3, words=300, one_block=2)
    assert auc(LogisticRegression(), whole(source)) > 0.85


@pytest.mark.parametrize(("dependence", "sign"), [(2.0, 1), (0.0, 0), (-2.0, -1)])
def test_a_label_says_something_about_the_next_one(dependence: float, sign: int) -> None:
    source = SyntheticSource(
        "linear",
        events=20_000,
        labels=3,
        blocks=1,
        cardinality=1.5,
        signal=0.0,
        noise=0.0,
        dependence=dependence,
    )
    y = whole(source).y
    for a, b in ((0, 1), (1, 2)):
        correlation = np.corrcoef(y[:, a], y[:, b])[0, 1]
        assert (int(np.sign(correlation)) if abs(correlation) > 0.03 else 0) == sign


def test_the_probability_of_a_label_is_as_documented() -> None:
    # Without signal, noise and dependence one block's odds are the bias times the Zipf shares.
    source = SyntheticSource(
        "linear",
        events=60_000,
        labels=5,
        blocks=1,
        signal=0,
        dependence=0,
        noise=0,
        within=1.0,
        cardinality=1.5,
    )
    rate = np.sort(whole(source).y.mean(axis=0))[::-1]
    odds = rate / (1.0 - rate)
    np.testing.assert_allclose(odds[0] / odds, np.arange(1, 6), rtol=0.07)


def test_observed_features_are_noisy_and_irrelevant_ones_say_nothing() -> None:
    clean = whole(SyntheticSource("linear", events=4000, feature_noise=0))
    noisy = whole(SyntheticSource("linear", events=4000, feature_noise=0.5))
    np.testing.assert_array_equal(clean.y, noisy.y)
    assert (noisy.x - clean.x).std() == pytest.approx(0.5, abs=0.01)
    half = Whole(clean.x[:, 20:], clean.y)
    assert abs(auc(LogisticRegression(), half) - 0.5) < 0.05
