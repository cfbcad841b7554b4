"""ihomer with clusters that nobody would want, to see what its own are worth.

In: a name. Out: a learner whose clusters change whenever its partition does, but into others: one
cluster for each label, or random ones of the same sizes. It is here, and not a parameter of the
learner, because it serves comparison only.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ihomer.errors import UsageError
from ihomer.learners.ihomer import IHomer

Clusters = list[list[int]]  # ascending label ids

MOST_LABELS = 1 << 17


def one_per_label(clusters: Clusters, seed: int) -> Clusters:
    """Each label with a place alone."""
    del seed  # nothing is drawn
    return [[label] for cluster in clusters for label in cluster]


def at_random(clusters: Clusters, seed: int) -> Clusters:
    """Clusters of the same sizes; labels keep their order in a draw, so most stay together."""
    keys = np.random.default_rng(seed).random(MOST_LABELS)
    placed = np.array([label for cluster in clusters for label in cluster], dtype=np.int64)
    drawn = iter(placed[np.argsort(keys[placed], kind="stable")].tolist())
    return [sorted(next(drawn) for _ in cluster) for cluster in clusters]


CLUSTERINGS: dict[str, Callable[[Clusters, int], Clusters]] = {
    "ihomer-one-per-label": one_per_label,
    "ihomer-random-clusters": at_random,
}


def with_clusters(model: IHomer, name: str, seed: int) -> IHomer:
    """The same model, which has not learned anything yet, with other clusters.

    Parameters
    ----------
    model
        Changed.
    name
        A key of `CLUSTERINGS`.
    seed
        Of what is drawn.

    Raises
    ------
    UsageError
        The model has no partition.
    """
    keeper = model._engine._keeper
    if keeper is None:
        raise UsageError(f"{name}: found partition=False, accepted: a partition")
    partitioner = keeper.partitioner
    own = partitioner.clusters

    def clusters() -> Clusters:
        return CLUSTERINGS[name](own(), seed)

    partitioner.clusters = clusters  # type: ignore[method-assign]
    return model
