"""Generated streams as sources: the contract, the parameters, and the truth beside them."""

from __future__ import annotations

import functools
import itertools
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer.connectors.base import Record
from ihomer.connectors.synthetic import Drift, SyntheticSource
from ihomer.connectors.synthetic.parameters import NAMES, WHATS
from ihomer.connectors.uri import open_source, parse_uri
from ihomer.errors import InputError, UsageError
from ihomer.instances import Encoder, Event, Row
from tests.generated import digest, events
from tests.sources import assert_resumes_anywhere, drain, plain

SMALL: dict[str, dict[str, Any]] = {"text": {"labels": 60, "words": 500}}
DRIFTED = {
    name: f"synthetic:{name}?events=2100"
    + ("&words=500" if name == "text" else "")
    + "&labels=24&blocks=6&drift=gradual&of=structure&at=1000&width=100"
    "&drift=incremental&of=labels&at=1100&width=50&drift=sudden&of=features&at=1020"
    for name in NAMES
}


@pytest.mark.parametrize("name", ["linear", "text"])
def test_it_resumes_anywhere(name: str) -> None:
    query = "events=24&labels=20&blocks=5&drift=gradual&of=structure&at=9&width=9"
    uri = f"synthetic:{name}?{query}" + ("&words=100" if name == "text" else "")
    records = assert_resumes_anywhere(lambda: open_source(uri))
    assert [record.offset for record in records] == list(range(24))
    assert {record.source for record in records} == {f"synthetic:{name}"}


@functools.cache
def straight_through(name: str) -> list[Any]:
    return [plain(record) for record in drain(open_source(DRIFTED[name]), 2100)]


@pytest.mark.parametrize("name", ["tree", "blocks", "text"])
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_sizes_of_batches_and_places_change_nothing(name: str, data: st.DataObject) -> None:
    straight = straight_through(name)
    cuts = sorted(data.draw(st.lists(st.integers(0, 2100), max_size=4)))
    found: list[Any] = []
    source = open_source(DRIFTED[name])
    for start, stop in itertools.pairwise([0, *cuts, 2100]):
        assert source.position() == {"event": start}
        if stop > start:
            records: Any = source.next_batch(stop - start, timeout=0.0)
            found += [plain(record) for record in records]
    assert found == straight
    for at in cuts:
        source.seek({"event": at})
        part = source.next_batch(3, timeout=0.0) or []
        assert [plain(record) for record in part] == straight[at : at + 3]


@pytest.mark.parametrize("name", NAMES)
def test_events_are_what_a_learner_takes(name: str) -> None:
    source = SyntheticSource(name, events=1500, **SMALL.get(name, {}))
    records = drain(source, 400)
    assert len(records) == source.length == 1500
    assert source.n_attributes == len(source.features)
    encoder = Encoder(source.labels)
    names = set()
    for number, record in enumerate(records):
        event = record.value
        assert isinstance(event, Event)
        assert event.id == record.offset == number
        assert isinstance(event.x, Row)
        names.add(id(event.x.names))
        assert event.on == sorted(set(event.on or ()))
        assert set(event.on) <= set(source.labels)
    assert len(names) == 1
    batch = encoder.encode([record.value for record in records if isinstance(record.value, Event)])
    assert len(batch) == 1500
    assert len(encoder.features) == len(source.features)


def test_a_stream_without_end_goes_on_and_starts_as_a_long_one() -> None:
    endless = SyntheticSource("blocks", events=0, drift=Drift("sudden", at=1500))
    assert endless.length is None
    assert [change.start for change in endless.truth.changes] == [1500]
    bounded = SyntheticSource("blocks", events=2000, drift=Drift("sudden", at=1500))
    assert digest(events(endless, 2000)) == digest(events(bounded))
    endless.seek({"event": 10**12})
    assert [event.id for event in events(endless, 2)] == [10**12, 10**12 + 1]
    assert len(endless.explain(10**12).blocks) in (1, 2)


def test_another_seed_or_name_is_another_stream() -> None:
    digests = {
        digest(events(SyntheticSource(name, seed=seed, events=50, features=6, irrelevant=0)))
        for name in ("linear", "hyperplane", "xor", "tree", "rbf")
        for seed in (0, 1)
    }
    assert len(digests) == 10


def test_python_and_uri_are_the_same_stream() -> None:
    uri = (
        "SYNTHETIC:linear?events=1200&labels=20&blocks=5&two=0.5&seed=3&drift=gradual&of=structure"
        "&what=merge&at=0.25&width=300&size=0.4&drift=sudden&at=600"
    )
    drift = [
        Drift("gradual", of="structure", what="merge", at=300, width=0.25, size=0.4),
        Drift("sudden", of="concept"),
    ]
    source = SyntheticSource(
        "linear", events=1200, labels=20, blocks=5, two=0.5, seed=3, drift=drift
    )
    opened = open_source(uri)
    assert isinstance(opened, SyntheticSource)
    assert opened.parameters == source.parameters
    assert opened.truth.to_json() == source.truth.to_json()
    assert digest(events(opened)) == digest(events(source))
    again = SyntheticSource(source.parameters)
    assert again.truth.to_json() == source.truth.to_json()
    with pytest.raises(UsageError, match="accepted: nothing"):
        SyntheticSource(source.parameters, labels=3)


