"""The forest of one cluster: adaptive multi-label Hoeffding trees, their room and their memory.

In: rows as they came and the cluster's labels. Out: logits, and for path regression the nodes that
each event passed. It owns the arrays, makes room for the kernels, and moves labels' columns when
the partition changes.
"""

from __future__ import annotations

import copy
import functools
import zlib
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from ihomer.errors import UsageError
from ihomer.instances import Batch, Float32Array, FloatArray, IntArray, OffsetArray
from ihomer.learners.arrays import nbytes
from ihomer.learners.kernels.columns import take_columns
from ihomer.learners.kernels.elementary import LOGIT_CLIP
from ihomer.learners.kernels.trees_grow import GRACE, NODE_BYTES, SLOT_BYTES, WATCH_BYTES
from ihomer.learners.kernels.trees_rows import forest_rows
from ihomer.learners.kernels.trees_slots import enter_all, fill_keys, mix
from ihomer.learners.kernels.trees_split import BERNSTEIN, EVIDENCE, HOEFFDING, Options
from ihomer.learners.kernels.trees_state import (
    DEPTH,
    HELD,
    KIND,
    LEAF,
    MAX_DEPTH,
    N_ALTERNATES,
    N_NODES,
    NEXT,
    NONE,
    OF_COUNTS,
    OF_MOMENTS,
    OF_NODES,
    OF_PENDING,
    OF_SLOTS,
    OF_WATCHES,
    PAUSED,
    PLANTED,
    ROOT,
    SEEN,
    SHARE,
    SWITCHED,
    TREE,
    WEIGHT,
    Nodes,
    Watches,
    empty_forest,
    wider,
)
from ihomer.learners.kernels.trees_state import Forest as State

SplitTest: TypeAlias = Literal["evidence", "hoeffding", "bernstein"]
SPLIT_TESTS: tuple[SplitTest, ...] = ("evidence", "hoeffding", "bernstein")


_CODES = {"evidence": EVIDENCE, "hoeffding": HOEFFDING, "bernstein": BERNSTEIN}
_ONES = (1 << 32) - 1
# Arrays grow by a quarter and have room for an event to spare, so trees may take a part only. While
# a forest takes little of its memory they double, and have room for a few events to spare.
_PART, _LITTLE, _SPARE = 0.6, 0.25, 4

A = TypeVar("A", bound=np.generic)


class Paths(NamedTuple):
    """The nodes on every tree's path, roots left out.

    Attributes
    ----------
    indptr
        int64 (n + 1,).
    nodes
        int32: ids below `Forest.nodes`, by tree, from the top down.
    """

    indptr: OffsetArray
    nodes: IntArray


def name_key(name: str) -> int:
    """A hash of 32 bits of a feature's name, by which ties are broken and samples are drawn."""
    return int(mix(zlib.crc32(name.encode())))


