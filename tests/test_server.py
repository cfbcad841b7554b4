"""What is answered over HTTP, to whom, and what a hostile client can do: nothing much."""

from __future__ import annotations

import gc
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import urllib3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from ihomer.errors import UnavailableError
from ihomer.stream import metrics as m
from ihomer.stream import server as server_module
from ihomer.stream.address import Address
from ihomer.stream.health import LIVE_SECONDS
from ihomer.stream.server import MAX_CONNECTIONS, MAX_REQUEST_BYTES, Server
from ihomer.stream.status import Stage, Status

TOKEN = "correct-horse-battery"  # noqa: S105 - nobody's
PATIENCE_S = 60.0

Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as opened:

        def start(status: Status, token: str | None = None, host: str = "127.0.0.1") -> Server:
            server = Server(status, Address(host, 0), token)
            opened.callback(server.close)
            return server

        yield start


@pytest.fixture
def status() -> Status:
    status = Status()
    status.enter(Stage.WAIT)
    return status


def get(
    server: Server, path: str, method: str = "GET", **headers: str
) -> tuple[int, bytes, urllib3.HTTPHeaderDict]:
    answer = urllib3.request(
        method, f"http://{server.address}{path}", headers=headers, retries=False, timeout=PATIENCE_S
    )
    return answer.status, answer.data, answer.headers


def talk(server: Server, request: bytes, *, end: bool = False) -> bytes:
    """What comes back for these very bytes; `end`: nothing more is sent."""
    with socket.create_connection((server.address.host, server.address.port), PATIENCE_S) as line:
        line.sendall(request)
        if end:
            line.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while piece := line.recv(65_536):
                answer += piece
        except ConnectionResetError:  # it has closed with some of ours unread
            pass
        return answer


def test_metrics_are_those_of_the_last_publication(status: Status, serve: Serve) -> None:
    server = serve(status)
    status.set(m.LAG, 17, 'a "topic"\\', "3")
    status.publish()
    status.set(m.LAG, 18, 'a "topic"\\', "3")
    code, body, headers = get(server, "/metrics?x=1")
    assert code == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    (sample,) = families["ihomer_lag_records"].samples
    assert (sample.labels, sample.value) == ({"topic": 'a "topic"\\', "partition": "3"}, 17.0)
    assert "process_resident_memory_bytes" in families
    _, _, headers = get(server, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")


def test_ready_and_live(serve: Serve) -> None:
    now = 0.0
    status = Status(clock=lambda: now)
    server = serve(status)
    code, body, headers = get(server, "/health/ready")
    assert (code, json.loads(body)["status"]) == (503, "not-ready")
    assert headers["Content-Type"] == "application/json"
    status.enter(Stage.WAIT)
    code, body, _ = get(server, "/health/ready")
    assert (code, json.loads(body)["reasons"]) == (200, [])
    status.trouble("source", "Kafka at h:1 is away")
    code, body, _ = get(server, "/health/ready")
    (reason,) = json.loads(body)["reasons"]
    assert (code, reason["text"]) == (503, "Kafka at h:1 is away")
    assert get(server, "/health/live")[:2] == (200, b'{"status":"live"}\n')
    now = LIVE_SECONDS + 1.0
    code, body, _ = get(server, "/health/live")
    assert code == 503
    assert "in stage wait for 181 s" in json.loads(body)["text"]


def test_head_is_get_without_a_body(status: Status, serve: Serve) -> None:
    server = serve(status)
    for path in ("/health/live", "/nothing"):
        code, body, headers = get(server, path, "HEAD")
        again, whole, others = get(server, path)
        assert (code, body, headers["Content-Length"]) == (again, b"", str(len(whole)))
        assert headers["Connection"] == others["Connection"] == "close"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"GET /nothing HTTP/1.1\r\n\r\n", 404),
        (b"GET /metrics/../health/live HTTP/1.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"GET /metrics HTTP/2.0\r\n\r\n", 505),
        (b"GET /metrics\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"\xff\xfe / HTTP/1.1\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 400),
        (b"GET /" + b"x" * MAX_REQUEST_BYTES + b" HTTP/1.1\r\n\r\n", 431),
        (b"x" * (3 * MAX_REQUEST_BYTES), 431),
        (b"GET /metrics HT", 400),
        (b"", 400),
    ],
)
def test_what_is_refused(status: Status, serve: Serve, request_: bytes, code: int) -> None:
    server = serve(status)
    answer = talk(server, request_, end=True)
    # What was not read is lost with the connection, and sometimes the answer with it.
    assert answer.startswith(b"HTTP/1.1 %d " % code) or (code == 431 and not answer)
    assert get(server, "/health/live")[0] == 200


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_bring_it_down(status: Status, serve: Serve, junk: bytes) -> None:
    server = serve(status)
    head = b"GET /metrics HTTP/1.1\r\n" if junk[:1] < b"\x80" else b""
    answer = talk(server, head + junk + b"\r\n\r\n", end=True)
    assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 4", b"HTTP/1.1 505"))
    assert get(server, "/health/live")[0] == 200
    server.close()


