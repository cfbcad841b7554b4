"""Our estimators under river's own checks, in its pipelines and in its evaluation.

River's checks take a data set for multi-label learning that is downloaded (Music); the bundled one
(Yeast) stands in for it while the checks are collected.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from river import base, checks, datasets, evaluate, metrics, preprocessing

import ihomer
from ihomer import IHomer
from ihomer.drift.adwin import ADWIN

ESTIMATORS: tuple[type[base.Estimator], ...] = (IHomer, ADWIN)

Check = Callable[[base.Estimator], None]


def _cases() -> Iterator[Any]:
    """Every check of every estimator with each of its sets of test parameters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "Music", datasets.Yeast)
        for estimator in ESTIMATORS:
            for number, parameters in enumerate(estimator._unit_test_params()):
                model = estimator(**parameters)
                for check in checks.yield_checks(model):
                    if check.__name__ not in model._unit_test_skips():
                        name = f"{estimator.__name__}-{number}-{check.__name__}"
                        yield pytest.param(model, check, id=name)


@pytest.mark.parametrize(("model", "check"), _cases())
def test_check(model: base.Estimator, check: Check) -> None:
    check(model.clone())


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_no_check_is_skipped(estimator: type[base.Estimator]) -> None:
    assert not estimator(**next(iter(estimator._unit_test_params())))._unit_test_skips()


def test_every_estimator_of_the_package_is_checked() -> None:
    found = set()
    for module in pkgutil.walk_packages(ihomer.__path__, "ihomer."):
        if module.name.rpartition(".")[2] == "__main__":
            continue
        for _, value in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(value, base.Estimator) and value.__module__ == module.name:
                found.add(value)
    assert found == set(ESTIMATORS)


def test_the_checks_see_yeast() -> None:
    names = {check.__name__ for check in checks.yield_checks(IHomer().clone())}
    assert {"check_learn_one", "check_shuffle_features_no_impact"} <= names


def test_in_a_pipeline() -> None:
    pipeline = preprocessing.StandardScaler() | IHomer()
    for x, y in datasets.Yeast().take(100):
        predicted = pipeline.predict_one(x)
        probabilities = pipeline.predict_proba_one(x)
        assert predicted == {label: p[True] >= 0.5 for label, p in probabilities.items()}
        pipeline.learn_one(x, y)
    assert set(pipeline.predict_one(x)) == set(y)
    assert pipeline["IHomer"].n_learned == 100


def test_in_rivers_progressive_validation() -> None:
    """A label flip of the data would show: the figure has to beat predicting nothing."""
    metric = evaluate.progressive_val_score(
        datasets.Yeast().take(200), IHomer(), metrics.multioutput.MicroAverage(metrics.F1())
    )
    silent = sum(sum(y.values()) for _, y in datasets.Yeast().take(200))
    assert silent > 0
    assert 0.4 < metric.get() < 1.0


def test_progressive_validation_by_hand_gives_the_same_figure() -> None:
    stream = list(datasets.Yeast().take(120))
    metric: Any = metrics.multioutput.ExactMatch()
    evaluate.progressive_val_score(stream, IHomer(), metric)
    model, hits, scored = IHomer(), 0, 0
    for x, y in stream:
        predicted = model.predict_one(x)
        if predicted:  # river leaves out the first event, of which a model says nothing
            hits += predicted == y
            scored += 1
        model.learn_one(x, y)
    assert metric.get() == pytest.approx(hits / scored)
