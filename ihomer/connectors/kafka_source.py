"""A Kafka topic as a source, as a member of a consumer group.

In: a URI, ``kafka://host:port[,host:port]/topic?group=NAME``. Out: `Record` objects, and the
group's offsets, committed when told so and never before. It is here so that the daemon is one
more member of a group that Kafka's own tools can watch and move.

Delivery is at least once, and the reason is this order: partitions are given up only inside
`KafkaSource.next_batch`. Whoever commits what it has finished before it asks for the next batch
hands over exactly; whoever does not has the rest done again by the next owner.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    AuthorizationError,
    CommitFailedError,
    IllegalGenerationError,
    InconsistentGroupProtocolError,
    InvalidSessionTimeoutError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    RebalanceInProgressError,
    RetriableError,
    SaslAuthenticationFailedError,
    UnknownMemberIdError,
)

from ihomer.connectors.base import Position, Record, Source
from ihomer.connectors.kafka_client import TIMEOUT_S, connect, require_topic
from ihomer.connectors.kafka_records import UNREADABLE, record_of, unreadable
from ihomer.connectors.kafka_settings import SOURCE_PARAMETERS, KafkaSettings, parse_uri
from ihomer.connectors.kafka_watch import TopicWatch
from ihomer.errors import InputError, UnavailableError, UsageError

log = logging.getLogger(__name__)

CLOSE_S = 3.0
COMMIT_S = 5.0
_REQUEST_MS = 30_000
_METADATA_MS = 30_000

_MEMBERSHIP_LOST = (
    CommitFailedError,
    IllegalGenerationError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python ships no types
    """Tells the source what it has been given and what was taken away.

    The client calls it on its own thread, but only while `poll` or `close` holds the caller's, so
    what it changes is never looked at meanwhile.
    """

    def __init__(self, source: KafkaSource) -> None:
        self._source = source

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """Forget the partitions; their offsets are the next owner's from now on."""
        self._source._take_away(sorted(p.partition for p in revoked))

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """Start the partitions where `KafkaSource.seek` said, or where the group has been."""
        self._source._give(sorted(p.partition for p in assigned))


