"""Events written in every format and read again are the same, or it is said why they cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from ihomer.connectors.base import Source
from ihomer.connectors.memory import MemorySource
from ihomer.connectors.uri import open_source, parse_uri
from ihomer.errors import EXIT_OK, InputError
from ihomer.instances import Encoder, Event
from ihomer.stream.cli import app
from ihomer.stream.decode import Decoder
from ihomer.stream.event_files.table_events import MOST_COLUMNS, SEPARATOR
from ihomer.stream.event_files.write import write_events_as
from ihomer.stream.write_events import event_object
from tests.commands import figures
from tests.data import data_dir
from tests.sources import drain
from tests.test_write_events import named

runner = CliRunner()
# What looks like syntax somewhere; line ends and separators have tests of their own.
letters = st.text("ab =,;:'\"\\%?{}#@01é\t", min_size=1, max_size=4)
labels = st.lists(letters, max_size=3, unique=True)
numbers = st.one_of(st.floats(-1e9, 1e9), st.integers(-99, 99), st.booleans())


def written(folder: Path, name: str, events: list[Event], **declared: Any) -> str:
    """The path of a file that holds `events`."""
    path = folder / name
    source = MemorySource(events, **declared)
    location = parse_uri(str(path))
    form = {".svm": "libsvm"}.get(path.suffix, path.suffix.removeprefix("."))
    assert write_events_as(form, source, location) == len(events)
    return str(path)


def names_and_values(source: Source) -> Any:
    """What a learner would get of a stream, in names."""
    encoder, decoder = Encoder(), Decoder()
    for record in drain(source):
        encoder.add(decoder.decode(record))
    source.close()
    return [
        ({name: repr(value) for name, value in sorted(x.items())}, sorted(on), labelled)
        for x, on, labelled in named(encoder, encoder.take())
    ]


@st.composite
def streams(draw: st.DrawFn) -> list[Event]:
    """Events of anything; a feature has values of one kind, which ARFF and tables need."""
    kinds = draw(st.dictionaries(letters, st.sampled_from(["number", "text", "set"]), max_size=4))
    values = {
        "number": st.one_of(numbers, st.none()),
        "text": letters,
        "set": st.lists(letters, max_size=3, unique=True),
    }
    events = []
    for number in range(draw(st.integers(1, 5))):
        chosen = draw(st.lists(st.sampled_from(sorted(kinds)), unique=True)) if kinds else []
        x = {name: draw(values[kinds[name]]) for name in chosen}
        events.append(Event(number, x, draw(labels)))
    return events


def in_one_file(events: list[Event]) -> bool:
    """Whether no label, feature and indicator share a name, which ARFF cannot have."""
    on = {label for event in events for label in event.on or ()}
    plain, indicators = set(), set()
    for event in events:
        assert isinstance(event.x, dict)
        for name, value in event.x.items():
            texts = [value] if isinstance(value, str) else value if isinstance(value, list) else []
            indicators |= {f"{name}={text}" for text in texts}
            plain.add(name)
    return bool(on) and not (plain & indicators or on & (plain | indicators))


@pytest.mark.parametrize("name", ["e.libsvm", "e.xmc", "e.arff", "e.svm.zst", "e.arff.gz"])
@settings(max_examples=120, deadline=None)
@given(events=streams())
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, name: str, events: list[Event]
) -> None:
    if "arff" in name and not in_one_file(events):
        events = [Event(0, {"a": 1.0}, ["b"])]
    folder = tmp_path_factory.mktemp("e")
    path = folder / name
    form = "arff" if "arff" in name else "xmc" if "xmc" in name else "libsvm"
    write_events_as(form, MemorySource(events), parse_uri(str(path)))
    assert names_and_values(open_source(str(path))) == names_and_values(MemorySource(events))


@pytest.mark.parametrize("name", ["e.libsvm", "e.xmc"])
@settings(max_examples=60, deadline=None)
@given(
    points=st.lists(
        st.tuples(
            st.dictionaries(st.integers(0, 10**6), st.floats(-1e9, 1e9), max_size=4),
            st.sets(st.integers(0, 99), max_size=3),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_numbers_stay_numbers(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    points: list[tuple[dict[int, float], set[int]]],
) -> None:
    folder = tmp_path_factory.mktemp("e")
    events = [
        Event(i, {str(at): value for at, value in x.items()}, [str(label) for label in on])
        for i, (x, on) in enumerate(points)
    ]
    for what in ("features", "labels"):  # of some other stream
        (folder / f"e.{what}.txt").write_text("old\n")
    path = written(folder, name, events)
    assert [file.name for file in folder.iterdir()] == [name]
    assert names_and_values(open_source(path)) == names_and_values(MemorySource(events))


def rows(path: str) -> list[dict[str, Any]]:
    source = open_source(path)
    found: list[Any] = [record.value for record in drain(source)]
    source.close()
    return found


def cells(event: Event, names: list[str], kinds: dict[str, set[str]], form: str) -> dict[str, Any]:
    """Naively: the row of a table that an event should be."""
    x = event_object(event)["x"]
    row: dict[str, Any] = {"id": event.id}
    for name in names:
        value = x.get(name, None if kinds[name] & {"text", "set"} else 0)
        if form == "csv":
            if isinstance(value, list):
                value = SEPARATOR.join(value)
            row[name] = "" if value is None else str(int(value) if value is True else value)
            row[name] = {"False": "0"}.get(row[name], row[name])
        elif isinstance(value, str) and "set" in kinds[name]:
            row[name] = [value]
        else:
            row[name] = float(value) if isinstance(value, bool | int) else value
    on = None if event.on is None else list(event.on)
    if form == "csv":
        return {**row, "id": str(event.id), "labels": "?" if on is None else SEPARATOR.join(on)}
    return {**row, "labels": on}


@pytest.mark.parametrize("form", ["csv", "parquet", "arrow"])
@settings(max_examples=80, deadline=None)
@given(events=streams(), unlabelled=st.booleans())
def test_a_table_has_a_row_for_each_event(
    tmp_path_factory: pytest.TempPathFactory, form: str, events: list[Event], unlabelled: bool
) -> None:
    pytest.importorskip("pyarrow")
    if unlabelled:
        events[-1].on = None
    assume(all(list(event.on or ()) != ["?"] for event in events))  # which is refused
    names: list[str] = []
    kinds: dict[str, set[str]] = {}
    for event in events:
        for name, value in event_object(event)["x"].items():
            kind = {str: "text", list: "set", type(None): "none"}.get(type(value), "number")
            names += [name] if name not in names else []
            kinds.setdefault(name, set()).add(kind)
    path = written(tmp_path_factory.mktemp("e"), f"e.{form}", events)
    found = rows(path)
    assert found == [cells(event, names, kinds, form) for event in events]
    assert all(list(row) == ["id", *names, "labels"] for row in found)


def test_columns_of_ours_give_way_and_times_have_one(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    events = [
        Event("a", {"id": 1.0, "labels": 2.0, "labels_": 3.0}, ["x"], ts=1_700_000_000_000),
        Event(7, {}, [], ts="2024-05-01T12:00:00Z"),
    ]
    expected = [
        {"id_": "a", "id": 1.0, "labels": 2.0, "labels_": 3.0, "labels__": ["x"],
         "ts": "1700000000000"},
        {"id_": "7", "id": 0.0, "labels": 0.0, "labels_": 0.0, "labels__": [],
         "ts": "2024-05-01T12:00:00Z"},
    ]  # fmt: skip
    assert rows(written(tmp_path, "e.parquet", events)) == expected
    (first, second) = rows(written(tmp_path, "e.csv", events))
    assert first["labels__"] == "x"
    assert (first["ts"], second["ts"]) == ("1700000000000", "2024-05-01T12:00:00Z")


def test_events_without_known_labels_stay_so_in_arff(tmp_path: Path) -> None:
    events = [Event(0, {"a": 1.0}, ["x"], off=["y"]), Event(1, {"a": 2.0})]
    path = written(tmp_path, "e.arff", events)
    assert names_and_values(open_source(path)) == names_and_values(MemorySource(events))
    assert b"@attribute 'y' {0,1}" in Path(path).read_bytes()


def test_declared_names_come_first(tmp_path: Path) -> None:
    events = [Event(0, {"b": 1.0}, ["y"])]
    path = written(tmp_path, "e.xmc", events, features=["a", "b"], labels=["x", "y"])
    assert Path(path).read_bytes() == b"1 2 2\n1 1:1.0\n"
    assert (tmp_path / "e.features.txt").read_bytes() == b"a\nb\n"
    assert (tmp_path / "e.labels.txt").read_bytes() == b"x\ny\n"


@pytest.mark.parametrize(
    ("name", "events", "words"),
    [
        ("e.libsvm", [Event(3, {"a": 1.0})], r"event 3: found no labels \(unlabelled\)"),
        ("e.xmc", [Event(3, {"a\nb": 1.0}, ["x"])], r"found the name 'a\\nb', accepted"),
        ("e.arff", [Event(3, {"a": 1.0}, [])], "found no labels, accepted for ARFF"),
        ("e.arff", [Event(3, {"a": 1.0}, ["a"])], "found 'a' for two attributes"),
        ("e.csv", [Event(3, {}, ["a|b"])], r"a label: found \| in 'a\|b'"),
        ("e.csv", [Event(3, {}, ["?"])], r"a label: found '\?' alone, which stands for unknown"),
        ("e.csv", [Event(3, {"t": ["a|b"]}, [])], r"a member of 't': found \| in 'a\|b'"),
        ("e.parquet", [Event(3, {"a": 1}, []), Event(4, {"a": "b"})], "'a': found numbers and te"),
        ("e.csv", [Event(3, {str(i): 1 for i in range(MOST_COLUMNS + 1)}, [])], "at most 10,000"),
        ("no/e.csv", [Event(3, {}, [])], "the folder .*no does not exist"),
    ],
)
def test_what_a_format_has_no_word_for_is_refused(
    tmp_path: Path, name: str, events: list[Event], words: str
) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(InputError, match=words):
        written(tmp_path, name, events)


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("e.parquet.gz", "found .gz for a table"),
        ("e.csv?xml=a.xml", "found parameter xml for writing CSV, accepted: format, delimiter"),
        ("file:-?format=libsvm", "found names that are no numbers"),
        ("file:-?format=parquet", "found standard output for a table"),
    ],
)
def test_what_cannot_be_written_is_said_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, ["data", "write", "river:yeast", to, "--limit", "5"])
    assert result.exit_code == 2
    assert words in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_malformed_event_is_named_and_no_file_begun(tmp_path: Path) -> None:
    source = MemorySource([b'{"id": 1, "x": {}, "y": []}', b"{"])
    with pytest.raises(InputError, match="memory, line 1: "):
        write_events_as("csv", source, parse_uri(str(tmp_path / "e.csv")))
    assert list(tmp_path.iterdir()) == []


def test_yeast_has_its_figures_in_every_format(tmp_path: Path) -> None:
    wanted = figures("river:yeast", "--limit", "300")["measures"]
    for name in ("y.arff", "y.libsvm", "y.xmc.xz"):
        path = str(tmp_path / name)
        result = runner.invoke(app, ["data", "write", "river:yeast", path, "--limit", "300"])
        assert result.exit_code == EXIT_OK, result.output
        assert figures(path)["measures"] == wanted, name


def test_standard_output_takes_what_is_text(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    events = [Event(0, {"1": 2.0}, ["3"])]
    write_events_as("xmc", MemorySource(events), parse_uri("-"))
    assert capsysbinary.readouterr().out == b"1 2 4\n3 1:2.0\n"


@pytest.mark.parametrize("data", ["emotions", "birds-train", "medical", "enron"])
@pytest.mark.parametrize("name", ["e.libsvm.gz", "e.xmc", "e.arff.zst"])
def test_a_published_set_comes_back(tmp_path: Path, data: str, name: str) -> None:
    path = data_dir() / f"{data}.arff.gz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    location = parse_uri(str(tmp_path / name))
    form = name.split(".")[1]
    original = open_source(str(path))
    assert write_events_as(form, original, location, limit=300) > 0
    original.close()
    first = names_and_values(limited(str(path)))
    assert names_and_values(open_source(str(tmp_path / name))) == first


def limited(path: str) -> MemorySource:
    source = open_source(path)
    records = list(source.next_batch(300, 1.0) or ())
    source.close()
    return MemorySource(records, features=source.features, labels=source.labels)


def test_a_line_of_json_is_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl.bz2"
    result = runner.invoke(app, ["data", "write", "river:yeast", str(path), "--limit", "3"])
    assert result.exit_code == EXIT_OK
    source = open_source(str(path))
    bodies = [orjson.loads(record.value or b"") for record in drain(source)]  # type: ignore[arg-type]
    source.close()
    assert [body["id"] for body in bodies] == [0, 1, 2]
