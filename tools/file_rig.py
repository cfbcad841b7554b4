"""An application from a file to files, with processes that can be hurt.

In: a folder, a number of events. Out: real processes of ``ihomer run`` that die by SIGKILL where or
when they are told to, and a comparison of what they leave with an uninterrupted run. It is here so
that tests and ``python -m tools.file_chaos`` do the same. The processes are forked from a server
that has everything compiled, so that a start takes tenths of a second.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from ihomer import faults
from ihomer.errors import EXIT_OK
from ihomer.state import digest
from ihomer.stream import daemon
from ihomer.stream.checkpoints import CheckpointStore
from ihomer.stream.cli import main
from ihomer.stream.files_once import position
from tools.rig import events
from tools.same import first_difference

OUTPUTS = ("predictions", "dead", "events")
CHECKPOINT_EVENTS = 500
PATIENCE_S = 300.0
APP = "app"

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["tools.preloaded"])


class Run:
    """One process of ``ihomer run``.

    Parameters
    ----------
    log
        File that its output goes to.
    arguments
        Of the command.
    fault
        As in ``IHOMER_FAULT``.
    max_bytes
        No file may become longer; None: as long as the disk lets it.
    """

    def __init__(
        self, log: Path, arguments: Sequence[str], fault: str = "", max_bytes: int | None = None
    ) -> None:
        self._log = log
        self._process: BaseProcess = _server.Process(
            target=_run, args=(log, list(arguments), fault, max_bytes)
        )
        self._process.start()

    def wait(self) -> int:
        """Its exit code; negative: the signal that killed it."""
        self._process.join(PATIENCE_S)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            raise AssertionError(f"it did not end:\n{self.log}")
        if "Traceback" in self.log:
            raise AssertionError(f"a defect:\n{self.log}")
        return code

    def end_after(self, seconds: float, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal after so long; returns the exit code."""
        self._process.join(seconds)
        if self._process.pid is not None and self._process.exitcode is None:
            os.kill(self._process.pid, number)
        return self.wait()

    @property
    def log(self) -> str:
        """What it has said."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""


def _run(log: Path, arguments: list[str], fault: str, max_bytes: int | None) -> None:
    """In the process, which commits every batch, so that a point's passes depend on no clock."""
    os.chdir(log.parent)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    if max_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))
    faults._wanted = faults.parse(fault)
    daemon.COMMIT_SECONDS = 0.0
    sys.argv = ["ihomer", "run", *arguments]
    main()


class FileRig:
    """See the module. Paths are relative to the folder, so that it may be copied.

    Parameters
    ----------
    folder
        An empty one, or a copy of that of another rig; the input is ``input.jsonl`` in it.
    count
        Number of events to begin with; of a copy as many as it has.
    more
        Further arguments of every run.
    source, predictions
        Names of the input, and the extension of the predictions, which say their formats.
    """

    def __init__(
        self,
        folder: Path,
        count: int,
        more: Sequence[str] = (),
        source: str = "input.jsonl",
        predictions: str = "jsonl",
    ) -> None:
        self.folder = folder
        self.source = folder / source
        self._predictions = predictions
        self._more = more
        self._count = count
        self._runs = 0
        if not self.source.exists():
            self._count = 0
            self.append(count)

    def append(self, count: int) -> None:
        """Add so many events to the input."""
        with self.source.open("ab") as file:
            for message in events(self._count, self._count + count, 1):
                file.write((message.value or b"") + b"\n")
        self._count += count

    def output(self, name: str, kind: str) -> Path:
        """One of the files that the run called `name` writes."""
        form = self._predictions if kind == "predictions" else "jsonl"
        return self.folder / f"{name}-{kind}.{form}"

    def state(self, name: str) -> Path:
        """Folder of its checkpoints and its position file."""
        return self.folder / f"{name}-state" / APP / "0"

    def start(
        self,
        *arguments: str,
        name: str = "run",
        fault: str = "",
        max_bytes: int | None = None,
    ) -> Run:
        """Start a process; equal names share outputs and state."""
        self._runs += 1
        predictions, dead, told = (self.output(name, kind).name for kind in OUTPUTS)
        given = ["--source", self.source.name, "--sink", predictions, "--dead-letters", dead]
        given += ["--events", told, "--state-dir", f"{name}-state"]
        given += ["--app", APP, "--quiet", *self._more, *arguments]
        return Run(self.folder / f"{name}-{self._runs}.log", given, fault, max_bytes)

    def finish(self, name: str = "run") -> None:
        """Run to the end of the input."""
        run = self.start(name=name)
        code = run.wait()
        if code != EXIT_OK:
            raise AssertionError(f"exit code {code}:\n{run.log}")

    def tear(self, data: bytes, name: str = "run") -> None:
        """Leave at the ends of the outputs what a write that was not finished leaves."""
        for kind in OUTPUTS:
            path = self.output(name, kind)
            if path.exists():
                with path.open("ab") as file:
                    file.write(data)

    def check(self, name: str = "run", other: str = "twin") -> None:
        """See that two runs, both at the end, have left the same.

        Raises
        ------
        AssertionError
            A byte of an output differs, or a bit of the model.
        """
        for kind in OUTPUTS:
            mine, theirs = (self.output(each, kind).read_bytes() for each in (name, other))
            if mine != theirs:
                raise AssertionError(f"{kind}: {len(mine)} and {len(theirs)} bytes differ")
        found = [position.read(self.state(each)) for each in (name, other)]
        if any(each is None or not each.ended or each.events == 0 for each in found):
            raise AssertionError(f"no clean end: {found}")
        ends = [(each.batch, each.events, each.position) for each in found if each is not None]
        if ends[0] != ends[1]:
            raise AssertionError(f"ends: {ends}")
        states = [CheckpointStore(self.state(each)).newest() for each in (name, other)]
        mine_, theirs_ = ({} if each is None else each.roots for each in states)
        if not mine_ or digest(mine_) != digest(theirs_):
            raise AssertionError(f"the model differs: {first_difference(mine_, theirs_)}")
