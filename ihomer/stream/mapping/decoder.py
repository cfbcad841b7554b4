"""The mapping put together: records in somebody else's shape to events.

In: `Settings` and records. Out: `MappedDecoder`, which is a `Decoder` for everything that uses one.
It is here so that the processor, late labels, dead letters and checkpoints need not know that there
is a mapping.

The id is a string or an integer as in our own events, and must be there if the mapping names one.
The time becomes the event's ``ts``: RFC 3339 text as it is, other text brought to it, in UTC,
a number in milliseconds. What ``id``, ``labels`` and ``time`` name is no feature, unless
``mapping_fields`` names it, which labels cannot be.

Where labels may come late, a record with labels and without a value in any feature's field (all
are absent, null or empty) is the labels of the event of its id. A record without any field that
would be a feature is malformed, unless an object at ``mapping_features`` says so by being empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from ihomer.connectors.base import Record
from ihomer.instances import Event, EventId, Features, LabelEvent, Row
from ihomer.stream.decode import (
    Decoder,
    DefaultId,
    checked_id,
    found,
    id_by_offset,
    is_rfc_3339,
    malformed,
)
from ihomer.stream.mapping.fields import Fields
from ihomer.stream.mapping.labels import labels_finder
from ihomer.stream.mapping.moments import ACCEPTED as TIME_ACCEPTED
from ihomer.stream.mapping.moments import moment, rfc_3339
from ihomer.stream.mapping.paths import ABSENT, Path, follow, is_meta, meta_value, parse_path
from ihomer.stream.mapping.text import TextOptions, Words
from ihomer.stream.settings import Settings

_SHOWN_WORDS = 5  # of one bucket


def decoder_of(settings: Settings, default_id: DefaultId = id_by_offset) -> Decoder:
    """The decoder that the settings ask for.

    Parameters
    ----------
    settings
        With or without a mapping.
    default_id
        As of `Decoder`.
    """
    if settings.mapped:
        return MappedDecoder(settings, default_id)
    return Decoder(settings.names, settings.strict, settings.max_event_bytes, default_id)


class MappedDecoder(Decoder):
    """Turns records into events as ``mapping_*`` of the settings say, or says why not.

    Parameters
    ----------
    settings
        With a mapping.
    default_id
        Makes the id of an event if the mapping names none.

    Examples
    --------
    >>> settings = Settings(
    ...     mapping_id="$.ticket.id",
    ...     mapping_labels="$.tags",
    ...     mapping_fields={"ticket.title": "nominal"},
    ... )
    >>> decoder = MappedDecoder(settings)
    >>> value = b'{"ticket": {"id": 7, "title": "Printer", "age": 3}, "tags": ["hardware"]}'
    >>> decoder.decode(Record(value, "tickets", 0, 5))
    Event(id=7, x={'ticket.title': 'Printer', 'ticket.age': 3}, on=['hardware'], off=(), ts=None)
    """

    def __init__(self, settings: Settings, default_id: DefaultId = id_by_offset) -> None:
        super().__init__((), settings.strict, settings.max_event_bytes, default_id)
        self._unit = settings.mapping_time_unit
        self._id = _path(settings.mapping_id)
        self._time = _path(settings.mapping_time)
        labels = [parse_path(path) for path in settings.mapping_labels]
        self._labels = labels_finder(
            labels,
            settings.mapping_labels_as,
            settings.mapping_labels_separator,
            settings.mapping_labels_unknown,
        )
        self._root = parse_path(settings.mapping_features).steps
        rules = self._rules = settings.mapping_fields
        # Fields of the record around the value are named in full, and nobody else's.
        self._meta = [name for name in rules if is_meta(name)]
        self._slow = bool(self._meta or self._root)  # features are not the record's members alone
        places = [path for path in (self._id, self._time, *labels) if path and not path.meta]
        hidden = {self._below(path.steps) for path in places}
        hidden -= {steps for steps in hidden if steps and ".".join(steps) in rules}
        self._options = TextOptions(
            settings.mapping_text_bits,
            settings.mapping_text_bigrams,
            settings.mapping_text_lower,
            settings.mapping_text_weight,
            settings.mapping_text_seed,
        )
        self._fields = Fields(
            rules,
            settings.mapping_default,
            {steps for steps in hidden if steps},
            self._options,
            settings.mapping_separators,
            settings.mapping_time_unit,
            strict=settings.strict,
        )

    def called(self, record: Record) -> dict[str, str]:
        """What a record's text features are called: the words that fall in each bucket.

        Parameters
        ----------
        record
            One that `decode` takes.

        Returns
        -------
        dict
            By name of a feature, such as ``body#4711``, something like ``body: "refund"``.

        Examples
        --------
        >>> decoder = MappedDecoder(Settings(mapping_fields={"body": "text"}, mapping_text_bits=1))
        >>> decoder.called(Record(b'{"body": "to be or not"}', "tickets", 0, 5))
        {'body#0': 'body: "to", "be", "not"', 'body#1': 'body: "or"'}
        """
        value = record.value
        data = orjson.loads(value) if isinstance(value, bytes) else value
        root = follow(data, self._root)
        texts = list(self._fields.texts(root)) if isinstance(root, Mapping) else []
        for name in self._meta:
            if self._rules[name] == "text":
                said = meta_value(name, record)
                texts += [(name, said)] if type(said) is str else []
        found: dict[str, str] = {}
        for name, text in texts:
            for feature, words in Words(name, self._options).said(text).items():
                shown = ", ".join(f'"{word}"' for word in words[:_SHOWN_WORDS])
                more = len(words) - _SHOWN_WORDS
                found[feature] = f"{name}: {shown}" + (f" and {more} more" if more > 0 else "")
        return found

    def _below(self, steps: tuple[str, ...]) -> tuple[str, ...]:
        """The steps from the features' root on; none if it is not below."""
        n = len(self._root)
        return steps[n:] if steps[:n] == self._root else ()

    def _row(self, row: Mapping[str, Any], record: Record) -> Mapping[str, Any]:
        del record
        return row

    def _read(self, data: Mapping[str, Any], record: Record, *, late: bool) -> Event | LabelEvent:
        on, off = self._labels(data, record)
        ts = None if self._time is None else self._ts(self._time, data, record)
        x: Features | None = None if self._slow else self._fields.row(data)
        if x is None or late:
            x = self._x(data, record, late=late and on is not None)
            if x is None:
                return LabelEvent(self._event_id(data, record, late=True), on or [], off, ts)
        return Event(self._event_id(data, record, late=False), x, on, off, ts)

    def _event_id(self, data: Mapping[str, Any], record: Record, *, late: bool) -> EventId:
        if self._id is None:
            if late:
                raise malformed(
                    "id-missing",
                    "id: not found beside labels without features, accepted: the id of the event"
                    " whose labels these are, at a path that mapping_id names",
                )
            return self._default_id(record)
        path = self._id
        value = path.find(data, record) if path.meta else follow(data, path.steps)
        if value is ABSENT or value is None:
            raise malformed(
                "id-absent",
                f"{self._id.text}: found {'nothing' if value is ABSENT else 'null'}, accepted: the"
                " event's id (mapping_id)",
            )
        return checked_id(value)

    def _x(self, data: Mapping[str, Any], record: Record, *, late: bool) -> Features | None:
        """Features, or None where there is none and labels may stand alone."""
        fields, found_there = self._fields, follow(data, self._root)
        there = found_there is not ABSENT and found_there is not None
        if there and type(found_there) is not dict and not isinstance(found_there, Mapping):
            raise malformed(
                "features-absent",
                f"features: found {found(found_there)}, accepted: an object (mapping_features)",
            )
        root: Mapping[str, Any] = found_there if there else {}
        extra = self._around(record) if self._meta else None
        around = bool(extra)
        x = fields.read(root, extra)
        if isinstance(x, Row):
            return None if late and np.isnan(x.values).all() else x
        if late and not fields.any_in(root, valued=True):
            return None
        if not x and not around and not fields.any_in(root, valued=False):
            empty = there and not root and bool(self._root)
            if not empty:
                raise malformed(
                    "features-absent",
                    "features: found none of the fields that would be features, accepted: one at"
                    " least (mapping_features, mapping_fields, mapping_default)",
                )
        return x

    def _around(self, record: Record) -> dict[str, Any]:
        """Features of the record's key, headers and timestamp."""
        into: dict[str, Any] = {}
        for name in self._meta:
            value = meta_value(name, record)
            if value is not ABSENT:
                self._fields.put(name, value, into)
        return into

    def _ts(self, path: Path, data: Mapping[str, Any], record: Record) -> str | int | None:
        value = path.find(data, record)
        if value is ABSENT or value is None or value == "":
            return None
        when = moment(value, self._unit)
        if when is None:
            raise malformed(
                "time-value", f"{path.text}: found {found(value)}, accepted: {TIME_ACCEPTED}"
            )
        if when.numeric:
            return when.ms
        # Its day exists, or it would be no moment.
        return value if type(value) is str and is_rfc_3339(value) else rfc_3339(when.ms)


def _path(text: str | None) -> Path | None:
    return parse_path(text) if text else None
