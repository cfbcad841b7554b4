"""``ihomer replay`` and ``run`` as a user meets them: outputs, exit codes, a line for a mistake."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from typer.testing import CliRunner

from ihomer.errors import EXIT_INPUT, EXIT_OK, EXIT_USAGE
from ihomer.stream.cli import EXIT_INTERRUPTED, app
from ihomer.stream.schemas import load_schema
from tests.commands import figures, replay

IHOMER = Path(sys.executable).with_name("ihomer")
MEASURES = {"subset_accuracy", "hamming_loss", "micro_f1", "macro_f1", "example_f1"}
PATIENCE_S = 300.0


pytestmark = pytest.mark.usefixtures("alone")


def refusal(code: int, *arguments: str) -> str:
    """The one line that a command ends with."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("ihomer: error: ")
    return result.stderr.removeprefix("ihomer: error: ").removesuffix("\n")


def process(
    arguments: Sequence[str], stdin: bytes = b"", timeout: float = PATIENCE_S
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [IHOMER, *arguments], input=stdin, capture_output=True, timeout=timeout, check=False
    )


def event(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "x": {"a": number % 5, "b": 1.5, "colour": "red"},
        "y": ["p", "q"][: number % 3],
    }


def write_events(path: str, start: int, stop: int, bad: Sequence[int] = ()) -> str:
    lines = ["bad" if i in bad else json.dumps(event(i)) for i in range(start, stop)]
    Path(path).write_text("".join(line + "\n" for line in lines))
    return path


def lines_of(path: str) -> list[Any]:
    text = Path(path).read_text()
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_json_is_one_object_with_everything_that_was_promised() -> None:
    found = figures("river:yeast", "--limit", "300")
    assert {
        "stream",
        "events",
        "labels",
        "features",
        "measures",
        "baselines",
        "events_per_second",
        "events_per_second_with_parsing",
        "batch_size",
        "p50_us",
        "p99_us",
        "peak_rss_mb",
        "configuration",
        "versions",
    } <= set(found)
    assert found["stream"] == "river:yeast"
    assert (found["events"], found["labels"], found["features"]) == (300, 14, 103)
    assert set(found["baselines"]) == {"no-change", "majority", "majority-set"}
    for measures in (found["measures"], *found["baselines"].values()):
        assert set(measures) >= MEASURES
        assert all(0.0 <= measures[name] <= 1.0 for name in MEASURES)
        assert measures["events"] == 300
    assert found["measures"]["micro_f1"] > found["baselines"]["majority"]["micro_f1"]
    assert 0 < found["events_per_second_with_parsing"] < found["events_per_second"]
    assert 0 < found["p50_us"] <= found["p99_us"]
    assert found["peak_rss_mb"] > 0
    assert found["versions"]["python"] == sys.version.split()[0]


def test_json_to_a_file_leaves_the_table_on_standard_output() -> None:
    result = replay("river:yeast", "--limit", "100", "--json", "figures.json")
    assert result.exit_code == EXIT_OK
    for text in ("100 events, 103 features, 14 labels", "subset accuracy", "majority-set", "p99"):
        assert text in result.stdout
    assert json.loads(Path("figures.json").read_bytes())["events"] == 100


