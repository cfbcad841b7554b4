"""``ihomer data`` as a user meets it: the table, the paths, downloads, a line for a mistake."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from ihomer.connectors.datasets import catalogue
from ihomer.connectors.datasets.catalogue import CATALOGUE, DataSet, find_data_set
from ihomer.connectors.datasets.record import FILE
from ihomer.connectors.uri import open_sources
from ihomer.errors import EXIT_INPUT, EXIT_OK, EXIT_UNAVAILABLE, EXIT_USAGE
from ihomer.stream.cli import EXIT_INTERRUPTED, app
from ihomer.stream.cli.data import progress_line, transfer
from tests.data import data_dir
from tests.http_server import Server, broken, serving, slow, whole
from tests.test_datasets import ARFF, TINY, names, packed

IHOMER = Path(sys.executable).with_name("ihomer")


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = [name for name in os.environ if name.upper().startswith("IHOMER_")]
    for name in [*gone, "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def two(server: Server, monkeypatch: pytest.MonkeyPatch) -> tuple[DataSet, ...]:
    """A catalogue of two data sets on the local server, the first of which is not there."""
    absent = replace(TINY, name="absent", url=f"{server.url}/absent.zip")
    tiny = replace(TINY, url=server.plan("/tiny.zip", whole(packed())))
    entries = (absent, tiny, find_data_set("yeast"))
    monkeypatch.setattr(catalogue, "CATALOGUE", entries)
    monkeypatch.setattr(catalogue.find_data_set, "__defaults__", (entries,))
    return entries


def data(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["data", *arguments])


def refusal(code: int, *arguments: str) -> str:
    """The one line that a command ends with."""
    result = data(*arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("ihomer: error: ")
    return result.stderr


def test_the_list_names_every_stream() -> None:
    result = data("list")
    assert result.exit_code == EXIT_OK
    for data_set in CATALOGUE:
        row = next(line for line in result.stdout.splitlines() if f" {data_set.name} " in line)
        for figure in (f"{data_set.events:,}", f"{data_set.cardinality:.2f}", data_set.source):
            assert figure in row
    assert "river:yeast" in result.stdout


def test_the_list_as_json_says_where_they_are() -> None:
    Path("d").mkdir()
    Path("d/emotions.arff.gz").touch()
    result = data("list", "--json", "--data-dir", "d")
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert list(rows) == [data_set.name for data_set in CATALOGUE]
    assert rows["emotions"]["uris"] == ["d/emotions.arff.gz"]
    assert rows["yeast"]["uris"] == ["river:yeast"]
    assert rows["birds"]["uris"] == []
    assert rows["birds"]["page"].startswith("https://")
    assert (rows["birds"]["events"], rows["birds"]["labels"]) == (645, 19)


def test_a_path_in_stream_order(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("d").mkdir()
    for name in ("birds-test.arff.gz", "birds-train.arff.gz", "birds.xml"):
        Path("d", name).touch()
    expected = "d/birds-train.arff.gz\nd/birds-test.arff.gz\n"
    assert data("path", "birds", "--data-dir", "d").stdout == expected
    monkeypatch.setenv("IHOMER_DATA_DIR", "d")
    assert data("path", "Birds").stdout == expected


def test_a_path_of_real_files_is_one_stream() -> None:
    paths = data("path", "birds", "--data-dir", str(data_dir())).stdout.split()
    source = open_sources(paths)
    assert (source.n_attributes, len(source.labels)) == (260, 19)
    events = 0
    while (records := source.next_batch(1000, 0.0)) is not None:
        events += len(records)
    source.close()
    assert events == 645


def test_a_path_that_is_not_there() -> None:
    line = refusal(EXIT_INPUT, "path", "emotions")
    assert "ihomer data fetch emotions" in line
    assert "home/ihomer/data" in line


def test_an_unknown_name() -> None:
    for command in ("path", "fetch"):
        assert "accepted: flags, foodtruck" in refusal(EXIT_USAGE, command, "musik")


@pytest.mark.parametrize(
    "arguments", [[], ["emotions", "--all"], ["emotions", "--again", "--verify"]]
)
def test_wrong_arguments(arguments: list[str]) -> None:
    assert "accepted: one of them" in refusal(EXIT_USAGE, "fetch", *arguments)


def test_fetch_then_path_then_replay(two: tuple[DataSet, ...]) -> None:
    result = data("fetch", "tiny", "--data-dir", "d")
    assert (result.exit_code, result.stdout) == (EXIT_OK, "tiny: fetched: d/tiny.arff\n")
    assert result.stderr == ""
    path = data("path", "tiny", "--data-dir", "d").stdout.strip()
    assert Path(path).read_bytes() == ARFF
    again = data("fetch", "tiny", "--data-dir", "d")
    assert again.stdout == "tiny: present: d/tiny.arff\n"
    assert data("fetch", "yeast").stdout == "yeast: present: river:yeast\n"
    assert data("fetch", "tiny", "--data-dir", "d", "--again", "--quiet").output == ""


def test_all_goes_on_after_one_that_fails(two: tuple[DataSet, ...]) -> None:
    result = data("fetch", "--all", "--data-dir", "d")
    assert result.exit_code == EXIT_UNAVAILABLE
    assert "tiny: fetched" in result.stdout
    assert result.stderr.count("ihomer: error: absent: ") == 1
    assert "404" in result.stderr
    assert names(Path("d")) == [FILE, "tiny.arff"]


def test_one_that_fails_is_one_line(two: tuple[DataSet, ...]) -> None:
    line = refusal(EXIT_UNAVAILABLE, "fetch", "absent", "--data-dir", "d")
    assert "in a browser and put it in d as absent.arff" in line


def test_warnings_and_retries_are_told(
    server: Server, two: tuple[DataSet, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    entries = (replace(two[1], events=40),)
    monkeypatch.setattr(catalogue.find_data_set, "__defaults__", (entries,))
    server.plan("/tiny.zip", broken(packed(), 20), whole(packed()))
    result = data("fetch", "tiny", "--data-dir", "d")
    assert result.exit_code == EXIT_OK
    first, second = result.stderr.splitlines()
    assert "attempt 2 of" in first
    assert second.startswith("ihomer: warning: tiny: found events 4 (catalogue: 40)")


def test_verify(two: tuple[DataSet, ...]) -> None:
    assert "found no file of it" in refusal(EXIT_INPUT, "fetch", "tiny", "--verify")
    data("fetch", "tiny", "--data-dir", "d")
    result = data("fetch", "--all", "--verify", "--data-dir", "d")
    assert (result.exit_code, result.stdout) == (EXIT_OK, "d/tiny.arff: as recorded\n")
    Path("d/tiny.arff").write_bytes(ARFF + b"1,x,0,0\n")
    assert "other data" in refusal(EXIT_INPUT, "fetch", "tiny", "--verify", "--data-dir", "d")
    Path("d", FILE).unlink()
    result = data("fetch", "tiny", "--verify", "--data-dir", "d")
    assert "no checksum recorded" in result.stdout


@pytest.mark.parametrize("command", [[], ["list"], ["path"], ["fetch"]])
def test_help_has_an_example(command: list[str]) -> None:
    result = data(*command, "--help")
    assert result.exit_code == EXIT_OK
    if command:
        assert "Example: ihomer" in result.stdout


def test_progress_on_a_terminal_is_a_bar() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    with transfer(console, "imdb", quiet=False) as move:
        move(2_000_000, 4_000_000)  # resumed
        move(3_000_000, 4_000_000)
        move(4_000_000, 4_000_000)
    assert "imdb" in out.getvalue()
    assert "4.0/4.0 MB" in out.getvalue()


def test_progress_elsewhere_is_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    out = io.StringIO()
    with transfer(Console(file=out, width=100), "imdb", quiet=False) as move:
        move(2_000_000, 8_000_000)
        now = 105.0
        move(3_000_000, 8_000_000)
        now = 110.0
        move(4_000_000, 8_000_000)
    assert out.getvalue() == "imdb: 4.0 of 8.0 MB, 0.20 MB/s, 20 s left\n"
    with transfer(Console(file=out), "imdb", quiet=True) as move:
        now = 200.0
        move(1, 2)
    assert out.getvalue().count("\n") == 1


def test_a_rate_without_time_is_none() -> None:
    assert progress_line("a", 5, 10, 5, 0.0) == "a: 0.0 of 0.0 MB, 0.00 MB/s"


# What the installed command needs for a catalogue of the test's own.
SITE = """
from dataclasses import replace
from ihomer.connectors.datasets import catalogue
entry = replace(catalogue.find_data_set("emotions"), url={url!r}, member="Tiny.arff")
catalogue.CATALOGUE = (entry,)
catalogue.find_data_set.__defaults__ = ((entry,),)
from ihomer.stream.cli import main
main()
"""


def test_an_interrupt_leaves_what_can_be_resumed(server: Server) -> None:
    noise = b"%" + bytes(33 + i * i % 89 for i in range(200_000)) + b"\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("Tiny.arff", noise + ARFF)
    body = buffer.getvalue()
    code = SITE.format(url=server.plan("/e.zip", slow(body, 40, 20.0), whole(body)))
    command = [sys.executable, "-c", code, "data", "fetch", "emotions", "--data-dir", "d"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    part = Path("d/emotions.download.part")
    try:
        deadline = time.monotonic() + 30
        while not (part.exists() and part.stat().st_size > 0):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (EXIT_INTERRUPTED, b"", b"")
    have = part.stat().st_size
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == EXIT_OK, done.stderr
    assert server.asked[-1][1]["Range"] == f"bytes={have}-"
    assert Path("d/emotions.arff").read_bytes() == noise + ARFF
    assert names(Path("d")) == [FILE, "emotions.arff"]


def test_the_installed_command() -> None:
    done = subprocess.run(
        [IHOMER, "data", "path", "yeast"], capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (EXIT_OK, b"river:yeast\n", b"")
