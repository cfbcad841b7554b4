from __future__ import annotations

import math

import jsonschema_rs
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.connectors.base import Message, Record
from ihomer.errors import UsageError
from ihomer.instances import Event
from ihomer.learners.base import Predictions, SparsePredictions
from ihomer.stream.encode import encode_predictions
from ihomer.stream.schemas import load_schema
from ihomer.vocabulary import LabelVocabulary
from tests import naive

VALID = jsonschema_rs.validator_for(load_schema("prediction"))


def vocabulary(names: list[str]) -> LabelVocabulary:
    labels = LabelVocabulary()
    for name in names:
        labels.ids([name])
    return labels


def encode(
    on: list[list[bool]], scores: list[list[float]], names: list[str], top_k: int
) -> list[Message]:
    n = len(on)
    labels = vocabulary(names)
    shape = (n, len(on[0]) if on else len(names))
    return encode_predictions(
        [Record(b"", "topic", 0, t) for t in range(n)],
        [Event(t, {}) for t in range(n)],
        Predictions(
            np.array(on, dtype=np.bool_).reshape(shape),
            np.array(scores, dtype=np.float64).reshape(shape),
            np.arange(n),
        ),
        labels.name,
        labels.ranks,
        "1.2.3",
        top_k,
    )


def test_a_prediction_in_full() -> None:
    labels = vocabulary(["sport", "news", "art"])
    [message] = encode_predictions(
        [Record(b"{}", "tickets", 3, 1207, b"key", (("a", b"b"),), 1_700_000_000_000)],
        [Event("e", {}, ts="2024-05-01T12:00:00Z")],
        Predictions(
            np.array([[True, True, False]]), np.array([[0.75, 0.5, math.nan]]), np.array([5120])
        ),
        labels.name,
        labels.ranks,
        "1.2.3",
    )
    assert message.value is not None
    assert orjson.loads(message.value) == {
        "id": "e",
        "labels": ["news", "sport"],
        "scores": [["sport", 0.75], ["news", 0.5]],
        "model": {"version": "1.2.3", "events": 5120},
        "ts": "2024-05-01T12:00:00Z",
    }
    assert message.key == b"key"
    assert message.headers == (
        ("ihomer.topic", b"tickets"),
        ("ihomer.partition", b"3"),
        ("ihomer.offset", b"1207"),
    )
    assert message.timestamp == 1_700_000_000_000
    assert message.origin == 3


def test_an_event_without_ts_gives_a_prediction_without_ts() -> None:
    [message] = encode([[True]], [[0.5]], ["a"], 10)
    assert message.value is not None
    assert "ts" not in orjson.loads(message.value)


@given(st.data())
def test_labels_and_scores_equal_their_definition_and_satisfy_the_schema(
    data: st.DataObject,
) -> None:
    names = data.draw(st.lists(st.text(min_size=1, max_size=3), unique=True, max_size=15))
    n = data.draw(st.integers(0, 4))
    # Few distinct scores, so that ties are common.
    score = st.sampled_from([0.0, 0.25, 0.5, 1 / 3, 1.0, math.nan, -math.inf, math.inf])
    # The vocabulary may have grown since the prediction.
    known = data.draw(st.integers(0, len(names)))

    def rows(of: st.SearchStrategy[float]) -> list[list[float]]:
        row = st.lists(of, min_size=known, max_size=known)
        return data.draw(st.lists(row, min_size=n, max_size=n))

    on = [[bool(state) for state in row] for row in rows(st.sampled_from([0.0, 1.0]))]
    scores = rows(score)
    top_k = data.draw(st.integers(0, 12))
    messages = encode(on, scores, names, top_k)
    assert len(messages) == n
    for t, message in enumerate(messages):
        assert message.value is not None
        body = orjson.loads(message.value)
        expected = naive.prediction(on[t], scores[t], names[:known], top_k)
        assert (body["labels"], body["scores"]) == expected
        assert body["model"]["events"] == t
        VALID.validate(body)


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), unique=True),
    st.lists(st.floats(), min_size=1, max_size=12),
    st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.integers(-(2**63), 2**63 - 1)),
    st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 2**53)),
)
def test_the_bytes_are_those_of_one_object(
    names: list[str], scores: list[float], event_id: str | int, ts: str | int | None
) -> None:
    labels = vocabulary(names)
    row = (scores * len(names))[: len(names)]
    on = [score > 0.0 for score in row]
    [message] = encode_predictions(
        [Record(b"", "topic", 0, 0)],
        [Event(event_id, {}, ts=ts)],
        Predictions(np.array([on], dtype=np.bool_), np.array([row]), np.array([7])),
        labels.name,
        labels.ranks,
        'a "version"',
    )
    found, pairs = naive.prediction(on, row, names, 10)
    body = {
        "id": event_id,
        "labels": found,
        "scores": pairs,
        "model": {"version": 'a "version"', "events": 7},
    }
    assert message.value == orjson.dumps(body if ts is None else body | {"ts": ts})


@given(st.data())
def test_candidates_are_written_as_the_same_labels_in_dense_rows(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.text(min_size=1, max_size=3), unique=True, max_size=15))
    labels = vocabulary(names)
    n = data.draw(st.integers(0, 4))
    score = st.sampled_from([0.0, 0.25, 0.5, 1.0, math.nan, math.inf])
    shape = (n, len(names))
    scores, on = np.full(shape, math.nan), np.zeros(shape, dtype=np.bool_)
    ids: list[int] = []
    indptr = [0]
    for t in range(n):
        some = data.draw(
            st.lists(st.sampled_from(range(len(names))), unique=True) if names else st.just([])
        )
        for i in some:
            scores[t, i], on[t, i] = data.draw(score), data.draw(st.booleans())
        rank = {i: math.inf if math.isnan(scores[t, i]) else -scores[t, i] for i in some}
        ids += sorted(some, key=lambda i: (rank[i], names[i]))
        indptr.append(len(ids))
    rows = np.repeat(np.arange(n), np.diff(indptr))
    top_k = data.draw(st.integers(0, 12))
    records = [Record(b"", "topic", 0, t) for t in range(n)]
    events = [Event(t, {}) for t in range(n)]
    sparse = SparsePredictions(
        len(names),
        np.array(indptr, dtype=np.int64),
        np.array(ids, dtype=np.int32),
        scores[rows, ids],
        on[rows, ids],
        np.arange(n),
    )
    dense = Predictions(on, scores, np.arange(n))
    written = [
        encode_predictions(records, events, each, labels.name, labels.ranks, "1", top_k)
        for each in (sparse, dense)
    ]
    assert written[0] == written[1]


def test_many_labels_keep_all_digits_and_the_highest_ten() -> None:
    rng = np.random.default_rng(7)
    names = [f"label {i}" for i in range(1_000)]
    scores = rng.random((3, 1_000))
    on = scores > 0.99
    messages = encode(on.tolist(), scores.tolist(), names, 10)
    for t, message in enumerate(messages):
        assert message.value is not None
        body = orjson.loads(message.value)
        expected = naive.prediction(on[t].tolist(), scores[t].tolist(), names, 10)
        assert (body["labels"], body["scores"]) == expected


def test_a_negative_top_k_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="top_k: found -1"):
        encode([[True]], [[0.5]], ["a"], -1)
