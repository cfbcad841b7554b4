"""Predictions to messages: one JSON object per event, with its origin in the headers.

In: the records and events of a batch and the learner's predictions over label ids. Out: a
`Message` per event, in order. It is here so that the daemon and a replay write the same bytes.

A prediction reads (``schemas/prediction.schema.json``)::

    {"id": 17, "labels": ["news", "sport"], "scores": [["sport", 0.93], ["news", 0.71]],
     "model": {"version": "0.1.0", "events": 5120}, "ts": "2024-05-01T12:00:00Z"}

Nothing in it comes from a clock: ``ts`` is the event's own and the message carries the record's
timestamp, so that the same events give the same bytes again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from operator import add
from typing import NamedTuple

import numpy as np
import orjson

from ihomer.connectors.base import Headers, Message, Record
from ihomer.errors import UsageError
from ihomer.instances import BoolArray, Event, FloatArray, IntArray
from ihomer.jit import kernel
from ihomer.learners.base import Predictions, SparsePredictions

TOP_K = 10


class _Found(NamedTuple):
    """What is written of the events of a batch, in its order and theirs.

    Attributes
    ----------
    on, on_ends
        Ids of the labels that are on, event after event, and where each event's end.
    ids, scores, ends
        Ids of the labels with a score and the scores (finite), and where each event's end.
    """

    on: list[int]
    on_ends: list[int]
    ids: list[int]
    scores: FloatArray
    ends: list[int]


class _Pieces(dict[int, bytes]):
    """A piece of JSON for each label that is asked for, made once.

    Parameters
    ----------
    name
        Gives the name of an id.
    before, after
        What stands on both sides of the name.
    """

    def __init__(self, name: Callable[[int], str], before: bytes = b"", after: bytes = b"") -> None:
        super().__init__()
        self._name, self._before, self._after = name, before, after

    def __missing__(self, index: int) -> bytes:
        piece = self[index] = self._before + orjson.dumps(self._name(index)) + self._after
        return piece


def encode_predictions(
    records: Sequence[Record],
    events: Sequence[Event],
    predictions: Predictions | SparsePredictions,
    name: Callable[[int], str],
    ranks: Callable[[], IntArray],
    version: str,
    top_k: int = TOP_K,
) -> list[Message]:
    """One message for each event of a batch.

    An empty batch compiles the kernel and returns nothing.

    Parameters
    ----------
    records, events
        Of the batch, in its order, n each. A record gives the key, the timestamp and the origin.
    predictions
        Of n events. Of sparse ones nothing but candidates is touched.
    name
        Gives the name of an id (`LabelVocabulary.name`).
    ranks
        Gives the place of each id's name in sorted order, int32, one for each label or more
        (`LabelVocabulary.ranks`); dense predictions ask for it.
    version
        Of the model, written as it is.
    top_k
        Largest number of scores in a prediction; 0 or more.

    Returns
    -------
    list of Message
        `labels` in the order of their names. `scores` as pairs, highest first and ties by name;
        a label whose score is NaN or infinite is left out, and others keep all their digits.
        Headers ``ihomer.topic``, ``ihomer.partition`` and ``ihomer.offset`` are text.
    """
    if top_k < 0:
        raise UsageError(f"top_k: found {top_k}, accepted: 0 or more")
    if isinstance(predictions, SparsePredictions):
        found = _in_sparse(predictions, name, top_k)
    else:
        found = _in_dense(predictions, ranks(), top_k)
    # The bytes that `orjson.dumps` of one object would give, put together from pieces: names are
    # the same in each event, and all numbers of a batch are written in one call.
    names = list(map(_Pieces(name).__getitem__, found.on))
    pairs = list(map(add, map(_Pieces(name, b"[", b",").__getitem__, found.ids), _numbers(found)))
    model = b'],"model":{"version":%b,"events":' % orjson.dumps(version)
    messages: list[Message] = []
    place: tuple[str, int] | None = None
    headers: Headers = ()
    on_start = start = 0
    for record, event, on_end, end, learned in zip(
        records, events, found.on_ends, found.ends, predictions.events.tolist(), strict=True
    ):
        body = b'{"id":%b,"labels":[%b],"scores":[%b%b%d}' % (
            orjson.dumps(event.id),
            b",".join(names[on_start:on_end]),
            b"],".join(pairs[start:end]) + b"]" if end > start else b"",
            model,
            learned,
        )
        on_start, start = on_end, end
        body += b"}" if event.ts is None else b',"ts":%b}' % orjson.dumps(event.ts)
        if (record.source, record.partition) != place:
            place = record.source, record.partition
            headers = (
                ("ihomer.topic", record.source.encode()),
                ("ihomer.partition", b"%d" % record.partition),
            )
        messages.append(
            Message(
                body,
                record.key,
                (*headers, ("ihomer.offset", b"%d" % record.offset)),
                record.timestamp,
                record.partition,
            )
        )
    return messages


def _numbers(found: _Found) -> list[bytes]:
    """The scores as JSON has them."""
    if not len(found.scores):
        return []
    return orjson.dumps(found.scores, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")


def _in_sparse(predictions: SparsePredictions, name: Callable[[int], str], top_k: int) -> _Found:
    """What is written; candidates come in the order in which they are written."""
    on: list[int] = []
    on_ends: list[int] = []
    best: list[int] = []
    ends: list[int] = []
    labels = predictions.labels
    for start, stop in pairwise(predictions.indptr.tolist()):
        on += sorted(labels[start:stop][predictions.on[start:stop]].tolist(), key=name)
        on_ends.append(len(on))
        finite = np.flatnonzero(np.isfinite(predictions.scores[start:stop]))[:top_k]
        best += (start + finite).tolist()
        ends.append(len(best))
    chosen = np.array(best, dtype=np.intp)
    scores = np.ascontiguousarray(predictions.scores[chosen], dtype=np.float64)
    return _Found(on, on_ends, labels[chosen].tolist(), scores, ends)


def _in_dense(predictions: Predictions, ranks: IntArray, top_k: int) -> _Found:
    """What is written."""
    n_labels = predictions.on.shape[1]
    ranks = np.ascontiguousarray(ranks[:n_labels], dtype=np.int32)
    top_ids, top_scores, counts = _top(
        np.ascontiguousarray(predictions.scores, dtype=np.float64), ranks, min(top_k, n_labels)
    )
    on, on_ends = _sorted_by_name(predictions.on, ranks)
    there = np.arange(top_ids.shape[1]) < counts[:, np.newaxis]
    return _Found(
        on, on_ends, top_ids[there].tolist(), top_scores[there], np.cumsum(counts).tolist()
    )


def _sorted_by_name(on: BoolArray, ranks: IntArray) -> tuple[list[int], list[int]]:
    """Ids that are on, event by event and by name within, and where each event's end."""
    rows, ids = np.nonzero(on)
    order = np.lexsort((ranks[ids], rows))
    ends = np.cumsum(np.count_nonzero(on, axis=1))
    return ids[order].tolist(), ends.tolist()


