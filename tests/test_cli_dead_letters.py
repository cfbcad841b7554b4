"""Dead letters shown and sent again: what is told, what is sent, and that nothing is sent twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from ihomer.connectors.base import Headers, Message, Record
from ihomer.connectors.files.sink import FileSink
from ihomer.connectors.memory import MemorySink
from ihomer.errors import EXIT_INPUT, EXIT_OK, EXIT_USAGE, InputError, MalformedEventError
from ihomer.stream.cli import app
from ihomer.stream.dead_letters import dead_letter
from ihomer.stream.decode import Decoder
from ihomer.stream.letter_replay import Bookmark, Outcome, Way, replay_letters
from ihomer.stream.letter_source import read_letters
from ihomer.stream.letters import Selection, letter_of_line, letter_of_record, same_place

GOOD = b'{"x": {"a": 1}, "y": ["t"]}'
VALUES = (b"hello", GOOD, b"\xff\x1b[31m", None, b'{"x": 1}', GOOD + b" ", b"two\nlines", b"late")


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IHOMER_STATE_DIR", str(tmp_path / "state"))


def refused(
    value: bytes | None, offset: int, headers: Headers = (), max_bytes: int = 1_000
) -> Message:
    """The letter of a record, with the reason that it is refused for, or as one that is mended."""
    record = Record(value, "tickets", offset % 3, offset, b"key", headers, 1_700_000_000_000)
    fault = MalformedEventError("vocabulary", "too-many-labels", "y: found one more, accepted: 2")
    try:
        Decoder().decode(record)
    except MalformedEventError as found:
        fault = found
    return dead_letter(record, fault, "1", max_bytes)


def put_away(path: str, letters: Sequence[Message]) -> None:
    sink = FileSink(path, append=True, envelope=True)
    sink.write(letters)
    sink.close()


@pytest.fixture
def dead() -> str:
    put_away(
        "dead.jsonl", [refused(value, i, (("trace", b"\x01"),)) for i, value in enumerate(VALUES)]
    )
    return "dead.jsonl"


def run(*arguments: str, code: int = EXIT_OK) -> Result:
    result = CliRunner().invoke(app, ["dead-letters", *arguments])
    assert result.exit_code == code, result.output
    return result


def shown(*arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run("show", *arguments, "--json").stdout.splitlines()]


def replayed(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("replay", *arguments, "--json").stdout)
    return found


def lines(path: str) -> list[bytes]:
    return Path(path).read_bytes().splitlines()


parts = st.none() | st.binary(max_size=8)
headers_ = st.lists(st.tuples(st.text(max_size=4), st.binary(max_size=4)), max_size=4)


@given(parts, parts, headers_, st.none() | st.integers(0, 2**50))
def test_a_letter_holds_what_came(
    value: bytes | None, key: bytes | None, headers: list[tuple[str, bytes]], timestamp: int | None
) -> None:
    """Through a topic and through a file, whatever bytes the headers are of."""
    record = Record(value, "t:1", 4, 7, key, tuple(headers), timestamp)
    fault = MalformedEventError("parse", "not-json", "event: not JSON")
    message = dead_letter(record, fault, "1")
    kept = Record(message.value, "dead", 0, 3, message.key, message.headers, message.timestamp)
    Path("one.jsonl").unlink(missing_ok=True)
    put_away("one.jsonl", [message])
    (line,) = lines("one.jsonl")
    for letter in (letter_of_record(kept), letter_of_line("one.jsonl", 1, line)):
        assert letter.message == Message(value, key, tuple(headers), timestamp, 4)
        assert (letter.topic, letter.partition, letter.offset) == ("t:1", 4, 7)
        assert (letter.stage, letter.kind, letter.reason) == (
            "parse",
            "not-json",
            "event: not JSON",
        )
        assert not letter.cut


def test_show_tells_when_why_where_from_and_how_it_begins(dead: str) -> None:
    found = run("show", dead).stdout.splitlines()
    assert found[0].split("\t") == ["time", "class", "origin", "reason", "event"]
    assert len(found) == 1 + len(VALUES)
    columns = found[1].split("\t")
    assert columns[0] == "2023-11-14T22:13:20.000Z"
    assert columns[1:3] == ["not-json", "tickets:0:0"]
    assert columns[3].startswith("event: not JSON")
    assert columns[4] == "hello"
    # Nothing that moves a cursor or changes a colour reaches the terminal.
    assert all(line.replace("\t", "").isprintable() for line in found)
    assert found[3].split("\t")[4] == r"\xff\x1b[31m"
    assert found[4].split("\t")[4] == "(no value)"


def test_show_selects(dead: str) -> None:
    assert [each["offset"] for each in shown(dead)] == list(range(8))
    assert [each["offset"] for each in shown(dead, "--limit", "3")] == [0, 1, 2]
    assert {each["class"] for each in shown(dead, "--class", "not-utf-8")} == {"not-utf-8"}
    assert [e["offset"] for e in shown(dead, "--class", "tombstone", "--class", "x-type")] == [3, 4]
    assert [each["offset"] for each in shown(dead, "--origin", "tickets:1")] == [1, 4, 7]
    assert [each["offset"] for each in shown(dead, "--origin", "tickets:1:4")] == [4]
    assert [each["offset"] for each in shown(dead, "--origin", "tickets")] == list(range(8))
    assert shown(dead, "--origin", "ticket") == []
    assert [each["offset"] for each in shown(dead, "--reason", "one more")] == [1, 5]


def test_show_reads_what_the_configuration_names(dead: str) -> None:
    Path("ihomer.toml").write_text(f'dead_letters = "{dead}"\n')
    assert len(shown()) == len(VALUES)
    Path("ihomer.toml").unlink()
    assert "found none" in run("show", code=EXIT_USAGE).stderr


def test_what_is_no_letter_is_told_with_its_place_and_the_rest_is_shown(dead: str) -> None:
    with Path(dead).open("ab") as file:
        file.write(b'{"id": 1}\nnot JSON\n{"value":"*","key":null,"headers":{},"timestamp":1}\n')
        file.write(b'{"value":null,"key":null,"headers":{"a":"b"},"timestamp":null}\n')
    result = run("show", dead, code=EXIT_INPUT)
    assert len(result.stdout.splitlines()) == 1 + len(VALUES)
    for number in (9, 10, 11):
        assert f"dead.jsonl, line {number}: found no dead letter" in result.stderr
    assert "dead.jsonl, line 12: found no header ihomer.errors.topic" in result.stderr
    assert "4 of what was read is no dead letter" in result.stderr


def test_replay_sends_what_came_and_says_what_it_left(dead: str) -> None:
    outcome = replayed(dead, "--to", "again.jsonl")
    assert lines("again.jsonl") == [v for v in VALUES if v is not None and b"\n" not in v]
    assert outcome["sent"] == 6
    assert outcome["good"] == 2
    assert outcome["left"] == {"no line of a file": 2}
    assert outcome["refused"]["not-json"] == 3
    told = run("replay", dead, "--to", "again.jsonl").stdout
    assert "0 sent to again.jsonl; 0 letters read" in told


def test_a_second_replay_sends_what_is_new_and_nothing_twice(dead: str) -> None:
    assert replayed(dead, "--to", "again.jsonl")["sent"] == 6
    assert replayed(dead, "--to", "again.jsonl")["sent"] == 0
    put_away(dead, [refused(b"new", 8)])
    assert replayed(dead, "--to", "again.jsonl")["sent"] == 1
    assert lines("again.jsonl")[6:] == [b"new"]
    # Another target or selection is another replay, and so is one that is asked for.
    assert replayed(dead, "--to", "other.jsonl")["sent"] == 7
    assert replayed(dead, "--to", "again.jsonl", "--class", "x-type")["sent"] == 1
    assert replayed(dead, "--to", "again.jsonl", "--again")["sent"] == 7


def test_limits_go_on_where_they_ended(dead: str) -> None:
    for _ in range(5):
        replayed(dead, "--to", "again.jsonl", "--limit", "2")
    assert lines("again.jsonl") == [v for v in VALUES if v is not None and b"\n" not in v]


def test_only_what_is_mended(dead: str) -> None:
    outcome = replayed(dead, "--to", "again.jsonl", "--only-good")
    assert lines("again.jsonl") == [GOOD, GOOD + b" "]
    assert outcome["left"] == {"still malformed": 6}
    # A configuration that declares the names mends an array.
    put_away("arrays.jsonl", [refused(b'{"x": [1, 2]}', 0)])
    assert replayed("arrays.jsonl", "--to", "a.jsonl", "--only-good")["sent"] == 0
    Path("ihomer.toml").write_text('names = ["a", "b"]\n')
    assert replayed("arrays.jsonl", "--to", "a.jsonl", "--only-good", "--again")["sent"] == 1


def test_a_dry_run_sends_and_remembers_nothing(dead: str) -> None:
    for arguments in ((dead, "--dry-run"), (dead, "--dry-run", "--to", "again.jsonl")):
        result = run("replay", *arguments).stdout
        assert "would be sent" in result
        assert "2 of those selected are events by now" in result
    assert not Path("again.jsonl").exists()
    assert not Path("state").exists()
    assert "--to: found none" in run("replay", dead, code=EXIT_USAGE).stderr


def test_a_letter_that_was_cut_is_left() -> None:
    put_away("dead.jsonl", [refused(b"x" * 100, 0, max_bytes=10), refused(b"short", 1)])
    outcome = replayed("dead.jsonl", "--to", "again.jsonl")
    assert outcome["left"] == {"cut": 1}
    assert lines("again.jsonl") == [b"short"]


def test_a_line_that_is_being_written_waits_for_its_end(dead: str) -> None:
    whole = Path(dead).read_bytes()
    Path(dead).write_bytes(whole + whole.splitlines()[0][:50])
    assert len(shown(dead)) == len(VALUES)
    assert replayed(dead, "--to", "again.jsonl")["read"] == len(VALUES)
    Path(dead).write_bytes(whole + whole.splitlines()[0] + b"\n")
    assert replayed(dead, "--to", "again.jsonl")["sent"] == 1


def test_places_that_cannot_be(dead: str) -> None:
    assert "accepted: another place" in run("replay", dead, "--to", dead, code=EXIT_USAGE).stderr
    assert "accepted: kafka" in run("replay", dead, "--to", "river:yeast", code=EXIT_USAGE).stderr
    assert "accepted: a file" in run("show", "river:yeast", code=EXIT_USAGE).stderr
    assert "no such file" in run("show", "missing.jsonl", code=EXIT_INPUT).stderr
    assert same_place("kafka://h:1/t?group=a", "kafka://h:1/t")
    assert not same_place("kafka://h:1/t", "kafka://h:1/u")


class Tripping(MemorySink):
    """Refuses to acknowledge after so many flushes."""

    def __init__(self, flushes: int) -> None:
        super().__init__()
        self.left = flushes

    def flush(self) -> None:
        if not self.left:
            raise InputError("no room")
        self.left -= 1
        super().flush()


@pytest.mark.parametrize("flushes", range(4))  # there are four steps
def test_after_an_error_nothing_is_lost_and_nothing_acknowledged_sent_twice(
    dead: str, flushes: int, tmp_path: Path
) -> None:
    bookmark = Bookmark(tmp_path / "state", dead, "memory", {})
    way = Way(Selection(), Decoder())
    sink, done = Tripping(flushes), Outcome()
    with pytest.raises(InputError, match="no room"):
        replay_letters(read_letters(dead, bookmark.read(), 2), way, sink, bookmark, done)
    assert done.sent == len(sink.messages) == 2 * flushes
    rest = MemorySink()
    replay_letters(read_letters(dead, bookmark.read(), 2), way, rest, bookmark, Outcome())
    sent = [message.value for message in (*sink.messages, *rest.messages)]
    assert sent == list(VALUES)
    assert {message.headers for message in rest.messages} == {(("trace", b"\x01"),)}


def test_the_time_of_sending_if_that_is_wanted(dead: str) -> None:
    for now in (False, True):
        sink = MemorySink()
        replay_letters(
            read_letters(dead), Way(Selection(), Decoder(), now=now), sink, None, Outcome()
        )
        times = {message.timestamp for message in sink.messages}
        assert times == ({None} if now else {1_700_000_000_000})


def test_a_bookmark_of_something_else_is_refused(tmp_path: Path) -> None:
    bookmark = Bookmark(tmp_path, "a", "b", {})
    assert bookmark.read() is None
    bookmark.write({"line": 3})
    assert Bookmark(tmp_path, "a", "b", {}).read() == {"line": 3}
    assert Bookmark(tmp_path, "a", "c", {}).read() is None
    for text in (b"", b"[]", b'{"position": {"line": 1}, "replay": {}}'):
        bookmark.path.write_bytes(text)
        with pytest.raises(InputError, match="found no position of this replay"):
            bookmark.read()
    assert not [path for path in bookmark.path.parent.iterdir() if path != bookmark.path]
