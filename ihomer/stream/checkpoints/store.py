"""The checkpoints of one slot: copied fast, written beside the learning, found again.

In: named roots at a batch's end, and the mark of the batch once it is committed. Out: folders, of
which the last few are kept, and after a crash the newest one that is whole. What is written is a
copy in memory that is kept allocated; one thread writes, and learning goes on meanwhile.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ihomer import faults
from ihomer.errors import IhomerError, InputError
from ihomer.state import Capture, CheckpointError, differences, load_folder, read_manifest
from ihomer.state.folder import sync_folder, write_folder
from ihomer.stream.checkpoints.marks import Entry, Loaded, Mark, is_name, mark_of

_TEMPORARY = ".tmp-"
_INVALID = ".invalid"


@dataclass(frozen=True)
class Written:
    """A checkpoint has been written.

    Attributes
    ----------
    name
        Of its folder.
    nbytes
        Of its files.
    seconds
        That writing took.
    """

    name: str
    nbytes: int
    seconds: float


@dataclass(frozen=True)
class Failed:
    """A checkpoint could not be written: the disk is full, or the like.

    Attributes
    ----------
    name
        Of the folder that it would have had.
    error
        Why; what was written of it is gone.
    """

    name: str
    error: Exception


Outcome: TypeAlias = Written | Failed


class CheckpointStore:
    """See the module.

    One thread captures and asks; what is under way runs on a thread of the store's.

    Parameters
    ----------
    folder
        Of the slot; it is made when the first checkpoint is written.
    keep
        How many of its checkpoints stay, at least 1.
    on_warning
        Told in one line of each checkpoint that is set aside.
    """

    def __init__(
        self, folder: Path, keep: int = 3, on_warning: Callable[[str], None] = lambda _: None
    ) -> None:
        if keep < 1:
            raise ValueError(f"keep = {keep}")
        self.folder = folder
        self.keep = keep
        self._on_warning = on_warning
        self._capture = Capture()
        self._captured = False
        self._thread: threading.Thread | None = None
        self._outcome: Outcome | None = None

    # Writing.

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is being written."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def captured(self) -> bool:
        """Whether there is a copy that has not been given to `write`."""
        return self._captured

    def capture(self, roots: Mapping[str, object]) -> None:
        """Copy a state; nothing of it may change meanwhile. The copy before, if any, is dropped.

        Raises
        ------
        StateError
            It holds something that no checkpoint can hold.
        RuntimeError
            One is being written: look at `busy` first.
        """
        if self.busy:
            raise RuntimeError("a checkpoint is being written")
        self._captured = False
        self._capture.take(roots)
        self._captured = True

    def discard(self) -> None:
        """Drop the copy: its batch was not committed."""
        if self._captured:
            self._capture.clear()
            self._captured = False

    def write(self, mark: Mark) -> None:
        """Begin to write the copy, whose batch is committed; the outcome is asked for later.

        Raises
        ------
        RuntimeError
            Nothing was captured.
        """
        if not self._captured:
            raise RuntimeError("nothing was captured")
        self._captured = False
        self._outcome = None
        self._thread = threading.Thread(
            target=self._run, args=(mark,), name="ihomer-checkpoint", daemon=True
        )
        self._thread.start()

    def take_outcome(self) -> Outcome | None:
        """How the latest write has ended; None: it has not, or that was told before."""
        if self.busy:
            return None
        outcome, self._outcome = self._outcome, None
        return outcome

    def wait(self, timeout: float | None = None) -> Outcome | None:
        """`take_outcome` when the write has ended, or None after so many seconds."""
        if self._thread is not None:
            self._thread.join(timeout)
        return self.take_outcome()

    def save(self, roots: Mapping[str, object], mark: Mark) -> Written:
        """Capture, write and wait.

        Raises
        ------
        StateError
            As `capture`.
        InputError
            It cannot be written.
        """
        self.wait()
        self.capture(roots)
        self.write(mark)
        outcome = self.wait()
        if isinstance(outcome, Written):
            return outcome
        error = outcome.error if outcome is not None else None
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{self.folder / mark.name}: {reason}, accepted: a folder with room that is writable"
        ) from error

    def close(self) -> None:
        """Wait for what is under way, and let go of the copy."""
        self.wait()
        self.discard()

    def _run(self, mark: Mark) -> None:
        try:
            self._outcome = self._write(mark)
        except Exception as error:  # noqa: BLE001 - it is told, and learning goes on
            self._outcome = Failed(mark.name, error)
        finally:
            with suppress(MemoryError):
                self._capture.make_room()
            self._capture.clear()

    def _write(self, mark: Mark) -> Written:
        start = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / mark.name
        half = self.folder / f"{_TEMPORARY}{mark.name}-{os.getpid()}-{secrets.token_hex(4)}"
        manifest = write_folder(half, self._capture, mark.facts())
        try:
            self._publish(half, target, manifest.digest)
        except BaseException:
            with suppress(OSError):
                shutil.rmtree(half)
            raise
        self._remove_lower(mark.name)
        return Written(mark.name, manifest.nbytes, time.monotonic() - start)

    def _publish(self, half: Path, target: Path, digest: str) -> None:
        if target.exists():
            with suppress(CheckpointError):
                if read_manifest(target).digest == digest:
                    shutil.rmtree(half)
                    return
            self._set_aside(target)
        faults.reach("before-rename")
        half.rename(target)
        faults.reach("after-rename")
        sync_folder(self.folder)

    def _remove_lower(self, own: str) -> None:
        """Remove what is older than the last few, never what is newer than one's own."""
        names = sorted(path.name for path in self.folder.iterdir())
        lower = [name for name in names if is_name(name) and name <= own]
        kept = lower[-self.keep :]
        for name in names:
            plain = name.removeprefix(_TEMPORARY)[: len(own)]
            unfinished = name.startswith(_TEMPORARY) and plain < own
            aside = _INVALID in name and plain < kept[0]
            if unfinished or aside or (name in lower and name not in kept):
                with suppress(OSError):
                    shutil.rmtree(self.folder / name)

    # Reading.

    def list(self) -> list[Entry]:
        """The checkpoints that are there, the oldest first, as their manifests tell."""
        return [self.entry(self.folder / name) for name in self._names() if is_name(name)]

    def highest(self) -> tuple[int, int]:
        """The highest batch number and the highest epoch there have been here; 0 for none."""
        known = [each.mark for each in self.list() if each.mark is not None]
        batch = max((mark.batch for mark in known), default=0)
        return batch, max((mark.epoch for mark in known), default=0)

    def _names(self) -> Sequence[str]:
        """What is in the folder, in order; nothing where there is none."""
        try:
            return sorted(path.name for path in self.folder.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unreadable(self.folder, error) from error

    @staticmethod
    def entry(path: Path) -> Entry:
        """What the manifest of one tells."""
        try:
            manifest = read_manifest(path)
            return Entry(path, mark_of(manifest, path), manifest)
        except IhomerError as error:
            return Entry(path, None, None, str(error))
        except OSError as error:
            return Entry(path, None, None, str(_unreadable(path, error)))

    @staticmethod
    def load(path: Path) -> Loaded:
        """The checkpoint in a folder, all of it checked.

        Raises
        ------
        CheckpointError
            It is damaged, or of another schema.
        InputError
            The file system does not let us read it.
        """
        try:
            roots, manifest = load_folder(path)
        except OSError as error:
            raise _unreadable(path, error) from error
        mark = mark_of(manifest, path)
        found = Entry(path, mark, manifest)
        return Loaded(found, mark, roots, differences(manifest.versions))

    def newest(self) -> Loaded | None:
        """The newest checkpoint that is whole; those that are not are set aside with a warning.

        Returns
        -------
        Loaded or None
            None: there has never been one.

        Raises
        ------
        CheckpointError
            There were some, and none is whole.
        InputError
            The file system does not let us read them.
        """
        names = self._names()
        faults = [f"{name} was set aside before" for name in names if _INVALID in name]
        for name in reversed([name for name in names if is_name(name)]):
            path = self.folder / name
            try:
                return self.load(path)
            except CheckpointError as error:
                faults.insert(0, str(error))
                aside = self._set_aside(path)
                self._on_warning(f"{error}; it is set aside as {aside}, the one before is taken")
        if not faults:
            return None
        raise CheckpointError(
            self.folder, f"no checkpoint that is whole ({'; '.join(faults)})", "one, or --fresh"
        )

    def _set_aside(self, path: Path) -> str:
        """Give what is damaged a name that nobody takes for a checkpoint's."""
        for number in range(1000):
            aside = path.with_name(f"{path.name}{_INVALID}{f'-{number}' if number else ''}")
            if not os.path.lexists(aside):
                try:
                    path.rename(aside)
                except FileNotFoundError:
                    return "nothing: it is gone"
                except OSError as error:
                    raise _unreadable(path, error) from error
                return aside.name
        raise InputError(f"{path}: found 1000 of this name set aside, accepted: fewer")


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: {error.strerror or error}, accepted: a folder that can be read")
