"""What a Kafka URI says: brokers, topic, group, security.

In: ``kafka://host:port[,host:port]/topic?name=value&...`` and, for SASL, user name and password
from the environment or from files that it names. Out: `KafkaSettings`, from which every client is
made. It is here so that a wrong URI is found, and said in one line, before anything is connected
to.
"""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from ihomer.errors import UsageError

SCHEME = "kafka://"
DEFAULT_PORT = 9092
USERNAME_VARIABLE = "IHOMER_KAFKA_USERNAME"
PASSWORD_VARIABLE = "IHOMER_KAFKA_PASSWORD"  # noqa: S105 - the name of a variable, no password
FILE_SUFFIX = "_FILE"  # with it, either variable names a file instead
_LONGEST_CREDENTIAL = 4096

SECURITY_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
SASL_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
COMPRESSIONS = ("none", "gzip", "snappy", "lz4", "zstd")

_COMMON = ("client_id", "security_protocol", "sasl_mechanism", "ssl_cafile")
FORMATS = ("json", "avro", "protobuf")
SOURCE_PARAMETERS = ("group", "session_timeout_ms", "format", *_COMMON)
SINK_PARAMETERS = ("compression", *_COMMON)
ALL_PARAMETERS = ("group", "session_timeout_ms", "format", "compression", *_COMMON)

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[\w.-]+)(?::(.*))?")
_SECRET = re.compile(r"passw|secret|token|user|credential|jaas", re.IGNORECASE)
_HEARTBEAT_MS = 1000  # the members hear of a hand-over with their next heartbeat


