"""Labels that come late, twice, never or first, exactly once, through kills, on a real broker."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import orjson
import pytest
from kafka import TopicPartition

from ihomer.connectors.base import Record
from ihomer.errors import EXIT_INPUT, UsageError
from ihomer.stream.checkpoints import CheckpointStore
from ihomer.stream.exactly_once.plan import make_plan
from ihomer.stream.exactly_once.positions import require_alike
from tools.broker import Broker
from tools.chaos import Chaos
from tools.late import Placing
from tools.rig import Rig

pytestmark = [
    pytest.mark.integration,
    # kafka-python leaves the socket of a refused connection to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

EVENTS, KILLS = 12_000, 3


def joined(records: Iterable[Record], wait: int) -> Counter[str]:
    """What is to become of all events and labels, by what has been recorded; nothing else is asked.

    An event and its labels meet if no more than `wait` other events came between; who came too late
    is found out when the other half comes, or in the end.
    """
    counts: Counter[str] = Counter()
    now = 0
    waiting: dict[str, int] = {}
    held: dict[str, int] = {}
    met: set[str] = set()
    for record in records:
        try:
            found: dict[str, Any] = orjson.loads(record.value)  # type: ignore[arg-type]
        except orjson.JSONDecodeError:
            counts["broken"] += 1
            continue
        name = found["id"]
        if "x" in found:
            now += 1
            counts["events"] += 1
            if name in held and now - held[name] <= wait:
                del held[name]
                met.add(name)
                counts.update(["joined", "early"])
            else:
                waiting[name] = now
            continue
        counts["labels"] += 1
        if name in met:
            counts["twice"] += 1
        elif name in waiting and now - waiting[name] <= wait:
            del waiting[name]
            met.add(name)
            counts["joined"] += 1
        elif name in waiting:
            counts["too_late"] += 1
        elif name in held and now - held[name] <= wait:
            counts["twice"] += 1
        else:
            counts["unmatched"] += name in held
            held[name] = now
    for name, since in held.items():
        counts["unmatched" if name in waiting or now - since > wait else "held"] += 1
    for since in waiting.values():
        counts["dropped" if now - since > wait else "waiting"] += 1
    return +counts


@pytest.mark.parametrize(("placing", "wait"), [("one topic", 6_000), ("two topics", None)])
def test_every_label_in_time_is_learned_once(
    broker: Broker, tmp_path: Path, placing: Placing, wait: int | None
) -> None:
    """Delays of 0 to 10,000 events; `make chaos` with ``--labels`` does more of the same."""
    rig = Rig(
        broker,
        tmp_path,
        session_ms=1500,
        late=placing,
        wait_events=wait,
        checkpoint_events="2000",
        checkpoint_keep="1000",  # so that the journal is not shortened before it is looked at
    )
    seed = random.SystemRandom().randrange(2**32)
    chaos = Chaos(rig, KILLS, 0, EVENTS, seed, lambda _: None)
    try:
        outcome = chaos.run()
    except AssertionError as error:
        pytest.fail(f"seed {seed}: {error}")
    assert outcome.kills.total() == KILLS
    last = CheckpointStore(rig.state / "0", 1000).newest()
    assert last is not None
    roots: dict[str, Any] = dict(last.roots)
    wanted = joined(chaos.found.recorded(0), 1_000_000 if wait is None else wait)
    sent = rig.stream.sent if rig.stream is not None else None
    assert sent is not None
    assert (wanted["events"], wanted["labels"], wanted["broken"]) == (
        sent.features,
        sent.labels,
        sent.broken,
    )
    assert roots["processor"]["events"] == wanted["events"]
    assert sum(roots["processor"]["dead_letters"].values()) == wanted["broken"]
    assert roots["learner"].n_learned == wanted["joined"]
    counts = {name: count for name, count in roots["labels"]["join"]["counts"].items() if count}
    for name in ("broken", "waiting", "held"):  # which the join does not count
        wanted.pop(name, None)
    assert counts == wanted
    assert counts["joined"] == (sent.features - sent.never if wait is None else counts["joined"])
    assert wait is None or min(counts["too_late"], counts["dropped"], counts["unmatched"]) > 0


@pytest.fixture
def two_topics(broker: Broker, tmp_path: Path, closing: ExitStack) -> Rig:
    made = Rig(broker, tmp_path, partitions=1, late="two topics", checkpoint_events="1000")
    closing.callback(made.close)
    return made


def test_slots_need_topics_that_are_partitioned_alike(two_topics: Rig, broker: Broker) -> None:
    with broker.admin() as admin:
        admin.create_partitions({two_topics.source: 3})
    wrong = f"topic {two_topics.source} has 3 partitions, topic {two_topics.labels} has 1;"
    for slots in (1, 2):
        settings = two_topics.settings().model_copy(update={"slots": slots})
        plan = make_plan(settings, lambda *_: pytest.fail("nothing is made"), {}, fresh=False)
        with nullcontext() if slots == 1 else pytest.raises(UsageError, match=wrong):
            require_alike(plan)


def test_labels_that_are_gone(two_topics: Rig, broker: Broker, closing: ExitStack) -> None:
    """Unread ones, deleted; then the whole topic."""
    made, labels = two_topics, two_topics.labels
    made.produce(500)
    made.produce_rest()
    with broker.admin() as admin:
        admin.delete_records({TopicPartition(labels, 0): 100})
    first = made.start()
    first.wait_for_log("slot ready")
    found = made.invariants()
    closing.callback(found.close)

    def all_named() -> bool:
        found.check()
        return not found.behind()

    first.wait_for(all_named)
    first.stop()
    made.produce(500)
    made.produce_rest()
    with broker.admin() as admin:
        admin.delete_records({TopicPartition(labels, 0): 700})
    worker = made.start(lost_events="skip")
    worker.wait_for_log("events are lost")
    assert f"{labels}, partition 0, offsets " in worker.log
    worker.wait_for(all_named)
    with broker.admin() as admin:
        admin.delete_topics([labels])
    assert worker.wait_for_end(120.0) == EXIT_INPUT
    assert f"no topic '{labels}'" in worker.log
