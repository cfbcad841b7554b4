"""Every configuration key: its type, its default, what it accepts and what it means.

In: values by key, in Python's types. Out: frozen `Settings`, or pydantic's `ValidationError`. It
is here so that a key is written down in one place, and everything else is told from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from ihomer.stream.settings.mapping_values import (
    field_names,
    filled_texts,
    flattened,
    label_places,
    named_as_feature,
    object_place,
    one_place,
)
from ihomer.stream.settings.values import (
    address,
    all_different,
    all_filled,
    app_name,
    default_state_dir,
    empty_is_none,
    folder,
    hook_name,
    one_or_many,
)

PREFIX = "IHOMER_"

_LARGEST_TABLE = 1_000_000_000  # column ids, the shared ones included, have to fit int32
_LARGEST_SEED = 2**32 - 1  # what numpy's and river's generators take


def _key(default: object, description: str, accepted: str = "", *, safe: bool = False) -> Any:
    """A key; safe: a model that has learned with another value goes on bit for bit."""
    return Field(
        default=default,
        description=description,
        json_schema_extra={"accepted": accepted, "safe_to_change": safe},
    )


def _number(default: int, low: int, high: int, description: str, *, safe: bool = False) -> Any:
    return Field(
        default=default,
        ge=low,
        le=high,
        strict=True,  # otherwise `true` would be 1
        description=description,
        json_schema_extra={
            "accepted": f"a whole number from {low} to {high}",
            "safe_to_change": safe,
        },
    )


class Settings(BaseSettings):
    """Every configuration key with its default.

    Constructing one reads neither file nor environment: that is `load_settings`'s business, which
    also remembers where each value came from.

    Examples
    --------
    >>> Settings(source="river:yeast", batch_size=128).source
    ['river:yeast']
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix=PREFIX)

    source: Annotated[
        list[str], NoDecode, BeforeValidator(one_or_many), AfterValidator(all_filled)
    ] = _key(
        [],
        "Where events come from; several sources are one stream, one after the other.",
        "a URI, or a list of URIs, such as kafka://host:9092/topic?group=name, file:PATH, -",
    )
    sink: Annotated[str | None, BeforeValidator(empty_is_none)] = _key(
        None, "Where predictions go.", 'a URI, or "" for none', safe=True
    )
    dead_letters: Annotated[str | None, BeforeValidator(empty_is_none)] = _key(
        None,
        "Where malformed events go; without it the first malformed event stops a daemon.",
        'a URI, or "" for none',
        safe=True,
    )
    errors_max_rate: Annotated[float, Field(strict=True)] = Field(
        default=0.5,
        ge=0.0,
        le=1.0,
        description="Share of malformed events above which the source is taken for a wrong one and"
        " the command ends; 1 is never.",
        json_schema_extra={"accepted": "a number from 0 to 1", "safe_to_change": True},
    )
    errors_window: int = _number(
        1_000,
        1,
        1_000_000_000,
        "The share is that of about so many last events, and nothing ends before so many have"
        " come.",
        safe=True,
    )
    events: Annotated[str | None, BeforeValidator(empty_is_none)] = _key(
        None,
        "Where alarms, splits, switches and whatever else happens to the model is written.",
        'a URI, or "" for none',
        safe=True,
    )
    names: Annotated[list[str], NoDecode, AfterValidator(all_different)] = _key(
        [],
        "Feature names, in order, for events whose x is an array.",
        "a list of different strings",
    )
    labels: Annotated[list[str], NoDecode, AfterValidator(all_different)] = _key(
        [], "Labels that are known before the first event.", "a list of different strings"
    )
    strict: Annotated[bool, Field(strict=True)] = _key(
        False, "Whether an event with a field that is not in the schema is malformed."
    )
    mapping_id: Annotated[str | None, AfterValidator(one_place), BeforeValidator(empty_is_none)] = (
        _key(
            None,
            "Where an event's id lies, if events have a shape of their own: any mapping_ key"
            " that is set makes every JSON object and every row of a table be read by all of them.",
            'a path such as "$.ticket.id", "$["any name"]", "$key", "$header.NAME" or "$timestamp",'
            ' or "" for the place of the record',
        )
    )
    mapping_labels: Annotated[
        list[str], NoDecode, BeforeValidator(one_or_many), AfterValidator(label_places)
    ] = _key(
        [],
        "Where its labels lie.",
        'a path or a list of different paths, such as "$.tags" or "$.labels[*].name"',
    )
    mapping_labels_as: Literal["names", "columns"] = _key(
        "names",
        "What lies there: names in a list, an object of booleans or one text; or in each place a"
        " boolean, and the last name in its path is the label's.",
    )
    mapping_labels_separator: Annotated[str, Field(strict=True)] = _key(
        "",
        "What separates several labels in one text.",
        'a text such as ",", or "" if the whole text is one label',
    )
    mapping_labels_unknown: Annotated[str, Field(strict=True)] = _key(
        "",
        "What stands in the place of labels that are not known, where nothing means that none is"
        " on: a cell of a CSV file can hold no null.",
        'a text such as "?" or "NA", or "" for none',
    )
    mapping_time: Annotated[
        str | None, AfterValidator(one_place), BeforeValidator(empty_is_none)
    ] = _key(None, "Where its time lies, which its prediction carries.", 'a path, or "" for none')
    mapping_time_unit: Literal["auto", "s", "ms", "us", "ns"] = _key(
        "auto",
        "Of what times that are numbers count the units since 1970; auto goes by their size.",
    )
    mapping_features: Annotated[str, AfterValidator(object_place)] = _key(
        "$",
        "The object whose members are features, and members of members.",
        'a path to an object, "$" for the whole record',
    )
    mapping_default: Literal["auto", "text", "nominal", "numeric", "time", "set", "ignore"] = _key(
        "auto",
        "The kind of fields that mapping_fields does not name; auto goes by the type of a value.",
    )
    mapping_fields: Annotated[
        dict[str, Literal["text", "nominal", "numeric", "time", "set", "ignore"]],
        NoDecode,
        BeforeValidator(flattened),
        AfterValidator(field_names),
    ] = _key(
        {},
        "Kinds of fields by name, members of members as a.b; a name stands for all below it, and"
        " the longest name counts. Also $key, $header.NAME and $timestamp of a topic's record.",
        'a table of name to "text", "nominal", "numeric", "time", "set" or "ignore"',
    )
    mapping_separators: Annotated[
        dict[str, str], NoDecode, BeforeValidator(flattened), AfterValidator(filled_texts)
    ] = _key(
        {},
        "Of fields of kind set that come as one text, what separates the items.",
        "a table of name to text",
    )
    mapping_text_bits: int = _number(
        18, 1, 30, "Each field of kind text has 2 to the power of so many buckets for its words."
    )
    mapping_text_bigrams: Annotated[bool, Field(strict=True)] = _key(
        False, "Whether two neighbouring words are a feature, too."
    )
    mapping_text_lower: Annotated[bool, Field(strict=True)] = _key(
        True, "Whether text is lower-cased."
    )
    mapping_text_weight: Literal["log", "count", "binary", "l2"] = _key(
        "log",
        "What n words in a bucket weigh: log(1 + n), n, 1, or log(1 + n) in a text of length 1.",
    )
    mapping_text_seed: int = _number(0, 0, _LARGEST_SEED, "Seed of the words' hash.")
    decoder: Annotated[str | None, AfterValidator(hook_name), BeforeValidator(empty_is_none)] = (
        _key(
            None,
            "A function of yours that makes a dictionary of an event's bytes, where these are no"
            " JSON (Avro, Protobuf); its code is run, so it needs allow_code.",
            '"module:function", or "" for none',
        )
    )
    allow_code: Annotated[bool, Field(strict=True)] = _key(
        False, "Whether the code that decoder names may be run.", safe=True
    )
    batch_size: int = _number(
        256,
        1,
        65_536,
        "Largest number of events that are predicted and learned in one step.",
        safe=True,
    )
    max_wait_ms: int = _number(
        50,
        1,
        60_000,
        "Milliseconds that an event waits for others before its batch is closed, that an empty"
        " source is waited for at a time, and a stop noticed.",
        safe=True,
    )
    transaction_events: int = _number(
        2_000,
        1,
        1_000_000,
        "A transaction (exactly-once) holds no more events; while one is committed the next is"
        " filled, and then reading waits.",
        safe=True,
    )
    transaction_mb: int = _number(
        8,
        1,
        1_024,
        "And no more bytes of them, in 2^20, unless a single event is larger; predictions count as"
        " soon as they are made.",
        safe=True,
    )
    fetch_mb: int = _number(
        16,
        1,
        1_024,
        "Bound in 2^20 bytes of what a broker sends ahead of what is processed.",
        safe=True,
    )
    queue_mb: int = _number(
        32,
        1,
        4_096,
        "Bound in 2^20 bytes of what is written to a topic and not acknowledged (at-least-once);"
        " past it nothing is processed until all of it is.",
        safe=True,
    )
    top_k: int = _number(
        10, 0, 1_000, "How many labels a prediction lists with their scores, best first.", safe=True
    )
    late_labels: Annotated[bool, Field(strict=True)] = _key(
        False,
        "Whether labels may come apart from their features: an event without y waits for an event"
        " with its id, y and no x.",
    )
    labels_source: Annotated[str | None, BeforeValidator(empty_is_none)] = _key(
        None,
        "Where labels come from, if they have a source of their own; sets late_labels.",
        'a URI, or "" for none',
    )
    label_wait_events: int = _number(
        1_000_000,
        0,
        1_000_000_000,
        "An event waits for its labels while no more events than these have come after it.",
    )
    label_wait_seconds: int = _number(
        86_400,
        1,
        1_000_000_000,
        "And while event time (the median ts of the last 31 events) has not gone on by more seconds"
        " than these.",
    )
    label_buffer_mb: int = _number(
        256,
        1,
        1_048_576,
        "Bound in 2^20 bytes of what is kept of events and labels that wait for each other.",
    )
    label_policy: Literal["drop", "negative", "hand-over"] = _key(
        "drop",
        "What becomes of an event whose wait ends without labels: nothing, it is learned as if no"
        " label was on, or it is written to unjoined.",
    )
    label_negative_weight: Annotated[float, Field(strict=True)] = Field(
        default=1.0,
        ge=0.0,
        le=1.0,
        description='Share of such events that are learned where label_policy is "negative".',
        json_schema_extra={"accepted": "a number from 0 to 1"},
    )
    unjoined: Annotated[str | None, BeforeValidator(empty_is_none)] = _key(
        None,
        'Where events without labels and labels without events go if label_policy is "hand-over".',
        'a URI, or "" for none',
        safe=True,
    )
    max_event_bytes: int = _number(
        1_000_000, 1, _LARGEST_TABLE, "Size in bytes above which an event is malformed."
    )
    objective: Literal["subset", "hamming", "micro-f1", "macro-f1"] = _key(
        "subset", "The measure that predicted label sets are made for; scores are the same for all."
    )
    threads: int = _number(
        1, 1, 256, "How many threads learn; predictions do not depend on their number.", safe=True
    )
    max_memory_mb: int = _number(512, 16, 1_048_576, "Bound of the learner's memory in 2^20 bytes.")
    max_features: int = _number(
        65_536,
        1,
        _LARGEST_TABLE,
        "Number of feature names with a column of their own; later names share columns by hash.",
    )
    max_labels: int = _number(1 << 20, 1, _LARGEST_TABLE, "Largest number of known labels.")
    new_labels: Literal["error", "drop"] = _key(
        "error",
        "What a new label past max_labels means: the event is malformed, or the label is left out.",
    )
    forget_labels_after: int = _number(
        100_000,
        4096,
        1_000_000_000,
        "A label that was not on in so many labelled events gives its memory back; it leaves a"
        " small record for its return.",
    )
    forget_features_after: int = _number(
        100_000,
        4096,
        1_000_000_000,
        "A feature that was in none of so many labelled events gives its column to a new one.",
    )
    seed: int = _number(0, 0, _LARGEST_SEED, "Seed of everything random.")
    delivery: Annotated[
        Literal["exactly-once", "at-least-once"] | None, BeforeValidator(empty_is_none)
    ] = _key(
        None,
        "What is promised to readers of the predictions after a crash; by default exactly-once"
        " where everything is topics or everything plain files, else at-least-once.",
        '"exactly-once" or "at-least-once", or "" for the best that is possible',
        safe=True,
    )
    app: Annotated[str | None, AfterValidator(app_name), BeforeValidator(empty_is_none)] = _key(
        None,
        "Name of the application: of its journal, groups, transactional ids and folder; by default"
        " the source's group, of files one made from source and sink.",
        "up to 200 letters, digits, '.', '_', '-', or \"\" for the default",
        safe=True,
    )
    slots: int = _number(
        1,
        1,
        1024,
        "Number of models; model s learns from the input's partitions p with p mod slots = s.",
    )
    start: Literal["earliest", "latest"] = _key(
        "earliest", "Where reading begins if nobody has read before.", safe=True
    )
    lost_events: Literal["fail", "skip"] = _key(
        "fail",
        "What events mean that a topic has deleted before they were learned: the end, or a gap.",
        safe=True,
    )
    checkpoint_seconds: int = _number(
        60,
        1,
        86_400,
        "A checkpoint is written after so many seconds, if anything was learned.",
        safe=True,
    )
    checkpoint_events: int = _number(
        50_000,
        1,
        1_000_000_000,
        "A checkpoint is written after so many events; a restart learns no more of them again"
        " than that and what is under way.",
        safe=True,
    )
    checkpoint_keep: int = _number(3, 1, 1000, "How many checkpoints are kept.", safe=True)
    stuck_seconds: int = _number(
        180,
        1,
        86_400,
        "After so many seconds without an answer to a commit the process ends with exit code 75,"
        " to be started again.",
        safe=True,
    )
    state_dir: Annotated[Path, BeforeValidator(folder)] = Field(
        default_factory=default_state_dir,
        description="Folder for what outlives a process.",
        json_schema_extra={"accepted": "the path of a folder", "safe_to_change": True},
    )
    data_dir: Annotated[Path | None, BeforeValidator(folder), BeforeValidator(empty_is_none)] = (
        _key(None, "Folder with data sets.", 'the path of a folder, or "" for none', safe=True)
    )
    http: Annotated[str | None, BeforeValidator(empty_is_none), AfterValidator(address)] = _key(
        None,
        "Where /metrics, /health/live and /health/ready are served; port 0 is any that is free.",
        'an IP address or localhost with a port, such as 127.0.0.1:9109 or [::1]:9109, or "" for'
        " nowhere; other addresses than this machine's own only with http_public = true",
        safe=True,
    )
    http_public: Annotated[bool, Field(strict=True)] = _key(
        False,
        "Whether http may name an address that other machines can reach; set a token then.",
        safe=True,
    )
    http_token_file: Annotated[
        Path | None, BeforeValidator(folder), BeforeValidator(empty_is_none)
    ] = _key(
        None,
        "File with the token that clients of http must send (Authorization: Bearer TOKEN); the"
        " environment variable IHOMER_HTTP_TOKEN can hold it instead.",
        'the path of a file, or "" for none',
        safe=True,
    )
    log_format: Literal["console", "json"] = _key("console", "How log lines look.", safe=True)
    log_level: Literal["debug", "info", "warning", "error"] = _key(
        "info", "The least severe log lines that are shown.", safe=True
    )

    @model_validator(mode="after")
    def _labels_are_no_features(self) -> Self:
        name = named_as_feature(self.mapping_labels, self.mapping_features, self.mapping_fields)
        if name is not None:
            raise PydanticCustomError(
                "mapping_fields",
                "found {name}, which mapping_labels names, accepted: other fields",
                {"name": name},
            )
        return self

    @property
    def mapped(self) -> bool:
        """Whether events are read by a mapping: a ``mapping_`` key differs from its default."""
        return any(
            getattr(self, name) != field.default
            for name, field in type(self).model_fields.items()
            if name.startswith("mapping_")
        )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only arguments: an embedded model must not change with its host's environment."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)
