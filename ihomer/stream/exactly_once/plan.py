"""What is to be delivered how: from settings to a checked plan, before anything is opened.

In: `Settings`. Out: which delivery it is and why, and for exactly-once a `Plan`, all that a slot
must know. It is here so that what cannot be promised is refused in one place, with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from ihomer.connectors.base import Sink
from ihomer.connectors.kafka_client import describe
from ihomer.connectors.kafka_journal import SUFFIX
from ihomer.connectors.kafka_settings import (
    SINK_PARAMETERS,
    SOURCE_PARAMETERS,
    KafkaSettings,
)
from ihomer.connectors.kafka_settings import parse_uri as parse_kafka
from ihomer.connectors.kafka_transactions import Topic
from ihomer.connectors.uri import parse_uri
from ihomer.errors import UnavailableError, UsageError
from ihomer.stream.chronicle import Listener
from ihomer.stream.files_once.places import file_obstacle, from_files
from ihomer.stream.processor import Processor
from ihomer.stream.settings import Settings


class Outlets(NamedTuple):
    """Sinks for each kind of output; None: it is not written."""

    sink: Sink | None
    dead_letters: Sink | None
    events: Sink | None
    unjoined: Sink | None


Make: TypeAlias = Callable[[Outlets, Listener], Processor]
"""Makes a processor around an empty model, from its sinks and who is told what happens to it."""


class Delivery(NamedTuple):
    """What is promised, and why; the reason is a line for the log.

    With `files`, a position file keeps the promise; otherwise transactions do.
    """

    name: Literal["exactly-once", "at-least-once"]
    reason: str
    files: bool = False


def choose_delivery(settings: Settings) -> Delivery:
    """The delivery that the settings ask for, or that is the best they allow.

    Raises
    ------
    UsageError
        Exactly-once is asked for where it is not possible; says what is in the way.
    """
    files = from_files(settings)
    obstacle = file_obstacle(settings) if files else _obstacle(settings)
    if settings.delivery == "exactly-once":
        if obstacle is not None:
            raise UsageError(
                f'delivery: found "exactly-once", but {obstacle}; accepted: topics of one cluster'
                ' for everything, plain files for everything, or "at-least-once"'
            )
        return Delivery("exactly-once", "as configured", files)
    if settings.delivery == "at-least-once":
        return Delivery("at-least-once", "as configured")
    if obstacle is None and not settings.sink:
        obstacle = "no sink is set"
    if obstacle is None:
        return Delivery(
            "exactly-once", f"source and sinks are {'files' if files else 'topics'}", files
        )
    return Delivery("at-least-once", obstacle)


def _obstacle(settings: Settings) -> str | None:
    """What is in the way of exactly-once, if anything."""
    if len(settings.source) != 1:
        return f"there are {len(settings.source)} sources"
    for key, uri in (
        ("source", settings.source[0]),
        ("labels_source", settings.labels_source),
        ("sink", settings.sink),
        ("dead_letters", settings.dead_letters),
        ("events", settings.events),
        ("unjoined", settings.unjoined),
    ):
        if uri is not None and parse_uri(uri).scheme != "kafka":
            return f"{key} is no topic"
    return None


@dataclass(frozen=True)
class Plan:
    """What a slot must know.

    Attributes
    ----------
    app
        Names journal, groups, transactional ids and folders.
    slots
        Number of models.
    source
        The input, events or all there is.
    labels
        The input's other topic, with labels; None: there is none.
    output
        Brokers, security and compression of what is written.
    topics
        Where outputs go, by name.
    sink, dead_letters, events, unjoined
        Names of the topics for each kind of output; None: it is not written.
    state_dir
        Where the application's checkpoints are.
    start
        Where a slot begins that nothing is known of.
    skip_lost
        Whether events that are gone are skipped; otherwise they are an error.
    fresh
        Whether the first thing to do is to replace the model by an empty one.
    batch_size, max_wait_ms
        Of a step.
    transaction_events, transaction_bytes
        Largest size of a transaction.
    fetch_bytes
        Largest size of what is read ahead.
    checkpoint_seconds, checkpoint_keep
        How often, and how many are kept.
    configuration
        What the model depends on.
    settings
        As given.
    make
        See `Make`.
    """

    app: str
    slots: int
    source: KafkaSettings
    labels: KafkaSettings | None
    output: KafkaSettings
    topics: Mapping[str, Topic]
    sink: str | None
    dead_letters: str | None
    events: str | None
    unjoined: str | None
    state_dir: Path
    start: Literal["earliest", "latest"]
    skip_lost: bool
    fresh: bool
    batch_size: int
    max_wait_ms: int
    transaction_events: int
    transaction_bytes: int
    fetch_bytes: int
    checkpoint_seconds: int
    checkpoint_keep: int
    configuration: Mapping[str, Any]
    settings: Settings
    make: Make

    @property
    def journal(self) -> str:
        """Name of the journal's topic."""
        return self.app + SUFFIX

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the topics that are read: of events, and of labels if they have their own."""
        return tuple(each.topic for each in (self.source, self.labels) if each is not None)

    def folder(self, slot: int) -> Path:
        """Where a slot's checkpoints are."""
        return self.state_dir / str(slot)


