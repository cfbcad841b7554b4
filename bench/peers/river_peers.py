"""River's classifiers behind the benchmark's face: binary relevance and classifier chains.

In: batches. Out: what river's own models predict, and the seconds that they took. It is here so
that the library that most users would take otherwise stands in the same tables, and so does what
somebody has written with its interface.

Every model has river's documented defaults; only seeds are set. An event becomes a dictionary of
column ids before the clock starts: without its zeros if the stream is sparse, without its missing
values always. A decision is made from the probabilities as river's `predict_one` makes it, which
is held by a test, so that an event is not predicted twice to obtain both.

River's `StandardScaler` counts only the events that name a feature. A feature that is 1 wherever it
is named has no spread then and is scaled to 0: on sparse streams of indicators what stands behind
it sees nothing. So there is logistic regression without it, too.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from river import base, forest, linear_model, multioutput, neighbors, optim, preprocessing, tree

from bench.candidate import Candidate, Shape
from bench.peers.batches import check_columns, events_learned
from ihomer.instances import Batch
from ihomer.learners.base import Predictions

Vector: TypeAlias = dict[Any, Any]
Probabilities: TypeAlias = dict[bool, float]
MakeModel: TypeAlias = Callable[[int], Any]


def logistic_regression(seed: int) -> base.Classifier:
    """Logistic regression with AdaGrad; nothing in it is random."""
    del seed
    return linear_model.LogisticRegression(optimizer=optim.AdaGrad())


def hoeffding_tree(seed: int) -> base.Classifier:
    """A Hoeffding tree; nothing in it is random."""
    del seed
    return tree.HoeffdingTreeClassifier()


def adaptive_tree(seed: int) -> base.Classifier:
    """A Hoeffding adaptive tree."""
    return tree.HoeffdingAdaptiveTreeClassifier(seed=seed)


def adaptive_forest(seed: int) -> base.Classifier:
    """An adaptive random forest."""
    return forest.ARFClassifier(seed=seed)


def nearest_neighbours(seed: int) -> base.Classifier:
    """Nearest neighbours with the default engine, given here because it holds the seed."""
    return neighbors.KNNClassifier(engine=neighbors.SWINN(seed=seed))


class _Model(base.Base, ABC):
    """Multi-label model of river's parts. As a river object it can state its own size.

    Parameters
    ----------
    make
        Makes a classifier from a seed.
    scaled
        Whether a `StandardScaler` stands before it.
    seed
        The classifiers'.
    """

    def __init__(self, make: MakeModel, *, scaled: bool, seed: int) -> None:
        self.make = make
        self.scaled = scaled
        self.seed = seed

    @abstractmethod
    def grow(self, labels: int) -> None:
        """Know the labels up to id `labels` (exclusive) from now on, if not more."""

    @abstractmethod
    def predict(self, x: Vector) -> list[Probabilities]:
        """Probabilities of off and on by label id; an empty one: no prediction."""

    @abstractmethod
    def learn(self, x: Vector, on: list[bool]) -> None:
        """Learn one event; `on` by label id."""

    def decide(self, x: Vector, found: list[Probabilities]) -> list[bool]:
        """Whether each label is on: the first of its most probable states, if any.

        That is what `predict_one` of river's base classes makes of `found`, the prediction for
        `x`.
        """
        del x
        return [max(p, key=p.__getitem__) if p else False for p in found]


class BinaryRelevance(_Model):
    """One classifier per label, the same seed for all.

    The scaler is one for all of them: as many scalers would see the same events, so the
    predictions are the same at a fraction of the time.
    """

    def __init__(self, make: MakeModel, *, scaled: bool, seed: int) -> None:
        super().__init__(make, scaled=scaled, seed=seed)
        self._scaler: Any = preprocessing.StandardScaler() if scaled else None
        self._models: list[Any] = []

    def grow(self, labels: int) -> None:
        """See `_Model.grow`."""
        while len(self._models) < labels:
            self._models.append(self.make(self.seed))

    def predict(self, x: Vector) -> list[Probabilities]:
        """See `_Model.predict`."""
        if self._scaler is not None:
            x = self._scaler.transform_one(x)
        return [model.predict_proba_one(x) for model in self._models]

    def learn(self, x: Vector, on: list[bool]) -> None:
        """See `_Model.learn`."""
        if self._scaler is not None:
            self._scaler.learn_one(x)
            x = self._scaler.transform_one(x)
        for model, state in zip(self._models, on, strict=True):
            model.learn_one(x, state)


class _Whole(_Model):
    """One multi-label model of river's interface, which calls labels by name.

    The scaler stands before it and does not see the probabilities that labels hand on.
    """

    def __init__(self, make: MakeModel, *, scaled: bool, seed: int) -> None:
        super().__init__(make, scaled=scaled, seed=seed)
        model = self._multi_label(make(seed))
        self._model: Any = preprocessing.StandardScaler() | model if scaled else model
        # Text, because a chain puts labels and features into one dictionary.
        self._names: list[str] = []

    def _multi_label(self, model: Any) -> Any:
        """The multi-label model that `make`'s is or becomes."""
        return model

    def grow(self, labels: int) -> None:
        """See `_Model.grow`."""
        self._names += [f"y{label}" for label in range(len(self._names), labels)]

    def predict(self, x: Vector) -> list[Probabilities]:
        """See `_Model.predict`."""
        found = self._model.predict_proba_one(x)
        return [found.get(name, {}) for name in self._names]

    def learn(self, x: Vector, on: list[bool]) -> None:
        """See `_Model.learn`."""
        self._model.learn_one(x, dict(zip(self._names, on, strict=True)))


