"""One broker for all integration tests; without one they skip, or fail where CI says so."""

from __future__ import annotations

import gc
import itertools
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from ihomer.connectors.kafka import KafkaSource
from tests.integration.helpers import uri
from tools.broker import Broker, BrokerError, reason_unavailable


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """A running broker; a test that stops it starts it again."""
    reason = reason_unavailable()
    if reason is not None:
        _give_up(reason)
    try:
        with Broker() as running:
            yield running
    except BrokerError as error:
        _give_up(str(error))


def _give_up(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI needs a Kafka broker: {reason}", pytrace=False)
    pytest.skip(f"no Kafka broker: {reason}")


@pytest.fixture(autouse=True)
def _sockets() -> Iterator[None]:
    """Collect what kafka-python leaves open before a test that must not hear of it."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


_NUMBERS = itertools.count()


@pytest.fixture
def new_topic(broker: Broker) -> Callable[..., str]:
    """A function that makes a topic of so many partitions under a name of its own."""

    def make(partitions: int = 1, **configs: str) -> str:
        name = f"topic-{next(_NUMBERS)}"
        renamed = {key.replace("_", "."): value for key, value in configs.items()}
        broker.create_topic(name, partitions, renamed)
        return name

    return make


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    """Closes what a test opened, last first, whatever happened."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def opened(broker: Broker, closing: ExitStack) -> Callable[..., KafkaSource]:
    def open_(topic: str, query: str = "") -> KafkaSource:
        source = KafkaSource.from_uri(uri(broker, topic, query))
        closing.callback(source.close)
        return source

    return open_
