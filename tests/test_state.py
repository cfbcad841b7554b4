"""The codec: what goes in comes out bit for bit, shared where it was shared; nothing else does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river.tree import HoeffdingTreeClassifier

from ihomer.drift.events import EventLog, Kind, LearnerEvent, Level
from ihomer.instances import Encoder, Event
from ihomer.learners.executor import Executor
from ihomer.learners.postings import PostingLearner
from ihomer.state import Capture, Plain, StateError, digest, frozen, load_folder, write_folder
from ihomer.state.rebuild import rebuild
from ihomer.state.skeleton import encode
from tests.state_graphs import GRAPHS, same


def copied(roots: Mapping[str, object]) -> dict[str, Any]:
    capture = Capture()
    capture.take(roots)
    tensors = [
        np.frombuffer(bytearray(capture.bytes_of(each)), each.dtype).reshape(each.shape)
        for each in capture.tensors
    ]
    return rebuild(encode(capture), tensors, "skeleton.json")


@given(st.dictionaries(st.text(max_size=3), GRAPHS, max_size=3))
def test_any_graph_comes_back(roots: dict[str, Any]) -> None:
    found = copied(roots)
    assert same(roots, found)
    assert digest(found) == digest(roots)


@given(GRAPHS)
def test_the_order_in_which_sets_were_filled_plays_no_role(graph: object) -> None:
    one, other = {f"w{n}" for n in range(50)}, {f"w{n}" for n in reversed(range(50))}
    assert digest({"a": one, "b": graph}) == digest({"a": other, "b": graph})


def test_it_holds_itself() -> None:
    loop: list[Any] = [1]
    loop.append((loop, {"me": loop}))
    found = copied({"loop": loop})["loop"]
    assert found[1][0] is found
    assert found[1][1]["me"] is found


def test_what_is_said_to_be_plain_is_not_looked_at() -> None:
    items = Plain((n, (f"w{n}", b"x", (None, 0.5))) for n in range(9000))
    found = copied({"a": {"b": items}, "again": [items]})
    assert type(found["a"]["b"]) is Plain
    assert found["a"]["b"] == items
    assert found["again"][0] is found["a"]["b"]
    capture = Capture()
    capture.take({"a": Plain([[]])})
    with pytest.raises(StateError):
        encode(capture)


def test_methods_are_of_the_object_that_was_saved_with_them() -> None:
    encoder = Encoder()
    encoder.encode([Event(0, {"a": 1.0}, ["x", "y"])])
    found = copied({"name": encoder.labels.name, "encoder": encoder})
    assert found["name"](1) == "y"
    assert found["name"].__self__ is found["encoder"].labels


def test_arrays_that_share_memory_go_on_to_share_it() -> None:
    whole = np.arange(40.0)
    parts = [whole, whole[10:20], whole[15:30:3], whole.reshape(8, 5).T, whole[30:]]
    alone = np.arange(12).reshape(3, 4)
    found = copied(
        {"parts": parts, "turned": alone.T, "back": alone[:, ::-1], "twice": [alone] * 2}
    )
    for one, other in zip(parts, found["parts"], strict=True):
        assert np.array_equal(one, other)
        assert one.strides == other.strides
    found["parts"][0][16] = -1.0
    assert found["parts"][1][6] == found["parts"][3][1, 3] == -1.0
    assert np.array_equal(found["turned"], alone.T)
    assert np.array_equal(found["back"], alone[:, ::-1])
    assert found["twice"][0] is found["twice"][1]


def test_arrays_cut_from_one_piece_stand_alone() -> None:
    piece = np.arange(2000.0)
    found = copied({"a": piece[:1000], "b": piece[1000:]})
    assert not np.shares_memory(found["a"], found["b"])
    assert np.array_equal(np.concatenate([found["a"], found["b"]]), piece)
    assert digest(found) == digest({"a": piece[:1000], "b": piece[1000:]})


def test_a_kept_buffer_leaves_nothing_of_what_it_held(tmp_path: Path) -> None:
    capture = Capture()
    for n in (40_000, 300, 90_000, 1_000):
        capture.take({"a": np.arange(n), "b": np.ones(2 * n)})
        folder = tmp_path / str(n)
        manifest = write_folder(folder, capture, {})
        capture.make_room()
        found, _ = load_folder(folder)
        assert np.array_equal(found["a"], np.arange(n))
        assert np.array_equal(found["b"], np.ones(2 * n))
        assert manifest.digest == digest(found)


def test_large_arrays_are_copied_whole_and_do_not_follow_the_original(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 255, size, dtype=np.uint8) for size in (9 << 20, 5000, (3 << 20) + 7)]
    expected = [array.copy() for array in arrays]
    capture = Capture()
    capture.take({"arrays": arrays})
    for array in arrays:
        array[:] = 0
    write_folder(tmp_path / "a", capture, {})
    found = load_folder(tmp_path / "a")[0]["arrays"]
    assert all(map(np.array_equal, found, expected))


def test_what_is_encoded_later_is_what_was_there() -> None:
    names = [f"w{n}" for n in range(10_000)]
    ids: dict[Any, int] = {("colour", name): n for n, name in enumerate(names)}
    log = EventLog()
    log.add(LearnerEvent(1, Kind.SPLIT, Level.TREE, labels=("a",)))
    capture = Capture()
    capture.take({"names": names, "ids": ids, "log": log})
    before = encode(capture)
    names.append("later")
    ids["other"] = 3
    log.add(LearnerEvent(2, Kind.MERGE, Level.TREE))
    assert encode(capture) == before
    assert b"later" not in before


@pytest.mark.parametrize(
    ("state", "found"),
    [
        (HoeffdingTreeClassifier(), "river.tree.hoeffding_tree_classifier.HoeffdingTree"),
        ([np.array([object()])], "array of object"),
        (np.zeros(3, dtype=">f8"), "array of >f8"),
        (np.zeros(2, dtype="U3"), "array of <U3"),
        (np.zeros(2, dtype=np.longdouble), "array of float128"),
        ({1, Executor}, "set of objects"),
        ({Executor(): 1}, "keys are objects"),
        (print, "builtins.builtin_function_or_method"),
        (Executor, "builtins.type"),
        ([].append, "builtins.builtin_function_or_method"),
        (lambda: None, "builtins.function"),
        (object(), "builtins.object"),
        (1j, "builtins.complex"),
    ],
)
def test_what_cannot_be_saved_is_refused_in_a_line(state: object, found: str) -> None:
    capture = Capture()
    with pytest.raises(StateError) as refused:
        capture.take({"a": np.zeros(3), "learner": state})
    assert found in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not capture.nodes
    assert not capture.roots


def test_depth_is_refused_not_run_into() -> None:
    deep: list[Any] = []
    for _ in range(20_000):
        deep = [deep]
    with pytest.raises(StateError, match="too deep"):
        Capture().take({"deep": deep})


def test_only_what_cannot_change_may_be_taken_by_reference() -> None:
    with pytest.raises(TypeError):
        frozen(Event)


def test_the_skeleton_is_json_that_says_what_it_is() -> None:
    capture = Capture()
    capture.take({"learner": PostingLearner(16.0, half=False), "x": 2**70})
    found = orjson.loads(encode(capture))
    assert found["roots"] == {"learner": [0], "x": ["i", "400000000000000000"]}
    assert found["classes"][0][0] == "ihomer.learners.postings:PostingLearner"
