"""Learners of other projects, behind the face of our own, so that one evaluator scores them all.

In: the shape of a stream, the owner of its names, a seed. Out: a `Candidate`. Nothing of a peer is
imported before one is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from bench.candidate import Candidate, Shape
from ihomer.errors import UsageError
from ihomer.instances import Encoder


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """One peer.

    Attributes
    ----------
    description
        What it is, in one line.
    factory
        Makes a fresh one from the stream's shape, its encoder and a seed.
    missing
        Why it cannot run here, with what to install; None: it can.
    """

    description: str
    factory: Callable[[Shape, Encoder, int], Candidate]
    missing: Callable[[], str | None]


def _river(description: str, kind: str, classifier: str, *, scaled: bool = False) -> PeerInfo:
    def factory(shape: Shape, encoder: Encoder, seed: int) -> Candidate:
        del encoder  # the shape says it all
        from bench.peers import river_peers

        make = getattr(river_peers, classifier)
        model = getattr(river_peers, kind)(make, scaled=scaled, seed=seed)
        return river_peers.RiverPeer(shape, model)

    return PeerInfo(description, factory, lambda: None)


def imported(word: str) -> PeerInfo:
    """Somebody's own learner, named as ``package.module:Name``.

    Parameters
    ----------
    word
        `Name` is called without arguments for every model; what it makes has river's interface: a
        `MultiLabelClassifier`, or a `Classifier`, of which there will be one per label.

    Raises
    ------
    UsageError
        There is no such module or name.
    """
    module, _, name = word.partition(":")
    try:
        make = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"learner: found {word!r} ({error}), accepted: package.module:Name"
        ) from None

    def factory(shape: Shape, encoder: Encoder, seed: int) -> Candidate:
        del encoder  # the shape says it all
        from river import base

        from bench.peers import river_peers

        multi = isinstance(make(), base.MultiLabelClassifier)
        kind = river_peers.MultiLabel if multi else river_peers.BinaryRelevance
        return river_peers.RiverPeer(shape, kind(lambda _: make(), scaled=False, seed=seed))

    return PeerInfo(f"{word}: a learner with river's interface", factory, lambda: None)


def _moa(description: str, name: str) -> PeerInfo:
    def factory(shape: Shape, encoder: Encoder, seed: int) -> Candidate:
        del encoder  # the shape says it all
        from bench.peers.moa_peers import MoaPeer

        return MoaPeer(shape, name, seed)

    def missing() -> str | None:
        from bench.peers import java_driver

        return java_driver.missing()

    return PeerInfo(description, factory, missing)


PEERS: dict[str, PeerInfo] = {
    "river-br-lr": _river(
        "river: binary relevance of logistic regression (AdaGrad) behind a scaler",
        "BinaryRelevance",
        "logistic_regression",
        scaled=True,
    ),
    "river-br-lr-unscaled": _river(
        "river: binary relevance of logistic regression (AdaGrad), no scaler",
        "BinaryRelevance",
        "logistic_regression",
    ),
    "river-br-ht": _river(
        "river: binary relevance of Hoeffding trees", "BinaryRelevance", "hoeffding_tree"
    ),
    "river-br-hat": _river(
        "river: binary relevance of Hoeffding adaptive trees", "BinaryRelevance", "adaptive_tree"
    ),
    "river-br-arf": _river(
        "river: binary relevance of adaptive random forests", "BinaryRelevance", "adaptive_forest"
    ),
    "river-br-knn": _river(
        "river: binary relevance of nearest neighbours", "BinaryRelevance", "nearest_neighbours"
    ),
    "river-cc-lr": _river(
        "river: classifier chain of logistic regression (AdaGrad) behind a scaler",
        "Chain",
        "logistic_regression",
        scaled=True,
    ),
    "river-cc-ht": _river("river: classifier chain of Hoeffding trees", "Chain", "hoeffding_tree"),
    "moa-mlht": _moa("MOA: MultilabelHoeffdingTree", "moa-mlht"),
    "moa-isoup": _moa("MOA: ISOUPTree", "moa-isoup"),
    "moa-oza": _moa("MOA: OzaBagAdwinML of MultilabelHoeffdingTree", "moa-oza"),
}
