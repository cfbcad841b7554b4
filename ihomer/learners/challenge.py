"""Challengers of the present model, and earlier states that come back: recovery from drift.

In: each learned segment with the present model's losses. Out: at strides, another model where one
is measurably better. Nothing is switched because a detector says so: a warning, which may be
false, only makes others try, on the latest events, which are kept. What decides is the paired
difference of losses on the same events, each of them predicted before it was learned.

A challenger is a fresh model, or a copy of an earlier state that was in charge until it was
beaten: that is how a concept that recurs is found again. What has been beaten goes on as a
challenger for a while, so that a change of hands made too soon is undone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ihomer.drift.events import Kind, LearnerEvent, Level
from ihomer.drift.rise import BOUND, Rise, began
from ihomer.instances import Batch, FloatArray, IntArray
from ihomer.learners.kernels.losses import cluster_losses
from ihomer.learners.kernels.scaling import STRIDE
from ihomer.learners.model import Model
from ihomer.learners.paired import compare

RING_STRIDES = 16  # that are kept: about 2,000 events
RING_ENTRIES = 1 << 19  # features and labels in them, at most
RING_SHARE = 1 / 32  # of the memory, for them
ENTRY_BYTES = 12  # an index and a value
STORED = 4  # earlier states
PROVEN = 8  # strides that a model has to have been in charge for to be stored
FEW = 4  # strides of a challenger before it may be dropped
LIFE, BEATEN_LIFE = 16, 32  # strides of a challenger, and of one that has just been beaten
BEATEN_RESIGNS = 2.0  # bounds that the latter has to be worse by to be dropped sooner
MOST_EVENTS, MOST_SHARE = 4096, 0.25  # that challengers may run, of all events learned beside them
ROOM = 2.0  # what arrays may take of memory, of their contents


@dataclass
class Stride:
    """A stride's segments as they came, and the losses of its labelled events."""

    segments: list[Batch] = field(default_factory=list)
    losses: list[FloatArray] = field(default_factory=list)

    @property
    def entries(self) -> int:
        """Features and labels in it."""
        return sum(len(batch.indices) + len(batch.y_indices) for batch in self.segments)

    @property
    def mean(self) -> float:
        """Mean loss."""
        return float(np.concatenate(self.losses).mean())


def event_losses(scores: FloatArray, reserve: FloatArray, batch: Batch) -> FloatArray:
    """Loss of each labelled event, float64, in nats: that of `cluster_losses` over all labels.

    A sum, because it hardly changes when labels are born that are seldom on.

    Parameters
    ----------
    scores, reserve
        See `Engine.run`.
    batch
        The same events.
    """
    loss = np.zeros((len(batch), 1))
    counted = np.zeros(loss.shape, dtype=np.int64)
    cluster_losses(
        scores,
        reserve,
        batch.y_indptr,
        batch.y_indices,
        batch.labelled,
        batch.known,
        np.zeros(batch.n_labels, dtype=np.int32),
        loss,
        counted,
    )
    found: FloatArray = loss[batch.labelled, 0]
    return found


class Challenger:
    """A model beside the present one, and how it compares.

    Parameters
    ----------
    model
        What runs.
    before
        The present model as it was when this began.
    source
        The stored state that `model` is a copy of.
    beaten
        Whether `model` was in charge just before.
    """

    def __init__(
        self, model: Model, before: Model, source: Model | None = None, *, beaten: bool = False
    ) -> None:
        self.model = model
        self.before = before
        self.source = source
        self.beaten = beaten
        self.strides = 0  # since it began
        self.gains: list[FloatArray] = []  # one array a stride, those replayed first
        self._open: list[FloatArray] = []

    def run(
        self, batch: Batch, columns: int, losses: FloatArray, *, replayed: bool = False
    ) -> None:
        """Predict, then learn a segment whose `losses` are the present model's."""
        n, labels, shown = len(batch), batch.n_labels, batch
        if replayed:
            # Labels born since then were off; segments know more or fewer as the stream is cut.
            labels = len(self.model.cluster_of)
            shown = replace(batch, known=np.full(n + 1, labels, dtype=np.int32))
        scores, on = np.full((n, labels), np.nan), np.zeros((n, labels), dtype=np.bool_)
        reserve = np.empty(n)
        self.model.run(shown, columns, len(losses), scores, on, reserve)
        self._open.append(losses - event_losses(scores, reserve, batch))

    def adapt(self) -> None:
        """End a stride."""
        self.model.adapt()
        self.gains.append(np.concatenate(self._open))
        self._open = []

    def better(self) -> tuple[float, float] | None:
        """Gain and bound over those last strides where it has been better most clearly, or None."""
        found = None
        for last in range(1, len(self.gains) + 1):
            gain, bound = compare(self.gains[-last:])
            if gain > bound and (found is None or gain * found[1] > found[0] * bound):
                found = gain, bound
        return found


