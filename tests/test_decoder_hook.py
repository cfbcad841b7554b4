"""A decoder of the user's: allowed or not, found or not, and what becomes of what it does."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from ihomer.connectors import memory
from ihomer.connectors.base import Record
from ihomer.errors import EXIT_USAGE, MalformedEventError, UsageError
from ihomer.instances import LabelEvent
from ihomer.stream.cli import app
from ihomer.stream.decode import Decoder
from ihomer.stream.decoder_hook import HookedDecoder, check_decoder, load_hook, with_hook
from ihomer.stream.settings import Settings
from tests import binary_events
from tests.commands import figures, replay
from tests.yeast import yeast_bodies

HOOK = "tests.binary_events:decode"
names = st.text(min_size=1, max_size=5)
numbers = st.floats(allow_nan=False, allow_infinity=False)


def record(value: bytes | None, key: bytes | None = None) -> Record:
    return Record(value, "topic", 0, 7, key)


def refused(decoder: Decoder, value: bytes) -> MalformedEventError:
    with pytest.raises(MalformedEventError) as caught:
        decoder.decode(record(value))
    assert "\n" not in str(caught.value)
    return caught.value


@given(names, st.dictionaries(names, numbers, min_size=1), st.sets(names))
def test_an_event_that_was_encoded_is_decoded(event: str, x: dict[str, float], y: set[str]) -> None:
    hooked = HookedDecoder(binary_events.decode, Decoder())
    found = hooked.decode(record(binary_events.encode(event, x, y)))
    assert (found.id, found.x, set(found.on or ())) == (event, x, y)


def test_what_a_function_returns_is_checked_as_json_is() -> None:
    def hooked(body: object) -> HookedDecoder:
        return HookedDecoder(lambda _: body, Decoder(strict=True))

    assert refused(hooked({"x": {}, "z": 1}), b"-").kind == "unknown-field"
    assert refused(hooked({"x": {"a": {}}}), b"-").kind == "feature-value"
    assert refused(hooked({}), b"-").kind == "x-missing"
    # JSON has no number for these: missing, as null is.
    assert hooked({"x": {"a": float("inf")}}).decode(record(b"-")).x == {"a": None}
    none: list[object] = [[], None, "text", 7, {"x": {1, 2}}, {"x": {"a": b"-"}}, {"x": {7: 1}}]
    for body in none:
        fault = refused(hooked(body), b"-")
        assert (fault.stage, fault.kind) == ("parse", "decoder")
        assert "event: the decoder returned " in str(fault)
        assert "accepted: a dictionary" in str(fault)


def test_a_function_that_fails_makes_a_malformed_event() -> None:
    hooked = HookedDecoder(binary_events.decode, Decoder())
    fault = refused(hooked, b"\0\0\0\0\x07")
    assert fault.kind == "decoder"
    assert str(fault) == "event: the decoder failed (ValueError: schema 7 is unknown)"
    whole = binary_events.encode("e", {"a": 1.0}, ["b"])
    for cut in range(len(whole)):
        assert refused(hooked, whole[:cut]).kind in ("decoder", "label-length")


def test_what_is_no_bytes_or_too_many_is_left_to_the_decoder() -> None:
    calls: list[bytes] = []

    def hook(value: bytes) -> dict[str, object]:
        calls.append(value)
        return {"id": "e", "y": ["a"]}

    hooked = HookedDecoder(hook, Decoder(max_event_bytes=20), max_event_bytes=10)
    with pytest.raises(MalformedEventError, match="tombstone"):
        hooked.decode(record(None))
    fault = MalformedEventError("read", "oversized", "too long")
    with pytest.raises(MalformedEventError, match="too long"):
        hooked.decode(record(b"-")._replace(fault=fault))
    with pytest.raises(MalformedEventError, match="max_event_bytes"):
        hooked.decode(record(b"x" * 30))
    assert calls == []
    assert hooked.decode_any(record(b"1234567890")) == LabelEvent("e", ["a"])
    with pytest.raises(MalformedEventError, match=r"accepted: at most 10 \(max_event_bytes\)"):
        hooked.decode(record(b"123456", b"12345"))


def test_code_is_run_only_if_that_is_allowed() -> None:
    assert load_hook(None, allowed=False) is None
    assert load_hook(HOOK, allowed=True) is binary_events.decode
    with pytest.raises(UsageError, match="no permission to run it, accepted: with --allow-code"):
        load_hook(HOOK, allowed=False)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_such_module:decode", "cannot be imported (ModuleNotFoundError: No module named"),
        ("tests.binary_events:absent", "cannot be imported (AttributeError: "),
        ("tests.binary_events:NO_FUNCTION", "7, accepted: a function"),
        ("tests.broken_hook:decode", "cannot be imported (ZeroDivisionError: division by zero)"),
    ],
)
def test_a_function_that_is_none_is_named(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tests

    monkeypatch.setattr(tests, "__path__", [*tests.__path__, str(tmp_path)])
    (tmp_path / "broken_hook.py").write_text("1 / 0\n")
    with pytest.raises(UsageError) as caught:
        load_hook(name, allowed=True)
    assert str(caught.value).startswith(f"decoder: found '{name}', ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["module", "module:", ":f", "a b:f", "m:f:g", "m.:f", "/m.py:f"])
def test_a_name_that_is_none_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IHOMER_DECODER", name)
    result = CliRunner().invoke(app, ["config", "check"])
    assert result.exit_code == EXIT_USAGE
    assert 'accepted: "module:function"' in result.output


@pytest.mark.parametrize("form", ["avro", "protobuf"])
def test_a_topic_that_says_it_holds_no_json_needs_a_decoder(form: str) -> None:
    uri = f"kafka://h:1/t?format={form}"
    with pytest.raises(UsageError) as caught:
        check_decoder(Settings(source=[uri]))
    for word in (f"found format={form}", "accepted: json", "module:function", "formats.md"):
        assert word in str(caught.value)
    with pytest.raises(UsageError, match="which ihomer does not read"):
        check_decoder(Settings(source=["kafka://h:1/t"], labels_source=uri))
    check_decoder(Settings(source=[uri], decoder=HOOK, allow_code=True))
    check_decoder(Settings(source=["kafka://h:1/t?format=json", "river:yeast"]))
    result = CliRunner().invoke(app, ["run", "--source", uri, "--quiet"])
    assert result.exit_code == EXIT_USAGE
    assert "module:function" in result.output


def test_bytes_of_a_registry_are_recognised_without_being_told() -> None:
    fault = refused(Decoder(), binary_events.encode("e", {}, []))
    assert fault.kind == "wire-format"
    assert "a zero byte and schema id 42" in str(fault)
    assert 'decoder = "module:function"' in str(fault)
    assert refused(Decoder(), b"\0\0\0\0").kind == "not-json"


def test_settings_put_the_function_before_their_decoder() -> None:
    plain = Decoder()
    assert with_hook(Settings(), plain) is plain
    hooked = with_hook(Settings(decoder=HOOK, allow_code=True), plain)
    assert hooked.decode(record(binary_events.encode("e", {"a": 1.0}, []))).id == "e"


def test_yeast_in_binary_gives_the_figures_of_yeast(tmp_path: Path) -> None:
    """A replay of binary records, one of them damaged, through the command."""
    bodies = list(yeast_bodies(300))
    values = [
        binary_events.encode(str(number), body["x"], body["y"])
        for number, body in enumerate(bodies)
    ]
    values.insert(100, b"\0\0\0\0\x01damaged")
    memory.create("binary", values)
    try:
        letters = tmp_path / "letters.jsonl"
        config = tmp_path / "ihomer.toml"
        config.write_text(f'decoder = "{HOOK}"\n')
        common = ["memory:binary", "--config", str(config), "--dead-letters", str(letters)]
        result = replay(*common)
        assert result.exit_code == EXIT_USAGE
        assert "--allow-code" in result.output
        found = figures(*common, "--allow-code")
    finally:
        memory.remove("binary")
    path = tmp_path / "same.jsonl"
    path.write_bytes(b"".join(json.dumps(body).encode() + b"\n" for body in bodies))
    wanted = figures(str(path))
    assert found["events"] == wanted["events"] == 300
    assert found["measures"] == wanted["measures"]
    (letter,) = [json.loads(line) for line in letters.read_bytes().splitlines()]
    assert letter["headers"]["ihomer.errors.class"] == "decoder"
    result = CliRunner().invoke(app, ["config", "check", "--config", str(config)])
    assert result.exit_code == EXIT_USAGE
    assert "--allow-code" in result.output


@pytest.mark.usefixtures("alone")
def test_a_configuration_is_inferred_from_what_the_function_makes() -> None:
    bodies = list(yeast_bodies(30))
    values = [
        binary_events.encode(str(number), body["x"], body["y"])
        for number, body in enumerate(bodies)
    ]
    values.insert(7, b"\0\0\0\0\x01damaged")
    memory.create("inferred", values)
    common = ["config", "infer", "memory:inferred"]

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    try:
        result = run(*common, "--decoder", HOOK)
        assert result.exit_code == EXIT_USAGE
        assert "no permission to run it, accepted: with --allow-code" in result.output
        assert not Path("ihomer.toml").exists()
        result = run(*common, "--decoder", HOOK, "--allow-code")
        assert result.exit_code == 0, result.output
        assert "Of the 31 events 30 are read by it, 1 refused" in result.output
        assert "--try 100 --allow-code" in result.output
        text = Path("ihomer.toml").read_text(encoding="utf-8")
        assert tomllib.loads(text) == {"source": ["memory:inferred"], "decoder": HOOK}
        assert "#allow_code = true" in text
        assert "Refused, decoder: memory:inferred" in " ".join(text.split("\n# "))
        # What was written runs as it says, and is a configuration for the next one.
        assert run("config", "check").exit_code == EXIT_USAGE
        result = run("config", "check", "--allow-code", "--try", "40")
        assert "30 events" in result.output
        assert "refused 1, decoder" in result.output
        result = run(*common, "--config", "ihomer.toml", "--allow-code", "--output", "-")
        assert tomllib.loads(result.stdout)["decoder"] == HOOK
    finally:
        memory.remove("inferred")


@pytest.mark.usefixtures("alone")
def test_a_topic_of_no_json_is_not_looked_at_without_a_function() -> None:
    result = CliRunner().invoke(app, ["config", "infer", "kafka://h:1/t?format=avro"])
    assert result.exit_code == EXIT_USAGE
    assert "found format=avro" in result.output
