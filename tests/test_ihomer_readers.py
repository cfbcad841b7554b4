"""Threads that predict while another one learns."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ihomer import IHomer
from ihomer.instances import Event, Value
from tests.streams import Pair, events, learned, stream


def states_seen(pairs: list[Pair], x: dict[str, Value], size: int) -> set[Any]:
    """What a sequential run predicts for `x` after every `size` events."""
    model = IHomer(labels=("never",))
    states = {_frozen(model, x)}
    for start in range(0, len(pairs), size):
        for one, y in pairs[start : start + size]:
            model.learn_one(one, y)
        states.add(_frozen(model, x))
    return states


def _frozen(model: IHomer, x: dict[str, Value]) -> frozenset[tuple[str, float]]:
    """Probabilities, without those labels that have the one of a label never seen."""
    found = {label: p[True] for label, p in model.predict_proba_one(x).items()}
    return frozenset((n, p) for n, p in found.items() if n == "never" or p != found["never"])


@pytest.mark.parametrize("face", ["learn_one", "predict_learn"])
def test_readers_see_a_state_before_or_after_never_between(face: str) -> None:
    pairs = stream(600, 18)
    # Labels turn up throughout, so that vocabularies grow under the readers.
    pairs = [(x, y | {f"extra {t // 40}"}) for t, (x, y) in enumerate(pairs)]
    x = {**pairs[0][0], "a name of the reader's": 1.0}
    size = 1 if face == "learn_one" else 50
    allowed = states_seen(pairs, x, size)
    model = IHomer(labels=("never",))
    done, ready = threading.Event(), threading.Barrier(4)
    seen: list[set[Any]] = [set() for _ in range(3)]

    def read(mine: set[Any]) -> int:
        reads = 0
        ready.wait()
        while not done.is_set():
            mine.add(_frozen(model, x))
            assert set(model.predict_one(x)) <= {*(f"extra {k}" for k in range(15)), *LABELS}
            reads += 1
        return reads

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read, mine) for mine in seen]
        ready.wait()
        try:
            for start in range(0, len(pairs), size):
                part = pairs[start : start + size]
                if face == "learn_one":
                    model.learn_one(*part[0])
                else:
                    model.predict_learn(model.encoder.encode(events(part)))
        finally:
            done.set()
        assert all(reader.result() > 0 for reader in readers)
    found = set().union(*seen)
    assert found <= allowed
    assert len(found) > 2  # they did read while it learned
    assert _frozen(model, x) in allowed


LABELS = {"never", *(f"{group}{letter}" for group in range(2) for letter in "abc")}


def test_labels_that_are_encoded_but_not_learned_are_as_never_seen() -> None:
    model = learned(stream(50, 19), labels=("never",))
    batch = model.encoder.encode([Event(0, {"level": 1.0}, ["born in this batch"])])
    found = model.predict_proba_one({"level": 1.0})
    assert found["born in this batch"] == found["never"]
    model.predict_learn(batch)
    assert model.predict_proba_one({"level": 1.0})["born in this batch"] != found["never"]