class KafkaSource(Source):
    """The records of one topic, shared with the other members of a consumer group.

    A partition for which the group has no committed offset starts at its beginning. After that a
    committed offset that the topic no longer has is an error, never a silent jump. Records of
    aborted transactions are not seen. Transient outages are waited out, with one warning.

    Parameters
    ----------
    settings
        Brokers, topic, group, security.
    timeout_s
        Seconds until the brokers must have answered at the start.

    Raises
    ------
    UsageError
        There is no such topic, or credentials are missing.
    UnavailableError
        No broker answers in time.
    """

    def __init__(self, settings: KafkaSettings, timeout_s: float = TIMEOUT_S) -> None:
        self.name = settings.topic
        self._settings = settings
        self._timeout_s = timeout_s
        self._closed = False
        # Per partition, while it is ours: the first offset returned, the next one, what we
        # committed last, and whether it was started at its beginning and returned nothing yet.
        self._first: dict[int, int] = {}
        self._next: dict[int, int] = {}
        self._committed: dict[int, int] = {}
        self._untouched: set[int] = set()
        self._seeks: dict[int, int] = {}
        # Before the client hears the topic's name: it may create what it asks for.
        self._partitions = require_topic(settings, timeout_s).partitions
        self._consumer, self._network = connect(
            KafkaConsumer,
            settings,
            timeout_s,
            group_id=settings.group,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="none",
            partition_assignment_strategy=[CooperativeStickyAssignor],
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_ms,
            # The client's own 305 s would let it wait that long for a broker that hangs.
            request_timeout_ms=_REQUEST_MS,
            # How soon it hears of partitions that were added and of a topic that is another one.
            metadata_max_age_ms=_METADATA_MS,
            metrics_enabled=False,
        )
        self._consumer.subscribe([settings.topic], listener=_Listener(self))
        self._await_metadata()
        self._watch = TopicWatch(settings, self._network, timeout_s)

    @classmethod
    def from_uri(cls, uri: str, timeout_s: float = TIMEOUT_S) -> KafkaSource:
        """Open the topic of ``kafka://host:port[,host:port]/topic?name=value&...``.

        Parameters
        ----------
        uri
            Its parameters: ``group`` (default ``ihomer``), ``session_timeout_ms`` (10000),
            ``client_id`` (``ihomer``), ``security_protocol`` (``PLAINTEXT``), ``sasl_mechanism``,
            ``ssl_cafile``. User name and password for SASL: `IHOMER_KAFKA_USERNAME` and
            `IHOMER_KAFKA_PASSWORD` in the environment.
        timeout_s
            Seconds until the brokers must have answered.
        """
        return cls(parse_uri(uri, SOURCE_PARAMETERS), timeout_s)

    def partitions(self) -> list[int]:
        """The partitions that are this member's now; empty before the first `next_batch`."""
        return sorted(p.partition for p in self._consumer.assignment())

    def lag(self) -> dict[tuple[str, int], int]:
        """See `Source.lag`; of the partitions that are ours, as of their last fetch."""
        behind: dict[tuple[str, int], int] = {}
        for partition in self.partitions():
            end = self._consumer.highwater(self._at(partition))
            if end is not None and partition in self._next:
                behind[self.name, partition] = max(0, end - self._next[partition])
        return behind

    def trouble(self) -> str | None:
        """See `Source.trouble`."""
        return self._watch.trouble

    def next_batch(self, max_records: int, timeout: float) -> Sequence[Record]:
        """Up to `max_records` records, in order within each partition; see `Source.next_batch`.

        Never None: a topic has no end.

        Raises
        ------
        InputError
            The group's offset is out of the topic's range, the topic is gone, or a batch of it is
            damaged or compressed in a way that cannot be read here.
        UnavailableError
            We may not read the topic or join the group.
        UsageError
            The broker refuses the session time-out or our way to share partitions.
        """
        end = time.monotonic() + timeout
        while True:
            left = max(0, round(1000 * (end - time.monotonic())))
            with self._translated():
                try:
                    polled = self._consumer.poll(timeout_ms=left, max_records=max_records)
                except NoOffsetForPartitionError as error:
                    try:
                        self._start_at_beginning(error.args[0])
                    except RetriableError as failure:
                        log.debug("beginning of %s unknown, asked again: %s", self.name, failure)
                    continue
                except OffsetOutOfRangeError as error:
                    ((at, offset),) = error.args[0].items()
                    if at.partition in self._untouched:
                        # Retention was faster than our first fetch: nothing of ours is lost.
                        self._start_at_beginning([at])
                        continue
                    raise self._out_of_range(at, offset) from None
                except RetriableError as error:
                    log.debug("poll of %s failed, tried again: %s", self.name, error)
                    polled = {}
                if not polled:
                    self._skip_markers()
            self._watch.polled(anything=bool(polled))
            return self._records(polled)

    def _records(self, polled: dict[Any, list[Any]]) -> list[Record]:
        name = self.name
        records: list[Record] = []
        for at, found in polled.items():
            partition = at.partition
            if partition not in self._first:
                self._first[partition] = found[0].offset
                self._untouched.discard(partition)
            self._next[partition] = found[-1].offset + 1
            records.extend(record_of(name, partition, each) for each in found)
        return records

    def _skip_markers(self) -> None:
        """Step over the ends of transactions, which are offsets but no records.

        Were the last of them left out, an idle topic would one day have deleted the committed
        offset although nothing was lost.
        """
        for partition in self._next:
            offset = self._consumer.position(self._at(partition), timeout_ms=0)
            if offset is not None:
                self._next[partition] = max(self._next[partition], offset)

    def position(self) -> Position:
        """``{"topic": name, "offsets": {"0": next offset, ...}}`` of what was returned so far."""
        return {
            "topic": self.name,
            "offsets": {str(partition): self._next[partition] for partition in sorted(self._next)},
        }

    def seek(self, position: Position) -> None:
        """Go to `position`, in partitions that are not ours yet as soon as they are.

        Raises
        ------
        InputError
            It is of another topic, or its partitions or offsets do not exist.
        """
        offsets = self._offsets(position)
        at = [self._at(partition) for partition in offsets]
        try:
            begins = self._consumer.beginning_offsets(at, timeout_ms=round(1000 * self._timeout_s))
            ends = self._consumer.end_offsets(at, timeout_ms=round(1000 * self._timeout_s))
        except KafkaError as error:
            raise UnavailableError(f"{self._where()}: offsets cannot be read: {error}") from None
        for place in at:
            offset = offsets[place.partition]
            if not begins[place] <= offset <= ends[place]:
                raise InputError(
                    f"{self._where(place.partition)}: offset {offset} is wanted, found"
                    f" {begins[place]} to {ends[place]}"
                )
        self._seeks.update(offsets)
        self._apply_seeks(self.partitions())

    def commit(self, position: Position) -> None:
        """Store the offsets of `position` for the group, and return when the broker has them.

        Offsets of partitions that are no longer ours are left out: they are the next owner's. A
        commit that comes too late (the group is sharing out anew) or that no broker answers is a
        warning, not an error: the records come again, here or at another member.

        Raises
        ------
        InputError
            `position` is none of this topic.
        UnavailableError
            The group's offsets are not ours to write.
        """
        offsets = self._offsets(position)
        lost = sorted(set(offsets) - set(self._first))
        if lost:
            log.info("%s: offsets of partitions %s are not ours to commit", self.name, lost)
        wanted = {
            self._at(partition): OffsetAndMetadata(offset, "", -1)
            for partition, offset in offsets.items()
            # No more than we have begun with or committed is a position from before the partition
            # came back to us.
            if partition in self._first
            and offset > self._committed.get(partition, self._first[partition])
        }
        if not wanted:
            return
        try:
            self._consumer.commit(wanted, timeout_ms=round(1000 * COMMIT_S))
        except _MEMBERSHIP_LOST as error:
            log.warning(
                "%s: offsets not committed, group %s shares its partitions out anew; some events"
                " may come again (%s)",
                self.name,
                self._settings.group,
                type(error).__name__,
            )
        except RetriableError as error:
            log.warning(
                "%s: offsets not committed, Kafka at %s did not answer within %g s; some events"
                " may come again (%s)",
                self.name,
                self._settings.address,
                COMMIT_S,
                type(error).__name__,
            )
        except KafkaError as error:
            raise UnavailableError(
                f"{self._where()}: group {self._settings.group} cannot commit: {error}"
            ) from None
        else:
            self._committed.update((at.partition, offset.offset) for at, offset in wanted.items())

    def close(self) -> None:
        """Leave the group at once, so that the others take over, and close the connections."""
        if self._closed:
            return
        self._closed = True
        try:
            self._consumer.close(autocommit=False, timeout_ms=round(1000 * CLOSE_S))
        except KafkaError as error:
            log.warning("%s: not closed in order: %s", self.name, error)

    # What the listener calls, on the client's thread.

    def _take_away(self, partitions: list[int]) -> None:
        log.info("%s: partitions %s given up", self.name, partitions)
        self._forget(partitions)

    def _give(self, partitions: list[int]) -> None:
        log.info("%s: partitions %s assigned", self.name, partitions)
        self._forget(partitions)
        self._apply_seeks(partitions)

    def _forget(self, partitions: list[int]) -> None:
        for partition in partitions:
            self._first.pop(partition, None)
            self._next.pop(partition, None)
            self._committed.pop(partition, None)
            self._untouched.discard(partition)

    def _apply_seeks(self, partitions: list[int]) -> None:
        for partition in partitions:
            offset = self._seeks.pop(partition, None)
            if offset is not None:
                self._consumer.seek(self._at(partition), offset)
                self._forget([partition])

    # The rest of the way to good error messages.

    def _at(self, partition: int) -> TopicPartition:
        return TopicPartition(self.name, partition)

    def _where(self, partition: int | None = None) -> str:
        where = f"kafka://{self._settings.address}/{self.name}"
        return where if partition is None else f"{where}, partition {partition}"

    def _offsets(self, position: Position) -> dict[int, int]:
        try:
            topic = position["topic"]
            offsets = {int(key): int(value) for key, value in position["offsets"].items()}
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InputError(
                f"{self._where()}: {position!r} is no position, accepted:"
                ' {"topic": name, "offsets": {partition: offset}}'
            ) from None
        if topic != self.name:
            raise InputError(f"{self._where()}: the position is of topic {topic!r}")
        for partition, offset in offsets.items():
            if not 0 <= partition < self._count() or offset < 0:
                raise InputError(
                    f"{self._where(partition)}: offset {offset}, accepted: partitions 0 to"
                    f" {self._count() - 1}, offsets from 0"
                )
        return offsets

    def _await_metadata(self) -> None:
        """Wait until the client knows the topic: a leader that does not would share out nothing."""
        end = time.monotonic() + self._timeout_s
        while self._network.cluster.partitions_for_topic(self.name) is None:
            if time.monotonic() > end:
                self.close()
                raise UnavailableError(f"{self._where()}: Kafka does not say who has the topic")
            time.sleep(0.005)

    def _count(self) -> int:
        """Number of partitions; more may have been added since the start."""
        known = self._network.cluster.partitions_for_topic(self.name)
        self._partitions = max(self._partitions, len(known or ()))
        return self._partitions

    def _start_at_beginning(self, places: Iterable[Any]) -> None:
        # Asked for and set here, not by `seek_to_beginning`: that only marks the partitions, and
        # what goes wrong afterwards on the client's own thread is not told.
        places = list(places)
        begins = self._consumer.beginning_offsets(places, timeout_ms=round(1000 * self._timeout_s))
        for place in places:
            self._consumer.seek(place, begins[place])
        partitions = sorted(at.partition for at in places)
        self._untouched.update(partitions)
        log.info(
            "%s: group %s has no offset for partitions %s, they start at their beginning",
            self.name,
            self._settings.group,
            partitions,
        )

    def _out_of_range(self, at: Any, offset: int) -> InputError:
        wait = round(1000 * self._timeout_s)
        try:
            begin = self._consumer.beginning_offsets([at], timeout_ms=wait)[at]
            end = self._consumer.end_offsets([at], timeout_ms=wait)[at]
        except KafkaError as error:
            there = f"what it has cannot be read ({error})"
        else:
            there = f"it has {begin} to {end}"
            if offset < begin:
                there += f", so events {offset} to {begin - 1} were deleted before they were read"
            else:
                there += ", so the topic was made anew or has lost its end"
        return InputError(
            f"{self._where(at.partition)}: group {self._settings.group} wants offset {offset} but"
            f" {there}; accepted: another group, or this one's offset moved with Kafka's tools"
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what the client raises into one line with a place."""
        group = self._settings.group
        try:
            yield
        except (AuthorizationError, SaslAuthenticationFailedError) as error:
            raise UnavailableError(
                f"{self._where()}: not allowed to read it as group {group}: {error}"
            ) from None
        except InvalidSessionTimeoutError:
            raise UsageError(
                f"{self._where()}: session_timeout_ms={self._settings.session_timeout_ms} is"
                " outside the broker's limits (by default 6000 to 1800000)"
            ) from None
        except InconsistentGroupProtocolError:
            raise UsageError(
                f"{self._where()}: group {group} has members that share partitions in another way"
                " than cooperative-sticky; accepted: another group"
            ) from None
        except UNREADABLE as error:
            raise unreadable(self._where(), error) from None
        except KafkaError as error:
            raise UnavailableError(f"{self._where()}: {error}") from None
