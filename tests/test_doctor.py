"""``ihomer doctor``: each thing it looks at, in good order and in bad, and the exit code."""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
import warnings
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import ihomer
import ihomer.connectors.kafka
import ihomer.jit
from ihomer.connectors.kafka import ClusterReport
from ihomer.errors import EXIT_OK, EXIT_UNAVAILABLE, EXIT_USAGE
from ihomer.stream.cli import app
from ihomer.stream.cli.doctor import Check, doctor, examine, exit_code

ANSWER = ClusterReport(
    address="broker:9092",
    cluster_id="c1",
    brokers=("broker:9092",),
    topics={"in": 4, "out": 1},
    api_version=(4, 1),
)


@pytest.fixture(autouse=True)
def _own_state(alone: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IHOMER_STATE_DIR", str(tmp_path / "state"))


def _answers(monkeypatch: pytest.MonkeyPatch, report: ClusterReport) -> list[tuple[str, float]]:
    """Put `report` in the place of every broker's answer; returns the questions."""
    asked: list[tuple[str, float]] = []

    def describe(uri: str, timeout_s: float = 0.0) -> ClusterReport:
        asked.append((uri, timeout_s))
        return report

    monkeypatch.setattr(ihomer.connectors.kafka, "describe", describe)
    return asked


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *arguments])


def _checks(*sources: str, config: Path | None = None) -> dict[str, Check]:
    return {check.name: check for check in examine(config, list(sources))}


def _deny(monkeypatch: pytest.MonkeyPatch, path: Path, mode: int) -> None:
    """Make the system refuse `mode` on `path`, as it would not refuse root."""
    real = os.access

    def access(asked: Path, wanted: int) -> bool:
        return real(asked, wanted) and not (Path(asked) == path and wanted & mode)

    monkeypatch.setattr(os, "access", access)


def test_a_healthy_installation() -> None:
    result = _run()
    assert result.exit_code == EXIT_OK
    lines = result.stdout.splitlines()
    assert all(line.startswith("ok       ") for line in lines)
    assert f"ok       ihomer: {ihomer.__version__}" in lines
    for package in ("numpy", "numba", "river", "kafka-python", "orjson", "crc32c"):
        assert f"ok       {package}: {metadata.version(package)}" in lines
    assert f"ok       kernel cache: {ihomer.jit.cache_folder()}, writable" in lines
    for name in ("python", "platform", "cpus", "configuration", "state_dir", "data_dir"):
        assert sum(line.startswith(f"ok       {name}: ") for line in lines) == 1
    assert "\x1b" not in result.stdout


def test_json_is_one_object_and_nothing_else() -> None:
    result = _run("--json", "--source", "absent.jsonl")
    assert result.exit_code == EXIT_USAGE
    assert result.stderr == ""
    shown = json.loads(result.stdout)
    assert shown["exit_code"] == EXIT_USAGE
    assert {
        "name": "source absent.jsonl",
        "status": "problem",
        "found": "absent.jsonl does not exist",
    } in shown["checks"]
    assert {check["status"] for check in shown["checks"]} == {"ok", "problem"}


def test_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name in ("crc32c", "numba"):
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    checks = _checks()
    assert checks["crc32c"].status == "warning"
    assert checks["crc32c"].exit_code == EXIT_OK
    assert (checks["numba"].status, checks["numba"].exit_code) == ("problem", EXIT_USAGE)


def test_the_configuration_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IHOMER_SEDE", "1")
    Path("ihomer.toml").write_text("seed = 1\n", encoding="utf-8")
    found = [(check.status, check.found) for check in examine(None, []) if "conf" in check.name]
    assert found[0] == ("ok", "ihomer.toml")
    assert found[1][0] == "warning"
    assert "IHOMER_SEED" in found[1][1]


def test_a_wrong_configuration_is_a_problem_and_the_rest_is_still_looked_at() -> None:
    Path("ihomer.toml").write_text("seed = -1\nsed = 1\n", encoding="utf-8")
    result = _run("--source", "absent.jsonl")
    assert result.exit_code == EXIT_USAGE
    assert "problem  configuration: seed (ihomer.toml, line 1): found -1" in result.stdout
    assert "problem  configuration: sed (ihomer.toml, line 2): found an unknown" in result.stdout
    assert "problem  source absent.jsonl: absent.jsonl does not exist" in result.stdout
    assert "kernel cache" in result.stdout


def test_config_option() -> None:
    Path("mine.toml").write_text('source = "absent.jsonl"\n', encoding="utf-8")
    assert "ok       configuration: mine.toml" in _run("--config", "mine.toml").stdout
    assert "found no such file" in _run("--config", "gone.toml").stdout


