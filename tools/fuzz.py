"""Fuzz the decoder: bytes that are made from bytes which ran something new, until time is up.

In: the corpus, `tests/corpus/decoder.jsonl`, and the malformed and good events of the tests. Out: a
corpus that runs all that was ever run, no larger than it must be; exit code 1 and the bytes if some
break what `tools.decoding` asks for. `python -m tools.fuzz --seconds 600` (or ``make fuzz``) goes
on from the corpus and adds to it.

The fuzzer is Atheris, libFuzzer for Python: it sees which lines of the decoder and of the
vocabularies were run. The corpus is a line for each input, a JSON string in which a character is a
byte, so that most of them can be read. Atheris comes with ``pip install '.[fuzz]'``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
CORPUS = ROOT / "tests" / "corpus" / "decoder.jsonl"
MAX_INPUTS = 200
MAX_BYTES = 2_048  # of one input
SECONDS = 300

# What a decoder meets; libFuzzer puts these in where bytes alone would take long to spell them.
WORDS = (
    '{"x":{', '{"id":', '"id"', '"x"', '"y"', '"ts"', '"a"', '"b"', '"c"', "null", "true", "false",
    "NaN", "Infinity", "-Infinity", "1e999", "-0.0", "1.5", "1e-400", "9223372036854775807",
    "9223372036854775808", "-9223372036854775808", "18446744073709551616", "9007199254740993.0",
    '"2024-02-29T23:59:60Z"', '"2023-02-29T00:00:00+23:59"', "253402300799999", "253402300800000",
    "-62135596800001", "{}", "[]", "[[[[", '""', '"\\u0000"', '"\\ud800"', '"\\ud83d\\ude00"',
    "\\n", "\ufeff", "\x00", "\x7f", "\u2028", ",", ":", "]", "}", '["a",null]', '{"a":true}',
    "[1,2,3]",
)  # fmt: skip


def load(path: Path = CORPUS) -> list[bytes]:
    """The inputs of a corpus."""
    if not path.exists():
        return []
    return [json.loads(line).encode("latin-1") for line in path.read_bytes().splitlines()]


def save(inputs: Iterable[bytes], path: Path = CORPUS) -> None:
    """Write a corpus, short inputs first; equal ones once."""
    ordered = sorted(set(inputs), key=lambda value: (len(value), value))
    lines = [json.dumps(value.decode("latin-1")) + "\n" for value in ordered]
    path.write_text("".join(lines), encoding="ascii")


def seeds() -> list[bytes]:
    """The corpus, and the events that the tests know of, as far as they are short."""
    from tests.malformed import CATALOGUE, GOOD

    known = [case.value for case in CATALOGUE if case.value is not None]
    return [value for value in (*load(), *GOOD, *known) if len(value) <= MAX_BYTES]


def _child(arguments: Sequence[str]) -> None:
    """LibFuzzer itself, which ends the process; the first argument is how it starts itself."""
    import atheris

    with atheris.instrument_imports(
        include=["ihomer.vocabulary", "ihomer.instances", "ihomer.stream", "tools.decoding"]
    ):
        from tools import decoding

    def run(value: bytes) -> None:
        decoding.check(value)
        decoding.check_mapped(value)

    atheris.Setup(list(arguments), run)
    atheris.Fuzz()


def _fuzz(folder: Path, arguments: Sequence[str]) -> int:
    """Run libFuzzer and return its exit code; for a merge it starts itself again, by its name."""
    name = folder / "fuzz"
    call = shlex.join([sys.executable, "-m", "tools.fuzz", "--child", str(name)])
    name.write_text(f'#!/bin/sh\nexec {call} "$@"\n', encoding="utf-8")
    name.chmod(0o700)
    return subprocess.run([name, *arguments], cwd=ROOT, check=False).returncode


def _put(inputs: Iterable[bytes], folder: Path) -> None:
    folder.mkdir()
    for value in inputs:
        name = hashlib.blake2b(value, digest_size=8).hexdigest()
        (folder / name).write_bytes(value)


def _read(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted(folder.iterdir())]


def fuzz(seconds: int, seed: int) -> int:
    """Run the fuzzer and write the corpus; returns the exit code."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words, before, found, least = (folder / part for part in ("words", "old", "new", "least"))
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in WORDS), encoding="ascii")
        _put(seeds(), before)
        found.mkdir()
        least.mkdir()
        ended = _fuzz(
            folder,
            [
                f"-max_total_time={seconds}",
                f"-seed={seed}",
                f"-max_len={MAX_BYTES}",
                f"-dict={words}",
                f"-artifact_prefix={folder}/",
                "-timeout=10",
                "-rss_limit_mb=2048",
                "-print_final_stats=1",
                str(found),
                str(before),
            ],
        )
        for broken in sorted(folder.glob("*-*")):
            value = broken.read_bytes()
            print(f"{broken.name.partition('-')[0]}: {value!r}", file=sys.stderr)
            save([*load(), value])
        if ended:
            return 1
        merge = ["-merge=1", f"-max_len={MAX_BYTES}", str(least), str(before), str(found)]
        ended = _fuzz(folder, merge)
        if ended:
            return 1
        kept = sorted(_read(least), key=lambda value: (len(value), value))
        print(f"{len(kept)} inputs run all that was run; {min(len(kept), MAX_INPUTS)} are kept")
        save(kept[:MAX_INPUTS])
    return 0


def _escaped(word: str) -> str:
    """A word as libFuzzer's dictionaries spell it."""
    return "".join(f"\\x{byte:02x}" for byte in word.encode("utf-8"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["--child"]:
        _child(given[1:])
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description="Fuzz the decoder.")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="how long (default: 300)")
    parser.add_argument("--seed", type=int, default=0, help="of the fuzzer; 0: another each time")
    options: Any = parser.parse_args(given)
    return fuzz(options.seconds, options.seed)


if __name__ == "__main__":
    sys.exit(main())
