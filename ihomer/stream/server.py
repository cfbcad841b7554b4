"""What a daemon answers over HTTP: ``/metrics``, ``/health/live``, ``/health/ready``.

In: a `Status` and an address. Out: a server on a thread of its own. It is here so that
Prometheus, an orchestrator and ``ihomer top`` can look at a daemon at any time; the loop never
waits for it, and it never for the loop.

Only GET and HEAD of these three paths; no request has a body, no connection serves a second
request. Each is bounded in size and time, and so is their number, so that no client, hostile or
hanging, costs more than a little. Where a token is set, nothing is told without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import io
import socket
import threading
from http import HTTPStatus
from http.client import HTTPException, HTTPMessage, parse_headers
from typing import Any, NamedTuple

import orjson
import structlog

from ihomer.errors import UnavailableError
from ihomer.stream.address import Address
from ihomer.stream.exposition import Exposition
from ihomer.stream.health import report, stalled
from ihomer.stream.status import Status

log = structlog.get_logger("ihomer")

MAX_REQUEST_BYTES = 8192
MAX_CONNECTIONS = 16
REQUEST_SECONDS = 5.0  # for the whole of a request
ANSWER_SECONDS = 5.0  # for the whole of an answer
STOP_SECONDS = 2.0

_LAST_ROUNDS = 5
_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"
_PATHS = ("/metrics", "/health/live", "/health/ready")


class _Answer(NamedTuple):
    """A status, a body and its type."""

    status: HTTPStatus
    body: bytes
    type: str = _TEXT
    headers: tuple[tuple[str, str], ...] = ()


class Server:
    """Serves a status until it is closed.

    Parameters
    ----------
    status
        What is served.
    address
        Where to listen. Whether others than this machine may reach it is the caller's decision.
    token
        What clients must send as ``Authorization: Bearer TOKEN``; None: nothing.

    Attributes
    ----------
    address
        Where it listens, with the port that was found.

    Raises
    ------
    UnavailableError
        The address cannot be listened at.
    """

    def __init__(self, status: Status, address: Address, token: str | None = None) -> None:
        self._status = status
        self._token = None if token is None else token.encode()
        self._exposition = Exposition(status)
        self._connections = 0
        try:
            self._socket = _listen(address)
        except OSError as error:
            raise UnavailableError(
                f"http: {address} cannot be listened at: {error.strerror}"
            ) from None
        self.address = Address(address.host, self._socket.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="ihomer-http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more; what is under way is cut off. May be called twice."""
        with contextlib.suppress(RuntimeError):  # its loop is closed already
            self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._talk, sock=self._socket, limit=MAX_REQUEST_BYTES)
        async with server:
            await self._end.wait()
            # Nobody else is let in. Who has been belongs to the server only some rounds later, and
            # asyncio leaves open what it finds it has accepted for a server that is closed.
            self._loop.remove_reader(self._socket)
            for _ in range(_LAST_ROUNDS):
                await asyncio.sleep(0)
        # Cut off, each connection gives its socket back, which takes the loop two more rounds. One
        # that was accepted in the last moment gets its task only in the next, and a task that is
        # cancelled before it has begun would never close anything.
        begun: set[asyncio.Task[Any]] = set()
        quiet = 0
        while quiet < _LAST_ROUNDS:
            under_way = asyncio.all_tasks() - {asyncio.current_task()}
            for task in under_way & begun:
                task.cancel()
            quiet = 0 if under_way else quiet + 1
            begun = under_way
            await asyncio.sleep(0)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: one request, one answer."""
        self._connections += 1
        try:
            answer, head_only = await self._answer_to(reader)
            writer.write(_head(answer) if head_only else _head(answer) + answer.body)
            async with asyncio.timeout(ANSWER_SECONDS):
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.CancelledError):
            writer.transport.abort()  # they have left, or take longer than we wait
        finally:
            self._connections -= 1

    async def _answer_to(self, reader: asyncio.StreamReader) -> tuple[_Answer, bool]:
        if self._connections > MAX_CONNECTIONS:
            return _plain(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections"), False
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
        except TimeoutError:
            return _plain(HTTPStatus.REQUEST_TIMEOUT, f"no request in {REQUEST_SECONDS:g} s"), False
        except asyncio.LimitOverrunError:
            text = f"a request of more than {MAX_REQUEST_BYTES} bytes"
            return _plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, text), False
        except asyncio.IncompleteReadError:
            return _plain(HTTPStatus.BAD_REQUEST, "half a request"), False
        return self._answer(head)

    def _answer(self, head: bytes) -> tuple[_Answer, bool]:
        line, _, rest = head.partition(b"\r\n")
        try:
            method, target, version = line.decode("ascii").split(" ")
            headers = parse_headers(io.BytesIO(rest))
        except (ValueError, HTTPException):
            return _plain(HTTPStatus.BAD_REQUEST, "no HTTP request"), False
        if version not in ("HTTP/1.0", "HTTP/1.1"):
            return _plain(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "accepted: HTTP/1.1"), False
        if method not in ("GET", "HEAD"):
            refused = _plain(HTTPStatus.METHOD_NOT_ALLOWED, "accepted: GET, HEAD")
            return refused._replace(headers=(("Allow", "GET, HEAD"),)), False
        if not self._is_allowed(headers):
            refused = _plain(HTTPStatus.UNAUTHORIZED, "accepted: Authorization: Bearer TOKEN")
            return refused._replace(headers=(("WWW-Authenticate", "Bearer"),)), method == "HEAD"
        try:
            answer = self._page(target.partition("?")[0], headers)
        except Exception:  # a defect of ours must not silence what else can be asked
            log.exception("no answer over HTTP")
            answer = _plain(HTTPStatus.INTERNAL_SERVER_ERROR, "a defect of ihomer; see its log")
        return answer, method == "HEAD"

    def _is_allowed(self, headers: HTTPMessage) -> bool:
        if self._token is None:
            return True
        scheme, _, found = headers.get("Authorization", "").partition(" ")
        sent = found.strip().encode("utf-8", "replace")
        # In constant time, whatever was sent: how long it takes must not tell how much was right.
        return hmac.compare_digest(sent, self._token) and scheme.lower() == "bearer"

    def _page(self, path: str, headers: HTTPMessage) -> _Answer:
        if path == "/metrics":
            body, content_type = self._exposition.render(headers.get("Accept", ""))
            return _Answer(HTTPStatus.OK, body, content_type)
        snapshot, now = self._status.snapshot(), self._status.clock()
        if path == "/health/ready":
            found = report(snapshot, now)
            well = found["status"] != "not-ready"
            return _json(HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE, found)
        if path == "/health/live":
            reason = stalled(snapshot, now)
            lives = {"status": "live"} if reason is None else {"status": "dead", "text": reason}
            return _json(HTTPStatus.OK if reason is None else HTTPStatus.SERVICE_UNAVAILABLE, lives)
        return _plain(HTTPStatus.NOT_FOUND, f"accepted: {', '.join(_PATHS)}")


def _listen(address: Address) -> socket.socket:
    host = "127.0.0.1" if address.host == "localhost" else address.host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, address.port))
        listening.listen(MAX_CONNECTIONS)
    except OSError:
        listening.close()
        raise
    return listening


def _plain(status: HTTPStatus, text: str) -> _Answer:
    return _Answer(status, f"{text}\n".encode())


def _json(status: HTTPStatus, found: object) -> _Answer:
    return _Answer(status, orjson.dumps(found) + b"\n", _JSON)


def _head(answer: _Answer) -> bytes:
    headers = (
        ("Content-Type", answer.type),
        ("Content-Length", str(len(answer.body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Connection", "close"),
        *answer.headers,
    )
    lines = [f"HTTP/1.1 {answer.status.value} {answer.status.phrase}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
