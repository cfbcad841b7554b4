"""Who may reach a daemon's HTTP server, and with which token."""

from __future__ import annotations

from pathlib import Path

import pytest

from ihomer.errors import UsageError
from ihomer.stream.address import check_address, parse_address, read_token

TOKEN = "correct-horse-battery"  # noqa: S105 - nobody's


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IHOMER_HTTP_TOKEN", raising=False)


@pytest.mark.parametrize(
    "text",
    [
        *("", "9109", ":9109", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536"),
        *("127.0.0.1:-1", "::1:9109", "[::1]", "[127.0.0.1]:1", "host.example:80", "127.0.0.1:²"),
        *("http://127.0.0.1:80", "127.1:80", " 127.0.0.1:80", "[::1%eth0", "localhost"),
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - settings give it its words
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("127.0.0.1:9109", True),
        ("127.8.9.10:0", True),
        ("[::1]:9109", True),
        ("localhost:9109", True),
        ("0.0.0.0:9109", False),
        ("[::]:9109", False),
        ("192.168.1.4:9109", False),
        ("[::ffff:10.0.0.1]:9109", False),
    ],
)
def test_other_machines_reach_it_only_if_somebody_said_so(text: str, loopback: bool) -> None:
    assert str(parse_address(text)).endswith(text.rpartition(":")[2])
    assert check_address(text, public=True) == parse_address(text)
    if loopback:
        assert check_address(text, public=False) == parse_address(text)
    else:
        with pytest.raises(UsageError, match="http_public = true"):
            check_address(text, public=False)


def test_a_token_comes_from_the_environment_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert read_token(None) is None
    assert read_token(file) == TOKEN
    monkeypatch.setenv("IHOMER_HTTP_TOKEN", TOKEN * 2)
    assert read_token(file) == read_token(None) == TOKEN * 2


@pytest.mark.parametrize("text", ["short", "", "x" * 4097, "sixteen and spaces", "ÄÖÜäöüß" * 4])
def test_what_is_no_token_is_not_repeated(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="found no token, accepted: 16 to 4096") as caught:
        read_token(file)
    assert not text or text not in str(caught.value)
    if text:
        monkeypatch.setenv("IHOMER_HTTP_TOKEN", text)
        with pytest.raises(UsageError, match="environment IHOMER_HTTP_TOKEN") as caught:
            read_token(None)
        assert text not in str(caught.value)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"http_token_file: .*absent: No such file"):
        read_token(tmp_path / "absent")
    with pytest.raises(UsageError, match=r"http_token_file: .*directory"):
        read_token(tmp_path)
