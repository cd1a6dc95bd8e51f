"""Columns of text for a terminal: how wide a text is, and lines whose cells stand under each other."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from re import Match

COLUMN_GAP = "   "
"""What docker puts between columns."""
MIN_COLUMN_WIDTH = 10
"""How wide docker makes a column at least, the gap counted."""
_ZERO_WIDTH_CATEGORIES = frozenset({"Mn", "Me", "Cf"})
"""Categories of signs that stand on or within the one before: accents, enclosing marks, joiners."""


def display_width(string: str) -> int:
    """Return how many terminal columns a text takes: wide signs take two, combining ones none."""
    if string.isascii():
        return len(string)
    from unicodedata import category, east_asian_width

    return sum(
        0 if category(char) in _ZERO_WIDTH_CATEGORIES or "\u1160" <= char <= "\u11ff"  # Korean vowels join the initial
        else 2 if east_asian_width(char) in "WF"
        else 1
        for char in string
    )  # fmt: skip


def replace_controls(string: str) -> str:
    """Return a text as one line that a terminal only shows: a blank for each control, line's end and invisible sign.

    Texts come from images of strangers, and a terminal obeys what it is sent.
    """
    return string if string.isprintable() else "".join(char if char.isprintable() else " " for char in string)


_CONTROLS = (
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\U000e0001-\U000e007f]"
)
"""What a terminal obeys or hides, but for a line's end and a tab: controls, stray bytes, direction marks, tags."""


def escape_controls(string: str) -> str:
    r"""Return a text with everything written out that a terminal would obey: an escape character is `\u001b`.

    In JSON that is the same value. A byte that is no UTF-8 is written as `\x9b`.
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


def align_columns(lines: Iterable[list[str]], min_width: int = 0) -> Iterator[str]:
    """Yield the lines of a table whose columns are as wide as their widest cell; no blanks at the end of a line.

    With its gap a column is at least `least` wide.
    """
    table = list(lines)
    if not table:
        return
    widths = [max(min_width - len(COLUMN_GAP), *map(display_width, column)) for column in zip(*table, strict=True)]
    for line in table:
        cells = [
            cell + " " * (column_width - display_width(cell)) for cell, column_width in zip(line, widths, strict=True)
        ]
        yield COLUMN_GAP.join(cells).rstrip() + "\n"
