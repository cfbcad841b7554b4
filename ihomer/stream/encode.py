"""Predictions to messages: one JSON object per event, with its origin in the headers.

In: the records and events of a batch and the learner's `Predictions` over label ids. Out: a
`Message` per event, in order. It is here so that the daemon and a replay write the same bytes.

A prediction reads (``schemas/prediction.schema.json``)::

    {"id": 17, "labels": ["news", "sport"], "scores": [["sport", 0.93], ["news", 0.71]],
     "model": {"version": "0.1.0", "events": 5120}, "ts": "2024-05-01T12:00:00Z"}

Nothing in it comes from a clock: ``ts`` is the event's own and the message carries the record's
timestamp, so that the same events give the same bytes again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from ihomer.connectors.base import Message, Record
from ihomer.errors import UsageError
from ihomer.instances import BoolArray, Event, FloatArray, IntArray
from ihomer.jit import kernel
from ihomer.learners.base import Predictions

TOP_K = 10


def encode_predictions(
    records: Sequence[Record],
    events: Sequence[Event],
    predictions: Predictions,
    names: Sequence[str],
    ranks: IntArray,
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
        `on` and `scores` of shape (n, L).
    names
        Label names by id, at least L (`LabelVocabulary.names`).
    ranks
        int32, at least L: place of each id's name in sorted order (`LabelVocabulary.ranks`).
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
    n_labels = predictions.on.shape[1]
    ranks = np.ascontiguousarray(ranks[:n_labels], dtype=np.int32)
    top_ids, top_scores, counts = _top(
        np.ascontiguousarray(predictions.scores, dtype=np.float64), ranks, min(top_k, n_labels)
    )
    on_ids, on_ends = _sorted_by_name(predictions.on, ranks)
    messages: list[Message] = []
    start = 0
    for record, event, ids, scores, count, end, learned in zip(
        records,
        events,
        top_ids.tolist(),
        top_scores.tolist(),
        counts.tolist(),
        on_ends,
        predictions.events.tolist(),
        strict=True,
    ):
        body: dict[str, Any] = {
            "id": event.id,
            "labels": [names[i] for i in on_ids[start:end]],
            "scores": [(names[ids[j]], scores[j]) for j in range(count)],
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
        start = end
    return messages


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