def test_no_drift_can_be_said() -> None:
    plain_one = SyntheticSource("linear", events=100)
    for none in ("none", Drift("none"), ()):
        source = SyntheticSource("linear", events=100, drift=none)
        assert source.truth.changes == ()
        assert digest(events(source)) == digest(events(plain_one)), none
        plain_one.seek({"event": 0})
    opened = open_source("synthetic:linear?events=100&drift=none")
    assert isinstance(opened, SyntheticSource)
    assert opened.truth.changes == ()


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("synthetic:", "no name, accepted: synthetic:NAME"),
        ("synthetic:linea", "found 'linea', accepted: synthetic:linear, "),
        ("synthetic:linear?word=3", "found parameter 'word', accepted: events, seed, labels"),
        ("synthetic:linear?words=3", "found parameter 'words', accepted: events"),
        ("synthetic:text?cardinality=3", "found parameter 'cardinality', accepted: events"),
        ("synthetic:linear?labels", "labels has no value"),
        ("synthetic:linear?labels=", "labels has no value"),
        ("synthetic:linear?labels=4&labels=5", "'labels' twice"),
        ("synthetic:linear?labels=0", "labels: found '0', accepted: an integer from 1 to 1,000,00"),
        ("synthetic:linear?labels=2.5", "labels: found '2.5', accepted: an integer"),
        ("synthetic:linear?labels=many", "labels: found 'many'"),
        ("synthetic:linear?two=1.5", "two: found '1.5', accepted: a number from 0 to 1"),
        ("synthetic:linear?two=nan", "two: found 'nan'"),
        ("synthetic:linear?signal=inf", "signal: found 'inf'"),
        ("synthetic:linear?labels=4&blocks=5", "blocks: found 5 for 4 labels, accepted: 1 to 4"),
        ("synthetic:linear?features=3&irrelevant=3", "irrelevant: found 3 of 3"),
        ("synthetic:xor?features=3&irrelevant=2", "2 or more features are left"),
        ("synthetic:linear?cardinality=7", "cardinality: found 7 labels per event, accepted: up t"),
        ("synthetic:blocks?one_block=4-1", "one_block: found '4-1', accepted: a range such as 1-4"),
        ("synthetic:blocks?one_block=x", "one_block: found 'x', accepted: a range"),
        ("synthetic:linear?labels=200000", "labels: found 200000, accepted: up to 100,000 here"),
        ("synthetic:linear?labels=20000&blocks=20000", "blocks: found 20000, accepted: up to 10,"),
        ("synthetic:text?labels=20000&blocks=3", "accepted: 4 or more, 5000 labels in a block"),
        ("synthetic:linear?at=0.5", "found at=0.5 before a drift, accepted: behind it"),
        ("synthetic:linear?drift=fast", "drift: found 'fast', accepted: none, sudden"),
        ("synthetic:linear?drift=sudden&at=0.5&at=0.6", "found at twice for one drift"),
        ("synthetic:linear?drift=sudden&of=labes", "of: found 'labes', accepted: concept"),
        ("synthetic:blocks?drift=sudden&of=concept", "accepted: structure, priors"),
        ("synthetic:linear?drift=sudden&what=merge", "accepted for of=concept: redraw"),
        ("synthetic:linear?drift=sudden&width=9", "found width, accepted for: gradual"),
        ("synthetic:linear?drift=gradual&period=9", "found period, accepted for: recurring"),
        ("synthetic:linear?drift=gradual&width=0", "width: found 0, accepted: a share below 1 or"),
        ("synthetic:linear?drift=sudden&at=1.5", "at: found 1.5, accepted: a share below 1 or a n"),
        ("synthetic:linear?drift=sudden&at=-1", "at: found '-1'"),
        ("synthetic:linear?drift=sudden&at=50000", "in a stream of 50000 events"),
        ("synthetic:linear?drift=sudden&factor=2", "found factor, accepted for: what=cardinality"),
        ("synthetic:linear?drift=sudden&size=0", "size: found '0'"),
        (
            "synthetic:linear?drift=sudden&of=priors&what=cardinality&size=.5",
            "found size, accepted for what=cardinality: factor",
        ),
        (
            "synthetic:linear?drift=sudden&of=priors&what=cardinality&factor=3",
            "factor: found 6 labels per event",
        ),
        ("synthetic:linear?events=0&drift=sudden", "a share of a stream without end"),
        ("synthetic:linear?events=0&drift=recurring&at=5&period=5", "events=0"),
        ("synthetic:linear?blocks=1&drift=sudden&of=structure", "no two labels of different blo"),
        (
            "synthetic:linear?blocks=1&drift=sudden&of=structure&what=merge",
            "found 1 block, accepted: 2 or more",
        ),
        (
            "synthetic:linear?blocks=8&drift=sudden&of=structure&what=split&cardinality=1",
            "every block has one label",
        ),
        (
            "synthetic:blocks?within=0&over=0&drift=sudden&of=priors",
            "equally common, accepted: within or over above 0",
        ),
        ("synthetic:blocks?drift=sudden&of=labels&what=dying&size=1", "leaves a label alive"),
        ("synthetic:blocks?drift=sudden&of=features&size=1", "size: found 1 (3 features"),
    ],
)
def test_what_is_not_accepted_is_named_in_one_line(uri: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_source(uri)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(uri.partition("?")[0])


@pytest.mark.parametrize("value", [True, None, [1], (1, 2), 2.5])
def test_values_of_other_types_are_refused(value: Any) -> None:
    with pytest.raises(UsageError, match="labels: found"):
        SyntheticSource("linear", labels=value)


@pytest.mark.parametrize("value", [(2, 3), "2-3"])
def test_ranges_can_be_given_in_both_ways(value: Any) -> None:
    assert SyntheticSource("blocks", one_block=value).parameters.one_block == (2, 3)
    assert SyntheticSource("blocks", one_block=3).parameters.one_block == (3, 3)


@pytest.mark.parametrize("position", [{}, {"event": 101}, {"event": -1}, {"event": True}])
def test_a_position_that_is_none_is_refused(position: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="event"):
        SyntheticSource("linear", events=100).seek(position)


def test_the_whole_uri_is_handed_on() -> None:
    assert parse_uri("synthetic:text?a=1").path == "synthetic:text?a=1"


def test_importing_uri_imports_no_generator() -> None:
    program = "import sys, ihomer.connectors.uri\nprint([m for m in sys.modules if 'synth' in m])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# -------------------------------------------------------------------------------------- truth


@pytest.mark.parametrize("name", ["linear", "blocks", "text"])
def test_events_are_as_they_are_explained(name: str) -> None:
    uri = DRIFTED[name] + "&noise=0.2"
    source = open_source(uri)
    assert isinstance(source, SyntheticSource)
    noisy = 0
    for event in events(source)[900:1200]:
        assert isinstance(event.id, int)
        said = source.explain(event.id)
        assert said.event == event.id
        assert set(event.on or ()) == (set(said.planted) - set(said.lost)) | set(said.noise)
        assert not set(said.noise) & set(said.planted)
        blocks = source.truth.block_of(event.id)
        assert {blocks[label] for label in said.planted} <= set(said.blocks)
        assert set(said.noise) <= set(blocks)
        assert len(set(said.blocks)) == len(said.blocks) in (1, 2)
        assert said.state == source.truth.state(event.id)
        noisy += len(said.noise)
    assert noisy > 50


def test_blocks_and_partition_are_the_same() -> None:
    truth = SyntheticSource("blocks", events=3000, drift=Drift("incremental", width=500)).truth
    for event in (0, 1499, 1600, 1750, 2999):
        partition, block_of = truth.partition(event), truth.block_of(event)
        assert sorted(itertools.chain(*partition)) == sorted(block_of)
        for block in partition:
            assert block == sorted(block)
            assert len({block_of[label] for label in block}) == 1


def test_an_event_that_is_none_is_refused() -> None:
    source = SyntheticSource("blocks", events=100)
    for event in (-1, 100):
        with pytest.raises(IndexError, match="of a stream of 100 events"):
            source.explain(event)
        with pytest.raises(IndexError):
            source.truth.partition(event)


@pytest.mark.parametrize("of", WHATS)
def test_the_truth_survives_json(of: str) -> None:
    drift = Drift("recurring", of=of, at=200, period=300)
    truth = SyntheticSource("linear", events=1000, labels=20, drift=drift).truth
    assert [(c.of, c.how, c.start, c.stop, c.back) for c in truth.changes] == [
        (of, "recurring", 200, 200, False),
        (of, "recurring", 500, 500, True),
        (of, "recurring", 800, 800, False),
    ]
    read = json.loads(json.dumps(truth.to_json()))
    assert [change["start"] for change in read["changes"]] == [200, 500, 800]
    assert read["parameters"]["labels"] == 20
    for part in read["partitions"]:
        assert part["blocks"] == truth.partition(part["event"])


def test_records_of_a_batch_are_records() -> None:
    source = SyntheticSource("linear", events=3)
    batch = source.next_batch(10, timeout=0.0) or ()
    assert all(isinstance(record, Record) and record.partition == 0 for record in batch)
    source.close()
    source.close()
