"""The estimator: river's face and the batch face of one learner.

In: events in names (river's way) or batches over ids (the stream's way). Out: label sets and
probabilities. It owns the vocabularies; the learner behind it, which knows no names, is `Engine`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from river import base

from ihomer.drift.events import Kind, LearnerEvent, Level
from ihomer.errors import UsageError
from ihomer.instances import Batch, BoolArray, Encoder, Event, Features, FloatArray, Row
from ihomer.learners.base import Predictions, SparsePredictions
from ihomer.learners.block import EXPERTS
from ihomer.learners.decision import OBJECTIVES, Objective
from ihomer.learners.engine import Engine
from ihomer.learners.experts.forest import SPLIT_TESTS, SplitTest
from ihomer.learners.explained import Description, Explanation
from ihomer.learners.explaining import describe_model, explain_one
from ihomer.learners.partition.hierarchy import Hierarchy
from ihomer.learners.partition.kinds import DEFAULT
from ihomer.learners.representation import Answer, Representation
from ihomer.learners.settings import Settings
from ihomer.learners.single import Told
from ihomer.state import Capture, load_from, save_to
from ihomer.vocabulary import NewLabels

# What can be switched off, to see what it is worth.
PARTS = (*EXPERTS, "stacking", "calibration", "joint", "alternates")
_SMALLEST_MEMORY_MB = 16.0
_MOST_TREES = 100


class IHomer(base.MultiLabelClassifier):
    """Online multi-label classifier: labels in clusters, one learner per cluster.

    The label space is partitioned while the stream runs into clusters of labels that occur
    together. Each cluster has a forest of adaptive Hoeffding trees; linear models,
    nearest neighbours and a small network look at all labels, and what everybody knows (how
    often a label is on, whether it was on just now) is an expert like them. Their probabilities
    are mixed label by label by their recent losses, and one decision over label sets follows.
    Detectors watch every inner node, every cluster's loss, the loss over all labels, and whether
    label sets still lie inside clusters.

    One writer at a time; other threads may predict during a learning call and see the state
    before or after it, never between. Calls of `learn_one` from two threads are done one after the
    other.

    Parameters
    ----------
    objective
        What decisions are made for: ``"subset"`` (whole label sets), ``"hamming"``,
        ``"micro-f1"`` or ``"macro-f1"``. Probabilities are the same for all of them.
    trees
        In each cluster's forest, 1 to 100.
    split_test
        When a leaf splits: ``"evidence"``, ``"hoeffding"`` or ``"bernstein"``; see `Forest`.
    partition
        How labels are divided into clusters: ``"blocks"`` (a block model of the graph of labels
        that occur together, also True) or ``"jaccard"`` (iHOMER's, repaired for sparse label
        sets). False keeps all labels in one cluster.
    drift
        False switches all detectors outside the trees off.
    without
        Names of parts to leave out, of `PARTS`, to see what they are worth.
    threads
        How many work on one event batch; results do not depend on it.
    max_memory_mb
        Bound of `memory_bytes` in 2^20 bytes, at least 16.
    labels
        Names declared before the first event; others may appear at any time.
    max_features, max_labels
        Bounds of the vocabularies. Past `max_features` new names take the columns of names that
        were in none of the last 4096 labelled events; where there are none they share columns by a
        hash.
    new_labels
        ``"error"`` or ``"drop"``: what happens to a label past `max_labels`.
    forget_labels_after
        A label that has not been on for so many labelled events, at least 4096, vanishes: it gives
        its memory back and leaves a small record, from which it starts when it returns. Where
        `max_labels` would be passed, those absent longest go before their time, but after 4096
        events. None: never.
    forget_features_after
        A feature that was in none of so many labelled events, at least 4096, gives its column to
        the next new one. None: only past `max_features`.
    seed
        Of the trees' choice of features and of the network's first weights.

    References
    ----------
    Neves, Lourenço, Cano, Marreiros: iHOMER, ECAI 2025, arXiv 2507.20894.
    Duchi, Hazan, Singer: Adaptive subgradient methods, JMLR 12, 2011.
    Karrer, Newman: Stochastic blockmodels and community structure, Physical Review E 83, 2011.
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
        objective: Objective = "subset",
        trees: int = 5,
        split_test: SplitTest = "evidence",
        partition: bool | Literal["blocks", "jaccard"] = True,
        drift: bool = True,
        without: Sequence[str] | None = (),
        threads: int = 1,
        max_memory_mb: float = 512.0,
        labels: Sequence[str] | None = None,
        max_features: int = 1 << 16,
        max_labels: int = 1 << 20,
        new_labels: NewLabels = "error",
        forget_labels_after: int | None = 100_000,
        forget_features_after: int | None = 100_000,
        seed: int = 0,
    ) -> None:
        _one_of("objective", objective, OBJECTIVES)
        _one_of("split_test", split_test, SPLIT_TESTS)
        if not isinstance(partition, bool) and partition not in ("blocks", "jaccard"):
            raise UsageError(
                f"partition: found {partition!r}, accepted: 'blocks', 'jaccard', True or False"
            )
        _one_of("new_labels", new_labels, ("error", "drop"))
        if not 1 <= trees <= _MOST_TREES:
            raise UsageError(f"trees: found {trees}, accepted: 1 to {_MOST_TREES}")
        if isinstance(without, str) or not set(without or ()) <= set(PARTS):
            accepted = ", ".join(PARTS)
            raise UsageError(f"without: found {without!r}, accepted: a list of {accepted}")
        if not max_memory_mb >= _SMALLEST_MEMORY_MB:
            raise UsageError(
                f"max_memory_mb: found {max_memory_mb}, accepted: {_SMALLEST_MEMORY_MB:g} or more"
            )
        if isinstance(labels, str) or not all(isinstance(name, str) for name in labels or ()):
            raise UsageError(f"labels: found {labels!r}, accepted: a sequence of strings")
        self.objective = objective
        self.trees = trees
        self.split_test = split_test
        self.partition = partition
        self.drift = drift
        self.without = without or None  # river cannot clone an empty tuple
        self.threads = threads
        self.max_memory_mb = max_memory_mb
        self.labels = labels or None
        self.max_features = max_features
        self.max_labels = max_labels
        self.new_labels = new_labels
        self.forget_labels_after = forget_labels_after
        self.forget_features_after = forget_features_after
        self.seed = seed
        self._encoder = Encoder(
            labels or (),
            max_features,
            max_labels,
            new_labels,
            forget_labels_after,
            forget_features_after,
            reuse_columns=True,
        )
        self._engine = Engine(
            Settings(
                objective=objective,
                without=tuple(without or ()),
                trees=trees,
                split_test=split_test,
                partition=DEFAULT if partition is True else partition or "",
                drift=drift,
                threads=threads,
                max_memory_mb=max_memory_mb,
                seed=seed,
            ),
            self._encoder.labels.name,
        )
        self._learner = Representation(self._engine)
        self._begin()

    def _begin(self) -> None:
        """What belongs to this process and to no saved state."""
        self._lock = threading.RLock()
        self._frozen = False

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        del state["_lock"], state["_frozen"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def use_threads(self, threads: int) -> None:
        """Let so many work on one event batch from now on; raises `UsageError` below 1."""
        with self._lock:
            self._engine.model.executor.resize(threads)
            self.threads = threads

    def save(self, path: str | Path) -> None:
        """Write the model to a folder, from which `load` makes it again, bit for bit.

        Other threads may predict and learn meanwhile, but for the moment in which it is copied.

        Parameters
        ----------
        path
            A new one, or one that `save` has made, which is replaced; its parent must exist.

        Raises
        ------
        UsageError
            There is something else, or no folder to put it in.
        InputError
            It cannot be written; what was there before stays.
        """
        captured = Capture()
        with self._lock:
            captured.take({"learner": self})
        save_to(Path(path), captured)

    @classmethod
    def load(cls, path: str | Path, *, frozen: bool = False) -> IHomer:
        """The model that `save`, or a daemon's checkpoint, has put into a folder.

        It goes on as the saved one would have, bit for bit where the versions of ihomer, numpy and
        numba and the processor's features are the same; nothing in the folder is ever executed.

        Parameters
        ----------
        path
            The folder.
        frozen
            Whether the model only predicts. Its large arrays then stay in the file, mapped into
            memory: processes that load the same folder share them. The file is opened for reading
            only and never changes; what is learned or deleted elsewhere does not reach the model.

        Raises
        ------
        CheckpointError
            The folder is damaged, of another schema, holds no model, or there is none.
        """
        model = load_from(Path(path), "learner", cls, in_place=frozen)
        model._frozen = frozen
        return model

    @property
    def frozen(self) -> bool:
        """Whether it was loaded to predict only; a copy of it, by `copy` or `pickle`, is not."""
        return self._frozen

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
        return self._engine.n_learned

    @property
    def counts(self) -> dict[str, int]:
        """How many local alarms, global alarms and changes of the partition there have been."""
        return dict(self._engine.counts)

    @property
    def memory_bytes(self) -> int:
        """Bytes of the model's arrays."""
        return self._learner.memory_bytes

    @property
    def weights(self) -> dict[str, float]:
        """Recent mean weight of each expert in the mixture, over the labels."""
        with self._lock:
            return self._engine.model.weights

    def clusters(self) -> list[set[str]]:
        """The clusters of labels, largest first; labels without a place yet are in none."""
        with self._lock:
            name = self._encoder.labels.name
            groups = [
                {name(int(i)) for i in cluster.members} for cluster in self._engine.model.clusters
            ]
        # Where all labels have vanished there is a cluster without any for a while.
        return sorted(filter(None, groups), key=lambda group: (-len(group), sorted(group)))

    def cluster_numbers(self) -> dict[str, int]:
        """The number of each label's cluster, as events tell it; labels without a place have none.

        A cluster keeps its number for life, from 1. Without a partition there are none.
        """
        with self._lock:
            return self._engine.cluster_numbers(self._encoder.labels.names())

    def hierarchy(self) -> Hierarchy:
        """The hierarchy of the clusters: sizes, diameters and bounds; prints as a tree."""
        with self._lock:
            return self._engine.hierarchy(self._encoder.labels.names())

    # What has happened to it.

    def events(self, since: int = 0) -> list[LearnerEvent]:
        """Alarms, splits, merges, switches, resets, births and deaths, with the labels' names.

        Parameters
        ----------
        since
            The number of the latest event that is known already; 0: all of them.

        Returns
        -------
        list of LearnerEvent
            In order. The latest 10,000 are kept, or fewer if they name many labels: where older
            ones are missing, the first one's `number` is more than ``since + 1``.
        """
        with self._lock:
            return self._engine.log.since(since)

    @property
    def event_counts(self) -> dict[tuple[Kind, Level], int]:
        """How many events there have been, by kind and level; they are never forgotten."""
        with self._lock:
            return dict(self._engine.log.counts)

    @property
    def n_events(self) -> int:
        """How many events there have been, which is the latest one's number."""
        return self._engine.log.total

    # Why it says what it says.

    def explain_one(
        self,
        x: Features,
        label: str | None = None,
        k: int = 5,
        called: Mapping[str, str] | None = None,
    ) -> Explanation:
        """Which experts and features speak for a label, where its trees lead, who is near.

        Parameters
        ----------
        x
            Features by name.
        label
            Which; None: the most probable one.
        k
            How many features and neighbours, at least 1.
        called
            What features of this event are called beside their names: the words of its text that
            a bucket stands for.

        Returns
        -------
        Explanation
            Prints as a table; `Explanation.to_json`. What adds up exactly and what does not is
            said there.

        Raises
        ------
        UsageError
            The label is not known, or none is; `k` is less than 1.
        MalformedEventError
            As `predict_proba_one`.

        Examples
        --------
        >>> model = IHomer()
        >>> for _ in range(50):
        ...     model.learn_one({"ball": 1.0}, {"sport"})
        ...     model.learn_one({"vote": 1.0}, {"politics"})
        >>> found = model.explain_one({"vote": 1.0}, "politics")
        >>> {each.feature for each in found.features if each.contribution > 0.0} >= {"vote"}
        True
        """
        if k < 1:
            raise UsageError(f"k: found {k}, accepted: 1 or more")
        with self._lock:
            return explain_one(
                self._learner, self._engine, self._encoder, x, label, k, called or {}
            )

    def describe(self, k: int = 5, labels: int = 50) -> Description:
        """What each cluster is about: its labels, how often they are on, which features speak.

        Parameters
        ----------
        k
            How many features of each cluster.
        labels
            With posting lists, which know no clusters: how many of the most frequent labels.

        Returns
        -------
        Description
            Prints as text; `Description.to_json`.

        Raises
        ------
        UsageError
            `k` or `labels` is less than 1.
        """
        for name, found in (("k", k), ("labels", labels)):
            if found < 1:
                raise UsageError(f"{name}: found {found}, accepted: 1 or more")
        with self._lock:
            return describe_model(self._learner, self._engine, self._encoder, k, labels)

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
        names, scores, _ = self._probabilities(x, decide=False)
        return {label: {False: 1.0 - p, True: p} for label, p in zip(names, scores, strict=True)}

    def predict_one(self, x: Features, **kwargs: Any) -> dict[Any, bool]:
        """Whether each known label is predicted; raises as `predict_proba_one`.

        A label that has never been on is predicted off, whatever its probability.
        """
        del kwargs
        names, _, on = self._probabilities(x)
        return dict(zip(names, on, strict=True))

    def rank_one(self, x: Features, k: int = 5) -> list[tuple[str, float]]:
        """The `k` most probable labels with their probabilities, ties by name.

        Raises
        ------
        MalformedEventError
            As `predict_proba_one`.
        """
        with self._lock:
            if self._learner.sparse:
                predictions = self._run(self._encoder.lookup(x)).predictions
                if isinstance(predictions, SparsePredictions) and k <= len(predictions.labels):
                    name = self._encoder.labels.name
                    best = predictions.labels[:k].tolist()
                    return list(zip(map(name, best), predictions.scores.tolist(), strict=False))
        names, scores, _ = self._probabilities(x, decide=False)
        return sorted(zip(names, scores, strict=True), key=lambda item: (-item[1], item[0]))[:k]

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
        UsageError
            The model is frozen; see `load`.
        """
        self._may_learn("learn_one")
        on, off = _label_names(y)
        with self._lock:
            self._run(self._encoder.encode([Event(0, x, on, off)]))

    def _probabilities(
        self, x: Features, *, decide: bool = True
    ) -> tuple[list[str], list[float], list[bool]]:
        """Names, probabilities and, if asked for, decisions of all known labels."""
        with self._lock:
            # In this order, because a writer may be encoding its next batch meanwhile.
            labels = self._encoder.labels
            waiting = labels.unseen()
            names = labels.names()
            vacant = labels.vacant
            unlearned = labels.changed_since(self._engine.changes)
            told = None
            if not self._learner.sparse:
                indices, values = self._encoder.features_of(x)
                columns = self._encoder.features.columns
                model = self._engine.model
                told = model.single.predict(model, indices, values, columns, decide=decide)
            if told is None:
                answer = self._run(self._encoder.lookup(x))
                row, decided = answer.row(0)
                told = Told(row, decided, float(answer.reserve[0]))
            scores, reserve = told.scores.tolist(), told.reserve
            on = [False] * len(scores) if told.on is None else told.on.tolist()
        # A label that has been encoded but not learned has no score of its own yet.
        born = len(names) - len(scores)
        if born > 0:
            scores += [reserve] * born
            on += [False] * born
        elif born < 0:
            del scores[born:], on[born:]
        for index in unlearned:
            if index < len(names):
                scores[index], on[index] = reserve, False
        for index in sorted(vacant, reverse=True):
            if index < len(names):
                del names[index], scores[index], on[index]
        if waiting:
            named = set(names)
            for name in waiting:
                if name not in named:
                    names.append(name)
                    scores.append(reserve)
                    on.append(False)
        return names, scores, on

    # Batches.

    def predict_learn(self, batch: Batch) -> Predictions | SparsePredictions:
        """Predict, then learn each event of a batch made by `encoder`; see `StreamLearner`.

        Sparse predictions are returned once labels are many and features sparse. A frozen model
        takes batches without labels only; see `load`.
        """
        if batch.labelled.any():
            self._may_learn("predict_learn")
        with self._lock:
            return self._run(batch).predictions

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
            Shapes do not fit, `Y` holds something else than 0 and 1, `X` an infinite value, or the
            model is frozen; see `load`.
        MalformedEventError
            A label is past `max_labels`. Nothing is learned.
        """
        self._may_learn("predict_learn_many")
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
            labels.make_room(used)
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
            batch = self._encoder.take()
            answer = self._run(batch)
            tables = list(batch.names(labels.names()))
        predicted = np.zeros((n, n_labels), dtype=np.bool_)
        probabilities = np.tile(answer.reserve[:, None], n_labels)
        for start, stop, table in tables:
            ids = {name: index for index, name in enumerate(table)}
            columns = [j for j, name in enumerate(y_names) if name in ids]
            known = [ids[y_names[j]] for j in columns]
            for t in range(start, stop):
                scores, decided = answer.row(t)
                probabilities[t, columns], predicted[t, columns] = scores[known], decided[known]
        return predicted, probabilities

    def _may_learn(self, what: str) -> None:
        if self._frozen:
            raise UsageError(
                f"{what}: found a model loaded with frozen=True, which only predicts, accepted: one"
                " loaded without it"
            )

    def _run(self, batch: Batch) -> Answer:
        columns = self._encoder.features.columns
        return self._learner.run(batch, columns, self._encoder.labels.names)


def _one_of(name: str, found: str, accepted: Sequence[str]) -> None:
    if found not in accepted:
        listed = ", ".join(map(repr, accepted[:-1])) + f" or {accepted[-1]!r}"
        raise UsageError(f"{name}: found {found!r}, accepted: {listed}")


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