class Challenges:
    """See the module.

    Challengers take time and memory only after a warning. Time: no new one begins when challengers
    have run more than `MOST_EVENTS` and `MOST_SHARE` of all events. Memory: each model is taken to
    need `ROOM` times its contents; stored states go, and none begins, where all of them would not
    stay below the bound.

    Parameters
    ----------
    fresh
        Makes a model that has learned nothing, of the present clusters.
    max_bytes
        For the present model and all others.

    Attributes
    ----------
    challenger
        The one that runs now.
    stored
        Earlier states, the latest last.
    n_run
        Events that challengers have run, replayed ones included.
    """

    def __init__(self, fresh: Callable[[], Model], max_bytes: float) -> None:
        self.challenger: Challenger | None = None
        self.stored: list[Model] = []
        self.n_run = 0
        self._fresh = fresh
        self._max_bytes = max_bytes
        self._most_entries = min(RING_ENTRIES, int(RING_SHARE * max_bytes / ENTRY_BYTES))
        self._ring: deque[Stride] = deque()
        self._open = Stride()
        self._rise = Rise()
        self._in_charge = 0  # strides of the present model
        self._room = 0  # columns that there is room for
        self._columns = 0  # columns seen

    @property
    def models(self) -> list[Model]:
        """All models beside the present one, each once."""
        found = self.challenger
        running = [] if found is None else [found.model, found.before, found.source]
        models = [model for model in (*self.stored, *running) if model is not None]
        return list({id(model): model for model in models}.values())

    @property
    def memory_bytes(self) -> int:
        """Bytes of all arrays."""
        found = self.challenger
        models = list(self.stored)
        if found is not None:
            # What has been beaten stands for its own state before.
            models += [found.model] if found.beaten else [found.model, found.before]
        ring = ENTRY_BYTES * sum(stride.entries for stride in (*self._ring, self._open))
        return ring + sum(model.memory_bytes for model in models)

    def keep(self, batch: Batch, columns: int) -> None:
        """Keep the labelled events of a segment; `tell` has to follow before the stride ends.

        Parameters
        ----------
        batch
            Of which some events are labelled.
        columns
            Feature columns in use, the segment's included.
        """
        self._room = max(self._room, columns)
        # Where others lie among them depends on how the stream is cut, and teaches nothing.
        kept = batch.where(batch.labelled)
        self._columns = max(self._columns, kept.columns)
        self._open.segments.append(kept)

    def tell(self, losses: FloatArray) -> None:
        """Take the present model's `event_losses` of the next segment that was kept."""
        self._open.losses.append(losses)

    def challenge(self, batch: Batch, columns: int, losses: FloatArray) -> None:
        """Show a segment to the challenger, if there is one; see `keep` and `tell`."""
        if self.challenger is not None:
            self.challenger.run(batch, columns, losses)
            self.n_run += len(losses)

    def adapt(self, model: Model, learned: int, *, alarm: bool) -> tuple[Model, list[LearnerEvent]]:
        """Decide at the end of a stride who is in charge from now on.

        Parameters
        ----------
        model
            The present model.
        learned
            Events so far.
        alarm
            Whether a detector of the engine has seen the overall loss rise.

        Returns
        -------
        model, events
            `model` or the one that takes over, and what has happened.
        """
        stride, self._open = self._open, Stride()
        self._ring.append(stride)
        while len(self._ring) > RING_STRIDES or (
            sum(kept.entries for kept in self._ring) > self._most_entries
        ):
            self._ring.popleft()
        self._in_charge += 1
        if self.challenger is not None:
            self.challenger.adapt()
            self.challenger.strides += 1
        self._make_room(model)
        events: list[LearnerEvent] = []
        warned = self._rise.update(np.concatenate(stride.losses)) or alarm
        if warned and self._may_begin(model, learned):
            self.challenger = self._best(model)
            recalled = self.challenger.source is not None
            action = "a stored state is tried" if recalled else "a challenger begins"
            events.append(_told(learned, Kind.RESET, action, self._rise.sum, BOUND))
            self._rise.restart()
        found = self.challenger
        if found is None:
            return model, events
        better = found.better()
        if better is not None:
            kind, action = Kind.SWITCH, "the challenger takes over"
            if found.source is not None:
                kind, action = Kind.RECALL, "a stored state is back"
            events.append(_told(learned, kind, action, *better))
            self._change_hands(model, found)
            return found.model, events
        gain, bound = compare(found.gains[-FEW:])
        life, resigns = (BEATEN_LIFE, BEATEN_RESIGNS) if found.beaten else (LIFE, 1.0)
        if found.strides >= life or (found.strides >= FEW and -gain > resigns * bound):
            self.challenger = None
            if not found.beaten:
                self._rise.restart()
            events.append(_told(learned, Kind.RESET, "the challenger is dropped", gain, bound))
        return model, events

    def regroup(self, groups: Sequence[IntArray]) -> None:
        """See `Model.regroup`; stored states follow when they are tried."""
        if self.challenger is not None:
            self.challenger.model.regroup(groups)

    def _fits(self, model: Model, others: int) -> bool:
        """Whether there is memory for so many models beside the present one."""
        entries = sum(stride.entries for stride in self._ring) / max(1, STRIDE * len(self._ring))
        need = ROOM * model.content_bytes(self._columns, entries)
        ring = ENTRY_BYTES * self._most_entries
        return (1 + others) * need + ring <= self._max_bytes

    def _make_room(self, model: Model) -> None:
        """Let go what there is no memory for any more."""
        if self.challenger is None and not self.stored:
            return
        running = 0 if self.challenger is None else 2
        while self.stored and not self._fits(model, running + len(self.stored)):
            del self.stored[0]
        if self.challenger is not None and not self._fits(model, running):
            self.challenger = None

    def _may_begin(self, model: Model, learned: int) -> bool:
        if not self._ring or (self.challenger is not None and not self.challenger.beaten):
            return False
        # Beside the present model its copy, the best one so far, the next one, and those stored.
        enough = self._fits(model, 3 + len(self.stored))
        return enough and self.n_run <= MOST_EVENTS + MOST_SHARE * learned

    def _best(self, model: Model) -> Challenger:
        """The best over the events since the loss began to rise: a fresh one or a stored state."""
        recent = list(self._ring)[-self._in_charge :]
        strides = began(np.array([stride.mean for stride in recent]), self._rise.reference)
        before = model.twin()
        found: list[tuple[float, Challenger]] = []
        for source in (None, *self.stored):
            own = self._fresh() if source is None else source.twin().like(model)
            one = Challenger(own, before, source)
            for stride in recent[-strides:]:
                for batch, losses in zip(stride.segments, stride.losses, strict=True):
                    one.run(batch, self._room, losses, replayed=True)
                    self.n_run += len(losses)
                one.adapt()
            gain, _ = compare(one.gains)
            if not found or gain > found[0][0]:
                found = [(gain, one)]  # the others go: one model at a time beside the best
        return found[0][1]

    def _change_hands(self, model: Model, winner: Challenger) -> None:
        """Store the model as it was before the change, and let it go on as a challenger."""
        self.stored = [state for state in self.stored if state is not winner.source]
        if self._in_charge >= PROVEN and not winner.beaten:
            self.stored = [*self.stored, winner.before][-STORED:]
        self.challenger = None if winner.beaten else Challenger(model, model, beaten=True)
        self._in_charge = 0
        self._rise.restart()


def _told(learned: int, kind: Kind, action: str, statistic: float, bound: float) -> LearnerEvent:
    return LearnerEvent(learned, kind, Level.MODEL, action, statistic=statistic, bound=bound)
