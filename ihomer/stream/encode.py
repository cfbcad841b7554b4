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
from typing import Any, TypeAlias

import numpy as np
import orjson

from ihomer.connectors.base import Message, Record
from ihomer.errors import UsageError
from ihomer.instances import BoolArray, Event, FloatArray, IntArray
from ihomer.jit import kernel
from ihomer.learners.base import Predictions, SparsePredictions

TOP_K = 10

# Names of the labels that are on, and names with scores.
_Found: TypeAlias = tuple[list[str], list[tuple[str, float]]]


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
        found = _in_dense(predictions, name, ranks(), top_k)
    messages: list[Message] = []
    for record, event, (labels, scores), learned in zip(
        records, events, found, predictions.events.tolist(), strict=True
    ):
        body: dict[str, Any] = {
            "id": event.id,
            "labels": labels,
            "scores": scores,
            "model": {"version": version, "events": learned},
        }
        if event.ts is not None:
            body["ts"] = event.ts
        headers = (
            ("ihomer.topic", record.source.encode()),
            ("ihomer.partition", b"%d" % record.partition),
            ("ihomer.offset", b"%d" % record.offset),
        )
        messages.append(
            Message(orjson.dumps(body), record.key, headers, record.timestamp, record.partition)
        )
    return messages


def _in_sparse(
    predictions: SparsePredictions, name: Callable[[int], str], top_k: int
) -> list[_Found]:
    """What is written of each event; candidates come in the order in which they are written."""
    found: list[_Found] = []
    for start, stop in pairwise(predictions.indptr.tolist()):
        scores = predictions.scores[start:stop]
        ids = predictions.labels[start:stop]
        on = ids[predictions.on[start:stop]]
        best = np.flatnonzero(np.isfinite(scores))[:top_k]
        pairs = zip(ids[best].tolist(), scores[best].tolist(), strict=True)
        found.append((sorted(map(name, on.tolist())), [(name(i), score) for i, score in pairs]))
    return found


def _in_dense(
    predictions: Predictions, name: Callable[[int], str], ranks: IntArray, top_k: int
) -> list[_Found]:
    """What is written of each event."""
    found: list[_Found] = []
    n_labels = predictions.on.shape[1]
    ranks = np.ascontiguousarray(ranks[:n_labels], dtype=np.int32)
    top_ids, top_scores, counts = _top(
        np.ascontiguousarray(predictions.scores, dtype=np.float64), ranks, min(top_k, n_labels)
    )
    on_ids, on_ends = _sorted_by_name(predictions.on, ranks)
    start = 0
    for ids, scores, count, end in zip(
        top_ids.tolist(), top_scores.tolist(), counts.tolist(), on_ends, strict=True
    ):
        labels = list(map(name, on_ids[start:end]))
        found.append((labels, [(name(ids[j]), scores[j]) for j in range(count)]))
        start = end
    return found


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
