"""What an explanation says: typed, as text, as JSON.

In: numbers and names. Out: `Explanation` of one label's probability for one event, `Description`
of a model. It is here so that who explains does not lay out, and who shows does not compute.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Literal, TypeAlias

Representation: TypeAlias = Literal["dense rows", "posting lists"]

_SHOWN_LABELS = 8  # of a cluster or a neighbour, in text
_WIDTH = 100


@dataclass(frozen=True, slots=True)
class FeatureShare:
    """What a feature adds to a logit.

    Attributes
    ----------
    feature
        Its name.
    value
        What the event has there: 0 where it is absent, None where it is missing.
    contribution
        In logits; above 0 it speaks for the label.
    called
        What stands behind the name, if who asked has said so: words of a text, for one.
    """

    feature: str
    value: float | None
    contribution: float
    called: str = ""


@dataclass(frozen=True, slots=True)
class Term:
    """What else adds to a logit: a bias, a node of a tree, what cutting has taken away."""

    name: str
    contribution: float


@dataclass(frozen=True, slots=True)
class ExpertShare:
    """What one expert says of the label, and what that counts.

    Attributes
    ----------
    expert
        Its name, of `ihomer.learners.ihomer.PARTS`, or a part of the posting lists' ranking.
    logit
        What it says.
    weight
        Its weight in the mixture; all weights add up to 1.
    contribution
        What it adds to the label's logit: `logit` times its weight in mixture and stack together.
    exact
        Whether `features`, `rest` and `terms` add up to `logit`.
    features
        The `k` that say most, in units of the expert's own logit.
    rest
        What all other features say together.
    terms
        What no feature is behind.
    """

    expert: str
    logit: float
    weight: float
    contribution: float
    exact: bool
    features: tuple[FeatureShare, ...] = ()
    rest: float = 0.0
    terms: tuple[Term, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """A condition on a tree's path, as it holds: ``feature relation threshold``.

    `relation` is ``"<="``, ``">"``, or ``"missing"``: then the way of most events is taken.
    `called` is that of `FeatureShare`.
    """

    feature: str
    relation: Literal["<=", ">", "missing"]
    threshold: float
    called: str = ""

    def __str__(self) -> str:
        name = self.called or self.feature
        if self.relation == "missing":
            return f"{name} is missing"
        return f"{name} {self.relation} {self.threshold:.4g}"


@dataclass(frozen=True, slots=True)
class TreePath:
    """The leaf that an event reaches in a tree.

    Attributes
    ----------
    tree
        Its number.
    steps
        Conditions from the root down; none: the tree is a single leaf.
    rate
        How often the label was on among the leaf's events.
    events
        Their weight.
    """

    tree: int
    steps: tuple[Step, ...]
    rate: float
    events: float


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A recent event like the one explained.

    Attributes
    ----------
    ago
        How many learned events ago, 1 = the latest.
    vote
        What its label set counts; all votes and what is left to the prior add up to 1.
    has
        Whether it has the label.
    labels
        All that were on.
    """

    ago: int
    vote: float
    has: bool
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a label has its probability.

    ``logit(score)`` is `constant`, plus all experts' `contribution`, plus `blending`, plus
    `calibration`.

    Attributes
    ----------
    label
        Its name.
    score, on
        Probability and decision, as `predict_proba_one` and `predict_one` give them.
    representation
        What predicts: ``"dense rows"`` or ``"posting lists"``.
    cluster
        The labels of its cluster, by name; empty where it has no place yet, and with posting lists.
    constant
        What is there without any expert.
    experts
        Those that spoke, the largest contribution (either way) first.
    blending
        What is no sum: mixture and stack are put together as probabilities, and cut.
    calibration
        What the correction by how often such probabilities came true adds.
    features
        The `k` that add most (either way) to the logit, by all experts whose part is exact.
    trees
        The leaf in each tree of the label's cluster; empty with posting lists.
    trees_speak
        Whether trees are among the experts that spoke: they rest where others know better.
    neighbours
        The `k` with the largest votes.
    note
        What there is no explanation of; empty: nothing.
    """

    label: str
    score: float
    on: bool
    representation: Representation
    cluster: tuple[str, ...]
    constant: float
    experts: tuple[ExpertShare, ...]
    blending: float
    calibration: float
    features: tuple[FeatureShare, ...]
    trees: tuple[TreePath, ...] = ()
    trees_speak: bool = False
    neighbours: tuple[Neighbour, ...] = ()
    note: str = ""

    def to_json(self) -> str:
        """All of it as a JSON object, with the attributes' names."""
        return _json(self)

    def __str__(self) -> str:
        return "\n".join(_explained(self))


