"""MOA's learners in their Java process: what goes in comes in, what comes out is theirs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from bench.candidate import Shape
from bench.peers import PEERS, java_driver, moa_peers
from bench.peers.moa_peers import LEARNERS, MoaError, MoaPeer
from ihomer.errors import UnavailableError, UsageError
from ihomer.instances import Batch, Encoder, Event
from ihomer.learners.base import Predictions
from ihomer.stream.measures import Measures
from tests.test_river_peers import encoded, mixed, yeast

Start = Callable[..., MoaPeer]
pytestmark = pytest.mark.integration


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a peer that is closed after the test; without a JDK skip, or fail where CI says so."""
    reason = java_driver.missing()
    if reason is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI runs MOA: {reason}", pytrace=False)
        pytest.skip(f"MOA {reason}")
    with ExitStack() as closing:

        def run(name: str, shape: Shape, seed: int = 1) -> MoaPeer:
            peer = PEERS[name].factory(shape, Encoder(), seed)
            closing.callback(peer.close)
            assert isinstance(peer, MoaPeer)
            return peer

        yield run


def copies(n: int, *, unlabelled: bool = False) -> tuple[list[Event], np.ndarray]:
    """Label 0 is feature 0, label 1 is always on, label 2 is feature 2 negated, label 3 is off."""
    rng = np.random.default_rng(4)
    values = (rng.random((n, 4)) < 0.5).astype(float)
    truth = np.zeros((n, 4), dtype=np.bool_)
    truth[:, 0] = values[:, 0] == 1.0
    truth[:, 1] = True
    truth[:, 2] = values[:, 2] == 0.0
    events = []
    for t in range(n):
        on = [f"l{i}" for i in np.flatnonzero(truth[t])]
        x = {f"f{i}": float(values[t, i]) for i in range(4)}
        events.append(Event(t, x, None if unlabelled else on))
    return events, truth


LABELS = ("l0", "l1", "l2", "l3")


def pieces(peer: MoaPeer, batch: Batch, size: int) -> Predictions:
    parts = [
        peer.predict_learn(batch.slice(a, min(a + size, len(batch))))
        for a in range(0, len(batch), size)
    ]
    return Predictions(
        np.concatenate([p.on for p in parts]),
        np.concatenate([p.scores for p in parts]),
        np.concatenate([p.events for p in parts]),
    )


# The trees' leaves predict one label set for all events until they have 1000 of them.
@pytest.mark.parametrize(
    ("name", "n"), [("moa-mlht", 2500), ("moa-isoup", 1500), ("moa-oza", 3000)]
)
def test_labels_and_features_stand_where_they_belong(start: Start, name: str, n: int) -> None:
    events, truth = copies(n)
    batch, dense = encoded(events, LABELS, sparse=False)
    peer = start(name, dense)
    found = peer.predict_learn(batch)
    late = slice(n - 300, n)
    assert (found.on[late] == truth[late]).mean(axis=0).min() > 0.95
    assert found.events.tolist() == list(range(n))
    assert peer.seconds > 0.0
    assert peer.faults == 0
    # Whether zeros are stored is all the same to MOA.
    again = start(name, Shape(LABELS, dense.features, True)).predict_learn(batch)
    np.testing.assert_array_equal(found.on, again.on)
    np.testing.assert_array_equal(found.scores, again.scores)


