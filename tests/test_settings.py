"""Configuration: which layer wins, what a mistake is answered with, what is kept secret."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ihomer.errors import UsageError
from ihomer.stream.settings import (
    LoadedSettings,
    Settings,
    load_settings,
    mask,
    reference,
    toml_value,
)

LAYERS = ("default", "file", "environment", "flag")


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("IHOMER_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def _file(text: str, name: str = "ihomer.toml") -> Path:
    path = Path(name)
    path.write_text(text, encoding="utf-8")
    return path


def _mistakes(config: Path | None = None, flags: Mapping[str, object] | None = None) -> list[str]:
    with pytest.raises(UsageError) as caught:
        load_settings(config, flags or {})
    return str(caught.value).split("\n")


def _line_of(key: str, lines: list[str]) -> str:
    found = [line for line in lines if line.startswith(f"{key} (")]
    assert len(found) == 1, lines
    return found[0]


def test_defaults() -> None:
    loaded = load_settings(None, {})
    assert loaded.settings == Settings()
    assert loaded.settings.model_dump(exclude={"state_dir"}) == {
        "source": [],
        "sink": None,
        "dead_letters": None,
        "errors_max_rate": 0.5,
        "errors_window": 1_000,
        "events": None,
        "names": [],
        "labels": [],
        "strict": False,
        "mapping_id": None,
        "mapping_labels": [],
        "mapping_labels_as": "names",
        "mapping_labels_separator": "",
        "mapping_labels_unknown": "",
        "mapping_time": None,
        "mapping_time_unit": "auto",
        "mapping_features": "$",
        "mapping_default": "auto",
        "mapping_fields": {},
        "mapping_separators": {},
        "mapping_text_bits": 18,
        "mapping_text_bigrams": False,
        "mapping_text_lower": True,
        "mapping_text_weight": "log",
        "mapping_text_seed": 0,
        "decoder": None,
        "allow_code": False,
        "batch_size": 256,
        "max_wait_ms": 50,
        "transaction_events": 2_000,
        "transaction_mb": 8,
        "fetch_mb": 16,
        "queue_mb": 32,
        "top_k": 10,
        "late_labels": False,
        "labels_source": None,
        "label_wait_events": 1_000_000,
        "label_wait_seconds": 86_400,
        "label_buffer_mb": 256,
        "label_policy": "drop",
        "label_negative_weight": 1.0,
        "unjoined": None,
        "max_event_bytes": 1_000_000,
        "objective": "subset",
        "threads": 1,
        "max_memory_mb": 512,
        "max_features": 65_536,
        "max_labels": 1 << 20,
        "new_labels": "error",
        "forget_labels_after": 100_000,
        "forget_features_after": 100_000,
        "seed": 0,
        "delivery": None,
        "app": None,
        "slots": 1,
        "start": "earliest",
        "lost_events": "fail",
        "checkpoint_seconds": 60,
        "checkpoint_events": 50_000,
        "checkpoint_keep": 3,
        "stuck_seconds": 180,
        "data_dir": None,
        "http": None,
        "http_public": False,
        "http_token_file": None,
        "log_format": "console",
        "log_level": "info",
    }
    assert loaded.settings.state_dir.name == "ihomer"
    assert set(loaded.origin) == set(Settings.model_fields)
    assert set(loaded.origin.values()) == {"default"}
    assert loaded.file is None
    assert loaded.warnings == ()


def test_settings_themselves_do_not_read_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IHOMER_SEED", "7")
    assert Settings().seed == 0


@pytest.mark.parametrize(("text", "weight"), [("0.25", 0.25), ("1", 1.0), ("1e-3", 0.001)])
def test_a_variable_may_be_a_fraction(
    text: str, weight: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IHOMER_LABEL_NEGATIVE_WEIGHT", text)
    assert load_settings(None, {}).settings.label_negative_weight == weight
    monkeypatch.setenv("IHOMER_LABEL_NEGATIVE_WEIGHT", text + "!")
    (line,) = _mistakes()
    assert line.startswith("label_negative_weight (environment IHOMER_LABEL_NEGATIVE_WEIGHT): ")
    assert line.endswith(f'found "{text}!", accepted: a number from 0 to 1')


@pytest.mark.parametrize("wrong", ["1.5", "-0.1", "nan", "true", '"1"'])
def test_a_fraction_past_its_bounds_is_refused(wrong: str) -> None:
    (line,) = _mistakes(_file(f"label_negative_weight = {wrong}"))
    assert line.startswith("label_negative_weight (ihomer.toml, line 1): found ")
    assert line.endswith("accepted: a number from 0 to 1")


def test_settings_are_frozen_and_closed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().seed = 3
    with pytest.raises(ValidationError, match="Extra inputs"):
        Settings(sed=3)  # type: ignore[call-arg]


def _load_layers(
    given_in: Mapping[str, int], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> LoadedSettings:
    """Load with `seed` set to ``given_in[layer]`` in each layer that is named."""
    config = None
    if "file" in given_in:
        config = folder / "layers.toml"
        config.write_text(f"seed = {given_in['file']}\n", encoding="utf-8")
    if "environment" in given_in:
        monkeypatch.setenv("IHOMER_SEED", str(given_in["environment"]))
    return load_settings(config, {"seed": given_in.get("flag")})


@pytest.mark.parametrize(("weaker", "stronger"), list(itertools.combinations(LAYERS, 2)))
def test_precedence_of_every_pair(
    weaker: str, stronger: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {layer: LAYERS.index(layer) * 11 for layer in (weaker, stronger)}
    loaded = _load_layers(values, monkeypatch, tmp_path)
    assert loaded.settings.seed == values[stronger]
    assert (
        loaded.origin["seed"]
        == {
            "file": f"file {tmp_path / 'layers.toml'}",
            "environment": "environment IHOMER_SEED",
            "flag": "flag --seed",
        }[stronger]
    )
    assert loaded.origin["top_k"] == "default"


def test_each_layer_keeps_what_the_stronger_ones_leave_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _file('seed = 1\ntop_k = 1\nbatch_size = 1\nlog_level = "error"\n')
    monkeypatch.setenv("IHOMER_TOP_K", "2")
    monkeypatch.setenv("IHOMER_BATCH_SIZE", "2")
    loaded = load_settings(None, {"batch_size": 3, "source": [], "names": (), "sink": None})
    settings = loaded.settings
    assert (settings.seed, settings.top_k, settings.batch_size) == (1, 2, 3)
    assert settings.log_level == "error"
    assert loaded.origin["batch_size"] == "flag --batch-size"
    assert loaded.origin["source"] == loaded.origin["names"] == "default"
    assert loaded.file == Path("ihomer.toml")


def test_a_false_flag_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IHOMER_STRICT", "true")
    monkeypatch.setenv("IHOMER_SEED", "5")
    settings = load_settings(None, {"strict": False, "seed": 0}).settings
    assert settings.strict is False
    assert settings.seed == 0


def test_a_stronger_layer_mends_a_weaker_ones_mistake() -> None:
    _file("batch_size = 0\n")
    assert load_settings(None, {"batch_size": 8}).settings.batch_size == 8


def test_which_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    here = _file("seed = 1\n")
    named = _file("seed = 2\n", "named.toml")
    flagged = _file("seed = 3\n", "flagged.toml")
    assert load_settings(None, {}).file == here
    monkeypatch.setenv("IHOMER_CONFIG", "named.toml")
    assert load_settings(None, {}).settings.seed == 2
    assert load_settings(None, {}).file == named
    loaded = load_settings(flagged, {})
    assert (loaded.settings.seed, loaded.origin["seed"]) == (3, "file flagged.toml")
    monkeypatch.setenv("IHOMER_CONFIG", "")
    assert load_settings(None, {}).settings.seed == 1


def test_a_file_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (line,) = _mistakes(Path("absent.toml"))
    assert line == "absent.toml (flag --config): found no such file, accepted: a TOML file"
    (line,) = _mistakes(tmp_path)
    assert "found a folder" in line
    monkeypatch.setenv("IHOMER_CONFIG", "gone.toml")
    (line,) = _mistakes()
    assert line.startswith("gone.toml (environment IHOMER_CONFIG): found no such file")


def test_source_may_be_one_string_and_a_byte_order_mark_is_no_fault() -> None:
    Path("ihomer.toml").write_bytes(b'\xef\xbb\xbfsource = "river:yeast"\nsink = ""\n')
    settings = load_settings(None, {}).settings
    assert settings.source == ["river:yeast"]
    assert settings.sink is None


def test_home_folder_is_spelled_out() -> None:
    _file('state_dir = "~/state"\ndata_dir = "data"\n')
    settings = load_settings(None, {}).settings
    assert settings.state_dir == Path.home() / "state"
    assert settings.data_dir == Path("data")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("source", "kafka://a:1,b:2/t", ["kafka://a:1,b:2/t"]),
        ("source", '["a.jsonl", "b.jsonl"]', ["a.jsonl", "b.jsonl"]),
        ("source", "", []),
        ("names", "a, b ,c", ["a", "b", "c"]),
        ("names", '["a, b", "c"]', ["a, b", "c"]),
        ("labels", "", []),
        ("sink", "", None),
        ("sink", "-", "-"),
        ("data_dir", "", None),
        ("strict", "TRUE", True),
        ("strict", "0", False),
        ("batch_size", "65536", 65536),
        ("new_labels", "drop", "drop"),
        ("state_dir", "/var/lib/x", Path("/var/lib/x")),
    ],
)
def test_how_the_environment_spells_values(
    key: str, text: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"IHOMER_{key.upper()}", text)
    loaded = load_settings(None, {})
    assert getattr(loaded.settings, key) == value
    assert loaded.origin[key] == f"environment IHOMER_{key.upper()}"


@pytest.mark.parametrize(
    ("key", "written", "found", "accepted"),
    [
        ("batch_size", "0", "found 0,", "a whole number from 1 to 65536"),
        ("batch_size", "65537", "found 65537,", "a whole number from 1 to 65536"),
        ("batch_size", "true", "found true,", "a whole number"),
        ("batch_size", '"64"', 'found "64",', "a whole number"),
        ("batch_size", "64.0", "found 64.0,", "a whole number"),
        ("max_wait_ms", "60001", "found 60001,", "from 1 to 60000"),
        ("top_k", "-1", "found -1,", "from 0 to 1000"),
        ("seed", "-1", "found -1,", "from 0 to 4294967295"),
        ("max_labels", "nan", "found NaN,", "from 1 to"),
        ("strict", '"yes"', 'found "yes",', "true or false"),
        ("strict", "1", "found 1,", "true or false"),
        ("source", '["a", 7]', "found 7 as item 2,", "a list of URIs"),
        ("source", '["a", " "]', 'found ["a", " "],', "a list of URIs"),
        ("source", "{ a = 1 }", 'found {"a": 1},', "a list of URIs"),
        ("sink", "3", "found 3,", 'a URI, or "" for none'),
        ("names", '"a"', 'found "a",', "a list of different strings"),
        ("labels", '["a", "a"]', 'found ["a", "a"],', "a list of different strings"),
        ("new_labels", '"keep"', 'found "keep",', '"error" or "drop"'),
        ("log_level", '"loud"', 'found "loud",', '"debug" or "info" or "warning" or "error"'),
        ("state_dir", '""', 'found "",', "the path of a folder"),
        ("state_dir", "1979-05-27", 'found "1979-05-27",', "the path of a folder"),
        ("state_dir", '"~nobody-of-this-name/x"', "~nobody-of-this-name", "the path of a folder"),
    ],
)
def test_mistakes_in_a_file(key: str, written: str, found: str, accepted: str) -> None:
    _file(f"# a comment\n\n{key} = {written}\n")
    (line,) = _mistakes()
    assert line.startswith(f"{key} (ihomer.toml, line 3): ")
    assert found in line
    assert accepted in line.partition("accepted: ")[2]


@pytest.mark.parametrize(
    ("key", "text", "accepted"),
    [
        ("seed", "many", "from 0 to 4294967295"),
        ("seed", "", "from 0 to 4294967295"),
        ("strict", "maybe", "true or false"),
        ("names", '["a"', "(a JSON array, or separated by commas)"),
        ("source", '["a"', "(a JSON array, or one URI)"),
        ("source", "[1]", "(a JSON array, or one URI)"),
        ("log_format", "JSON", '"console" or "json"'),
        ("http", "host.example:9109", "only with http_public = true"),
        ("http_public", "yes", "true or false"),
        ("state_dir", "", "the path of a folder"),
    ],
)
def test_mistakes_in_the_environment(
    key: str, text: str, accepted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"IHOMER_{key.upper()}", text)
    (line,) = _mistakes()
    assert line.startswith(f"{key} (environment IHOMER_{key.upper()}): found ")
    assert text == "[1]" or json.dumps(text) in line
    assert line.endswith(accepted)


def test_all_mistakes_come_at_once_each_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    _file('seed = "x"\nbach_size = 3\n')
    monkeypatch.setenv("IHOMER_TOP_K", "lots")
    lines = _mistakes(None, {"max_wait_ms": 0, "colour": "red"})
    assert len(lines) == 5
    assert "(ihomer.toml, line 1): found" in _line_of("seed", lines)
    assert "(ihomer.toml, line 2): found an unknown key" in _line_of("bach_size", lines)
    assert "did you mean batch_size?" in _line_of("bach_size", lines)
    assert "(environment IHOMER_TOP_K): found" in _line_of("top_k", lines)
    assert "(flag --max-wait-ms): found 0" in _line_of("max_wait_ms", lines)
    assert "(flag --colour): found an unknown key" in _line_of("colour", lines)


def test_no_word_of_pydantics_reaches_the_user() -> None:
    _file('seed = "x"\nbach_size = 3\nsource = 1\nstate_dir = 4\nstrict = "n"\n')
    assert not re.search(r"pydantic|validation error|Input should|type=|url", str(_mistakes()))


def test_an_unknown_key_with_no_neighbour_is_answered_with_all_keys() -> None:
    _file("zzzzzzzz = 1\n")
    (line,) = _mistakes()
    assert all(key in line for key in Settings.model_fields)
    _file("[sink]\nuri = 1\n")
    (line,) = _mistakes()
    assert line.startswith("sink (ihomer.toml, line 1): found")


def test_a_key_inside_a_table_is_another_key() -> None:
    _file("[other]\nsink = 1\n[[sink]]\nuri = 1\n")
    lines = _mistakes()
    assert "(ihomer.toml, line 1)" in _line_of("other", lines)
    assert "(ihomer.toml, line 3)" in _line_of("sink", lines)


def test_hyphens_and_capitals_find_the_key_that_was_meant() -> None:
    _file("batch-size = 3\nSEED = 3\n")
    lines = _mistakes()
    assert "did you mean batch_size?" in lines[0]
    assert "did you mean seed?" in lines[1]


@pytest.mark.parametrize(
    "text",
    [
        'text = """\nseed = 1\n"""\nseed = -1\n',
        "names = [\n# seed = 1\n]\n'seed' = -1\n",
        '\n\n\n  "seed"=-1',
    ],
)
def test_the_line_is_the_one_where_the_key_is_set(text: str) -> None:
    _file(text)
    assert "(ihomer.toml, line 4): found -1" in _line_of("seed", _mistakes())


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("seed = 1\ntop_k : 3\n", "line 2, column 7"),
        ("seed = 1\nseed = 2\n", "line 2, column 9"),
        ("seed = \n", "line 1, column 8"),
        ('sink = "abc\n', "line 1, column 12"),
        ("names = [", "line 1, column 10"),
        ("seed = 1\nnames = [\n", "line 3, column 1"),
        ("seed = " + "9" * 5000, "line 1,"),
        ("names = " + "[" * 5000, "line 1,"),
    ],
)
def test_a_file_that_is_not_toml(text: str, place: str) -> None:
    _file(text)
    (line,) = _mistakes()
    assert line.startswith(f"ihomer.toml, {place}")
    assert "found " in line
    assert "accepted: TOML" in line


def test_a_file_that_is_not_utf8() -> None:
    Path("ihomer.toml").write_bytes(b'seed = 1\nsink = "caf\xe9"\n')
    (line,) = _mistakes()
    assert line.startswith("ihomer.toml, line 2, column 12: found the byte 0xe9")


def test_a_file_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    _file("")

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    (line,) = _mistakes()
    assert line.startswith("ihomer.toml: Permission denied, accepted: ")


def test_variables_that_mean_nothing_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIG", "CACHE_DIR", "KAFKA_USERNAME", "KAFKA_PASSWORD_FILE", "KAFKA_JARS"):
        monkeypatch.setenv(f"IHOMER_{name}", "")
    assert load_settings(None, {}).warnings == ()
    monkeypatch.setenv("IHOMER_BACH_SIZE", "secret")
    monkeypatch.setenv("IHOMER_QQQ", "secret")
    first, second = load_settings(None, {}).warnings
    assert "IHOMER_BACH_SIZE" in first
    assert "did you mean IHOMER_BATCH_SIZE?" in first
    assert "IHOMER_QQQ" in second
    assert "did you mean" not in second
    assert "secret" not in first + second


def test_messages_hide_passwords_and_stay_short() -> None:
    _file(
        f'sink = ["kafka://me:hush@h/t", "kafka://h/t?sasl_password=hush"]\nnames = "{"x" * 999}"'
    )
    lines = _mistakes()
    assert "hush" not in "\n".join(lines)
    assert len(_line_of("names", lines)) < 250


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("kafka://h:1/t?group=g", "kafka://h:1/t?group=g"),
        ("kafka://me:hush@h:1/t", "kafka://***@h:1/t"),
        ("KAFKA://me:hu/s?h@h:1/t", "KAFKA://***@h:1/t"),
        ("kafka://h/t?Password=hush&group=g", "kafka://h/t?Password=***&group=g"),
        ("kafka://h/t?group=g&ssl_passwd=hush", "kafka://h/t?group=g&ssl_passwd=***"),
        ("kafka://h/t?token=hu@sh", "kafka://h/t?token=***"),
        ("file:///home/a@b/c.jsonl", "file:///home/a@b/c.jsonl"),
        ("a@b.jsonl", "a@b.jsonl"),
        ("-", "-"),
    ],
)
def test_mask(uri: str, shown: str) -> None:
    assert mask(uri) == shown


_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(_text)
def test_a_password_never_shows(password: str) -> None:
    secret = f"<{password}>"
    assert secret not in mask(f"kafka://me:{secret}@host:9092/topic?group=g")


@given(st.lists(_text, unique=True, max_size=4))
def test_lists_survive_toml_and_json(names: list[str]) -> None:
    assert tomllib.loads(f"names = {toml_value(names)}") == {"names": names}
    assert Settings(names=names).names == names


def test_the_reference_explains_every_key() -> None:
    keys = reference()
    assert [key.name for key in keys] == list(Settings.model_fields)
    for key in keys:
        assert key.description.endswith("."), key
        assert key.accepted, key
        assert key.variable == f"IHOMER_{key.name.upper()}"
    assert [key.name for key in keys if key.spelling] == [
        "source",
        "names",
        "labels",
        "mapping_labels",
        "mapping_fields",
        "mapping_separators",
    ]


def test_importing_the_configuration_is_cheap() -> None:
    code = (
        "import sys, ihomer.stream.settings\n"
        "print([m for m in ('numpy', 'numba', 'river', 'kafka', 'rich', 'structlog')"
        " if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
