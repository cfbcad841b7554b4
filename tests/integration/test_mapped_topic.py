"""Somebody else's topic: looked at without leaving a trace, mapped, and learned exactly once."""

from __future__ import annotations

import json
import random
import signal
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ihomer.connectors.base import Message, Record
from ihomer.connectors.kafka import KafkaSource
from ihomer.errors import EXIT_OK
from ihomer.stream.cli import app
from tests.integration.helpers import produce, read, uri
from tools.broker import Broker
from tools.rig import Rig

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


_WORDS = {
    "printing": ("printer", "paper", "jammed", "toner", "tray", "page"),
    "network": ("wifi", "slow", "cable", "router", "office", "login"),
    "hardware": ("screen", "broken", "keyboard", "desk", "loud", "fan"),
}
_FILLERS = ("the", "a", "is", "of", "my", "please")
_BAD_EVERY = 89


def tickets(start: int, stop: int, partitions: int) -> Iterator[Message]:
    """Tickets in a shape of their own: objects, text, a vector; a few are malformed."""
    begin = round(1000 * time.time()) - 1_000_000
    for i in range(start, stop):
        chance = random.Random(i)  # noqa: S311 - for test data
        tags = chance.sample(sorted(_WORDS), chance.choice((0, 1, 1, 2)))
        words = [word for tag in tags for word in chance.choices(_WORDS[tag], k=5)]
        body: dict[str, Any] = {
            "ticket": {
                "id": f"T-{i}",
                "body": " ".join([*words, *chance.choices(_FILLERS, k=6)]),
                "from": {"team": chance.choice(("north", "south")), "floor": chance.randrange(9)},
                "vec": [round(chance.gauss(float(tag in tags), 1.0), 4) for tag in sorted(_WORDS)],
            },
            "labels": [{"name": tag} for tag in tags],
        }
        if i % _BAD_EVERY == _BAD_EVERY - 1:
            body["ticket"]["vec"] = [0.5, "none"]
        yield Message(
            json.dumps(body).encode(), b"key %d" % i, timestamp=begin + i, origin=i % partitions
        )


def _body(record: Record | Message) -> dict[str, Any]:
    assert isinstance(record.value, bytes)
    found: dict[str, Any] = json.loads(record.value)
    return found


def test_tickets_are_predicted_and_learned_once_each_through_a_kill(
    broker: Broker, tmp_path: Path, closing: ExitStack
) -> None:
    rig = Rig(
        broker,
        tmp_path,
        partitions=2,
        session_ms=1500,
        events=tickets,
        checkpoint_events="300",
        checkpoint_keep="1000",
        transaction_events="200",
        mapping_id="$.ticket.id",
        mapping_labels="$.labels[*].name",
        mapping_fields=json.dumps({"ticket.body": "text", "ticket.from.team": "nominal"}),
    )
    closing.callback(rig.close)
    rig.produce(800)
    first = rig.start(fault="before-commit:3")
    assert first.wait_for_end() == -signal.SIGKILL
    rig.produce(400)
    second = rig.start()
    second.wait_for_log("slot ready")
    found = rig.invariants()
    closing.callback(found.close)

    def answered() -> int:
        found.sink.update()
        found.dead_letters.update()
        return found.sink.total() + found.dead_letters.total()

    second.wait_for(lambda: answered() >= 1200)
    second.stop()
    # The twin, fed once with what the journal names, wrote the same bytes and has the same model.
    found.check()
    assert found.digests_compared > 0
    bad = {f"T-{i}" for i in range(1200) if i % _BAD_EVERY == _BAD_EVERY - 1}
    records = [record for each in found.sink.records.values() for record in each]
    predicted = Counter(_body(record)["id"] for record in records)
    assert predicted == Counter({f"T-{i}": 1 for i in range(1200)} | dict.fromkeys(bad, 0))
    letters = [record for each in found.dead_letters.records.values() for record in each]
    refused = Counter(_body(record)["ticket"]["id"] for record in letters)
    assert refused == Counter(bad)
    # It knew, at the end, what a ticket is about.
    late = [each for each in map(_body, records) if int(each["id"][2:]) >= 1000]
    wanted = {
        body["ticket"]["id"]: {each["name"] for each in body["labels"]}
        for body in map(_body, tickets(1000, 1200, 2))
    }
    right = [set(each["labels"]) == wanted[each["id"]] for each in late]
    assert sum(right) / len(right) > 0.7


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
