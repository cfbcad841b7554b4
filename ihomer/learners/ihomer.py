"""The estimator: river's face and the batch face of one learner.

In: events in names (river's way) or batches over ids (the stream's way). Out: label sets and
probabilities. It owns the vocabularies, the partition of the labels, the clusters and their
detectors, and it decides when any of them changes: only after learned events whose number is
divisible by `STRIDE`, so that results do not depend on how a stream is cut into batches.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from river import base

from ihomer.drift.structure import StructureMonitor
from ihomer.drift.watch import Watch
from ihomer.errors import UsageError
from ihomer.instances import (
    Batch,
    BoolArray,
    Encoder,
    Event,
    Features,
    FloatArray,
    IntArray,
    Row,
)
from ihomer.learners.base import Predictions
from ihomer.learners.cluster import Cluster
from ihomer.learners.decision import thresholded
from ihomer.learners.experts.logistic import Placement
from ihomer.learners.kernels.linkage import average_linkage
from ihomer.learners.kernels.scaling import STRIDE
from ihomer.learners.partition.base import Partitioner
from ihomer.learners.partition.cooccurrence import Cooccurrence
from ihomer.learners.partition.jaccard import JaccardPartitioner
from ihomer.learners.scaling import Scaler
from ihomer.vocabulary import NewLabels

_LARGEST_STEP = 1000.0  # far past any use, and weights stay finite


class IHomer(base.MultiLabelClassifier):
    """Online multi-label classifier: labels in clusters, one learner per cluster.

    The label space is partitioned while the stream runs into clusters of labels that occur
    together (Jaccard). Each cluster has a learner of its own, logistic regressions on features
    that are scaled online, and an ADWIN detector on its loss; two more detectors watch the loss
    over all labels and whether label sets still lie inside clusters. When a cluster's loss rises
    its learner becomes quick again; when a global detector speaks the labels are partitioned
    anew. Labels keep what was learned about them when they change cluster.

    One writer at a time; other threads may predict during a learning call and see the state
    before or after it, never between.

    Parameters
    ----------
    step
        AdaGrad's step size, at most 1000.
    threshold
        A label is predicted when its probability reaches this, in (0, 1).
    partition
        False keeps all labels in one cluster.
    drift
        False switches all detectors off.
    labels
        Names declared before the first event; others may appear at any time.
    max_features, max_labels
        Bounds of the vocabularies. Past `max_features` names share columns by a hash.
    new_labels
        ``"error"`` or ``"drop"``: what happens to a label past `max_labels`.
    seed
        For parts that draw random numbers; none of the present ones does.

    References
    ----------
    Neves, Lourenço, Cano, Marreiros: iHOMER, ECAI 2025, arXiv 2507.20894.
    Duchi, Hazan, Singer: Adaptive subgradient methods, JMLR 12, 2011.
    Bifet, Gavaldà: Learning from time-changing data with adaptive windowing, SDM 2007.

    Examples
    --------
    >>> from ihomer import IHomer
    >>> model = IHomer()
    >>> for _ in range(20):
    ...     model.learn_one({"ball": 1.0}, {"sport"})
    ...     model.learn_one({"vote": 1.0}, {"politics", "news"})
    >>> model.predict_one({"ball": 1.0})
    {'sport': True, 'news': False, 'politics': False}
    >>> [label for label, _ in model.rank_one({"vote": 1.0}, k=2)]
    ['news', 'politics']
    """

    def __init__(
        self,
        step: float = 1.0,
        threshold: float = 0.5,
        partition: bool = True,
        drift: bool = True,
        labels: Sequence[str] | None = None,
        max_features: int = 1 << 16,
        max_labels: int = 10_000,
        new_labels: NewLabels = "error",
        seed: int = 0,
    ) -> None:
        if not 0.0 < threshold < 1.0:
            raise UsageError(f"threshold: found {threshold}, accepted: between 0 and 1")
        if not 0.0 < step <= _LARGEST_STEP:
            raise UsageError(f"step: found {step}, accepted: more than 0, at most {_LARGEST_STEP}")
        if new_labels not in ("error", "drop"):
            raise UsageError(f"new_labels: found {new_labels!r}, accepted: 'error' or 'drop'")
        if isinstance(labels, str) or not all(isinstance(name, str) for name in labels or ()):
            raise UsageError(f"labels: found {labels!r}, accepted: a sequence of strings")
        self.step = step
        self.threshold = threshold
        self.partition = partition
        self.drift = drift
        self.labels = labels or None  # river cannot clone an empty tuple
        self.max_features = max_features
        self.max_labels = max_labels
        self.new_labels = new_labels
        self.seed = seed
        self._encoder = Encoder(labels or (), max_features, max_labels, new_labels)
        self._scaler = Scaler()
        self._nursery = self._new_cluster(np.zeros(0, dtype=np.int32), reserve=True)
        self._clusters: list[Cluster] = []
        self._cluster_of: IntArray = np.zeros(0, dtype=np.int32)
        self._column_of: IntArray = np.zeros(0, dtype=np.int32)
        self._partitioner: Partitioner = JaccardPartitioner()
        self._structure = StructureMonitor()
        self._loss_watch = Watch()
        self._apart = False  # label sets have come to lie across clusters since the last stride
        self._n_learned = 0
        self._counts = {"local_alarms": 0, "global_alarms": 0, "partition_changes": 0}
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        del state["_lock"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        yield {}
        yield {"partition": False, "drift": False}

    # What is known about the model.

    @property
    def encoder(self) -> Encoder:
        """The vocabularies; batches for `predict_learn` are made by it."""
        return self._encoder

    @property
    def n_learned(self) -> int:
        """Number of events learned."""
        return self._n_learned

    @property
    def counts(self) -> dict[str, int]:
        """How many local alarms, global alarms and changes of the partition there have been."""
        return dict(self._counts)

    @property
    def memory_bytes(self) -> int:
        """Bytes of the model's arrays."""
        clusters = sum(cluster.memory_bytes for cluster in [self._nursery, *self._clusters])
        return clusters + self._scaler.memory_bytes + self._partitioner.memory_bytes

    def clusters(self) -> list[set[str]]:
        """The clusters of labels, largest first; labels without a place yet are in none."""
        with self._lock:
            name = self._encoder.labels.name
            groups = [{name(int(i)) for i in cluster.members} for cluster in self._clusters]
        return sorted(groups, key=lambda group: (-len(group), sorted(group)))

    # One event, river's way.

    def predict_proba_one(self, x: Features, **kwargs: Any) -> dict[Any, dict[bool, float]]:
        """Probability of every known label.

        Parameters
        ----------
        x
            Features by name.
        **kwargs
            None are used; river's pipelines pass some.

        Returns
        -------
        dict
            ``{label: {False: 1 - p, True: p}}``, empty as long as no label is known.

        Raises
        ------
        MalformedEventError
            A value of `x` is infinite or of no accepted type.
        """
        del kwargs
        found, _ = self._probabilities(x)
        return {label: {False: 1.0 - p, True: p} for label, p in found.items()}

    def predict_one(self, x: Features, **kwargs: Any) -> dict[Any, bool]:
        """Whether each known label is predicted; raises as `predict_proba_one`.

        A label that has never been on is predicted off, whatever its probability.
        """
        del kwargs
        found, unseen = self._probabilities(x)
        return {label: p >= self.threshold and label not in unseen for label, p in found.items()}

    def rank_one(self, x: Features, k: int = 5) -> list[tuple[str, float]]:
        """The `k` most probable labels with their probabilities, ties by name.

        Raises
        ------
        MalformedEventError
            As `predict_proba_one`.
        """
        found, _ = self._probabilities(x)
        return sorted(found.items(), key=lambda item: (-item[1], item[0]))[:k]

    def learn_one(
        self,
        x: Features,
        y: Mapping[Any, bool] | Iterable[str],
    ) -> None:
        """Learn one event.

        Parameters
        ----------
        x
            Features by name.
        y
            ``{label: whether it is on}``, or the labels that are on; all others are off.

        Raises
        ------
        MalformedEventError
            A value of `x` is not accepted, or a label is past `max_labels`. Nothing is learned.
        """
        on, off = _label_names(y)
        with self._lock:
            self._run(self._encoder.encode([Event(0, x, on, off)]))

    def _probabilities(self, x: Features) -> tuple[dict[str, float], set[str]]:
        """Probabilities of all known labels, and which of them have no score of their own yet."""
        with self._lock:
            # In this order, because a writer may be encoding its next batch meanwhile.
            waiting = self._encoder.labels.unseen()
            batch = self._encoder.lookup(x)
            names = self._encoder.labels.names()[: batch.n_labels]
            predictions, reserve = self._run(batch)
        # A label that has been encoded but not learned has no score of its own yet.
        without = np.isnan(predictions.scores[0])
        scores = np.where(without, reserve, predictions.scores[0])
        found = dict(zip(names, scores.tolist(), strict=True))
        unseen = {name for name, missing in zip(names, without.tolist(), strict=True) if missing}
        for name in waiting:
            if name not in found:
                found[name] = float(reserve[0])
                unseen.add(name)
        return found, unseen

    # Batches.

    def predict_learn(self, batch: Batch) -> Predictions:
        """Predict, then learn each event of a batch made by `encoder`; see `StreamLearner`."""
        with self._lock:
            return self._run(batch)[0]

    def predict_learn_many(
        self,
        X: Any,
        Y: Any,
        feature_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
    ) -> tuple[BoolArray, FloatArray]:
        """Predict, then learn each row in order.

        Parameters
        ----------
        X
            (n, features), SciPy sparse or a NumPy array; NaN = missing.
        Y
            (n, labels), the same, 0 or 1.
        feature_names, label_names
            One for each column; default ``"0"``, ``"1"``, ...

        Returns
        -------
        predicted, probabilities
            bool and float64, (n, labels), in `Y`'s columns.

        Raises
        ------
        UsageError
            Shapes do not fit, `Y` holds something else than 0 and 1, or `X` an infinite value.
        MalformedEventError
            A label is past `max_labels`. Nothing is learned.
        """
        from scipy import sparse

        # Copies, because what is tidied up here belongs to the caller.
        x_rows, y_rows = sparse.csr_array(X, copy=True), sparse.csr_array(Y, copy=True)
        for name, rows in (("X", x_rows), ("Y", y_rows)):
            if rows.ndim != 2:
                raise UsageError(f"{name}: found {rows.ndim} dimensions, accepted: 2")
            rows.sum_duplicates()
        n, n_labels = y_rows.shape
        if x_rows.shape[0] != n:
            raise UsageError(f"X has {x_rows.shape[0]} rows and Y {n}; accepted: equal numbers")
        if not np.isin(y_rows.data, (0, 1)).all():
            raise UsageError("Y: found a value other than 0 and 1; accepted: an indicator matrix")
        x_names = _column_names("feature_names", feature_names, x_rows.shape[1])
        y_names = _column_names("label_names", label_names, n_labels)
        if not np.isfinite(x_rows.data).all() and np.isinf(x_rows.data).any():
            raise UsageError("X: found an infinite value; accepted: finite numbers and NaN")
        y_rows.eliminate_zeros()
        used = [y_names[j] for j in np.unique(y_rows.indices)]
        with self._lock:
            labels = self._encoder.labels
            if self.new_labels == "error":
                labels.admit(used)  # refuses them all before one is kept
            labels.declare_within_bound([*used, *y_names])
            for t in range(n):
                a, b = x_rows.indptr[t : t + 2]
                row = Row(
                    x_names,
                    x_rows.data[a:b].astype(np.float64),
                    x_rows.indices[a:b].astype(np.int32),
                )
                a, b = y_rows.indptr[t : t + 2]
                self._encoder.add(Event(t, row, [y_names[j] for j in y_rows.indices[a:b]]))
            predictions, reserve = self._run(self._encoder.take())
            ids = [labels.get(name) for name in y_names]
        predicted = np.zeros((n, n_labels), dtype=np.bool_)
        probabilities = np.tile(reserve[:, None], n_labels)
        for j, label in enumerate(ids):
            if label is not None:
                column = predictions.scores[:, label]
                predicted[:, j] = predictions.on[:, label]
                probabilities[:, j] = np.where(np.isnan(column), reserve, column)
        return predicted, probabilities

    def _run(self, batch: Batch) -> tuple[Predictions, FloatArray]:
        """Predictions of a batch, and for each event the probability of a label never seen."""
        n = len(batch)
        scores = np.full((n, batch.n_labels), np.nan)
        reserve = np.empty(n)
        learned = np.cumsum(batch.labelled)
        events = self._n_learned + learned - batch.labelled
        start = 0
        while start < n:
            before = int(learned[start - 1]) if start else 0
            room = STRIDE - self._n_learned % STRIDE
            # The event that fills the stride is the last one of its segment.
            stop = min(n, int(np.searchsorted(learned, before + room)) + 1)
            segment = batch if stop - start == n else batch.slice(start, stop)
            self._run_segment(segment, scores[start:stop], reserve[start:stop])
            gained = int(learned[stop - 1]) - before
            self._n_learned += gained
            if gained and self._n_learned % STRIDE == 0:
                self._adapt()
            start = stop
        return Predictions(thresholded(scores, self.threshold), scores, events), reserve

    def _run_segment(self, batch: Batch, scores: FloatArray, reserve: FloatArray) -> None:
        learning = bool(batch.labelled.any())
        columns = self._encoder.features.columns
        if learning:
            self._scaler.reserve(columns)
            self._admit(batch.n_labels)
        rows = self._scaler.transform(batch)
        loss, counted = np.zeros(len(batch)), np.zeros(len(batch), dtype=np.int64)
        for number, cluster in enumerate([self._nursery, *self._clusters]):
            placement = Placement(number, self._cluster_of, self._column_of)
            part = cluster.run(rows, batch, columns, placement, scores, reserve)
            loss += part[0]
            counted += part[1]
        if learning:
            some = counted > 0
            if self.drift:
                self._loss_watch.collect(loss[some] / counted[some])
            if self.partition:
                self._partitioner.update(batch.y_indptr, batch.y_indices)
            if self.partition and self.drift:
                # The nursery's labels, cluster 0, have no place yet: below zero for the monitor.
                places = self._cluster_of - 1
                if self._structure.update(batch.y_indptr, batch.y_indices, places):
                    latest = self._structure.latest
                    self._apart |= latest is not None and latest.change < 0

    # What changes at strides.

    def _admit(self, n_labels: int) -> None:
        """Give labels born in the coming segment a column in the nursery."""
        old = len(self._cluster_of)
        if n_labels == old:
            return
        born = np.arange(old, n_labels, dtype=np.int32)
        first = 1 + len(self._nursery.members)
        self._cluster_of = np.concatenate([self._cluster_of, np.zeros(len(born), dtype=np.int32)])
        self._column_of = np.concatenate(
            [self._column_of, np.arange(first, first + len(born), dtype=np.int32)]
        )
        self._nursery.members = np.concatenate([self._nursery.members, born])

    def _adapt(self) -> None:
        """Look at the detectors and at the partition."""
        refit = False
        if self.drift:
            for cluster in [self._nursery, *self._clusters]:
                if cluster.watch.risen():
                    cluster.expert.quicken()
                    self._counts["local_alarms"] += 1
            if self._loss_watch.risen():
                self._counts["global_alarms"] += 1
                refit = True
            if self._apart:
                self._counts["global_alarms"] += 1
                self._partitioner.forget(self._n_learned)
                refit = True
        self._apart = False
        if self.partition and (refit or self._partitioner.due(self._n_learned)):
            self._repartition()

    def _repartition(self) -> None:
        # The encoder may have read further than the learner has learned.
        names = self._encoder.labels.names()[: len(self._cluster_of)]
        if not self._partitioner.refit(names):
            return
        groups = [np.array(sorted(group), dtype=np.int32) for group in self._partitioner.clusters()]
        before = {tuple(cluster.members.tolist()): cluster for cluster in self._clusters}
        clusters = [before.get(tuple(group.tolist())) or self._regroup(group) for group in groups]
        placed = np.concatenate([np.zeros(0, dtype=np.int32), *groups])
        unplaced = np.setdiff1d(np.arange(len(names), dtype=np.int32), placed).astype(np.int32)
        self._nursery = self._regroup(unplaced, nursery=True)
        self._clusters = clusters
        self._structure.reset()
        self._counts["partition_changes"] += 1
        for number, cluster in enumerate([self._nursery, *clusters]):
            members = cluster.members
            self._cluster_of[members] = number
            self._column_of[members] = cluster.expert.reserve + np.arange(len(members))

    def _new_cluster(self, members: IntArray, *, reserve: bool) -> Cluster:
        return Cluster(members, self.step, reserve=reserve, watched=self.drift)

    def _regroup(self, members: IntArray, *, nursery: bool = False) -> Cluster:
        """A cluster of `members` that has learned what their present clusters have."""
        new = self._new_cluster(members, reserve=nursery)
        new.expert.make_room(self._nursery.expert.columns, len(members))
        own = np.zeros(1, dtype=np.int32)
        if nursery:
            new.expert.put(own, self._nursery.expert.take(own))
        present = [self._nursery, *self._clusters]
        for number in np.unique(self._cluster_of[members]):
            moved = np.flatnonzero(self._cluster_of[members] == number).astype(np.int32)
            columns = self._column_of[members[moved]]
            new.expert.put(moved + new.expert.reserve, present[number].expert.take(columns))
        return new