def test_state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _checks()["state_dir"].found.endswith("state, will be made when it is needed")
    (tmp_path / "state").mkdir()
    assert _checks()["state_dir"].found.endswith("state, writable")
    monkeypatch.setenv("IHOMER_STATE_DIR", "new")
    assert _checks()["state_dir"].status == "ok"
    (tmp_path / "file").touch()
    for path in ("file", "file/state"):
        monkeypatch.setenv("IHOMER_STATE_DIR", path)
        check = _checks()["state_dir"]
        assert (check.status, check.exit_code) == ("problem", EXIT_USAGE)
        assert "file is no folder" in check.found


@pytest.mark.parametrize("state", ["state", "state/deeper"])
def test_state_dir_that_cannot_be_written(
    state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").mkdir()
    monkeypatch.setenv("IHOMER_STATE_DIR", str(tmp_path / state))
    _deny(monkeypatch, tmp_path / "state", os.W_OK)
    check = _checks()["state_dir"]
    assert (check.status, check.exit_code) == ("problem", EXIT_USAGE)


def test_data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _checks()["data_dir"].found == "not set"
    data = tmp_path / "data"
    monkeypatch.setenv("IHOMER_DATA_DIR", str(data))
    assert _checks()["data_dir"].found == f"{data} does not exist"
    assert _checks()["data_dir"].exit_code == EXIT_USAGE
    data.mkdir()
    assert _checks()["data_dir"] == Check("data_dir", "ok", f"{data}, writable")
    _deny(monkeypatch, data, os.W_OK)
    assert _checks()["data_dir"].status == "warning"
    _deny(monkeypatch, data, os.R_OK)
    assert _checks()["data_dir"].status == "problem"


def test_kernel_cache_in_another_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fallback = tmp_path / "fallback" / "kernels-0"
    fallback.mkdir(parents=True)
    monkeypatch.setattr(ihomer.jit, "cache_folder", lambda: fallback)
    monkeypatch.setenv("IHOMER_CACHE_DIR", "/nowhere")
    check = _checks()["kernel cache"]
    assert check.status == "warning"
    assert check.found == f"{fallback}, because /nowhere cannot be written"
    monkeypatch.setenv("IHOMER_CACHE_DIR", str(fallback.parent))
    assert _checks()["kernel cache"].status == "ok"
    _deny(monkeypatch, fallback, os.W_OK)
    assert "compiles anew" in _checks()["kernel cache"].found


def test_numba_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ihomer.jit", None)
    check = _checks()["kernel cache"]
    assert check.status == "problem"
    assert check.found.startswith("numba cannot be imported: ")


def test_source_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.arff").write_bytes(b"12345")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    absolute = f"file:{tmp_path}/a.arff"
    checks = _checks("a.arff", absolute, "a.arff?xml=a.xml", "folder", "pipe", "-", "file:-")
    assert checks["source a.arff"].found == "readable, 5 bytes"
    assert checks[f"source {absolute}"].found == "readable, 5 bytes"
    assert checks["source a.arff?xml=a.xml"].found == "readable, 5 bytes"
    assert checks["source folder"].status == "problem"
    assert checks["source pipe"].found == "readable, a pipe or a device"
    assert checks["source -"].found == checks["source file:-"].found == "standard input"
    _deny(monkeypatch, Path("a.arff"), os.R_OK)
    assert _checks("a.arff")["source a.arff"].found == "a.arff cannot be read"


def test_sink_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old.jsonl").touch()
    (tmp_path / "folder").mkdir()

    def sink(uri: str) -> tuple[str, str]:
        monkeypatch.setenv("IHOMER_SINK", uri)
        check = _checks()[f"sink {uri}"]
        assert check.exit_code == (EXIT_USAGE if check.status == "problem" else EXIT_OK)
        return check.status, check.found

    assert sink("-") == ("ok", "standard output")
    assert sink("old.jsonl") == ("ok", "writable")
    assert sink("file:new.jsonl") == ("ok", "will be made")
    assert sink("folder")[0] == "problem"
    assert sink("no/new.jsonl") == ("problem", "folder no does not exist")
    _deny(monkeypatch, Path("folder"), os.W_OK)
    assert sink("folder/new.jsonl") == ("problem", "folder folder cannot be written")
    _deny(monkeypatch, Path("old.jsonl"), os.W_OK)
    assert sink("old.jsonl") == ("problem", "old.jsonl cannot be written")


def test_other_schemes() -> None:
    checks = _checks("river:yeast", "memory:a", "gopher://me:hush@x")
    assert checks["source river:yeast"].status == checks["source memory:a"].status == "ok"
    check = checks["source gopher://***@x"]
    assert (check.status, check.exit_code) == ("problem", EXIT_USAGE)
    assert "found scheme 'gopher'" in check.found
    assert "hush" not in check.found


def test_every_broker_is_asked_once_with_a_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _answers(monkeypatch, ANSWER)
    monkeypatch.setenv("IHOMER_SOURCE", "kafka://broker/in?group=g")
    monkeypatch.setenv("IHOMER_SINK", "kafka://broker/out")
    monkeypatch.setenv("IHOMER_DEAD_LETTERS", "kafka://broker/dead")
    monkeypatch.setenv("IHOMER_EVENTS", "kafka://broker/in")
    arguments = ("--source", "kafka://broker", "--source", "kafka://broker/in?group=g")
    result = _run(*arguments)
    assert asked == [
        ("kafka://broker/in?group=g", 5.0),
        ("kafka://broker", 5.0),
        ("kafka://broker/out", 5.0),
        ("kafka://broker/dead", 5.0),
        ("kafka://broker/in", 5.0),
    ]
    answer = "Kafka 4.1, cluster c1, 1 broker(s): broker:9092"
    assert result.stdout.splitlines()[-5:] == [
        f"ok       source kafka://broker/in?group=g: {answer}; topic 'in' with 4 partition(s)",
        f"ok       source kafka://broker: {answer}; there is in, out",
        f"ok       sink kafka://broker/out: {answer}; topic 'out' with 1 partition(s)",
        f"problem  dead_letters kafka://broker/dead: {answer}; no topic 'dead'; there is in, out",
        f"ok       events kafka://broker/in: {answer}; topic 'in' with 4 partition(s)",
    ]
    assert result.exit_code == EXIT_USAGE


def test_topics_are_listed_in_moderation(monkeypatch: pytest.MonkeyPatch) -> None:
    many = ClusterReport("b", topics={f"t{i:02}": 1 for i in range(13)}, api_version=(4, 1))
    _answers(monkeypatch, many)
    assert _checks("kafka://b")["source kafka://b"].found.endswith("t08, t09 and 3 more")
    _answers(monkeypatch, ClusterReport("b", topics={}, api_version=(4, 1)))
    assert _checks("kafka://b")["source kafka://b"].found.endswith("there is no topic")


def test_a_broker_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    _answers(monkeypatch, ClusterReport("b:1", reason="connection refused"))
    result = _run("--source", "kafka://b:1/in")
    assert result.exit_code == EXIT_UNAVAILABLE
    assert "problem  source kafka://b:1/in: connection refused" in result.stdout
    assert _run("--source", "kafka://b:1/in", "--source", "absent").exit_code == EXIT_USAGE


def test_a_closed_port_for_real(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[doctor.__module__], "BROKER_TIMEOUT_S", 0.2)
    with warnings.catch_warnings():
        # kafka-python never closes a socket that was refused: neither this test nor a later one
        # should hear of it, whenever it is collected.
        warnings.simplefilter("ignore", ResourceWarning)
        result = _run("--source", "kafka://127.0.0.1:1/in")
        assert result.exit_code == EXIT_UNAVAILABLE
        assert "connection refused" in result.stdout
        del result  # its traceback holds the connection
        gc.collect()


def test_a_wrong_kafka_uri_and_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _answers(monkeypatch, ANSWER)
    result = _run("--source", "kafka://me:hush@broker/in", "--source", "kafka://broker:0/in")
    assert result.exit_code == EXIT_USAGE
    assert "hush" not in result.output
    assert "problem  source kafka://***@broker/in: " in result.stdout
    assert "port '0'" in result.stdout
    assert asked == []


def test_kafka_python_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ihomer.connectors.kafka", None)
    check = _checks("kafka://b/in")["source kafka://b/in"]
    assert check.found.startswith("kafka-python cannot be imported: ")


def test_exit_code() -> None:
    ok = Check("a", "ok", "")
    warning = Check("a", "warning", "")
    away = Check("a", "problem", "", EXIT_UNAVAILABLE)
    wrong = Check("a", "problem", "", EXIT_USAGE)
    assert exit_code([]) == exit_code([ok, warning]) == 0
    assert exit_code([ok, away]) == 69
    assert exit_code([away, wrong]) == 2


@pytest.mark.parametrize("no_colour", [False, True])
def test_on_a_terminal(
    no_colour: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    if no_colour:
        monkeypatch.setenv("NO_COLOR", "1")
    doctor(config=None, source=["river:yeast"], as_json=False)
    output = capsys.readouterr().out
    assert bool(re.search(r"\x1b\[[0-9;]*32m", output)) is not no_colour
    assert "needs nothing from outside" in output


def test_importing_the_commands_is_cheap() -> None:
    code = (
        "import sys, ihomer.stream.cli.config, ihomer.stream.cli.doctor\n"
        "print([m for m in ('numba', 'river', 'kafka') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
