"""Text tables for terminals: aligned columns, and cells that are cut to a width."""

from __future__ import annotations

from imq.grammar.display_width import display_width
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from re import Match

COLUMN_GAP = "   "
"""The gap between columns, as in docker."""
MIN_COLUMN_WIDTH = 10
"""Minimum width of a column, with its gap, as in docker."""
MIN_CUT_WIDTH = 12
"""Minimum width of a cell that is cut: a short ID stays whole."""


def replace_controls(string: str) -> str:
    """Return a string with a blank for each control, line end and invisible character.

    Strings come from untrusted images, and a terminal executes control sequences.
    """
    return string if string.isprintable() else "".join(char if char.isprintable() else " " for char in string)


_CONTROLS = (
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\U000e0001-\U000e007f]"
)
"""Controls, surrogate escapes, direction marks and tag characters; not the line feed and the tab."""


def escape_controls(string: str) -> str:
    r"""Return a string with all controls escaped: the escape character is `\u001b`.

    In JSON the value is the same. A byte that is not UTF-8 becomes `\x9b`.
    """
    if string.isprintable():
        return string
    from re import sub

    return sub(_CONTROLS, _escape_character, string)


def _escape_character(match: Match[str]) -> str:
    number = ord(match[0])
    if number > 0xFFFF:  # a pair of surrogates, as JSON has it
        high, low = divmod(number - 0x10000, 0x400)
        return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
    return f"\\x{number - 0xDC00:02x}" if 0xDC80 <= number <= 0xDCFF else f"\\u{number:04x}"


def align_columns(lines: Iterable[Sequence[str]], min_width: int = 0) -> Iterator[str]:
    """Yield the lines of a table with aligned columns and without trailing blanks.

    A column is as wide as its widest cell; with its gap it is at least `min_width` wide.
    """
    table = list(lines)
    yield from _write_lines(table, measure_columns(table, min_width))


def measure_columns(table: Sequence[Sequence[str]], min_width: int = 0) -> list[int]:
    """Return the width of each column of a table, without its gap."""
    least = min_width - len(COLUMN_GAP)
    return [
        max(least, *map(len if "".join(column).isascii() else display_width, column))
        for column in zip(*table, strict=True)
    ]


def fit_columns(
    table: Sequence[Sequence[str]], width: int, smallest: Sequence[int | None], min_width: int = 0
) -> Iterator[str] | None:
    """Return the lines of a table that is at most `width` wide, long cells cut; None when that is not possible.

    The first line has the titles, which stay whole. `smallest` are the widths to which columns may be cut, None for
    those that may not. The widest ones are cut first, all to the same width. `min_width`: see `align_columns`.
    """
    widths = measure_columns(table, min_width)
    gaps = len(COLUMN_GAP) * (len(widths) - 1)
    least = [
        size if smallest_width is None else min(size, max(smallest_width, display_width(title)))
        for size, title, smallest_width in zip(widths, table[0], smallest, strict=True)
    ]
    low, high = 0, max(widths, default=0)
    while low < high:  # the largest width to which cells are cut so that the table fits
        middle = (low + high + 1) // 2
        fits = sum(map(min, widths, (max(size, middle) for size in least))) + gaps <= width
        low, high = (middle, high) if fits else (low, middle - 1)
    chosen = [min(size, max(smallest, low)) for size, smallest in zip(widths, least, strict=True)]
    if sum(chosen) + gaps > width:
        return None
    lines = [[cut_text(cell, size) for cell, size in zip(line, chosen, strict=True)] for line in table]
    return _write_lines(lines, chosen)


def cut_text(text: str, width: int) -> str:
    """Return a text in at most `width` columns of a terminal; an ellipsis stands for what was cut."""
    if display_width(text) <= width:
        return text
    used, kept = 1, 0
    for char in text:
        used += display_width(char)
        if used > width:
            break
        kept += 1
    return text[:kept] + "…"


def _write_lines(table: Sequence[Sequence[str]], widths: Sequence[int]) -> Iterator[str]:
    template = COLUMN_GAP.join(f"%-{width}s" for width in widths)
    if all("".join(column).isascii() for column in zip(*table, strict=True)):
        for cells in map(tuple, table):
            yield (template % cells).rstrip() + "\n"
        return
    for line in table:
        if "".join(line).isascii():
            yield (template % tuple(line)).rstrip() + "\n"
            continue
        padded = [
            cell + " " * (column_width - display_width(cell)) for cell, column_width in zip(line, widths, strict=True)
        ]
        yield COLUMN_GAP.join(padded).rstrip() + "\n"
