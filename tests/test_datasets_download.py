"""One file from a server that breaks off, lies, redirects, stalls: whole and right, or an error."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer.connectors.datasets.download import Patience, download
from ihomer.errors import EXIT_UNAVAILABLE, InputError, UnavailableError
from tests.http_server import (
    Handler,
    Server,
    broken,
    chunked,
    endless,
    lying,
    redirect,
    serving,
    stall,
    status,
    whole,
)

BODY = bytes(range(256)) * 1200  # more than a read, and no two neighbouring reads alike
OTHER = bytes(reversed(BODY))
MAX = 10 << 20
PATIENCE = Patience(attempts=4, pause=0.001, longest_pause=0.01, connect=2.0, read=5.0, redirects=3)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "file.zip"


def get(url: str, target: Path, patience: Patience = PATIENCE, max_bytes: int = MAX) -> list[str]:
    """Download; the lines that were told on the way."""
    told: list[str] = []
    download(url, target, max_bytes=max_bytes, patience=patience, on_retry=told.append)
    return told


def refusal(url: str, target: Path, patience: Patience = PATIENCE, max_bytes: int = MAX) -> str:
    with pytest.raises(UnavailableError) as caught:
        get(url, target, patience, max_bytes)
    assert caught.value.exit_code == EXIT_UNAVAILABLE
    assert not target.exists()
    text = str(caught.value)
    assert "\n" not in text
    assert url in text
    return text


def ranges(server: Server) -> list[str | None]:
    return [headers.get("Range") for _, headers in server.asked]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_and_nothing_beside_it(server: Server, target: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    url = server.plan("/f", whole(BODY))
    download(url, target, max_bytes=MAX, patience=PATIENCE, on_progress=lambda *at: seen.append(at))
    assert target.read_bytes() == BODY
    assert names(target.parent) == ["file.zip"]
    assert seen[0] == (0, len(BODY))
    assert seen[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_target_is_replaced(server: Server, target: Path) -> None:
    target.write_bytes(b"old")
    get(server.plan("/f", whole(BODY)), target)
    assert target.read_bytes() == BODY


def test_it_goes_on_where_it_broke_off(server: Server, target: Path) -> None:
    url = server.plan("/f", broken(BODY, 1000), broken(BODY, 200_000), whole(BODY))
    told = get(url, target)
    assert target.read_bytes() == BODY
    assert ranges(server) == [None, "bytes=1000-", "bytes=200000-"]
    assert [headers.get("If-Range") for _, headers in server.asked] == [None, '"v1"', '"v1"']
    assert len(told) == 2
    assert "1,000" in told[0]
    assert f"{len(BODY):,}" in told[0]
    assert "attempt 2 of 4" in told[0]


@settings(max_examples=25)
@given(cuts=st.lists(st.integers(0, 1999), max_size=3))
def test_wherever_it_breaks_off(cuts: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    body = BODY[-2000:]
    target = tmp_path_factory.mktemp("cut") / "f"
    with serving() as server:
        get(server.plan("/f", *(broken(body, cut) for cut in cuts), whole(body)), target)
    assert target.read_bytes() == body


def test_a_later_process_goes_on(server: Server, target: Path) -> None:
    url = server.plan("/f", *[broken(BODY, 5000)] * 4, whole(BODY))
    refusal(url, target)
    assert names(target.parent) == ["file.zip.part", "file.zip.part.json"]
    assert (target.parent / "file.zip.part").read_bytes() == BODY[:5000]
    get(url, target)
    assert target.read_bytes() == BODY
    assert ranges(server)[-1] == "bytes=5000-"
    assert names(target.parent) == ["file.zip"]


def test_attempts_are_bounded_and_the_error_names_both_lengths(
    server: Server, target: Path
) -> None:
    url = server.plan("/f", broken(BODY, 7))
    text = refusal(url, target)
    assert len(server.asked) == PATIENCE.attempts
    assert f"announced {len(BODY):,} bytes and sent 7" in text
    assert "4 attempts" in text


def test_a_server_that_knows_no_ranges_sends_all_again(server: Server, target: Path) -> None:
    url = server.plan("/f", broken(BODY, 5000, ranges=False), whole(BODY, ranges=False))
    get(url, target)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("tag", [None, 'W/"v1"'])
def test_without_a_version_no_range_is_asked(server: Server, target: Path, tag: str | None) -> None:
    url = server.plan("/f", broken(BODY, 5000, etag=tag), whole(BODY, etag=tag))
    get(url, target)
    assert target.read_bytes() == BODY
    assert ranges(server) == [None, None]


@pytest.mark.parametrize("tag", [None, 'W/"v1"'])
def test_a_date_serves_as_a_version(server: Server, target: Path, tag: str | None) -> None:
    date = "Sat, 21 Nov 2020 06:28:00 GMT"
    first = broken(BODY, 5000, etag=tag, last_modified=date)
    get(server.plan("/f", first, whole(BODY, etag=None, last_modified=date)), target)
    assert target.read_bytes() == BODY
    assert ranges(server) == [None, "bytes=5000-"]
    assert server.asked[-1][1]["If-Range"] == date


def test_a_file_that_changed_meanwhile_is_taken_from_its_beginning(
    server: Server, target: Path
) -> None:
    url = server.plan("/f", broken(BODY, 5000), whole(OTHER, etag='"v2"'))
    get(url, target)
    assert ranges(server) == [None, "bytes=5000-"]
    assert target.read_bytes() == OTHER


def test_a_server_that_ignores_if_range_splices_nothing(server: Server, target: Path) -> None:
    rest = f"bytes 5000-{len(OTHER) - 1}/{len(OTHER)}"

    def ignorant(handler: Handler) -> None:
        length = str(len(OTHER) - 5000)
        handler.head(206, content_range=rest, content_length=length, etag='"v2"')
        handler.wfile.write(OTHER[5000:])

    url = server.plan("/f", broken(BODY, 5000), ignorant, whole(OTHER, etag='"v2"'))
    get(url, target)
    assert ranges(server) == [None, "bytes=5000-", None]
    assert target.read_bytes() == OTHER


def test_another_range_than_asked_for_is_not_appended(server: Server, target: Path) -> None:
    def shifted(handler: Handler) -> None:
        handler.head(206, content_range="bytes 0-9/10", content_length="10", etag='"v1"')
        handler.wfile.write(BODY[:10])

    url = server.plan("/f", broken(BODY, 5000), shifted, whole(BODY))
    get(url, target)
    assert target.read_bytes() == BODY


def test_a_range_that_is_not_there_any_more(server: Server, target: Path) -> None:
    short = BODY[:3000]
    url = server.plan("/f", broken(BODY, 5000), whole(short))  # the same tag: 416
    get(url, target)
    assert ranges(server) == [None, "bytes=5000-", None]
    assert target.read_bytes() == short


def test_a_part_of_another_address_is_not_built_on(server: Server, target: Path) -> None:
    with pytest.raises(UnavailableError):
        get(server.plan("/one", broken(BODY, 5000)), target, Patience(attempts=1))
    get(server.plan("/two", whole(OTHER)), target)
    assert ranges(server) == [None, None]
    assert target.read_bytes() == OTHER


@pytest.mark.parametrize("note", ["", "[]", '{"url": 1}', "{"])
def test_a_damaged_note_means_a_new_start(server: Server, target: Path, note: str) -> None:
    target.with_name("file.zip.part").write_bytes(b"rubbish")
    target.with_name("file.zip.part.json").write_text(note)
    get(server.plan("/f", whole(BODY)), target)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("more", [1, 100_000])
def test_more_than_was_announced_is_refused(server: Server, target: Path, more: int) -> None:
    url = server.plan("/f", lying(BODY, len(BODY) - more))
    text = refusal(url, target)
    assert f"announced {len(BODY) - more:,} bytes and sent" in text
    assert len(server.asked) == 1
    assert names(target.parent) == []


def test_less_than_was_announced_is_asked_for_again(server: Server, target: Path) -> None:
    url = server.plan("/f", lying(BODY, len(BODY) + 10, etag=None))
    text = refusal(url, target)
    assert f"announced {len(BODY) + 10:,} bytes and sent {len(BODY):,}" in text
    assert len(server.asked) == PATIENCE.attempts


def test_a_body_of_chunks(server: Server, target: Path) -> None:
    get(server.plan("/f", chunked(BODY, 10_000)), target)
    assert target.read_bytes() == BODY


def test_chunks_without_an_end_are_not_whole(server: Server, target: Path) -> None:
    url = server.plan("/f", chunked(BODY, 10_000, cut=True), whole(BODY))
    assert len(get(url, target)) == 1  # all of it was there, as the server then said
    assert target.read_bytes() == BODY


def test_a_whole_part_only_wants_its_name(server: Server, target: Path) -> None:
    url = server.plan("/f", whole(BODY))
    target.with_name("file.zip.part").write_bytes(BODY)
    target.with_name("file.zip.part.json").write_text(json.dumps({"url": url, "version": '"v1"'}))
    assert get(url, target) == []
    assert target.read_bytes() == BODY
    assert ranges(server) == [f"bytes={len(BODY)}-"]


def test_a_whole_part_is_not_taken_where_the_server_has_another_of_that_length(
    server: Server, target: Path
) -> None:
    def ignorant(handler: Handler) -> None:  # of If-Range
        handler.head(416, content_range=f"bytes */{len(BODY)}", content_length="0", etag='"v2"')

    url = server.plan("/f", ignorant, whole(OTHER, etag='"v2"'))
    target.with_name("file.zip.part").write_bytes(BODY)
    target.with_name("file.zip.part.json").write_text(json.dumps({"url": url, "version": '"v1"'}))
    get(url, target)
    assert target.read_bytes() == OTHER


def test_a_whole_part_of_another_version_is_not_taken(server: Server, target: Path) -> None:
    url = server.plan("/f", whole(OTHER, etag='"v2"'))
    target.with_name("file.zip.part").write_bytes(BODY)
    target.with_name("file.zip.part.json").write_text(json.dumps({"url": url, "version": '"v1"'}))
    get(url, target)
    assert target.read_bytes() == OTHER


def test_a_body_that_ends_with_the_connection(server: Server, target: Path) -> None:
    get(server.plan("/f", endless(BODY)), target)
    assert target.read_bytes() == BODY


def test_redirects_are_followed(server: Server, target: Path) -> None:
    server.plan("/b", redirect("/c"))
    server.plan("/c", broken(BODY, 5000), whole(BODY))
    get(server.plan("/a", redirect(f"{server.url}/b")), target)
    assert target.read_bytes() == BODY
    asked = [(path, headers.get("Range")) for path, headers in server.asked]
    assert asked[-1] == ("/c", "bytes=5000-")


def test_a_loop_of_redirects_ends(server: Server, target: Path) -> None:
    url = server.plan("/a", redirect("/b"))
    server.plan("/b", redirect("/a"))
    assert "more than 3 redirects" in refusal(url, target)
    assert len(server.asked) == PATIENCE.redirects + 1


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/f", "http://"])
def test_a_redirect_to_no_web_address_is_refused(server: Server, target: Path, to: str) -> None:
    refusal(server.plan("/a", redirect(to)), target)


@pytest.mark.parametrize("code", [500, 502, 503, 429])
def test_a_server_out_of_order_is_asked_again(server: Server, target: Path, code: int) -> None:
    told = get(server.plan("/f", status(code, retry_after="1"), whole(BODY)), target)
    assert target.read_bytes() == BODY
    assert str(code) in told[0]
    assert "in 0.01 s" in told[0]  # the server's wish, bounded by our patience


def test_a_server_that_stays_out_of_order(server: Server, target: Path) -> None:
    assert "503 Service Unavailable" in refusal(server.plan("/f", status(503)), target)
    assert len(server.asked) == PATIENCE.attempts


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 204])
def test_a_refusal_is_final(server: Server, target: Path, code: int) -> None:
    assert str(code) in refusal(server.plan("/f", status(code), whole(BODY)), target)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "page",
    [
        b"<!DOCTYPE html><html><body>Please log in</body></html>",
        b"\n  <!-- portal -->\n<HTML lang=en>",
        b'<?xml version="1.0"?><!doctype HTML PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN">',
        b"<script>location='/login'</script>",
    ],
)
def test_a_web_page_is_no_data(server: Server, target: Path, page: bytes) -> None:
    url = server.plan("/f", whole(page, content_type="text/html"), whole(BODY))
    text = refusal(url, target)
    assert "web page (text/html)" in text
    assert names(target.parent) == []


def test_data_under_a_wrong_type_are_data(server: Server, target: Path) -> None:
    xml = b'<?xml version="1.0"?><labels><label name="html"/></labels>'
    get(server.plan("/f", whole(xml, content_type="text/html")), target)
    assert target.read_bytes() == xml


def test_a_stalling_server_is_left_and_asked_for_the_rest(server: Server, target: Path) -> None:
    released = threading.Event()
    url = server.plan("/f", stall(BODY, 5000, released), whole(BODY))
    try:
        told = get(url, target, Patience(attempts=2, pause=0.001, read=0.2))
    finally:
        released.set()
    assert target.read_bytes() == BODY
    assert "does not answer in time" in told[0]
    assert ranges(server) == [None, "bytes=5000-"]


def test_a_server_that_does_not_close_after_the_last_byte(server: Server, target: Path) -> None:
    released = threading.Event()
    try:
        told = get(server.plan("/f", stall(BODY, len(BODY), released)), target, Patience(read=0.2))
    finally:
        released.set()
    assert (target.read_bytes(), told) == (BODY, [])


def test_too_large_a_file_is_refused_before_it_comes(server: Server, target: Path) -> None:
    text = refusal(server.plan("/f", whole(BODY)), target, max_bytes=1000)
    assert f"{len(BODY):,}" in text
    assert "1,000" in text


def test_too_large_a_file_without_a_length_is_refused_as_it_comes(
    server: Server, target: Path
) -> None:
    assert "1,000" in refusal(server.plan("/f", endless(BODY)), target, max_bytes=1000)
    assert names(target.parent) == []


def test_nobody_listens(target: Path) -> None:
    with serving() as server:
        url = f"{server.url}/f"
    text = refusal(url, target)
    assert "cannot connect to 127.0.0.1" in text
    assert "4 attempts" in text


def test_an_unknown_host_is_final(target: Path) -> None:
    told: list[str] = []
    with pytest.raises(UnavailableError, match=r"cannot find no-such-host\.invalid"):
        download(
            "http://no-such-host.invalid/f",
            target,
            max_bytes=MAX,
            patience=PATIENCE,
            on_retry=told.append,
        )
    assert told == []


def test_an_interrupted_download_can_be_resumed(server: Server, target: Path) -> None:
    def interrupt(done: int, _total: int | None) -> None:
        if done >= 100_000:
            raise KeyboardInterrupt

    url = server.plan("/f", whole(BODY))
    with pytest.raises(KeyboardInterrupt):
        download(url, target, max_bytes=MAX, patience=PATIENCE, on_progress=interrupt)
    have = (target.parent / "file.zip.part").stat().st_size
    assert have >= 100_000
    get(url, target)
    assert ranges(server)[-1] == f"bytes={have}-"
    assert target.read_bytes() == BODY


def test_a_folder_that_is_none(server: Server, tmp_path: Path) -> None:
    url = server.plan("/f", whole(BODY))
    with pytest.raises(InputError, match="cannot be written"):
        get(url, tmp_path / "absent" / "file.zip")


def test_through_a_proxy(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    server.plan("http://data.invalid/f", whole(BODY))
    get("http://data.invalid/f", target)
    assert target.read_bytes() == BODY
