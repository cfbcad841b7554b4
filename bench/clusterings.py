"""ihomer with clusters that nobody would want, to see what its own are worth.

In: a name. Out: a learner whose clusters change whenever its partition does, but into others: one
cluster for each label, or random ones of the same sizes. It is here, and not a parameter of the
learner, because it serves comparison only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ihomer.instances import IntArray
from ihomer.learners.ihomer import IHomer

Groups = Sequence[IntArray]  # of each cluster, and last of the labels without a place

MOST_LABELS = 1 << 17


def one_per_label(groups: Groups, seed: int) -> list[IntArray]:
    """Each label with a place alone."""
    del seed  # nothing is drawn
    *clusters, unplaced = groups
    alone = [cluster[i : i + 1] for cluster in clusters for i in range(len(cluster))]
    return [*alone, unplaced]


def at_random(groups: Groups, seed: int) -> list[IntArray]:
    """Clusters of the same sizes; labels that stay keep their order, so most stay together."""
    *clusters, unplaced = groups
    placed = np.concatenate([np.zeros(0, dtype=np.int32), *clusters])
    keys = np.random.default_rng(seed).random(MOST_LABELS)
    drawn = placed[np.argsort(keys[placed], kind="stable")]
    ends = np.cumsum([len(cluster) for cluster in clusters])[:-1]
    parts = np.split(drawn, ends) if clusters else []
    return [*(np.sort(part) for part in parts), unplaced]


CLUSTERINGS: dict[str, Callable[[Groups, int], list[IntArray]]] = {
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
    """
    inner = model._engine.model
    regroup = inner.regroup

    def other(groups: Groups) -> list[int]:
        return regroup(CLUSTERINGS[name](groups, seed))

    inner.regroup = other  # type: ignore[method-assign]
    return model
