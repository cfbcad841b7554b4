"""The network expert and what it stands on: owners of the arrays behind three kernels.

In: a batch. Out: its dense rows with their prototypes, once for all labels; then the clipped
logits of each block of labels. `DenseFeatures` is shared, a `NetworkExpert` belongs to a block.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ihomer.instances import Batch, Float32Array, IntArray
from ihomer.learners.arrays import grown, nbytes
from ihomer.learners.kernels import dense, network, prototypes
from ihomer.learners.kernels.network import NetworkState

MAX_SLOTS = 512  # dense columns, at most: an event's cost is in proportion to them


class DenseRows(NamedTuple):
    """Dense columns and prototypes of n events; see `dense_rows` and `prototype_rows`.

    Attributes
    ----------
    x
        float32 (n, slots).
    used
        int32 (n,); 0 = the row is off.
    layouts, layout_of
        int32 (LAYOUTS, slots), (n,).
    nearest, weights, found, founded
        int32 (n, NEAREST), float32 (n, NEAREST), int32 (n,), (n,).
    """

    x: Float32Array
    used: IntArray
    layouts: IntArray
    layout_of: IntArray
    nearest: IntArray
    weights: Float32Array
    found: IntArray
    founded: IntArray


class DenseFeatures:
    """Slots and statistics of the dense columns, and the prototypes among their values.

    Attributes
    ----------
    state, prototypes
        The arrays, see `DenseState` and `PrototypeState`.
    """

    def __init__(self) -> None:
        self.state = dense.empty_state(0, 0)
        self.prototypes = prototypes.empty_state(0)

    @property
    def memory_bytes(self) -> int:
        """Bytes held by the arrays."""
        return nbytes(self.state) + nbytes(self.prototypes)

    @property
    def slots(self) -> int:
        """Dense columns that there is room for."""
        return len(self.state.column_of)

    @property
    def on(self) -> bool:
        """Whether most of what events hold is in dense columns; else rows are off."""
        return bool(self.state.progress[2])

    def make_room(self, columns: int) -> None:
        """Grow, geometrically, to `columns` columns."""
        old, old_slots = len(self.state.seen), self.slots
        if columns <= old:
            return
        columns = max(columns, old + old // 2, 64)
        slots = max(old_slots, min(columns, MAX_SLOTS))
        self.state = grown(self.state, dense.empty_state(columns, slots))
        self.prototypes = grown(self.prototypes, prototypes.empty_state(slots))

    def transform(self, batch: Batch) -> DenseRows:
        """Dense rows of the events of `batch`; labelled ones also move the state.

        Parameters
        ----------
        batch
            Its labelled events may reach, but not cross, a multiple of `STRIDE`.
        """
        n, slots = len(batch), self.slots
        rows = DenseRows(
            np.empty((n, slots), dtype=np.float32),
            np.empty(n, dtype=np.int32),
            np.empty((dense.LAYOUTS, slots), dtype=np.int32),
            np.empty(n, dtype=np.int32),
            np.empty((n, prototypes.NEAREST), dtype=np.int32),
            np.empty((n, prototypes.NEAREST), dtype=np.float32),
            np.empty(n, dtype=np.int32),
            np.empty(n, dtype=np.int32),
        )
        events = (batch.indptr, batch.indices, batch.values, batch.labelled)
        dense.dense_rows(*events, self.state, *rows[:4])
        prototypes.prototype_rows(*rows[:4], batch.labelled, self.prototypes, *rows[4:])
        return rows


class NetworkExpert:
    """A network for a block of labels, with a position 0 for labels that were never on.

    Parameters
    ----------
    first_label, n_labels
        The block's labels have ids from `first_label`, at most `n_labels` of them.
    seed
        Of the first weights.

    Attributes
    ----------
    state
        The arrays, see `NetworkState`.
    """

    def __init__(self, first_label: int = 0, n_labels: int = 256, seed: int = 0) -> None:
        self.first_label = first_label
        self.n_labels = n_labels
        self.seed = seed
        self.state = network.empty_state(0, 1, seed)

    @property
    def memory_bytes(self) -> int:
        """Bytes held by weights and sums."""
        return nbytes(self.state)

    def make_room(self, slots: int, labels: int) -> None:
        """Grow, geometrically, to `slots` dense columns and `labels` labels of the block."""
        old_slots, old = len(self.state.owner), len(self.state.bias)
        positions = 1 + labels
        if slots <= old_slots and positions <= old:
            return
        if positions > old:
            positions = min(1 + self.n_labels, max(positions + positions // 4, old + old // 2))
        positions = max(positions, old)
        if slots > old_slots:
            empty = network.empty_state(slots, positions, self.seed)
        else:
            empty = _more_positions(self.state, positions)
        self.state = grown(self.state, empty)

    def run(self, rows: DenseRows, batch: Batch, out: Float32Array) -> None:
        """Predict, then learn the labelled events; see `network_rows` for `out`."""
        network.network_rows(
            *rows,
            batch.y_indptr,
            batch.y_indices,
            batch.labelled,
            batch.known,
            self.first_label,
            self.n_labels,
            self.state,
            out,
        )


def _more_positions(state: NetworkState, positions: int) -> NetworkState:
    """Room for `positions` labels; what does not depend on labels is `state`'s own."""
    empty = network.empty_state(0, positions)
    by_label = [
        "second",
        "bias",
        "errors",
        "bias_squares",
        "lifts",
        "lift_squares",
        "gains",
        "gain_squares",
    ]
    return state._replace(**{name: getattr(empty, name) for name in by_label})
