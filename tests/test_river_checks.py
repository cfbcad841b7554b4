"""Our estimators under river's own checks, in its pipelines and in its evaluation.

River's checks take a data set for multi-label learning that is downloaded (Music); the bundled one
(Yeast) stands in for it while the checks are collected.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

import pytest
from river import base, checks, datasets, evaluate, metrics, preprocessing

import ihomer
from ihomer import IHomer

ESTIMATORS: tuple[Any, ...] = (IHomer,)

# River ships no types for what is called here.
YEAST: Any = datasets.Yeast
METRICS: Any = metrics


def _cases() -> list[Any]:
    """Every check of every estimator with each of its sets of test parameters."""
    cases: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "Music", datasets.Yeast)
        for estimator in ESTIMATORS:
            for number, parameters in enumerate(estimator._unit_test_params()):
                model = estimator(**parameters)
                for check in checks.yield_checks(model):
                    if check.__name__ not in model._unit_test_skips():
                        name = f"{estimator.__name__}-{number}-{check.__name__}"
                        cases.append(pytest.param(model, check, id=name))
    return cases


CASES = _cases()


@pytest.mark.parametrize(("model", "check"), CASES)
def test_check(model: base.Estimator, check: Callable[[base.Estimator], None]) -> None:
    check(model.clone())


def test_checks_with_data_are_among_them() -> None:
    names = {case.id for case in CASES}
    for number in range(len(list(IHomer._unit_test_params()))):
        assert f"IHomer-{number}-check_shuffle_features_no_impact" in names
        assert f"IHomer-{number}-check_bounded_memory_growth" in names


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_no_check_is_skipped(estimator: Any) -> None:
    assert not estimator()._unit_test_skips()


def test_every_estimator_of_the_package_is_checked() -> None:
    found = set()
    for module in pkgutil.walk_packages(ihomer.__path__, "ihomer."):
        for _, value in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(value, base.Estimator) and value.__module__ == module.name:
                found.add(value)
    assert found == set(ESTIMATORS)


def test_in_a_pipeline() -> None:
    pipeline: Any = preprocessing.StandardScaler() | IHomer(objective="hamming")
    for x, y in YEAST().take(100):
        predicted = pipeline.predict_one(x)
        probabilities = pipeline.predict_proba_one(x)
        assert predicted == {label: p[True] >= 0.5 for label, p in probabilities.items()}
        pipeline.learn_one(x, y)
    assert set(pipeline.predict_one(x)) == set(y)
    assert pipeline["IHomer"].n_learned == 100


def test_in_rivers_progressive_validation() -> None:
    metric = METRICS.multioutput.MicroAverage(METRICS.F1())
    evaluate.progressive_val_score(YEAST().take(200), IHomer(), metric)
    truth = [y for _, y in YEAST().take(200)]
    share = sum(sum(map(bool, y.values())) for y in truth) / sum(map(len, truth))
    everything_on = 2 * share / (1 + share)  # its micro-F1 from its definition
    assert metric.get() > everything_on + 0.05


def test_progressive_validation_by_hand_gives_the_same_figure() -> None:
    stream = list(YEAST().take(120))
    metric = METRICS.multioutput.ExactMatch()
    evaluate.progressive_val_score(stream, IHomer(), metric)
    model, hits, scored = IHomer(), 0, 0
    for x, y in stream:
        predicted = model.predict_one(x)
        if predicted:  # river leaves out the first event, when no label is known
            hits += predicted == y
            scored += 1
        model.learn_one(x, y)
    assert scored == len(stream) - 1
    assert 0 < metric.get() == pytest.approx(hits / scored)
