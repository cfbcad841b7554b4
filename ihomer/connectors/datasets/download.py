"""One file over HTTP, however often the connection breaks.

In: an address and a file name. Out: the whole file under that name, or an error and nothing under
it. It is here because the servers of research groups are slow, break off, and change their minds.

While it comes the file is ``NAME.part``; ``NAME.part.json`` beside it holds the address and what
the server calls this version of the file (its ETag or Last-Modified). A later attempt, of this
call or of a later process, asks for the rest with Range and If-Range (RFC 9110, 13.1.5 and 14.2),
and begins again where the server does not know ranges, has another version, or says that there is
no such range.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import (
    HTTPError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ResponseError,
)
from urllib3.exceptions import TimeoutError as HTTPTimeoutError

from ihomer.connectors.datasets.atomic import publish, write_whole
from ihomer.connectors.datasets.wire import manager_for
from ihomer.errors import InputError, UnavailableError

Progress: TypeAlias = Callable[[int, int | None], None]

_READ_BYTES = 1 << 16
_SNIFF_BYTES = 1 << 12
_PASSING = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
}
_PAGE = re.compile(
    rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<(!doctype html|html|head|body|script)\b",
    re.IGNORECASE | re.DOTALL,
)
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a download is tried.

    Attributes
    ----------
    attempts
        Requests in all, the first included; redirects are not counted.
    pause, longest_pause
        Seconds before the second attempt, doubled before each later one, and their bound; also
        the bound of what a server's Retry-After is granted.
    connect, read
        Seconds to wait for a connection, and for the next byte.
    redirects
        Number of redirects followed in one attempt.
    """

    attempts: int = 8
    pause: float = 1.0
    longest_pause: float = 30.0
    connect: float = 15.0
    read: float = 60.0
    redirects: int = 8


class _BrokenError(Exception):
    """An attempt failed; the next may not."""

    def __init__(self, reason: str, wait: float = 0.0, *, afresh: bool = False) -> None:
        super().__init__(reason)
        self.wait = wait
        self.afresh = afresh  # what has come so far is of no use


def download(
    url: str,
    target: Path,
    *,
    max_bytes: int,
    patience: Patience = Patience(),
    on_progress: Progress | None = None,
    on_retry: Callable[[str], None] | None = None,
) -> None:
    """Get the file at `url` and put it at `target`.

    A body whose end only the closed connection marks (neither length nor chunks are announced) is
    taken as whole when the connection closes.

    Parameters
    ----------
    url
        ``http:`` or ``https:``.
    target
        In an existing folder; replaced if it exists.
    max_bytes
        A larger file is refused.
    patience
        Bounds of time and attempts.
    on_progress
        Called with the number of bytes that are there and the number that there will be, or None.
    on_retry
        Called with a line that says what went wrong and what comes next.

    Raises
    ------
    UnavailableError
        The server cannot be reached, refuses, keeps breaking off, announces another length than it
        sends, or sends a web page. What has come stays beside the target where it can be resumed.
    InputError
        The file cannot be written.
    """
    part = target.with_name(f"{target.name}.part")
    job = _Job(url, part, max_bytes, patience, on_progress or (lambda _done, _total: None))
    pause = patience.pause
    try:
        for attempt in range(1, patience.attempts + 1):
            try:
                job.attempt()
                break
            except _BrokenError as error:
                if error.afresh:
                    job.forget()
                if attempt == patience.attempts:
                    raise UnavailableError(f"{url}: {error} ({attempt} attempts)") from None
                wait = min(max(pause, error.wait), patience.longest_pause)
                if on_retry is not None:
                    on_retry(f"{error}; attempt {attempt + 1} of {patience.attempts} in {wait:g} s")
                time.sleep(wait)
                pause *= 2
        publish(part, target)
        job.note.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror or error})") from None


