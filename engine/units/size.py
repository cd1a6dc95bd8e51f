"""Numbers of bytes as people write and read them; what docker prints is printed by docker's rules."""

from __future__ import annotations

_MAX_SIZE = (1 << 63) - 1  # what SQLite and Go keep in an integer
_SIZE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_SIZE_PATTERN = r"(?ai)(\d+)(?:\.(\d+))? ?([kmgtpe]?)(i?)b?\Z"  # patterns are compiled when they are needed
_MAX_DIGITS = 40  # digits; a size with more is no size
_THOUSAND = 1000.0


def human_size(n: float, precision: int = 3) -> str:
    """Return a number of bytes in decimal units with so many significant digits, as docker does: `142MB`, `1.09kB`."""
    size, unit = float(n), 0
    while size >= _THOUSAND and unit < len(_SIZE_UNITS) - 1:
        size /= _THOUSAND
        unit += 1
    return f"{size:.{precision}g}{_SIZE_UNITS[unit]}"


def human_size_exact(n: float) -> str:
    """Return a number of bytes with four significant digits, as docker's `system df` and pull progress do."""
    return human_size(n, 4)


class Size(int):
    """A number of bytes whose text is docker's; it computes and compares as the number, which `int()` and `:d` give."""

    __slots__ = ()

    def __str__(self) -> str:
        return human_size(self)


def parse_size(text: str) -> int | None:
    """Return the bytes that a size means, a rest of a byte dropped; None when the text is no size or beyond 63 bits.

    `k`, `kB`, `M`, `MB` … are decimal, `KiB`, `MiB` … binary, without regard to case; a blank may precede the unit.
    """
    import re  # which much else does without

    match = re.match(_SIZE_PATTERN, text)
    if match is None:
        return None
    whole, fraction, letter, binary = match[1], match[2] or "", match[3].lower(), match[4]
    if (binary and not letter) or len(whole) + len(fraction) > _MAX_DIGITS:
        return None
    unit = (1024 if binary else 1000) ** ("kmgtpe".index(letter) + 1 if letter else 0)
    size = int(whole + fraction) * unit // 10 ** len(fraction)
    return size if size <= _MAX_SIZE else None