class Chain(_Whole):
    """River's `ClassifierChain`, its order inferred from the first event as by default.

    So nothing but that order is learned from the first event, nor from the first one of a label
    that turns up later.
    """

    def _multi_label(self, model: Any) -> Any:
        return multioutput.ClassifierChain(model)


class MultiLabel(_Whole):
    """Somebody's own multi-label classifier with river's interface; its decisions are its own."""

    def decide(self, x: Vector, found: list[Probabilities]) -> list[bool]:
        """See `_Model.decide`; asks `predict_one`, which may be another rule."""
        del found
        decisions = self._model.predict_one(x)
        return [bool(decisions.get(name, False)) for name in self._names]


class RiverPeer(Candidate):
    """A multi-label model of river's parts, timed and scored as any candidate.

    The labels of `shape` are learned from the first event on; one that turns up undeclared gets
    its model then. Where there is no prediction, as before the first event, a label is off and has
    no score.

    Parameters
    ----------
    shape
        The stream's labels, number of features, and whether zeros are left out.
    model
        Fresh.
    """

    def __init__(self, shape: Shape, model: _Model) -> None:
        self._shape = shape
        self._model = model
        self._learned = 0
        model.grow(len(shape.labels))

    @property
    def model_bytes(self) -> int:
        """The size of the whole model as river measures it; takes a while for a large one."""
        return self._model._raw_memory_usage

    def predict_learn(self, batch: Batch) -> Predictions:
        """See `Candidate.predict_learn`. Whatever river raises goes through."""
        check_columns(batch, self._shape)
        n, model = len(batch), self._model
        on = np.zeros((n, batch.n_labels), dtype=np.bool_)
        scores = np.full((n, batch.n_labels), np.nan)
        known = np.maximum(batch.known, len(self._shape.labels)).tolist()
        for t in range(n):
            x = self._vector(batch, t)
            state = _state(batch, t, known[t + 1]) if batch.labelled[t] else None
            start = time.perf_counter()
            found = model.predict(x)
            decisions = model.decide(x, found)
            if state is not None:
                model.grow(len(state))
                model.learn(x, state)
            self.seconds += time.perf_counter() - start
            seen = min(len(found), batch.n_labels)
            on[t, :seen] = decisions[:seen]
            scores[t, :seen] = [p.get(True, 0.0) if p else np.nan for p in found[:seen]]
        events = events_learned(batch, self._learned)
        self._learned += int(batch.labelled.sum())
        return Predictions(on, scores, events)

    def _vector(self, batch: Batch, t: int) -> Vector:
        """Event t as river takes it: column id to value, missing values left out."""
        first, last = int(batch.indptr[t]), int(batch.indptr[t + 1])
        columns, values = batch.indices[first:last], batch.values[first:last]
        if not self._shape.sparse:
            whole = np.zeros(self._shape.features)
            whole[columns] = values
            columns, values = np.arange(self._shape.features, dtype=np.int32), whole
        present = ~np.isnan(values)
        return dict(zip(columns[present].tolist(), values[present].tolist(), strict=True))


def _state(batch: Batch, t: int, labels: int) -> list[bool]:
    """Whether each label is on at event t, by id."""
    state = [False] * labels
    for label in batch.y_indices[batch.y_indptr[t] : batch.y_indptr[t + 1]].tolist():
        state[label] = True
    return state
