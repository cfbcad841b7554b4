"""The catalogue, the folder, and fetching into it: from a local server, checksums held."""

from __future__ import annotations

import gzip
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ihomer.connectors.datasets import atomic
from ihomer.connectors.datasets.atomic import alone, write_whole
from ihomer.connectors.datasets.catalogue import CATALOGUE, DataSet, find_data_set
from ihomer.connectors.datasets.download import Patience
from ihomer.connectors.datasets.fetch import Figures, differences, fetch, measure, verify
from ihomer.connectors.datasets.record import FILE, hold, recorded, sha256_of
from ihomer.connectors.datasets.store import VARIABLE, data_folder, find, locate
from ihomer.connectors.uri import open_sources
from ihomer.errors import InputError, UnavailableError, UsageError
from ihomer.instances import Event
from tests.data import data_dir
from tests.http_server import Server, broken, serving, slow, status, whole

PATIENCE = Patience(attempts=3, pause=0.001, longest_pause=0.01)
ARFF = b"""@relation 'Tiny: -C -2'
@attribute a numeric
@attribute b {x,y}
@attribute p {0,1}
@attribute q {0,1}
@data
1,x,0,1
2,y,1,1
3,x,0,0
4,y,0,0
"""
TINY = DataSet(
    name="tiny",
    events=4,
    features=2,
    labels=2,
    cardinality=0.75,
    source="a test",
    page="https://example.org/tiny",
    member="Tiny.arff",
)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def packed(arff: bytes = ARFF, name: str = "Tiny.arff", comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, arff)
        archive.comment = comment
    return buffer.getvalue()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- the catalogue


def test_names_are_unique_and_lower_case() -> None:
    listed = [data_set.name for data_set in CATALOGUE]
    assert len(set(listed)) == len(listed)
    assert listed == [name.lower() for name in listed]
    assert find_data_set("EMOTIONS").name == "emotions"


def test_every_entry_says_where_it_comes_from_and_whose_it_is() -> None:
    for data_set in CATALOGUE:
        assert urlsplit(data_set.page).scheme in ("http", "https")
        assert data_set.citation or data_set.name == "hypercube"
        assert min(data_set.events, data_set.features, data_set.labels) > 0
        assert 0 < data_set.cardinality <= data_set.labels
        assert (data_set.bundled is None) == (data_set.url is not None)
        if data_set.url is not None:
            assert urlsplit(data_set.url).scheme in ("http", "https")
            # What is packed has a name inside, and what is not has none.
            assert data_set.url.endswith(".zip") == (data_set.member is not None)


def test_an_unknown_name() -> None:
    with pytest.raises(UsageError, match=r"^musik: found no data set .* emotions, "):
        find_data_set("musik")


def test_the_figures_are_those_of_the_files() -> None:
    folder = data_dir()
    seen = 0
    for name in ("flags", "foodtruck", "emotions", "birds", "medical", "enron", "yeast"):
        data_set = find_data_set(name)
        events = on = 0
        source = open_sources(find(name, folder))
        while (records := source.next_batch(1000, 0.0)) is not None:
            values = [record.value for record in records]
            events += len(values)
            on += sum(len(value.on or ()) for value in values if isinstance(value, Event))
        source.close()
        assert (events, source.n_attributes, len(source.labels)) == (
            data_set.events,
            data_set.features,
            data_set.labels,
        )
        assert on / events == pytest.approx(data_set.cardinality, abs=0.0051)
        seen += 1
    assert seen == 7


# --- the folder


def test_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    assert data_folder().name == "data"
    assert "ihomer" in data_folder().parts
    monkeypatch.setenv(VARIABLE, str(tmp_path / "variable"))
    assert data_folder() == tmp_path / "variable"
    assert data_folder(tmp_path / "flag") == tmp_path / "flag"
    monkeypatch.setenv(VARIABLE, "")
    assert data_folder().name == "data"


