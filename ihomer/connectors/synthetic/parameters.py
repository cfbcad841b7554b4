"""What a generated stream can be told: keys and values in, checked parameters out.

In: the pairs of a URI's query, or Python's keyword arguments. Out: `Parameters`. It is here so
that both are read by the same rules and refused in the same words. The package's docstring lists
the keys.

A change begins with ``drift=HOW``; the keys of a change that follow belong to it. So one change
reads ``drift=gradual&of=concept&at=0.5&width=2000``, and the next one just goes on behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import unquote

from ihomer.drift.schedule import HOWS, How, Schedule
from ihomer.errors import UsageError

Share: TypeAlias = float | int

#: Concepts whose labels follow the features, and those whose features follow the labels.
LABELS_FOLLOW = ("linear", "hyperplane", "rbf", "tree", "xor")
FEATURES_FOLLOW = ("text", "blocks")
NAMES = (*LABELS_FOLLOW, *FEATURES_FOLLOW)

#: What can change, and in which ways; the first one is what is meant without `what`.
WHATS: dict[str, tuple[str, ...]] = {
    "concept": ("redraw",),
    "structure": ("exchange", "merge", "split"),
    "priors": ("rank", "cardinality"),
    "labels": ("born", "dying"),
    "features": ("replace", "vanish", "appear"),
}
_SIZES = {
    "redraw": 1.0,
    "exchange": 0.5,
    "merge": 0.5,
    "split": 0.5,
    "rank": 1.0,
    "born": 0.2,
    "dying": 0.2,
    "replace": 0.3,
    "vanish": 0.3,
    "appear": 0.3,
}


@dataclass(frozen=True, slots=True)
class Drift:
    """One change.

    Parameters
    ----------
    how
        ``sudden``, ``gradual``, ``incremental``, ``recurring`` or ``blip``.
    of
        A key of `WHATS`; None: the concept, for `blocks` the structure.
    what
        One of its ways; None: the first one.
    at
        The event at which it starts; below 1 a share of the stream's events.
    width
        Events of the transition (``gradual``, ``incremental``, ``blip``); below 1 a share. None:
        a tenth of the stream.
    period
        Events between two steps (``recurring``); below 1 a share. None: a fifth of the stream.
    size
        Share of what is affected: labels (``redraw`` takes as large a share of the blocks),
        blocks (``merge``, ``split``), features. None: 1 for ``redraw`` and ``rank``, .5 for the
        structure, .2 for labels born or dying (against those at the start), .3 for features.
    factor
        ``cardinality`` multiplies the labels per event by it. None: 1.5.
    """

    how: str
    of: str | None = None
    what: str | None = None
    at: Share = 0.5
    width: Share | None = None
    period: Share | None = None
    size: float | None = None
    factor: float | None = None


_DRIFT_KEYS = tuple(f.name for f in fields(Drift) if f.name != "how")


@dataclass(frozen=True, slots=True)
class Planned:
    """A `Drift` with nothing left open.

    Attributes
    ----------
    schedule
        When.
    of, what, size, factor
        See `Drift`.
    """

    schedule: Schedule
    of: str
    what: str
    size: float
    factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """The parameters of one stream; the package's docstring says what they mean."""

    name: str
    events: int = 50_000
    seed: int = 0
    labels: int = 8
    blocks: int = 2
    two: float = 0.3
    within: float = 0.5
    over: float = 0.5
    noise: float = 0.02
    features: int = 30
    irrelevant: int = 10
    cardinality: float = 2.0
    signal: float = 4.0
    dependence: float = 1.0
    feature_noise: float = 0.1
    turn: int = 50_000
    centroids: int = 30
    depth: int = 5
    one_block: tuple[int, int] = (1, 4)
    two_blocks: tuple[int, int] = (1, 2)
    words: int = 50_000
    label_words: int = 8
    block_words: int = 12
    label_draws: int = 5
    block_draws: int = 6
    background: int = 56
    zipf: float = 1.0
    drift: tuple[Planned, ...] = field(default=())


# What a chunk needs of memory grows with them.
_BLOCK_LIMIT = 5_000
_LABELS_LIMIT = 100_000
_BLOCKS_LIMIT = 10_000