def test_quiet_says_nothing() -> None:
    result = replay("river:yeast", "--limit", "100", "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (EXIT_OK, "", "")


def test_predictions_are_one_valid_object_for_each_event() -> None:
    assert replay("river:yeast", "--limit", "200", "--predictions", "p.jsonl").exit_code == EXIT_OK
    found = lines_of("p.jsonl")
    assert [prediction["id"] for prediction in found] == list(range(200))
    assert [prediction["model"]["events"] for prediction in found] == list(range(200))
    validator = jsonschema_rs.validator_for(load_schema("prediction"))
    for prediction in found:
        validator.validate(prediction)
    assert len(found[-1]["scores"]) == 10


def test_top_k() -> None:
    replay("river:yeast", "--limit", "50", "--predictions", "p.jsonl", "--top-k", "3")
    assert len(lines_of("p.jsonl")[-1]["scores"]) == 3


def test_the_same_seed_writes_the_same_bytes() -> None:
    for name in ("one", "two"):
        replay("river:yeast", "--limit", "700", "--seed", "5", "--predictions", f"{name}.jsonl")
    assert Path("one.jsonl").stat().st_size > 0
    assert Path("one.jsonl").read_bytes() == Path("two.jsonl").read_bytes()


@pytest.mark.parametrize("batch_size", ["1", "7", "1000"])
def test_the_batch_size_does_not_show(batch_size: str) -> None:
    replay("river:yeast", "--limit", "300", "--predictions", "one.jsonl")
    arguments = ("--predictions", "two.jsonl", "--batch-size", batch_size)
    assert replay("river:yeast", "--limit", "300", *arguments).exit_code == EXIT_OK
    assert Path("one.jsonl").read_bytes() == Path("two.jsonl").read_bytes()


def test_the_series_has_a_point_at_every_multiple() -> None:
    write_events("events.jsonl", 0, 250, bad=[3, 77])
    arguments = ("--every", "60", "--series", "s.jsonl", "--dead-letters", "dead.jsonl")
    assert replay("events.jsonl", *arguments).exit_code == EXIT_OK
    points = lines_of("s.jsonl")
    assert [point["events"] for point in points] == [60, 120, 180, 240]
    for point in points:
        assert set(point) == {"events", "ihomer", "no-change", "majority", "majority-set"}
        assert set(point["ihomer"]) >= MEASURES


def test_several_sources_are_one_stream() -> None:
    write_events("whole.jsonl", 0, 90)
    write_events("first.jsonl", 0, 40)
    Path("second.jsonl.gz").write_bytes(
        gzip.compress(Path(write_events("second.jsonl", 40, 90)).read_bytes())
    )
    replay("whole.jsonl", "--predictions", "one.jsonl")
    found = figures("first.jsonl", "second.jsonl.gz", "--predictions", "two.jsonl")
    assert found["events"] == 90
    assert len(lines_of("one.jsonl")) == 90
    assert Path("one.jsonl").read_bytes() == Path("two.jsonl").read_bytes()


def test_malformed_events_are_kept_and_counted() -> None:
    write_events("events.jsonl", 0, 60, bad=[0, 20, 59])
    found = figures("events.jsonl", "--dead-letters", "dead.jsonl", "--predictions", "p.jsonl")
    assert (found["events"], found["dead_letters"]) == (57, {"not-json": 3})
    headers = [letter["headers"] for letter in lines_of("dead.jsonl")]
    assert [header["ihomer.errors.offset"] for header in headers] == ["1", "21", "60"]
    assert len(lines_of("p.jsonl")) == 57
    table = replay("events.jsonl", "--dead-letters", "dead.jsonl").stdout
    assert "3 malformed events: not-json 3" in table


def test_a_malformed_event_without_dead_letters_ends_it_and_keeps_what_was_predicted() -> None:
    write_events("events.jsonl", 0, 300, bad=[150, 200])
    line = refusal(EXIT_INPUT, "replay", "events.jsonl", "--predictions", "p.jsonl")
    assert line.startswith("events.jsonl, line 151: ")
    assert "--dead-letters" in line
    assert [prediction["id"] for prediction in lines_of("p.jsonl")] == list(range(150))


def test_strict_refuses_other_fields() -> None:
    Path("events.jsonl").write_text('{"x": {}, "more": 1}\n')
    assert figures("events.jsonl")["events"] == 1
    assert "more" in refusal(EXIT_INPUT, "replay", "events.jsonl", "--strict", "--quiet")


def test_events_without_labels_are_counted_apart() -> None:
    Path("events.jsonl").write_text('{"x": {"a": 1}}\n{"x": {"a": 1}, "y": ["p"]}\n' * 3)
    assert "3 events without labels were predicted only" in replay("events.jsonl").stdout


def test_a_source_without_events() -> None:
    Path("events.jsonl").write_text("")
    assert figures("events.jsonl")["events"] == 0
    assert "events.jsonl: no events" in replay("events.jsonl").stdout


def test_environment_beats_file_and_flags_beat_both(monkeypatch: pytest.MonkeyPatch) -> None:
    write_events("events.jsonl", 0, 5)
    Path("ihomer.toml").write_text("batch_size = 11\nseed = 21\ntop_k = 1\n")

    def effective(*flags: str) -> tuple[int, int, int]:
        found = figures("events.jsonl", "--predictions", "p.jsonl", *flags)
        scores = max(len(prediction["scores"]) for prediction in lines_of("p.jsonl"))
        return found["batch_size"], found["configuration"]["seed"], scores

    assert effective() == (11, 21, 1)
    monkeypatch.setenv("IHOMER_BATCH_SIZE", "12")
    monkeypatch.setenv("IHOMER_SEED", "22")
    assert effective() == (12, 22, 1)
    assert effective("--batch-size", "13", "--seed", "23", "--top-k", "2") == (13, 23, 2)


def test_a_variable_that_means_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    write_events("events.jsonl", 0, 5)
    monkeypatch.setenv("IHOMER_BATCHSIZE", "3")
    result = replay("events.jsonl", "--json", "-")
    assert json.loads(result.stdout)["batch_size"] != 3
    assert "ihomer: warning: " in result.stderr
    assert "IHOMER_BATCHSIZE" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "source: found none"),
        (("river:yeast", "--every", "5"), "--every and --series"),
        (("river:yeast", "--series", "s.jsonl"), "--every and --series"),
        (("river:yeast", "--json", "-", "--predictions", "-"), "-: found for two outputs"),
        (("river:yeast", "--json", "-", "--dead-letters", "-"), "-: found for two outputs"),
        (("river:yeast", "--every", "5", "--series", "-", "--json", "-"), "-: found for two"),
        (("river:yeast", "--json", "-", "--events", "-"), "-: found for two outputs"),
        (("river:yeast", "--json", "a", "--predictions", "./a"), "./a: found for two outputs"),
        (("kafka://127.0.0.1:1/events",), "kafka://127.0.0.1:1/events: a topic has no end"),
        (("river:nosuch",), "river:nosuch"),
        (("river:yeast", "--predictions", "river:yeast"), "river:yeast: a data set cannot be"),
        (("river:yeast", "--batch-size", "0"), "batch_size (flag --batch-size): found 0"),
        (("river:yeast", "--seed", "-1"), "seed (flag --seed): found -1"),
        (("river:yeast", "--config", "nosuch.toml"), "nosuch.toml"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], says: str) -> None:
    assert refusal(EXIT_USAGE, "replay", *arguments).startswith(says)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("flag", ["--limit", "--every", "--batch-size"])
