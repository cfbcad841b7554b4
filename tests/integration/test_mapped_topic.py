"""Somebody else's topic: looked at without leaving a trace, mapped, and learned exactly once."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ihomer.connectors.base import Message
from ihomer.connectors.kafka import KafkaSource
from ihomer.errors import EXIT_OK
from ihomer.stream.cli import app
from tests.integration.helpers import produce, read, uri
from tools.broker import Broker

pytestmark = [
    pytest.mark.integration,
    pytest.mark.usefixtures("alone"),
    # kafka-python leaves the socket of a refused connection to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]


def _run(*arguments: str) -> Result:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == EXIT_OK, result.output
    return result


def test_a_topic_is_looked_at_without_a_group(
    broker: Broker, new_topic: Callable[..., str]
) -> None:
    topic = new_topic(3)
    produce(
        broker,
        topic,
        [
            Message(
                json.dumps(
                    {"text": f"a message about printer number {i} and paper", "tags": ["paper"]}
                ).encode(),
                f"key-{i}".encode(),
                (("team", b"north" if i % 2 else b"south"),),
                1_700_000_000_000 + i,
                i % 2,  # nothing in the third partition
            )
            for i in range(60)
        ],
    )
    source = uri(broker, topic, "group=nobody")
    _run("config", "infer", source, "--n", "40")
    text = Path("ihomer.toml").read_text(encoding="utf-8")
    mapping = tomllib.loads(text)["mapping"]
    assert (mapping["id"], mapping["labels"]) == ("$key", "$.tags")
    assert mapping["fields"] == {"text": "text"}
    # Headers are told of, and used when somebody says so.
    told = '#"$header.team" = "nominal"'
    assert told in text
    Path("ihomer.toml").write_text(text.replace(told, told.removeprefix("#")), encoding="utf-8")
    found = json.loads(_run("config", "check", "--try", "50", "--json").stdout)
    assert (found["tried"], found["accepted"], found["refused"]) == (50, 50, [])
    ids = {each["id"] for each in found["events"]}
    assert len(ids) == 50
    assert sum(int(each.removeprefix("key-")) % 2 for each in ids) == 25
    assert {each["features"]["$header.team"] for each in found["events"]} == {"north", "south"}
    member = KafkaSource.from_uri(uri(broker, topic, "group=somebody"))
    read(member, 60)
    member.commit(member.position())
    member.close()
    admin = broker.admin()
    try:
        groups = json.dumps(admin.list_groups(), default=str)
    finally:
        admin.close()
    assert "somebody" in groups
    assert "nobody" not in groups
