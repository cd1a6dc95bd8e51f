"""Parses and formats durations and times; the formats are docker's."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo

_MAX_INT64 = (1 << 63) - 1  # the largest integer of SQLite and Go
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NS_PER_SECOND = 1_000_000_000
_MAX_DIGITS = 40  # a string with more digits is not a duration

# ---- durations

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_DURATION_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000} | {
    unit: seconds * _NS_PER_SECOND
    for unit, seconds in {"s": 1, "m": _MINUTE, "h": _HOUR, "d": _DAY, "w": 7 * _DAY, "y": 365 * _DAY}.items()
}
_DURATION_WORDS = {"nanosecond": 1, "microsecond": 1_000, "millisecond": 1_000_000} | {
    word: seconds * _NS_PER_SECOND
    for word, seconds in {
        "sec": 1, "second": 1, "min": _MINUTE, "minute": _MINUTE, "hr": _HOUR, "hour": _HOUR,
        "day": _DAY, "week": 7 * _DAY, "month": 30 * _DAY, "year": 365 * _DAY,
    }.items()
}  # fmt: skip
_DURATION_PART_PATTERN = r"(?ai)(\d*)(?:\.(\d*))? ?([a-zµμ]+) ?"


def human_duration(seconds: float) -> str:
    """Return an approximate duration in docker's words, from `Less than a second` to `3 years`."""
    whole = int(seconds)
    minutes, hours = (
        whole // _MINUTE,
        (whole + _HOUR // 2) // _HOUR,
    )  # docker rounds hours, and truncates all other units
    if whole < 1:
        return "Less than a second"
    if whole < _MINUTE:
        return "1 second" if whole == 1 else f"{whole} seconds"
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{whole // _HOUR // 24 // 365} years"


def format_age(seconds: float) -> str:
    """Return an age in the form of docker's CreatedSince. Example: `3 weeks ago`."""
    return f"{human_duration(seconds)} ago"


def parse_duration(text: str) -> int | None:
    """Return the nanoseconds of a duration; None when the string is not a duration, is negative or exceeds 63 bits.

    A duration is a sequence of numbers with units: those of Go (`1h30m`, `1.5h`, `300ms`), `30d`, `2w`, `1y`, and words
    (`2 weeks`, `1 day 12 hours`). A month has 30 days, a year 365. Only `0` needs no unit.
    """
    if text == "0":
        return 0
    if not text or text != text.strip():
        return None
    total, position = 0, 0
    part = re.compile(_DURATION_PART_PATTERN)
    while position < len(text):
        match = part.match(text, position)
        if match is None:
            return None
        whole, fraction, unit = match[1], match[2] or "", _unit_of(match[3])
        if unit is None or not whole + fraction or len(whole) + len(fraction) > _MAX_DIGITS:
            return None
        total += int(whole + fraction) * unit // 10 ** len(fraction)
        position = match.end()
    return total if total <= _MAX_INT64 else None


def _unit_of(name: str) -> int | None:
    """Return the nanoseconds of a unit. Go's units are case-sensitive; words may have any case, and be plural."""
    word = name.lower()
    return _DURATION_UNITS.get(name) or _DURATION_WORDS.get(word) or _DURATION_WORDS.get(word.removesuffix("s"))


# ---- times

_TIME_PATTERN = (
    r"(?a)(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9})\d*)?)?)?)?)?"
    r"([Zz]|[+-]\d\d:\d\d)?\Z"
)
_LEAP_SECOND = 60


def format_created_at(ns: int, zone: tzinfo | None = None) -> str:
    """Return a time (nanoseconds since the epoch) in the form of docker's CreatedAt: Go's time.String() in seconds.

    The default zone is the local one.
    """
    moment = (_EPOCH + timedelta(seconds=ns // _NS_PER_SECOND)).astimezone(zone)
    offset = moment.strftime("%z")[:5]
    name = moment.tzname() or ""
    if not name or name.startswith(("UTC+", "UTC-")):  # a zone without a name: Go shows the offset twice
        name = offset
    return f"{moment.year:04d}-{moment:%m-%d %H:%M:%S} {offset} {name}"


def parse_time(text: str, zone: tzinfo | None = None) -> int | None:
    """Return a time in nanoseconds since the epoch; None when the string is not a time.

    A year, month or day is its beginning. Without `Z` or an offset the time is in `zone`, by default the local zone.
    """
    match = re.match(_TIME_PATTERN, text)
    if match is None:
        return None
    parts = zip(match.groups()[:6], "011000", strict=True)  # missing parts are the first month or day, or zero
    year, month, day, hour, minute, second = (int(part or least) for part, least in parts)
    own_zone = match[8]
    try:
        if second == _LEAP_SECOND:
            second -= 1  # as in oci/timestamp.py
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC if own_zone else zone)
        if own_zone and own_zone not in "Zz":
            offset = timedelta(hours=int(own_zone[1:3]), minutes=int(own_zone[4:6]))
            moment = moment - offset if own_zone[0] == "+" else moment + offset
        seconds = (moment.astimezone(UTC) - _EPOCH) // timedelta(seconds=1)
    except (ValueError, OverflowError, OSError):
        return None
    nanoseconds = seconds * _NS_PER_SECOND + int((match[7] or "").ljust(9, "0"))
    return _check_int64(nanoseconds)


_DAY_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
NAMED_TIMES = frozenset({
    "now", "today", "yesterday", *_DAY_NAMES,
    *(f"{which} {unit}" for which in ("this", "last") for unit in ("week", "month", "year")),
    *(f"last {day}" for day in _DAY_NAMES),
})  # fmt: skip
"""Times that are named relative to the current one."""


def parse_named_time(text: str, now: int, zone: tzinfo | None = None) -> int | None:
    """Return the beginning of a named day, week, month or year in nanoseconds since the epoch; None for other strings.

    `now` is the current time in the same unit, and `zone` the zone of the calendar, by default the local one. Weeks
    begin on Monday. `monday` is the latest Monday, which may be today; `last monday` is before today.
    """
    name = " ".join(text.lower().split())
    if name not in NAMED_TIMES:
        return None
    if name == "now":
        return now
    today = (_EPOCH + timedelta(seconds=now // _NS_PER_SECOND)).astimezone(zone).date()
    which, _, unit = name.rpartition(" ")
    if unit in _DAY_NAMES:
        days = (today.weekday() - _DAY_NAMES.index(unit)) % 7
        day = today - timedelta(days=days or (7 if which else 0))
    elif unit == "week":
        day = today - timedelta(days=today.weekday() + (7 if which == "last" else 0))
    elif unit == "month":
        first = today.replace(day=1)
        day = first if which == "this" else (first - timedelta(days=1)).replace(day=1)
    elif unit == "year":
        day = today.replace(today.year - (which == "last"), 1, 1)
    else:
        day = today - timedelta(days=name == "yesterday")
    return parse_time(day.isoformat(), zone)


_DATE_SHAPE = (
    r"(?a)(?:\d{4}[-/.]\d{1,2}(?:[-/.]\d{1,2})?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})"
    r"(?:[Tt ]?[\d:.]*)?(?:[Zz]|[+-][\d:]+)?\Z"
)


def is_like_date(text: str) -> bool:
    """Whether a string is written like a date, in whatever order and with whatever separators."""
    return re.match(_DATE_SHAPE, text) is not None


def split_quantity(text: str) -> tuple[str, str] | None:
    """Return the number and the unit of a string such as `30`, `30 d` or `30x`; None for other strings."""
    match = re.fullmatch(r"(?a)(\d[\d.]*) ?([a-zA-Z]*)", text)
    return (match[1], match[2]) if match else None


# ---- docker's `until`

_GO_DURATION_PATTERN = r"(?a)[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+\Z"
_UNTIL_PATTERN = (
    r"(?a)(\d{4}-\d\d-\d\d)(?:T(\d\d?)(:\d\d)?(?(3)(:[0-5]\d)?)(?(4)(?:[.,](\d+))?))?"
    r"(Z|[+-](?:[01]\d|2[0-4]):[0-5]\d)?\Z"
)
_TIMESTAMP_PATTERN = r"(?a)\+?(\d{1,19})(?:\.(\d{1,19}))?\Z"


def parse_until(text: str, now: int, zone: tzinfo | None = None) -> int | None:
    """Return the time of docker's filter `until` in nanoseconds since the epoch; None when docker rejects the string.

    It has one of these forms:

    - a Go duration before `now` (`24h`, `1h30m`; a negative one is after it), in whole seconds;
    - a day, or a time with at least the hour, with `Z`, an offset, or in `zone`, by default the local zone. As in
      docker the zone has the offset that it has now;
    - seconds since the epoch, optionally with a fraction. A year alone is parsed as such a number.

    A time that exceeds 63 bits is rejected here. Example: milliseconds since the epoch.
    """
    if text != "0" and re.match(_GO_DURATION_PATTERN, text):
        length = parse_duration(text.lstrip("+-"))
        if length is None:
            return None
        return _check_int64((now + length if text[0] == "-" else now - length) // _NS_PER_SECOND * _NS_PER_SECOND)
    match = re.match(_UNTIL_PATTERN, text)
    if match is not None:
        day, hour, minute, second, fraction, offset = match.groups()
        clock = f"T{hour:0>2}{minute or ':00'}{second or ':00'}.{fraction or 0}" if hour else ""
        here = (_EPOCH + timedelta(seconds=now // _NS_PER_SECOND)).astimezone(zone).utcoffset()
        return parse_time(f"{day}{clock}{offset or ''}", timezone(here or timedelta()))
    match = re.match(_TIMESTAMP_PATTERN, text)
    return _check_int64(int(match[1]) * _NS_PER_SECOND + int((match[2] or "0").ljust(9, "0")[:9])) if match else None


def _check_int64(ns: int) -> int | None:
    """Return a number if it fits into 63 bits, else None."""
    return ns if abs(ns) <= _MAX_INT64 else None
