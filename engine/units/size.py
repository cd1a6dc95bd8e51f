"""Parses and formats sizes in bytes; the formats are docker's."""

from __future__ import annotations

_MAX_SIZE = (1 << 63) - 1  # the largest integer of SQLite and Go
_SIZE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_SIZE_PATTERN = r"(?ai)(\d+)(?:\.(\d+))? ?([kmgtpe]?)(i?)b?\Z"  # compiled at first use
_MAX_DIGITS = 40  # a string with more digits is not a size
_THOUSAND = 1000.0


def human_size(n: float, precision: int = 3) -> str:
    """Return a size in decimal units with `precision` significant digits, as docker does: `142MB`, `1.09kB`, `-5MB`."""
    size, unit = float(n), 0
    while abs(size) >= _THOUSAND and unit < len(_SIZE_UNITS) - 1:
        size /= _THOUSAND
        unit += 1
    return f"{size:.{precision}g}{_SIZE_UNITS[unit]}"


def human_size_exact(n: float) -> str:
    """Return a size with four significant digits, as docker's `system df` and pull progress do."""
    return human_size(n, 4)


class Size(int):
    """A number of bytes that `str()` formats as docker does. Otherwise it is an `int`; `:d` formats the number."""

    __slots__ = ()

    def __str__(self) -> str:
        return human_size(self)


def parse_size(text: str) -> int | None:
    """Return a size in bytes, rounded down; None when the string is not a size or exceeds 63 bits.

    `k`, `kB`, `M`, `MB` … are decimal, `KiB`, `MiB` … binary, in any case; a space may precede the unit.
    """
    import re  # not needed by most statements

    match = re.match(_SIZE_PATTERN, text)
    if match is None:
        return None
    whole, fraction, letter, binary = match[1], match[2] or "", match[3].lower(), match[4]
    if (binary and not letter) or len(whole) + len(fraction) > _MAX_DIGITS:
        return None
    unit = (1024 if binary else 1000) ** ("kmgtpe".index(letter) + 1 if letter else 0)
    size = int(whole + fraction) * unit // 10 ** len(fraction)
    return size if size <= _MAX_SIZE else None
