"""Matrices in, matrices out: the same as the loop over events, in any format of SciPy."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import sparse

from ihomer import IHomer
from ihomer.errors import MalformedEventError, UsageError
from ihomer.instances import FloatArray
from tests.streams import assert_same_model, learned, stream


def matrices(n: int, seed: int) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 6)) * (rng.random((n, 6)) < 0.6)
    Y = ((X[:, :4] + rng.normal(size=(n, 4))) > 0.5).astype(np.int64)
    X[rng.random((n, 6)) < 0.05] = np.nan
    return X, Y


FORMATS: dict[str, Any] = {
    "dense": np.asarray,
    "csr_array": sparse.csr_array,
    "csc_array": sparse.csc_array,
    "coo_array": sparse.coo_array,
    "csr_matrix": sparse.csr_matrix,
}


@pytest.mark.parametrize("kind", FORMATS)
def test_matrices_are_the_loop(kind: str) -> None:
    X, Y = matrices(150, 1)
    names = [f"label {j}" for j in range(4)]
    loop, model = IHomer(labels=names), IHomer()
    expected, decisions = [], []
    for x, y in zip(X, Y, strict=True):
        features = dict(zip("abcdef", x.tolist(), strict=True))
        found = loop.predict_proba_one(features)
        expected.append([found[name][True] for name in names])
        decided = loop.predict_one(features)
        decisions.append([decided[name] for name in names])
        loop.learn_one(features, dict(zip(names, y.tolist(), strict=True)))
    make = FORMATS[kind]
    parts = [
        model.predict_learn_many(make(X[a:b]), make(Y[a:b]), list("abcdef"), names)
        for a, b in [(0, 1), (1, 90), (90, 90), (90, 150)]
    ]
    probabilities = np.concatenate([part[1] for part in parts])
    np.testing.assert_array_equal(probabilities, expected)
    on = np.concatenate([part[0] for part in parts])
    np.testing.assert_array_equal(on, decisions)
    assert_same_model(model, loop)


def test_matrices_without_names_have_numbers() -> None:
    X, Y = matrices(40, 2)
    model = IHomer()
    predicted, probabilities = model.predict_learn_many(X, Y.astype(bool))
    assert predicted.shape == probabilities.shape == (40, 4)
    assert predicted.dtype == np.bool_
    assert set(model.predict_one({"0": 1.0})) == {"0", "1", "2", "3"}


def test_a_label_column_without_a_positive_has_a_probability_too() -> None:
    X, Y = matrices(60, 3)
    Y[:, 2] = 0
    _, probabilities = IHomer().predict_learn_many(X, Y)
    assert np.isfinite(probabilities).all()
    assert (probabilities[1:, 2] < 0.5).all()


def test_the_callers_matrices_are_left_alone() -> None:
    X = sparse.csr_array(
        (np.array([1.0, 2.0, 3.0]), np.array([2, 0, 0]), np.array([0, 3])), shape=(1, 3)
    )
    Y = sparse.csr_array((np.array([0, 1]), np.array([1, 0]), np.array([0, 2])), shape=(1, 2))
    copies = [(m.data.copy(), m.indices.copy(), m.indptr.copy()) for m in (X, Y)]
    model = IHomer()
    model.predict_learn_many(X, Y)
    for matrix, copy in zip((X, Y), copies, strict=True):
        for now, before in zip((matrix.data, matrix.indices, matrix.indptr), copy, strict=True):
            np.testing.assert_array_equal(now, before)
    # Entries at the same place are added up, as SciPy defines it.
    same = IHomer()
    same.predict_learn_many(X.toarray(), Y.toarray())
    assert_same_model(model, same)


GOOD_X, GOOD_Y = np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[1, 0], [0, 1]])

MISTAKES: dict[str, tuple[Any, Any, dict[str, Any], str]] = {
    "rows": (GOOD_X, GOOD_Y[:1], {}, "X has 2 rows and Y 1"),
    "infinite": (np.array([[1.0, 2.0], [1.0, -np.inf]]), GOOD_Y, {}, "X: found an infinite"),
    "counts": (GOOD_X, 2 * GOOD_Y, {}, "Y: found a value other than 0 and 1"),
    "NaN in Y": (GOOD_X, GOOD_Y * np.nan, {}, "other than 0 and 1"),
    "flat X": (GOOD_X[0], GOOD_Y, {}, "X: found 1 dimensions, accepted: 2"),
    "flat Y": (GOOD_X, GOOD_Y[0], {}, "Y: found 1 dimensions, accepted: 2"),
    "few names": (GOOD_X, GOOD_Y, {"feature_names": ["a"]}, "feature_names: found 1"),
    "a name twice": (GOOD_X, GOOD_Y, {"label_names": ["a", "a"]}, "label_names: found 1"),
    "numbers as names": (GOOD_X, GOOD_Y, {"label_names": [1, 2]}, "no string"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_in_matrices_leave_the_model_as_it_was(mistake: str) -> None:
    X, Y, names, message = MISTAKES[mistake]
    model = learned(stream(70, 15))
    before = pickle.dumps(model)
    with pytest.raises(UsageError, match=message):
        model.predict_learn_many(X, Y, **names)
    assert pickle.dumps(model) == before


def test_matrices_past_the_bound_of_labels() -> None:
    strict, dropping = IHomer(max_labels=2), IHomer(max_labels=2, new_labels="drop")
    Y = np.array([[0, 1, 0], [0, 0, 1]])
    X = np.ones((2, 1))
    before = pickle.dumps(strict)
    with pytest.raises(MalformedEventError, match="max_labels = 2"):
        strict.predict_learn_many(np.ones((1, 1)), np.ones((1, 3)))
    assert pickle.dumps(strict) == before
    strict.predict_learn_many(X, Y)  # the first column is off throughout: two labels fit
    assert set(strict.predict_one({})) == {"1", "2"}
    _, probabilities = dropping.predict_learn_many(np.ones((1, 1)), np.ones((1, 3)))
    assert probabilities.min() == probabilities.max()
    assert 0.4 < probabilities.max() < 0.6
    assert set(dropping.predict_one({})) == {"0", "1"}