@dataclass(frozen=True)
class KafkaSettings:
    """Where a topic is and how to get at it.

    Attributes
    ----------
    bootstrap
        ``host:port`` of brokers to start from; IPv6 hosts in brackets.
    topic
        Name of the topic; empty only where a URI without one was allowed.
    group
        Consumer group.
    session_timeout_ms
        After this time without a heartbeat the others of the group take over.
    compression
        Of what is written: ``"none"``, ``"gzip"``, ``"snappy"``, ``"lz4"`` or ``"zstd"``.
    format
        Of the values that are read: ``"json"``, or ``"avro"`` or ``"protobuf"``, for which there
        has to be a decoder of the user's.
    client_id
        Name of this client in the broker's log.
    security_protocol, sasl_mechanism, ssl_cafile
        As in Kafka's own configuration. User name and password are not here but in the
        environment, or in files that it names.
    """

    bootstrap: tuple[str, ...]
    topic: str = ""
    group: str = "ihomer"
    session_timeout_ms: int = 10_000
    compression: str = "none"
    format: str = "json"
    client_id: str = "ihomer"
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    ssl_cafile: str | None = None

    @property
    def address(self) -> str:
        """The brokers as they stand in messages."""
        return ",".join(self.bootstrap)

    @property
    def heartbeat_ms(self) -> int:
        """Time between heartbeats: a third of the session at most, as Kafka advises."""
        return min(_HEARTBEAT_MS, self.session_timeout_ms // 3)

    def client_options(self) -> dict[str, Any]:
        """Arguments that all of kafka-python's clients share.

        Raises
        ------
        UsageError
            SASL is asked for and there is no user name or password, in the environment or in
            the files that it names.
        """
        options: dict[str, Any] = {
            "bootstrap_servers": list(self.bootstrap),
            "client_id": self.client_id,
            "security_protocol": self.security_protocol,
            "ssl_cafile": self.ssl_cafile,
            # After an outage the client should be back soon, not after its default of 30 s.
            "reconnect_backoff_max_ms": 5000,
        }
        if self.sasl_mechanism is not None:
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = _credential(USERNAME_VARIABLE, self.address)
            options["sasl_plain_password"] = _credential(PASSWORD_VARIABLE, self.address)
        return options


def _credential(name: str, address: str) -> str:
    """What the variable `name` says, else the first line of the file that ``name_FILE`` names."""
    value = os.environ.get(name)
    if value:
        return value
    named = name + FILE_SUFFIX
    path = os.environ.get(named)
    if not path:
        raise UsageError(
            f"kafka://{address}: SASL is asked for, set {name} in the environment, or {named} to"
            " the path of a file that holds it"
        )
    try:
        with Path(path).open(encoding="utf-8") as opened:
            value = opened.read(_LONGEST_CREDENTIAL + 1).rstrip("\r\n")
    except OSError as error:
        raise UsageError(f"environment {named}: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        value = ""
    if not (value.isprintable() and 0 < len(value) <= _LONGEST_CREDENTIAL):
        raise UsageError(
            f"environment {named}: {path}: found no credential, accepted: one line of 1 to"
            f" {_LONGEST_CREDENTIAL} characters in UTF-8"
        )
    return value


def parse_uri(
    uri: str, accepted: tuple[str, ...] = ALL_PARAMETERS, *, needs_topic: bool = True
) -> KafkaSettings:
    """Read a Kafka URI.

    Parameters
    ----------
    uri
        ``kafka://host:port[,host:port]/topic?name=value&...``; the port may be left out (9092).
    accepted
        Names of the parameters that mean something here.
    needs_topic
        Whether a URI that names no topic is refused.

    Raises
    ------
    UsageError
        Anything in it is missing, unknown or impossible, or it holds a password.

    Examples
    --------
    >>> settings = parse_uri("kafka://127.0.0.1:9092,[::1]/events?group=fraud")
    >>> settings.bootstrap, settings.topic, settings.group
    (('127.0.0.1:9092', '[::1]:9092'), 'events', 'fraud')
    """
    if not uri.lower().startswith(SCHEME):
        raise UsageError(f"{_shown(uri)}: no Kafka URI, accepted: kafka://host:port/topic")
    rest, _, query = uri[len(SCHEME) :].partition("?")
    hosts, _, path = rest.partition("/")
    if "@" in rest:
        raise UsageError(
            f"{_shown(uri)}: user name and password do not belong in a URI; set"
            f" {USERNAME_VARIABLE} and {PASSWORD_VARIABLE} in the environment"
        )
    if "#" in uri:
        raise UsageError(f"{_shown(uri)}: a Kafka URI has no fragment (#)")
    parameters = _parameters(uri, query, accepted)
    return KafkaSettings(
        bootstrap=tuple(_host(uri, host) for host in hosts.split(",")),
        topic=_topic(uri, unquote(path), needed=needs_topic),
        **_checked(uri, parameters),
    )


def _shown(uri: str) -> str:
    """The URI as it may be repeated: printable, short, without parameters and credentials."""
    scheme, separator, rest = uri.partition("://")
    # A password may hold any of the characters that end something in a URI.
    rest = re.split(r"[?#]", rest.rpartition("@")[2], maxsplit=1)[0]
    shown = "".join(c if c.isprintable() else "?" for c in scheme + separator + rest)
    return shown if len(shown) <= 200 else shown[:197] + "..."


def _host(uri: str, text: str) -> str:
    found = _HOST.fullmatch(text.strip())
    if found is None:
        raise UsageError(
            f"{_shown(uri)}: host {text!r} cannot be read, accepted: host:port, IPv6 as [::1]:9092"
        )
    host, port = found[1], found[2]
    if port is None:
        return f"{host}:{DEFAULT_PORT}"
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise UsageError(f"{_shown(uri)}: port {port!r} of {host!r}, accepted: 1 to 65535")
    return f"{host}:{int(port)}"


def _topic(uri: str, text: str, *, needed: bool) -> str:
    topic = text.removesuffix("/")
    if not topic and not needed:
        return ""
    if not topic:
        raise UsageError(f"{_shown(uri)}: the topic is missing, accepted: kafka://host:port/topic")
    if _TOPIC.fullmatch(topic) is None or topic in {".", ".."}:
        raise UsageError(
            f"{_shown(uri)}: topic {topic!r}, accepted: up to 249 letters, digits, '.', '_', '-'"
        )
    return topic


def _parameters(uri: str, query: str, accepted: tuple[str, ...]) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if _SECRET.search(name) or "@" in name:
            raise UsageError(
                f"{_shown(uri)}: credentials do not belong in a URI or its parameters; set"
                f" {USERNAME_VARIABLE} and {PASSWORD_VARIABLE} in the environment"
            )
        if name not in accepted:
            raise UsageError(
                f"{_shown(uri)}: unknown parameter {name!r}, accepted: {', '.join(accepted)}"
            )
        if name in parameters:
            raise UsageError(f"{_shown(uri)}: parameter {name} is given twice")
        if not value:
            raise UsageError(f"{_shown(uri)}: parameter {name} has no value")
        parameters[name] = value
    return parameters


def _checked(uri: str, given: dict[str, str]) -> dict[str, Any]:
    checked: dict[str, Any] = dict(given)
    shown = _shown(uri)
    timeout = given.get("session_timeout_ms")
    if timeout is not None:
        if not (timeout.isascii() and timeout.isdigit() and 1000 <= int(timeout) <= 1_800_000):
            raise UsageError(
                f"{shown}: session_timeout_ms={timeout!r}, accepted: 1000 to 1800000 (and within"
                " the broker's limits, by default 6000 and more)"
            )
        checked["session_timeout_ms"] = int(timeout)
    _one_of(shown, given, "compression", COMPRESSIONS)
    _one_of(shown, given, "format", FORMATS)
    _one_of(shown, given, "security_protocol", SECURITY_PROTOCOLS)
    _one_of(shown, given, "sasl_mechanism", SASL_MECHANISMS)
    protocol = given.get("security_protocol", "PLAINTEXT")
    if protocol.startswith("SASL") != ("sasl_mechanism" in given):
        raise UsageError(
            f"{shown}: security_protocol={protocol}"
            f" {'needs' if protocol.startswith('SASL') else 'does not go with'} sasl_mechanism,"
            f" accepted: SASL_PLAINTEXT or SASL_SSL with one of {', '.join(SASL_MECHANISMS)}"
        )
    authorities = given.get("ssl_cafile")
    if authorities is not None:
        if not protocol.endswith("SSL"):
            raise UsageError(f"{shown}: ssl_cafile goes with security_protocol=SSL or SASL_SSL")
        try:
            ssl.create_default_context(cafile=authorities)
        except OSError as error:  # includes ssl.SSLError
            raise UsageError(
                f"{shown}: ssl_cafile={authorities!r} cannot be used: {error};"
                " accepted: a file of certificates in PEM format"
            ) from None
    return checked


def _one_of(shown: str, given: dict[str, str], name: str, accepted: tuple[str, ...]) -> None:
    value = given.get(name)
    if value is not None and value not in accepted:
        raise UsageError(f"{shown}: {name}={value!r}, accepted: {', '.join(accepted)}")