class _Bounds(NamedTuple):
    kind: str  # "integer", "number" or "range"
    least: float
    most: float


_KEYS = {
    "events": _Bounds("integer", 0, 10**15),
    "seed": _Bounds("integer", 0, 2**63 - 1),
    "labels": _Bounds("integer", 1, 1_000_000),
    "blocks": _Bounds("integer", 1, 1_000_000),
    "two": _Bounds("number", 0, 1),
    "within": _Bounds("number", 0, 5),
    "over": _Bounds("number", 0, 5),
    "noise": _Bounds("number", 0, 1),
    "features": _Bounds("integer", 1, 100_000),
    "irrelevant": _Bounds("integer", 0, 100_000),
    "cardinality": _Bounds("number", 0.01, 10_000),
    "signal": _Bounds("number", 0, 100),
    "dependence": _Bounds("number", -20, 20),
    "feature_noise": _Bounds("number", 0, 100),
    "turn": _Bounds("integer", 1, 10**15),
    "centroids": _Bounds("integer", 2, 10_000),
    "depth": _Bounds("integer", 1, 12),
    "one_block": _Bounds("range", 1, 1000),
    "two_blocks": _Bounds("range", 1, 1000),
    "words": _Bounds("integer", 2, 10_000_000),
    "label_words": _Bounds("integer", 1, 1000),
    "block_words": _Bounds("integer", 1, 1000),
    "label_draws": _Bounds("integer", 0, 1000),
    "block_draws": _Bounds("integer", 0, 1000),
    "background": _Bounds("integer", 0, 10_000),
    "zipf": _Bounds("number", 0, 5),
}
_COMMON = ("events", "seed", "labels", "blocks", "two", "within", "over", "noise")
_FOLLOWING = (*("features", "irrelevant", "cardinality", "signal", "dependence", "feature_noise"),)
_GIVEN_SETS = ("one_block", "two_blocks")
ACCEPTED: dict[str, tuple[str, ...]] = {
    "linear": (*_COMMON, *_FOLLOWING),
    "hyperplane": (*_COMMON, *_FOLLOWING, "turn"),
    "rbf": (*_COMMON, *_FOLLOWING, "centroids"),
    "tree": (*_COMMON, *_FOLLOWING, "depth"),
    "xor": (*_COMMON, *_FOLLOWING),
    "text": (
        *(*_COMMON, *_GIVEN_SETS, "words", "label_words", "block_words", "label_draws"),
        *("block_draws", "background", "zipf"),
    ),
    "blocks": (*_COMMON, *_GIVEN_SETS, "features"),
}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "xor": {"features": 10},
    "text": {
        "labels": 1000,
        "within": 0.8,
        "over": 0.8,
        "noise": 0.05,
        "one_block": (1, 5),
        "two_blocks": (1, 2),
    },
    "blocks": {"labels": 40, "two": 0.2, "noise": 0.05, "features": 3},
}
# Labels of a block where `blocks` is not given: up to so many labels, and beyond.
_FEW = 100
_PER_BLOCK = {"text": 20, "blocks": 5}
_PER_BLOCK_OF_MANY = 20


def parse_query(name: str, query: str) -> Parameters:
    """Parameters of the stream `name` from the text behind a URI's ``?``.

    Raises
    ------
    UsageError
        Naming the key, what was found and what is accepted.
    """
    uri = f"synthetic:{name}"
    given: dict[str, Any] = {}
    drifts: list[dict[str, Any]] = []
    accepted = accepted_keys(name)
    for part in query.split("&") if query else ():
        key, equals, value = part.partition("=")
        value = unquote(value)
        if key != "drift" and key not in accepted and key not in _DRIFT_KEYS:
            raise UsageError(f"{uri}: found parameter {key!r}, accepted: {_words(name)}")
        if not equals or not value:
            raise UsageError(f"{uri}: parameter {key} has no value, accepted: {key}=...")
        if key == "drift":
            drifts.append({"how": value})
        elif key in _DRIFT_KEYS:
            if not drifts:
                raise UsageError(
                    f"{uri}: found {key}={value} before a drift, accepted: behind it,"
                    f" as in drift=sudden&{key}={value}"
                )
            if key in drifts[-1]:
                raise UsageError(f"{uri}: found {key} twice for one drift, accepted: once")
            drifts[-1][key] = value
        elif key in given:
            raise UsageError(f"{uri}: found parameter {key!r} twice, accepted: once")
        else:
            given[key] = value
    return check(name, given, [Drift(**drift) for drift in drifts])


