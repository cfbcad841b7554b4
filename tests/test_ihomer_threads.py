"""Several threads and one model: every way to read during learning, and two writers at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ihomer import IHomer
from ihomer.instances import Event
from ihomer.state import digest
from tests.streams import stream
from tests.yeast import yeast_bodies

READERS = 4
SIZE = 40


def _answers(model: IHomer, x: Any) -> dict[str, Any]:
    """What each way to read says; names that come later are all that may differ between states."""
    return {
        "predict_one": tuple(sorted(model.predict_one(x).items())),
        "predict_proba_one": tuple(
            sorted((label, p[True]) for label, p in model.predict_proba_one(x).items())
        ),
        "rank_one": tuple(model.rank_one(x, 3)),
        "explain_one": model.explain_one(x, "Class1", 3).to_json(),
    }


def test_all_readers_see_states_between_batches() -> None:
    bodies = list(yeast_bodies(800))
    x = bodies[700]["x"]
    names = tuple(x)
    X = np.array([[body["x"][name] for name in names] for body in bodies])
    labels = sorted({label for body in bodies for label in body["y"]})
    Y = np.array([[label in body["y"] for label in labels] for body in bodies], dtype=np.int8)

    def begun() -> IHomer:
        model = IHomer(labels=labels)
        model.predict_learn_many(X[:SIZE], Y[:SIZE], names, labels)
        return model

    sequential = begun()
    states = {name: {found} for name, found in _answers(sequential, x).items()}
    for start in range(SIZE, len(X), SIZE):
        part = slice(start, start + SIZE)
        sequential.predict_learn_many(X[part], Y[part], names, labels)
        for name, found in _answers(sequential, x).items():
            states[name].add(found)
    model = begun()
    done, ready = threading.Event(), threading.Barrier(READERS + 1)

    def read(name: str) -> set[Any]:
        mine: set[Any] = set()
        ready.wait()
        while not done.is_set():
            mine.add(_answers(model, x)[name])
        mine.add(_answers(model, x)[name])
        return mine

    with ThreadPoolExecutor(READERS) as pool:
        readers = {name: pool.submit(read, name) for name in states}
        ready.wait()
        try:
            for start in range(SIZE, len(X), SIZE):
                part = slice(start, start + SIZE)
                model.predict_learn_many(X[part], Y[part], names, labels)
        finally:
            done.set()
        for name, reader in readers.items():
            assert reader.result() <= states[name], name
    # Readers leave no trace in what was learned.
    assert _answers(model, x) == _answers(sequential, x)


def test_two_writers_are_done_one_after_the_other() -> None:
    model = IHomer()
    order: list[Event] = []
    encode = model.encoder.encode

    def recorded(events: list[Event]) -> Any:  # it is called with the lock held
        order.extend(events)
        return encode(events)

    model.encoder.encode = recorded  # type: ignore[method-assign, assignment]
    ready = threading.Barrier(2)

    def write(seed: int) -> None:
        ready.wait()
        for x, y in stream(150, seed):
            model.learn_one(x, sorted(y))

    with ThreadPoolExecutor(2) as pool:
        for writer in [pool.submit(write, seed) for seed in (1, 2)]:
            writer.result()
    del model.encoder.encode
    assert model.n_learned == len(order) == 300
    twin = IHomer()
    for event in order:
        twin.learn_one(event.x, list(event.on or ()))
    assert digest({"model": model}) == digest({"model": twin})


def test_a_frozen_model_answers_all_threads_the_same(tmp_path: Path) -> None:
    model = IHomer()
    bodies = list(yeast_bodies(200))
    for body in bodies:
        model.learn_one(body["x"], body["y"])
    model.save(tmp_path / "model")
    expected = [model.predict_proba_one(body["x"]) for body in bodies[:40]]
    frozen = IHomer.load(tmp_path / "model", frozen=True)

    def read(_: int) -> bool:
        return [frozen.predict_proba_one(body["x"]) for body in bodies[:40]] == expected

    with ThreadPoolExecutor(READERS) as pool:
        assert all(pool.map(read, range(2 * READERS)))
