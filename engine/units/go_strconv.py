"""Go's string forms of values: quoted constants and durations."""

from __future__ import annotations

import re

_ESCAPES = {7: "a", 8: "b", 12: "f", 10: "n", 13: "r", 9: "t", 11: "v"}
_NS_PER_SECOND = 1_000_000_000
_SMALL_UNITS = ((1, "ns"), (1_000, "µs"), (1_000_000, "ms"))
_UNITS = {
    "ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000,
    "s": _NS_PER_SECOND, "m": 60 * _NS_PER_SECOND, "h": 3_600 * _NS_PER_SECOND,
}  # fmt: skip
_MAX_DURATION = (1 << 63) - 1


def quote(text: str, mark: str = '"', *, ascii_only: bool = False) -> str:
    """Return a string as a quoted Go constant."""
    parts = [mark]
    for character in text:
        number = ord(character)
        if character in (mark, "\\"):
            parts.append("\\" + character)
        elif character.isprintable() and (number < 0x7F or not ascii_only):
            parts.append(character)
        elif number in _ESCAPES:
            parts.append("\\" + _ESCAPES[number])
        elif 0xDC80 <= number <= 0xDCFF:
            parts.append(f"\\x{number - 0xDC00:02x}")
        elif number < 0x80:
            parts.append(f"\\x{number:02x}")
        else:
            parts.append(f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}")
    return "".join([*parts, mark])


def format_duration(nanoseconds: int) -> str:
    """Return a duration in Go's form. Examples: `1m30s`, `1.5ms`, `0s`."""
    rest = abs(nanoseconds)
    sign = "-" if nanoseconds < 0 else ""
    for unit, word in _SMALL_UNITS:
        if 0 < rest < 1000 * unit:
            return f"{sign}{_format_decimal(rest, unit)}{word}"
    minutes, rest = divmod(rest, 60 * _NS_PER_SECOND)
    shown = _format_decimal(rest, _NS_PER_SECOND) + "s"
    if minutes:
        hours, minutes = divmod(minutes, 60)
        shown = f"{hours}h{minutes}m{shown}" if hours else f"{minutes}m{shown}"
    return sign + shown


def _format_decimal(count: int, unit: int) -> str:
    whole, fraction = divmod(count, unit)
    digits = str(fraction).rjust(len(str(unit)) - 1, "0").rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def parse_duration(text: str) -> int:
    """Return the nanoseconds of a duration in Go's form: `1h30m`, `1.5s`, `-3ms`, `0`. Raises `ValueError`."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0
    if not rest:
        raise ValueError(f"time: invalid duration {quote(text)}")
    total = 0
    while rest:
        match = re.match(r"(?=\.?\d)(\d*)(?:\.(\d*))?([^.\d]*)", rest, re.ASCII)
        if match is None:
            raise ValueError(f"time: invalid duration {quote(text)}")
        whole, fraction, unit = match[1], match[2] or "", match[3]
        if not unit:
            raise ValueError(f"time: missing unit in duration {quote(text)}")
        if unit not in _UNITS:
            raise ValueError(f"time: unknown unit {quote(unit)} in duration {quote(text)}")
        total += int((whole or "0")[:30]) * _UNITS[unit]
        total += int((fraction or "0")[:18]) * _UNITS[unit] // 10 ** len(fraction[:18])
        if total > _MAX_DURATION:
            raise ValueError(f"time: invalid duration {quote(text)}")
        rest = rest[match.end() :]
    return -total if text.startswith("-") else total