def app_of(settings: Settings) -> str:
    """Name of the application: the key ``app``, else the group of the source."""
    return settings.app or parse_kafka(settings.source[-1], SOURCE_PARAMETERS).group


def make_plan(
    settings: Settings, make: Make, configuration: Mapping[str, Any], *, fresh: bool
) -> Plan:
    """The plan for settings that allow exactly-once.

    Raises
    ------
    UsageError
        A URI is wrong, topics are of different clusters, or one is named for two purposes.
    UnavailableError
        A cluster that must be asked for its id does not answer.
    """
    source = parse_kafka(settings.source[0], SOURCE_PARAMETERS)
    labels = None
    inputs = {source.topic: "the source's topic"}
    if settings.labels_source is not None:
        labels = parse_kafka(settings.labels_source, SOURCE_PARAMETERS)
        _same_cluster(settings.source[0], source, "labels_source", settings.labels_source, labels)
        if labels.topic == source.topic:
            raise UsageError(
                f"labels_source: found the source's topic {source.topic}, accepted: another, or"
                " late_labels = true where both come in one"
            )
        inputs[labels.topic] = "the labels' topic"
    topics: dict[str, Topic] = {}
    names: dict[str, str | None] = {}
    output = source
    for key, uri in (
        ("unjoined", settings.unjoined),
        ("events", settings.events),
        ("dead_letters", settings.dead_letters),
        ("sink", settings.sink),
    ):
        names[key] = None
        if uri is None:
            continue
        output = parse_kafka(uri, SINK_PARAMETERS)
        _same_cluster(settings.source[0], source, key, uri, output)
        names[key] = output.topic
        if output.topic in inputs:
            found = inputs[output.topic]
            raise UsageError(f"{key}: found {found} {output.topic}, accepted: another")
        topics[output.topic] = Topic(output, truncate=key == "dead_letters")
    app = app_of(settings)
    return Plan(
        app=app,
        slots=settings.slots,
        source=source,
        labels=labels,
        output=output,
        topics=topics,
        sink=names["sink"],
        dead_letters=names["dead_letters"],
        events=names["events"],
        unjoined=names["unjoined"],
        state_dir=settings.state_dir / app,
        start=settings.start,
        skip_lost=settings.lost_events == "skip",
        fresh=fresh,
        batch_size=settings.batch_size,
        max_wait_ms=settings.max_wait_ms,
        transaction_events=settings.transaction_events,
        transaction_bytes=settings.transaction_mb << 20,
        fetch_bytes=settings.fetch_mb << 20,
        checkpoint_seconds=settings.checkpoint_seconds,
        checkpoint_keep=settings.checkpoint_keep,
        configuration=configuration,
        settings=settings,
        make=make,
    )


def _same_cluster(
    source_uri: str, source: KafkaSettings, key: str, uri: str, output: KafkaSettings
) -> None:
    """See that one transaction can span both topics."""
    if set(source.bootstrap) & set(output.bootstrap):
        return
    ids = [describe(each) for each in (source_uri, uri)]
    for found in ids:
        if found.reason is not None:
            raise UnavailableError(found.reason)
    if ids[0].cluster_id != ids[1].cluster_id:
        raise UsageError(
            f"{key}: found a topic of another cluster ({output.address}) than the source's"
            f' ({source.address}), accepted with delivery = "exactly-once": one cluster'
        )
