"""Times as others write them: to an event's ``ts``, and to hour of day and day of week.

In: a string, a number, or a `datetime` of a table. Out: milliseconds since 1970 in UTC, the text or
number that an event carries, or four numbers on two circles. It is here because 23:59 and 00:01 are
two minutes apart, and because nobody agrees on how a time is written.

Accepted are strings of ISO 8601's calendar form, of which RFC 3339 is a part (``2024-05-01``,
``2024-05-01 12:00``, ``2024-05-01T12:00:00.25+02:00``), and numbers since 1970, also as text, whose
unit is told or seen from their size: below 1e11 seconds, below 1e14 milliseconds, below 1e17
microseconds, else nanoseconds. Everything is taken to UTC by the offset that is given; without
one it is UTC already. A day without a time is its midnight.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

MIN_EPOCH_MS = -62_135_596_800_000  # 0001-01-01T00:00:00Z
MAX_EPOCH_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z

ACCEPTED = (
    "a time such as 2024-05-01T12:00:00Z, 2024-05-01 12:00 or 2024-05-01, or a number since 1970"
    " (mapping_time_unit) within the years 1 to 9999"
)
UNITS = {"s": 1000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
SUFFIXES = ("hour.sin", "hour.cos", "day.sin", "day.cos")
"""Of the names of the four features that a time becomes; hour of day with minutes, and weekday."""

_DAY_MS = 86_400_000
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_ISO = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]+))?)?"
    r" ?([Zz]|(?:[+-][0-9]{2}(?::?[0-9]{2})?))?)?"
)
_NUMBER = re.compile(r"[+-]?[0-9]{1,20}(?:\.[0-9]*)?")
# To nine digits, so that they are the same on every platform.
_HOURS = [
    (round(math.sin(2 * math.pi * m / 1440), 9), round(math.cos(2 * math.pi * m / 1440), 9))
    for m in range(1440)
]
_DAYS = [
    (round(math.sin(2 * math.pi * d / 7), 9), round(math.cos(2 * math.pi * d / 7), 9))
    for d in range(7)
]


class Moment(NamedTuple):
    """A time.

    Attributes
    ----------
    ms
        Whole milliseconds since 1970 in UTC, rounded down.
    numeric
        Whether it came as a number.
    """

    ms: int
    numeric: bool


def moment(value: Any, unit: str = "auto") -> Moment | None:
    """The time that `value` says, or None if it says none.

    Parameters
    ----------
    value
        A string, a number or a `datetime` or `date`.
    unit
        Of numbers: one of `UNITS`, or ``"auto"``.

    Examples
    --------
    >>> moment("2024-05-01T12:00:00+02:00"), moment(1714557600)
    (Moment(ms=1714557600000, numeric=False), Moment(ms=1714557600000, numeric=True))
    """
    kind = type(value)
    if kind is str:
        text = value.strip()
        match = _ISO.fullmatch(text)
        if match is not None:
            return _of_text(match)
        if not _NUMBER.fullmatch(text):
            return None
        value = int(text) if text.lstrip("+-").isdigit() else float(text)
        kind = type(value)
    if kind is int or kind is float or isinstance(value, Decimal):
        return _of_number(value, unit)
    if isinstance(value, datetime):
        return _of_datetime(value)
    if isinstance(value, date):
        return Moment((value.toordinal() - _EPOCH_DAY) * _DAY_MS, False)
    return None


def cycles(ms: int) -> tuple[float, float, float, float]:
    """Sine and cosine of hour of day (to the minute) and of the day of week, Monday first; UTC.

    >>> cycles(0)  # a Thursday, at midnight
    (0.0, 1.0, 0.433883739, -0.900968868)
    """
    day, rest = divmod(ms, _DAY_MS)
    return *_HOURS[rest // 60_000], *_DAYS[(day + 3) % 7]


def rfc_3339(ms: int) -> str:
    """Milliseconds since 1970 as text in UTC.

    >>> rfc_3339(1714557600250)
    '2024-05-01T10:00:00.250Z'
    """
    day, rest = divmod(ms, _DAY_MS)
    seconds, thousandths = divmod(rest, 1000)
    at = date.fromordinal(day + _EPOCH_DAY).isoformat()
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{at}T{clock}.{thousandths:03}Z" if thousandths else f"{at}T{clock}Z"


def _of_text(match: re.Match[str]) -> Moment | None:
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    try:
        days = date(int(year), int(month), int(day)).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    ms = days * _DAY_MS
    if hour is not None:
        hours, minutes, seconds = int(hour), int(minute), int(second or 0)
        if hours > 23 or minutes > 59 or seconds > 60:
            return None
        # A leap second counts as the one before it.
        ms += ((hours * 60 + minutes) * 60 + min(seconds, 59)) * 1000
        if fraction:
            ms += int(fraction[:3].ljust(3, "0"))
        if offset and offset not in "Zz":
            digits = offset[1:].replace(":", "").ljust(4, "0")
            if int(digits[:2]) > 23 or int(digits[2:]) > 59:
                return None
            ahead = (int(digits[:2]) * 60 + int(digits[2:])) * 60_000
            ms -= ahead if offset[0] == "+" else -ahead
    return Moment(ms, False) if MIN_EPOCH_MS <= ms <= MAX_EPOCH_MS else None


def _of_number(value: Any, unit: str) -> Moment | None:
    if value != value or abs(value) > 1e20:
        return None
    if unit == "auto":
        size = abs(value)
        unit = "s" if size < 1e11 else "ms" if size < 1e14 else "us" if size < 1e17 else "ns"
    if type(value) is int:  # exactly, where a float would round nanoseconds
        ms = value * 1000 if unit == "s" else value // round(1 / UNITS[unit])
    else:
        ms = math.floor(float(value) * UNITS[unit])
    return Moment(ms, True) if MIN_EPOCH_MS <= ms <= MAX_EPOCH_MS else None


def _of_datetime(value: datetime) -> Moment | None:
    aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    since = aware - datetime(1970, 1, 1, tzinfo=UTC)
    ms = since.days * _DAY_MS + since.seconds * 1000 + since.microseconds // 1000
    return Moment(ms, False) if MIN_EPOCH_MS <= ms <= MAX_EPOCH_MS else None
