"""Events as JSON: what is written decodes to what was read, and the truth lies beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ihomer.connectors.base import Record
from ihomer.connectors.memory import MemorySink, MemorySource
from ihomer.connectors.uri import open_source
from ihomer.errors import InputError
from ihomer.instances import Batch, Encoder, Event, Row
from ihomer.stream.cli import app
from ihomer.stream.decode import Decoder
from ihomer.stream.write_events import event_object, write_events

runner = CliRunner()
names = st.text("abc", min_size=1, max_size=3)
values = st.one_of(
    st.floats(-1e6, 1e6), st.integers(-100, 100), st.booleans(), st.none(), names,
    st.lists(names, max_size=2, unique=True), st.just(float("nan")),
)  # fmt: skip


@st.composite
def rows(draw: st.DrawFn) -> Row:
    m = draw(st.integers(1, 4))
    chosen = draw(st.one_of(st.none(), st.sets(st.integers(0, m - 1))))
    k = m if chosen is None else len(chosen)
    found = draw(
        st.lists(st.one_of(st.floats(-9, 9), st.just(float("nan"))), min_size=k, max_size=k)
    )
    indices = None if chosen is None else np.array(sorted(chosen), dtype=np.int32)
    return Row(tuple(f"f{i}" for i in range(m)), np.array(found, dtype=np.float64), indices)


events = st.builds(
    Event,
    st.one_of(st.integers(-(2**63), 2**63 - 1), names),
    st.one_of(st.dictionaries(names, values, max_size=4), rows()),
    st.one_of(st.none(), st.lists(names, max_size=3, unique=True)),
)


def named(encoder: Encoder, batch: Batch) -> list[tuple[dict[str, float], list[str], bool]]:
    """A batch in names: ids depend on which names a source declares before they are used."""
    features, labels = encoder.features.names(), encoder.labels.names()
    found = []
    for t in range(len(batch)):
        a, b = batch.indptr[t : t + 2]
        x = {
            features[i]: float(v)
            for i, v in zip(batch.indices[a:b], batch.values[a:b], strict=True)
        }
        a, b = batch.y_indptr[t : t + 2]
        found.append((x, [labels[i] for i in batch.y_indices[a:b]], bool(batch.labelled[t])))
    return found


@given(events)
def test_an_event_comes_back_as_it_was(event: Event) -> None:
    data = orjson.dumps(event_object(event))
    again = Decoder().decode(Record(data, "t", 0, 0))
    assert again.id == event.id
    assert again.ts == event.ts
    found = []
    for each in (event, again):
        encoder = Encoder()
        found.append(repr(named(encoder, encoder.encode([each]))))  # NaN equals NaN in text
    assert found[0] == found[1]


def test_labels_named_as_off_stay_known_and_times_go_through() -> None:
    event = Event("e", {"a": 1.0}, ["news"], off=["sport"], ts="2024-05-01T12:00:00Z")
    found = event_object(event)
    assert found["y"] == {"sport": False, "news": True}
    again = Decoder().decode(Record(orjson.dumps(found), "t", 0, 0))
    assert (again.on, list(again.off), again.ts) == (["news"], ["sport"], event.ts)


def test_a_stream_written_is_the_stream_read(tmp_path: Path) -> None:
    uri, path = "synthetic:text?events=300&labels=40&drift=sudden&seed=3", tmp_path / "e.jsonl"
    result = runner.invoke(app, ["data", "write", uri, str(path), "--truth", str(tmp_path / "t")])
    assert result.exit_code == 0, result.output
    assert "300 events" in result.output
    found = []
    for source in (open_source(uri), open_source(str(path))):
        encoder, decoder = Encoder(), Decoder()
        while (records := source.next_batch(100, 1.0)) is not None:
            for record in records:
                encoder.add(decoder.decode(record))
        found.append(named(encoder, encoder.take()))
        source.close()
    assert found[0] == found[1]
    truth: dict[str, Any] = json.loads((tmp_path / "t").read_bytes())
    assert truth["changes"][0]["start"] == 150
    assert truth["parameters"]["seed"] == 3


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["river:yeast", "e.jsonl", "--truth", "t.json"], 2, "has none, accepted: synthetic:NAME"),
        (["synthetic:linear?events=0", "e.jsonl"], 2, "found events=0 (no end)"),
        (["kafka://h:1/topic", "e.jsonl"], 2, "a topic has no end"),
        (["synthetic:linear", "e.jsonl", "--truth", "e.jsonl"], 2, "found for two outputs"),
        (["synthetic:linear", "e.jsonl", "--truth", "no/such/t.json"], 65, "does not exist"),
        (["synthetic:lineal", "e.jsonl"], 2, "found 'lineal'"),
    ],
)
def test_what_cannot_be_written_is_said_and_nothing_is_left(
    arguments: list[str],
    code: int,
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, ["data", "write", *arguments])
    assert result.exit_code == code
    assert complaint in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_limit_ends_an_endless_stream() -> None:
    sink = MemorySink()
    assert write_events(open_source("synthetic:blocks?events=0"), sink, limit=2_500) == 2_500
    assert len(sink.messages) == 2_500


def test_a_malformed_event_is_named_and_those_before_it_are_written() -> None:
    sink = MemorySink()
    source = MemorySource([b'{"id": 1, "x": {}}', b"{", b'{"id": 3, "x": {}}'])
    with pytest.raises(InputError, match="memory, line 1: "):
        write_events(source, sink)
    assert [orjson.loads(m.value or b"")["id"] for m in sink.messages] == [1]