@kernel
def _top(scores: FloatArray, ranks: IntArray, k: int) -> tuple[IntArray, FloatArray, IntArray]:
    """Ids and scores (n, k) of each row's k highest finite scores, ties by rank; their counts (n,).

    The best so far are kept sorted: a row costs L comparisons, and up to k moves for each score
    that gets among them, which after the first k becomes rare.
    """
    n, n_labels = scores.shape
    top = np.zeros((n, k), dtype=np.int32)
    best = np.zeros((n, k), dtype=np.float64)
    counts = np.zeros(n, dtype=np.int32)
    for t in range(n):
        count = 0
        for label in range(n_labels):
            score = scores[t, label]
            if k == 0 or not np.isfinite(score):
                continue
            rank = ranks[label]
            if count == k:
                last = best[t, k - 1]
                if score < last or (score == last and rank > ranks[top[t, k - 1]]):
                    continue
                at = k - 1
            else:
                at = count
                count += 1
            while at > 0 and (
                score > best[t, at - 1]
                or (score == best[t, at - 1] and rank < ranks[top[t, at - 1]])
            ):
                best[t, at] = best[t, at - 1]
                top[t, at] = top[t, at - 1]
                at -= 1
            best[t, at] = score
            top[t, at] = label
        counts[t] = count
    return top, best, counts
