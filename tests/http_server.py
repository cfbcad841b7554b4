"""A local HTTP server that misbehaves as told, for the tests of downloads.

A path has a plan: one step for each request, the last one for all that follow. Requests are kept.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

Step: TypeAlias = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Hands a request to the step that is its turn."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.next_step(self)(self)
        self.close_connection = True

    def head(self, status: int, **headers: str) -> None:
        """Status line and headers; ``content_length`` stands for Content-Length."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-").title(), value)
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Plans and what was asked."""

    daemon_threads = True
    # A client that leaves in the middle of a body is what some tests are about.
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plans: dict[str, list[Step]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def plan(self, path: str, *steps: Step) -> str:
        """Set what happens at `path`; its address."""
        self.plans[path] = list(steps)
        return self.url + path

    def next_step(self, handler: Handler) -> Step:
        with self._lock:
            self.asked.append((handler.path, dict(handler.headers.items())))
            steps = self.plans.get(handler.path, [status(404)])
            return steps.pop(0) if len(steps) > 1 else steps[0]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that break off are expected."""


@contextmanager
def serving() -> Iterator[Server]:
    """A server on a free port of the loopback, for as long as the block lasts."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def whole(body: bytes, *, etag: str | None = '"v1"', ranges: bool = True, **headers: str) -> Step:
    """What a good server does; Range and If-Range are honoured if it knows ranges."""
    return _send(body, len(body), etag, ranges, headers)


def broken(
    body: bytes, after: int, *, etag: str | None = '"v1"', ranges: bool = True, **headers: str
) -> Step:
    """Announces all, sends `after` bytes of it and breaks off."""
    return _send(body, after, etag, ranges, headers)


def lying(body: bytes, announced: int, *, etag: str | None = '"v1"') -> Step:
    """Sends `body` under a length that is not its own, whatever is asked."""

    def step(handler: Handler) -> None:
        headers = {"content_length": str(announced)} | ({"etag": etag} if etag else {})
        handler.head(200, **headers)
        handler.wfile.write(body)

    return step


def status(code: int, **headers: str) -> Step:
    """No more than a status."""
    return lambda handler: handler.head(code, content_length="0", **headers)


def redirect(to: str) -> Step:
    """Send the client elsewhere."""
    return status(302, location=to)


def stall(body: bytes, after: int, released: threading.Event) -> Step:
    """Sends `after` bytes, then nothing until it is released."""

    def step(handler: Handler) -> None:
        handler.head(200, content_length=str(len(body)), etag='"v1"')
        handler.wfile.write(body[:after])
        handler.wfile.flush()
        released.wait(30)

    return step


def slow(body: bytes, pieces: int, seconds: float, *, etag: str = '"v1"') -> Step:
    """Sends all of it in so many pieces, over so many seconds."""

    def step(handler: Handler) -> None:
        start, data = _part(handler, body, etag)
        code = 206 if start else 200
        extra = {"content_range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
        handler.head(code, content_length=str(len(data)), etag=etag, **extra)
        size = max(1, len(data) // pieces)
        for at in range(0, len(data), size):
            handler.wfile.write(data[at : at + size])
            handler.wfile.flush()
            time.sleep(seconds / pieces)

    return step


def chunked(body: bytes, size: int, *, cut: bool = False) -> Step:
    """Sends chunks; cut: without the one that marks the end."""

    def step(handler: Handler) -> None:
        handler.head(200, transfer_encoding="chunked", etag='"v1"')
        for at in range(0, len(body), size):
            piece = body[at : at + size]
            handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        if not cut:
            handler.wfile.write(b"0\r\n\r\n")

    return step


def endless(body: bytes) -> Step:
    """Neither length nor chunks: the end of the connection is the end of the body."""

    def step(handler: Handler) -> None:
        handler.head(200)
        handler.wfile.write(body)

    return step


def _send(body: bytes, stop: int, etag: str | None, ranges: bool, headers: dict[str, str]) -> Step:
    def step(handler: Handler) -> None:
        version = etag or headers.get("last_modified")
        start = _part(handler, body, version)[0] if ranges else 0
        found = {"etag": etag} if etag else {}
        if start and start >= len(body):
            extra = {"content_range": f"bytes */{len(body)}", "content_length": "0"}
            handler.head(416, **found, **extra)
            return
        if start:
            found["content_range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        length = str(len(body) - start)
        handler.head(206 if start else 200, **{"content_length": length} | found | headers)
        handler.wfile.write(body[start : max(start, stop)])

    return step


def _part(handler: Handler, body: bytes, version: str | None) -> tuple[int, bytes]:
    """Where the range asked for begins, 0 if it is to be all; and the bytes from there."""
    asked = handler.headers.get("Range", "")
    if not asked or handler.headers.get("If-Range") not in (None, version):
        return 0, body
    start = int(asked.removeprefix("bytes=").removesuffix("-"))
    return start, body[start:]
