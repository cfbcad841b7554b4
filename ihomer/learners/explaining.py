"""Explanations in names: what a user asks about an event or a model, whatever represents it.

In: a learner in either representation, its vocabularies, an event. Out: `Explanation` and
`Description`. The estimator only takes its lock and hands on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from ihomer.errors import UsageError
from ihomer.instances import Encoder, Features
from ihomer.learners import describe, explain, explain_postings
from ihomer.learners.base import SparsePredictions
from ihomer.learners.engine import Engine
from ihomer.learners.explained import Description, Explanation, Term
from ihomer.learners.representation import Representation

_TOLD = 60  # characters of a label in a message


def explain_one(
    learner: Representation,
    engine: Engine,
    encoder: Encoder,
    x: Features,
    label: str | None,
    k: int,
    called: Mapping[str, str],
) -> Explanation:
    """See `IHomer.explain_one`."""
    batch, columns = encoder.lookup(x), encoder.features.columns
    answer = learner.run(batch, columns, encoder.labels.names)
    scores, decided = answer.row(0)
    names, vacant = encoder.labels.names(), set(encoder.labels.vacant)
    if label is None:
        known = [index for index in range(len(names)) if index not in vacant]
        if not known:
            raise UsageError("label: found none that has been on, accepted: a model with labels")
        at = min(known, key=lambda index: (-scores[index], names[index]))
        label = names[at]
    elif label in encoder.labels:
        at = next((i for i, n in enumerate(names) if n == label and i not in vacant), -1)
    else:
        shown = repr(label) if len(label) <= _TOLD else repr(label[:_TOLD]) + "..."
        raise UsageError(f"label: found {shown}, accepted: one of the model's labels")
    dense = learner.lists is None
    if (dense and at >= engine.n_labels) or at in encoder.labels.changed_since(engine.changes):
        at = -1  # encoded, not learned
    score = float(answer.reserve[0]) if at < 0 else float(scores[at])
    column = partial(_column, encoder)
    if learner.lists is not None:
        said = answer.predictions
        candidate = isinstance(said, SparsePredictions) and at in said.labels
        found = explain_postings.explain(
            learner.lists, batch, columns, at, score if candidate else None, k, column, called
        )
        if not candidate:
            found = replace(found, score=score)
        return replace(found, label=label, on=bool(at >= 0 and decided[at]))
    named = explain.Names(column, encoder.labels.name, called)
    # The answer was the latest thing that the model has said, so its blocks still hold it.
    found = explain.explain(engine.model, batch, at, score, k, named)
    cluster = _cluster(engine, encoder, at, vacant)
    return replace(found, label=label, on=bool(at >= 0 and decided[at]), cluster=cluster)


def _cluster(engine: Engine, encoder: Encoder, label: int, vacant: set[int]) -> tuple[str, ...]:
    """Names of the cluster's labels; none: the label has no place."""
    number = int(engine.model.cluster_of[label]) if label >= 0 else 0
    if not number:
        return ()
    members = engine.model.clusters[number - 1].members.tolist()
    return tuple(sorted(encoder.labels.name(i) for i in members if i not in vacant))


def describe_model(
    learner: Representation, engine: Engine, encoder: Encoder, k: int, most: int
) -> Description:
    """See `IHomer.describe`."""
    column, vacant = partial(_column, encoder), np.array(encoder.labels.vacant, dtype=np.int32)
    columns = len(encoder.features.names())
    labels = encoder.labels.seen - len(vacant)
    if learner.lists is not None:
        found = explain_postings.describe(learner.lists, k, most, column, encoder.labels.name)
        return Description(engine.n_learned, labels, columns, "posting lists", (), found)
    weights = sorted(engine.model.weights.items(), key=lambda each: (-each[1], each[0]))
    return Description(
        engine.n_learned,
        labels,
        columns,
        "dense rows",
        tuple(Term(name, weight) for name, weight in weights),
        describe.describe(engine.model, k, columns, column, encoder.labels.name, vacant),
    )


def _column(encoder: Encoder, column: int) -> str:
    """What a feature column is called."""
    if column >= encoder.features.bound:
        return f"hashed column {column}"
    return encoder.features.name(column) or f"new column {column}"