@pytest.mark.parametrize(
    ("name", "there", "found"),
    [
        ("emotions", ["emotions.arff.gz", "emotions.xml"], ["emotions.arff.gz"]),
        ("emotions", ["emotions.arff", "emotions.arff.gz"], ["emotions.arff"]),
        ("emotions", ["emotions-test.arff", "emotions-train.arff.gz"],
         ["emotions-train.arff.gz", "emotions-test.arff"]),
        ("emotions", ["emotions.arff", "emotions-test.arff", "emotions-train.arff"],
         ["emotions.arff"]),
        ("scene", ["scene.arff", "scene-test.arff", "scene-train.arff"],
         ["scene-train.arff", "scene-test.arff"]),
        ("scene", ["scene.arff", "scene-test.arff"], ["scene.arff"]),
        ("scene", ["scene-test.arff"], []),
        ("emotions", ["emotions.xml", "emotions.arff.part", "Emotions.txt"], []),
    ],
)  # fmt: skip
def test_layouts(tmp_path: Path, name: str, there: list[str], found: list[str]) -> None:
    for file in there:
        (tmp_path / file).touch()
    assert [file.name for file in locate(find_data_set(name), tmp_path)] == found


def test_what_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        find("scene", tmp_path)
    text = str(caught.value)
    assert "found no file of it" in text
    assert "ihomer data fetch scene" in text
    assert f"put it in {tmp_path} as scene.arff" in text
    (tmp_path / "scene-test.arff").touch()
    with pytest.raises(InputError, match=r"found only scene-test\.arff"):
        find("scene", tmp_path)


def test_what_comes_with_river_needs_no_folder(tmp_path: Path) -> None:
    assert find("Yeast", tmp_path / "absent") == ["river:yeast"]
    assert fetch(find_data_set("yeast"), tmp_path / "absent").uris == ["river:yeast"]
    assert not (tmp_path / "absent").exists()


# --- fetching


