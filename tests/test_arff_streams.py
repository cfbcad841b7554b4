"""ARFF: round trips, resuming, the public data sets."""

from __future__ import annotations

import gzip
import math
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer.connectors.base import Record
from ihomer.connectors.chain import Chain
from ihomer.connectors.files import arff_source
from ihomer.connectors.files.arff import Text, split_dense, split_sparse
from ihomer.connectors.files.arff_source import ArffSource
from ihomer.errors import InputError
from ihomer.instances import Encoder, Event
from tests.arff_files import HEADER, NUMBERS, arff, event, rows
from tests.data import data_dir
from tests.sources import assert_resumes_anywhere, drain, plain

# ------------------------------------------------------------------------- written and read back


class Column(NamedTuple):
    name: str
    values: tuple[str, ...]  # empty: numeric


def quoted(text: str) -> str:
    """As Weka writes what is not plain."""
    if text and all(letter.isascii() and letter.isalnum() for letter in text):
        return text
    for letter, written in (
        ("\\", "\\\\"),
        ("'", "\\'"),
        ("\n", "\\n"),
        ("\r", "\\r"),
        ("\t", "\\t"),
    ):
        text = text.replace(letter, written)
    return f"'{text}'"


def written(columns: list[Column], n_labels: int, table: list[list[Any]], *, sparse: bool) -> str:
    """A data set as a tiny writer of our own writes it; None = missing."""
    lines = [f"@relation 'round trip: -C {n_labels}'"]
    for name, values in columns:
        kind = "{" + ",".join(map(quoted, values)) + "}" if values else "numeric"
        lines.append(f"@attribute {quoted(name)} {kind}")
    lines.append("@data")
    for row in table:
        cells: list[str | None] = []
        for column, value in zip(columns, row, strict=True):
            first = column.values[0] if column.values else 0.0
            if sparse and value == first:
                cells.append(None)
            elif value is None:
                cells.append("?")
            else:
                cells.append(quoted(value) if isinstance(value, str) else repr(value))
        if sparse:
            pairs = [f"{i} {cell}" for i, cell in enumerate(cells) if cell is not None]
            lines.append("{" + ",".join(pairs) + "}")
        else:
            lines.append(",".join(cell or "" for cell in cells))
    return "\n".join(lines) + "\n"


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Zl", "Zp"]), min_size=1)
TEXT = TEXT.map(lambda text: text.replace("\x85", "x").replace("\x00", "x"))


@st.composite
def data_sets(draw: st.DrawFn) -> tuple[list[Column], int, list[list[Any]]]:
    n_labels = draw(st.integers(1, 3))
    names = draw(st.lists(TEXT, min_size=n_labels, max_size=n_labels + 5, unique=True))
    # No name can be another's indicator.
    names = [name.replace("=", "-") + str(i) for i, name in enumerate(names)]
    columns = [Column(name, ("0", "1")) for name in names[:n_labels]]
    for name in names[n_labels:]:
        nominal = st.lists(TEXT, min_size=2, max_size=4, unique=True).map(tuple)
        values = draw(st.sampled_from([(), (), ("0", "1")]) | nominal)
        columns.append(Column(name, values))
    table = []
    for _ in range(draw(st.integers(0, 8))):
        row: list[Any] = []
        for i, (_, values) in enumerate(columns):
            value: st.SearchStrategy[Any]
            if values:
                value = st.sampled_from(values)
            else:
                value = st.sampled_from([0.0, 1.0]) | st.floats(
                    allow_nan=False, allow_infinity=False
                )
            row.append(draw(value if i < n_labels else value | st.none()))
        table.append(row)
    return columns, n_labels, table


