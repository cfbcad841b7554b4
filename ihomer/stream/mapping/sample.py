"""The first records of a source, looked at without leaving a trace.

In: URIs and a number. Out: so many records at most. It is here so that `config infer` and `config
check --try` can look at a topic without a group of consumers that would have to be remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ihomer.connectors.base import Record
from ihomer.connectors.uri import open_source, parse_uri

_WAIT = 1.0


class Sample(NamedTuple):
    """Some records.

    Attributes
    ----------
    records
        In order; of a topic those at the beginning of each partition.
    ended
        Whether there are no more.
    topic
        Whether they are a topic's.
    """

    records: list[Record]
    ended: bool
    topic: bool


def first_records(uri: str, count: int) -> Sample:
    """The first `count` records of a source, or all.

    Raises
    ------
    UsageError, InputError, UnavailableError
        As `open_source`.
    """
    if parse_uri(uri).scheme == "kafka":
        return _of_topic(uri, count)
    source = open_source(uri)
    try:
        records: list[Record] = []
        while len(records) < count:
            batch = source.next_batch(count - len(records), _WAIT)
            if batch is None:
                return Sample(records, True, False)
            records += batch
        return Sample(records, False, False)
    finally:
        source.close()


def first_of_all(uris: Sequence[str], count: int) -> Sample:
    """The first records of sources that are one stream, one after the other."""
    records: list[Record] = []
    found = Sample(records, True, False)
    for uri in uris:
        found = first_records(uri, count - len(records))
        records += found.records
        if len(records) >= count:
            break
    return found._replace(records=records)


def _of_topic(uri: str, count: int) -> Sample:
    # Only those with a broker wait for the client.
    from ihomer.connectors.kafka_client import require_topic
    from ihomer.connectors.kafka_ranges import Range
    from ihomer.connectors.kafka_reader import RangeReader
    from ihomer.connectors.kafka_settings import SOURCE_PARAMETERS
    from ihomer.connectors.kafka_settings import parse_uri as parse_kafka

    settings = parse_kafka(uri, SOURCE_PARAMETERS)
    topic = settings.topic
    partitions = list(range(require_topic(settings).partitions))
    reader = RangeReader(settings, [topic], lambda: False)
    records: list[Record] = []
    ended = True
    try:
        bounds = reader.bounds(topic, partitions)
        # What a partition has too little of, those behind it may give.
        wanting = sorted(
            partitions, key=lambda partition: bounds[partition][1] - bounds[partition][0]
        )
        for place, partition in enumerate(wanting):
            begin, end = bounds[partition]
            share = -(-(count - len(records)) // (len(wanting) - place))
            stop = min(end, begin + share)
            ended &= stop == end
            if stop > begin:
                reader.go_to({topic: {partition: begin}})
                records += reader.read(Range(topic, partition, begin, stop, 0, ""))
    finally:
        reader.close()
    records.sort(key=lambda record: (record.partition, record.offset))
    return Sample(records[:count], ended, True)