@dataclass(frozen=True, slots=True)
class LabelRate:
    """How often a label has been on of late; with posting lists, of all events."""

    label: str
    rate: float


@dataclass(frozen=True, slots=True)
class ClusterDescription:
    """What a cluster is about.

    Attributes
    ----------
    labels
        The most frequent first.
    features
        The `k` with the largest mean weight over the labels, as contributions at a scaled value
        of 1.
    placed
        False: these are the labels without a place yet.
    """

    labels: tuple[LabelRate, ...]
    features: tuple[Term, ...]
    placed: bool = True


@dataclass(frozen=True, slots=True)
class Description:
    """What a model is about.

    Attributes
    ----------
    learned
        Number of events learned.
    labels, columns
        How many labels have been on, and how many feature columns there are.
    representation
        See `Explanation`.
    weights
        Recent mean weight of each expert; none with posting lists.
    clusters
        Largest first, labels without a place last. With posting lists, which know no clusters,
        each of the most frequent labels by itself.
    """

    learned: int
    labels: int
    columns: int
    representation: Representation
    weights: tuple[Term, ...]
    clusters: tuple[ClusterDescription, ...]

    def to_json(self) -> str:
        """All of it as a JSON object, with the attributes' names."""
        return _json(self)

    def __str__(self) -> str:
        return "\n".join(_described(self))


def _json(found: Explanation | Description) -> str:
    import orjson

    return orjson.dumps(found, option=orjson.OPT_INDENT_2).decode()


def _explained(found: Explanation) -> list[str]:
    decided = "on" if found.on else "off"
    lines = [f"{found.label}: {found.score:.4f}, predicted {decided} ({found.representation})"]
    if found.cluster:
        lines += _listed("cluster", found.cluster)
    if found.note:
        lines += textwrap.wrap(f"note: {found.note}", _WIDTH)
    if found.experts:
        lines += ["", f"{'expert':<14}{'says':>8}{'weight':>9}{'adds':>9}  exact"]
        lines += [
            f"{each.expert:<14}{each.logit:>+8.3f}{each.weight:>9.3f}{each.contribution:>+9.3f}"
            f"  {'yes' if each.exact else 'no'}"
            for each in found.experts
        ]
        for name in ("constant", "blending", "calibration"):
            if getattr(found, name):
                lines.append(f"{name:<31}{getattr(found, name):>+9.3f}")
    if found.features:
        wide = max(7, *(len(each.called or each.feature) for each in found.features))
        lines += ["", f"{'feature':<{wide}}{'value':>12}{'adds':>9}"]
        for share in found.features:
            value = "missing" if share.value is None else f"{share.value:.4g}"
            name = share.called or share.feature
            lines.append(f"{name:<{wide}}{value:>12}{share.contribution:>+9.3f}")
    if found.trees:
        lines += ["", "trees" if found.trees_speak else "trees (they rest and add nothing)"]
        for path in found.trees:
            where = " and ".join(map(str, path.steps)) or "a single leaf"
            lines += textwrap.wrap(
                f"  {path.tree}: {path.rate:.3f} of {path.events:.0f} where {where}",
                _WIDTH,
                subsequent_indent="     ",
            )
    if found.neighbours:
        lines += ["", "neighbours"]
        for near in found.neighbours:
            lines += _listed(f"  {near.ago} events ago, vote {near.vote:.3f}", near.labels)
    return lines


def _described(found: Description) -> list[str]:
    held = f"{found.labels} labels, {found.columns} feature columns, {found.representation}"
    lines = [f"{found.learned} events learned, {held}"]
    if found.weights:
        told = ", ".join(f"{each.name} {each.contribution:.2f}" for each in found.weights)
        lines += textwrap.wrap(f"experts: {told}", _WIDTH, subsequent_indent="  ")
    for number, cluster in enumerate(found.clusters, 1):
        named = tuple(f"{each.label} ({each.rate:.3f})" for each in cluster.labels)
        place = f"cluster {number}" if cluster.placed else "without a place"
        lines += ["", *_listed(f"{place}, {len(named)} labels" if len(named) > 1 else place, named)]
        if cluster.features:
            told = ", ".join(f"{each.name} {each.contribution:+.3f}" for each in cluster.features)
            lines += textwrap.wrap(f"  for it: {told}", _WIDTH, subsequent_indent="    ")
    return lines


def _listed(what: str, labels: tuple[str, ...]) -> list[str]:
    more = len(labels) - _SHOWN_LABELS
    told = ", ".join(labels[:_SHOWN_LABELS]) + (f" and {more} more" if more > 0 else "")
    return textwrap.wrap(f"{what}: {told or 'none'}", _WIDTH, subsequent_indent="    ")
