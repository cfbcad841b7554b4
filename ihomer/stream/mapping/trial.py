"""What events become under a configuration: tried, shown, counted.

In: settings and records. Out: the events that they are, and the reasons of those that are none. It
is here so that a mapping can be seen to be right before anything is learned by it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ihomer.connectors.base import Record
from ihomer.errors import MalformedEventError
from ihomer.instances import Encoder, Event, Features, LabelEvent, Row
from ihomer.stream.dead_letters import place_by_line, place_by_offset
from ihomer.stream.decode import id_by_line, id_by_offset
from ihomer.stream.decoder_hook import make_decoder
from ihomer.stream.settings import Settings


@dataclass
class Refusal:
    """Records that are refused for one kind of fault.

    Attributes
    ----------
    count
        How many.
    place, reason
        Of the first one.
    """

    count: int
    place: str
    reason: str


@dataclass
class Trial:
    """What became of some records.

    Attributes
    ----------
    found
        The events and the labels that come apart, in order.
    refused
        By kind of fault.
    unlabelled
        Number of events without labels.
    labels
        How often each label is on.
    """

    found: list[Event | LabelEvent] = field(default_factory=list)
    refused: dict[str, Refusal] = field(default_factory=dict)
    unlabelled: int = 0
    labels: dict[str, int] = field(default_factory=dict)

    @property
    def events(self) -> list[Event]:
        """The events among `found`."""
        return [each for each in self.found if isinstance(each, Event)]

    @property
    def n_refused(self) -> int:
        """How many records were refused."""
        return sum(refusal.count for refusal in self.refused.values())

    def to_json(self) -> dict[str, Any]:
        """As JSON values; features in full."""
        return {
            "accepted": len(self.found),
            "labels_only": len(self.found) - len(self.events),
            "unlabelled": self.unlabelled,
            "labels": self.labels,
            "refused": [
                {"kind": kind, "count": each.count, "place": each.place, "reason": each.reason}
                for kind, each in self.refused.items()
            ],
            "events": [_json(each) for each in self.found],
        }


def try_records(settings: Settings, records: Iterable[Record], *, topic: bool) -> Trial:
    """Decode and encode records, and learn nothing.

    Parameters
    ----------
    settings
        With a mapping or without.
    records
        As sources give them.
    topic
        Whether they are a topic's.

    Raises
    ------
    UsageError
        They are rows of a table, and there is no mapping.
    """
    decoder = make_decoder(settings, id_by_offset if topic else id_by_line)
    place = place_by_offset if topic else place_by_line
    late = settings.late_labels or settings.labels_source is not None
    encoder = Encoder(settings.labels, settings.max_features, settings.max_labels)
    trial = Trial()
    for record in records:
        try:
            each = decoder.decode_any(record) if late else decoder.decode(record)
            if isinstance(each, Event):
                encoder.add(each)
        except MalformedEventError as fault:
            reason = " ".join(fault.message.splitlines())
            refusal = trial.refused.setdefault(fault.kind, Refusal(0, place(record), reason))
            refusal.count += 1
            continue
        trial.found.append(each)
        trial.unlabelled += each.on is None
        for label in dict.fromkeys(each.on or ()):
            trial.labels[label] = trial.labels.get(label, 0) + 1
    return trial


def lines(trial: Trial, show: int, width: int = 8) -> list[str]:
    """The trial for a person: the first `show` events, `width` features of each, and counts."""
    told: list[str] = []
    for each in trial.found[:show]:
        at = "" if each.ts is None else f", ts {each.ts}"
        told.append(f"id {each.id!r}{at}")
        if each.on is None:
            told.append("  labels  none: predicted, not learned")
        else:
            off = f"; off: {_some(list(each.off), width)}" if each.off else ""
            told.append(f"  labels  {_some(list(each.on), width) or 'all off'}{off}")
        if isinstance(each, Event):
            features = list(members(each.x).items())
            told.append(f"  {len(features):,} features")
            told += [f"    {name} = {_value(value)}" for name, value in features[:width]]
            if len(features) > width:
                told.append(f"    and {len(features) - width:,} more")
        else:
            told.append("  labels alone, for an event of that id")
    apart = len(trial.found) - len(trial.events)
    counts = [f"{len(trial.events):,} events"]
    counts += [f"{apart:,} labels apart"] if apart else []
    counts += [f"{trial.unlabelled:,} without labels"] if trial.unlabelled else []
    counts += [f"{len(trial.labels):,} different labels", f"{trial.n_refused:,} refused"]
    told.append(", ".join(counts))
    for kind, refusal in trial.refused.items():
        told.append(f"refused {refusal.count:,}, {kind}: {refusal.place}: {refusal.reason}")
    return told


def members(x: Features) -> dict[str, Any]:
    """Features by name, whatever form they have.

    >>> members({"a": 1.0})
    {'a': 1.0}
    """
    if not isinstance(x, Row):
        return {str(name): value for name, value in x.items()}
    names: Sequence[str] = x.names
    if x.indices is not None:
        names = [x.names[index] for index in x.indices.tolist()]
    return dict(zip(names, x.values.tolist(), strict=True))


def _json(each: Event | LabelEvent) -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": each.id,
        "ts": each.ts,
        "on": None if each.on is None else list(each.on),
        "off": list(each.off),
    }
    if isinstance(each, Event):
        body["features"] = {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in members(each.x).items()
        }
    return body


def _some(names: Sequence[str], most: int) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(_value, names[:most])) + more


def _value(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "missing"
    if isinstance(value, float):
        return f"{value:g}"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 70 else f"{text[:67]}..."
