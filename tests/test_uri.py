"""URIs and paths to sources and sinks."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from ihomer.connectors import memory
from ihomer.connectors.base import QUEUE_BYTES, Message
from ihomer.connectors.chain import Chain
from ihomer.connectors.files.arff_source import ArffSource
from ihomer.connectors.files.lines import JsonLinesSource
from ihomer.connectors.files.sink import FileSink
from ihomer.connectors.memory import MemorySource
from ihomer.connectors.uri import (
    Location,
    open_sink,
    open_source,
    open_sources,
    parse_uri,
    same_file,
)
from ihomer.errors import InputError, UsageError
from tests.sources import assert_resumes_anywhere, drain

ARFF = b"@relation 'r: -C 1'\n@attribute y {0,1}\n@attribute a numeric\n@data\n1,2\n0,3\n"
LINES = b'{"x":{"a":2},"y":["y"]}\n{"x":{"a":3},"y":[]}\n'
XML = b'<labels><label name="y"/></labels>'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("uri", "location"),
    [
        ("a.jsonl", ("file", "a.jsonl", {})),
        ("-", ("file", "-", {})),
        ("-?format=arff&xml=l.xml", ("file", "-", {"format": "arff", "xml": "l.xml"})),
        ("file:-", ("file", "-", {})),
        ("file:a.jsonl", ("file", "a.jsonl", {})),
        ("FILE:a.jsonl", ("file", "a.jsonl", {})),
        ("file:///a/b.jsonl", ("file", "/a/b.jsonl", {})),
        ("file:/a/b.jsonl", ("file", "/a/b.jsonl", {})),
        ("./odd:name.jsonl", ("file", "./odd:name.jsonl", {})),
        ("C:/data/a.jsonl", ("file", "C:/data/a.jsonl", {})),
        ("100%41.jsonl", ("file", "100%41.jsonl", {})),
        ("file:100%41.jsonl", ("file", "100A.jsonl", {})),
        ("file:what%3F.jsonl?format=jsonl", ("file", "what?.jsonl", {"format": "jsonl"})),
        ("a.arff?xml=my%20labels.xml", ("file", "a.arff", {"xml": "my labels.xml"})),
        ("a.arff?xml=a+b.xml", ("file", "a.arff", {"xml": "a+b.xml"})),
        ("river:yeast", ("river", "yeast", {})),
        ("memory:a/b c", ("memory", "a/b c", {})),
        ("synthetic:text?seed=1", ("synthetic", "synthetic:text?seed=1", {})),
        ("kafka://h:1,i:2/t?group=g", ("kafka", "kafka://h:1,i:2/t?group=g", {})),
    ],
)
def test_a_uri_in_its_parts(uri: str, location: tuple[str, str, dict[str, str]]) -> None:
    assert parse_uri(uri) == Location(*location)


@pytest.mark.parametrize(
    "name", ["what?.jsonl", "a?format=arff", "100%41.jsonl", "river:yeast", "http:x.jsonl"]
)
def test_an_existing_file_of_the_literal_name_wins(folder: Path, name: str) -> None:
    (folder / name).write_bytes(LINES)
    assert parse_uri(name) == Location("file", name, {})
    assert parse_uri(f"file:{name}").path == name
    if ":" not in name:
        assert parse_uri(f"{name}?format=jsonl") == Location("file", name, {"format": "jsonl"})
        source = open_source(f"{name}?format=jsonl")
        assert len(drain(source)) == 2
        source.close()


def test_an_existing_xml_file_of_the_literal_name_wins(folder: Path) -> None:
    (folder / "a%20b.xml").write_bytes(XML)
    assert parse_uri("a.arff?xml=a%20b.xml").parameters == {"xml": "a%20b.xml"}


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("", ["empty URI", "river:", "kafka:"]),
        ("http://host/a.jsonl", ["'http'", "a path", "file:", "memory:"]),
        ("s3:bucket", ["'s3'", "accepted"]),
        ("file:", ["no path", "file:PATH"]),
        ("file://host/a.jsonl", ["a host"]),
        ("river:", ["no name", "river:NAME"]),
        ("memory:", ["no name", "memory:NAME"]),
        ("synthetic:", ["no name", "synthetic:NAME"]),
        ("synthetic:cubic", ["'cubic'", "synthetic:linear"]),
        ("river:music", ["'music'", "river:yeast"]),
        ("river:yeast?limit=5", ["'limit'", "none"]),
        ("memory:absent", ["memory:absent", "no such name"]),
        ("a.jsonl?limit=5", ["'limit'", "format, xml, delimiter, feature_names, label_names"]),
        ("a.jsonl?format=xls", ["'xls'", "jsonl, arff, csv, parquet, arrow, libsvm, xmc"]),
        ("a.jsonl?format", ["no value", "format=..."]),
        ("a.jsonl?format=", ["no value"]),
        ("a.jsonl?format=arff&format=arff", ["'format' twice"]),
        ("?format=jsonl", ["no path"]),
        ("a.jsonl?xml=l.xml", ["xml", "JSON Lines", "format"]),
        ("a.jsonl?delimiter=;", ["delimiter", "JSON Lines", "accepted: format"]),
        ("a.csv?xml=l.xml", ["xml", "CSV", "accepted: format, delimiter"]),
        ("a.csv?delimiter=ab", ["'ab'", "one ASCII character"]),
        ("a.parquet.gz", ["found .gz", "a plain file"]),
        ("a.xls", ["'.xls'", ".jsonl, .ndjson, .json, .arff", ".gz, .bz2, .xz, .zst", "?format="]),
        ("a.gz", ["no extension"]),
        ("noextension", ["no extension"]),
    ],
)
def test_what_is_not_accepted_is_named(folder: Path, uri: str, words: list[str]) -> None:
    for name in ("a.jsonl", "a.csv", "a.xls", "a.parquet.gz", "a.gz", "noextension"):
        (folder / name).write_bytes(LINES)
    with pytest.raises(UsageError) as caught:
        open_source(uri)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("uri", ["absent.jsonl", "file:absent.arff", "absent", "absent.csv.gz"])
def test_a_missing_file_is_named(uri: str) -> None:
    with pytest.raises(InputError, match=r"^absent[a-z.]*: no such file$"):
        open_source(uri)


def test_a_folder_is_no_source(folder: Path) -> None:
    with pytest.raises(InputError, match="found a folder"):
        open_source(str(folder))


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("name", "query", "kind"),
    [
        ("a.jsonl", "", JsonLinesSource),
        ("a.NDJSON", "", JsonLinesSource),
        ("a.json", "", JsonLinesSource),
        ("a.arff", "", ArffSource),
        ("a.ARFF", "?xml=l.xml", ArffSource),
        ("a.txt", "?format=arff", ArffSource),
        ("a.arff", "?format=jsonl", JsonLinesSource),
        ("a", "?format=jsonl", JsonLinesSource),
    ],
)
def test_extension_and_format_choose_the_source(
    folder: Path, name: str, query: str, kind: type, zipped: bool
) -> None:
    data = ARFF if kind is ArffSource else LINES
    name += ".gz" if zipped else ""
    (folder / name).write_bytes(gzip.compress(data) if zipped else data)
    (folder / "l.xml").write_bytes(XML)
    source = open_source(name + query)
    assert type(source) is kind
    assert len(drain(source)) == 2
    source.close()


def test_the_bound_of_a_line_is_handed_on(folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(LINES)
    (folder / "a.arff").write_bytes(ARFF + b"1," + b"2" * 100)
    source = open_sources(["a.arff", "a.jsonl"], max_line_bytes=30)
    assert [record.fault is None for record in drain(source)] == [True, True, False, True, True]
    source.close()


def test_a_topic_is_opened_by_its_own_module(monkeypatch: pytest.MonkeyPatch) -> None:
    # A stand-in for the module, so that no broker is asked.
    calls: list[Any] = []
    opened = MemorySource([b"a"])

    class KafkaSource:
        @staticmethod
        def from_uri(uri: str) -> MemorySource:
            calls.append(uri)
            return opened

    class KafkaSink:
        @staticmethod
        def from_uri(uri: str, *, truncate: bool, queue_bytes: int) -> str:
            calls.append((uri, truncate, queue_bytes))
            return "sink"

    module = types.ModuleType("ihomer.connectors.kafka")
    module.__dict__.update(KafkaSource=KafkaSource, KafkaSink=KafkaSink)
    monkeypatch.setitem(sys.modules, "ihomer.connectors.kafka", module)
    uri = "kafka://h:1,i:2/topic?group=g"
    assert open_source(uri) is opened
    assert str(open_sink(uri, envelope=True)) == "sink"
    assert calls == [uri, (uri, True, QUEUE_BYTES)]
    with pytest.raises(UsageError, match=r"kafka://.*as the last source only"):
        open_sources([uri, "a.jsonl"])
    with pytest.raises(InputError, match="no such file"):
        open_sources(["a.jsonl", uri])


def test_importing_uri_imports_no_broker_client_and_no_river() -> None:
    program = (
        "import sys, ihomer.connectors.uri\nprint({'kafka', 'river.datasets'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_several_sources_are_one_stream(folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(LINES)
    (folder / "b.arff").write_bytes(ARFF)
    alone = open_sources(["a.jsonl"])
    assert type(alone) is JsonLinesSource
    alone.close()
    both = ["a.jsonl", "b.arff", "a.jsonl"]
    records = assert_resumes_anywhere(lambda: open_sources(both))
    assert [record.source for record in records] == [name for name in both for _ in range(2)]
    chain = open_sources(both)
    assert type(chain) is Chain
    assert chain.labels == ("y",)
    chain.close()


def test_of_several_sources_none_stays_open_when_one_fails(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.jsonl").write_bytes(LINES)
    closed: list[str] = []
    close = JsonLinesSource.close

    def watched(source: JsonLinesSource) -> None:
        closed.append(source.name)
        close(source)

    monkeypatch.setattr(JsonLinesSource, "close", watched)
    with pytest.raises(InputError, match="absent"):
        open_sources(["a.jsonl", "absent.jsonl"])
    assert closed == ["a.jsonl"]
    monkeypatch.undo()
    with pytest.raises(UsageError, match="found twice"):
        open_sources(["-", "a.jsonl", "file:-"])
    with pytest.raises(UsageError, match="one or more"):
        open_sources([])


# ------------------------------------------------------------------------------------- sinks


@pytest.mark.parametrize("uri", ["o.jsonl", "file:o.jsonl", "o.txt?format=jsonl", "o.json.gz", "o"])
def test_a_file_sink_is_json_lines(folder: Path, uri: str) -> None:
    sink = open_sink(uri)
    assert type(sink) is FileSink
    sink.write([Message(b"1")])
    sink.close()
    data = next(folder.iterdir()).read_bytes()
    assert (gzip.decompress(data) if uri.endswith(".gz") else data) == b"1\n"


def test_options_of_a_file_sink_are_handed_on(folder: Path) -> None:
    for _ in range(2):
        sink = open_sink("o.jsonl", envelope=True, append=True)
        sink.write([Message(b"1")])
        sink.close()
    line = b'{"value":"MQ==","key":null,"headers":{},"timestamp":null}\n'
    assert (folder / "o.jsonl").read_bytes() == line * 2


def test_a_channel_is_source_and_sink() -> None:
    channel = memory.create("uri-test", [b"a"])
    try:
        assert_resumes_anywhere(lambda: open_source("memory:uri-test"))
        sink = open_sink("memory:uri-test")
        sink.write([Message(b"1")])
        sink.close()
        assert channel.messages == [Message(b"1")]
    finally:
        memory.remove("uri-test")


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("river:yeast", "cannot be written"),
        ("o.arff", "found format arff, accepted for writing here: jsonl"),
        ("o.csv", "found format csv, accepted for writing here: jsonl"),
        ("o.arff.gz", "found format arff"),
        ("o?format=arff", "found format arff"),
        ("o.jsonl?xml=l.xml", "parameter xml"),
        ("ftp:o", "'ftp'"),
    ],
)
def test_what_is_no_sink_is_refused_and_not_made(folder: Path, uri: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_sink(uri)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a.jsonl", "a.jsonl", True),
        ("a.jsonl", "file:./a.jsonl?format=jsonl", True),
        ("a.jsonl", "link.jsonl", True),
        ("a.jsonl", "b.jsonl", False),
        ("new.jsonl", "./new.jsonl", True),
        ("new.jsonl", "newer.jsonl", False),
        ("-", "-", False),
        ("a.jsonl", "-", False),
        ("a.jsonl", "river:yeast", False),
        ("/dev/null", "/dev/null", False),
    ],
)
def test_same_file(folder: Path, one: str, other: str, same: bool) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (folder / name).write_bytes(LINES)
    (folder / "link.jsonl").symlink_to("a.jsonl")
    assert same_file(one, other) is same
    assert same_file(other, one) is same
    if os.sep not in one and ":" not in one and one != "-":
        assert same_file(str(folder / one), other) is same
