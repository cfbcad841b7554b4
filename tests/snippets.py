"""What stands in the documentation, run as it stands there: fenced blocks in, failures out.

In: a Markdown page. Out: its blocks, run in order in a folder that belongs to the page, with what
they print held against what the page shows. It is here so that no command or line of code in the
documentation can go stale.

What is done with a block is said by HTML comments before it, which no reader sees:

``<!-- snippet skip: REASON -->``
    It is not run, because REASON.
``<!-- snippet kafka: page -->``
    At a page's beginning: the whole page needs a broker, and is run by the integration tests.
``<!-- snippet file: NAME -->``
    The block is the content of that file in the page's folder.
``<!-- snippet data: NAME... -->``
    It reads these data sets, which are put into the page's folder; without them it is skipped.
``<!-- snippet exit: CODE -->``
    The command ends with that code.
``<!-- snippet background -->``
    The command goes on until the page's end; SIGTERM has to end it with exit code 0.
``<!-- snippet output -->``
    The block (``text`` or ``json``) is what the last block that was run has printed, where ``...``
    stands for anything.

``sh`` is run by bash; ``console`` has commands behind ``$`` and their output below; ``python`` is
executed, or tried as a doctest if it has ``>>>``, in one namespace for the page; ``toml`` must be a
valid configuration; ``json`` must be JSON, an event or a prediction if it looks like one.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from ihomer.stream.settings import load_settings

ROOT = Path(__file__).parent.parent
RUN = ("sh", "console", "python", "toml", "json")
TOOLS = ("curl", "jq")  # of others, which pages call
INERT = ("", "text")  # pictures and answers
MARKS = ("skip", "kafka", "file", "data", "exit", "background", "output")
ADDRESS = "127.0.0.1:9092"  # of the broker on every page
WATCHED = "127.0.0.1:9109"  # of a daemon's figures on every page
_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[^`]*)$")
_MARK = re.compile(r"^ *<!-- snippet (?P<kind>[a-z]+)(: (?P<text>.*?))? -->$")
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_STOP_SECONDS = 30.0


@dataclass
class Block:
    """One fenced block.

    Attributes
    ----------
    page, line
        Where its fence is, from line 1.
    language, text
        Without the fence and its indentation.
    marks
        What comments before it say, by kind.
    """

    page: str
    line: int
    language: str
    text: str
    marks: dict[str, str] = field(default_factory=dict)

    @property
    def runs(self) -> bool:
        """Whether it is to be run at all, here or with a broker."""
        return self.language in RUN and "skip" not in self.marks and "output" not in self.marks

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """All pages that somebody wrote, relative to the checkout."""
    written = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    generated = ROOT / "docs" / "generated"
    return sorted(page.relative_to(ROOT) for page in written if generated not in page.parents)


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page in order; that the page needs a broker is told to all of them."""
    found: list[Block] = []
    marks: dict[str, str] = {}
    everywhere: dict[str, str] = {}
    lines = iter(enumerate((ROOT / page).read_text(encoding="utf-8").splitlines(), 1))
    for number, line in lines:
        mark = _MARK.match(line)
        if mark is not None:
            kind, text = mark["kind"], mark["text"] or ""
            assert kind in MARKS, f"{page}:{number}: found {kind!r}, accepted: {', '.join(MARKS)}"
            (everywhere if kind == "kafka" else marks)[kind] = text
            continue
        fence = _FENCE.match(line)
        if fence is None:
            assert not marks or not line.strip(), f"{page}:{number}: a mark without a block"
            continue
        body = []
        for _, inner in lines:
            if inner.strip() == fence["ticks"]:
                break
            body.append(inner.removeprefix(fence["indent"]))
        language = fence["language"].strip()
        if not language.startswith("{"):  # a directive of the site's
            text = "\n".join(body) + "\n"
            found.append(Block(str(page), number, language, text, {**everywhere, **marks}))
        marks = {}
    return found