def test_a_fetched_data_set_can_be_read(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "made" / "data"
    tiny = replace(TINY, url=server.plan("/t.zip", whole(packed())))
    done = fetch(tiny, folder, patience=PATIENCE)
    assert done == ([str(folder / "tiny.arff")], True, [])
    assert names(folder) == [FILE, "tiny.arff"]
    assert (folder / "tiny.arff").read_bytes() == ARFF
    source = open_sources(find(tiny, folder))
    assert source.labels == ("p", "q")
    source.close()
    line = recorded(folder)["tiny.arff"]
    assert (line.sha256, line.bytes) == (sha256_of(folder / "tiny.arff"), len(ARFF))
    assert line.url == tiny.url


@pytest.mark.parametrize("data", [ARFF, gzip.compress(ARFF)])
def test_a_file_without_an_archive(server: Server, tmp_path: Path, data: bytes) -> None:
    tiny = replace(TINY, url=server.plan("/t.arff/download", whole(data)), member=None)
    assert fetch(tiny, tmp_path, patience=PATIENCE).downloaded
    assert names(tmp_path) == [FILE, "tiny.arff"]
    assert (tmp_path / "tiny.arff").read_bytes() == ARFF


def test_what_is_there_is_not_asked_for(server: Server, tmp_path: Path) -> None:
    (tmp_path / "tiny-train.arff.gz").touch()
    (tmp_path / "tiny-test.arff").touch()
    tiny = replace(TINY, url=f"{server.url}/absent")
    done = fetch(tiny, tmp_path)
    assert not done.downloaded
    assert [Path(uri).name for uri in done.uris] == ["tiny-train.arff.gz", "tiny-test.arff"]
    assert server.asked == []
    assert names(tmp_path) == ["tiny-test.arff", "tiny-train.arff.gz"]


def test_again_holds_the_content_not_the_packing(server: Server, tmp_path: Path) -> None:
    steps = [whole(packed()), whole(packed(comment=b"packed once more"))]
    tiny = replace(TINY, url=server.plan("/t.zip", *steps))
    fetch(tiny, tmp_path)
    before = (tmp_path / FILE).read_bytes()
    assert fetch(tiny, tmp_path, again=True).downloaded
    assert len(server.asked) == 2
    assert (tmp_path / FILE).read_bytes() == before


@pytest.mark.parametrize("gone", [True, False])
def test_other_bytes_than_the_recorded_ones_are_refused(
    server: Server, tmp_path: Path, gone: bool
) -> None:
    other = ARFF.replace(b"3,x,0,0", b"3,x,0,1")
    tiny = replace(TINY, url=server.plan("/t.zip", whole(packed()), whole(packed(other))))
    fetch(tiny, tmp_path)
    old = recorded(tmp_path)["tiny.arff"]
    if gone:
        (tmp_path / "tiny.arff").unlink()
    with pytest.raises(InputError) as caught:
        fetch(tiny, tmp_path, again=True)
    text = str(caught.value)
    assert "\n" not in text
    assert f"recorded {old.sha256}" in text
    assert f"remove 'tiny.arff' from {tmp_path / FILE}" in text
    assert names(tmp_path) == ([FILE] if gone else [FILE, "tiny.arff"])
    if not gone:
        assert (tmp_path / "tiny.arff").read_bytes() == ARFF
    # What the line says to do works.
    (tmp_path / FILE).write_text('{"format": 1, "files": {}}')
    fetch(tiny, tmp_path, again=True)
    assert (tmp_path / "tiny.arff").read_bytes() == other


def test_a_download_does_not_hide_behind_files_of_the_users(server: Server, tmp_path: Path) -> None:
    (tmp_path / "tiny.arff.gz").write_bytes(gzip.compress(ARFF))
    tiny = replace(TINY, url=server.plan("/t.zip", whole(packed())))
    with pytest.raises(InputError, match=r"found tiny\.arff\.gz .* move them away"):
        fetch(tiny, tmp_path, again=True)
    assert server.asked == []


def test_an_interrupted_fetch_goes_on(server: Server, tmp_path: Path) -> None:
    data = packed()
    steps = [broken(data, 50), broken(data, 60), broken(data, 70), whole(data)]
    tiny = replace(TINY, url=server.plan("/t.zip", *steps))
    with pytest.raises(UnavailableError) as caught:
        fetch(tiny, tmp_path, patience=PATIENCE)
    assert names(tmp_path) == ["tiny.download.part", "tiny.download.part.json"]
    assert "get it from https://example.org/tiny in a browser" in str(caught.value)
    assert f"put it in {tmp_path} as tiny.arff (it is Tiny.arff in the archive)" in str(
        caught.value
    )
    fetch(tiny, tmp_path, patience=PATIENCE)
    assert server.asked[-1][1]["Range"] == "bytes=70-"
    assert names(tmp_path) == [FILE, "tiny.arff"]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"no zip", "no archive"),
        (packed(name="Other.arff"), "no files called Tiny.arff"),
        (packed(b"not ARFF at all"), "tiny.new.arff"),
        (packed(ARFF.replace(b": -C -2", b"")), "nothing says which attributes are labels"),
        (packed(ARFF[: ARFF.index(b"1,x")]), "found no event"),
    ],
)
def test_what_cannot_be_used_is_not_kept(
    server: Server, tmp_path: Path, data: bytes, text: str
) -> None:
    tiny = replace(TINY, url=server.plan("/t.zip", whole(data)))
    with pytest.raises(InputError) as caught:
        fetch(tiny, tmp_path, patience=PATIENCE)
    assert text in str(caught.value)
    assert str(tiny.url) in str(caught.value)
    assert "in a browser" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_too_large_a_file_unpacked(server: Server, tmp_path: Path) -> None:
    large = ARFF + b"1,x,0,1\n" * 10_000
    tiny = replace(TINY, url=server.plan("/t.zip", whole(packed(large))), max_bytes=10_000)
    with pytest.raises(InputError, match="unpacked, accepted: at most 10,000"):
        fetch(tiny, tmp_path)
    assert names(tmp_path) == []


def test_without_an_address_it_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"no direct address .* https://example\.org/tiny"):
        fetch(TINY, tmp_path)
    assert names(tmp_path) == []


def test_a_version_with_other_figures_is_taken_with_a_warning(
    server: Server, tmp_path: Path
) -> None:
    tiny = replace(TINY, url=server.plan("/t.zip", whole(packed())), events=5, cardinality=0.76)
    warnings = fetch(tiny, tmp_path).warnings
    assert len(warnings) == 1
    assert "events 4 (catalogue: 5)" in warnings[0]
    assert "cardinality 0.75 (catalogue: 0.76)" in warnings[0]
    assert "features" not in warnings[0]


