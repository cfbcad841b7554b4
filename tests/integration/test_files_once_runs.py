"""``ihomer run`` from a file to files as a real process that dies, is refused, and goes on."""

from __future__ import annotations

import base64
import csv
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from ihomer.errors import EXIT_INPUT, EXIT_OK
from ihomer.state.folder import ARRAYS
from ihomer.stream.checkpoints import CheckpointStore
from ihomer.stream.cli import app
from ihomer.stream.files_once import position
from tools.file_chaos import LIFE_KILLS, POINTS, RANDOM, chaos
from tools.file_rig import APP, CHECKPOINT_EVENTS, OUTPUTS, FileRig, Run

pytestmark = pytest.mark.integration

EVENTS = 1_500
runner = CliRunner()
DEAD = -int(signal.SIGKILL)


@pytest.fixture(autouse=True)
def _few_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("IHOMER_")]:
        if name != "IHOMER_CACHE_DIR":
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the twin has come to the end."""
    folder = tmp_path_factory.mktemp("undisturbed")
    made(folder).finish("twin")
    return folder


@pytest.fixture
def rig(tmp_path: Path, undisturbed: Path) -> FileRig:
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    return made(tmp_path)


def made(folder: Path, text: str = "", count: int = EVENTS) -> FileRig:
    (folder / "often.toml").write_text(
        f"checkpoint_events = {CHECKPOINT_EVENTS}\nbatch_size = 64\n{text}"
    )
    return FileRig(folder, count, ["--config", "often.toml"])


def die(rig: FileRig, fault: str) -> None:
    run = rig.start(fault=fault)
    assert run.wait() == DEAD, run.log


def refusal(rig: FileRig, *arguments: str, fault: str = "", max_bytes: int | None = None) -> str:
    """The one line that a run ends with."""
    run = rig.start(*arguments, fault=fault, max_bytes=max_bytes)
    assert run.wait() == EXIT_INPUT, run.log
    (line,) = [line for line in run.log.splitlines() if line.startswith("ihomer: error: ")]
    return line.removeprefix("ihomer: error: ")


def contents(rig: FileRig, name: str = "run") -> Iterator[bytes]:
    for kind in OUTPUTS:
        path = rig.output(name, kind)
        yield path.read_bytes() if path.exists() else b""


def test_kills_at_every_point_and_at_random(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    try:
        outcome = chaos(made(tmp_path), len(POINTS) + 3, 1, seed)
    except AssertionError as error:
        pytest.fail(f"seed {seed}: {error}")
    assert set(POINTS) | {RANDOM} <= set(outcome.kills)
    assert outcome.lives >= (len(POINTS) + 3) / LIFE_KILLS


def test_other_formats_are_exactly_once_too(tmp_path: Path) -> None:
    source = tmp_path / "input.libsvm"
    written = runner.invoke(app, ["data", "write", "river:yeast", str(source), "--limit", "1200"])
    assert written.exit_code == EXIT_OK, written.output
    lines = source.read_bytes().splitlines(keepends=True)
    # A malformed event, and a last line that is only half there yet.
    source.write_bytes(b"".join([*lines[:900], b"0 1:one\n", *lines[900:1_000], lines[1_000][:20]]))
    (tmp_path / "often.toml").write_text("checkpoint_events = 300\nbatch_size = 64\n")
    rig = FileRig(tmp_path, 0, ["--config", "often.toml"], source.name, "csv")
    for fault in ("before-position:1", "before-flush:3", "after-position-rename:4"):
        die(rig, fault)
        rig.tear(b'torn,"')
    source.write_bytes(source.read_bytes() + b"".join([lines[1_000][20:], *lines[1_001:]]))
    rig.finish()
    rig.finish("twin")
    rig.check()
    text = rig.output("run", "predictions").read_text()
    rows = list(csv.reader(text.splitlines(keepends=True)))
    assert [row[0] for row in rows[:3]] == ["id", "1", "2"]
    assert len(rows) == 1_201


def test_rows_of_csv_are_mapped_exactly_once(tmp_path: Path) -> None:
    source = tmp_path / "input.csv"
    written = runner.invoke(app, ["data", "write", "river:yeast", str(source), "--limit", "900"])
    assert written.exit_code == EXIT_OK, written.output
    lines = source.read_bytes().splitlines(keepends=True)
    # A row of another length, one with a line end in it, one that is only half there yet.
    text = b"".join(
        [*lines[:500], b"1,2\n", *lines[500:700], lines[700].replace(b",", b',"\n",', 1)]
    )
    source.write_bytes(text + lines[701][:30])
    (tmp_path / "often.toml").write_text(
        "checkpoint_events = 300\nbatch_size = 64\n"
        '[mapping]\nid = "$.id"\nlabels = "$.labels"\nlabels_separator = "|"\n'
        'default = "numeric"\n'
    )
    rig = FileRig(tmp_path, 0, ["--config", "often.toml"], source.name, "csv")
    for fault in ("before-position:2", "after-position-rename:4"):
        die(rig, fault)
        rig.tear(b'torn,"')
    source.write_bytes(source.read_bytes() + b"".join([lines[701][30:], *lines[702:]]))
    rig.finish()
    rig.finish("twin")
    rig.check()
    letters = [orjson.loads(line) for line in rig.output("run", "dead").read_bytes().splitlines()]
    kinds = [letter["headers"]["ihomer.errors.class"] for letter in letters]
    assert kinds == ["csv-length", "csv-length"]
    assert base64.b64decode(letters[0]["value"]) == b"1,2"


def test_a_file_that_grows_and_ends_in_order_between(rig: FileRig) -> None:
    rig.finish()
    first = rig.output("run", "predictions").read_bytes()
    rig.finish()  # nothing has come
    assert rig.output("run", "predictions").read_bytes() == first
    rig.append(500)
    run = rig.start()
    assert run.end_after(0.4, signal.SIGTERM) in (EXIT_OK, -int(signal.SIGTERM)), run.log
    rig.finish()
    rig.finish("whole")
    for mine, theirs in zip(contents(rig), contents(rig, "whole"), strict=True):
        assert mine == theirs
    assert rig.output("run", "predictions").read_bytes().startswith(first)


def test_what_was_there_before_stays(rig: FileRig) -> None:
    before = b'{"mine": 1}\n{"torn'
    for kind in OUTPUTS:
        rig.output("run", kind).write_bytes(before)
    die(rig, "before-position:1")
    rig.tear(b'{"id": 9')
    rig.finish()
    for mine, theirs in zip(contents(rig), contents(rig, "twin"), strict=True):
        assert mine == before + b"\n" + theirs


def test_labels_that_come_late_are_waited_for_through_deaths(tmp_path: Path) -> None:
    rig = made(tmp_path, "late_labels = true\nlabel_wait_events = 100\n", 0)
    lines = []
    for i in range(1_200):
        lines.append(b'{"id": %d, "x": {"a": %d}}' % (i, i % 7))
        if i >= 60 and i % 10:
            lines.append(b'{"id": %d, "y": ["l%d"]}' % (i - 60, i % 3))
    rig.source.write_bytes(b"\n".join(lines) + b"\n")
    rig.finish("twin")
    for fault in ("after-position-rename:3", "before-flush:2", "during-recovery:1"):
        die(rig, fault)
    rig.finish()
    rig.check()


def test_a_checkpoint_that_is_damaged_is_set_aside(rig: FileRig) -> None:
    die(rig, "after-position-rename:5")
    store = CheckpointStore(rig.state("run"))
    while not (marks := [each for each in store.list() if each.mark and each.mark.batch]):
        die(rig, "after-position-rename:5")
    os.truncate(marks[-1].path / ARRAYS, 100)
    rig.finish()
    rig.check()
    for each in store.list():
        os.truncate(each.path / ARRAYS, 100)
    assert "found no checkpoint that is whole" in refusal(rig)
    run = rig.start("--fresh")
    assert run.wait() == EXIT_OK
    for mine, theirs in zip(contents(rig), contents(rig, "twin"), strict=True):
        assert mine == theirs


def test_no_checkpoint_is_needed_while_the_beginning_is_known(rig: FileRig) -> None:
    # Position 0 is written before checkpoint 0.
    die(rig, "mid-checkpoint-write:1")
    assert CheckpointStore(rig.state("run")).list() == []
    rig.finish()
    rig.check()


def test_what_is_not_as_it_was_left_is_refused_and_nothing_is_touched(rig: FileRig) -> None:
    die(rig, "before-position:4")
    left = [*contents(rig)]
    predictions = rig.output("run", "predictions")
    aside = predictions.with_suffix(".aside")

    predictions.rename(aside)
    assert "predictions.jsonl: found no such file, accepted: " in refusal(rig)
    assert not predictions.exists()
    predictions.write_bytes(left[0][:10])
    assert "found 10 bytes where" in refusal(rig)
    aside.rename(predictions)

    whole = rig.source.read_bytes()
    rig.source.write_bytes(whole.replace(b'"id":3,', b'"id":4,', 1))
    assert "input.jsonl: found other bytes than before" in refusal(rig)
    rig.source.write_bytes(whole)

    line = refusal(rig, "--seed", "5")
    assert "the configuration has changed: seed (found 5, the model has 0)" in line
    assert [*contents(rig)] == left

    place = rig.state("run") / position.NAME
    place.rename(place.with_name("gone"))
    assert "found checkpoints, but no position.json" in refusal(rig)
    place.write_bytes(b"{}")
    assert "position.json: found no position of ihomer" in refusal(rig)
    place.with_name("gone").rename(place)
    assert [*contents(rig)] == left
    rig.finish()
    rig.check()

    rig.tear(b"{}\n")
    assert "somebody has added to it" in refusal(rig)


def test_one_process_at_a_time(rig: FileRig) -> None:
    rig.append(20_000)
    first = rig.start()
    while not (rig.state("run") / position.NAME).exists():
        time.sleep(0.01)
    second = refusal(rig)
    assert second == (
        "run-state/app/0: found another process at work here, accepted: one at a time, or another"
        " name (app) or folder (state_dir)"
    )
    assert first.end_after(0.0) == DEAD


def test_fresh_begins_anew_and_puts_away(rig: FileRig) -> None:
    die(rig, "before-position:4")
    left = [*contents(rig)]
    run = rig.start("--fresh", fault="after-position-rename:2")
    assert run.wait() == DEAD
    rig.finish()
    for mine, theirs in zip(contents(rig), contents(rig, "twin"), strict=True):
        assert mine == theirs
    for kind, before in zip(OUTPUTS, left, strict=True):
        aside = rig.output("run", kind).with_name(f"run-{kind}.jsonl.1")
        assert (aside.read_bytes() if before else b"") == before


def test_an_output_may_get_another_name(rig: FileRig) -> None:
    die(rig, "before-position:4")
    other = rig.folder / "other.jsonl"
    run = rig.start("--sink", str(other))
    assert run.wait() == EXIT_OK, run.log
    first = rig.output("run", "predictions").read_bytes()
    assert first.endswith(b"\n")
    assert first + other.read_bytes() == rig.output("twin", "predictions").read_bytes()


@pytest.mark.parametrize("point", ["mid-position-write", "before-position-rename"])
def test_a_full_disk_at_the_position_is_one_line(rig: FileRig, point: str) -> None:
    line = refusal(rig, fault=f"{point}:3:full")
    assert line == f"run-state/app/0/{position.NAME}: cannot be written (No space left on device)"
    rig.finish()
    rig.check()


def test_a_full_disk_under_an_output_is_one_line(rig: FileRig) -> None:
    before = 32 << 20  # of zeros, so that the output is the first file to meet the limit
    predictions, twin = (rig.output(name, "predictions") for name in ("run", "twin"))
    predictions.touch()
    os.truncate(predictions, before)
    line = refusal(rig, max_bytes=before + twin.stat().st_size * 2 // 3)
    assert line == "run-predictions.jsonl: cannot be written (File too large)"
    assert predictions.read_bytes().endswith(b"\n")
    rig.finish()
    assert predictions.read_bytes()[before:] == b"\n" + twin.read_bytes()


def test_a_full_disk_at_a_checkpoint_is_no_end(rig: FileRig) -> None:
    run = rig.start(fault="mid-checkpoint-write:2:full")
    assert run.wait() == EXIT_OK
    assert "no checkpoint written" in run.log
    rig.check()


@pytest.mark.parametrize("late", [False, True])
def test_a_malformed_event_without_a_place(tmp_path: Path, late: bool) -> None:
    """What came before is done, and a restart with a place for it goes on from there."""
    rig = made(tmp_path, f"late_labels = {str(late).lower()}\n")
    rig.finish("twin")
    line = refusal(rig, "--dead-letters", "")
    assert "input.jsonl, line 97: " in line
    assert "set --dead-letters" in line
    predictions = rig.output("run", "predictions").read_bytes()
    assert predictions.count(b"\n") == (64 if late else 96)
    assert refusal(rig, "--dead-letters", "") == line
    assert rig.output("run", "predictions").read_bytes() == predictions
    rig.finish()
    for mine, theirs in zip(contents(rig), contents(rig, "twin"), strict=True):
        assert mine == theirs


def test_arff_with_its_labels_in_another_file(tmp_path: Path) -> None:
    head = "@relation r\n@attribute a numeric\n@attribute p {0,1}\n@attribute q {0,1}\n@data\n"
    rows = "".join(f"{i % 9},{i % 2},{i % 3 % 2}\n" for i in range(700))
    (tmp_path / "in.arff").write_text(head + rows)
    labels = ['<label name="p"></label>', '<label name="q"></label>']

    def declare(count: int) -> None:
        text = "".join(labels[:count])
        (tmp_path / "in.xml").write_text(f"<labels>{text}</labels>")

    def run(name: str, fault: str = "") -> Run:
        arguments = ["--source", "in.arff?xml=in.xml", "--sink", f"{name}.jsonl", "--app", name]
        arguments += ["--batch-size", "64"]
        started = Run(tmp_path / "log", [*arguments, "--state-dir", "state", "--quiet"], fault)
        code = started.wait()
        assert code == (DEAD if fault else EXIT_OK), started.log
        return started

    declare(2)
    run("twin")
    run("run", "before-position:5")
    declare(1)
    with pytest.raises(AssertionError, match="found other names of labels or features"):
        run("run")
    declare(2)
    run("run")
    assert (tmp_path / "run.jsonl").read_bytes() == (tmp_path / "twin.jsonl").read_bytes()
    assert (tmp_path / "run.jsonl").read_bytes().count(b"\n") == 700


def test_a_model_that_was_imported_learns_on(rig: FileRig) -> None:
    """Its first checkpoint has no position: the input's beginning is where it begins."""
    rig.finish("other")
    newest = CheckpointStore(rig.state("other")).list()[-1].path
    shutil.rmtree(rig.folder / "twin-state")
    for kind in OUTPUTS:
        rig.output("twin", kind).unlink()
    for name in ("run", "twin"):
        config = rig.folder / f"{name}.toml"
        state = rig.folder / f"{name}-state"
        config.write_text(f'source = "{rig.source.name}"\nstate_dir = "{state}"\n')
        arguments = ["checkpoint", "import", str(newest), APP, "--config", str(config)]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == EXIT_OK, result.output
    rig.finish("twin")
    for fault in ("mid-checkpoint-write:1", "before-position:2"):
        die(rig, fault)
    rig.finish()
    rig.check()
    assert [*contents(rig)] != [*contents(rig, "other")]