@settings(max_examples=100, deadline=None)
@given(data=data_sets(), sparse=st.booleans(), zipped=st.booleans(), size=st.integers(1, 9))
def test_what_is_written_is_read_back(
    data: tuple[list[Column], int, list[list[Any]]], sparse: bool, zipped: bool, size: int
) -> None:
    columns, n_labels, table = data
    features = columns[n_labels:]
    text = written(columns, n_labels, table, sparse=sparse)
    with tempfile.TemporaryDirectory() as folder:
        source = arff(Path(folder), text, name="set.arff.gz" if zipped else "set.arff")
        records = drain(source, size)
        source.close()
    assert source.labels == tuple(column.name for column in columns[:n_labels])
    assert source.attributes == tuple(column.name for column in features)
    assert len(records) == len(table)
    for number, (record, row) in enumerate(zip(records, table, strict=True)):
        x: dict[str, float] = {}
        for (name, values), value in zip(features, row[n_labels:], strict=True):
            keys = [name] if set(values) <= {"0", "1"} else [f"{name}={each}" for each in values]
            if value is None:
                x |= dict.fromkeys(keys, math.nan)
            elif len(keys) > 1:
                x[f"{name}={value}"] = 1.0
            else:
                x[name] = float(value)
        expected = {name: repr(value) for name, value in x.items() if value != 0}
        line, found, on = event(record)
        assert line == len(columns) + 3 + number
        assert {name: repr(value) for name, value in found.items()} == expected
        assert on == [columns[i].name for i in range(n_labels) if row[i] == "1"]


@settings(max_examples=100, deadline=None)
@given(values=st.lists(TEXT, min_size=1))
def test_quoted_texts_are_split_as_they_were_joined(values: list[str]) -> None:
    line = [f"'{quoted(value + chr(39))[1:-1]}'" for value in values]
    expected = [Text(value + "'", quoted=True) for value in values]
    assert split_dense(" , ".join(line)) == expected
    pairs = ", ".join(f"{i} {text}" for i, text in enumerate(line))
    assert split_sparse("{" + pairs + " }") == list(enumerate(expected))


# ------------------------------------------------------------------------------ stream behaviour


@pytest.mark.parametrize("name", ["set.arff", "set.arff.gz"])
def test_an_arff_file_resumes_anywhere(tmp_path: Path, name: str) -> None:
    lines = ["1,0,2,1,red", "", "% remark", "{0 1}", "bad", "  ", "{1 1,2 9}\r", "?,?,1,1,?", "%"]
    arff(tmp_path, HEADER + "\n".join(lines), name=name).close()
    records = assert_resumes_anywhere(lambda: ArffSource(str(tmp_path / name)))
    assert [record.offset for record in records] == [8, 11, 12, 14, 15]
    assert [record.fault is None for record in records] == [True, True, False, True, True]


def test_blocks_and_batches_leave_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"{{0 1,2 {number}.5}}" if number % 9 else "1,0,3,1,1" for number in range(200)]
    lines[50], lines[120] = "bad", "% remark"
    text = NUMBERS + "@data\n" + "\n".join(lines) + "\n"
    expected = None
    for block_lines, block_bytes, size in ((512, 1 << 18, 1000), (7, 40, 1000), (512, 1 << 18, 3)):
        monkeypatch.setattr(arff_source, "_BLOCK_LINES", block_lines)
        monkeypatch.setattr(arff_source, "_BLOCK_BYTES", block_bytes)
        source = arff(tmp_path, text)
        found = [plain(record) for record in drain(source, size)]
        source.close()
        assert len(found) == 199
        assert expected is None or found == expected
        expected = found


def test_an_oversized_row_is_a_fault(tmp_path: Path) -> None:
    rows(tmp_path, "1,0,2,1,red", "1,0," + "2" * 5000 + ",1,red", "0,0,2,1,red").close()
    source = ArffSource(str(tmp_path / "set.arff"), max_line_bytes=1500)
    good, bad, last = drain(source)
    source.close()
    assert bad.fault is not None
    assert (bad.fault.kind, bad.offset) == ("oversized", 9)
    assert isinstance(bad.value, bytes)
    assert len(bad.value) == 1024
    assert (good.fault, last.fault) == (None, None)


