"""Where a daemon serves what it shows to the outside, who may reach it, and who may ask.

In: texts from the configuration and the environment. Out: an `Address`, and a token. It is here so
that what is wrong with them is said before anything is opened, and so that a daemon is not put
on a network by accident.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import NamedTuple

from ihomer.errors import UsageError

TOKEN_VARIABLE = "IHOMER_HTTP_TOKEN"  # noqa: S105 - the name of a variable, no token
SHORTEST_TOKEN = 16
LONGEST_TOKEN = 4096


class Address(NamedTuple):
    """Where to listen.

    Attributes
    ----------
    host
        An IP address, or ``localhost``.
    port
        0: any that is free.
    """

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """``HOST:PORT`` as an address.

    Raises
    ------
    ValueError
        It is none.

    Examples
    --------
    >>> parse_address("127.0.0.1:9109"), str(parse_address("[::1]:0"))
    (Address(host='127.0.0.1', port=9109), '[::1]:0')
    >>> parse_address("localhost:9109").is_loopback, parse_address("0.0.0.0:80").is_loopback
    (True, False)
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = str(ipaddress.IPv6Address(host[1:-1]))
    elif host != "localhost":
        # No names: what a name stands for may change, and with it who can reach the address.
        host = str(ipaddress.IPv4Address(host))
    if not colon or not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError(text)
    return Address(host, int(port))


def check_address(text: str, *, public: bool) -> Address:
    """The address that ``http`` names, if it may be listened at.

    Raises
    ------
    UsageError
        Other machines can reach it, and nobody has said that they may.
    """
    address = parse_address(text)
    if not (public or address.is_loopback):
        raise UsageError(
            f"http: found {address}, which other machines can reach, accepted: 127.0.0.1, [::1] or"
            " localhost with a port, or http_public = true"
        )
    return address


def read_token(file: Path | None) -> str | None:
    """The token that clients must send: the environment's, else the file's, else None.

    Raises
    ------
    UsageError
        The file cannot be read, or what was found is no token. It is never repeated.
    """
    found = os.environ.get(TOKEN_VARIABLE)
    place = f"environment {TOKEN_VARIABLE}"
    if not found:
        if file is None:
            return None
        place = f"http_token_file: {file}"
        try:
            with file.open("rb") as opened:
                found = opened.read(LONGEST_TOKEN + 2).decode("ascii").strip()
        except OSError as error:
            raise UsageError(
                f"{place}: {error.strerror}, accepted: a readable file with a token"
            ) from None
        except UnicodeDecodeError:
            found = ""
    if not (SHORTEST_TOKEN <= len(found) <= LONGEST_TOKEN and _is_printable(found)):
        raise UsageError(
            f"{place}: found no token, accepted: {SHORTEST_TOKEN} to {LONGEST_TOKEN} printable"
            " ASCII characters without spaces"
        )
    return found


def _is_printable(text: str) -> bool:
    return all("!" <= character <= "~" for character in text)
