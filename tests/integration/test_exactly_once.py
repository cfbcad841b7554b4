"""Exactly once between topics, through each row of the table of what can happen."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from kafka import TopicPartition

from ihomer.connectors.kafka_journal import decode
from ihomer.errors import EXIT_INPUT, EXIT_STUCK, EXIT_USAGE
from ihomer.faults import POINTS
from tools.broker import Broker
from tools.chaos import Chaos
from tools.invariants import Invariants, View
from tools.rig import Rig

pytestmark = [
    pytest.mark.integration,
    # kafka-python leaves the socket of a refused connection to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

EVENTS = 3_000

MakeRig = Callable[..., Rig]
Look = Callable[[Rig], Invariants]


@pytest.fixture
def rig(broker: Broker, tmp_path: Path, closing: ExitStack) -> MakeRig:
    def make(**options: Any) -> Rig:
        # All are kept, so that the journal is not shortened before it is looked at.
        common = {"checkpoint_events": "1000", "checkpoint_keep": "1000"}
        made = Rig(broker, tmp_path, **(common | options))
        closing.callback(made.close)
        return made

    return make


@pytest.fixture
def look(closing: ExitStack) -> Look:
    def look_at(rig: Rig) -> Invariants:
        found = rig.invariants()
        closing.callback(found.close)
        return found

    return look_at


def answered(found: Invariants) -> int:
    found.sink.update()
    found.dead_letters.update()
    return found.sink.total() + found.dead_letters.total()


def kinds(rig: Rig) -> list[str]:
    """Of the journal's entries."""
    view = View(rig.broker.bootstrap, rig.journal)
    view.update()
    view.close()
    values = [record.value for records in view.records.values() for record in records]
    return [decode(value, "journal").kind for value in values if isinstance(value, bytes)]


def finish(rig: Rig, look: Look) -> Invariants:
    """Let a new worker answer the rest, end it in order, and look at everything."""
    last = rig.start()
    last.wait_for_log("slot ready")
    found = look(rig)
    last.wait_for(lambda: answered(found) >= rig.produced)
    last.stop()
    found.check()
    assert answered(found) == rig.produced
    return found


def test_twenty_kills(broker: Broker, tmp_path: Path) -> None:
    """One at each named point, the rest at random; `make chaos` does ten times as many."""
    rig = Rig(broker, tmp_path, session_ms=1500, checkpoint_events="2000")
    seed = random.SystemRandom().randrange(2**32)
    try:
        outcome = Chaos(rig, 20, 1, 10_000, seed, lambda _: None).run()
    except AssertionError as error:
        pytest.fail(f"seed {seed}: {error}")
    assert set(POINTS) <= set(outcome.kills)
    assert outcome.kills.total() == 20
    assert outcome.digests > 0


def test_a_restart_goes_on_with_the_model(rig: MakeRig, look: Look) -> None:
    made = rig()
    made.produce(EVENTS)
    first = made.start()
    first.wait_for_log("slot ready")
    found = look(made)
    first.wait_for(lambda: answered(found) >= EVENTS)
    first.stop()
    found.check()
    made.produce(100)
    second = made.start()
    second.wait_for(lambda: answered(found) >= EVENTS + 100)
    second.stop()
    found.check()
    assert found.digests_compared == 2
    # SIGTERM has written a checkpoint, so there was nothing to learn again.
    assert "replayed_batches=0" in second.log


