"""Why a dense learner gives a label its probability: one event's features in, shares out.

In: a model that has just predicted the event, so that what each expert said still stands in its
blocks. Out: `Explanation`. What is a sum is taken apart as one: linear models, the regression
along the trees' paths and the network (whose units are linear where they are on) by feature, the
mixture by expert. Trees, neighbours and rates are no sums of features; they are told as what they
looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from ihomer.instances import Batch, BoolArray, FloatArray, IntArray
from ihomer.learners.block import (
    EXPERTS,
    FOREST,
    LINEAR,
    NEIGHBOURS,
    NET,
    PATH,
    RIDGE,
    WIDTH,
    LabelBlock,
)
from ihomer.learners.cluster import Cluster
from ihomer.learners.experts.path import INDICATOR
from ihomer.learners.explained import (
    ExpertShare,
    Explanation,
    FeatureShare,
    Neighbour,
    Step,
    Term,
    TreePath,
)
from ihomer.learners.kernels.mixture import RATE, STACK_LIMIT
from ihomer.learners.kernels.neighbours import STOP
from ihomer.learners.kernels.trees_state import (
    FEATURE,
    INNER,
    KIND,
    LEFT,
    RIGHT,
    ROOT,
    THRESHOLD,
    VISITS,
    WEIGHT,
)
from ihomer.learners.model import Model
from ihomer.learners.scaling import Rows, raw_rows, single_precision

_TINY = 1e-9  # an expert's parts that differ by less from what it said were not cut
Shares = dict[int, float]  # contributions by feature column


class Names(NamedTuple):
    """Names of columns and labels, and what some features are called beside their names."""

    column: Callable[[int], str]
    label: Callable[[int], str]
    called: Mapping[str, str]


@dataclass(slots=True)
class _Parts:
    """An expert's logit taken apart."""

    shares: Shares = field(default_factory=dict)
    terms: list[Term] = field(default_factory=list)
    exact: bool = False

    @property
    def total(self) -> float:
        return sum(self.shares.values()) + sum(term.contribution for term in self.terms)


class Mixed(NamedTuple):
    """The mixture and the stack for one label, each as a sum over experts.

    Attributes
    ----------
    weights
        float64 (E,): in the mixture.
    factors
        float64 (E,): of what each expert says, in mixture and stack together.
    constant
        The stack's bias, as far as the stack counts.
    p
        The probability before calibration.
    """

    weights: FloatArray
    factors: FloatArray
    constant: float
    p: float