def test_of_a_torn_gzip_file_the_rows_that_are_there_come_first(tmp_path: Path) -> None:
    lines = [f"1,0,{number * 7919 % 1009},1,1" for number in range(2000)]
    data = gzip.compress((NUMBERS + "@data\n" + "\n".join(lines)).encode())
    path = tmp_path / "set.arff.gz"
    path.write_bytes(data[: len(data) // 2])
    source = ArffSource(str(path))
    found: list[Record] = []
    message = ""
    try:
        while (batch := source.next_batch(300, 0.0)) is not None:
            found += batch
    except InputError as error:
        message = str(error)
    source.close()
    assert 100 < len(found) < 1999
    assert message.startswith(f"{path}: line {found[-1].offset + 1}: the gzip data is damaged")


# ------------------------------------------------------------------------------ public data sets

# Events, features, labels, cardinality: as published with the data sets.
STREAMS = [
    ("flags", ["flags"], 194, 19, 7, 3.39),
    ("foodtruck", ["foodtruck"], 407, 21, 12, 2.29),
    ("cal500", ["cal500"], 502, 68, 174, 26.04),
    ("emotions", ["emotions"], 593, 72, 6, 1.87),
    ("birds", ["birds-train", "birds-test"], 645, 260, 19, 1.01),
    ("medical", ["medical"], 978, 1449, 45, 1.25),
    ("enron", ["enron"], 1702, 1001, 53, 3.38),
    ("scene", ["scene-train", "scene-test"], 2407, 294, 6, 1.07),
    ("bibtex", ["bibtex"], 7395, 1836, 159, 2.40),
    ("eukaryotego", ["eukaryotego"], 7766, 12689, 22, 1.15),
    ("delicious", ["delicious"], 16105, 500, 983, 19.02),
    ("20ng", ["20ng"], 19300, 1006, 20, 1.03),
    ("imdb", ["imdb"], 120919, 1001, 28, 2.00),
]


@pytest.mark.parametrize(
    ("files", "n", "features", "labels", "cardinality"),
    [stream[1:] for stream in STREAMS],
    ids=[stream[0] for stream in STREAMS],
)
def test_the_public_data_sets_have_their_published_counts(
    files: list[str], n: int, features: int, labels: int, cardinality: float
) -> None:
    folder = data_dir()
    sources = [ArffSource(str(folder / f"{name}.arff.gz")) for name in files]
    chain = Chain(sources)
    events = positives = 0
    while (batch := chain.next_batch(4096, 0.0)) is not None:
        values = [record.value for record in batch]
        assert all(type(value) is Event for value in values)
        positives += sum(len(value.on or ()) for value in values if isinstance(value, Event))
        events += len(batch)
    chain.close()
    assert [source.n_attributes for source in sources] == [features] * len(files)
    assert len(chain.labels) == labels
    assert events == n
    assert round(positives / events, 2) == cardinality


def test_names_of_delicious_are_taken_as_they_stand() -> None:
    source = ArffSource(str(data_dir() / "delicious.arff.gz"))
    assert "TAG_m\\'usica" in source.labels
    source.close()


def test_birds_encode_with_indicators_of_the_location() -> None:
    source = ArffSource(str(data_dir() / "birds-train.arff.gz"))
    batch = source.next_batch(50, 0.0)
    source.close()
    assert batch is not None
    assert [name for name in source.features if "=" in name][:2] == ["location=2", "location=10"]
    encoder = Encoder(source.labels)
    encoded = encoder.encode([r.value for r in batch if isinstance(r.value, Event)])
    locations = {i for i, name in enumerate(encoder.features.names()) if "location=" in name}
    for t in range(50):
        ids = encoded.indices[encoded.indptr[t] : encoded.indptr[t + 1]]
        assert len(locations.intersection(ids.tolist())) == 1
    assert np.isfinite(encoded.values).all()
