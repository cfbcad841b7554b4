"""Whether the brokers are there, and the topic still is.

In: after each poll, whether it brought anything. Out: one warning when all brokers are away and
one when they are back; an error when the topic is gone. It is here because the client waits for a
broker and for a deleted topic in the same way: silently and for ever.
"""

from __future__ import annotations

import gc
import logging
import time

from kafka.net.compat import KafkaNetClient

from ihomer.connectors.kafka_client import administration, missing_topic, topics_of
from ihomer.connectors.kafka_settings import KafkaSettings
from ihomer.errors import InputError, UnavailableError

log = logging.getLogger(__name__)

AWAY_S = 1.0
GONE_S = 2.0
SWEEP_S = 60.0


class TopicWatch:
    """Looks at what the client knows of its brokers and of one topic.

    Parameters
    ----------
    settings
        Brokers and topic.
    network
        The network client of the consumer.
    timeout_s
        Seconds for a second look at a topic that seems to be gone.
    """

    def __init__(self, settings: KafkaSettings, network: KafkaNetClient, timeout_s: float) -> None:
        self._settings = settings
        self._network = network
        self._timeout_s = timeout_s
        self._away_since: float | None = None
        self._away_told = False
        self._swept = 0.0
        self._gone_since: float | None = None
        self._topic_id: object | None = network.cluster.topic_id(settings.topic)

    def polled(self, *, anything: bool) -> None:
        """Take note of a poll.

        Raises
        ------
        InputError
            The topic was deleted, or deleted and made anew.
        """
        if anything:
            self._here()
            self._check_id()
            return
        now = time.monotonic()
        brokers = self._network.cluster.brokers()
        if any(self._network.connected(broker.node_id) for broker in brokers):
            self._here()
            self._check_topic(now)
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

    def _check_topic(self, now: float) -> None:
        if self._network.cluster.partitions_for_topic(self._settings.topic) is not None:
            self._gone_since = None
            self._check_id()
        elif self._gone_since is None:
            self._gone_since = now
        elif now - self._gone_since >= GONE_S:
            self._gone_since = now
            self._look_again()

    def _check_id(self) -> None:
        """Compare the topic's id with that of the start.

        The client fetches by name: it would go on in the middle of a new topic of the same name.
        It hears of the new id when it next asks for metadata.
        """
        topic = self._settings.topic
        cluster = self._network.cluster
        # A broker that is coming up may not know the topic yet, and then gives a void id.
        found = None if cluster.partitions_for_topic(topic) is None else cluster.topic_id(topic)
        if self._topic_id is None:
            self._topic_id = found
        elif found is not None and found != self._topic_id:
            raise InputError(
                f"kafka://{self._settings.address}/{topic}: the topic was deleted and made anew"
                " while it was read"
            )

    def _look_again(self) -> None:
        """Ask the cluster for all its topics: what the client knows of one may be stale."""
        try:
            with administration(self._settings, self._timeout_s) as connection:
                topics = topics_of(connection)
        except UnavailableError as error:
            log.debug("topic %s cannot be looked for: %s", self._settings.topic, error)
            return
        if self._settings.topic not in topics:
            raise InputError(
                f"{missing_topic(self._settings, sorted(topics))}; it was deleted while it was read"
            )
