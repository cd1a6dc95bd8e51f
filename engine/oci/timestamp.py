"""Times in documents: RFC 3339 strings, parsed to nanoseconds since the epoch."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_PATTERN = r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)\Z"
_STRICT_PATTERN = (
    r"(\d{4})-(0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8]|(29|3[01]))T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?"
    r"(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)\Z"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHORT_MONTHS = (4, 6, 9, 11)
"""The months of 30 days."""
_NS_PER_SECOND = 1_000_000_000
_MAX_TIME = (1 << 63) - 1


def parse_time(value: object) -> int | None:
    """Return the nanoseconds since the epoch of an RFC 3339 string; None when the time is unknown.

    Unknown are missing and malformed times, and those up to the epoch: reproducible builds write the epoch or year 1.
    """
    if not isinstance(value, str):
        return None
    match = re.match(_PATTERN, value, re.ASCII)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    zone = match[8]
    try:
        moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
        if zone not in "Zz":
            offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
            moment = moment - offset if zone[0] == "+" else moment + offset
    except (ValueError, OverflowError):
        return None
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    nanoseconds = seconds * _NS_PER_SECOND + int((match[7] or "").ljust(9, "0") or 0)
    return nanoseconds if 0 < nanoseconds <= _MAX_TIME else None


def is_rfc3339(text: str) -> bool:
    """Whether Go accepts a string as a time: strict RFC 3339, with a valid date."""
    match = re.match(_STRICT_PATTERN, text, re.ASCII)
    if match is None:
        return False
    if match[3] is None:
        return True
    year, month, day = (int(part) for part in match.groups())
    if month != 2:
        return day <= (30 if month in _SHORT_MONTHS else 31)
    return day == 29 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def format_time(nanoseconds: int) -> str:
    """Return a time as an RFC 3339 string in UTC, with as many decimals as needed."""
    seconds, rest = divmod(nanoseconds, _NS_PER_SECOND)
    text = (_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]  # without the zone
    decimals = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{text}{decimals}Z"