def test_malformed_events_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "x.arff"
    path.write_bytes(ARFF.replace(b"2,y,1,1", b"2,z,1"))
    figures = measure(path)
    assert figures == Figures(events=3, features=2, labels=2, cardinality=1 / 3, malformed=1)
    assert any("1 of its events cannot be read" in line for line in differences(TINY, figures))


def test_a_label_file_beside_it_counts(server: Server, tmp_path: Path) -> None:
    (tmp_path / "tiny.xml").write_text('<labels><label name="p"/></labels>')
    tiny = replace(TINY, url=server.plan("/t.zip", whole(packed())))
    assert "labels 1 (catalogue: 2)" in fetch(tiny, tmp_path).warnings[0]


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        fetch(TINY, tmp_path / "file")


def test_two_at_once_fetch_it_once(server: Server, tmp_path: Path) -> None:
    tiny = replace(TINY, url=server.plan("/t.zip", slow(packed(), 5, 0.3)))
    told: list[str] = []
    faults: list[BaseException] = []

    def run() -> None:
        try:
            fetch(tiny, tmp_path, patience=PATIENCE, on_line=told.append)
        except BaseException as error:  # noqa: BLE001 - handed to the test
            faults.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(server.asked) == 1
    assert any("another process is fetching it" in line for line in told)
    assert names(tmp_path) == [FILE, "tiny.arff"]
    assert (tmp_path / "tiny.arff").read_bytes() == ARFF


# --- the record


def test_verify(server: Server, tmp_path: Path) -> None:
    tiny = replace(TINY, url=server.plan("/t.zip", whole(packed())))
    assert verify(tiny, tmp_path) == []
    fetch(tiny, tmp_path)
    assert verify(tiny, tmp_path) == [(tmp_path / "tiny.arff", True)]
    with (tmp_path / "tiny.arff").open("ab") as file:
        file.write(b"5,x,0,0\n")
    with pytest.raises(InputError, match=r"found SHA-256 .*, recorded .*: these are other data"):
        verify(tiny, tmp_path)
    (tmp_path / FILE).unlink()
    assert verify(tiny, tmp_path) == [(tmp_path / "tiny.arff", False)]


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"format": 2, "files": {}}', '{"format": 1, "files": {"a": {}}}']
)
def test_a_damaged_record_is_not_overwritten(server: Server, tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    tiny = replace(TINY, url=server.plan("/t.zip", whole(packed())))
    with pytest.raises(InputError, match=FILE):
        fetch(tiny, tmp_path)
    assert (tmp_path / FILE).read_text() == text
    assert names(tmp_path) == [FILE]


def test_records_made_at_once_are_all_kept(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number}.arff").write_bytes(b"%d" % number)

    def run(number: int) -> None:
        hold(tmp_path, f"{number}.arff", tmp_path / f"{number}.arff", "http://x")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(recorded(tmp_path)) == {f"{number}.arff" for number in range(12)}
    assert json.loads((tmp_path / FILE).read_text())["format"] == 1


def test_a_lock_is_held_by_one_and_removed(tmp_path: Path) -> None:
    inside = most = 0
    counting = threading.Lock()

    def run() -> None:
        nonlocal inside, most
        for _ in range(20):
            with alone(tmp_path / "lock"):
                with counting:
                    inside += 1
                    most = max(most, inside)
                with counting:
                    inside -= 1

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, names(tmp_path)) == (1, [])


def test_a_lock_whose_name_was_removed_meanwhile_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, calls = tmp_path / "lock", 0
    locked = atomic._locked

    def removed_first(descriptor: int) -> bool:
        nonlocal calls
        calls += 1
        if calls == 1:
            path.unlink()  # the holder before leaves between our opening and our locking
        return locked(descriptor)

    monkeypatch.setattr(atomic, "_locked", removed_first)
    with alone(path):
        assert path.exists()
    assert calls == 2


def test_a_file_is_written_whole_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "a", b"old")

    def fail(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(OSError, match="No space"):
            write_whole(tmp_path / "a", b"new")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_server_that_is_gone(server: Server, tmp_path: Path) -> None:
    tiny = replace(TINY, url=server.plan("/t.zip", status(410)))
    with pytest.raises(UnavailableError, match=r"answers 410 Gone; get it from .* in a browser"):
        fetch(tiny, tmp_path)
    assert names(tmp_path) == []