@pytest.mark.parametrize("path", ["/metrics", "/health/live", "/health/ready", "/nothing"])
def test_a_token_guards_every_path(status: Status, serve: Serve, path: str) -> None:
    server = serve(status, TOKEN)
    for sent in ("", "Bearer", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN):
        code, body, headers = get(server, path, Authorization=sent)
        assert (code, headers["WWW-Authenticate"]) == (401, "Bearer")
        assert TOKEN.encode() not in body
    assert get(server, path)[0] == 401
    assert (
        talk(server, b"GET %s HTTP/1.1\r\nAuthorization: Bearer \xe4\r\n\r\n" % path.encode())[:12]
        == b"HTTP/1.1 401"
    )
    wanted = 404 if path == "/nothing" else 200
    assert get(server, path, Authorization=f"Bearer {TOKEN}")[0] == wanted
    assert get(server, path, authorization=f"bearer  {TOKEN}")[0] == wanted


def test_the_token_is_compared_in_constant_time(
    status: Status, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr("hmac.compare_digest", compare)
    server = serve(status, TOKEN)
    get(server, "/metrics", Authorization="Bearer wrong")
    get(server, "/metrics", Authorization=f"Basic {TOKEN}")
    assert compared == [(b"wrong", TOKEN.encode()), (TOKEN.encode(), TOKEN.encode())]


def test_slow_clients_are_cut_off_and_hold_nobody_up(
    status: Status, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "REQUEST_SECONDS", 1.0)
    server = serve(status)
    place = (server.address.host, server.address.port)
    with ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection(place, PATIENCE_S))
            for _ in range(MAX_CONNECTIONS - 1)
        ]
        for line in slow:
            line.sendall(b"GET /metrics HTTP/1.1\r\n")
        assert get(server, "/health/live")[0] == 200
        # A byte now and then does not buy more time: the bound is that of the whole request.
        for line in slow:
            answer = b""
            while not answer:
                line.settimeout(0.05)
                try:
                    line.sendall(b"x")
                    answer = line.recv(4096)
                except TimeoutError:
                    continue
                except ConnectionError:
                    break
            assert not answer or answer.startswith(b"HTTP/1.1 408 ")


def test_only_so_many_connections_at_a_time(status: Status, serve: Serve) -> None:
    server = serve(status)
    place = (server.address.host, server.address.port)
    with ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS):
            stack.enter_context(socket.create_connection(place, PATIENCE_S))
        line = stack.enter_context(socket.create_connection(place, PATIENCE_S))
        assert line.recv(4096).startswith(b"HTTP/1.1 503 ")
    while get(server, "/health/live")[0] != 200:
        pass  # those that have left are noticed in a moment


def test_a_reader_that_stops_reading_is_cut_off(
    status: Status, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "ANSWER_SECONDS", 0.2)
    for number in range(20_000):
        status.set(m.LAG, number, "t" * 200, str(number))
    status.publish()
    server = serve(status)
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.settimeout(PATIENCE_S)
    line.connect((server.address.host, server.address.port))
    line.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
    while server._connections == 0:
        pass
    while server._connections:  # it gives up although nobody reads
        pass
    line.close()


def test_a_defect_is_an_answer_and_a_line_in_the_log(
    status: Status, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(status)
    monkeypatch.setattr(server_module, "stalled", lambda *_: 1 / 0)
    assert get(server, "/health/live")[0] == 500
    assert get(server, "/health/ready")[0] == 200


def test_an_address_that_is_taken_is_one_line(status: Status, serve: Serve) -> None:
    server = serve(status)
    with pytest.raises(UnavailableError, match="cannot be listened at: Address already in use"):
        Server(status, server.address)


def test_closing_ends_its_thread_and_frees_its_port(status: Status) -> None:
    server = Server(status, Address("localhost", 0))
    before = threading.active_count()
    line = socket.create_connection(("127.0.0.1", server.address.port), PATIENCE_S)
    server.close()
    server.close()
    assert threading.active_count() == before - 1
    line.close()
    Server(status, server.address).close()


def test_a_connection_of_the_last_moment_is_closed_too(status: Status) -> None:
    for _ in range(20):  # what stays open is a warning, and that an error
        server = Server(status, Address("localhost", 0))
        line = socket.create_connection(("127.0.0.1", server.address.port), PATIENCE_S)
        server.close()
        line.close()
    gc.collect()