def accepted_keys(name: str) -> tuple[str, ...]:
    """Keys of the stream `name`, those of changes not among them.

    Raises
    ------
    UsageError
        There is no such stream.
    """
    if name not in ACCEPTED:
        raise UsageError(
            f"synthetic:{name}: found {name!r}, accepted:"
            f" {', '.join(f'synthetic:{known}' for known in NAMES)}"
        )
    return ACCEPTED[name]


def check(
    name: str, given: Mapping[str, Any], drifts: Sequence[Drift] | Drift | str = ()
) -> Parameters:
    """Parameters of the stream `name`; numbers may be given as text.

    Raises
    ------
    UsageError
        Naming the key, what was found and what is accepted.
    """
    accepted = accepted_keys(name)
    uri = f"synthetic:{name}"
    values = dict(_DEFAULTS.get(name, {}))
    for key, value in given.items():
        if key not in accepted:
            raise UsageError(f"{uri}: found parameter {key!r}, accepted: {_words(name)}")
        values[key] = _value(f"{uri}: {key}", value, _KEYS[key])
    labels = values.setdefault("labels", 8)
    if "blocks" not in values:
        each = _PER_BLOCK.get(name, 4) if labels < _FEW else _PER_BLOCK_OF_MANY
        values["blocks"] = max(1, round(labels / each))
    if "irrelevant" not in values and "irrelevant" in accepted:
        values["irrelevant"] = values.get("features", 30) // 3
    parameters = Parameters(name=name, **values)
    _check_together(uri, parameters)
    wanted: Iterable[Drift]
    if isinstance(drifts, str):
        wanted = [Drift(drifts)]
    else:
        wanted = [drifts] if isinstance(drifts, Drift) else drifts
    plans = tuple(_plan(uri, parameters, d) for d in wanted if d.how != "none")
    return Parameters(name=name, **values, drift=plans)


def _check_together(uri: str, p: Parameters) -> None:
    if p.blocks > p.labels:
        raise UsageError(
            f"{uri}: blocks: found {p.blocks} for {p.labels} labels, accepted: 1 to {p.labels}"
        )
    if p.labels > _BLOCK_LIMIT * p.blocks:
        raise UsageError(
            f"{uri}: blocks: found {p.blocks} for {p.labels} labels, accepted:"
            f" {-(-p.labels // _BLOCK_LIMIT)} or more, {_BLOCK_LIMIT} labels in a block at most"
        )
    if p.name not in LABELS_FOLLOW:
        return
    for key, most in (("labels", _LABELS_LIMIT), ("blocks", _BLOCKS_LIMIT)):
        if getattr(p, key) > most:
            raise UsageError(
                f"{uri}: {key}: found {getattr(p, key)}, accepted: up to {most:,} here, 1,000,000"
                " for text and blocks"
            )
    least = 2 if p.name in ("xor", "hyperplane") else 1
    if p.features - p.irrelevant < least:
        raise UsageError(
            f"{uri}: irrelevant: found {p.irrelevant} of {p.features} features,"
            f" accepted: {least} or more features are left"
        )
    _check_cardinality(f"{uri}: cardinality", p, 1.0)


def _check_cardinality(where: str, p: Parameters, factor: float) -> None:
    # Two blocks cannot be active where there is one.
    most = 0.9 * p.labels / p.blocks * (1 + (p.two if p.blocks > 1 else 0.0))
    if p.cardinality * factor > most:
        raise UsageError(
            f"{where}: found {p.cardinality * factor:g} labels per event, accepted: up to"
            f" {most:.3g}, 90% of the labels in active blocks (labels / blocks * (1 + two))"
        )


