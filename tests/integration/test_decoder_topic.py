"""Binary events through a real topic: refused without a decoder, read with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from ihomer.connectors.base import Message
from ihomer.errors import EXIT_USAGE, MalformedEventError
from ihomer.stream.decode import Decoder
from ihomer.stream.decoder_hook import check_decoder, with_hook
from ihomer.stream.settings import Settings
from tests import binary_events
from tests.integration.helpers import NewTopic, Opened, produce, read, start_ihomer, uri
from tests.yeast import yeast_bodies
from tools.broker import Broker

pytestmark = pytest.mark.integration


def test_a_topic_of_a_registry_is_read_by_a_function(
    broker: Broker, new_topic: NewTopic, opened: Opened, tmp_path: Path
) -> None:
    topic = new_topic()
    bodies = list(yeast_bodies(50))
    values = [binary_events.encode(str(i), b["x"], b["y"]) for i, b in enumerate(bodies)]
    produce(broker, topic, [Message(value, key=b"k") for value in [*values, values[0][:40]]])
    source = uri(broker, topic, "format=avro")
    settings = Settings(source=[source], decoder="tests.binary_events:decode", allow_code=True)
    check_decoder(settings)
    *good, damaged = read(opened(topic, "format=avro"), 51)
    decoder = with_hook(settings, Decoder())
    for number, (record, body) in enumerate(zip(good, bodies, strict=True)):
        event = decoder.decode(record)
        assert (event.id, event.on) == (str(number), body["y"])
    with pytest.raises(MalformedEventError) as caught:
        decoder.decode(damaged)
    assert caught.value.kind == "decoder"
    with pytest.raises(MalformedEventError, match="a zero byte and schema id 42"):
        Decoder().decode(good[0])
    log = tmp_path / "log"
    daemon = start_ihomer(["run", "--source", source], tmp_path, log)
    assert daemon.wait(60) == EXIT_USAGE
    assert "found format=avro, which ihomer does not read by itself" in log.read_text()
