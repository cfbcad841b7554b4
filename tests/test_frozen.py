"""Models that only predict, in memory that processes share."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from ihomer import IHomer
from ihomer.errors import UsageError
from ihomer.instances import Event
from ihomer.state import Capture, CheckpointError, load_folder, tensors
from ihomer.state.folder import ARRAYS, MANIFEST, _check, new_hash
from tests.streams import Pair, learned, stream
from tests.yeast import yeast_bodies

# Loads a frozen model, predicts, says how its mapping is held, and waits to be let go.
READER = """
import json, sys
from ihomer import IHomer
path, x = sys.argv[1], json.loads(sys.argv[2])
model = IHomer.load(path, frozen=True)
found = [model.predict_proba_one(x) for _ in range(3)][-1]
print(json.dumps(found and {k: v[True] for k, v in found.items()}), flush=True)
sys.stdin.readline()
held, inside = {}, False
for line in open("/proc/self/smaps"):
    first, *rest = line.split()
    if not first.endswith(":"):
        inside = line.rstrip().endswith("arrays.safetensors")
        held["mode"] = line.split()[1] if inside else held.get("mode")
    elif inside and rest[-1] == "kB":
        held[first[:-1]] = held.get(first[:-1], 0) + int(rest[0])
print(json.dumps(held), flush=True)
sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[IHomer, Path]:
    model = IHomer()
    for body in yeast_bodies(400):
        model.learn_one(body["x"], body["y"])
    path = tmp_path_factory.mktemp("frozen") / "yeast.model"
    model.save(path)
    return model, path


def _bytes(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def test_a_frozen_model_predicts_as_the_one_that_was_saved(saved: tuple[IHomer, Path]) -> None:
    model, path = saved
    before = _bytes(path)
    frozen = IHomer.load(path, frozen=True)
    assert frozen.frozen
    assert not model.frozen
    for body in yeast_bodies(450):
        x = {**body["x"], "never seen": 1.0}
        for each in (body["x"], x):
            assert frozen.predict_proba_one(each) == model.predict_proba_one(each)
            assert frozen.predict_one(each) == model.predict_one(each)
            assert frozen.rank_one(each) == model.rank_one(each)
    assert frozen.clusters() == model.clusters()
    assert _bytes(path) == before


def test_posting_lists_are_frozen_too(tmp_path: Path) -> None:
    pairs: list[Pair] = [
        ({f"w{t % 50}": 1.0, f"v{t % 7}": 1.0}, {f"l{t % 2100}"}) for t in range(2600)
    ]
    model = learned(pairs)
    assert model._learner.sparse
    model.save(tmp_path / "many")
    frozen = IHomer.load(tmp_path / "many", frozen=True)
    for x, _ in pairs[-40:]:
        assert frozen.predict_proba_one(x) == model.predict_proba_one(x)
        assert frozen.rank_one(x, 3) == model.rank_one(x, 3)


def test_a_frozen_model_refuses_to_learn(saved: tuple[IHomer, Path]) -> None:
    _, path = saved
    frozen = IHomer.load(path, frozen=True)
    x = next(yeast_bodies(1))["x"]
    label = min(frozen.predict_one(x))
    before = frozen.predict_proba_one(x)
    with pytest.raises(UsageError, match="learn_one: found a model loaded with frozen=True"):
        frozen.learn_one(x, {label})
    with pytest.raises(UsageError, match="predict_learn_many: found"):
        frozen.predict_learn_many([[1.0]], [[1]])
    batch = frozen.encoder.encode([Event(0, x, [label])])
    with pytest.raises(UsageError, match="predict_learn: found"):
        frozen.predict_learn(batch)
    assert frozen.n_learned == 400
    frozen.predict_learn(batch.unlabelled())
    assert frozen.predict_proba_one(x) == before


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])  # noqa: S301 - our own bytes
def test_a_copy_learns_and_leaves_the_file_alone(saved: tuple[IHomer, Path], copied: Any) -> None:
    model, path = saved
    before = _bytes(path)
    thawed = copied(IHomer.load(path, frozen=True))
    twin = copied(model)
    assert not thawed.frozen
    for x, y in stream(150, 3):
        thawed.learn_one(x, y)
        twin.learn_one(x, y)
    assert thawed.predict_proba_one({"level": 1.0}) == twin.predict_proba_one({"level": 1.0})
    assert _bytes(path) == before