def _label_names(y: Mapping[Any, bool] | Iterable[str]) -> tuple[list[str], list[str]]:
    """The labels that `y` says are on, and those that it says are off."""
    if isinstance(y, str):
        raise UsageError(f"y: found the string {y!r}, accepted: a dict, set or list of labels")
    names = list(y)
    if not all(isinstance(name, str) for name in names):
        raise UsageError("y: found a label that is no string, accepted: strings")
    if isinstance(y, Mapping):
        return [name for name in names if y[name]], [name for name in names if not y[name]]
    return names, []


def _column_names(what: str, names: Sequence[str] | None, columns: int) -> tuple[str, ...]:
    if names is None:
        return tuple(map(str, range(columns)))
    if len(names) != columns or len(set(names)) != columns:
        raise UsageError(f"{what}: found {len(set(names))} different names, accepted: {columns}")
    if not all(isinstance(name, str) for name in names):
        raise UsageError(f"{what}: found a name that is no string, accepted: strings")
    return tuple(names)


def warm_up() -> None:
    """Compile the learner's kernels, or load them from the cache folder."""
    model = IHomer()
    for label in ("a", "b"):
        model.learn_one({"x": 1.0, "y": -1.0}, {label})
    model.predict_one({"x": 1.0})
    # More pairs than a new table has room for, so that growing is compiled, too.
    Cooccurrence().update(np.array([0, 100]), np.arange(100, dtype=np.int32))
    average_linkage(np.zeros((2, 2)))
