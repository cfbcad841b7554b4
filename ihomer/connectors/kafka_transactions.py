"""A transactional producer: outputs, a journal entry and offsets, together or not at all.

In: messages by topic, the bytes of a journal entry, offsets. Out: the entry's offset once all is
committed, or one of two exceptions that say what is known: `FencedError`, somebody else has the
transactional id; `UnknownOutcomeError`, nobody can say, and only the journal's end tells. It is
here because the client reports a lost commit, a full one and one that never was in the same words.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kafka import KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.errors import (
    AuthorizationError,
    InvalidProducerEpochError,
    KafkaError,
    KafkaTimeoutError,
    ProducerFencedError,
)

from ihomer import faults
from ihomer.connectors.base import Message
from ihomer.connectors.kafka_client import TIMEOUT_S, connect, require_topic
from ihomer.connectors.kafka_ranges import Offsets
from ihomer.connectors.kafka_records import (
    MAX_RECORD_BYTES,
    RECORD_OVERHEAD,
    cut,
    send,
    sendable,
    size_of,
)
from ihomer.connectors.kafka_settings import KafkaSettings
from ihomer.errors import InputError, UnavailableError, UsageError

log = logging.getLogger(__name__)

TRANSACTION_S = 60.0
_DELIVERY_S = 45.0
_REQUEST_S = 15.0
_BATCH_BYTES = 1 << 18
_FENCED = ("ProducerFencedError", "InvalidProducerEpochError")


class FencedError(Exception):
    """Another producer has taken the transactional id over, or the broker has given us up."""


class UnknownOutcomeError(Exception):
    """The transaction may have been committed or not."""


class Output(NamedTuple):
    """A message and the topic that it goes to."""

    topic: str
    message: Message


def output_size(output: Output) -> int:
    """Bytes that an output holds, about: key and value of its message, and its own fields."""
    message = output.message
    return RECORD_OVERHEAD + len(message.value or b"") + len(message.key or b"")


class Topic(NamedTuple):
    """Where outputs go.

    Attributes
    ----------
    settings
        Of the cluster, with the topic's name.
    truncate
        Whether a message that is too large is cut (dead letters) or an error.
    """

    settings: KafkaSettings
    truncate: bool = False


def is_fenced(error: BaseException) -> bool:
    """Whether the client says, in one of its ways, that this producer is fenced.

    >>> is_fenced(ProducerFencedError()), is_fenced(KafkaError("[Error 90] ProducerFencedError"))
    (True, True)
    >>> is_fenced(KafkaError("RequestTimedOutError"))
    False
    """
    if isinstance(error, ProducerFencedError | InvalidProducerEpochError):
        return True
    text = str(error).rstrip("()' ")
    return text.endswith(_FENCED) or any(f"{name}:" in text for name in _FENCED)


class Transactions:
    """One producer with a transactional id; see the module.

    Parameters
    ----------
    settings
        Brokers, security and compression.
    transactional_id
        Fences everybody else who has it.
    topics
        Where outputs may go, by name.
    journal
        Name of the journal's topic and the partition in it.
    group
        The offsets' group; it has no members.

    Raises
    ------
    UsageError, UnavailableError
        A topic is missing, or no broker answers.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        transactional_id: str,
        topics: Mapping[str, Topic],
        journal: tuple[str, int],
        group: str,
    ) -> None:
        self._settings = settings
        self._id = transactional_id
        self._topics = topics
        self._journal = journal
        self._group = group
        self._producer: Any = None
        self._partitions: dict[str, int] = {}
        self._limits: dict[str, int] = {}

    def open(self) -> None:
        """Take the transactional id: what others have left open with it is aborted.

        Raises
        ------
        UsageError
            A topic of the outputs does not exist.
        UnavailableError
            No broker answers in time, or we may not use the transactional id.
        """
        self.close()
        for name, topic in self._topics.items():
            found = require_topic(topic.settings)
            self._partitions[name] = found.partitions
            self._limits[name] = min(MAX_RECORD_BYTES, found.max_message_bytes or MAX_RECORD_BYTES)
        compression = self._settings.compression
        try:
            self._producer = connect(
                KafkaProducer,
                self._settings,
                TIMEOUT_S,
                transactional_id=self._id,
                transaction_timeout_ms=round(1000 * TRANSACTION_S),
                delivery_timeout_ms=round(1000 * _DELIVERY_S),
                request_timeout_ms=round(1000 * _REQUEST_S),
                max_block_ms=round(1000 * TRANSACTION_S),
                max_request_size=MAX_RECORD_BYTES,
                batch_size=min([_BATCH_BYTES, *self._limits.values()]),
                linger_ms=5,
                compression_type=None if compression == "none" else compression,
                metrics_enabled=False,
            ).client
            self._producer.init_transactions()
        except RuntimeError as error:
            raise UsageError(
                f"kafka://{self._settings.address}: compression={compression}: {error}"
            ) from None
        except KafkaError as error:
            self.close()
            raise UnavailableError(
                f"kafka://{self._settings.address}: transactional id {self._id} cannot be had:"
                f" {error}"
            ) from None

    def fitted(self, outputs: Sequence[Output]) -> list[Output]:
        """`outputs` with dead letters cut to what their topic takes.

        Raises
        ------
        InputError
            Something else is too large.
        """
        found: list[Output] = []
        for output in outputs:
            topic, message = output
            limit = self._limits[topic]
            if size_of(message) <= limit and message.value is not None:
                found.append(output)  # as nearly all are
                continue
            message = sendable(message)
            if size_of(message) > limit:
                shorter = cut(message, limit) if self._topics[topic].truncate else None
                if shorter is None:
                    raise InputError(
                        f"kafka://{self._settings.address}/{topic}: a message of"
                        f" {len(message.value or b'')} bytes and its key and headers are too"
                        f" large, accepted: {limit} bytes together"
                    )
                message = shorter
            found.append(Output(topic, message))
        return found

    def commit(self, outputs: Sequence[Output], entry: bytes, offsets: Offsets) -> int:
        """Commit one transaction; it may block for as long as the brokers are away.

        Parameters
        ----------
        outputs
            From `fitted`; each goes to partition ``origin mod (partitions of its topic)``.
        entry
            The journal's.
        offsets
            Sent to the group, for tools that show lag.

        Returns
        -------
        int
            Offset of the entry.

        Raises
        ------
        FencedError, UnknownOutcomeError
            See the module.
        """
        producer = self._producer
        if producer is None:
            raise UnknownOutcomeError("no producer")
        futures: list[Any] = []
        try:
            producer.begin_transaction()
            half = len(outputs) // 2
            for number, (topic, message) in enumerate(outputs):
                if number == half:
                    faults.reach("mid-produce")
                futures.append(send(producer, topic, message, self._partitions[topic]))
            topic, slot = self._journal
            written = producer.send(topic, value=entry, partition=slot)
            faults.reach("before-offsets")
            if offsets:
                producer.send_offsets_to_transaction(_places(offsets), self._group)
            faults.reach("before-commit")
            producer.commit_transaction()
        except AuthorizationError as error:
            raise UnavailableError(
                f"kafka://{self._settings.address}: transactional id {self._id} or group"
                f" {self._group} may not be used: {error}"
            ) from None
        except (KafkaError, ValueError) as error:
            # ValueError: a topic is no longer there.
            if is_fenced(error):
                raise FencedError(str(error)) from None
            raise UnknownOutcomeError(f"{type(error).__name__}: {error}") from None
        # The call has returned; after some errors it does so although nothing was committed.
        for future in (*futures, written):
            if not future.is_done:
                raise UnknownOutcomeError("a record was not acknowledged")
            if future.failed():
                if is_fenced(future.exception):
                    raise FencedError(str(future.exception))
                raise UnknownOutcomeError(f"a record was refused: {future.exception}")
        faults.reach("after-commit")
        return int(written.value.offset)

    def close(self) -> None:
        """Let go of the producer; what is open is aborted by the next `open`, or times out."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            producer.close(timeout=0)
        except KafkaTimeoutError:
            # The client's close gives up, its thread running, while anything is under way.
            producer._sender.force_close()
            producer._sender.join(1)


def _places(offsets: Offsets) -> dict[Any, Any]:
    return {
        TopicPartition(topic, partition): OffsetAndMetadata(offset, "", -1)
        for topic, at in offsets.items()
        for partition, offset in at.items()
    }
