"""Why posting lists give a label its probability: one event's features in, shares out.

In: the lists and what was predicted. Out: `Explanation`, in which everything is a sum: a feature's
entry for the label times its value, scaled by what the ranking has learned; what neighbours add is
what is left. Labels that are no candidates have no probability of their own, and none is explained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from ihomer.instances import Batch, BoolArray, Float32Array, IntArray
from ihomer.learners.explained import (
    ClusterDescription,
    ExpertShare,
    Explanation,
    FeatureShare,
    LabelRate,
    Term,
)
from ihomer.learners.kernels.postings import Postings
from ihomer.learners.kernels.ranking import COUNTS, Ranking
from ihomer.learners.postings import PostingLearner


def explain(
    learner: PostingLearner,
    batch: Batch,
    columns: int,
    label: int,
    score: float | None,
    k: int,
    column_name: Callable[[int], str],
    called: Mapping[str, str],
) -> Explanation:
    """Explain a candidate's probability; decision and name are the caller's.

    Parameters
    ----------
    learner
        Whose lists it is about.
    batch
        One unlabelled event.
    columns
        Feature columns in use.
    label
        Its id.
    score
        What was predicted; None: it is no candidate.
    k
        How many features.
    column_name, called
        Of columns; what some features are called beside their names.
    """
    if score is None:
        note = "it is no candidate: no feature of the event and no neighbour knows it"
        return Explanation("", 0.0, False, "posting lists", (), 0.0, (), 0.0, 0.0, (), note=note)
    rows = learner.weighed(batch, columns)
    postings, ranking = learner.lists
    most = learner.most_columns
    origin = {j & (most - 1) if columns > most else j: j for j in batch.indices.tolist()}
    held = dict(zip(batch.indices.tolist(), batch.values.tolist(), strict=True))
    shares = {}
    for j, value in zip(rows.indices.tolist(), rows.values.tolist(), strict=True):
        weight = entry(postings, j, label)
        if weight is not None:
            shares[origin.get(j, j)] = weight * value
    w = ranking.weights[_group(ranking, label)].astype(np.float64)
    bias = float(postings.bias[label])
    linear = sum(shares.values()) + bias
    logit = math.log(score / (1.0 - score))
    said = float(w[1]) * linear
    near = logit - float(w[0]) - said
    best = sorted(shares, key=lambda j: (-abs(shares[j]), j))[:k]

    def feature(j: int, factor: float) -> FeatureShare:
        value = held.get(j, 0.0)
        shown = None if math.isnan(value) else value
        name = column_name(j)
        return FeatureShare(name, shown, factor * shares[j], called.get(name, ""))

    rest = sum(shares.values()) - sum(shares[j] for j in best)
    experts = (
        ExpertShare(
            "lists",
            linear,
            float(w[1]),
            said,
            True,
            tuple(feature(j, 1.0) for j in best),
            rest,
            (Term("bias", bias),),
        ),
        ExpertShare("neighbours", near / float(w[2]) if w[2] else 0.0, float(w[2]), near, False),
    )
    return Explanation(
        "",
        score,
        False,
        "posting lists",
        (),
        float(w[0]),
        tuple(sorted(experts, key=lambda each: -abs(each.contribution))),
        0.0,
        0.0,
        tuple(feature(j, float(w[1])) for j in best),
        note="posting lists know neither clusters nor trees; what neighbours add is what is left",
    )


def describe(
    learner: PostingLearner,
    k: int,
    most: int,
    names: Callable[[int], str],
    label: Callable[[int], str],
) -> tuple[ClusterDescription, ...]:
    """The most frequent labels, each with the features that speak most for it.

    Parameters
    ----------
    learner
        Whose lists they are.
    k, most
        How many features of each, and how many labels.
    names, label
        Of columns and labels.
    """
    postings, ranking = learner.lists
    often = np.argsort(-ranking.times, kind="stable")[:most]
    often = often[ranking.times[often] > 0].astype(np.int32)
    best: dict[int, list[tuple[float, int]]] = {int(i): [] for i in often}
    wanted: BoolArray = np.zeros(len(ranking.times), dtype=np.bool_)
    wanted[often] = True
    for j in range(len(postings.start)):
        ids, weights = _list(postings, j)
        for at in np.flatnonzero(wanted[ids]).tolist():
            if weights[at] > 0.0:
                best[int(ids[at])].append((float(weights[at]), j))
    learned = max(1, learner.n_learned)
    return tuple(
        ClusterDescription(
            (LabelRate(label(i), float(ranking.times[i]) / learned),),
            tuple(
                Term(names(j), weight)
                for weight, j in sorted(best[i], key=lambda each: (-each[0], each[1]))[:k]
            ),
        )
        for i in often.tolist()
    )


def entry(postings: Postings, column: int, label: int) -> float | None:
    """The weight of a label in a feature's list; None: it is not there."""
    if column >= len(postings.start):
        return None
    ids, weights = _list(postings, column)
    at = np.flatnonzero(ids == label)
    return float(weights[at[0]]) if len(at) else None


def _list(postings: Postings, column: int) -> tuple[IntArray, Float32Array]:
    """Labels and weights of a feature's list; see `Postings.entry`."""
    first, room = int(postings.start[column]), int(postings.room[column])
    used = int(postings.used[column])
    at = first + room
    return postings.entry[first : first + used], postings.entry[at : at + used].view(np.float32)


def _group(ranking: Ranking, label: int) -> int:
    """The class of a label by how often it was on; see `count_class`."""
    return min(COUNTS - 1, int(ranking.times[label]).bit_length())
