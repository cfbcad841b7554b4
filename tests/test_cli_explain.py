"""``ihomer explain``: from a folder and an event to a table or JSON."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner, Result

from ihomer import IHomer
from ihomer.connectors.base import Record
from ihomer.errors import EXIT_INPUT, EXIT_USAGE
from ihomer.stream.checkpoints import CheckpointStore, Mark, configuration_of
from ihomer.stream.cli import app
from ihomer.stream.mapping.decoder import MappedDecoder, decoder_of
from ihomer.stream.settings import Settings, load_settings

EVENT = '{"id": 1, "x": {"ball": 1}, "y": ["sport"]}'


@pytest.fixture(autouse=True)
def _own_state(alone: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IHOMER_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture(scope="module")
def model() -> IHomer:
    found = IHomer()
    for _ in range(60):
        found.learn_one({"ball": 1.0}, {"sport"})
        found.learn_one({"vote": 1.0}, {"politics", "news"})
    return found


def _run(*arguments: str | Path, given: str | None = None) -> Result:
    return CliRunner().invoke(app, ["explain", *map(str, arguments)], input=given)


def _refused(code: int, *arguments: str | Path, given: str | None = None) -> str:
    result = _run(*arguments, given=given)
    assert result.exit_code == code, result.output
    assert result.stderr.startswith("ihomer: error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_an_event_is_explained_from_wherever_it_comes(model: IHomer) -> None:
    model.save("m")
    expected = str(model.explain_one({"ball": 1})) + "\n"
    Path("event.jsonl").write_text(EVENT + "\nwhat follows is not read\n")
    for result in (
        _run("m", "--event", EVENT),
        _run("m", "event.jsonl"),
        _run("m", given=EVENT + "\n"),
        _run("m", "-", given=EVENT),
    ):
        assert result.exit_code == 0, result.output
        assert result.stdout == expected
    assert expected.startswith("sport: 0.9")


def test_labels_and_json(model: IHomer) -> None:
    model.save("m")
    result = _run("m", "--event", EVENT, "--label", "news", "--label", "sport", "--top", "1")
    assert result.exit_code == 0, result.output
    assert [part.split(":")[0] for part in result.stdout.split("\n\n") if "predicted" in part] == [
        "news",
        "sport",
    ]
    found = orjson.loads(
        _run("m", "--event", EVENT, "--label", "news", "--top", "1", "--json").stdout
    )
    assert found == [orjson.loads(model.explain_one({"ball": 1}, "news", 1).to_json())]


def test_the_model_itself_is_described(model: IHomer) -> None:
    model.save("m")
    result = _run("m", "--model", "--top", "2")
    assert result.exit_code == 0, result.output
    assert result.stdout == str(model.describe(2)) + "\n"
    found = orjson.loads(_run("m", "--model", "--json").stdout)
    assert found["learned"] == 120


def test_a_slot_is_asked_by_its_newest_checkpoint(model: IHomer, tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "state" / "app" / "0")
    settings = configuration_of(Settings())
    store.save({"learner": IHomer()}, Mark(0, 1, 0, {}, settings))
    store.save({"learner": model}, Mark(1, 1, 120, {}, settings))
    for place in ((), (tmp_path / "state" / "app",), (tmp_path / "state" / "app" / "0",)):
        result = _run(*place, "--event", EVENT)
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith("sport: 0.9")


def test_declared_names_are_those_of_the_configuration(model: IHomer) -> None:
    model.save("m")
    Path("ihomer.toml").write_text('names = ["vote", "ball"]\n')
    result = _run("m", "--event", '{"x": [0, 1]}')
    assert result.exit_code == 0, result.output
    assert result.stdout == str(model.explain_one({"ball": 1})) + "\n"


def test_events_of_a_mapping_are_read_as_the_daemon_reads_them() -> None:
    model = IHomer()
    for _ in range(60):
        model.learn_one({"game.ball": 1.0}, {"sport"})
        model.learn_one({"game.vote": 1.0}, {"politics"})
    model.save("m")
    Path("ihomer.toml").write_text('[mapping]\nlabels = "$.tags"\n')
    result = _run("m", "--event", '{"tags": ["x"], "game": {"ball": 1}}')
    assert result.exit_code == 0, result.output
    assert result.stdout == str(model.explain_one({"game.ball": 1})) + "\n"


def test_buckets_of_text_are_called_by_the_words_of_the_event() -> None:
    config = (
        '[mapping]\nlabels = "$.tags"\ntext_bits = 4\ntext_bigrams = true\n'
        '[mapping.fields]\n"mail.body" = "text"\n'
    )
    Path("ihomer.toml").write_text(config)
    decoder = decoder_of(load_settings(None, {}).settings)
    assert isinstance(decoder, MappedDecoder)
    model = IHomer()
    for text, tag in [("please refund the money", "money"), ("my phone is broken", "repair")] * 60:
        body = orjson.dumps({"mail": {"body": text}, "tags": [tag]})
        model.learn_one(decoder.decode(Record(body, "t", 0, 0)).x, {tag})
    model.save("m")
    event = '{"mail": {"body": "A refund, please: not the REFUND of <my phone>"}, "n": 3}'
    called = decoder.called(Record(event.encode(), "t", 0, 0))
    assert sum(said.count('"refund"') for said in called.values()) == 1
    assert sum(said.count('"my phone"') for said in called.values()) == 1
    assert any(said.count('", "') for said in called.values())  # 16 buckets are shared by words
    (found,) = orjson.loads(_run("m", "--event", event, "--label", "money", "--json").stdout)
    shares = [*found["features"], *(each for e in found["experts"] for each in e["features"])]
    assert any(each["called"] for each in shares)
    for each in shares:
        assert each["called"] == called.get(each["feature"], "")
        # What the event has not is known by its number only.
        assert bool(each["called"]) == (each["value"] != 0.0)
    shown = _run("m", "--event", event, "--label", "money").stdout
    best = found["features"][0]
    assert f"\n{best['called'] or best['feature']}  " in shown
    x = decoder.decode(Record(event.encode(), "t", 0, 0)).x
    assert str(model.explain_one(x, "money", called=called)) + "\n" == shown
    assert "mail.body: " not in str(model.explain_one(x, "money"))


def test_mistakes_are_one_line(model: IHomer) -> None:
    model.save("m")
    assert "one of the model's labels" in _refused(
        EXIT_USAGE, "m", "--event", EVENT, "--label", "x"
    )
    assert "accepted: one JSON object" in _refused(EXIT_INPUT, "m", "--event", "{")
    assert "accepted: a finite number" in _refused(EXIT_INPUT, "m", "--event", '{"x":{"a":{}}}')
    assert "an empty first line" in _refused(EXIT_INPUT, "m", given="")
    assert "No such file" in _refused(EXIT_INPUT, "m", "none.json")
    assert "accepted: one of them" in _refused(EXIT_USAGE, "m", "f.json", "--event", EVENT)
    assert "accepted: neither" in _refused(EXIT_USAGE, "m", "--model", "--label", "sport")
    assert "no such folder" in _refused(EXIT_USAGE, "nowhere", "--event", EVENT)


def test_help_has_an_example() -> None:
    result = _run("--help")
    assert result.exit_code == 0
    assert "Example: ihomer explain" in result.stdout