class Forest:
    """Adaptive multi-label Hoeffding trees over the labels of one cluster.

    Each leaf of a tree samples features and looks, every 32 events, for the split with the
    largest information gain of the multivariate Bernoulli entropy. Inner nodes watch their losses
    with ADWIN and grow an alternate subtree when these have risen. The shape of the trees changes
    after every 32nd learned event only, so results do not depend on how a stream is cut.

    Parameters
    ----------
    trees
        Number of trees, 1 or more.
    share
        Smallest share of the features in a sample, in (0, 1]; trees have different ones.
    split_test
        ``evidence`` (a likelihood-ratio test), ``hoeffding`` or ``bernstein`` (bounds on the
        difference between the two best features).
    alternates
        Whether alternate subtrees are grown.
    seed
        Where the trees' random choices start.
    budget_bytes
        Memory to stay below. Leaves that promise least are put to rest where it is short.

    Raises
    ------
    UsageError
        A parameter is out of its range.

    References
    ----------
    Esteban, Cano, Zafra, Ventura: Multi-label Hoeffding adaptive tree, Knowledge-Based Systems
    2024 (arXiv 2410.20242). Domingos, Hulten: Mining high-speed data streams, KDD 2000.
    Bifet, Gavaldà: Adaptive learning from evolving data streams, IDA 2009. Gomes et al.: Adaptive
    random forests, Machine Learning 2017 (features are sampled by leaf).
    """

    def __init__(
        self,
        trees: int = 10,
        share: float = 0.2,
        split_test: SplitTest = "evidence",
        alternates: bool = True,
        seed: int = 0,
        budget_bytes: int = 1 << 26,
    ) -> None:
        if trees < 1:
            raise UsageError(f"trees: found {trees}, accepted: 1 or more")
        if not 0.0 < share <= 1.0:
            raise UsageError(f"share: found {share}, accepted: above 0, up to 1")
        if split_test not in SPLIT_TESTS:
            raise UsageError(f"split_test: found {split_test}, accepted: {', '.join(SPLIT_TESTS)}")
        if budget_bytes < 1:
            raise UsageError(f"budget_bytes: found {budget_bytes}, accepted: 1 or more")
        self._seed = seed & _ONES
        self._budget = budget_bytes
        self._options = Options(
            _CODES[split_test], int(alternates), float(share), _PART * budget_bytes / trees
        )
        self.state = empty_forest(trees)
        self.keys: OffsetArray = np.zeros(0, dtype=np.int64)
        self._x: FloatArray = np.zeros(0)

    @property
    def memory_bytes(self) -> int:
        """Bytes held by the arrays."""
        state = self.state
        parts = (*state.nodes, *state.slots, *state.watches, *state.free, state.trees)
        return nbytes((*parts, self.keys, self._x))

    @property
    def nodes(self) -> int:
        """Number of node ids that there is room for: ids on paths are below it."""
        return len(self.state.nodes.link)

    @property
    def options(self) -> Options:
        """How the trees split; the same object until the budget changes."""
        return self._options

    @property
    def scratch(self) -> FloatArray:
        """A value for each feature, zeros between two calls."""
        return self._x

    def ready(self, columns: int, labels: int) -> bool:
        """Whether an event can be predicted at once: there are trees, room, and nothing is due."""
        tops = self.state.free.tops
        return bool(
            self.planted
            and columns <= len(self._x)
            and labels < self.state.nodes.positive.shape[1]
            and tops[OF_PENDING] == 0
            and tops[PAUSED] == 0
        )

    def take_alternates(self) -> tuple[int, int]:
        """How many alternates were planted and how many took over since this was last asked."""
        tops = self.state.free.tops
        planted, switched = tops[PLANTED : SWITCHED + 1].tolist()
        if planted or switched:
            tops[PLANTED] = tops[SWITCHED] = 0
        return planted, switched

    def content_bytes(self, labels: int) -> int:
        """Bytes of what the trees use for so many labels, room to grow apart; see `tree_bytes`."""
        _, nodes, counts, moments, watches, *_ = self.state.trees.sum(axis=0).tolist()
        taken: int = nodes * (NODE_BYTES + 8 * labels) + watches * WATCH_BYTES
        taken += counts * (SLOT_BYTES + 4 * labels) + moments * (SLOT_BYTES + 12 * labels)
        return taken

    def set_budget(self, budget_bytes: int) -> None:
        """Change the memory to stay below; trees shrink to it at the next stride."""
        self._budget = budget_bytes
        limit = _PART * budget_bytes / len(self.state.trees)
        self._options = self._options._replace(limit=limit)

    def make_room(self, columns: int, labels: int, keys: OffsetArray | None = None) -> None:
        """Grow, geometrically, to `columns` features and `labels` labels.

        Parameters
        ----------
        columns, labels
            Numbers of features and of labels of the cluster.
        keys
            int64 (columns,): `name_key` of each feature; None: hashes of the columns' numbers, so
            that results depend on the order in which features were first seen.
        """
        old = len(self._x)
        if columns > old:
            room = max(columns, old + old // 2, 64)
            grown = np.zeros(room, dtype=np.int64)
            grown[:old] = self.keys
            self._x = np.zeros(room)
            self.keys = grown
            fill_keys(grown, old)
        if keys is not None:
            self.keys[: len(keys)] = keys
        width = self.state.nodes.positive.shape[1]
        if 1 + labels > width:
            self.state = wider(self.state, max(1 + labels, width + width // 2))

    def run(
        self, batch: Batch, members: IntArray, position_of: IntArray, out: Float32Array
    ) -> tuple[Paths, IntArray]:
        """Predict, then learn the labelled events.

        Parameters
        ----------
        batch
            n events, values as they came. `make_room` has been called for its features.
        members
            int32 (m,): label ids of the cluster, ascending.
        position_of
            int32 (labels,): 1 + the place in `members` of each label, less than 1 where it is not
            among them.
        out
            float32 (n, 1 + m), filled with logits; column 0 is what a label that has never been
            on gets, and so do labels that are not known yet.

        Returns
        -------
        paths
            Of every event, before learning it.
        gone
            int32: ids of nodes that ceased to be. From the next call on they may stand for other
            nodes, so what is kept about them has to be forgotten before.
        """
        n, trees = len(batch), len(self.state.trees)
        if self.state.trees[0, ROOT] < 0:
            self._plant(batch)
        nodes = np.empty(n * trees * MAX_DEPTH, dtype=np.int32)
        indptr = np.zeros(n + 1, dtype=np.int64)
        self.go_on(batch, members, position_of, out, indptr, nodes, None)
        return Paths(indptr, nodes[: indptr[-1]]), self.release()

    def go_on(
        self,
        batch: Batch,
        members: IntArray,
        position_of: IntArray,
        out: Float32Array,
        indptr: OffsetArray,
        nodes: IntArray,
        done: int | None,
    ) -> None:
        """See `run` and `forest_rows`, whose result `done` is, if it has been called: the rest."""
        n = len(batch)
        while done is None or done < n or self.state.free.tops[PAUSED] > 0:
            if done is not None and self.state.free.tops[PAUSED] > 0:
                self._grow(0, 0)
            elif done is not None:
                self._grow(*_kinds(batch, done))
            done = forest_rows(
                batch.indptr,
                batch.indices,
                batch.values,
                *batch.y,
                members,
                position_of,
                self.keys,
                self._x,
                self.state,
                self._options,
                LOGIT_CLIP,
                done or 0,
                out,
                indptr,
                nodes,
            )

    def derived(self, source: IntArray, priors: FloatArray) -> Forest:
        """A copy for another cluster's labels, after a change of the partition.

        What it gives up is not copied.

        Parameters
        ----------
        source
            int32 (m,): for each label of the new cluster its old position (1 or more, as in
            `position_of`), or 0 for one that comes from elsewhere.
        priors
            float64 (m,): how often the labels are on. A label from elsewhere starts as
            independent of every feature at this rate, so that it adds no gain to any split.
        """
        new = copy.copy(self)
        nodes, slots, watches, free, trees = _rearranged(self.state, source, priors)
        new.state = State(
            nodes._replace(
                link=nodes.link.copy(), number=nodes.number.copy(), seed=nodes.seed.copy()
            ),
            slots._replace(
                link=slots.link.copy(),
                shift=slots.shift.copy(),
                look=slots.look.copy(),
                table=slots.table.copy(),
            ),
            copy.deepcopy(watches),
            copy.deepcopy(free),
            trees.copy(),
        )
        new.keys, new._x = self.keys.copy(), self._x.copy()
        return new

    def _plant(self, batch: Batch) -> None:
        """Give each tree its first leaf: weight 2, a rate of one quarter for every label."""
        # The first events tell what is to come; then hardly anything is moved before the 500th.
        n = max(1, len(batch))
        plain = int(np.count_nonzero((batch.values == 1.0) | np.isnan(batch.values)))
        other = len(batch.values) - plain
        self._grow(-(-2 * plain // n), -(-2 * other // n))
        nodes, _, _, free, trees = self.state
        many = len(trees)
        top = int(free.tops[OF_NODES])
        free.tops[OF_NODES] = top - many
        roots = free.nodes[top - many : top][::-1]
        nodes.link[roots] = NONE
        nodes.link[roots, DEPTH] = nodes.link[roots, HELD] = 0
        nodes.link[roots, KIND] = LEAF
        nodes.link[roots, TREE] = np.arange(many)
        nodes.number[roots, WEIGHT] = 2.0
        nodes.number[roots, NEXT] = GRACE
        nodes.number[roots, SHARE] = 1.0
        nodes.positive[roots] = 0.5
        nodes.seed[roots] = _seeds(self._seed, many)
        trees[:, ROOT], trees[:, N_NODES] = roots, 1

    @property
    def planted(self) -> bool:
        """Whether there are trees."""
        return bool(self.state.trees[0, ROOT] >= 0)

    def release(self) -> IntArray:
        """Let the ids of nodes that are gone be given out from now on; return them."""
        free = self.state.free
        gone = free.pending[: free.tops[OF_PENDING]].copy()
        top = free.tops[OF_NODES]
        free.nodes[top : top + len(gone)] = gone[::-1]
        free.tops[OF_NODES] += len(gone)
        free.tops[OF_PENDING] = 0
        return gone

    def _grow(self, plain: int, other: int) -> None:
        """Make room for an event of so many ones (or missing values) and of other values."""
        nodes, slots, watches, free, trees = self.state
        tops = free.tops.tolist()
        leaves = len(trees) + sum(trees[:, N_ALTERNATES].tolist())
        pairs = leaves * (plain + other)
        width = nodes.positive.shape[1]
        asked = pairs * SLOT_BYTES + 4 * leaves * (plain + 3 * other) * width
        generous = self.memory_bytes + _SPARE * asked < _LITTLE * self._budget

        def size(array: npt.NDArray[np.generic], which: int, need: int) -> int:
            have = len(array)
            if tops[which] >= need:
                return have
            return have + (max(have, _SPARE * need) if generous else max(have // 4, need))

        room = size(nodes.link, OF_NODES, max(16, leaves))
        if room > len(nodes.link):
            stack = _stocked(free.nodes, free.tops, OF_NODES, len(nodes.link), room)
            # A leaf can be due twice in a stride: for a split, and because it found no memory.
            free = free._replace(
                nodes=stack, pending=_longer(free.pending, room), due=_longer(free.due, 2 * room)
            )
            nodes = Nodes(
                _longer(nodes.link, room),
                _longer(nodes.number, room),
                _longer(nodes.seed, room),
                _longer(nodes.positive, room),
                _longer(nodes.on, room),
            )
        room = size(slots.link, OF_SLOTS, pairs)
        if room > len(slots.link):
            stack = _stocked(free.slots, free.tops, OF_SLOTS, len(slots.link), room)
            free = free._replace(slots=stack)
            slots = slots._replace(
                link=_longer(slots.link, room),
                shift=_longer(slots.shift, room),
                look=_longer(slots.look, room),
            )
        room = size(slots.counts, OF_COUNTS, leaves * plain)
        if room > len(slots.counts):
            stack = _stocked(free.counts, free.tops, OF_COUNTS, len(slots.counts), room)
            free = free._replace(counts=stack)
            slots = slots._replace(counts=_longer(slots.counts, room))
        room = size(slots.moments, OF_MOMENTS, leaves * other)
        if room > len(slots.moments):
            stack = _stocked(free.moments, free.tops, OF_MOMENTS, len(slots.moments), room)
            free = free._replace(moments=stack)
            slots = slots._replace(moments=_longer(slots.moments, room))
        room = size(watches.counters, OF_WATCHES, max(8, leaves // 2))
        if room > len(watches.counters):
            stack = _stocked(free.watches, free.tops, OF_WATCHES, len(watches.counters), room)
            free = free._replace(watches=stack)
            watches = Watches(
                _longer(watches.buckets, room),
                _longer(watches.totals, room),
                _longer(watches.spreads, room),
                _longer(watches.counters, room),
                _longer(watches.sums, room),
                _longer(watches.latest, room),
            )
        if 2 * len(slots.link) > len(slots.table):  # it is kept half empty
            table = np.zeros(1 << (2 * len(slots.link) - 1).bit_length(), dtype=np.int32)
            if free.tops[OF_SLOTS] < len(slots.link):
                in_use = np.ones(len(slots.link), dtype=np.bool_)
                in_use[free.slots[: free.tops[OF_SLOTS]]] = False
                enter_all(table, slots.link, np.flatnonzero(in_use).astype(np.int32))
            slots = slots._replace(table=table)
        self.state = State(nodes, slots, watches, free, trees)


@functools.lru_cache(maxsize=16)
def _seeds(seed: int, trees: int) -> tuple[int, ...]:
    """What decides, tree by tree, which features its first leaf samples."""
    first = int(mix(seed))
    return tuple(int(mix(first + tree)) for tree in range(trees))


def _kinds(batch: Batch, event: int) -> tuple[int, int]:
    """How many of an event's values are ones or missing, and how many are others."""
    values = batch.values[batch.indptr[event] : batch.indptr[event + 1]]
    plain = int(np.count_nonzero((values == 1.0) | np.isnan(values)))
    return plain, len(values) - plain


def _longer(array: npt.NDArray[A], size: int) -> npt.NDArray[A]:
    """`array` with zeros behind it, `size` rows in all."""
    out = np.zeros((size, *array.shape[1:]), dtype=array.dtype)
    if len(array):
        out[: len(array)] = array
    return out


def _rearranged(state: State, source: IntArray, priors: FloatArray) -> State:
    """The state with new arrays where labels have columns; it shares the others."""
    nodes, slots = state.nodes, state.slots
    columns = np.concatenate([[0], source]).astype(np.int64)
    fresh = 1 + np.flatnonzero(source <= 0)
    columns[fresh] = 0
    rates = priors[source <= 0]

    def taken(
        old: npt.NDArray[np.float32], base: npt.NDArray[np.floating[Any]], sparing: bool
    ) -> npt.NDArray[np.float32]:
        rows, depth = len(old), base.shape[1]
        out = np.zeros((rows, depth * len(columns)), dtype=np.float32)
        places = (depth * columns[:, None] + np.arange(depth)).ravel()
        given = old.reshape(rows, old.shape[1] * depth)
        take_columns(given, places, fresh, base.astype(np.float64), rates, sparing, out)
        return out.reshape(rows, len(columns), *old.shape[2:])

    return state._replace(
        nodes=nodes._replace(
            positive=taken(nodes.positive, nodes.number[:, WEIGHT : WEIGHT + 1], False),
            on=taken(nodes.on, nodes.number[:, SEEN : SEEN + 1], False),
        ),
        slots=slots._replace(
            counts=taken(slots.counts, slots.counts[:, :1], True),
            moments=taken(slots.moments, slots.moments[:, 0], True),
        ),
    )


def _stocked(stack: IntArray, tops: OffsetArray, which: int, old: int, new: int) -> IntArray:
    """A stack of free places with the places from `old` to `new` on it, the lowest on top."""
    out = _longer(stack, new)
    top = int(tops[which])
    out[top : top + new - old] = np.arange(new - 1, old - 1, -1, dtype=np.int32)
    tops[which] += new - old
    return out
