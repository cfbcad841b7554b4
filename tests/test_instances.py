"""Names, ids and batches: what a value means, and what neither order nor form changes."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihomer.errors import MalformedEventError, UsageError
from ihomer.instances import (
    Batch,
    Encoder,
    Event,
    Features,
    Row,
    Value,
)
from ihomer.vocabulary import FeatureVocabulary, LabelVocabulary

NAMES = [f"name {i}" for i in range(12)]

numbers = st.one_of(
    st.none(),
    st.integers(-5, 5),
    st.floats(allow_infinity=False),
    st.booleans(),
)
mappings = st.dictionaries(st.sampled_from(NAMES), numbers, max_size=len(NAMES))
mixtures = st.dictionaries(
    st.sampled_from(NAMES),
    numbers
    | st.sampled_from(["red", "green", ""])
    | st.lists(st.sampled_from(["p", "q", "r"]), max_size=4),
    max_size=len(NAMES),
)


def encoded(x: Features, encoder: Encoder | None = None) -> dict[str, float]:
    """Values by name after encoding one event."""
    encoder = Encoder() if encoder is None else encoder
    batch = encoder.encode([Event(0, x)])
    names = encoder.features.names()
    return {names[j]: v for j, v in zip(batch.indices, batch.values.tolist(), strict=True)}


def assert_same_batch(one: Batch, other: Batch) -> None:
    for name in Batch.__dataclass_fields__:
        mine, theirs = getattr(one, name), getattr(other, name)
        if name in ("changes", "freed"):
            assert mine == theirs
            continue
        assert mine.dtype == theirs.dtype, name
        np.testing.assert_array_equal(mine, theirs, err_msg=name)


# What a value means.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2.5, {"a": 2.5}),
        (-3, {"a": -3.0}),
        (0, {}),
        (-0.0, {}),
        (True, {"a": 1.0}),
        (False, {}),
        (np.float32(0.5), {"a": 0.5}),
        (np.int64(7), {"a": 7.0}),
        (np.True_, {"a": 1.0}),
        ("red", {"a=red": 1.0}),
        ("", {"a=": 1.0}),
        (["p", "q", "p"], {"a=p": 1.0, "a=q": 1.0}),
        (("p",), {"a=p": 1.0}),
        ([], {}),
        (5e-324, {"a": 5e-324}),
        (1.7e308, {"a": 1.7e308}),
    ],
)
def test_values(value: Any, expected: dict[str, float]) -> None:
    assert encoded({"a": value}) == expected
    assert encoded({"a": value, "other": "word"}) == {**expected, "other=word": 1.0}


@pytest.mark.parametrize("missing", [None, math.nan, np.float64("nan")])
def test_missing_is_stored_as_nan(missing: Any) -> None:
    assert math.isnan(encoded({"a": missing})["a"])
    assert math.isnan(encoded({"a": missing, "b": "word"})["a"])


@pytest.mark.parametrize(
    "value",
    [math.inf, -math.inf, 10**309, b"bytes", [1], ["p", None], {"p": 1}, object(), 1j],
    ids=["inf", "-inf", "huge", "bytes", "numbers", "null in list", "mapping", "object", "complex"],
)
@pytest.mark.parametrize("add", [True, False])
def test_values_that_are_refused_leave_nothing_behind(value: Any, add: bool) -> None:
    encoder = Encoder()
    encoder.encode([Event(0, {"known": 1.0}, ["known"])])
    before = pickle.dumps(encoder)
    for x in ({"a": value}, {"new": 1.0, "a": value}, {"a": value, "word": "x"}):
        with pytest.raises(MalformedEventError, match=r"^x\.a: found ") as caught:
            encoder.encode([Event(1, x, ["new label"])]) if add else encoder.lookup(x)
        assert (caught.value.stage, caught.value.kind) == ("schema", "feature-value")
        assert "\n" not in str(caught.value)
    assert pickle.dumps(encoder) == before


@pytest.mark.parametrize("indices", [None, np.array([1], dtype=np.int32)])
def test_an_infinite_value_of_a_row_is_named(indices: Any) -> None:
    encoder = Encoder()
    values = np.array([1.0, math.inf]) if indices is None else np.array([math.inf])
    before = pickle.dumps(encoder)
    with pytest.raises(MalformedEventError, match=r"^x\.b: found inf"):
        encoder.add(Event(0, Row(("a", "b"), values, indices)))
    assert pickle.dumps(encoder) == before


def test_names_that_are_no_strings_count_as_their_text() -> None:
    assert encoded({1: 2.0, (2, 3): 1.0, None: "x"}) == {"1": 2.0, "(2, 3)": 1.0, "None=x": 1.0}
    encoder = Encoder()
    assert encoded({1: 2.0, "1": 3.0}, encoder) == {"1": 5.0}
    encoded({"next": 1.0}, encoder)
    assert encoder.features.names() == ["1", "next"]


def test_a_nominal_value_is_no_number_of_the_same_name() -> None:
    encoder = Encoder()
    encoder.encode([Event(0, {"a": "b"}), Event(1, {"a=b": 2.0}), Event(2, {"a": 1.0})])
    assert len(encoder.features) == 3


# Order and form.


@given(mixtures, st.randoms(use_true_random=False))
def test_the_order_of_a_mapping_plays_no_role(x: dict[str, Value], random: Any) -> None:
    items = list(x.items())
    random.shuffle(items)
    one, other = Encoder(), Encoder()
    assert_same_batch(
        one.encode([Event(0, x, ["b", "a"]), Event(1, x)]),
        other.encode([Event(0, dict(items), ["a", "b"]), Event(1, x)]),
    )
    assert one.features.names() == other.features.names()
    assert one.labels.names() == other.labels.names() == ["a", "b"]


def array_of(x: dict[str, Value], names: tuple[str, ...]) -> Any:
    return np.array([math.nan if x[n] is None else x[n] for n in names], dtype=np.float64)


@given(st.lists(mappings, max_size=5), st.permutations(NAMES), st.sampled_from([4, 100]))
def test_a_row_is_the_mapping(
    xs: list[dict[str, Value]], order: list[str], max_features: int
) -> None:
    """Dense and sparse rows, also with shared columns (`max_features` = 4)."""
    by_mapping, dense, sparse = (Encoder(max_features=max_features) for _ in range(3))
    names = tuple(order)
    # Declared names are known from the start, those of a mapping as they come.
    full: list[dict[str, Value]] = [{name: x.get(name, 0.0) for name in names} for x in xs]
    rows, few = [], []
    for x in full:
        values = array_of(x, names)
        there = np.flatnonzero(values != 0.0).astype(np.int32)
        rows.append(Row(names, values))
        few.append(Row(names, values[there], there))
    expected = by_mapping.encode([Event(0, x) for x in full])
    assert_same_batch(dense.encode([Event(0, x) for x in rows]), expected)
    assert_same_batch(sparse.encode([Event(0, x) for x in few]), expected)


@given(st.lists(mixtures, min_size=1, max_size=6), st.sampled_from([3, 100]))
def test_lookup_gives_the_ids_that_adding_gives(
    xs: list[dict[str, Value]], max_features: int
) -> None:
    encoder = Encoder(max_features=max_features)
    for x in xs:
        names = encoder.features.names()
        looked_up = encoder.lookup(x)
        assert encoder.features.names() == names
        assert_same_batch(looked_up, encoder.encode([Event(0, x)]))


@given(st.lists(mixtures, min_size=1, max_size=6), st.sampled_from([3, 100]))
def test_ids_ascend_and_zeros_are_not_stored(xs: list[dict[str, Value]], max_features: int) -> None:
    encoder = Encoder(max_features=max_features)
    batch = encoder.encode([Event(t, x) for t, x in enumerate(xs)])
    assert (batch.values != 0.0).all()
    assert batch.indptr.dtype == np.int64
    assert batch.indices.dtype == batch.known.dtype == batch.y_indices.dtype == np.int32
    for a, b in zip(batch.indptr[:-1], batch.indptr[1:], strict=True):
        assert (np.diff(batch.indices[a:b]) > 0).all()
    if len(batch.indices):
        assert batch.indices.max() < encoder.features.columns


# Bounds.


def test_past_the_bound_names_share_columns_by_hash() -> None:
    features = FeatureVocabulary(8)
    first = features.ids([f"n{i}" for i in range(8)], add=True)
    assert first.tolist() == list(range(8))
    assert features.full
    assert features.columns == 10
    later = features.ids([f"late {i}" for i in range(50)], add=True)
    assert set(later.tolist()) == {8, 9}
    assert len(features) == 8
    assert features.ids(["n3", "late 7"], add=True).tolist() == [3, later[7]]


def test_an_event_may_cross_the_bound() -> None:
    encoder = Encoder(max_features=2)
    batch = encoder.encode([Event(0, {"c": 3.0, "a": 1.0, "d": 4.0, "b": 2.0})])
    assert batch.indices.tolist() == [0, 1, 2]
    assert batch.values.tolist() == [1.0, 2.0, 7.0]  # c and d share the only column left


def test_hashed_columns_are_the_same_in_every_process() -> None:
    code = (
        "from ihomer.vocabulary import FeatureVocabulary as V\n"
        "v = V(40); v.ids([f'n{i}' for i in range(40)], add=True)\n"
        "keys = [f'späte {i}' for i in range(20)] + [('a', f'{i}') for i in range(20)]\n"
        "print(v.ids(keys, add=True).tolist())"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1
    ids = [int(number) for number in printed.pop().strip("[]\n").split(",")]
    assert set(ids) <= set(range(40, 50))
    assert len(set(ids)) > 5


@pytest.mark.parametrize("bound", [0, -1])
def test_bounds_are_at_least_one(bound: int) -> None:
    with pytest.raises(UsageError, match=f"max_features: found {bound}"):
        FeatureVocabulary(bound)
    with pytest.raises(UsageError, match=f"max_labels: found {bound}"):
        LabelVocabulary((), bound)


# Labels.


def test_labels_get_ids_when_they_are_first_on() -> None:
    encoder = Encoder(labels=("z", "declared"))
    batch = encoder.encode(
        [
            Event(0, {}, ["b", "a", "b"]),
            Event(1, {}, None),
            Event(2, {}, [], ["off"]),
            Event(3, {}, ["off", "a"]),
            Event(4, {}, ["z"]),
        ]
    )
    assert encoder.labels.names() == ["a", "b", "off", "z"]
    assert encoder.labels.unseen() == ["declared"]
    assert len(encoder.labels) == 5
    assert batch.known.tolist() == [0, 2, 2, 2, 3, 4]
    assert batch.n_labels == 4
    assert batch.labelled.tolist() == [True, False, True, True, True]
    assert batch.y_indptr.tolist() == [0, 2, 2, 2, 4, 5]
    assert batch.y_indices.tolist() == [0, 1, 0, 2, 3]
    assert encoder.labels.ranks().tolist() == [0, 1, 2, 3]
    assert [encoder.labels.get(name) for name in ("z", "declared", "unheard")] == [3, None, None]
    assert "declared" in encoder.labels
    assert "unheard" not in encoder.labels


def test_ranks_are_by_name() -> None:
    labels = LabelVocabulary()
    for name in ("m", "z", "a"):
        labels.ids([name])
        assert labels.ranks().tolist() == np.argsort(np.argsort(labels.names())).tolist()


def test_a_label_past_the_bound_is_an_error_or_is_dropped() -> None:
    strict = Encoder(max_labels=2)
    strict.encode([Event(0, {}, ["a"], ["b", "c"])])  # c is off: there is no room, and no loss
    assert strict.labels.unseen() == ["b"]
    before = pickle.dumps(strict)
    with pytest.raises(MalformedEventError, match="'c' is new and max_labels = 2") as caught:
        strict.add(Event(1, {"new": 1.0}, ["a", "c"]))
    assert (caught.value.stage, caught.value.kind) == ("vocabulary", "too-many-labels")
    assert pickle.dumps(strict) == before
    assert strict.encode([Event(2, {}, ["b"])]).y_indices.tolist() == [1]

    dropping = Encoder(max_labels=2, new_labels="drop")
    batch = dropping.encode([Event(0, {}, ["a", "b", "c"]), Event(1, {}, ["d"])])
    assert batch.y_indptr.tolist() == [0, 2, 2]
    assert dropping.labels.dropped == 2
    assert dropping.labels.names() == ["a", "b"]


def test_too_many_declared_labels() -> None:
    with pytest.raises(UsageError, match="max_labels: 3 labels declared, accepted: 2 at most"):
        LabelVocabulary("abc", 2)


# Batches.


@given(st.lists(mixtures, max_size=6), st.data())
def test_a_slice_is_the_batch_of_its_events(xs: list[dict[str, Value]], data: Any) -> None:
    on = [data.draw(st.none() | st.lists(st.sampled_from("abcd"), unique=True)) for _ in xs]
    given_events = [Event(t, x, y) for t, (x, y) in enumerate(zip(xs, on, strict=True))]
    start = data.draw(st.integers(0, len(xs)))
    stop = data.draw(st.integers(start, len(xs)))
    whole = Encoder().encode(given_events)
    encoder = Encoder()
    encoder.encode(given_events[:start])
    assert_same_batch(whole.slice(start, stop), encoder.encode(given_events[start:stop]))
    assert len(whole) == len(xs)


def test_a_malformed_event_in_the_middle_leaves_the_open_batch_whole() -> None:
    encoder, plain = Encoder(), Encoder()
    good = [Event(0, {"a": 1.0}, ["x"]), Event(1, {"b": 2.0}, ["y"])]
    encoder.add(good[0])
    with pytest.raises(MalformedEventError):
        encoder.add(Event("bad", {"c": math.inf}, ["z"]))
    assert len(encoder) == 1
    encoder.add(good[1])
    assert_same_batch(encoder.take(), plain.encode(good))
    assert len(encoder) == 0
    assert len(encoder.take()) == 0


def test_values_that_add_up_past_the_largest_number_stay_finite() -> None:
    encoder = Encoder(max_features=1)
    x: dict[str, Value] = {"a": 1.0, "b": 1e308, "c": 1e308, "d": 1e308}
    batch = encoder.encode([Event(0, x)])
    assert np.isfinite(batch.values).all()
    assert batch.values.max() == np.finfo(np.float64).max


NUMBERS = st.one_of(
    st.floats(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([10**400, 1e308, -1e308, math.inf, -math.inf, math.nan]),
    st.booleans(),
    st.none(),
    st.text(max_size=3),
    st.lists(st.text(max_size=2), max_size=2),
    st.fractions(),
    st.decimals(-1000, 1000),
    st.floats(-100.0, 100.0).map(np.float64),
    st.floats(-100.0, 100.0, width=32).map(np.float32),
    st.just(np.str_("1.5")),
    st.integers(-100, 100).map(np.int64),
    st.just(b"1"),
    st.just({}),
)


@given(st.dictionaries(st.sampled_from("abcdefg"), NUMBERS, max_size=7), st.data())
def test_numbers_are_known_by_their_sum_as_by_a_look_at_each(
    x: dict[str, Any], data: st.DataObject
) -> None:
    if data.draw(st.booleans()):  # or there would hardly ever be numbers only
        x = {name: value for name, value in x.items() if type(value) in (float, int)}

    def told(of: Any) -> Any:
        try:
            indices, values = of()
        except MalformedEventError as fault:
            return str(fault)
        return indices.tolist(), values.tobytes()

    ways = []
    for encoder in (Encoder(), Encoder()):
        encoder.add(Event(0, {"d": 1.0, "b": 1.0}))
        ways.append(encoder)
    one, other = ways
    assert told(lambda: one.features_of(x)) == told(lambda: other._mixed(x, add=False))


def test_columns_of_single_events_are_written_down_late_and_all_the_same() -> None:
    encoders = [Encoder(reuse_columns=True) for _ in range(2)]
    events = [Event(n, {f"w{n % 5}": 1.0, f"w{n % 7}": 2.0}, ["a"]) for n in range(200)]
    for event in events:
        encoders[0].encode([event])
    encoders[1].encode(events)
    one, other = (encoder.features.__getstate__() for encoder in encoders)
    assert one["_last"].tolist() == other["_last"].tolist()
    assert one["events"] == other["events"] == 200