def _plan(uri: str, p: Parameters, drift: Drift) -> Planned:
    if drift.how not in HOWS:
        raise UsageError(f"{uri}: drift: found {drift.how!r}, accepted: none, {', '.join(HOWS)}")
    how: How = drift.how
    uri = f"{uri}: drift={how}"
    of = drift.of or ("structure" if p.name == "blocks" else "concept")
    possible = [word for word in WHATS if not (word == "concept" and p.name == "blocks")]
    if of not in possible:
        raise UsageError(f"{uri}: of: found {of!r}, accepted: {', '.join(possible)}")
    what = drift.what or WHATS[of][0]
    if what not in WHATS[of]:
        raise UsageError(
            f"{uri}: what: found {what!r}, accepted for of={of}: {', '.join(WHATS[of])}"
        )
    for key, hows in (("width", ("gradual", "incremental", "blip")), ("period", ("recurring",))):
        if getattr(drift, key) is not None and how not in hows:
            raise UsageError(f"{uri}: found {key}, accepted for: {', '.join(hows)}")
    if drift.factor is not None and what != "cardinality":
        raise UsageError(f"{uri}: found factor, accepted for: what=cardinality")
    if drift.size is not None and what == "cardinality":
        raise UsageError(f"{uri}: found size, accepted for what=cardinality: factor")
    schedule = Schedule(
        how,
        start=_events(f"{uri}: at", drift.at, p.events, 0),
        width=_events(f"{uri}: width", 0.1 if drift.width is None else drift.width, p.events, 1)
        if how in ("gradual", "incremental", "blip")
        else 0,
        period=_events(f"{uri}: period", 0.2 if drift.period is None else drift.period, p.events, 1)
        if how == "recurring"
        else 0,
    )
    if p.events and schedule.start >= p.events:
        raise UsageError(
            f"{uri}: at: found {drift.at} in a stream of {p.events} events, accepted:"
            " an event before its end"
        )
    if not p.events and how == "recurring":
        raise UsageError(f"{uri}: found events=0 (no end), accepted: a number of events")
    size = _SIZES.get(what, 1.0) if drift.size is None else drift.size
    factor = 1.5 if drift.factor is None else drift.factor
    size = _value(f"{uri}: size", size, _Bounds("number", 1e-6, 1))
    factor = _value(f"{uri}: factor", factor, _Bounds("number", 0.01, 100))
    if what == "cardinality" and p.name in LABELS_FOLLOW:
        _check_cardinality(f"{uri}: factor", p, factor)
    return Planned(schedule, of, what, size, factor)


def _events(where: str, value: object, events: int, least: int) -> int:
    """A number of events, or a share of `events`."""
    number = float(_value(where, value, _Bounds("number", 0, 10**15)))
    if 0.0 < number < 1.0:
        if not events:
            raise UsageError(
                f"{where}: found {value}, a share of a stream without end, accepted:"
                " a number of events"
            )
        return max(least, round(number * events))
    whole: int = int(number)
    if number != whole or whole < least:
        raise UsageError(
            f"{where}: found {value}, accepted: a share below 1 or a number of events from {least}"
        )
    return whole


def _value(where: str, value: object, bounds: _Bounds) -> Any:
    try:
        if bounds.kind == "range":
            pair = _pair(value)
            if bounds.least <= pair[0] <= pair[1] <= bounds.most:
                return pair
        elif not isinstance(value, bool) and isinstance(value, int | float | str):
            number = float(value)
            if bounds.kind == "integer" and number.is_integer():
                number = int(value)
            whole = bounds.kind == "number" or number == int(number)
            if whole and bounds.least <= number <= bounds.most:
                return number
    except ValueError:
        pass  # said below, in the same words as a number out of bounds
    kind = {"integer": "an integer", "number": "a number", "range": "a range such as 1-4"}
    raise UsageError(
        f"{where}: found {value!r}, accepted: {kind[bounds.kind]} from {bounds.least:,} to"
        f" {bounds.most:,}"
    )


def _pair(value: object) -> tuple[int, int]:
    """``"1-4"``, ``"3"``, 3 or ``(1, 4)`` as least and most."""
    if isinstance(value, str):
        least, dash, most = value.partition("-")
        return int(least), int(most if dash else least)
    if isinstance(value, int) and not isinstance(value, bool):
        return value, value
    if isinstance(value, tuple) and len(value) == 2 and all(type(v) is int for v in value):
        return value
    raise ValueError(value)


def _words(name: str) -> str:
    return f"{', '.join(ACCEPTED[name])}, drift (and behind it {', '.join(_DRIFT_KEYS)})"
