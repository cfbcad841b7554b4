"""Damaged and hostile folders: one clear reason, nothing executed, nothing half used."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.drift.events import EventLog, Kind, LearnerEvent, Level
from ihomer.instances import Encoder, Event
from ihomer.learners.executor import Executor
from ihomer.state import Capture, CheckpointError, digest, load_folder, write_folder
from ihomer.state.folder import ARRAYS, MANIFEST, SKELETON, _check, new_hash

FILES = (MANIFEST, SKELETON, ARRAYS)


def _roots() -> dict[str, Any]:
    encoder = Encoder()
    encoder.encode([Event(n, {"a": 1.0, f"b{n}": 2.0}, ["x", f"y{n}"]) for n in range(5)])
    log = EventLog(name=encoder.labels.name)
    log.add(LearnerEvent(1, Kind.SPLIT, Level.TREE, labels=(1, 2), statistic=0.5))
    return {"encoder": encoder, "log": log, "a": np.arange(30.0), "b": (np.ones((2, 3)), [1, "z"])}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state") / "original"
    capture = Capture()
    capture.take(_roots())
    write_folder(folder, capture, {"batch": 3})
    return folder


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "damaged"


def _refused(folder: Path) -> str:
    with pytest.raises(CheckpointError) as refused:
        load_folder(folder)
    text = str(refused.value)
    assert "\n" not in text
    assert str(folder) in text
    return text


def _copy(original: Path, scratch: Path) -> Path:
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(original, scratch)
    return scratch


@given(st.data())
def test_a_flip_anywhere_is_refused_or_changes_nothing(
    original: Path, scratch: Path, data: st.DataObject
) -> None:
    folder = _copy(original, scratch)
    path = folder / data.draw(st.sampled_from(FILES))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        found, manifest = load_folder(folder)
    except CheckpointError:
        return
    assert digest(found) == digest(_roots())
    assert manifest.facts == {"batch": 3}


@given(st.sampled_from(FILES), st.integers(0, 5000), st.binary(max_size=20))
def test_a_truncated_or_longer_file_is_refused(
    original: Path, scratch: Path, name: str, size: int, more: bytes
) -> None:
    folder = _copy(original, scratch)
    path = folder / name
    content = path.read_bytes()
    changed = content[:size] + more
    if changed.strip() == content.strip():
        return
    path.write_bytes(changed)
    _refused(folder)


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_plain_file_is_refused(original: Path, scratch: Path, name: str) -> None:
    folder = _copy(original, scratch)
    (folder / name).unlink()
    assert "no such file" in _refused(folder)
    (folder / name).symlink_to(original / name)
    assert "a link" in _refused(folder)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert "no plain file" in _refused(folder)
    (folder / name).unlink()
    (folder / name).mkdir()
    _refused(folder)


def test_there_is_none(tmp_path: Path) -> None:
    _refused(tmp_path / "none")
    (tmp_path / "file").write_bytes(b"x")
    _refused(tmp_path / "file")


# From here on the checksums are right: it was made so on purpose.


def _forge(folder: Path, **changes: Callable[[Any], Any]) -> Path:
    """Change the content of files, with checksums that fit."""
    body = orjson.loads((folder / MANIFEST).read_bytes())
    for role, name in (("skeleton", SKELETON), ("arrays", ARRAYS)):
        content = (folder / name).read_bytes()
        if role in changes:
            content = changes[role](content)
            (folder / name).write_bytes(content)
        seen = new_hash()
        seen.update(content)
        body["files"][role] |= {"bytes": len(content), "blake2b": seen.hexdigest()}
    body.pop("check")
    if "manifest" in changes:
        body = changes["manifest"](body) or body
    (folder / MANIFEST).write_bytes(orjson.dumps({**body, "check": _check(body)}))
    return folder


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda body: body.update(schema=3), "schema version 3"),
        (lambda body: body.update(format="other"), "something else"),
        (lambda body: body.pop("files"), "keys that are wrong"),
        (lambda body: body["files"]["arrays"].update(name="../../etc/passwd"), "keys that are"),
        (lambda body: body["files"]["arrays"].update(bytes=1 << 50), "bytes"),
        (lambda body: body["files"]["arrays"].update(bytes=-1), "keys that are wrong"),
        (lambda body: body.update(roots=["learner"]), "learner"),
    ],
)
def test_a_manifest_made_to_deceive(
    original: Path, scratch: Path, change: Callable[[Any], Any], found: str
) -> None:
    def only(body: Any) -> None:
        change(body)

    assert found in _refused(_forge(_copy(original, scratch), manifest=only))


def _header(content: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(content[:8], "little")
    return orjson.loads(content[8 : 8 + length]), content[8 + length :]


def _with_header(header: object, data: bytes) -> bytes:
    text = orjson.dumps(header)
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header["0"].update(shape=[1 << 62]),
        lambda header: header["0"].update(shape=[1 << 40, 1 << 40, 0]),
        lambda header: header["0"].update(shape=[-1, -15]),
        lambda header: header["0"].update(shape=[True]),
        lambda header: header["0"].update(shape=[1] * 40),
        lambda header: header["0"].update(dtype="object"),
        lambda header: header["0"].update(dtype=["F64"]),
        lambda header: header["0"].update(data_offsets=[0, 1 << 60]),
        lambda header: header["0"].update(data_offsets=[8, 16]),
        lambda header: header["0"].pop("shape"),
        lambda header: header.popitem(),
        lambda header: header.clear(),
    ],
)
def test_arrays_made_to_deceive(
    original: Path, scratch: Path, change: Callable[[Any], Any]
) -> None:
    def arrays(content: bytes) -> bytes:
        header, data = _header(content)
        change(header)
        return _with_header(header, data)

    _refused(_forge(_copy(original, scratch), arrays=arrays))


def test_a_header_that_claims_too_much(original: Path, scratch: Path) -> None:
    folder = _forge(_copy(original, scratch), arrays=lambda content: b"\xff" * 8 + content[8:])
    assert "a header of" in _refused(folder)


def _skeleton(change: Callable[[Any], Any]) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        body = orjson.loads(content)
        change(body)
        return orjson.dumps(body)

    return changed


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "builtins:eval",
        "subprocess:Popen",
        "ihomer.jit:os",
        "ihomer.state.folder:Path",
        "ihomer.learners.baselines:__builtins__",
        "ihomer.nothing:Thing",
        "ihomer:IHomer",
        "ihomer.drift.events:EventLog.add",
        "",
        None,
        7,
    ],
)
def test_only_classes_of_ours_are_made(original: Path, scratch: Path, name: object) -> None:
    change = _skeleton(lambda body: body["classes"].__setitem__(0, [name, None]))
    assert "class" in _refused(_forge(_copy(original, scratch), skeleton=change))


_KINDS = ["list", "tuple", "named", "set", "deque", "dict", "object", "state", "view", "array"]
_KINDS += ["pyarray", "bytearray", "method", *"tifsbnNFeo"]
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 60) | st.sampled_from(_KINDS) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)


@given(st.data())
def test_any_skeleton_is_refused_or_harmless(
    original: Path, scratch: Path, data: st.DataObject
) -> None:
    def changed(content: bytes) -> bytes:
        body = orjson.loads(content)
        for _ in range(data.draw(st.integers(1, 3))):
            number = data.draw(st.integers(0, len(body["nodes"]) - 1))
            node = body["nodes"][number]
            place = data.draw(st.integers(0, len(node) - 1))
            node[place] = data.draw(_JSON)
        return orjson.dumps(body)

    folder = _forge(_copy(original, scratch), skeleton=changed)
    try:
        load_folder(folder)
    except CheckpointError as error:
        assert "\n" not in str(error)  # noqa: PT017 - a refusal is one of two good ends


def test_no_method_is_run_and_none_that_is_special_is_given(original: Path, scratch: Path) -> None:
    for name in ("__init__", "__setstate__", "nothing", "a.b", ""):

        def change(body: Any, name: str = name) -> None:
            methods = [node for node in body["nodes"] if node[0] == "method"]
            methods[0][2] = name

        _refused(_forge(_copy(original, scratch), skeleton=_skeleton(change)))


def test_a_view_stays_within_its_memory(tmp_path: Path) -> None:
    whole = np.arange(40.0)
    for place, wrong in ((2, 1000), (2, -8), (4, [4000]), (5, [1 << 40]), (3, "O")):
        folder = tmp_path / f"{place}{wrong}"
        capture = Capture()
        capture.take({"a": [whole[3:30], whole[10:20]]})
        write_folder(folder, capture, {})

        def change(body: Any, place: int = place, wrong: object = wrong) -> None:
            next(node for node in body["nodes"] if node[0] == "view")[place] = wrong

        _refused(_forge(folder, skeleton=_skeleton(change)))


def test_what_setstate_cannot_take_is_refused(tmp_path: Path) -> None:
    capture = Capture()
    capture.take({"a": Executor(2)})
    folder = tmp_path / "a"
    write_folder(folder, capture, {})

    def change(body: Any) -> None:
        body["nodes"][0][2] = {"a b": 1}

    _refused(_forge(folder, skeleton=_skeleton(change)))
