"""Which keys differ from those that a model was learned with, and which may."""

from __future__ import annotations

import pytest

from ihomer.stream.checkpoints import changed_keys, configuration_of
from ihomer.stream.checkpoints.configuration import configuration_hash, is_safe
from ihomer.stream.settings import Settings

# Whatever the model, or what is decoded again after a crash, depends on.
BINDING = {
    "source",
    "names",
    "labels",
    "strict",
    "mapping_id",
    "mapping_labels",
    "mapping_labels_as",
    "mapping_labels_separator",
    "mapping_labels_unknown",
    "mapping_time",
    "mapping_time_unit",
    "mapping_features",
    "mapping_default",
    "mapping_fields",
    "mapping_separators",
    "mapping_text_bits",
    "mapping_text_bigrams",
    "mapping_text_lower",
    "mapping_text_weight",
    "mapping_text_seed",
    "decoder",
    "max_event_bytes",
    "objective",
    "max_memory_mb",
    "max_features",
    "max_labels",
    "new_labels",
    "forget_labels_after",
    "seed",
}


def test_every_key_of_the_model_is_binding() -> None:
    assert {name for name in Settings.model_fields if not is_safe(name)} >= BINDING


def test_nothing_differs_from_itself() -> None:
    settings = Settings(source=["river:yeast"], labels=["a"])
    assert changed_keys(configuration_of(settings), settings) == []


def test_keys_that_differ_are_named_the_binding_ones_first() -> None:
    stored = configuration_of(Settings(source=["a.jsonl"], seed=1, top_k=3, objective="hamming"))
    found = changed_keys(stored, Settings(source=["a.jsonl"], seed=2, top_k=4))
    assert [(key.name, key.stored, key.current, key.safe) for key in found] == [
        ("objective", "hamming", "subset", False),
        ("seed", 1, 2, False),
        ("top_k", 3, 4, True),
    ]


def test_a_key_that_is_new_had_its_default() -> None:
    stored = configuration_of(Settings())
    del stored["seed"], stored["top_k"]
    assert changed_keys(stored, Settings()) == []
    assert [key.name for key in changed_keys(stored, Settings(seed=5))] == ["seed"]


def test_a_topic_may_move_to_other_brokers_but_be_no_other_topic() -> None:
    stored = configuration_of(Settings(source=["kafka://me:pw@a:9092,b:9092/events?group=g"]))
    moved = Settings(source=["kafka://c:9093/events?group=h"])
    other = Settings(source=["kafka://a:9092,b:9092/others?group=g"])
    assert changed_keys(stored, moved) == []
    assert [key.name for key in changed_keys(stored, other)] == ["source"]


def test_nothing_secret_is_stored() -> None:
    uri = "kafka://user:word@host:9092/topic?sasl_password=word"
    settings = Settings(source=[uri], sink=uri, dead_letters=uri, events=uri)
    stored = str(configuration_of(settings))
    assert ":word" not in stored
    assert "=word" not in stored


@pytest.mark.parametrize(("key", "value"), [("seed", 3), ("top_k", 3)])
def test_the_hash_is_of_the_binding_keys(key: str, value: int) -> None:
    one, other = configuration_of(Settings()), configuration_of(Settings(**{key: value}))  # type: ignore[arg-type]
    assert (configuration_hash(one) == configuration_hash(other)) == is_safe(key)
