"""A Kafka topic as a sink.

In: `Message` objects. Out: records of a topic, acknowledged by all replicas. It is here so that
predictions and dead letters are on the broker before anybody commits the events that they answer.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError

from ihomer.connectors.base import QUEUE_BYTES, Message, Sink
from ihomer.connectors.kafka_client import TIMEOUT_S, connect, require_topic
from ihomer.connectors.kafka_records import MAX_RECORD_BYTES, RECORD_OVERHEAD, cut, send, sendable
from ihomer.connectors.kafka_settings import SINK_PARAMETERS, KafkaSettings, parse_uri
from ihomer.errors import UnavailableError, UsageError

log = logging.getLogger(__name__)

DELIVERY_S = 120.0
CLOSE_S = 4.0

_LINGER_MS = 5
_BATCH_BYTES = 1 << 16
_REQUEST_S = 30.0
# The client keeps what is not acknowledged without bound; we do not.
_PENDING_MESSAGES = 20_000


class KafkaSink(Sink):
    """Records of one topic.

    A message goes to partition ``origin mod n`` (n = the topic's partitions at the start), so
    what comes from one input partition stays in its order. A message with neither key nor value,
    which the client refuses to send, is sent with an empty value.

    Parameters
    ----------
    settings
        Brokers, topic, compression, security.
    timeout_s
        Seconds until the brokers must have answered at the start.
    delivery_s
        Seconds until a message must have been acknowledged.
    truncate
        What happens to a message that is larger than the topic takes, or than 1 MiB: False = an
        error, True (for dead letters) = its value is cut and the header ``ihomer.truncated``
        tells how many bytes it had.
    queue_bytes
        How much may be under way before a write waits for all of it.

    Raises
    ------
    UsageError
        There is no such topic, the compression's library is not installed, or credentials are
        missing.
    UnavailableError
        No broker answers in time.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        timeout_s: float = TIMEOUT_S,
        delivery_s: float = DELIVERY_S,
        *,
        truncate: bool = False,
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        self.name = settings.topic
        self._settings = settings
        self._delivery_s = delivery_s
        self._truncate = truncate
        self._queue_bytes = queue_bytes
        self._closed = False
        self._pending: list[Any] = []
        self._pending_bytes = 0
        # Before the client hears the topic's name: it may create what it asks for.
        topic = require_topic(settings, timeout_s)
        self._partitions = topic.partitions
        # The client retires for good when the broker refuses a message as too large, so none that
        # is may reach it. A batch must fit as well.
        self._limit = min(MAX_RECORD_BYTES, topic.max_message_bytes or MAX_RECORD_BYTES)
        request_s = min(_REQUEST_S, delivery_s / 2)
        try:
            self._producer = connect(
                KafkaProducer,
                settings,
                timeout_s,
                acks="all",
                enable_idempotence=True,
                linger_ms=_LINGER_MS,
                batch_size=min(_BATCH_BYTES, self._limit),
                compression_type=None if settings.compression == "none" else settings.compression,
                max_request_size=self._limit,
                request_timeout_ms=round(1000 * request_s),
                delivery_timeout_ms=round(1000 * delivery_s),
                max_block_ms=round(1000 * timeout_s),
                metrics_enabled=False,
            ).client
        except RuntimeError as error:
            # The client says so when the codec's library is missing.
            raise UsageError(
                f"{self._where()}: compression={settings.compression}: {error}"
            ) from None
        try:
            # Or the first write would wait for what a broker that is away by then cannot tell.
            self._producer.partitions_for(self.name)
        except KafkaError as error:
            self._shut()
            raise UnavailableError(f"{self._where()}: cannot be written: {error}") from None

    @classmethod
    def from_uri(
        cls,
        uri: str,
        timeout_s: float = TIMEOUT_S,
        delivery_s: float = DELIVERY_S,
        *,
        truncate: bool = False,
        queue_bytes: int = QUEUE_BYTES,
    ) -> KafkaSink:
        """Open the topic of ``kafka://host:port[,host:port]/topic?name=value&...``.

        Parameters
        ----------
        uri
            Its parameters: ``compression`` (``none``; ``gzip``, and with their libraries
            ``snappy``, ``lz4``, ``zstd``), ``client_id``, ``security_protocol``,
            ``sasl_mechanism``, ``ssl_cafile``; user name and password as for `KafkaSource`.
        timeout_s, delivery_s, truncate, queue_bytes
            As for `KafkaSink`.
        """
        return cls(
            parse_uri(uri, SINK_PARAMETERS),
            timeout_s,
            delivery_s,
            truncate=truncate,
            queue_bytes=queue_bytes,
        )

    def partitions(self) -> int:
        """Number of partitions that messages are spread over."""
        return self._partitions

    def write(self, messages: Sequence[Message]) -> None:
        """Hand over `messages`; waits for acknowledgements when too much is under way.

        Raises
        ------
        UnavailableError
            A message is too large, or an earlier one was not acknowledged.
        """
        for message in messages:
            message = sendable(message)
            self._send(message)
            self._pending_bytes += len(message.value or b"") + RECORD_OVERHEAD
            if len(self._pending) >= _PENDING_MESSAGES or self._pending_bytes >= self._queue_bytes:
                self.flush()

    def _send(self, message: Message) -> None:
        try:
            self._pending.append(send(self._producer, self.name, message, self._partitions))
        except MessageSizeTooLargeError:
            shorter = cut(message, self._limit) if self._truncate else None
            if shorter is None:
                raise UnavailableError(
                    f"{self._where()}: a message of {len(message.value or b'')} bytes and its key"
                    f" and headers are too large, accepted: {self._limit} bytes together"
                ) from None
            self._send(shorter)
        except (KafkaError, ValueError) as error:
            # ValueError: the topic or its partition is no longer there.
            raise UnavailableError(f"{self._where()}: cannot be written: {error}") from None

    def flush(self) -> None:
        """Return when every message is acknowledged by all replicas in sync.

        Raises
        ------
        UnavailableError
            One was refused, or not acknowledged within `delivery_s`.
        """
        # The client gives up by itself after its delivery time-out; ours only guards that.
        self._wait(self._delivery_s + 5.0)

    def queued(self) -> tuple[int, int]:
        """See `Sink.queued`."""
        return len(self._pending), self._pending_bytes

    def _wait(self, seconds: float) -> None:
        pending, self._pending = self._pending, []
        self._pending_bytes = 0
        if not pending:
            return
        reason: object = f"no acknowledgement within {seconds:g} s"
        try:
            self._producer.flush(timeout=seconds)
        except KafkaTimeoutError:
            log.debug("%s: flush timed out", self.name)
        failed = 0
        for future in pending:
            if not future.is_done:
                failed += 1
            elif future.failed():
                failed += 1
                reason = future.exception
        if failed:
            raise UnavailableError(
                f"{self._where()}: {failed} of {len(pending)} messages were not acknowledged:"
                f" {reason}"
            )

    def close(self) -> None:
        """Wait a few seconds for what is under way, then close the connections.

        Raises
        ------
        UnavailableError
            Something was not acknowledged; the sink is closed all the same.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self._wait(CLOSE_S)
        finally:
            self._shut()

    def _shut(self) -> None:
        try:
            self._producer.close(timeout=1)
        except KafkaTimeoutError:
            # The client's close gives up, its thread running, while anything is under way.
            self._producer._sender.force_close()
            self._producer._sender.join(1)
            self._producer.close(timeout=1)

    def _where(self) -> str:
        return f"kafka://{self._settings.address}/{self.name}"
