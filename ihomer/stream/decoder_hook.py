"""A decoder of the user's for what is no JSON: Avro or Protobuf in a topic, say.

In: ``"module:function"`` and the permission to run it; then records. Out: what the decoder behind
it makes of the object that the function returns for a record's bytes. It is here because there are
too many binary formats and registries to know them, and because code that a configuration names is
run only where somebody has said so.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import orjson

from ihomer.connectors.base import Record
from ihomer.connectors.kafka_settings import SCHEME
from ihomer.connectors.kafka_settings import parse_uri as parse_kafka
from ihomer.errors import MalformedEventError, UsageError
from ihomer.instances import Event, LabelEvent
from ihomer.stream.decode import MAX_EVENT_BYTES, Decoder, DefaultId, found, id_by_offset
from ihomer.stream.mapping.decoder import decoder_of
from ihomer.stream.settings import Settings, mask

Hook: TypeAlias = Callable[[bytes], Any]

_ADVICE = 'decoder = "module:function" with allow_code = true; see docs/operations/formats.md'
_MOST_SAID = 300


def load_hook(name: str | None, *, allowed: bool) -> Hook | None:
    """The function that a configuration names.

    Parameters
    ----------
    name
        ``"module:function"``; None: there is none.
    allowed
        Whether its code may be run; importing a module runs it.

    Returns
    -------
    callable or None
        Takes a record's value, bytes, and returns the event (or whatever a mapping is for) as a
        dictionary of JSON values.

    Raises
    ------
    UsageError
        It is not allowed, cannot be imported, or is no function.

    Examples
    --------
    >>> load_hook("json:loads", allowed=True)(b'{"x": {}}')
    {'x': {}}
    """
    if name is None:
        return None
    if not allowed:
        raise UsageError(
            f"decoder: found {name!r} and no permission to run it, accepted: with --allow-code (or"
            " allow_code = true)"
        )
    module, _, attribute = name.partition(":")
    try:
        value: Any = importlib.import_module(module)
        for part in attribute.split("."):
            value = getattr(value, part)
    except Exception as error:  # noqa: BLE001 (whatever the user's module does)
        raise UsageError(
            f"decoder: found {name!r}, which cannot be imported ({_said(error)}), accepted:"
            " module:function of an installed module, or of one on PYTHONPATH"
        ) from None
    if not callable(value):
        raise UsageError(f"decoder: found {name!r}, {_kind(value)}, accepted: a function")
    hook: Hook = value
    return hook


def make_decoder(settings: Settings, default_id: DefaultId = id_by_offset) -> Decoder:
    """The decoder that the settings ask for: a function of the user's, a mapping, or neither.

    Parameters
    ----------
    settings, default_id
        As of `ihomer.stream.mapping.decoder.decoder_of`.

    Raises
    ------
    UsageError
        As `load_hook`.
    """
    return with_hook(settings, decoder_of(settings, default_id))


def with_hook(settings: Settings, decoder: Decoder) -> Decoder:
    """A decoder that gives bytes to the function that `settings` name first, if they name one.

    Raises
    ------
    UsageError
        As `load_hook`.
    """
    hook = load_hook(settings.decoder, allowed=settings.allow_code)
    return decoder if hook is None else HookedDecoder(hook, decoder, settings.max_event_bytes)


def objects_of(settings: Settings, records: Iterable[Record]) -> Iterator[Record]:
    """Records whose values are what the function makes of them, if the settings name one.

    Parameters
    ----------
    settings
        With a decoder or without.
    records
        As sources give them.

    Yields
    ------
    Record
        With JSON, or with nothing as its value if the function refuses it.

    Raises
    ------
    UsageError
        As `load_hook`.
    """
    hook = load_hook(settings.decoder, allowed=settings.allow_code)
    if hook is None:
        yield from records
        return
    decoder = HookedDecoder(hook, Decoder(), settings.max_event_bytes)
    for record in records:
        try:
            yield decoder.as_json(record)
        except MalformedEventError:
            yield record._replace(value=None)


def check_decoder(settings: Settings) -> None:
    """Find out before any work is done that nobody could read what comes.

    Raises
    ------
    UsageError
        A topic says that it holds Avro or Protobuf, and there is no decoder; or as `load_hook`.
    """
    load_hook(settings.decoder, allowed=settings.allow_code)
    for uri in (*settings.source, *filter(None, [settings.labels_source])):
        if settings.decoder is not None or not uri.lower().startswith(SCHEME):
            continue
        form = parse_kafka(uri).format
        if form != "json":
            raise UsageError(
                f"{mask(uri)}: found format={form}, which ihomer does not read by itself, accepted:"
                f" json, or {_ADVICE}"
            )


class HookedDecoder(Decoder):
    """Gives bytes to a function, and what it returns to another decoder.

    Parameters
    ----------
    hook
        See `load_hook`.
    decoder
        For the object that it returns, as JSON.
    max_event_bytes
        Largest accepted size of a record's value and key, looked at before the function.

    Examples
    --------
    >>> decoder = HookedDecoder(lambda value: {"x": {"a": value[0]}, "y": ["news"]}, Decoder())
    >>> decoder.decode(Record(bytes([7]), "t", 0, 0)).x
    {'a': 7}
    """

    def __init__(
        self, hook: Hook, decoder: Decoder, max_event_bytes: int = MAX_EVENT_BYTES
    ) -> None:
        super().__init__(max_event_bytes=max_event_bytes)
        self._hook = hook
        self._decoder = decoder
        self._most = max_event_bytes

    def decode(self, record: Record) -> Event:
        """See `Decoder.decode`."""
        return self._decoder.decode(self.as_json(record))

    def decode_any(self, record: Record) -> Event | LabelEvent:
        """See `Decoder.decode_any`."""
        return self._decoder.decode_any(self.as_json(record))

    def as_json(self, record: Record) -> Record:
        """The record with what the function returns, as JSON; what is no bytes as it is.

        Raises
        ------
        MalformedEventError
            It is too large, the function fails, or returns what is no dictionary of JSON values.
        """
        value = record.value
        if not isinstance(value, bytes) or record.fault is not None:
            return record  # the decoder says what is wrong with it, if anything is
        if len(value) + len(record.key or b"") > self._most:
            super().decode(record)  # it is malformed
        try:
            body = self._hook(value)
        except Exception as error:  # noqa: BLE001 (whatever the user's function does)
            raise _fault(f"event: the decoder failed ({_said(error)})") from None
        if not isinstance(body, Mapping):
            raise _fault(f"event: the decoder returned {_kind(body)}, accepted: a dictionary")
        try:
            # What is no JSON, an infinite number say, must not get past the checks behind it.
            data = orjson.dumps(dict(body))
        except (TypeError, ValueError, RecursionError) as error:
            raise _fault(
                f"event: the decoder returned what JSON has no form for ({_said(error)}), accepted:"
                " a dictionary of numbers, strings, booleans, None, lists and dictionaries"
            ) from None
        return record._replace(value=data)


def _fault(message: str) -> MalformedEventError:
    return MalformedEventError("parse", "decoder", message)


def _said(error: Exception) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= _MOST_SAID else text[: _MOST_SAID - 3] + "..."


def _kind(value: object) -> str:
    shown = value is None or isinstance(value, str | int | float | list)
    return found(value) if shown else f"a value of type {type(value).__name__}"
