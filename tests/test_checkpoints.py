"""The store: what is kept, what is removed, what is set aside, and what a failure leaves."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river.naive_bayes import GaussianNB

from ihomer.errors import InputError
from ihomer.state import CheckpointError, StateError, digest
from ihomer.state.folder import ARRAYS, MANIFEST, SKELETON, write_folder
from ihomer.stream.checkpoints import CheckpointStore, Failed, Mark, Written, store


def _roots(batch: int) -> dict[str, object]:
    return {"learner": np.full(3000, batch), "processor": {"events": 10 * batch}}


def _mark(batch: int, epoch: int = 1) -> Mark:
    return Mark(batch, epoch, 10 * batch, {"topic": {"0": batch}}, {"seed": 0})


def _filled(folder: Path, batches: range, keep: int = 3) -> CheckpointStore:
    found = CheckpointStore(folder, keep)
    for batch in batches:
        found.save(_roots(batch), _mark(batch))
    return found


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_found_with_its_mark(tmp_path: Path) -> None:
    checkpoints = CheckpointStore(tmp_path / "app" / "0")
    assert checkpoints.newest() is None
    assert checkpoints.list() == []
    written = checkpoints.save(_roots(7), _mark(7))
    assert written.name == "0000000000000007-0000000001"
    found = checkpoints.newest()
    assert found is not None
    assert found.mark == _mark(7)
    assert digest(found.roots) == digest(_roots(7))
    assert found.differences == ()
    (entry,) = checkpoints.list()
    assert entry.manifest is not None
    assert entry.manifest.nbytes == written.nbytes
    assert written.nbytes == sum(path.stat().st_size for path in entry.path.iterdir())


def test_the_last_few_are_kept(tmp_path: Path) -> None:
    _filled(tmp_path, range(6), keep=2)
    assert [int(name[:16]) for name in _names(tmp_path)] == [4, 5]


def test_what_is_newer_than_ones_own_is_never_removed(tmp_path: Path) -> None:
    _filled(tmp_path, range(10, 14), keep=5)
    old = CheckpointStore(tmp_path, keep=1)
    for batch in (7, 8):
        old.save(_roots(batch), _mark(batch))
    assert [int(name[:16]) for name in _names(tmp_path)] == [8, 10, 11, 12, 13]
    newest = old.newest()
    assert newest is not None
    assert newest.mark.batch == 13


def test_a_later_owner_of_the_same_batch_is_newer(tmp_path: Path) -> None:
    checkpoints = CheckpointStore(tmp_path)
    checkpoints.save(_roots(3), _mark(3, 5))
    checkpoints.save(_roots(4), _mark(3, 4))
    newest = checkpoints.newest()
    assert newest is not None
    assert newest.mark.epoch == 5


def test_the_same_again_is_harmless(tmp_path: Path) -> None:
    checkpoints = _filled(tmp_path, range(1, 3))
    checkpoints.save(_roots(2), _mark(2))
    assert len(_names(tmp_path)) == 2
    # What lies there under its name but is another state, or damaged, is set aside.
    (tmp_path / _mark(2).name / MANIFEST).unlink()
    checkpoints.save(_roots(2), _mark(2))
    assert _names(tmp_path)[2] == f"{_mark(2).name}.invalid"
    assert checkpoints.newest() is not None


@pytest.mark.parametrize("name", [MANIFEST, SKELETON, ARRAYS])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_one_is_set_aside_and_the_one_before_serves(
    tmp_path: Path, name: str, damage: str
) -> None:
    _filled(tmp_path, range(1, 4))
    path = tmp_path / _mark(3).name / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(content if damage == "flip" else content[: len(content) // 2])
    warnings: list[str] = []
    checkpoints = CheckpointStore(tmp_path, on_warning=warnings.append)
    found = checkpoints.newest()
    assert found is not None
    assert found.mark.batch == 2
    assert len(warnings) == 1
    assert str(path.parent) in warnings[0]
    assert f"{_mark(3).name}.invalid" in _names(tmp_path)
    # Once it is set aside nobody stumbles over it again, and it goes when it is old.
    checkpoints.newest()
    assert len(warnings) == 1
    for batch in range(4, 8):
        checkpoints.save(_roots(batch), _mark(batch))
    assert [int(each[:16]) for each in _names(tmp_path)] == [5, 6, 7]


def test_another_schema_is_refused_with_its_number(tmp_path: Path) -> None:
    _filled(tmp_path, range(1, 2))
    path = tmp_path / _mark(1).name / MANIFEST
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), "schema": 99}))
    with pytest.raises(CheckpointError, match="schema version 99"):
        CheckpointStore(tmp_path).newest()


def test_none_that_is_whole_is_no_fresh_start(tmp_path: Path) -> None:
    _filled(tmp_path, range(1, 4))
    for path in tmp_path.iterdir():
        (path / ARRAYS).unlink()
    for _ in range(2):
        with pytest.raises(CheckpointError, match="no checkpoint that is whole"):
            CheckpointStore(tmp_path).newest()


def test_what_was_renamed_is_refused(tmp_path: Path) -> None:
    _filled(tmp_path, range(1, 3))
    (tmp_path / _mark(2).name).rename(tmp_path / _mark(9).name)
    found = CheckpointStore(tmp_path).newest()
    assert found is not None
    assert found.mark.batch == 1


def test_what_cannot_be_read_for_now_is_not_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = _filled(tmp_path, range(1, 3))

    def refused(*_: object, **__: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    before = _names(tmp_path)
    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(InputError, match="Permission denied") as error:
        checkpoints.newest()
    assert not isinstance(error.value, CheckpointError)
    assert _names(tmp_path) == before


def test_half_written_ones_are_ignored_and_go(tmp_path: Path) -> None:
    checkpoints = _filled(tmp_path, range(1, 3))
    for batch in (0, 2, 9):  # two of them killed while writing, and one that is being written
        shutil.copytree(tmp_path / _mark(2).name, tmp_path / f".tmp-{_mark(batch).name}-1-aa")
    found = checkpoints.newest()
    assert found is not None
    assert found.mark.batch == 2
    assert len(checkpoints.list()) == 2
    checkpoints.save(_roots(3), _mark(3))
    assert [name for name in _names(tmp_path) if name[0] == "."] == [f".tmp-{_mark(9).name}-1-aa"]


@pytest.mark.parametrize("call", ["fsync", "mkdir", "rename", "write"])
def test_a_full_disk_is_told_and_the_next_one_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    checkpoints = _filled(tmp_path, range(1, 3))
    before = _names(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if call == "write":
        monkeypatch.setattr("ihomer.state.folder._write", full)
    else:
        monkeypatch.setattr(os if call == "fsync" else Path, call, full)
    checkpoints.capture(_roots(3))
    checkpoints.write(_mark(3))
    outcome = checkpoints.wait()
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, OSError)
    assert outcome.name == _mark(3).name
    assert checkpoints.take_outcome() is None
    with pytest.raises(InputError, match="No space left"):
        checkpoints.save(_roots(3), _mark(3))
    monkeypatch.undo()
    assert _names(tmp_path) == before
    assert checkpoints.save(_roots(4), _mark(4)).name == _mark(4).name


def test_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go, begun = threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Any:
        begun.set()
        assert go.wait(60)
        return write_folder(*arguments)

    monkeypatch.setattr(store, "write_folder", slow)
    checkpoints = CheckpointStore(tmp_path)
    learner = np.arange(5000)
    with pytest.raises(RuntimeError):
        checkpoints.write(_mark(1))
    checkpoints.capture({"learner": learner})
    checkpoints.write(_mark(1))
    assert begun.wait(60)
    learner += 1  # learning goes on
    assert checkpoints.busy
    assert checkpoints.take_outcome() is None
    assert checkpoints.wait(0.001) is None
    with pytest.raises(RuntimeError):
        checkpoints.capture({"learner": learner})
    go.set()
    assert isinstance(checkpoints.wait(), Written)
    found = checkpoints.newest()
    assert found is not None
    assert np.array_equal(found.roots["learner"], np.arange(5000))
    checkpoints.capture({"learner": learner})
    checkpoints.discard()
    assert not checkpoints.captured
    checkpoints.close()
    assert len(_names(tmp_path)) == 1


def test_another_librarys_learner_is_refused(tmp_path: Path) -> None:
    checkpoints = CheckpointStore(tmp_path / "0")
    with pytest.raises(StateError, match=r"river\.naive_bayes.*GaussianNB"):
        checkpoints.save({"learner": GaussianNB()}, _mark(0))  # type: ignore[no-untyped-call]
    assert not checkpoints.captured
    assert not (tmp_path / "0").exists()


@given(st.lists(st.tuples(st.integers(0, 10**16 - 1), st.integers(0, 10**10 - 1))))
def test_names_sort_as_batches_then_epochs(pairs: list[tuple[int, int]]) -> None:
    assert sorted(Mark(*pair).name for pair in pairs) == [Mark(*p).name for p in sorted(pairs)]


@pytest.mark.parametrize("wrong", [(-1, 0), (10**16, 0), (0, -1), (0, 10**10)])
def test_numbers_that_have_no_name_are_refused(wrong: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="batch"):
        Mark(*wrong)
