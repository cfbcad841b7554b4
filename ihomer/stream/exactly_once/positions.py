"""Where a slot begins to read: its partitions, and their first offsets.

In: the input's topics, the group of an at-least-once past, what the plan says. Out: concrete
offsets. It is here because a position that is not concrete would mean another place after a crash.

A slot owns the same partitions of all topics of the input, so that an event and its labels, which
come by the same key, meet in one model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog
from kafka import TopicPartition

from ihomer.connectors.kafka_client import administration, require_topic
from ihomer.connectors.kafka_ranges import Offsets, copy_of, slot_of
from ihomer.connectors.kafka_reader import RangeReader
from ihomer.errors import UsageError
from ihomer.stream.exactly_once.plan import Plan

log = structlog.get_logger("ihomer")


def of_slot(partitions: list[int], slot: int, slots: int) -> list[int]:
    """Those partitions that the slot owns.

    >>> of_slot([0, 1, 2, 3, 4], 1, 2)
    [1, 3]
    """
    return [partition for partition in partitions if slot_of(partition, slots) == slot]


def of_inputs(plan: Plan, offsets: Offsets) -> Offsets:
    """A copy of `offsets` without topics that are read no longer."""
    return {topic: at for topic, at in copy_of(offsets).items() if topic in plan.inputs}


def unlike(partitions: Mapping[str, int], slots: int) -> str | None:
    """What is wrong where several slots share topics that are partitioned otherwise.

    >>> unlike({"events": 4, "labels": 4}, 2)
    >>> unlike({"events": 4, "labels": 3}, 1)
    >>> unlike({"events": 4, "labels": 3}, 2)
    'topic events has 4 partitions, topic labels has 3'
    """
    if slots == 1 or len(set(partitions.values())) == 1:
        return None
    (first, many), *others = partitions.items()
    return ", ".join(
        [f"topic {first} has {many} partitions", *(f"topic {t} has {n}" for t, n in others)]
    )


def require_alike(plan: Plan) -> None:
    """See that an event and its labels come to the same slot.

    Raises
    ------
    UsageError
        A topic is missing, or with several slots the topics have other numbers of partitions.
    UnavailableError
        The cluster does not answer.
    """
    if plan.labels is None:
        return
    found = {each.topic: require_topic(each).partitions for each in (plan.source, plan.labels)}
    wrong = unlike(found, plan.slots)
    if wrong is not None:
        raise UsageError(
            f"labels_source: found that {wrong}; accepted with {plan.slots} slots (slots): as many,"
            " so that an event and its labels come to the same one, or one slot"
        )


def difference(plan: Plan, reader: RangeReader) -> str | None:
    """What is wrong where one topic was given partitions and the other was not, or not yet."""
    if plan.slots == 1 or plan.labels is None:
        return None
    wrong = unlike({topic: len(reader.partitions(topic)) for topic in plan.inputs}, plan.slots)
    return wrong and f"{wrong}: the new ones are not read until they have as many"


def first_offsets(plan: Plan, slot: int, reader: RangeReader, topics: Sequence[str]) -> Offsets:
    """Where a slot begins in topics that it has not read before.

    In this order: what group ``<app>`` has committed, as far as the topic still has it; else the
    topic's beginning or end, as the plan says.

    Raises
    ------
    UnavailableError
        The cluster does not answer.
    """
    return {topic: _first_offsets(plan, slot, reader, topic) for topic in topics}


def _first_offsets(plan: Plan, slot: int, reader: RangeReader, topic: str) -> dict[int, int]:
    bounds = reader.bounds(topic, of_slot(reader.partitions(topic), slot, plan.slots))
    places = [TopicPartition(topic, partition) for partition in bounds]
    with administration(plan.source) as connection:
        committed = connection.client.list_group_offsets({plan.app: places})[plan.app]
    offsets: dict[int, int] = {}
    for partition, (begin, end) in bounds.items():
        found = committed.get(TopicPartition(topic, partition))
        if found is not None and begin <= found.offset <= end:
            offsets[partition] = found.offset
        else:
            offsets[partition] = begin if plan.start == "earliest" else end
    log.info(
        "the slot is new",
        slot=slot,
        topic=topic,
        committed_before=sum(
            1 for place, at in committed.items() if offsets.get(place.partition) == at.offset
        ),
        start=plan.start,
        offsets={str(partition): offset for partition, offset in offsets.items()},
    )
    return offsets


def added(plan: Plan, slot: int, reader: RangeReader, known: Offsets) -> Offsets:
    """Partitions of the slot that were added to its topics, at their beginning."""
    offsets: Offsets = {}
    for topic in plan.inputs:
        here = known.get(topic, {})
        new = [p for p in of_slot(reader.partitions(topic), slot, plan.slots) if p not in here]
        if new:
            bounds = reader.bounds(topic, new)
            offsets[topic] = {partition: begin for partition, (begin, _) in bounds.items()}
            log.info("the input has more partitions", slot=slot, topic=topic, partitions=new)
    return offsets
