"""Compressed files of four kinds: the same bytes back, bounded pieces, damage said in one line."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.connectors.base import Message
from ihomer.connectors.files.compression import (
    _READ_BYTES,
    COMPRESSIONS,
    Compressor,
    _zstd,
    compression_of,
    damages,
    decompress,
)
from ihomer.connectors.files.lines import JsonLinesSource
from ihomer.connectors.files.sink import FileSink
from ihomer.errors import InputError, UsageError
from tests.sources import assert_resumes_anywhere, drain, until_damage

WHOLE: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: bytes(
        _zstd().compress(data, options={_zstd().CompressionParameter.checksum_flag: 1})
    ),
}
EACH = pytest.mark.parametrize("suffix", list(COMPRESSIONS))


def plain(data: bytes, suffix: str) -> bytes:
    return b"".join(decompress(io.BytesIO(data), suffix))


@EACH
@given(
    parts=st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=6),
    repeat=st.integers(1, 3),
)
def test_what_is_compressed_comes_back(
    suffix: str, parts: list[tuple[bytes, bool]], repeat: int
) -> None:
    compressor, whole, data = Compressor(suffix), b"", b""
    for part, flush in parts:
        whole += part
        data += compressor.compress(part)
        if flush:
            data += compressor.flush()
            assert readable(data, suffix) == whole
    data += compressor.finish()
    assert compressor.finish() == b""
    assert plain(data * repeat, suffix) == whole * repeat


def readable(data: bytes, suffix: str) -> bytes:
    """What can be read of a file that has no end yet."""
    found = b""
    try:
        for piece in decompress(io.BytesIO(data), suffix):
            found += piece
    except EOFError:
        pass
    return found


@EACH
@given(members=st.lists(st.binary(max_size=50), min_size=1, max_size=4), zeros=st.integers(0, 9))
def test_members_and_padding_are_one_file(suffix: str, members: list[bytes], zeros: int) -> None:
    data = b"".join(WHOLE[suffix](member) for member in members) + b"\0" * 4 * zeros
    assert plain(data, suffix) == b"".join(members)


@EACH
def test_a_bomb_comes_in_small_pieces(suffix: str) -> None:
    data = WHOLE[suffix](bytes(1 << 25))
    assert len(data) < 1 << 16
    sizes = [len(piece) for piece in decompress(io.BytesIO(data), suffix)]
    assert sum(sizes) == 1 << 25
    assert max(sizes) <= 1 << 18


def test_a_window_of_gigabytes_is_refused() -> None:
    options = {_zstd().CompressionParameter.window_log: 30}
    compressor = _zstd().ZstdCompressor(options=options)
    data = compressor.compress(b"x" * 100_000) + compressor.flush()
    with pytest.raises(damages(".zst")):
        plain(data, ".zst")


@EACH
@pytest.mark.parametrize("cut", [1, 0.5, 0.9])
def test_a_file_that_is_cut_off_says_so_behind_what_there_was(
    tmp_path: Path, suffix: str, cut: float
) -> None:
    numbers = np.random.default_rng(1).integers(0, 10_000, 60_000)
    lines = [b'{"id": %d}' % number for number in numbers]
    data = WHOLE[suffix](b"\n".join(lines))
    kept = data[: -int(cut)] if cut == 1 else data[: int(len(data) * cut)]
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(kept)
    source = JsonLinesSource(str(path))
    records, words = until_damage(source, 100)
    found = [record.value for record in records]
    assert f"the {COMPRESSIONS[suffix]} data is damaged" in words
    source.close()
    assert found == lines[: len(found)]
    # bzip2 and xz come in blocks, of which nothing can be read before their ends.
    assert len(found) > (0.3 * len(lines) if suffix in (".gz", ".zst") and cut != 1 else -1)


@EACH
def test_damage_in_the_middle_is_found(tmp_path: Path, suffix: str) -> None:
    data = bytearray(WHOLE[suffix](np.random.default_rng(2).bytes(5 * _READ_BYTES)))
    data[len(data) // 2] ^= 0xFF
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(bytes(data))
    source = JsonLinesSource(str(path))
    with pytest.raises(InputError, match=f"the {COMPRESSIONS[suffix]} data is damaged"):
        drain(source, 100)
    source.close()


@EACH
def test_what_is_not_compressed_is_said_to_be_damaged(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(b'{"x": {}}\n')
    source = JsonLinesSource(str(path))
    with pytest.raises(InputError, match=f"line 1: the {COMPRESSIONS[suffix]} data is damaged"):
        source.next_batch(1, 0.0)
    source.close()


@EACH
def test_a_compressed_file_resumes_anywhere(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(WHOLE[suffix](b"\xef\xbb\xbfa\r\n\nb\n" + b"c" * 3000 + b"\n \nd"))
    records = assert_resumes_anywhere(lambda: JsonLinesSource(str(path), max_line_bytes=1500))
    assert [record.offset for record in records] == [1, 3, 4, 6]


@EACH
def test_a_sink_writes_what_its_name_says(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.JSONL{suffix.upper()}"
    sink = FileSink(str(path))
    for number in range(3):
        sink.write([Message(b"%d" % number)])
        sink.flush()
        sink.flush()
        assert readable(path.read_bytes(), suffix) == b"".join(
            b"%d\n" % i for i in range(number + 1)
        )
    sink.write([Message(b"x" * 1_000_000)])
    sink.close()
    sink.close()
    assert plain(path.read_bytes(), suffix) == b"0\n1\n2\n" + b"x" * 1_000_000 + b"\n"
    with pytest.raises(UsageError, match=f"found {suffix} for a file that is appended to"):
        FileSink(str(path), append=True)


@EACH
def test_an_empty_sink_is_an_empty_file_of_its_kind(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    FileSink(str(path)).close()
    assert path.read_bytes()
    assert plain(path.read_bytes(), suffix) == b""


def test_names_of_other_kinds_are_plain() -> None:
    assert [compression_of(name) for name in ("a.zip", "gz", "-", "a.gz.jsonl")] == [None] * 4
