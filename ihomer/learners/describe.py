"""What a dense model's clusters are about: their labels, how often, and the features behind them.

In: a model. Out: `ClusterDescription`. Weights are those of the second-order linear expert, which
reads scaled features, or of the other one where that is switched off; they say what speaks for a
label in general, not for one event.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ihomer.instances import Float32Array, FloatArray, IntArray
from ihomer.learners.block import WIDTH, LabelBlock
from ihomer.learners.explained import ClusterDescription, LabelRate, Term
from ihomer.learners.model import Model


def describe(
    model: Model,
    k: int,
    columns: int,
    column_name: Callable[[int], str],
    label_name: Callable[[int], str],
    vacant: IntArray,
) -> tuple[ClusterDescription, ...]:
    """Describe each cluster, the largest first, and last the labels without a place.

    Parameters
    ----------
    model
        Dense.
    k
        How many features of each.
    columns
        Feature columns that have a name.
    column_name, label_name
        Names by id.
    vacant
        Label ids that are nobody's.
    """
    rates = np.concatenate([block.priors for block in model.blocks])
    groups = [np.setdiff1d(cluster.members, vacant) for cluster in model.clusters]
    # As `IHomer.clusters` has them.
    groups.sort(key=lambda ids: (-len(ids), sorted(map(label_name, ids.tolist()))))
    found = []
    for number, members in enumerate([*groups, np.setdiff1d(model.nursery.members, vacant)]):
        if not len(members):
            continue
        mean = _mean_weights(model, members, min(columns, model.most_columns))
        order = np.argsort(-mean, kind="stable")[:k]
        often = members[np.argsort(-rates[members], kind="stable")]
        found.append(
            ClusterDescription(
                tuple(LabelRate(label_name(i), float(rates[i])) for i in often.tolist()),
                tuple(
                    Term(_shared(column_name, j, columns, model.most_columns), float(mean[j]))
                    for j in order.tolist()
                    if mean[j] > 0.0
                ),
                placed=number < len(groups),
            )
        )
    return tuple(found)


def _mean_weights(model: Model, members: IntArray, columns: int) -> FloatArray:
    """Of each column, over the labels."""
    total = np.zeros(columns)
    for number, block in enumerate(model.blocks):
        own = members[members // WIDTH == number] - block.first + 1
        weights, reach = _weights(block)
        if len(own) and weights is not None:
            rows = min(columns, len(weights))
            part = weights[:rows, own].astype(np.float64)
            # What a column does not hold yet of a label is what it holds of none.
            late = own[None, :] >= reach[:rows, None]
            total[:rows] += np.where(late, weights[:rows, :1], part).sum(axis=1)
    return total / len(members)


def _weights(block: LabelBlock) -> tuple[Float32Array | None, IntArray]:
    if block.ridge is not None:
        return block.ridge.state.weights, block.ridge.reach
    for expert in block.linear.values():
        return expert.state.weights, expert.reach
    return None, np.zeros(0, dtype=np.int32)


def _shared(name: Callable[[int], str], column: int, columns: int, most: int) -> str:
    """A column's name, and of how many others it holds the weights, too."""
    others = (columns - 1 - column) // most
    return name(column) + (f" and {others} more" if others > 0 else "")
