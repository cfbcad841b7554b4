"""Why a model says what it says: sums that add up to what the kernels computed."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer import IHomer
from ihomer.errors import UsageError
from ihomer.instances import Value
from ihomer.learners.explained import Explanation
from ihomer.state import digest
from tests.streams import Pair, learned, stream
from tests.yeast import yeast_bodies

LOGIT_CLIP = math.log(0.98 / 0.02)  # beyond which experts do not go
CLOSE = 2e-4  # experts add in float32


def logit(p: float) -> float:
    return math.log(p / (1.0 - p))


def adds_up(found: Explanation, p: float) -> None:
    """The naive twin: what was predicted, put together again from the parts that were told."""
    assert found.score == p
    whole = found.constant + found.blending + found.calibration
    whole += sum(each.contribution for each in found.experts)
    assert whole == pytest.approx(logit(p), abs=1e-6)
    for each in found.experts:
        if each.exact:
            parts = sum(share.contribution for share in each.features) + each.rest
            cut = sum(t.contribution for t in each.terms if t.name == "cut to the limit")
            parts += sum(t.contribution for t in each.terms) - cut
            # The logit is the kernel's; only where it was cut may the parts say more.
            limit = max(-LOGIT_CLIP, min(LOGIT_CLIP, parts))
            if each.expert != "path" and found.representation == "dense rows":
                assert each.logit == pytest.approx(limit, abs=CLOSE)
            assert each.logit == pytest.approx(parts + cut, abs=CLOSE)


@pytest.fixture(scope="module")
def yeast() -> IHomer:
    model = IHomer()
    for body in yeast_bodies(1090):  # all experts are at work in the stride after event 1,024
        model.learn_one(body["x"], body["y"])
    return model


def test_all_labels_of_yeast_add_up(yeast: IHomer) -> None:
    bodies = list(yeast_bodies(1100))[1090:]
    experts = set()
    for body in bodies:
        for label, p in yeast.predict_proba_one(body["x"]).items():
            found = yeast.explain_one(body["x"], label, 200)
            adds_up(found, p[True])
            assert found.on == yeast.predict_one(body["x"])[label]
            assert all(each.rest == pytest.approx(0.0, abs=1e-9) for each in found.experts)
            assert sum(each.weight for each in found.experts) == pytest.approx(1.0)
            experts |= {each.expert for each in found.experts}
    assert experts == {
        "raw", "ridge", "net", "forest", "path", "neighbours", "priors", "persistence",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("without", "nothing"),
    [
        (("calibration",), ["calibration"]),
        (("calibration", "stacking"), ["calibration", "blending"]),
    ],
)
def test_without_corrections_the_experts_alone_are_the_logit(
    without: Sequence[str], nothing: Sequence[str]
) -> None:
    pairs = stream(400, 5)
    model = learned(pairs, without=without)
    for x, _ in pairs[:25]:
        for label, p in model.predict_proba_one(x).items():
            found = model.explain_one(x, label)
            adds_up(found, p[True])
            # The mixture is put together anew here, not read off what was predicted.
            assert all(abs(getattr(found, name)) < CLOSE for name in nothing)


@settings(max_examples=6)
@given(st.integers(0, 1000), st.sampled_from(["subset", "macro-f1"]), st.integers(1, 200))
def test_any_stream_adds_up_and_nothing_changes(seed: int, objective: Any, size: int) -> None:
    pairs = stream(size, seed)
    model = learned(pairs, objective=objective)
    x, _ = pairs[seed % len(pairs)]
    expected = model.predict_proba_one(x)
    before = digest({"model": model})
    for label, p in expected.items():
        adds_up(model.explain_one(x, label), p[True])
    model.describe()
    assert model.predict_proba_one(x) == expected
    assert digest({"model": model}) == before


def test_the_leaves_told_are_those_that_the_forest_looked_at(yeast: IHomer) -> None:
    deep = False
    for body in list(yeast_bodies(1100))[1090:]:
        for label in yeast.predict_one(body["x"]):
            found = yeast.explain_one(body["x"], label)
            forest = next(each for each in found.experts if each.expert == "forest")
            assert found.trees_speak
            assert len(found.trees) == 5
            mean = sum(path.rate for path in found.trees) / 5
            limit = 1.0 / (1.0 + math.exp(LOGIT_CLIP))
            mean = min(1.0 - limit, max(limit, mean))
            assert forest.logit == pytest.approx(logit(mean), abs=1e-3)
            for path in found.trees:
                deep |= len(path.steps) > 1
                for step in path.steps:
                    value = body["x"].get(step.feature, 0.0)
                    assert (value <= step.threshold) == (step.relation == "<=")
    assert deep


def test_neighbours_are_the_events_told() -> None:
    pairs = stream(200, 3)
    model = learned(pairs)
    x, _ = pairs[-3]
    found = model.explain_one(x, "0a", 12)
    assert len(found.neighbours) == 12
    assert 0.0 < sum(near.vote for near in found.neighbours) <= 1.0
    for near in found.neighbours:
        assert set(near.labels) == pairs[-near.ago][1]
        assert near.has == ("0a" in near.labels)
    assert [near.vote for near in found.neighbours] == sorted(
        (near.vote for near in found.neighbours), reverse=True
    )


def test_what_was_planted_is_told() -> None:
    rng = np.random.default_rng(0)
    model = IHomer()
    for _ in range(400):
        x = {f"noise {i}": float(rng.normal()) for i in range(5)}
        x["signal"] = float(rng.normal())
        model.learn_one(x, {"up"} if x["signal"] > 0 else {"down"})
    found = model.explain_one({"signal": 2.0, "noise 1": 1.0, "new": 3.0}, "up")
    assert found.features[0].feature == "signal"
    assert found.features[0].contribution > 0.5
    assert found.features[0].value == 2.0
    assert model.explain_one({"signal": 2.0}).label == "up"
    told = str(found)
    assert told.startswith("up: 0.9")
    assert "signal" in told
    clusters = model.describe(1).clusters
    assert {label.label for each in clusters for label in each.labels} == {"up", "down"}


def test_missing_and_nominal_values_have_their_names() -> None:
    model = IHomer()
    for t in range(300):
        colour = "red" if t % 2 else "blue"
        model.learn_one({"colour": colour, "n": None if t % 3 else 1.0}, {colour})
    found = model.explain_one({"colour": "red", "n": None}, "red", 9)
    adds_up(found, model.predict_proba_one({"colour": "red", "n": None})["red"][True])
    assert "colour=red" in [share.feature for share in found.features]
    assert all(share.value is None for share in found.features if share.feature == "n")


def _wide(count: int, labels: int, words: int) -> list[Pair]:
    rng = np.random.default_rng(1)
    pairs = []
    for t in range(count):
        label = int(rng.integers(labels))
        names = {
            f"word {label}",
            f"word {int(rng.integers(words))}",
            f"rare {t % words}",
            f"other {t % words}",
        }
        x: dict[str, Value] = dict.fromkeys(sorted(names), 1.0)
        pairs.append((x, {f"l{label}", f"m{label % 7}"}))
    return pairs


def test_blocks_of_labels_and_shared_columns_add_up() -> None:
    pairs = _wide(900, 300, 1200)
    model = learned(pairs, max_memory_mb=16.0)
    assert len(model._engine.model.blocks) > 1
    assert model._engine.model.most_columns < model.encoder.features.columns
    for x, y in pairs[:3]:
        for label in [*sorted(y), "l7", "m3"]:
            adds_up(model.explain_one(x, label), model.predict_proba_one(x)[label][True])
    assert "more" in str(model.describe())


@pytest.fixture(scope="module")
def sparse() -> tuple[IHomer, list[Pair]]:
    pairs = _wide(2700, 2100, 300)
    pairs[:2100] = [(x, {f"l{t}", "m1"}) for t, (x, _) in enumerate(pairs[:2100])]
    model = learned(pairs)
    assert model._learner.sparse
    return model, pairs


def test_posting_lists_add_up(sparse: tuple[IHomer, list[Pair]]) -> None:
    model, pairs = sparse
    with_features = 0
    for x, _ in pairs[-20:]:
        for label, p in model.rank_one(x, 4):
            found = model.explain_one(x, label, 50)
            adds_up(found, p)
            assert found.representation == "posting lists"
            assert found.on == model.predict_one(x)[label]
            with_features += bool(found.features)
            assert {share.feature for share in found.features} <= set(x)
    assert with_features > 10
    assert "clusters nor trees" in str(found)


def test_a_label_that_no_list_knows_is_said_to_be_none(sparse: tuple[IHomer, list[Pair]]) -> None:
    model, _ = sparse
    x: dict[str, Value] = {"never seen": 1.0}
    scores = model.predict_proba_one(x)
    label = min(scores, key=lambda name: scores[name][True])
    found = model.explain_one(x, label)
    assert found.score == scores[label][True]
    assert not found.experts
    assert "no candidate" in str(found)


def test_posting_lists_are_described_by_label(sparse: tuple[IHomer, list[Pair]]) -> None:
    model, _ = sparse
    found = model.describe(2, labels=3)
    assert len(found.clusters) == 3
    assert found.clusters[0].labels[0].label == "m1"
    assert found.weights == ()
    assert all(len(cluster.features) <= 2 for cluster in found.clusters)


def test_clusters_are_described_whole(yeast: IHomer) -> None:
    found = yeast.describe(4)
    placed = [{label.label for label in each.labels} for each in found.clusters if each.placed]
    assert placed == yeast.clusters()
    assert found.learned == 1090
    assert found.labels == 14
    assert found.columns == 103
    rates = [label.rate for label in found.clusters[0].labels]
    assert rates == sorted(rates, reverse=True)
    assert all(len(each.features) == 4 for each in found.clusters)
    # The first of them does speak for the cluster's labels: naively, from the weights themselves.
    state = yeast._engine.model.blocks[0].ridge
    assert state is not None
    ids = [yeast.encoder.labels.names().index(n.label) for n in found.clusters[0].labels]
    columns = yeast.encoder.features.names()
    means = [sum(float(state.state.weights[j, 1 + i]) for i in ids) / len(ids) for j in range(103)]
    assert found.clusters[0].features[0].name == columns[int(np.argmax(means))]
    again = json.loads(found.to_json())
    assert again["clusters"][0]["labels"][0]["rate"] == rates[0]
    assert "cluster 1" in str(found)


def test_json_has_all_of_it(yeast: IHomer) -> None:
    x = next(yeast_bodies(1))["x"]
    found = yeast.explain_one(x)
    again = json.loads(found.to_json())
    assert again["label"] == found.label == yeast.rank_one(x, 1)[0][0]
    assert again["experts"][0]["contribution"] == found.experts[0].contribution
    assert again["cluster"] == list(found.cluster)
    assert found.label in found.cluster


def test_what_cannot_be_explained_is_refused_in_a_line() -> None:
    model = IHomer()
    with pytest.raises(UsageError, match="accepted: a model with labels"):
        model.explain_one({"a": 1.0})
    assert model.describe().clusters == ()
    model = learned(stream(50, 1), labels=("never",))
    with pytest.raises(UsageError, match="label: found 'x', accepted: one of the model's labels"):
        model.explain_one({"a": 1.0}, "x")
    for call in (lambda: model.explain_one({}, k=0), lambda: model.describe(0)):
        with pytest.raises(UsageError, match="k: found 0, accepted: 1 or more"):
            call()
    with pytest.raises(UsageError, match="labels: found 0"):
        model.describe(labels=0)
    found = model.explain_one({"level": 1.0}, "never")
    adds_up(found, model.predict_proba_one({"level": 1.0})["never"][True])
    assert "never been on" in found.note
    assert not found.cluster


def test_a_frozen_model_explains_itself(tmp_path: Any, yeast: IHomer) -> None:
    yeast.save(tmp_path / "model")
    x = next(yeast_bodies(1))["x"]
    frozen = IHomer.load(tmp_path / "model", frozen=True)
    assert frozen.explain_one(x) == yeast.explain_one(x)
    assert frozen.describe() == yeast.describe()
