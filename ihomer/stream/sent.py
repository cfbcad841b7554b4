"""Predictions that were sent, kept until their labels come, and then scored.

In: a learner's predictions, the labels of events that it predicted in this batch or long ago. Out:
predictions and truth as measures take them. It is here because a score is of what was sent when
the event came, not of what the learner would say by the time its labels are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ihomer.instances import Batch, BoolArray, FloatArray, IntArray
from ihomer.learners.base import Predictions, SparsePredictions
from ihomer.stream.label_history import LabelHistory
from ihomer.vocabulary import Change

KEPT_BYTES = 640  # of a kept prediction, beside its labels
LABEL_BYTES = 13  # of a label in it


class Sent(NamedTuple):
    """A prediction of one event.

    Attributes
    ----------
    known
        Ids below it had labels that had been on by then.
    changes
        Number of changes of the vocabulary by then.
    dense
        Whether every label was looked at.
    ids, scores, on
        int32, float64, bool (m,): the labels with a score.
    """

    known: int
    changes: int
    dense: bool
    ids: IntArray
    scores: FloatArray
    on: BoolArray

    @property
    def n_bytes(self) -> int:
        """What keeping it takes."""
        return KEPT_BYTES + LABEL_BYTES * len(self.ids)

    def moved(self, moves: Mapping[int, int]) -> Sent:
        """The same by the ids that its labels have now; those that are gone are left out."""
        ids = [moves.get(label, label) for label in self.ids.tolist()]
        place = np.array(ids, dtype=np.int32)
        here = place >= 0
        return self._replace(ids=place[here], scores=self.scores[here], on=self.on[here])


class Due(NamedTuple):
    """A learned event to be scored.

    Attributes
    ----------
    row
        Where in the batch its labels are learned.
    predicted
        Where in the batch it was predicted; -1: in an earlier one.
    number
        Of the event among those that wait; -1: its labels came with it.
    """

    row: int
    predicted: int
    number: int


class Truth(NamedTuple):
    """What the measures need to know of the due events of a batch, whoever predicted them.

    Attributes
    ----------
    due
        m events in the order in which they are learned.
    batch
        Their labels as a batch without features.
    before
        int64 (n,): of each event of the whole batch, the number of changes when it was predicted.
    moves
        Of each due event, where ids have gone since it was predicted.
    """

    due: Sequence[Due]
    batch: Batch
    before: npt.NDArray[np.int64]
    moves: Sequence[Mapping[int, int]]


def follow(batch: Batch, due: Sequence[Due], since: Sequence[int], history: LabelHistory) -> Truth:
    """Bring `history` up to date and find what has happened to the ids of due events.

    Parameters
    ----------
    batch
        As learned.
    due
        In order of their rows.
    since
        Of each due event that was predicted in an earlier batch, the number of changes by then.
    """
    before = np.full(len(batch), history.latest, dtype=np.int64)
    for change in batch.changes:
        before[change.at :] = change.number
    moves: list[Mapping[int, int]] = []
    changes = list(reversed(batch.changes))
    for each, number in zip(due, since, strict=True):
        # A label that is born in an event is its own already where that is scored.
        while changes and changes[-1].at - changes[-1].birth <= each.row:
            history.apply(changes.pop())
        moves.append(history.moves(int(before[each.predicted]) if each.predicted >= 0 else number))
    while changes:
        history.apply(changes.pop())
    return Truth(due, _truth(batch, [each.row for each in due]), before, moves)


def _truth(batch: Batch, rows: Sequence[int]) -> Batch:
    chosen = np.zeros(len(batch), dtype=np.bool_)
    chosen[list(rows)] = True
    # How many of them come before an event, and so before a change.
    place = np.concatenate([[0], np.cumsum(chosen)])
    moved: list[Change] = []
    for change in batch.changes:
        # The birth is in the event before, which is a due one: only labels that came are learned.
        at = place[change.at - change.birth] + change.birth
        moved.append(change._replace(at=int(at)))
    n = len(rows)
    featureless = Batch(
        np.zeros(len(batch) + 1, dtype=np.int64),
        np.zeros(0, dtype=np.int32),
        np.zeros(0),
        batch.y_indptr,
        batch.y_indices,
        batch.labelled,
        batch.known,
    ).where(chosen)
    known = np.append(featureless.known[:n], batch.known[-1])
    return Batch(
        featureless.indptr,
        featureless.indices,
        featureless.values,
        featureless.y_indptr,
        featureless.y_indices,
        featureless.labelled,
        known,
        tuple(moved),
    )


class SentPredictions:
    """What one learner has sent of events that wait."""

    def __init__(self) -> None:
        self._kept: dict[int, Sent] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def changes(self, number: int) -> int:
        """How many changes there had been when event `number` was predicted."""
        return self._kept[number].changes

    def oldest_changes(self, now: int) -> int:
        """The same of the oldest event that is kept; `now`: of none."""
        return next((sent.changes for sent in self._kept.values()), now)

    def keep(self, number: int, sent: Sent) -> None:
        """Event `number` waits."""
        self._kept[number] = sent

    def drop(self, number: int) -> None:
        """Nobody will ask for it any more."""
        self._kept.pop(number, None)

    def score(
        self, truth: Truth, predictions: Predictions | SparsePredictions, known: IntArray
    ) -> Predictions | SparsePredictions:
        """The predictions that were sent of the due events, which are kept no longer.

        Parameters
        ----------
        truth
            Of `follow`.
        predictions
            Of the whole batch.
        known
            The whole batch's.
        """
        found: list[Sent] = []
        for each, moves in zip(truth.due, truth.moves, strict=True):
            if each.predicted >= 0:
                row = each.predicted
                sent = sent_of(predictions, row, int(known[row]), int(truth.before[row]))
            else:
                sent = self._kept.pop(each.number)
            found.append(sent.moved(moves) if moves else sent)
        if all(sent.dense for sent in found):
            return _dense(found, truth.batch.n_labels)
        return _sparse(found, truth)

    def state(self) -> dict[str, Any]:
        """Everything that `restored` takes, as arrays."""
        kept = self._kept.values()
        empty = np.zeros(0)
        return {
            "numbers": np.array(list(self._kept), dtype=np.int64),
            "heads": np.array(
                [(s.known, s.changes, s.dense, len(s.ids)) for s in kept], dtype=np.int64
            ).reshape(-1, 4),
            "ids": np.concatenate([empty, *(s.ids for s in kept)]).astype(np.int32),
            "scores": np.concatenate([empty, *(s.scores for s in kept)]),
            "on": np.concatenate([empty, *(s.on for s in kept)]).astype(np.bool_),
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> SentPredictions:
        """What there was by a `state`."""
        store, start = cls(), 0
        for number, head in zip(state["numbers"].tolist(), state["heads"].tolist(), strict=True):
            known, changes, dense, size = head
            part = slice(start, start + size)
            start += size
            store.keep(
                number,
                Sent(
                    known,
                    changes,
                    bool(dense),
                    state["ids"][part].copy(),
                    state["scores"][part].copy(),
                    state["on"][part].copy(),
                ),
            )
        return store


def sent_of(
    predictions: Predictions | SparsePredictions, row: int, known: int, changes: int
) -> Sent:
    """The prediction of one event, in arrays of its own."""
    if isinstance(predictions, SparsePredictions):
        part = slice(predictions.indptr[row], predictions.indptr[row + 1])
        ids, scores = predictions.labels[part].copy(), predictions.scores[part].copy()
        return Sent(known, changes, False, ids, scores, predictions.on[part].copy())
    scores, on = predictions.scores[row, :known].copy(), predictions.on[row, :known].copy()
    if not np.isnan(scores).any():
        return Sent(known, changes, True, _first_ids(known), scores, on)
    ids = np.flatnonzero(~np.isnan(scores)).astype(np.int32)
    return Sent(known, changes, True, ids, scores[ids], on[ids])


@lru_cache(maxsize=16)
def _first_ids(labels: int) -> IntArray:
    """The ids below a number; they are the same array in all predictions."""
    ids = np.arange(labels, dtype=np.int32)
    ids.flags.writeable = False
    return ids


def _dense(found: Iterable[Sent], labels: int) -> Predictions:
    rows = list(found)
    scores = np.full((len(rows), labels), np.nan)
    on = np.zeros((len(rows), labels), dtype=np.bool_)
    for row, sent in enumerate(rows):
        # In words that numpy has a short way for, where every label has a score.
        ids = slice(sent.known) if sent.ids is _first_ids(sent.known) else sent.ids
        scores[row, ids] = sent.scores
        on[row, ids] = sent.on
    return Predictions(on, scores, np.zeros(len(rows), dtype=np.int64))


def _sparse(found: Sequence[Sent], truth: Truth) -> SparsePredictions:
    batch = truth.batch
    ids, scores, on, sizes = [], [], [], []
    for row, (sent, moves) in enumerate(zip(found, truth.moves, strict=True)):
        true = batch.y_indices[batch.y_indptr[row] : batch.y_indptr[row + 1]]
        # A true label that was not known by then could not be a candidate: it has no score. Of
        # others that are none it counts that they were left out.
        late = [
            label
            for label in true.tolist()
            if (label >= sent.known or label in moves) and label not in moves.values()
        ]
        unknown = np.setdiff1d(np.array(late, dtype=np.int32), sent.ids)
        ids += [sent.ids, unknown]
        scores += [sent.scores, np.full(len(unknown), np.nan)]
        on += [sent.on, np.zeros(len(unknown), dtype=np.bool_)]
        sizes.append(len(sent.ids) + len(unknown))
    indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    events = np.zeros(len(found), dtype=np.int64)
    return SparsePredictions(
        batch.n_labels,
        indptr,
        np.concatenate(ids).astype(np.int32),
        np.concatenate(scores),
        np.concatenate(on),
        events,
    )
