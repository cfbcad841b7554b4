"""``ihomer checkpoint``: what is shown, verified, copied, and what a new slot begins with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner, Result

from ihomer import IHomer
from ihomer.errors import EXIT_INPUT, EXIT_USAGE
from ihomer.instances import Event
from ihomer.state import digest
from ihomer.stream.checkpoints import CheckpointStore, Mark, changed_keys, configuration_of
from ihomer.stream.cli import app
from ihomer.stream.settings import Settings


@pytest.fixture(autouse=True)
def _own_state(alone: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IHOMER_STATE_DIR", str(tmp_path / "state"))


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["checkpoint", *map(str, arguments)])


def _refused(code: int, *arguments: str | Path) -> str:
    result = _run(*arguments)
    assert result.exit_code == code, result.output
    assert result.stderr.startswith("ihomer: error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def _model(seed: int = 0) -> IHomer:
    return IHomer(labels=["sport", "news"], seed=seed)


def _filled(folder: Path, batches: int = 2) -> list[str]:
    store = CheckpointStore(folder)
    settings = Settings(source=["river:yeast"])
    return [
        store.save(
            {"learner": _model(), "labels": {"waiting": [1]}},
            Mark(batch, 1, 5 * batch, {"event": batch}, configuration_of(settings)),
        ).name
        for batch in range(batches)
    ]


def _damage(checkpoint: Path) -> None:
    path = checkpoint / "arrays.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_list_shows_all_slots(tmp_path: Path) -> None:
    one, two = _filled(tmp_path / "state" / "app" / "0"), _filled(tmp_path / "state" / "app" / "1")
    result = _run("list")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[0].rpartition("/")[2] for line in lines] == [*one, *two]
    assert "batch 1  events 5" in lines[1]
    shown = orjson.loads(_run("list", "state/app/1", "--json").stdout)
    assert [each["batch"] for each in shown] == [0, 1]
    assert shown[0]["digest"]


def test_a_damaged_manifest_is_listed_as_such(tmp_path: Path) -> None:
    (name, _) = _filled(tmp_path / "slot")
    (tmp_path / "slot" / name / "manifest.json").write_text("{")
    assert "no JSON" in _run("list", "slot").stdout.splitlines()[0]
    assert "no JSON" in orjson.loads(_run("list", "slot", "--json").stdout)[0]["fault"]


def test_show_is_of_the_newest_and_tells_what_differs(tmp_path: Path) -> None:
    _filled(tmp_path / "slot")
    Path("ihomer.toml").write_text('source = "river:yeast"\nseed = 4\ntop_k = 2\n')
    result = _run("show", "slot")
    assert result.exit_code == 0, result.output
    assert "batch: 1" in result.stdout
    assert "seed was 0, is 4 (not safe to change)" in result.stdout
    assert "top_k was 10, is 2 (safe to change)" in result.stdout
    shown = orjson.loads(_run("show", "slot", "--json").stdout)
    assert shown["position"] == {"event": 1}
    assert shown["roots"] == ["labels", "learner"]
    assert shown["versions"]["numpy"] == np.__version__
    assert shown["version_differences"] == []
    assert {each["name"]: each["safe"] for each in shown["configuration_changes"]} == {
        "seed": False,
        "top_k": True,
        "state_dir": True,
    }


def test_verify_names_what_is_damaged(tmp_path: Path) -> None:
    good, bad = _filled(tmp_path / "slot")
    result = _run("verify", "slot")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"ok: slot/{good}\nok: slot/{bad}\n"
    _damage(tmp_path / "slot" / bad)
    result = _run("verify", "slot")
    assert result.exit_code == EXIT_INPUT
    first, second = result.stdout.splitlines()
    assert first == f"ok: slot/{good}"
    assert second.startswith(f"damaged: slot/{bad}/arrays.safetensors: found a checksum")
    assert (tmp_path / "slot" / bad).exists()


def test_a_model_that_is_exported_and_imported_goes_on(tmp_path: Path) -> None:
    _filled(tmp_path / "slot")
    assert _run("export", "slot", "copy").exit_code == 0
    model = IHomer.load("copy")
    result = _run("import", "copy", "tickets", "--slot", "2")
    assert result.exit_code == 0, result.output
    store = CheckpointStore(tmp_path / "state" / "tickets" / "2")
    found = store.newest()
    assert found is not None
    assert (found.mark.batch, found.mark.epoch, found.mark.events) == (0, 0, 0)
    assert found.mark.position is None
    assert list(found.roots) == ["learner"]
    assert digest(found.roots) == digest({"learner": model})
    # The slot's owner comes later, so what it writes first is newer.
    store.save(found.roots, Mark(0, 1, 0, {}))
    newest = store.newest()
    assert newest is not None
    assert newest.mark.epoch == 1


def test_an_import_binds_the_parameters_of_its_model(tmp_path: Path) -> None:
    model = IHomer(seed=7, objective="hamming")
    model.learn_one({"a": 1.0}, {"x"})
    model.save("model")
    assert _run("import", "model", "tickets").exit_code == 0
    found = CheckpointStore(tmp_path / "state" / "tickets" / "0").newest()
    assert found is not None
    settings = Settings(state_dir=tmp_path / "state")
    changed = changed_keys(found.mark.configuration, settings)
    assert [key.name for key in changed] == ["objective", "seed"]
    again = found.roots["learner"]
    again.predict_learn(again.encoder.encode([Event(1, {"a": 1.0}, ["x"])]))
    assert again.n_learned == 2


def test_import_refuses_a_slot_with_a_past(tmp_path: Path) -> None:
    _model().save("model")
    _filled(tmp_path / "state" / "tickets" / "0")
    assert "a slot with a past" in _refused(EXIT_USAGE, "import", "model", "tickets")
    assert len(CheckpointStore(tmp_path / "state" / "tickets" / "0").list()) == 2


def test_wrong_places_are_refused_in_a_line(tmp_path: Path) -> None:
    _filled(tmp_path / "a" / "0")
    _filled(tmp_path / "a" / "1")
    assert "no such folder" in _refused(EXIT_USAGE, "list", "nowhere")
    assert "no such folder" in _refused(EXIT_USAGE, "verify")
    assert "those of 2 slots" in _refused(EXIT_USAGE, "show", "a")
    assert "accepted: a new path" in _refused(EXIT_USAGE, "export", "a/0", "a/1")
    assert "accepted: a new path" in _refused(EXIT_USAGE, "export", "a/0", "none/copy")
    assert "without a slash" in _refused(EXIT_USAGE, "import", "a/0", "../x")
    newest = CheckpointStore(tmp_path / "a" / "0").list()[-1].path
    _damage(newest)
    assert "checksum" in _refused(EXIT_INPUT, "export", "a/0", "copy")
    assert not (tmp_path / "copy").exists()