def explain(
    model: Model,
    batch: Batch,
    label: int,
    score: float,
    k: int,
    names: Names,
) -> Explanation:
    """Explain a label's probability; decision, names of label and cluster are the caller's.

    Parameters
    ----------
    model
        It has just run `batch`.
    batch
        One unlabelled event.
    label
        Its id; -1: one that has never been on.
    score
        What was predicted.
    k
        How many features and neighbours.
    names
        Of columns and labels.
    """
    block = model.blocks[max(0, label) // WIDTH]
    c = 0 if label < 0 else 1 + label - block.first
    said = block.logits(slice(None), 1)[:, 0, c].astype(np.float64)
    active = block.active
    mixed = mixture(block, c, said, active)
    cluster = _serving(model, label)
    parts = _taken_apart(model, batch, block, c, label, cluster, active, names)
    held = dict(zip(batch.indices.tolist(), batch.values.tolist(), strict=True))

    def feature(column: int, share: float) -> FeatureShare:
        value = held.get(column, 0.0)
        name = names.column(column)
        shown = None if math.isnan(value) else value
        return FeatureShare(name, shown, share, names.called.get(name, ""))

    total: Shares = {}
    experts = []
    for number in np.flatnonzero(active).tolist():
        logit, factor = float(said[number]), float(mixed.factors[number])
        part = parts.get(number, _Parts())
        if part.exact:
            cut = logit - part.total
            if abs(cut) > _TINY + 1e-5 * abs(logit):
                part.terms.append(Term("cut to the limit", cut))
            for column, share in part.shares.items():
                total[column] = total.get(column, 0.0) + factor * share
        best = _largest(part.shares, k)
        rest = sum(part.shares.values()) - sum(part.shares[column] for column in best)
        experts.append(
            ExpertShare(
                EXPERTS[number],
                logit,
                float(mixed.weights[number]),
                factor * logit,
                part.exact,
                tuple(feature(column, part.shares[column]) for column in best),
                rest,
                tuple(part.terms),
            )
        )
    sums = mixed.constant + float(mixed.factors @ said)
    return Explanation(
        "",
        score,
        False,
        "dense rows",
        (),
        mixed.constant,
        tuple(sorted(experts, key=lambda each: -abs(each.contribution))),
        _logit(mixed.p) - sums,
        _logit(score) - _logit(mixed.p),
        tuple(feature(column, total[column]) for column in _largest(total, k)),
        _paths(cluster, batch, label, names),
        bool(active[FOREST]),
        _neighbours(model, batch, label, k, names) if active[NEIGHBOURS] else (),
        "" if label >= 0 else "it has never been on: this is said of any such label",
    )


def mixture(block: LabelBlock, c: int, said: FloatArray, active: BoolArray) -> Mixed:
    """See `Mixed`; the sums are those of `mix_rows`, for position `c` of a block."""
    state, many = block.mixture, len(said)
    losses = state.losses[:, c].astype(np.float64)
    weights = np.zeros(many)
    if active.any():
        weights[active] = np.exp(float(RATE) * (losses[active].min() - losses[active]))
        weights /= weights.sum()
    mean = float(weights @ said)
    if not block.stacking:
        return Mixed(weights, weights, 0.0, _sigmoid(mean))
    own = state.stack[:, c].astype(np.float64)
    shared = state.shared.astype(np.float64)
    apart = np.where(active, shared[1:] + own[1 : 1 + many], 0.0)
    # mean * (1 + s_0) + sum_e s_e (z_e - mean) + bias, by expert.
    stack = weights * (1.0 + shared[0] + own[0] - apart.sum()) + apart
    bias = float(own[1 + many])
    limit = float(STACK_LIMIT)
    stacked = min(limit, max(-limit, float(stack @ said) + bias))
    plain, corrected = state.blend[:, c].astype(np.float64)
    share = _sigmoid(float(RATE) * (plain - corrected))
    p = _sigmoid(mean)
    p += share * (_sigmoid(stacked) - p)
    return Mixed(weights, (1.0 - share) * weights + share * stack, share * bias, p)


def _taken_apart(
    model: Model,
    batch: Batch,
    block: LabelBlock,
    c: int,
    label: int,
    cluster: Cluster,
    active: BoolArray,
    names: Names,
) -> dict[int, _Parts]:
    """What linear experts, paths and the network said, by feature."""
    scaled = single_precision(model.scaler.transform(batch))
    found: dict[int, _Parts] = {}
    for number, (name, (kind, _, _)) in enumerate(LINEAR.items()):
        if active[number]:
            expert = block.linear[name]
            rows = raw_rows(batch) if kind == "raw" else scaled
            state = expert.state
            found[number] = _linear(rows, state.weights, expert.reach, state.bias, c, model)
    if active[RIDGE] and block.ridge is not None:
        ridge = block.ridge
        found[RIDGE] = _linear(scaled, ridge.state.weights, ridge.reach, ridge.state.bias, c, model)
    if active[NET] and block.net is not None and model.dense is not None:
        found[NET] = _network(model, block, batch, c)
    if active[PATH] and cluster.path is not None:
        base = (
            RIDGE
            if active[RIDGE]
            else max((n for n in range(len(LINEAR)) if active[n]), default=-1)
        )
        said = 0.0 if base < 0 else float(block.logits(base, 1)[0, c])
        found[PATH] = _path(cluster, batch, label, found.get(base, _Parts()), said, names)
    return found


def _linear(
    rows: Rows,
    weights: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    reach: IntArray,
    bias: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    c: int,
    model: Model,
) -> _Parts:
    """Weight times value of each feature; see `linear_rows`."""
    shares: Shares = {}
    for column, value in zip(rows.indices.tolist(), rows.values.tolist(), strict=True):
        at = column & (model.most_columns - 1)  # features share columns where memory is short
        if at < len(weights):
            shares[column] = float(weights[at, c if c < reach[at] else 0]) * value
    return _Parts(shares, [Term("bias", float(bias[c]))], exact=True)


def _network(model: Model, block: LabelBlock, batch: Batch, c: int) -> _Parts:
    """By feature through the hidden units that are on; see `network_rows`."""
    assert model.dense is not None  # noqa: S101 - for the type checker; asked before
    assert block.net is not None  # noqa: S101 - the same
    rows, state = model.dense.transform(batch), block.net.state
    parts = _Parts({}, [Term("bias", float(state.bias[c]))], exact=True)
    used = int(rows.used[0])
    if not used:
        return parts
    x = rows.x[0, :used].astype(np.float64)
    first = state.first[:used].astype(np.float64)
    a = state.first_bias + x @ first
    on = a > 0.0
    second = float(state.gains[0, c]) * np.where(on, state.second[c].astype(np.float64), 0.0)
    through = (first @ second) * x
    columns = rows.layouts[rows.layout_of[0], :used].tolist()
    parts.shares = {j: float(v) for j, v in zip(columns, through, strict=True) if j >= 0 and v}
    parts.terms.append(Term("hidden units' bias", float(second @ state.first_bias)))
    near = rows.nearest[0, : rows.found[0]]
    lift = float(rows.weights[0, : rows.found[0]] @ state.lifts[near, c]) if len(near) else 0.0
    parts.terms.append(Term("prototypes", float(state.gains[1, c]) * lift))
    return parts


def _path(
    cluster: Cluster, batch: Batch, label: int, base: _Parts, said: float, names: Names
) -> _Parts:
    """The slope times what the linear expert said, and each node's weight; see `linear_rows`."""
    assert cluster.path is not None  # noqa: S101 - for the type checker; asked before
    linear = cluster.path.linear
    c = _position(cluster, label)
    slope = float(linear.state.slope[c])
    shares = {column: slope * share for column, share in base.shares.items()}
    terms = [Term(term.name, slope * term.contribution) for term in base.terms]
    cut = slope * (said - base.total)
    if abs(cut) > _TINY + 1e-5 * abs(said):
        terms.append(Term("cut to the limit", cut))
    terms.append(Term("bias of paths", float(linear.state.bias[c])))
    for nodes, steps in _routes(cluster, batch, names):
        for node, step in zip(nodes[1:], steps, strict=True):
            held = c if c < linear.reach[node] else 0
            weight = INDICATOR * float(linear.state.weights[node, held])
            terms.append(Term(f"node where {step}", weight))
    return _Parts(shares, terms, exact=True)


def _serving(model: Model, label: int) -> Cluster:
    """The learner whose trees speak for a label."""
    first, *others = model.grove.serving
    return next((each for each in others if label in each.members), first)


def _position(cluster: Cluster, label: int) -> int:
    """Where a label stands in its cluster's arrays; 0: nowhere."""
    at = int(np.searchsorted(cluster.members, label))
    there = label >= 0 and at < len(cluster.members) and int(cluster.members[at]) == label
    return 1 + at if there else 0


def _routes(cluster: Cluster, batch: Batch, names: Names) -> Iterable[tuple[list[int], list[Step]]]:
    """Of each tree the nodes from root to leaf, and the conditions between them; see `route`."""
    if cluster.forest is None or cluster.forest.state.trees[0, ROOT] < 0:
        return
    nodes, trees = cluster.forest.state.nodes, cluster.forest.state.trees
    link, number = nodes.link, nodes.number
    held = dict(zip(batch.indices.tolist(), batch.values.tolist(), strict=True))
    for tree in trees:
        node = int(tree[ROOT])
        passed, steps = [node], list[Step]()
        while link[node, KIND] == INNER:
            column, threshold = int(link[node, FEATURE]), float(number[node, THRESHOLD])
            left, right = int(link[node, LEFT]), int(link[node, RIGHT])
            value = held.get(column, 0.0)
            name = names.column(column)
            called = names.called.get(name, "")
            if math.isnan(value):
                steps.append(Step(name, "missing", threshold, called))
                node = left if number[left, VISITS] >= number[right, VISITS] else right
            else:
                relation: Literal["<=", ">"] = "<=" if value <= threshold else ">"
                steps.append(Step(name, relation, threshold, called))
                node = left if value <= threshold else right
            passed.append(node)
        yield passed, steps


def _paths(cluster: Cluster, batch: Batch, label: int, names: Names) -> tuple[TreePath, ...]:
    found = []
    c = _position(cluster, label)
    for number, (passed, steps) in enumerate(_routes(cluster, batch, names)):
        assert cluster.forest is not None  # noqa: S101 - for the type checker: it has routes
        nodes, leaf = cluster.forest.state.nodes, passed[-1]
        weight = float(nodes.number[leaf, WEIGHT])
        at = c if c < nodes.positive.shape[1] else 0
        rate = float(nodes.positive[leaf, at]) / weight
        found.append(TreePath(number, tuple(steps), rate, weight))
    return tuple(found)


def _neighbours(
    model: Model, batch: Batch, label: int, k: int, names: Names
) -> tuple[Neighbour, ...]:
    """The events that voted; the search is made once more, and changes nothing."""
    expert = model.neighbours
    assert expert is not None  # noqa: S101 - for the type checker: it has spoken
    found = expert.search(single_precision(model.scaler.transform(batch)), batch)
    state = expert.state
    stop = int(state.progress[STOP])
    near = []
    for row, vote in zip(found.neighbours[0].tolist(), found.votes[0].tolist(), strict=True):
        if row < 0:
            break
        ids = state.y_labels[state.y_indptr[row] : state.y_indptr[row + 1]].tolist()
        near.append(Neighbour(stop - row, vote, label in ids, tuple(map(names.label, ids))))
    return tuple(sorted(near, key=lambda each: -each.vote)[:k])


def _largest(shares: Mapping[int, float], k: int) -> Sequence[int]:
    """The `k` columns with the largest shares either way, none of 0."""
    held = [column for column, share in shares.items() if share]
    return sorted(held, key=lambda column: (-abs(shares[column]), column))[:k]


def _sigmoid(z: float) -> float:
    return 1.0 / (1.0 + math.exp(-z)) if z >= 0.0 else math.exp(z) / (1.0 + math.exp(z))


def _logit(p: float) -> float:
    p = min(1.0 - 1e-12, max(1e-12, p))
    return math.log(p / (1.0 - p))