def flip(folder: Path) -> None:
    """Change one bit of the largest file."""
    largest = max(folder.iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 16
    largest.write_bytes(bytes(content))


def run_to_the_end(rig: Rig, look: Look, *, kill: bool = True) -> Invariants:
    """Let one worker answer everything, then kill it, or stop it in order."""
    worker = rig.start()
    worker.wait_for_log("slot ready")
    found = look(rig)
    worker.wait_for(lambda: answered(found) >= rig.produced)
    if kill:
        time.sleep(0.5)  # the last checkpoint
        worker.kill()
    else:
        worker.stop()
    return found


def test_damaged_checkpoints(rig: MakeRig, look: Look) -> None:
    made = rig()
    made.produce(EVENTS)
    run_to_the_end(made, look)
    checkpoints = sorted(made.state.glob("0/0*"))
    assert len(checkpoints) > 1
    flip(checkpoints[-1])
    # The one before serves.
    made.produce(100)
    finish(made, look)
    assert "set aside" in made.daemons[-1].log
    # None is left: an error, and nothing is begun anew.
    for each in made.state.glob("0/0*"):
        if "invalid" not in each.name:
            flip(each)
    before = kinds(made)
    refused = made.start()
    assert refused.wait_for_end() == EXIT_INPUT
    assert "--fresh" in refused.log
    assert kinds(made) == before
    # Unless that is asked for.
    made.produce(100)
    anew = made.start("--fresh")
    found = look(made)
    anew.wait_for(lambda: answered(found) >= made.produced)
    anew.stop()
    found.check()
    assert kinds(made).count("fresh") == 1


def test_a_lost_state_folder_and_a_changed_configuration(rig: MakeRig, look: Look) -> None:
    made = rig()
    made.produce(500)
    run_to_the_end(made, look)
    other = made.start(seed="7")
    assert other.wait_for_end() == EXIT_INPUT
    assert "seed (found 7, the model has 0)" in other.log
    made.state.rename(made.folder / "elsewhere")
    lost = made.start()
    assert lost.wait_for_end() == EXIT_INPUT
    assert "found no checkpoint, but" in lost.log
    assert "is not empty" in lost.log
    many = made.start("--slots", "3")
    assert many.wait_for_end() == EXIT_USAGE
    assert "found 1 partitions, accepted: 3" in many.log


def test_a_full_disk(rig: MakeRig, look: Look) -> None:
    made = rig()
    made.produce(EVENTS)
    worker = made.start(fault="mid-checkpoint-write:2:full,before-rename:2:full")
    worker.wait_for_log("slot ready")
    found = look(made)
    worker.wait_for_log("no checkpoint written")
    worker.wait_for(lambda: answered(found) >= made.produced)
    # There is room again.
    made.produce(EVENTS)
    worker.wait_for(lambda: answered(found) >= made.produced)
    worker.stop()
    found.check()
    assert found.digests_compared > 0


def test_a_zombie(rig: MakeRig, look: Look) -> None:
    """Stopped in the middle of a transaction for longer than its session."""
    made = rig(transaction_events="500")  # so that there is a third one
    made.produce(EVENTS)
    zombie = made.start(fault="before-commit:3:stop")
    zombie.wait_for_log("slot ready")
    standby = made.start()
    standby.wait_for_log("slot ready")
    found = look(made)
    standby.wait_for(lambda: answered(found) >= made.produced)
    zombie.signal(signal.SIGCONT)
    zombie.wait_for(lambda: "dropped" in zombie.log)
    made.produce(500)
    standby.wait_for(lambda: answered(found) >= made.produced)
    found.check()
    # It stands by again, and takes over when the other leaves.
    standby.stop()
    made.produce(500)
    zombie.wait_for(lambda: answered(found) >= made.produced)
    zombie.stop()
    found.check()
    assert answered(found) == made.produced


def test_workers_come_and_go(rig: MakeRig, look: Look) -> None:
    """Two slots among one, two and three workers, always under load."""
    made = rig(partitions=4, slots=2)
    made.produce(2 * EVENTS)
    one = made.start("--slots", "2")
    one.wait_for_log("slot ready", times=2)
    found = look(made)
    two = made.start("--slots", "2")
    two.wait_for_log("slot ready")
    assert "slot handed over" in one.log
    three = made.start("--slots", "2")
    three.wait_for_log("delivery is exactly-once")
    made.produce(EVENTS)
    one.stop()
    two.stop()
    three.wait_for(lambda: answered(found) >= made.produced)
    three.stop()
    found.check()
    assert answered(found) == made.produced


def test_a_stuck_commit_ends_the_process(rig: MakeRig, look: Look, broker: Broker) -> None:
    made = rig(stuck_seconds="3")
    made.produce(EVENTS)
    worker = made.start()
    worker.wait_for_log("slot ready")
    made.produce(EVENTS)
    broker.freeze()
    try:
        code = worker.wait_for_end()
    finally:
        broker.thaw()
    assert code == EXIT_STUCK
    assert "has not answered for 3 s" in worker.log
    finish(made, look)


def test_the_broker_stops_and_is_killed(rig: MakeRig, look: Look, broker: Broker) -> None:
    made = rig()
    made.produce(EVENTS)
    worker = made.start()
    worker.wait_for_log("slot ready")
    found = look(made)
    broker.freeze()
    time.sleep(5.0)
    broker.thaw()
    worker.wait_for(lambda: answered(found) >= made.produced)
    made.produce(EVENTS)
    broker.kill()
    broker.start()
    worker.wait_for(lambda: answered(found) >= made.produced)
    worker.stop()
    found.check()
    assert answered(found) == made.produced


def test_more_partitions(rig: MakeRig, look: Look, broker: Broker) -> None:
    made = rig(partitions=2)
    made.produce(500)
    worker = made.start()
    worker.wait_for_log("slot ready")
    found = look(made)
    with broker.admin() as admin:
        admin.create_partitions({made.source: 4})
    made.partitions = 4
    time.sleep(1.0)
    made.produce(500)
    # The client asks for metadata every half minute.
    worker.wait_for(lambda: answered(found) >= made.produced, 90.0)
    worker.stop()
    found.check()
    assert answered(found) == made.produced


def test_a_deleted_topic(rig: MakeRig, broker: Broker) -> None:
    made = rig()
    made.produce(500)
    worker = made.start()
    worker.wait_for_log("slot ready")
    with broker.admin() as admin:
        admin.delete_topics([made.source])
    assert worker.wait_for_end(120.0) == EXIT_INPUT
    assert f"no topic '{made.source}'" in worker.log


def delete_before(broker: Broker, topic: str, offset: int) -> None:
    with broker.admin() as admin:
        admin.delete_records({TopicPartition(topic, 0): offset})


def test_unread_events_are_gone(rig: MakeRig, look: Look, broker: Broker) -> None:
    made = rig(partitions=1)
    made.produce(500)
    found = run_to_the_end(made, look, kill=False)
    made.produce(500)
    found.check()
    delete_before(broker, made.source, 700)
    refused = made.start()
    assert refused.wait_for_end() == EXIT_INPUT
    assert "offset 500 is wanted but it has 700 to 1000" in refused.log
    assert "events 500 to 699 were deleted before they were read" in refused.log
    worker = made.start(lost_events="skip")
    worker.wait_for(lambda: answered(found) >= 800)
    worker.stop()
    assert kinds(made).count("skip") == 1
    found.check()


def test_events_that_the_journal_names_are_gone(rig: MakeRig, look: Look, broker: Broker) -> None:
    made = rig(partitions=1, checkpoint_events="1000000")
    made.produce(1000)
    found = run_to_the_end(made, look)
    delete_before(broker, made.source, 300)
    refused = made.start()
    assert refused.wait_for_end() == EXIT_INPUT
    assert "named by the journal" in refused.log
    assert "events 0 to 299 were deleted" in refused.log
    worker = made.start(lost_events="skip")
    worker.wait_for_log("slot ready")
    assert kinds(made).count("skip") == 1
    made.produce(100)
    worker.wait_for(lambda: answered(found) >= 1100)
    worker.stop()
