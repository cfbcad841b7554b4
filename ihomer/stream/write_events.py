"""Events as JSON objects, written to a file or a topic: any source becomes one that can be sent.

In: a source. Out: messages in the form that `ihomer.stream.decode` reads. It is here so that a
generated stream or a data set can be pushed through a broker and a daemon, with the truth that was
planted in it kept beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from ihomer.connectors.base import Message, Sink, Source
from ihomer.errors import InputError, MalformedEventError
from ihomer.instances import Event, Row
from ihomer.stream.dead_letters import place_by_line
from ihomer.stream.decode import Decoder, id_by_line

_BATCH = 1024


def event_object(event: Event) -> dict[str, Any]:
    """The JSON object of an event, which decodes to an event that is learned the same.

    Parameters
    ----------
    event
        Missing values become null; where labels are named as off, `y` is an object.

    Returns
    -------
    dict
        ``id`` and ``x``; ``y`` if it is labelled, ``ts`` if it has one.

    Examples
    --------
    >>> event_object(Event(7, {"length": 3.5, "colour": "red"}, on=["news"]))
    {'id': 7, 'x': {'length': 3.5, 'colour': 'red'}, 'y': ['news']}
    """
    found: dict[str, Any] = {"id": event.id, "x": _features(event)}
    if event.on is not None:
        on = list(event.on)
        found["y"] = dict.fromkeys(event.off, False) | dict.fromkeys(on, True) if event.off else on
    if event.ts is not None:
        found["ts"] = event.ts
    return found


def write_events(
    source: Source,
    sink: Sink,
    limit: int | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Write the events of `source` to `sink`, acknowledged at the end.

    Parameters
    ----------
    source, sink
        Both stay open.
    limit
        Largest number of events.
    on_progress
        Called with the number of events after each batch.

    Returns
    -------
    int
        Number of events written.

    Raises
    ------
    InputError
        An event is malformed; those before it are written.
    UnavailableError, InputError
        Of the source or the sink.
    """
    done = 0
    try:
        for events in read_events(source, limit):
            sink.write([Message(orjson.dumps(event_object(event))) for event in events])
            done += len(events)
            on_progress(done)
    finally:
        sink.flush()
    return done


def read_events(source: Source, limit: int | None = None) -> Iterator[list[Event]]:
    """The events of `source`, batch by batch.

    Parameters
    ----------
    source
        Stays open.
    limit
        Largest number of events.

    Yields
    ------
    list of Event
        At most 1,024.

    Raises
    ------
    InputError
        An event is malformed; those before it were yielded.
    UnavailableError, InputError
        Of the source.
    """
    decoder = Decoder(default_id=id_by_line)
    done = 0
    while limit is None or done < limit:
        records = source.next_batch(_BATCH if limit is None else min(_BATCH, limit - done), 1.0)
        if records is None:
            break
        events: list[Event] = []
        for record in records:
            try:
                events.append(decoder.decode(record))
            except MalformedEventError as fault:
                yield events
                raise InputError(f"{place_by_line(record)}: {fault}") from None
        yield events
        done += len(records)


def _features(event: Event) -> dict[str, Any]:
    if not isinstance(event.x, Row):
        return {str(name): _value(value) for name, value in event.x.items()}
    names, values, indices = event.x
    chosen = names if indices is None else [names[i] for i in indices.tolist()]
    return {name: _value(value) for name, value in zip(chosen, values.tolist(), strict=True)}


def _value(value: Any) -> Any:
    """NaN means missing, as null does in JSON."""
    return None if isinstance(value, float) and math.isnan(value) else value