def test_a_flag_that_is_no_number(flag: str) -> None:
    result = replay("river:yeast", flag, "many")
    assert result.exit_code == EXIT_USAGE
    assert flag in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "output",
    ["--predictions", "--dead-letters", "--events", "--json", "--series", "--plot", "--hierarchy"],
)
def test_an_input_is_never_written_over(output: str) -> None:
    write_events("events.jsonl", 0, 5)
    before = Path("events.jsonl").read_bytes()
    extra = ("--every", "2") if output == "--series" else ()
    line = refusal(EXIT_USAGE, "replay", "events.jsonl", output, "./events.jsonl", *extra)
    assert line.startswith("./events.jsonl: found as source and as output")
    assert Path("events.jsonl").read_bytes() == before


def test_input_that_cannot_be_read() -> None:
    assert refusal(EXIT_INPUT, "replay", "nosuch.jsonl") == "nosuch.jsonl: no such file"
    whole = gzip.compress(Path(write_events("events.jsonl", 0, 500)).read_bytes())
    Path("cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    Path("noise.jsonl.gz").write_bytes(b"no gzip at all")
    for name in ("cut.jsonl.gz", "noise.jsonl.gz"):
        assert refusal(EXIT_INPUT, "replay", name, "--quiet").startswith(name)
    Path("bad.arff").write_text("@relation 'r: -C 1'\n@attribute l {0,1}\n@data\nx y z\n")
    assert refusal(EXIT_INPUT, "replay", "bad.arff", "--quiet").startswith("bad.arff")


@pytest.mark.parametrize(
    "output",
    ["--predictions", "--dead-letters", "--events", "--json", "--series", "--plot", "--hierarchy"],
)
def test_output_that_cannot_be_written_is_found_out_first(output: str) -> None:
    extra = ("--every", "2") if output == "--series" else ()
    line = refusal(EXIT_INPUT, "replay", "river:yeast", output, "no/such/file", *extra)
    assert line.startswith("no/such/file: cannot be written (the folder")


def test_standard_input_to_standard_output() -> None:
    lines = b"".join(json.dumps(event(i)).encode() + b"\n" for i in range(50))
    done = process(["replay", "-", "--predictions", "-"], lines)
    assert done.returncode == EXIT_OK, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [prediction["id"] for prediction in found] == list(range(50))
    assert b"50 events" in done.stderr  # the table gives way


@pytest.mark.parametrize(
    ("output", "code", "says"),
    [
        # What nobody has taken is lost, and somebody may want to know.
        ("--predictions", EXIT_INPUT, "ihomer: error: -: cannot be written (Broken pipe)\n"),
        ("--json", EXIT_OK, ""),
    ],
)
def test_a_reader_that_has_left(output: str, code: int, says: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [IHOMER, "replay", "river:yeast", "--limit", "50", "--quiet", output, "-"],
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=PATIENCE_S,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr.decode()) == (code, says)


def test_an_interrupted_replay_keeps_whole_lines() -> None:
    write_events("events.jsonl", 0, 100_000)
    arguments = ["replay", "events.jsonl", "--predictions", "p.jsonl"]
    with subprocess.Popen([IHOMER, *arguments], stderr=subprocess.PIPE) as running:
        end = time.monotonic() + PATIENCE_S
        path = Path("p.jsonl")
        while not (path.exists() and path.stat().st_size):
            assert time.monotonic() < end
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        _, stderr = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == EXIT_INTERRUPTED
    assert stderr == b""
    found = lines_of("p.jsonl")
    assert 0 < len(found) < 100_000
    assert [prediction["id"] for prediction in found] == list(range(len(found)))


def test_the_hierarchy_of_the_clusters_in_three_forms() -> None:
    source = "synthetic:text?labels=12&blocks=3&events=1500"
    for name in ("tree.json", "tree.nwk", "tree.txt"):
        assert replay(source, "--hierarchy", name, "--quiet").exit_code == EXIT_OK
    nodes = json.loads(Path("tree.json").read_bytes())
    labels = {label for node in nodes for label in node.get("labels", ())}
    assert nodes[0]["size"] == len(labels) == 12
    newick, text = Path("tree.nwk").read_text(), Path("tree.txt").read_text()
    assert newick.endswith(";\n")
    assert all(f"'{label}'" in newick and label in text for label in labels)
    printed = replay(source, "--hierarchy", "-")
    assert printed.stdout == text
    assert "1,500 events" in printed.stderr  # the table gives way


def learner_events(name: str) -> list[dict[str, Any]]:
    """What a file tells has happened to the learner, each checked."""
    schema = jsonschema_rs.validator_for(load_schema("learner-event"))
    found = lines_of(name)
    assert all(schema.is_valid(each) for each in found)
    return found


def test_what_happens_is_told_where_a_change_was_planted() -> None:
    source = "synthetic:text?labels=20&blocks=4&events=3000&drift=sudden&of=structure&at=1500"
    quick = ("--events", "e.jsonl", "--quiet")
    counted = figures(source, *quick)["model"]
    found = learner_events("e.jsonl")
    assert [each["number"] for each in found] == list(range(1, len(found) + 1))
    assert {each["offset"] + 1 == each["event"] for each in found} == {True}
    alarms = [each["event"] for each in found if each["level"] == "structure"]
    assert 1500 < alarms[0] < 2500
    moved = [each for each in found if each["level"] == "partition" and each["labels"]]
    assert any(each["event"] < 1500 for each in moved)
    assert any(each["event"] >= alarms[0] for each in moved)
    for kind, levels in counted["events"].items():
        for level, count in levels.items():
            assert count == sum((each["kind"], each["level"]) == (kind, level) for each in found)
    assert sum(sum(of.values()) for of in counted["events"].values()) == len(found)
    assert counted["partition_changes"] == counted["events"]["switch"]["partition"]
    first = Path("e.jsonl").read_bytes()
    again = ("--events", "e.jsonl", "--batch-size", "1000", "--plot", "drawn.html")
    table = replay(source, *again).stdout
    assert Path("e.jsonl").read_bytes() == first
    assert "what happened: structure alarm" in table
    assert "label birth 1" in table
    drawn = Path("drawn.html").read_text(encoding="utf-8")
    assert f"event {alarms[0]:,}\nstructure alarm" in drawn


def test_run_tells_what_happens_in_a_file_and_in_its_log() -> None:
    write_events("events.jsonl", 0, 200)
    arguments = ["run", "--source", "events.jsonl", "--events", "e.jsonl", "--log-format", "json"]
    for _ in range(2):
        done = process([*arguments, "--quiet"])
        assert done.returncode == EXIT_OK, done.stderr
    logged = [
        line
        for line in map(json.loads, done.stderr.splitlines())
        if line["event"] == "learner event"
    ]
    found = learner_events("e.jsonl")
    assert found[: len(logged)] == found[len(logged) :]  # the second run has added its own
    told = [(each["number"], each["kind"], each["level"], each["event"]) for each in found]
    assert told[: len(logged)] == [
        (line["number"], line["kind"], line["where"], line["learned"]) for line in logged
    ]
    assert logged[0]["kind"] == "birth"


def test_run_ends_with_a_source_that_ends() -> None:
    write_events("events.jsonl", 0, 80, bad=[5])
    done = process(
        ["run", "--source", "events.jsonl", "--sink", "p.jsonl", "--dead-letters", "d.jsonl"]
    )
    assert done.returncode == EXIT_OK, done.stderr
    assert done.stdout == b""
    assert len(lines_of("p.jsonl")) == 79
    assert len(lines_of("d.jsonl")) == 1
    said = done.stderr.decode()
    assert "delivery is exactly-once" in said
    assert "source and sinks are files" in said
    assert "1 malformed events: not-json 1" in said


def test_run_goes_on_where_it_was_or_adds_to_its_output() -> None:
    write_events("events.jsonl", 0, 10)
    arguments = ["run", "--source", "events.jsonl", "--sink"]
    for _ in range(2):
        assert process([*arguments, "p.jsonl"]).returncode == EXIT_OK
    assert [prediction["id"] for prediction in lines_of("p.jsonl")] == [*range(10)]
    for _ in range(2):
        done = process([*arguments, "q.jsonl", "--delivery", "at-least-once"])
        assert done.returncode == EXIT_OK
        assert b"a restart begins with an empty model" in done.stderr
    assert [prediction["id"] for prediction in lines_of("q.jsonl")] == [*range(10), *range(10)]


def test_run_without_a_source_is_told_at_once() -> None:
    done = process(["run"])
    assert done.returncode == EXIT_USAGE
    assert done.stderr == (
        b"ihomer: error: source: found none, accepted: a URI such as river:yeast, PATH, kafka://\n"
    )


@pytest.mark.parametrize("command", ["run", "replay", "config", "doctor"])
def test_help_has_an_example(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == EXIT_OK
    assert command == "config" or f"ihomer {command}" in result.stdout
