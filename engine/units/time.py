"""Durations and times as people write and read them; what docker prints is printed by docker's rules."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo

_LARGEST = (1 << 63) - 1  # what SQLite and Go keep in an integer
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = 1_000_000_000
_LONGEST_NUMBER = 40  # digits; a duration with more is none

# ---- durations

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_DURATION_UNITS = {
    "ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000, "s": _SECOND, "m": _MINUTE * _SECOND,
    "h": _HOUR * _SECOND, "d": _DAY * _SECOND, "w": 7 * _DAY * _SECOND, "y": 365 * _DAY * _SECOND,
}  # fmt: skip
_DURATION_WORDS = {
    "nanosecond": 1, "microsecond": 1_000, "millisecond": 1_000_000, "sec": _SECOND, "second": _SECOND,
    "min": _MINUTE * _SECOND, "minute": _MINUTE * _SECOND, "hr": _HOUR * _SECOND, "hour": _HOUR * _SECOND,
    "day": _DAY * _SECOND, "week": 7 * _DAY * _SECOND, "month": 30 * _DAY * _SECOND, "year": 365 * _DAY * _SECOND,
}  # fmt: skip
_DURATION_PART = r"(?ai)(\d*)(?:\.(\d*))? ?([a-zµμ]+) ?"


def human_duration(seconds: float) -> str:
    """Return an approximate duration in docker's words, from `Less than a second` to `3 years`."""
    whole = int(seconds)
    minutes, hours = whole // _MINUTE, (whole + _HOUR // 2) // _HOUR  # docker rounds hours and cuts all else
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


def ago(seconds: float) -> str:
    """Return how long ago something was, as docker's CreatedSince: `3 weeks ago`."""
    return f"{human_duration(seconds)} ago"


def parse_duration(text: str) -> int | None:
    """Return the nanoseconds of a duration; None when the text is none, is negative or beyond 63 bits.

    Parts of numbers and units follow each other: Go's (`1h30m`, `1.5h`, `300ms`), `30d`, `2w`, `1y`, and words as in
    `2 weeks` or `1 day 12 hours`. A month has 30 days, a year 365. Only `0` may go without a unit.
    """
    if text == "0":
        return 0
    if not text or text != text.strip():
        return None
    total, position = 0, 0
    part = re.compile(_DURATION_PART)
    while position < len(text):
        match = part.match(text, position)
        if match is None:
            return None
        whole, fraction, unit = match[1], match[2] or "", _unit(match[3])
        if unit is None or not whole + fraction or len(whole) + len(fraction) > _LONGEST_NUMBER:
            return None
        total += int(whole + fraction) * unit // 10 ** len(fraction)
        position = match.end()
    return total if total <= _LARGEST else None


def _unit(name: str) -> int | None:
    """Return the nanoseconds of a unit: Go's letters as they are, words in either case and number."""
    word = name.lower()
    return _DURATION_UNITS.get(name) or _DURATION_WORDS.get(word) or _DURATION_WORDS.get(word.removesuffix("s"))


# ---- times

_MOMENT = (
    r"(?a)(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9})\d*)?)?)?)?)?"
    r"([Zz]|[+-]\d\d:\d\d)?\Z"
)
_LEAP_SECOND = 60


def created_at(ns: int, zone: tzinfo | None = None) -> str:
    """Return a time (nanoseconds since the epoch) as docker's CreatedAt: Go's time.String(), in whole seconds.

    Without a zone the local one is meant.
    """
    moment = (_EPOCH + timedelta(seconds=ns // _SECOND)).astimezone(zone)
    offset = moment.strftime("%z")[:5]
    name = moment.tzname() or ""
    if not name or name.startswith(("UTC+", "UTC-")):  # a zone without a name: Go shows the offset twice
        name = offset
    return f"{moment.year:04d}-{moment:%m-%d %H:%M:%S} {offset} {name}"


def parse_moment(text: str, zone: tzinfo | None = None) -> int | None:
    """Return the nanoseconds since the epoch of a time, of a day's, month's or year's beginning; None when it is none.

    A text without `Z` or an offset means the zone given, without one the local zone.
    """
    match = re.match(_MOMENT, text)
    if match is None:
        return None
    parts = zip(match.groups()[:6], "011000", strict=True)  # a month or day left out is the first
    year, month, day, hour, minute, second = (int(part or least) for part, least in parts)
    own_zone = match[8]
    try:
        if second == _LEAP_SECOND:
            second -= 1  # as the reader of times in documents takes leap seconds
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC if own_zone else zone)
        if own_zone and own_zone not in "Zz":
            offset = timedelta(hours=int(own_zone[1:3]), minutes=int(own_zone[4:6]))
            moment = moment - offset if own_zone[0] == "+" else moment + offset
        seconds = (moment.astimezone(UTC) - _EPOCH) // timedelta(seconds=1)
    except (ValueError, OverflowError, OSError):
        return None
    nanoseconds = seconds * _SECOND + int((match[7] or "").ljust(9, "0"))
    return _fitting(nanoseconds)


# ---- docker's `until`

_GO_DURATION = r"(?a)[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+\Z"
_UNTIL = (
    r"(?a)(\d{4}-\d\d-\d\d)(?:T(\d\d?)(:\d\d)?(?(3)(:[0-5]\d)?)(?(4)(?:[.,](\d+))?))?"
    r"(Z|[+-](?:[01]\d|2[0-4]):[0-5]\d)?\Z"
)
_TIMESTAMP = r"(?a)\+?(\d{1,19})(?:\.(\d{1,19}))?\Z"


def parse_until(text: str, now: int, zone: tzinfo | None = None) -> int | None:
    """Return the nanoseconds since the epoch that docker's filter `until` means, None when it would refuse the text.

    It may be one of Go's durations before `now` (`24h`, `1h30m`; a negative one is after it), which docker takes to the
    second; a day, or a time from the hour on, with an offset or `Z` or in the zone given, without one the local zone;
    or the seconds since the epoch, with a fraction or without, as a year alone is too. As in docker the zone counts
    with the offset that it has now. A time beyond 63 bits, as milliseconds make one, is refused here.
    """
    if text != "0" and re.match(_GO_DURATION, text):
        length = parse_duration(text.lstrip("+-"))
        if length is None:
            return None
        return _fitting((now + length if text[0] == "-" else now - length) // _SECOND * _SECOND)
    match = re.match(_UNTIL, text)
    if match is not None:
        day, hour, minute, second, fraction, offset = match.groups()
        clock = f"T{hour:0>2}{minute or ':00'}{second or ':00'}.{fraction or 0}" if hour else ""
        here = (_EPOCH + timedelta(seconds=now // _SECOND)).astimezone(zone).utcoffset()
        return parse_moment(f"{day}{clock}{offset or ''}", timezone(here or timedelta()))
    match = re.match(_TIMESTAMP, text)
    return _fitting(int(match[1]) * _SECOND + int((match[2] or "0").ljust(9, "0")[:9])) if match else None


def _fitting(ns: int) -> int | None:
    """Return a number that 63 bits hold, else None."""
    return ns if abs(ns) <= _LARGEST else None
