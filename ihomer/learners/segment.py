"""A segment of the stream with all that is known of it before any label is looked at.

At most 128 events, of which the last one at most fills a stride. It is made once and read by
every cluster and every block of labels.
"""

from __future__ import annotations

from dataclasses import dataclass

from ihomer.instances import Batch
from ihomer.learners.experts.neighbours import Found, NeighbourExpert
from ihomer.learners.experts.network import DenseRows
from ihomer.learners.experts.ridge import GainRows
from ihomer.learners.kernels.linear import Float32Array
from ihomer.learners.scaling import Rows

# Experts of clusters; their logits are gathered in `Segment.outer`, in this order.
OUTER = ("forest", "path")


@dataclass(frozen=True, slots=True)
class Segment:
    """See the module.

    Attributes
    ----------
    batch
        The events.
    raw, scaled
        The features as they are, and scaled, in the columns of the linear experts.
    neighbours, found
        The expert that searched, and what it found; None: off.
    gains
        Shared steps of the ridge expert; None: off.
    dense
        Dense columns, for the network; None: off.
    growing
        Whether trees work in this segment.
    correcting
        Whether path regressions work in this segment.
    base
        float32 (n, 1 + labels): logits of the linear expert that path regressions correct,
        written by the blocks before the clusters run; the reserve's first.
    outer
        float32 (experts, n, 1 + labels): logits of the experts in `OUTER`, the reserve's first.
    """

    batch: Batch
    raw: Rows
    scaled: Rows
    neighbours: NeighbourExpert | None
    found: Found | None
    gains: GainRows | None
    dense: DenseRows | None
    growing: bool
    correcting: bool
    base: Float32Array
    outer: Float32Array
