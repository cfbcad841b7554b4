"""``ihomer config``: what it writes loads as the defaults, what it says is wrong, what it shows."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ihomer.errors import EXIT_USAGE
from ihomer.stream.cli import app
from ihomer.stream.cli.config import show, template
from ihomer.stream.settings import Settings, load_settings

pytestmark = pytest.mark.usefixtures("alone")


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["config", *arguments])


def _fails(*arguments: str) -> str:
    """What a command that ends with a usage error says."""
    result = _run(*arguments)
    assert result.exit_code == EXIT_USAGE, result.output
    assert result.stdout == ""
    return result.stderr.replace("ihomer: error: ", "").removesuffix("\n")


def _files() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


def _uncommented(text: str) -> str:
    return re.sub(r"(?m)^#(\w+ = )", r"\1", text)


def test_the_template_uncommented_is_the_defaults() -> None:
    text = _uncommented(template())
    assert list(tomllib.loads(text)) == list(Settings.model_fields)
    Path("all.toml").write_text(text, encoding="utf-8")
    loaded = load_settings(Path("all.toml"), {})
    assert loaded.settings == Settings()
    assert set(loaded.origin.values()) == {"file all.toml"}


def test_the_template_as_it_is_sets_nothing_and_explains_everything() -> None:
    text = template()
    assert tomllib.loads(text) == {}
    prose = " ".join(text.replace("\n# ", " ").split())
    for name, field in Settings.model_fields.items():
        assert field.description
        assert field.description in prose
        assert f"IHOMER_{name.upper()}" in text
    assert prose.count("Accepted: ") == len(Settings.model_fields)
    assert max(map(len, text.splitlines())) <= 100


def test_init_writes_the_template() -> None:
    result = _run("init")
    assert result.exit_code == 0
    assert result.stdout == "wrote ihomer.toml\n"
    assert Path("ihomer.toml").read_text(encoding="utf-8") == template()
    assert _files() == ["ihomer.toml"]


def test_init_to_standard_output() -> None:
    result = _run("init", "-")
    assert result.stdout == template()
    assert _files() == []


def test_init_replaces_only_with_force() -> None:
    path = Path("mine.toml")
    path.write_text("seed = 3\n", encoding="utf-8")
    path.chmod(0o640)
    assert _fails("init", "mine.toml") == (
        "mine.toml: found an existing file, accepted: a new path, or --force"
    )
    assert path.read_text(encoding="utf-8") == "seed = 3\n"
    assert _run("init", "mine.toml", "--force").exit_code == 0
    assert path.read_text(encoding="utf-8") == template()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_init_follows_a_link() -> None:
    Path("real.toml").write_text("seed = 3\n", encoding="utf-8")
    Path("link.toml").symlink_to("real.toml")
    assert "found an existing file" in _fails("init", "link.toml")
    assert _run("init", "link.toml", "--force").exit_code == 0
    assert Path("link.toml").is_symlink()
    assert Path("real.toml").read_text(encoding="utf-8") == template()


def test_init_where_nothing_can_be_written() -> None:
    Path("file").write_text("", encoding="utf-8")
    assert "no/x.toml: found no folder" in _fails("init", "no/x.toml")
    assert "file/x.toml: found no folder" in _fails("init", "file/x.toml")
    Path("folder").mkdir()
    assert "folder: " in _fails("init", "folder", "--force")
    assert _files() == ["file", "folder"]


def test_a_write_that_fails_leaves_the_old_file(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("ihomer.toml")
    path.write_text("seed = 3\n", encoding="utf-8")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "ihomer.toml: No space left on device" in _fails("init", "--force")
    assert path.read_text(encoding="utf-8") == "seed = 3\n"
    assert _files() == ["ihomer.toml"]


def test_check_says_ok_and_which_file() -> None:
    assert _run("check").stdout == "ok: no configuration file\n"
    assert _run("init").exit_code == 0
    result = _run("check")
    assert (result.exit_code, result.stdout) == (0, "ok: ihomer.toml\n")
    Path("other.toml").write_text("seed = 3\n", encoding="utf-8")
    assert _run("check", "--config", "other.toml").stdout == "ok: other.toml\n"


def test_check_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("ihomer.toml").write_text("seed = -3\ntopk = 4\n", encoding="utf-8")
    monkeypatch.setenv("IHOMER_STRICT", "perhaps")
    first, second, third = _fails("check").split("\n")
    assert first == "topk (ihomer.toml, line 2): found an unknown key, did you mean top_k?"
    assert second == (
        'strict (environment IHOMER_STRICT): found "perhaps", accepted: true or false'
    )
    assert third == (
        "seed (ihomer.toml, line 1): found -3, accepted: a whole number from 0 to 4294967295"
    )


def test_check_reads_the_uris() -> None:
    Path("ihomer.toml").write_text(
        'source = ["river:yeast", "kafak://me:hush@host/in", "kafka://host/in?compression=gzip"]\n'
        'sink = "kafka://host:0/out"\n'
        'dead_letters = "kafka://me:hush@host/dead"\n'
        'events = "kafak://host/told"\n',
        encoding="utf-8",
    )
    lines = _fails("check").split("\n")
    assert "hush" not in "\n".join(lines)
    assert [line.partition(": ")[0] for line in lines] == [
        "source (file ihomer.toml)",
        "source (file ihomer.toml)",
        "sink (file ihomer.toml)",
        "dead_letters (file ihomer.toml)",
        "events (file ihomer.toml)",
    ]
    assert "found scheme 'kafak', accepted: " in lines[0]
    assert "unknown parameter 'compression', accepted: group" in lines[1]
    assert "port '0'" in lines[2]
    assert "IHOMER_KAFKA_USERNAME" in lines[3]


def test_warnings_go_to_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IHOMER_SEDE", "3")
    for command in ("check", "show"):
        result = _run(command)
        assert result.exit_code == 0
        assert "IHOMER_SEDE" not in result.stdout
        assert result.stderr == (
            "warning: environment IHOMER_SEDE: unknown variable, ignored, did you mean"
            " IHOMER_SEED?\n"
        )


def test_show_plainly_is_toml_with_origins(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("ihomer.toml").write_text('seed = 3\nlabels = ["[red]"]\n', encoding="utf-8")
    monkeypatch.setenv("IHOMER_SINK", "kafka://me:hush@host:9092/out")
    monkeypatch.setenv("IHOMER_SOURCE", "kafka://host:9092/in?password=hush")
    output = _run("show").stdout
    assert "hush" not in output
    assert output.startswith("# ihomer.toml\n")
    assert "seed = 3  # file ihomer.toml\n" in output
    assert 'sink = "kafka://***@host:9092/out"  # environment IHOMER_SINK\n' in output
    assert "top_k = 10  # default\n" in output
    values = tomllib.loads(output)
    assert list(values) == list(Settings.model_fields)
    assert values["source"] == ["kafka://host:9092/in?password=***"]
    assert values["labels"] == ["[red]"]


def test_show_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IHOMER_DEAD_LETTERS", "kafka://me:hush@host/dead")
    monkeypatch.setenv("IHOMER_EVENTS", "kafka://me:hush@host/told")
    monkeypatch.setenv("IHOMER_SEDE", "3")
    result = _run("show", "--json")
    assert result.stderr == ""
    shown = json.loads(result.stdout)
    assert shown["file"] is None
    assert list(shown["settings"]) == list(Settings.model_fields)
    assert shown["settings"]["dead_letters"] == {
        "value": "kafka://***@host/dead",
        "origin": "environment IHOMER_DEAD_LETTERS",
    }
    assert shown["settings"]["events"]["value"] == "kafka://***@host/told"
    assert shown["settings"]["batch_size"] == {"value": 256, "origin": "default"}
    assert len(shown["warnings"]) == 1


def test_show_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("IHOMER_LABELS", '["[bold]"]')
    show(config=None, as_json=False)
    output = capsys.readouterr().out
    assert '["[bold]"]' in output
    assert "environment IHOMER_LABELS" in output
    assert "\x1b[" in output  # bold and dim stay: they are no colours
    assert not re.search(r"\x1b\[([0-9;]*;)?[349][0-7]m", output)
    assert all(key in output for key in Settings.model_fields)
