"""Connections to Kafka that come up within a bounded time or say why not.

In: `KafkaSettings`. Out: one of kafka-python's clients, or `UnavailableError` with the reason;
and what a cluster says of itself. It is here because the client itself ends every failed start
with the same "Unable to bootstrap" and leaves the reason in its log and a thread running.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import AuthorizationError, KafkaError
from kafka.net.compat import KafkaNetClient

from ihomer.connectors.kafka_settings import KafkaSettings, parse_uri
from ihomer.errors import UnavailableError, UsageError

log = logging.getLogger(__name__)

TIMEOUT_S = 10.0
TOPICS_LISTED = 10


class _LogTap(logging.Handler):
    """Keeps what the client logs from WARNING up, while it is entered."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self._logger = logging.getLogger("kafka")

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line; a client that retries for long must not fill the memory."""
        if len(self.lines) < 1000:
            self.lines.append(record.getMessage())

    def __enter__(self) -> _LogTap:
        logger = self._logger
        self._before = (logger.level, logger.propagate)
        # The reason is told in one line of ours; who wants every attempt as well asks for DEBUG.
        if logger.getEffectiveLevel() > logging.WARNING:
            logger.setLevel(logging.WARNING)
        logger.propagate = logger.getEffectiveLevel() <= logging.DEBUG
        logger.addHandler(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(self._before[0])
        self._logger.propagate = self._before[1]


class Connection(NamedTuple):
    """A client of kafka-python and the network client inside it."""

    client: Any
    network: KafkaNetClient


def connect(
    build: Callable[..., Any], settings: KafkaSettings, timeout_s: float, **options: Any
) -> Connection:
    """Make a client, or fail in time and with the reason.

    Parameters
    ----------
    build
        `KafkaConsumer`, `KafkaProducer` or `KafkaAdminClient`.
    settings
        Where to, and as whom.
    timeout_s
        Seconds until the brokers must have answered.
    options
        Further arguments of `build`.

    Raises
    ------
    UnavailableError
        No broker answers or lets us in; names the address and the reason.
    UsageError
        Credentials are missing in the environment.
    """
    networks: list[KafkaNetClient] = []

    def network(**configuration: Any) -> KafkaNetClient:
        networks.append(KafkaNetClient(**configuration))
        return networks[0]

    shared = settings.client_options()
    with _LogTap() as tap:
        try:
            client = build(
                kafka_client=network,
                bootstrap_timeout_ms=round(timeout_s * 1000),
                **shared,
                **options,
            )
        except KafkaError as error:
            # The constructor that failed has left its thread and its sockets behind.
            for left in networks:
                left.close()
            reason = explain([*tap.lines, str(error)], settings)
            raise UnavailableError(
                f"Kafka at {settings.address} is not available (tried for {timeout_s:g} s):"
                f" {reason}"
            ) from None
    return Connection(client, networks[0])


def explain(lines: list[str], settings: KafkaSettings) -> str:
    """The reason for a failed start, dug out of what the client has logged.

    Parameters
    ----------
    lines
        Its lines, oldest first, the error that it raised last.
    settings
        Tell whether credentials were sent, and how.

    Examples
    --------
    >>> here = KafkaSettings(("localhost:9092",))
    >>> explain(["Connection failed: KafkaConnectionError: 111 ECONNREFUSED"], here)
    'connection refused (nothing listens there)'
    """
    text = "\n".join(lines)
    name = re.search(r"DNS lookup failed for (\S+?),", text)
    if name is not None:
        return f"the name {name[1].rpartition(':')[0]} cannot be resolved"
    certificate = re.search(r"certificate verify failed:? ?([^\n]*?)(?: \(_ssl|\n|$)", text)
    if certificate is not None:
        # A certificate for another host is trusted, so another file of authorities is no help.
        mend = (
            "name the broker as its certificate does"
            if "mismatch" in certificate[1]
            else "ssl_cafile=FILE names the certificates to trust"
        )
        return f"its certificate is not accepted: {certificate[1].rstrip('.')} ({mend})"
    if "UnsupportedSaslMechanism" in text:
        return f"it does not offer sasl_mechanism={settings.sasl_mechanism}"
    if re.search(r"Authentication ?Failed|authentication failed", text, re.IGNORECASE):
        return "authentication failed: wrong user name or password"
    if "SSL:" in text:
        return f"no TLS handshake there; is security_protocol={settings.security_protocol} right?"
    if "ECONNREFUSED" in text:
        return "connection refused (nothing listens there)"
    if "socket disconnected" in text and settings.sasl_mechanism is not None:
        # Brokers hang up on a failed login, often before their reason is read.
        return (
            "it closed the connection during authentication: wrong user name or password, or it"
            f" does not take sasl_mechanism={settings.sasl_mechanism} and"
            f" security_protocol={settings.security_protocol} there"
        )
    if "socket disconnected" in text:
        return (
            "it closed the connection; does it want another security_protocol than"
            f" {settings.security_protocol}?"
        )
    if "Timed out" in text or "timed out" in text or "ETIMEDOUT" in text:
        return "no answer"
    return lines[-1] if lines else "no answer"


@contextmanager
def administration(settings: KafkaSettings, timeout_s: float = TIMEOUT_S) -> Iterator[Connection]:
    """A client for questions about the cluster, closed at the end.

    Raises
    ------
    UnavailableError
        As `connect`, and when a question fails.
    """
    milliseconds = round(timeout_s * 1000)
    connection = connect(
        KafkaAdminClient, settings, timeout_s, request_timeout_ms=max(milliseconds, 1)
    )
    try:
        yield connection
    except KafkaError as error:
        raise UnavailableError(f"Kafka at {settings.address} does not answer: {error}") from None
    finally:
        connection.client.close()


def topics_of(connection: Connection) -> dict[str, int]:
    """Partitions per topic that we may see, internal topics left out.

    All topics are asked for, never one by its name: that question would create the topic on a
    broker that is so configured, whatever the client's own setting says.
    """
    return {
        topic["name"]: len(topic["partitions"])
        for topic in connection.client.describe_topics()
        if not topic["error_code"] and not topic["is_internal"]
    }


class Topic(NamedTuple):
    """What must be known of a topic before it is read or written.

    Attributes
    ----------
    partitions
        Their number.
    max_message_bytes
        The largest batch that it takes; None where we may not know.
    """

    partitions: int
    max_message_bytes: int | None


def require_topic(settings: KafkaSettings, timeout_s: float = TIMEOUT_S) -> Topic:
    """The settings' topic, which must exist.

    Raises
    ------
    UsageError
        There is no such topic; names up to ten that exist.
    UnavailableError
        The cluster does not answer.
    """
    with administration(settings, timeout_s) as connection:
        topics = topics_of(connection)
        if settings.topic not in topics:
            raise UsageError(missing_topic(settings, sorted(topics)))
        return Topic(topics[settings.topic], _max_message_bytes(connection, settings.topic))


def _max_message_bytes(connection: Connection, topic: str) -> int | None:
    key = "max.message.bytes"
    asked = ConfigResource(ConfigResourceType.TOPIC, topic, [key])
    try:
        answer = connection.client.describe_configs([asked], config_filter="all")
        return int(answer["topic"][topic][key]["value"])
    except (AuthorizationError, KeyError):
        # Writing needs no right to read the configuration; without it we go by the default.
        log.debug("%s of topic %s is not ours to know", key, topic)
        return None


def missing_topic(settings: KafkaSettings, existing: list[str]) -> str:
    """One line that says that the topic is not there and what is."""
    if not existing:
        there = "there is none that we may see"
    else:
        there = "there is " + ", ".join(existing[:TOPICS_LISTED])
        if len(existing) > TOPICS_LISTED:
            there += f" and {len(existing) - TOPICS_LISTED} more"
    return f"kafka://{settings.address}/{settings.topic}: no topic {settings.topic!r}; {there}"


@dataclass(frozen=True)
class ClusterReport:
    """What a cluster says of itself, or why it says nothing.

    Attributes
    ----------
    address
        Where it was looked for.
    reason
        Why there is no answer, or None; then the rest is empty.
    cluster_id, brokers, topics
        Its id, ``host:port`` of its brokers, partitions per topic.
    api_version
        Kafka's version as the client infers it from the broker's interfaces, such as (4, 1).
    """

    address: str
    reason: str | None = None
    cluster_id: str = ""
    brokers: tuple[str, ...] = ()
    topics: dict[str, int] | None = None
    api_version: tuple[int, ...] = ()


def describe(uri: str, timeout_s: float = 5.0) -> ClusterReport:
    """Ask a cluster what it is; an outage is an answer, not an error.

    Parameters
    ----------
    uri
        As for a source or a sink; the topic may be left out.
    timeout_s
        Seconds to wait for an answer.

    Raises
    ------
    UsageError
        The URI is wrong or credentials are missing.
    """
    settings = parse_uri(uri, needs_topic=False)
    try:
        with administration(settings, timeout_s) as connection:
            cluster = connection.client.describe_cluster()
            return ClusterReport(
                address=settings.address,
                cluster_id=str(cluster["cluster_id"]),
                brokers=tuple(f"{b['host']}:{b['port']}" for b in cluster["brokers"]),
                topics=topics_of(connection),
                api_version=tuple(connection.network.get_broker_version()),
            )
    except UnavailableError as error:
        return ClusterReport(address=settings.address, reason=str(error))
