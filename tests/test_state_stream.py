"""Saved in the midst of a stream, loaded, gone on: the same predictions and the same state."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ihomer import IHomer, vocabulary
from ihomer.connectors.synthetic import SyntheticSource
from ihomer.connectors.uri import open_source
from ihomer.errors import InputError, UsageError
from ihomer.instances import Encoder, Event
from ihomer.learners import representation
from ihomer.learners.baselines import BASELINES, make_baseline
from ihomer.state import Capture, CheckpointError, digest, load_folder, write_folder
from ihomer.stream.decode import Decoder

Rows = list[list[tuple[str, float]]]


def _yeast(n: int) -> list[Event]:
    source, decoder = open_source("river:yeast"), Decoder()
    found = source.next_batch(n, timeout=1.0)
    assert found is not None
    return [decoder.decode(record) for record in found]


def _generated(n: int, stream: str, **parameters: float) -> list[Event]:
    source = SyntheticSource(stream, events=n, drift="sudden", **parameters)
    found = source.next_batch(n, timeout=1.0)
    assert found is not None
    return [record.value for record in found if isinstance(record.value, Event)]


def _wandering(n: int) -> list[Event]:
    """Labels that live for a while and return, unlabelled events, nominal values among them."""
    rng = np.random.default_rng(0)
    found = []
    for t in range(n):
        alive = [label for label in range(12) if (t // 500 + label) % 4 < 2]
        y = sorted(f"l{label}" for label in rng.choice(alive, 2, replace=False))
        x: dict[str, object] = {f"w{name}": 1.0 for name in y if rng.random() < 0.8}
        x |= {f"b{rng.integers(30)}": 1.0, "colour": str(rng.choice(["red", "blue"]))}
        found.append(Event(t, x, y if rng.random() < 0.95 else None))  # type: ignore[arg-type]
    return found


def _run(model: IHomer, events: list[Event], size: int = 100) -> Iterator[tuple[bytes, ...]]:
    for start in range(0, len(events), size):
        found = model.predict_learn(model.encoder.encode(events[start : start + size]))
        yield found.on.tobytes(), found.scores.tobytes(), found.events.tobytes()


def _goes_on(model: IHomer, events: list[Event], cuts: tuple[int, ...], folder: Path) -> IHomer:
    """Compare a run with one that is saved and loaded at each of `cuts`; returns the latter."""
    again: IHomer = model.clone()
    for number, (start, stop) in enumerate(itertools.pairwise((0, *cuts, len(events)))):
        assert list(_run(model, events[start:stop])) == list(_run(again, events[start:stop]))
        again.save(folder / str(number))
        again = IHomer.load(folder / str(number))
        assert digest({"model": again}) == digest({"model": model})
        assert again.events() == model.events()
        assert again.clusters() == model.clusters()
        assert again.memory_bytes == model.memory_bytes
    return again


def test_few_labels(tmp_path: Path) -> None:
    _goes_on(IHomer(), _yeast(900), (333,), tmp_path)


def test_text_with_clusters_drift_and_a_challenger(tmp_path: Path) -> None:
    events = _generated(5000, "text", labels=30, words=300)
    model = _goes_on(IHomer(max_features=512), events, (2300, 3101), tmp_path)
    assert len(model.clusters()) > 1
    assert model._engine._challenges is not None


def test_many_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(representation, "BESIDE", 100)
    monkeypatch.setattr(representation, "TOO_MANY", 400)
    events = _generated(1500, "text", labels=600, words=2000)
    model = _goes_on(IHomer(), events, (200, 1000), tmp_path)
    assert model._learner.sparse


def test_vanishing_labels_and_columns_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary, "LEAST_ABSENCE", 500)
    monkeypatch.setattr(vocabulary, "CLEAN_UP", 256)
    model = IHomer(max_labels=9, max_features=30, new_labels="drop", forget_labels_after=700)
    found = _goes_on(model, _wandering(2500), (901, 1702), tmp_path)
    assert found.encoder.labels.changes > 5
    assert found.encoder.labels.changes == model.encoder.labels.changes


@pytest.mark.parametrize("parameters", [{"partition": "jaccard"}, {"objective": "macro-f1"}])
def test_other_parts(tmp_path: Path, parameters: dict[str, str]) -> None:
    _goes_on(IHomer(**parameters), _yeast(500), (200,), tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_have_a_state_too(name: str, tmp_path: Path) -> None:
    model = make_baseline(name, Encoder())
    model.predict_learn(model.encoder.encode(_wandering(100)))
    capture = Capture()
    capture.take({"model": model})
    write_folder(tmp_path / "a", capture, {})
    assert digest(load_folder(tmp_path / "a")[0]) == digest({"model": model})


_SCRIPT = """
from ihomer import IHomer
from ihomer.state import digest
from tests.test_state_stream import _wandering, _run
model = IHomer()
for _ in _run(model, _wandering(700)):
    pass