@pytest.mark.parametrize(
    ("name", "n", "least"),
    [("moa-mlht", 500, 0.45), ("moa-isoup", 500, 0.42), ("moa-oza", 250, 0.45)],
)
def test_yeast_in_one_batch_or_in_many(
    start: Start, name: str, n: int, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    events, labels = yeast(n)
    for event in events[3::7]:
        event.on = None
    batch, shape = encoded(events, labels, sparse=False)
    whole = start(name, shape).predict_learn(batch)
    measures = Measures()
    measures.update_batch(batch, whole)
    assert least < measures.result()["micro_f1"] < 0.75
    # The first prediction is made before anything was learned.
    assert not whole.on[0].any()
    assert np.isnan(whole.scores[0]).all() or not whole.scores[0].any()
    assert whole.events[-1] == batch.labelled[:-1].sum()
    monkeypatch.setattr(moa_peers, "_CELLS", 100)  # a few events to a frame
    cut = pieces(start(name, shape), batch, 11)
    np.testing.assert_array_equal(whole.on, cut.on)
    np.testing.assert_array_equal(whole.scores, cut.scores)
    np.testing.assert_array_equal(whole.events, cut.events)


def test_labels_do_not_reach_a_prediction(start: Start) -> None:
    events, labels = yeast(60)
    batch, shape = encoded(events, labels, sparse=False)
    hidden = encoded([*events[:50], Event(0, events[50].x)], labels, sparse=False)[0]
    one = start("moa-isoup", shape).predict_learn(batch.slice(0, 51))
    other = start("moa-isoup", shape).predict_learn(hidden)
    np.testing.assert_array_equal(one.scores, other.scores)


def test_unlabelled_events_are_not_learned(start: Start) -> None:
    batch, shape = encoded(copies(50, unlabelled=True)[0], LABELS, sparse=False)
    # Nothing but unlabelled events: the vocabulary holds the declared labels all the same.
    found = start("moa-mlht", shape).predict_learn(batch)
    assert np.isnan(found.scores).all()
    assert not found.on.any()
    assert not found.events.any()


def test_seeds_are_heard(start: Start) -> None:
    events, labels = yeast(100)
    batch, shape = encoded(events, labels, sparse=False)
    one, other = (start("moa-isoup", shape, seed).predict_learn(batch).scores for seed in (1, 2))
    assert not np.array_equal(one, other)


def test_missing_values_are_taken(start: Start) -> None:
    batch, shape = mixed(150, sparse=False)
    for name in ("moa-mlht", "moa-isoup"):
        found = start(name, shape).predict_learn(batch)
        # An event without a value may get no score; the next one does.
        assert np.isnan(found.scores[100:]).mean() < 0.5


def test_a_label_that_was_not_declared_is_never_predicted(start: Start) -> None:
    events = [Event(t, {"a": 1.0}, ["first", "zlate"], ["other"]) for t in range(40)]
    batch, _ = encoded(events, ("first", "other"), sparse=False)
    found = start("moa-isoup", Shape(("first", "other"), 1, False)).predict_learn(batch)
    assert found.on.shape == (40, 3)
    assert found.on[5:, 0].all()
    assert not found.on[:, 2].any()
    assert np.isnan(found.scores[:, 2]).all()


def test_an_undeclared_column_is_refused(start: Start) -> None:
    batch, shape = encoded(copies(5)[0], LABELS, sparse=False)
    with pytest.raises(UsageError, match="features: found column 3, accepted: below 2"):
        start("moa-mlht", Shape(shape.labels, 2, False)).predict_learn(batch)


def test_an_error_in_java_is_shown(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LEARNERS, "moa-mlht", "moa.classifiers.NoSuchLearner")
    with pytest.raises(MoaError, match=r"status 1: [\s\S]*NoSuchLearner"):
        start("moa-mlht", Shape(LABELS, 4, False))


def test_running_out_of_memory_is_shown(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java_driver, "HEAP", "24m")
    with pytest.raises(MoaError, match="OutOfMemoryError"):
        start("moa-isoup", Shape(LABELS, 2_000_000, False))


def test_a_process_that_dies_is_an_error_and_leaves_nothing_behind(start: Start) -> None:
    batch, shape = encoded(copies(20)[0], LABELS, sparse=False)
    peer = start("moa-isoup", shape)
    peer.predict_learn(batch)
    peer._process.kill()
    with pytest.raises(MoaError, match="status -9"):
        peer.predict_learn(batch)
    assert peer._process.returncode == -9
    assert not peer._listener.is_alive()
    peer.close()


def test_closing_ends_the_process(start: Start) -> None:
    batch, shape = encoded(copies(20)[0], LABELS, sparse=False)
    peer = start("moa-isoup", shape)
    peer.close()
    peer.close()
    assert peer._process.returncode is not None
    with pytest.raises(MoaError):
        peer.predict_learn(batch)


def test_the_process_ends_with_its_input(start: Start) -> None:
    peer = start("moa-isoup", Shape(LABELS, 4, False))
    assert peer._process.stdin is not None
    peer._process.stdin.close()
    assert peer._process.wait(30) == 0


def test_processes_that_compile_at_once_agree(start: Start, tmp_path: Path) -> None:
    del start  # only for its condition
    code = "from bench.peers import java_driver; print(java_driver.command()[-2])"
    environment = os.environ | {"IHOMER_CACHE_DIR": str(tmp_path)}
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment)
        for _ in range(2)
    ]
    said = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0, 0]
    assert len(said) == 1
    (folder,) = tmp_path.iterdir()
    assert (folder / "MoaPeer.class").is_file()


def test_without_a_jdk_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    said = "needs a JDK 17 or newer (apt install openjdk-17-jdk-headless)"
    assert PEERS["moa-mlht"].missing() == said
    with pytest.raises(UnavailableError, match="needs a JDK 17"):
        java_driver.command()
    for name, version in (("javac", "javac 11.0.2"), ("java", "")):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho {version}\n", encoding="utf-8")
        program.chmod(0o755)
    assert PEERS["moa-mlht"].missing() == said


def test_without_the_jar_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java_driver, "find_spec", lambda name: None)
    assert "pip install 'ihomer[bench]'" in (PEERS["moa-isoup"].missing() or "")
