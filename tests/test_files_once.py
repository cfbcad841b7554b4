"""The parts of exactly once from files to files: steps, position file, inputs, outputs, choice."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer import faults
from ihomer.connectors.base import Message
from ihomer.connectors.files.sink import FileSink
from ihomer.connectors.uri import open_sources
from ihomer.errors import InputError, UsageError
from ihomer.stream.exactly_once.plan import choose_delivery
from ihomer.stream.files_once import outputs, position
from ihomer.stream.files_once.inputs import Inputs
from ihomer.stream.files_once.places import file_app
from ihomer.stream.files_once.position import NAME, Progress
from ihomer.stream.files_once.steps import Steps
from ihomer.stream.settings import Settings

# Steps, and a list that is the same.


@given(
    st.integers(0, 10**9),
    st.lists(st.sampled_from([1, 10, 64])),
    st.lists(st.integers(0, 20), max_size=3),
)
def test_steps_are_a_list(first: int, counts: list[int], forgotten: list[int]) -> None:
    steps, naive = Steps(first), [*counts]
    for count in counts:
        steps.add(count)
    for number in forgotten:
        steps.forget(steps.first + number)
        del naive[:number]
    steps = Steps.from_json(json.loads(json.dumps(steps.to_json())))
    assert steps.last - steps.first == len(naive)
    assert steps.last == first + len(counts)
    for at in range(len(naive) + 1):
        assert list(steps.after(steps.first + at)) == naive[at:]
    for wrong in (steps.first - 1, steps.last + 1):
        with pytest.raises(ValueError, match="known"):
            list(steps.after(wrong))


def test_equal_batches_need_no_room() -> None:
    steps = Steps(0)
    for _ in range(100_000):
        steps.add(64)
    assert steps.to_json() == {"first": 0, "runs": [[100_000, 64]]}


@pytest.mark.parametrize(
    "found",
    [
        None,
        [],
        {"first": 1},
        {"first": -1, "runs": []},
        {"first": True, "runs": []},
        {"first": 0, "runs": [[1]]},
        {"first": 0, "runs": [[0, 5]]},
        {"first": 0, "runs": [["1", 5]]},
        {"first": 0, "runs": 7},
    ],
)
def test_what_are_no_steps_is_refused(found: Any) -> None:
    with pytest.raises(ValueError, match="steps"):
        Steps.from_json(found)


# The position file.

PROGRESS = Progress(
    batch=7,
    events=440,
    epoch=2,
    position={"line": 449, "byte": 9000},
    inputs=[{"path": "a", "bytes": 9000, "crc32": 1, "stamp": [1, 2, 3, 4]}],
    declared=17,
    outputs={"/p.jsonl": 12_000},
    steps={"first": 0, "runs": [[7, 64]]},
    began=0,
    start={"line": 1, "byte": 0},
    empty=True,
    ended=False,
)


def test_a_position_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert position.read(tmp_path) is None
    for batch in (7, 8):
        written = dataclasses.replace(PROGRESS, batch=batch)
        position.write(tmp_path, written)
        assert position.read(tmp_path) == written
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


@given(data=st.data())
def test_any_damage_is_found(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("damage")
    position.write(folder, PROGRESS)
    whole = (folder / NAME).read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[at]))
    cut = data.draw(st.booleans())
    (folder / NAME).write_bytes(whole[:at] + (b"" if cut else bytes([other]) + whole[at + 1 :]))
    with pytest.raises(InputError, match=r"position\.json: found .*accepted: ") as refused:
        position.read(folder)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("point", ["mid-position-write", "before-position-rename"])
def test_a_full_disk_leaves_the_position_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    position.write(tmp_path, PROGRESS)
    monkeypatch.setattr(faults, "_wanted", {(point, faults._passed[point] + 1): "full"})
    with pytest.raises(InputError, match=r"position\.json: cannot be written \(No space left"):
        position.write(tmp_path, dataclasses.replace(PROGRESS, batch=8))
    assert position.read(tmp_path) == PROGRESS
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_halves_are_removed(tmp_path: Path) -> None:
    (tmp_path / f".tmp-{NAME}-00ff").write_bytes(b"{")
    assert position.read(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


# The inputs.

LINES = [b'{"x": {"a": %d}}' % i for i in range(300)]


def read_some(paths: list[str], records: int) -> list[Any]:
    """What is known of the files after so many records have been read."""
    source, inputs = open_sources(paths), Inputs(paths)
    left = records
    while left:
        left -= len(source.next_batch(min(left, 50), 0.0) or ())
        inputs.advance(source, source.position())
    found = json.loads(json.dumps(inputs.to_json()))
    source.close()
    inputs.close()
    return list(found)


def again(paths: list[str], known: list[Any]) -> None:
    inputs = Inputs(paths)
    try:
        inputs.go_on(known)
    finally:
        inputs.close()


def change(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    for path in paths:
        path.write_bytes(b"\n".join(LINES) + b"\n")
    return paths


@given(at=st.integers(0, 10**6), records=st.integers(1, 300))
def test_a_change_before_the_position_is_found(
    at: int, records: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("input") / "one.jsonl"
    path.write_bytes(b"\n".join(LINES) + b"\n")
    known = read_some([str(path)], records)
    done = known[0]["bytes"]
    again([str(path)], known)
    known[0]["stamp"] = []  # what a stamp is good for depends on how fast this test is
    change(path, at % path.stat().st_size)
    if at % path.stat().st_size < done:
        with pytest.raises(InputError, match="found other bytes than before among the first"):
            again([str(path)], known)
    else:
        again([str(path)], known)


def test_a_file_may_grow_but_not_shrink(files: list[Path]) -> None:
    names = [str(files[0])]
    known = read_some(names, 300)
    with files[0].open("ab") as file:
        file.write(LINES[0])
    again(names, known)
    os.truncate(files[0], 100)
    with pytest.raises(InputError, match=r"one\.jsonl: found 100 bytes where \d+ had been read"):
        again(names, known)


def test_only_the_last_file_that_was_begun_may_grow(files: list[Path]) -> None:
    names = [*map(str, files)]
    for records, begun in ((100, 1), (301, 2)):
        known = read_some(names, records)
        for number, path in enumerate(files, 1):
            whole = path.read_bytes()
            path.write_bytes(whole + b"{}\n")
            if number < begun:
                with pytest.raises(InputError, match=r"3 bytes appended, but .*two"):
                    again(names, known)
            else:
                again(names, known)
            path.write_bytes(whole)


def test_a_file_that_is_shortened_under_way_is_told(files: list[Path]) -> None:
    source, inputs = open_sources([str(files[0])]), Inputs([str(files[0])])
    source.next_batch(200, 0.0)
    os.truncate(files[0], 10)
    with pytest.raises(InputError, match=r"found 10 bytes where \d+ had been read"):
        inputs.advance(source, source.position())
    source.close()
    inputs.close()


def test_a_file_that_is_not_there_is_told(files: list[Path]) -> None:
    with pytest.raises(InputError, match=r"gone\.jsonl: no such file"):
        Inputs([str(files[0]), "gone.jsonl"])


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_last_line_may_be_ended_later(files: list[Path], end: bytes) -> None:
    path = files[0]
    path.write_bytes(b"1" + end + b"2")
    source = open_sources([str(path)])
    assert len(source.next_batch(9, 0.0) or ()) == 2
    place = source.position()
    source.close()
    for added, numbers in ((b"", []), (end, []), (end + b"3", [3]), (end + end + b"4", [4])):
        path.write_bytes(b"1" + end + b"2" + added)
        again_source = open_sources([str(path)])
        again_source.seek(place)
        found = again_source.next_batch(9, 0.0) or ()
        assert [record.offset for record in found] == numbers
        again_source.close()
    path.write_bytes(b"1" + end + b"22" + end)
    other = open_sources([str(path)])
    with pytest.raises(InputError, match="no line starts there"):
        other.seek(place)
    other.close()


# The outputs.


def test_outputs_are_looked_at_before_any_is_cut(tmp_path: Path) -> None:
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    Path(one).write_bytes(b"1234567890")
    lengths = {one: 4, two: 1}
    with pytest.raises(InputError, match="two: found no such file, accepted"):
        outputs.check(lengths, [one, two], ended=False)
    Path(two).write_bytes(b"")
    with pytest.raises(InputError, match="two: found 0 bytes where 1 had been written"):
        outputs.check(lengths, [one, two], ended=False)
    assert Path(one).read_bytes() == b"1234567890"
    Path(two).write_bytes(b"x")
    outputs.check(lengths, [one, two], ended=False)
    with pytest.raises(InputError, match=r"one: found 10 bytes .*somebody has added to it"):
        outputs.check(lengths, [one, two], ended=True)
    # Of what is not written any more nothing is asked.
    outputs.check({**lengths, str(tmp_path / "gone"): 3}, [one, two], ended=False)
    outputs.cut({**lengths, str(tmp_path / "gone"): 3})
    assert (Path(one).read_bytes(), Path(two).read_bytes()) == (b"1234", b"x")


def test_what_was_written_is_put_away(tmp_path: Path) -> None:
    path, link = tmp_path / "p.jsonl", tmp_path / "link"
    for content in (b"first", b"second"):
        path.write_bytes(content)
        outputs.put_away([str(path), str(tmp_path / "gone")])
    link.symlink_to(path)
    path.write_bytes(b"third")
    outputs.put_away([str(link)])
    path.write_bytes(b"")
    outputs.put_away([str(path)])
    found = {each.name: each.read_bytes() for each in tmp_path.iterdir() if not each.is_symlink()}
    assert found == {
        "p.jsonl": b"",
        "p.jsonl.1": b"first",
        "p.jsonl.2": b"second",
        "p.jsonl.3": b"third",
    }


def test_a_gate_that_is_shut_lets_nothing_through(tmp_path: Path) -> None:
    gate = outputs.Gate(FileSink(str(tmp_path / "p.jsonl"), append=True))
    gate.write([Message(b"1")])
    gate.open = False
    gate.write([Message(b"2")])
    assert (gate.length(), gate.queued()) == (2, (1, 2))
    gate.flush()
    assert (gate.length(), gate.queued()) == (2, (0, 0))
    gate.open = True
    gate.write([Message(b"3")])
    gate.flush()
    gate.cut(2)
    gate.write([Message(b"4")])
    gate.close()
    assert (tmp_path / "p.jsonl").read_bytes() == b"1\n4\n"


# What is promised.


def pipe(folder: Path) -> str:
    os.mkfifo(folder / "pipe.jsonl")
    return str(folder / "pipe.jsonl")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (lambda _: {"source": "-"}, "source is standard input"),
        (lambda _: {"source": ["a.jsonl", "b.arff.gz"]}, "source is compressed"),
        (lambda folder: {"source": pipe(folder)}, "source is no regular file"),
        (lambda _: {"sink": "-"}, "sink is standard output"),
        (lambda _: {"sink": "kafka://h:1/t"}, "sink is no file"),
        (lambda _: {"dead_letters": "/dev/null"}, "dead_letters is no regular file"),
        (lambda _: {"events": "e.jsonl.gz"}, "events is compressed"),
        (lambda _: {"events": "e\udcff.jsonl"}, "events has a name that is not printable"),
        (lambda _: {"labels_source": "l.jsonl"}, "labels come from a source of their own"),
    ],
)
def test_what_cannot_be_promised(
    tmp_path: Path, changes: Callable[[Path], dict[str, Any]], reason: str
) -> None:
    keys = {"source": "a.jsonl", "sink": "p.jsonl", **changes(tmp_path)}
    chosen = choose_delivery(Settings(**keys))
    assert (chosen.name, chosen.reason) == ("at-least-once", reason)
    with pytest.raises(UsageError, match=f'"exactly-once", but {reason}; accepted: .*plain files'):
        choose_delivery(Settings(**keys, delivery="exactly-once"))


def test_files_are_read_and_written_exactly_once_by_default() -> None:
    keys: dict[str, Any] = {"source": ["a.jsonl", "b.arff"], "sink": "p.jsonl"}
    assert choose_delivery(Settings(**keys)) == (
        "exactly-once",
        "source and sinks are files",
        True,
    )
    assert choose_delivery(Settings(**keys, delivery="at-least-once")).files is False
    assert choose_delivery(Settings(source=["a.jsonl"])).reason == "no sink is set"
    assert choose_delivery(Settings(source=["a.jsonl"], delivery="exactly-once")).files
    generated = choose_delivery(Settings(source=["synthetic:text"], sink="p.jsonl"))
    assert (generated.name, generated.reason) == ("at-least-once", "source is no topic")


def test_an_application_is_called_by_its_files(tmp_path: Path) -> None:
    one = Settings(source=["a.jsonl"], sink="p.jsonl")
    assert file_app(one) == file_app(Settings(source=["./a.jsonl"], sink="x/../p.jsonl"))
    others = [
        one.model_copy(update={"sink": "q.jsonl"}),
        one.model_copy(update={"source": ["b.jsonl"]}),
        one.model_copy(update={"source": ["a.jsonl", "b.jsonl"]}),
        one,
    ]
    assert len({file_app(each) for each in others}) == 4
    assert file_app(one.model_copy(update={"app": "mine"})) == "mine"
    assert file_app(one.model_copy(update={"source": ["/ü/-. .jsonl"]}))[:6] == "jsonl-"
