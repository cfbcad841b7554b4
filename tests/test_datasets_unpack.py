"""One file out of an archive: the right one, bounded, or one line and nothing left behind."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest

from ihomer.connectors.datasets.unpack import unpack
from ihomer.errors import InputError

DATA = b"@relation x\n" * 50_000


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return path


def make_tar(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as packed:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
    return path


def refusal(archive: Path, member: str = "Birds.arff", max_bytes: int = 1 << 20) -> str:
    target = archive.with_name("target")
    with pytest.raises(InputError) as caught:
        unpack(archive, member, target, max_bytes)
    assert not target.exists()
    text = str(caught.value)
    assert "\n" not in text
    assert str(archive) in text
    return text


@pytest.mark.parametrize("name", ["Birds.arff", "data/v2/Birds.arff", "birds.ARFF"])
@pytest.mark.parametrize("kind", ["zip", "w", "w:gz", "w:bz2", "w:xz"])
def test_the_file_of_that_name(tmp_path: Path, name: str, kind: str) -> None:
    files = {"readme.txt": b"no", name: DATA, "Birds.xml": b"no"}
    path = tmp_path / "packed"
    make_zip(path, files) if kind == "zip" else make_tar(path, files, kind)
    target = tmp_path / "target"
    unpack(path, "Birds.arff", target, 1 << 20)
    assert target.read_bytes() == DATA


@pytest.mark.parametrize(
    "name", ["../Birds.arff", "/etc/Birds.arff", "a/../../x", "C:\\x", "..\\x"]
)
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, name: str, make: object) -> None:
    assert callable(make)
    path = make(tmp_path / "packed", {"Birds.arff": DATA, name: b"evil"})
    assert "leads out of the archive" in refusal(path)
    assert [file.name for file in tmp_path.iterdir()] == ["packed"]


def test_a_link_is_no_file(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "packed", "w") as packed:
        info = tarfile.TarInfo("Birds.arff")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed.addfile(info)
    assert "no files called Birds.arff" in refusal(tmp_path / "packed")


def test_no_such_file_and_two_of_them(tmp_path: Path) -> None:
    text = refusal(make_zip(tmp_path / "one", {"a.txt": b"", "b.txt": b""}))
    assert "no files called Birds.arff" in text
    assert "a.txt, b.txt" in text
    two = make_zip(tmp_path / "two", {"x/Birds.arff": b"", "y/birds.arff": b""})
    assert "2 files called Birds.arff" in refusal(two)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_too_large_a_file(tmp_path: Path, kind: str) -> None:
    path, files = tmp_path / "packed", {"Birds.arff": DATA}
    make_zip(path, files) if kind == "zip" else make_tar(path, files, "w")
    text = refusal(path, max_bytes=len(DATA) - 1)
    assert f"{len(DATA):,}" in text
    unpack(path, "Birds.arff", tmp_path / "target", len(DATA))


def test_a_bomb_that_lies_about_its_size(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "packed", {"Birds.arff": DATA})
    data = path.read_bytes()
    size = len(DATA).to_bytes(4, "little")
    assert data.count(size) == 2  # in the file's own header and in the directory
    path.write_bytes(data.replace(size, (100).to_bytes(4, "little")))
    refusal(path, max_bytes=1000)


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_damage_anywhere_is_found_or_harmless(tmp_path: Path, make: object) -> None:
    assert callable(make)
    noise = bytes(i * i % 251 for i in range(3000))
    data = make(tmp_path / "packed", {"Birds.arff": noise}).read_bytes()
    target = tmp_path / "target"
    for at in range(0, len(data), 41):
        (tmp_path / "packed").write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        try:
            unpack(tmp_path / "packed", "Birds.arff", target, 1 << 20)
        except InputError:
            assert not target.exists()
        else:
            assert target.read_bytes() == noise


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_truncated_archive(tmp_path: Path, make: object) -> None:
    assert callable(make)
    path = make(tmp_path / "packed", {"Birds.arff": bytes(i * i % 251 for i in range(3000))})
    path.write_bytes(path.read_bytes()[:-300])
    refusal(path)


def test_an_archive_behind_a_password(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "packed", {"Birds.arff": DATA})
    data = bytearray(path.read_bytes())
    data[6] |= 1  # the flag in the file's own header
    data[data.index(b"PK\x01\x02") + 8] |= 1  # and in the directory
    path.write_bytes(bytes(data))
    assert "password" in refusal(path)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"Rar!\x1a\x07\x00...", "a RAR archive"),
        (b"@relation x", "no archive"),
        (b"", "no archive"),
    ],
)
def test_what_is_no_archive_of_a_known_kind(tmp_path: Path, data: bytes, kind: str) -> None:
    path = tmp_path / "packed"
    path.write_bytes(data)
    assert f"found {kind}, accepted: zip, tar" in refusal(path)


def test_a_compressed_tar_is_bounded_as_a_whole(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "packed", {"other": bytes(1 << 20), "Birds.arff": DATA})
    refusal(path, max_bytes=len(DATA) + 1)
    assert [file.name for file in tmp_path.iterdir()] == ["packed"]


@pytest.mark.parametrize(
    "data", [DATA, gzip.compress(DATA), bz2.compress(DATA), lzma.compress(DATA)]
)
def test_a_file_that_is_no_archive(tmp_path: Path, data: bytes) -> None:
    path, target = tmp_path / "packed", tmp_path / "target"
    path.write_bytes(data)
    unpack(path, None, target, len(DATA))
    assert target.read_bytes() == DATA
    with pytest.raises(InputError, match="at most"):
        unpack(path, None, target, len(DATA) - 1)
    assert not target.exists()
    path.write_bytes(data[:-3])
    if data != DATA:
        with pytest.raises(InputError):
            unpack(path, None, target, len(DATA))


def test_a_gzip_file_that_is_no_tar(tmp_path: Path) -> None:
    path = tmp_path / "packed"
    path.write_bytes(gzip.compress(DATA))
    assert "no archive" in refusal(path)