class Reader:
    """Somebody who does what a page says, in a folder of its own.

    Parameters
    ----------
    folder
        Empty.
    broker
        Address of a broker that stands for the one at `ADDRESS`; empty: there is none.
    data
        Folder with data sets; None: there is none.
    """

    def __init__(self, folder: Path, broker: str = "", data: Path | None = None) -> None:
        self.folder, self.data = folder, data
        self.printed = ""
        # Free ports here stand for the ports that pages name.
        self._places = {WATCHED: f"127.0.0.1:{_free_port()}"}
        if broker:
            self._places[ADDRESS] = broker
        self._names: dict[str, Any] = {"__name__": "__main__"}
        self._running: list[tuple[Block, subprocess.Popen[bytes], Path]] = []
        tools = Path(sys.executable).parent
        (folder / ".venv").mkdir()
        (folder / ".venv" / "bin").symlink_to(tools)
        self._environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("IHOMER_") or name == "IHOMER_CACHE_DIR"
        }
        self._environment |= {
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "XDG_STATE_HOME": str(folder / ".state"),
            "XDG_CONFIG_HOME": str(folder / ".config"),
        }

    def do(self, block: Block) -> bool:
        """Do what a block says; False: what it needs is not there.

        Raises
        ------
        AssertionError
            It fails, or prints something else than the page shows.
        """
        if "data" in block.marks and not self._fetch(block.marks["data"].split()):
            return False
        if "file" in block.marks:
            (self.folder / block.marks["file"]).write_text(self._here(block.text), encoding="utf-8")
        with contextlib.chdir(self.folder):
            if "output" in block.marks:
                _compare(block, block.text, self.printed)
            elif block.language == "sh":
                self.printed = self._shell(block, block.text)
            elif block.language == "console":
                for command, shown in _commands(block):
                    self.printed = self._shell(block, command)
                    _compare(block, shown, self.printed)
            elif block.language == "python":
                self.printed = self._python(block)
            elif block.language == "toml":
                self._toml(block)
            elif block.language == "json":
                _json(block)
        return True

    def leave(self) -> None:
        """End what goes on in the background, last first, and look at how it ends."""
        faults = []
        while self._running:
            block, process, log = self._running.pop()
            os.killpg(process.pid, signal.SIGTERM)
            try:
                code = process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                code = process.wait()
            if code != 0:
                faults.append(f"{block}: exit code {code}\n{log.read_text(encoding='utf-8')}")
        assert not faults, "\n".join(faults)

    def _fetch(self, names: Sequence[str]) -> bool:
        for name in names:
            found = [] if self.data is None else sorted(self.data.glob(f"{name}[.-]*"))
            if not found:
                return False
            for file in found:
                target = self.folder / file.name
                if not target.exists():
                    target.symlink_to(file)
        return True

    def _here(self, text: str) -> str:
        """`text` of a page with the addresses that there are here."""
        for there, here in self._places.items():
            text = text.replace(there, here)
        return text

    def _there(self, text: str) -> str:
        """What was printed here as it would be printed where the page is right."""
        for there, here in self._places.items():
            text = text.replace(here, there)
        return text

    def _shell(self, block: Block, text: str) -> str:
        command = ["bash", "-eu", "-o", "pipefail", "-c", self._here(text)]
        if "background" in block.marks:
            return self._start(block, command)
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=300.0,
        )
        printed = done.stdout.decode(errors="replace")
        wanted = int(block.marks.get("exit", "0"))
        assert done.returncode == wanted, f"{block}: exit code {done.returncode}\n{printed}"
        return self._there(printed)

    def _start(self, block: Block, command: list[str]) -> str:
        log = self.folder / f".log-{len(self._running)}"
        with log.open("wb") as stream:
            # "exec", so that the signal at the end is for the command and not for a shell.
            command[-1] = f"exec {command[-1].strip()}"
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running.append((block, process, log))
        time.sleep(0.5)  # what cannot start at all ends at once
        assert process.poll() is None, f"{block}: ended\n{log.read_text(encoding='utf-8')}"
        return ""

    def _python(self, block: Block) -> str:
        text = self._here(block.text)
        if ">>> " in text:
            test = doctest.DocTestParser().get_doctest(
                text, self._names, str(block), block.page, block.line
            )
            told = io.StringIO()
            runner = doctest.DocTestRunner(optionflags=_FLAGS)
            runner.run(test, out=told.write, clear_globs=False)
            self._names = test.globs
            assert not runner.failures, f"{block}\n{told.getvalue()}"
            return ""
        printed = io.StringIO()
        # So many empty lines before it that a traceback names the line of the page.
        code = compile("\n" * block.line + text, block.page, "exec")
        if "file" in block.marks:
            self._names["__file__"] = str(self.folder / block.marks["file"])
        with contextlib.redirect_stdout(printed):
            exec(code, self._names)  # noqa: S102 - it is our own page
        return self._there(printed.getvalue())

    def _toml(self, block: Block) -> None:
        path = self.folder / block.marks.get("file", ".block.toml")
        path.write_text(self._here(block.text), encoding="utf-8")
        loaded = load_settings(path, {})  # raises what `ihomer config check` prints
        assert not loaded.warnings, f"{block}: {loaded.warnings}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _commands(block: Block) -> Iterator[tuple[str, str]]:
    """Each command of a ``console`` block with the output that is shown below it."""
    command, shown = "", ""
    for line in block.text.splitlines(keepends=True):
        if line.startswith("$ "):
            if command:
                yield command, shown
            command, shown = line[2:], ""
        elif command.endswith("\\\n") and not shown:
            command += line.removeprefix("> ")
        else:
            assert command, f"{block}: output before the first command"
            shown += line
    yield command, shown


def _compare(block: Block, shown: str, printed: str) -> None:
    wanted, got = shown.strip() + "\n", printed.strip() + "\n"
    if shown.strip() and not doctest.OutputChecker().check_output(wanted, got, _FLAGS):
        raise AssertionError(f"{block}: the page shows\n{wanted}\nprinted was\n{got}")


def _json(block: Block) -> None:
    try:
        values = [json.loads(block.text)]
    except json.JSONDecodeError:
        values = [json.loads(line) for line in block.text.splitlines() if line.strip()]
    for value in values:
        if isinstance(value, dict) and "x" in value:
            _check(block, value, "event.schema.json")
        if isinstance(value, dict) and "scores" in value:
            _check(block, value, "prediction.schema.json")


def _check(block: Block, value: object, name: str) -> None:
    schema = ROOT / "ihomer" / "stream" / "schemas" / name
    validator = jsonschema_rs.validator_for(json.loads(schema.read_text(encoding="utf-8")))
    faults = [str(each) for each in validator.iter_errors(value)]
    assert not faults, f"{block}: {faults}"


def give_up_without_tools(blocks: Sequence[Block]) -> None:
    """Skip the test where a tool that these blocks call is not there; fail where CI=true."""
    for tool in TOOLS:
        named = any(block.runs and re.search(rf"\b{tool} ", block.text) for block in blocks)
        if named and shutil.which(tool) is None:
            if os.environ.get("CI") == "true":
                pytest.fail(f"the page calls {tool}, which is not on the PATH")
            pytest.skip(f"the page calls {tool}, which is not on the PATH")


def topics_of(blocks: Sequence[Block]) -> list[str]:
    """Topics that a page's URIs name, in the order in which they are named."""
    uri = re.compile(rf"kafka://{re.escape(ADDRESS)}/([A-Za-z0-9._-]+)")
    return list(dict.fromkeys(name for block in blocks for name in uri.findall(block.text)))
