"""Whether the brokers are there, and the topics still are.

In: after each poll, whether it brought anything. Out: one warning when all brokers are away and
one when they are back; an error when a topic is gone. It is here because the client waits for a
broker and for a deleted topic in the same way: silently and for ever.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from kafka.net.compat import KafkaNetClient

from ihomer.connectors.kafka_client import administration, missing_topic, topics_of
from ihomer.connectors.kafka_settings import KafkaSettings
from ihomer.errors import InputError, UnavailableError

log = logging.getLogger(__name__)

AWAY_S = 1.0
GONE_S = 2.0
SWEEP_S = 60.0


class TopicWatch:
    """Looks at what the client knows of its brokers and of its topics.

    Parameters
    ----------
    settings
        Brokers and topic.
    network
        The network client of the consumer.
    timeout_s
        Seconds for a second look at a topic that seems to be gone.
    topics
        If there are more than the one of `settings`: all of them.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        network: KafkaNetClient,
        timeout_s: float,
        topics: Sequence[str] = (),
    ) -> None:
        self._settings = settings
        self._network = network
        self._timeout_s = timeout_s
        self._away_since: float | None = None
        self._away_told = False
        self._swept = 0.0
        self._topics = tuple(topics) or (settings.topic,)
        self._gone_since: dict[str, float] = {}
        self._ids: dict[str, object | None] = {
            topic: network.cluster.topic_id(topic) for topic in self._topics
        }

    @property
    def trouble(self) -> str | None:
        """What is wrong, in one line; None: brokers are there."""
        return f"Kafka at {self._settings.address} is away" if self._away_told else None

    def polled(self, *, anything: bool) -> None:
        """Take note of a poll.

        Raises
        ------
        InputError
            A topic was deleted, or deleted and made anew.
        """
        if anything:
            self._here()
            for topic in self._topics:
                self._check_id(topic)
            return
        now = time.monotonic()
        brokers = self._network.cluster.brokers()
        if any(self._network.connected(broker.node_id) for broker in brokers):
            self._here()
            for topic in self._topics:
                self._check_topic(topic, now)
        else:
            self._away(now)

    def _away(self, now: float) -> None:
        if self._away_since is None:
            self._away_since = self._swept = now
        elif not self._away_told and now - self._away_since >= AWAY_S:
            self._away_told = True
            log.warning("Kafka at %s is away, trying on", self._settings.address)
        elif now - self._swept >= SWEEP_S:
            # The client leaves every refused connection's socket to the garbage collector, which
            # may not come by for hours in a process that waits: file descriptors would run out.
            self._swept = now
            gc.collect()

    def _here(self) -> None:
        if self._away_told:
            log.warning("Kafka at %s is back", self._settings.address)
        self._away_since = None
        self._away_told = False

    def _check_topic(self, topic: str, now: float) -> None:
        if self._network.cluster.partitions_for_topic(topic) is not None:
            self._gone_since.pop(topic, None)
            self._check_id(topic)
        elif now - self._gone_since.setdefault(topic, now) >= GONE_S:
            self._gone_since[topic] = now
            self._look_again(topic)

    def _check_id(self, topic: str) -> None:
        """Compare a topic's id with that of the start.

        The client fetches by name: it would go on in the middle of a new topic of the same name.
        It hears of the new id when it next asks for metadata.
        """
        cluster = self._network.cluster
        # A broker that is coming up may not know the topic yet, and then gives a void id.
        found = None if cluster.partitions_for_topic(topic) is None else cluster.topic_id(topic)
        if self._ids[topic] is None:
            self._ids[topic] = found
        elif found is not None and found != self._ids[topic]:
            raise InputError(
                f"kafka://{self._settings.address}/{topic}: the topic was deleted and made anew"
                " while it was read"
            )

    def _look_again(self, topic: str) -> None:
        """Ask the cluster for all its topics: what the client knows of one may be stale."""
        try:
            with administration(self._settings, self._timeout_s) as connection:
                topics = topics_of(connection)
        except UnavailableError as error:
            log.debug("topic %s cannot be looked for: %s", topic, error)
            return
        if topic not in topics:
            missing = missing_topic(replace(self._settings, topic=topic), sorted(topics))
            raise InputError(f"{missing}; it was deleted while it was read")
