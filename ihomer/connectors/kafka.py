"""Kafka: a topic as a source, a topic as a sink, and what a cluster says of itself.

In: URIs, ``kafka://host:port[,host:port]/topic?name=value&...``. Out: a `KafkaSource`, a
`KafkaSink`, a `ClusterReport`. It is here so that nobody else needs to know which file has which.
"""

from __future__ import annotations

from ihomer.connectors.kafka_client import ClusterReport, describe
from ihomer.connectors.kafka_settings import KafkaSettings, parse_uri
from ihomer.connectors.kafka_sink import KafkaSink
from ihomer.connectors.kafka_source import KafkaSource

__all__ = ["ClusterReport", "KafkaSettings", "KafkaSink", "KafkaSource", "describe", "parse_uri"]