def test_large_arrays_are_views_of_the_file_and_aligned(saved: tuple[IHomer, Path]) -> None:
    _, path = saved
    size = (path / ARRAYS).stat().st_size
    with (path / ARRAYS).open("rb") as file:
        found = tensors.mapped(file, size, "here", lambda _: None)
    with (path / ARRAYS).open("rb") as file:
        plain = tensors.read(file, size, "here", lambda _: None)
    large = [each for each in found if each.nbytes >= 4096]
    # The header and small arrays are the rest.
    assert sum(each.nbytes for each in large) > 0.8 * size
    assert all(each.__array_interface__["data"][0] % 64 == 0 for each in large)
    assert all(not each.flags.owndata and each.flags.writeable for each in large)
    for one, other in zip(found, plain, strict=True):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert one.tobytes() == other.tobytes()


def _as_version_1(folder: Path) -> None:
    """Take the room between arrays away, as they were written before there was any."""
    content = (folder / ARRAYS).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = orjson.loads(content[8 : 8 + length])
    kept, data, end = {}, b"", 0
    for name, told in header.items():
        start, stop = told["data_offsets"]
        if not name.endswith(".room"):
            kept[name] = {**told, "data_offsets": [end, end + stop - start]}
            data += content[8 + length + start : 8 + length + stop]
            end += stop - start
    assert len(kept) < len(header)
    text = orjson.dumps(kept)
    text += b" " * (-len(text) % 8)
    content = len(text).to_bytes(8, "little") + text + data
    (folder / ARRAYS).write_bytes(content)
    seen = new_hash()
    seen.update(content)
    body = orjson.loads((folder / MANIFEST).read_bytes())
    body["files"]["arrays"] |= {"bytes": len(content), "blake2b": seen.hexdigest()}
    body["schema"] = 1
    del body["check"]
    (folder / MANIFEST).write_bytes(orjson.dumps({**body, "check": _check(body)}))


@pytest.mark.parametrize("frozen", [False, True])
def test_what_was_saved_before_arrays_were_aligned_is_loaded(
    saved: tuple[IHomer, Path], tmp_path: Path, frozen: bool
) -> None:
    model, _ = saved
    model.save(tmp_path / "old")
    _as_version_1(tmp_path / "old")
    again = IHomer.load(tmp_path / "old", frozen=frozen)
    for body in yeast_bodies(20):
        assert again.predict_proba_one(body["x"]) == model.predict_proba_one(body["x"])


def test_a_damaged_file_is_refused(saved: tuple[IHomer, Path], tmp_path: Path) -> None:
    model, _ = saved
    model.save(tmp_path / "model")
    path = tmp_path / "model" / ARRAYS
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="a checksum that does not fit"):
        IHomer.load(tmp_path / "model", frozen=True)
    path.write_bytes(content[:-5])
    with pytest.raises(CheckpointError, match="bytes"):
        IHomer.load(tmp_path / "model", frozen=True)


def test_a_state_without_arrays_can_be_mapped(tmp_path: Path) -> None:
    from ihomer.state import write_folder

    capture = Capture()
    capture.take({"a": [1, 2]})
    write_folder(tmp_path / "none", capture, {})
    assert load_folder(tmp_path / "none", in_place=True)[0] == {"a": [1, 2]}


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="there is no smaps to look at")
def test_processes_share_a_frozen_model_and_none_writes_to_it(
    saved: tuple[IHomer, Path],
) -> None:
    model, path = saved
    x = next(yeast_bodies(1))["x"]
    before = _bytes(path)
    size = (path / ARRAYS).stat().st_size // 1024
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, str(path), json.dumps(x)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        expected = {label: p[True] for label, p in model.predict_proba_one(x).items()}
        for reader in readers:
            assert reader.stdout is not None
            assert json.loads(reader.stdout.readline()) == expected
        held = []
        for reader in readers:
            assert reader.stdin is not None
            assert reader.stdout is not None
            reader.stdin.write("\n")
            reader.stdin.flush()
            held.append(json.loads(reader.stdout.readline()))
    finally:
        for reader in readers:
            reader.communicate("\n")
    for each in held:
        assert each["mode"] == "rw-p"  # private: what is written stays in the process
        # Both hold all of it, and each is charged for half.
        assert each["Shared_Clean"] > 0.8 * size
        assert each["Pss"] < 0.7 * each["Rss"]
        assert each["Private_Dirty"] < 0.15 * size  # scratch of the kernels
        assert each["Shared_Dirty"] == 0
    assert _bytes(path) == before