print(digest({"model": model}))
"""


def test_the_digest_is_the_same_in_every_process_whatever_memory_held_before() -> None:
    model = IHomer()
    for _ in _run(model, _wandering(700)):
        pass
    expected = digest({"model": model})
    for perturbed in ("1", "254"):
        environment = {**os.environ, "MALLOC_PERTURB_": perturbed, "PYTHONHASHSEED": perturbed}
        found = subprocess.run(
            [sys.executable, "-c", _SCRIPT], env=environment, capture_output=True, check=True
        )
        assert found.stdout.decode().strip() == expected


def test_readers_and_a_save_leave_no_trace(tmp_path: Path) -> None:
    events = _wandering(400)
    model, other = IHomer(), IHomer()
    for first, second in zip(_run(model, events), _run(other, events), strict=True):
        assert first == second
        model.predict_proba_one({"wl1": 1.0})
        model.rank_one({"new": 2.0}, k=2)
        model.save(tmp_path / "m")
        model.hierarchy()
    model.save(tmp_path / "m")
    again = IHomer.load(tmp_path / "m")
    # Room to grow may be another, because a prediction asks for it, too; nothing else.
    assert digest({"m": again}) == digest({"m": model})
    more = _wandering(600)[400:]
    expected = list(_run(other, more))
    assert list(_run(model, more)) == list(_run(again, more)) == expected


def test_it_is_saved_whole_while_another_thread_learns(tmp_path: Path) -> None:
    events = _yeast(600)
    model = IHomer()
    states: set[str] = set()
    known: set[str] = set()
    failed: list[BaseException] = []

    def learn() -> None:
        try:
            for _ in _run(model, events, 50):
                pass
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    # What it can be between two calls.
    twin = IHomer()
    known.add(_state(twin))
    for _ in _run(twin, events, 50):
        known.add(_state(twin))
    thread = threading.Thread(target=learn)
    thread.start()
    while thread.is_alive():
        model.save(tmp_path / "m")
        states.add(_state(IHomer.load(tmp_path / "m")))
    thread.join()
    assert not failed
    assert states <= known


def _state(model: IHomer) -> str:
    """Encoding goes before learning, and is no part of what a lock of the model's holds."""
    return digest({"engine": model._engine.model, "counts": model._engine.counts})


def test_threads_may_change(tmp_path: Path) -> None:
    events = _wandering(600)
    model, other = IHomer(), IHomer()
    assert list(_run(model, events[:300])) == list(_run(other, events[:300]))
    model.save(tmp_path / "m")
    again = IHomer.load(tmp_path / "m")
    again.use_threads(2)
    assert list(_run(again, events[300:])) == list(_run(other, events[300:]))
    with pytest.raises(UsageError, match="threads: found 0"):
        again.use_threads(0)


def test_a_path_is_made_replaced_or_refused(tmp_path: Path) -> None:
    model = IHomer(labels=["a"])
    model.save(tmp_path / "m")
    IHomer(labels=["b"]).save(str(tmp_path / "m"))
    assert IHomer.load(str(tmp_path / "m")).encoder.labels.unseen() == ["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    for name in ("file", "folder", "none/m"):
        with pytest.raises(UsageError, match=name.partition("/")[0]):
            model.save(tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(CheckpointError, match="no such file"):
        IHomer.load(tmp_path / "nothing")


def test_a_failed_save_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    IHomer(labels=["a"]).save(tmp_path / "m")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        IHomer(labels=["b"]).save(tmp_path / "m")
    monkeypatch.undo()
    assert IHomer.load(tmp_path / "m").encoder.labels.unseen() == ["a"]
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    capture = Capture()
    capture.take({"learner": [1, 2]})
    write_folder(tmp_path / "m", capture, {})
    with pytest.raises(CheckpointError, match="no IHomer"):
        IHomer.load(tmp_path / "m")