class _Job:
    """The attempts at one file."""

    def __init__(
        self, url: str, part: Path, max_bytes: int, patience: Patience, progress: Progress
    ) -> None:
        self.url = url
        self.host = urlsplit(url).hostname or url
        self.part = part
        self.note = part.with_name(f"{part.name}.json")
        self.max_bytes = max_bytes
        self.patience = patience
        self.progress = progress

    def forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def attempt(self) -> None:
        """Ask once, and append what comes; returns when the file is whole."""
        have, version = self._found()
        headers = {
            "User-Agent": "ihomer",
            "Accept-Encoding": "identity",  # the bytes that are stored, or no range would fit
            "Connection": "close",
        }
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": version}
        manager = manager_for(self.url)
        try:
            response = self._ask(manager, headers)
            try:
                self._take(response, have, version)
            finally:
                response.close()
        finally:
            manager.clear()

    def _found(self) -> tuple[int, str]:
        """Number of bytes that can be built on, and the version they are of."""
        try:
            note = json.loads(self.note.read_bytes())
            have = self.part.stat().st_size
        except (FileNotFoundError, ValueError):
            return 0, ""
        if not isinstance(note, dict) or note.get("url") != self.url:
            return 0, ""
        version = note.get("version")
        return (have, version) if isinstance(version, str) and version else (0, "")

    def _ask(
        self, manager: urllib3.PoolManager, headers: dict[str, str]
    ) -> urllib3.BaseHTTPResponse:
        patience = self.patience
        retries = urllib3.Retry(
            total=None, connect=0, read=0, status=0, other=0, redirect=patience.redirects
        )
        try:
            return manager.request(
                "GET",
                self.url,
                headers=headers,
                retries=retries,
                timeout=urllib3.Timeout(connect=patience.connect, read=patience.read),
                preload_content=False,
                enforce_content_length=False,  # compared here, in both directions
            )
        except HTTPError as error:
            raise self._fault(error) from None

    def _fault(self, error: Exception) -> Exception:
        """What to raise for an error of urllib3: whether it may pass, and in whose words."""
        if isinstance(error, MaxRetryError) and error.reason is not None:
            error = error.reason
        if isinstance(error, ResponseError):
            return UnavailableError(
                f"{self.url}: found more than {self.patience.redirects} redirects,"
                f" accepted: at most that many"
            )
        if isinstance(error, NameResolutionError):
            return UnavailableError(
                f"{self.url}: cannot find {self.host}: no network, or no such host"
            )
        if isinstance(error, NewConnectionError):
            return _BrokenError(f"cannot connect to {self.host}")
        if isinstance(error, HTTPTimeoutError):
            return _BrokenError(f"{self.host} does not answer in time")
        if isinstance(error, ProtocolError):
            return _BrokenError(f"{self.host} broke the connection off")
        return UnavailableError(f"{self.url}: {self.host}: {error}")

    def _take(self, response: urllib3.BaseHTTPResponse, have: int, version: str) -> None:
        status = response.status
        total: int | None
        if status == HTTPStatus.PARTIAL_CONTENT and have:
            found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if found is None or int(found[1]) != have:
                raise _BrokenError(f"{self.host} sent another range than asked for", afresh=True)
            if _version(response) not in ("", version):  # it does not know If-Range
                raise _BrokenError(f"{self.host} has another version by now", afresh=True)
            total = int(found[2]) + 1 if found[3] == "*" else int(found[3])
        elif status == HTTPStatus.OK:
            have, total = 0, _length(response)
            self._begin(response)
        elif status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            if (
                response.headers.get("Content-Range") == f"bytes */{have}"
                and _version(response) == version
            ):
                return  # no rest to send: a process ended between the last byte and the new name
            raise _BrokenError(f"{self.host} has no such range any more", afresh=True)
        elif status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            wait = response.headers.get("Retry-After", "")
            raise _BrokenError(
                f"{self.host} answers {_spell(response)}", float(wait) if wait.isdecimal() else 0.0
            )
        else:
            raise UnavailableError(f"{self.url}: {self.host} answers {_spell(response)}")
        self._receive(response, have, total)

    def _begin(self, response: urllib3.BaseHTTPResponse) -> None:
        """Nothing of what has come is used; remember which version comes now."""
        self.forget()
        if version := _version(response):
            note = {"url": self.url, "version": version}
            write_whole(self.note, json.dumps(note).encode())

    def _receive(self, response: urllib3.BaseHTTPResponse, have: int, total: int | None) -> None:
        if total is not None and total > self.max_bytes:
            raise UnavailableError(
                f"{self.url}: found {total:,} bytes announced, accepted: at most {self.max_bytes:,}"
            )
        if isinstance(response, urllib3.HTTPResponse):
            response.length_remaining = None  # or it would stop at the length announced
        try:
            have, fault = self._copy(response, have, total)
        except UnavailableError:
            self.forget()
            raise
        if total is None:
            if fault is not None:
                raise fault
        elif have < total:
            # A fault once all is there (a server that forgets to close) harms nobody.
            if isinstance(fault, UnavailableError):
                raise fault
            raise _BrokenError(
                f"{self.host} announced {total:,} bytes and sent {have:,}"
                if fault is None
                else f"{fault} after {have:,} of {total:,} bytes"
            )

    def _copy(
        self, response: urllib3.BaseHTTPResponse, have: int, total: int | None
    ) -> tuple[int, Exception | None]:
        """Append the body as far as it comes: the number of bytes there, and why no more came."""
        head = b"" if have == 0 else None
        with self.part.open("ab") as file:
            self.progress(have, total)
            while True:
                try:
                    data = response.read1(_READ_BYTES)
                except HTTPError as error:
                    return have, self._fault(error)
                if not data:
                    return have, None
                if head is not None:
                    head = self._sniff(head + data, response)
                file.write(data)
                have += len(data)
                self._check_size(have, total)
                self.progress(have, total)

    def _sniff(self, head: bytes, response: urllib3.BaseHTTPResponse) -> bytes | None:
        """The beginning of the body as far as it is still to be looked at; None: it is data."""
        if _PAGE.match(head[:_SNIFF_BYTES]):
            raise UnavailableError(
                f"{self.url}: {self.host} sent a web page"
                f" ({response.headers.get('Content-Type', 'no type')}) instead of the file"
            )
        return head if len(head) < _SNIFF_BYTES else None

    def _check_size(self, have: int, total: int | None) -> None:
        if total is not None and have > total:
            raise UnavailableError(
                f"{self.url}: {self.host} announced {total:,} bytes and sent {have:,} or more"
            )
        if have > self.max_bytes:
            raise UnavailableError(
                f"{self.url}: found more than {self.max_bytes:,} bytes, accepted: at most that many"
            )


def _version(response: urllib3.BaseHTTPResponse) -> str:
    """What the server calls these very bytes; empty: nothing that a range could be asked with."""
    tag = response.headers.get("ETag", "")
    if tag and not tag.startswith("W/"):  # a weak one does not promise the same bytes
        return tag
    return response.headers.get("Last-Modified", "")


def _length(response: urllib3.BaseHTTPResponse) -> int | None:
    """The length announced; None where chunks or the end of the connection mark it."""
    text = response.headers.get("Content-Length", "")
    if "Transfer-Encoding" in response.headers or not text.isdecimal():
        return None
    return int(text)


def _spell(response: urllib3.BaseHTTPResponse) -> str:
    return f"{response.status} {response.reason or ''}".strip()
