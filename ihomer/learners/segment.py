"""A segment of the stream with all that is known of it before any label is looked at.

At most 128 events, of which the last one at most fills a stride. It is made once and read by
every cluster and every block of labels. Work on threads fills in what is computed of the features
once for all labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ihomer.instances import Batch, Float32Array
from ihomer.learners.experts.neighbours import Found, NeighbourExpert
from ihomer.learners.experts.network import DenseFeatures, DenseRows
from ihomer.learners.experts.ridge import GainRows, Gains
from ihomer.learners.scaling import Rows

# Experts of clusters; their logits are gathered in `Segment.outer`, in this order.
OUTER = ("forest", "path")


@dataclass(slots=True)
class Segment:
    """See the module.

    Attributes
    ----------
    batch
        The events.
    raw, scaled
        The features as they are, and scaled, in the columns of the linear experts.
    neighbours, found
        The expert that searches, and what it found; None: off.
    gains
        Shared steps of the ridge expert; None: off.
    dense
        Dense columns, for the network; None: off.
    linear
        The linear experts that work in this segment.
    growing
        Whether trees work in this segment.
    correcting
        Whether path regressions work in this segment.
    alone
        Whether there is one block of labels only: `base` and `outer` then are its own logits.
    base
        float32 (n, 1 + labels or more): logits of the linear expert that path regressions correct,
        written by the blocks before the clusters run; the reserve's first.
    outer
        float32 (experts, n, 1 + labels or more): logits of the experts in `OUTER`, the reserve's
        first.
    """

    batch: Batch
    raw: Rows
    scaled: Rows
    neighbours: NeighbourExpert | None
    linear: Sequence[str]
    growing: bool
    correcting: bool
    alone: bool
    base: Float32Array
    outer: Float32Array
    found: Found | None = None
    gains: GainRows | None = None
    dense: DenseRows | None = None

    def search(self, expert: NeighbourExpert, rows: Rows) -> None:
        """Fill in `found`."""
        self.found = expert.search(rows, self.batch)

    def gain(self, expert: Gains, rows: Rows) -> None:
        """Fill in `gains`."""
        self.gains = expert.run(rows, self.batch.labelled)

    def condense(self, features: DenseFeatures) -> None:
        """Fill in `dense`."""
        self.dense = features.transform(self.batch)
