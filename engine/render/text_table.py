"""Columns of text for a terminal: how wide a text is, and lines whose cells stand under each other."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from re import Match

GAP = "   "
"""What docker puts between columns."""
LEAST = 10
"""How wide docker makes a column at least, the gap counted."""
_NO_WIDTH = frozenset({"Mn", "Me", "Cf"})
"""Categories of signs that stand on or within the one before: accents, enclosing marks, joiners."""


def width(shown: str) -> int:
    """Return how many terminal columns a text takes: wide signs take two, combining ones none."""
    if shown.isascii():
        return len(shown)
    from unicodedata import category, east_asian_width

    return sum(
        0 if category(sign) in _NO_WIDTH or "\u1160" <= sign <= "\u11ff"  # Korean vowels and finals join the initial
        else 2 if east_asian_width(sign) in "WF"
        else 1
        for sign in shown
    )  # fmt: skip


def clean(shown: str) -> str:
    """Return a text as one line that a terminal only shows: a blank for each control, line's end and invisible sign.

    Texts come from images of strangers, and a terminal obeys what it is sent.
    """
    return shown if shown.isprintable() else "".join(sign if sign.isprintable() else " " for sign in shown)


_CONTROLS = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
"""What a terminal obeys, but for a line's end and a tab: controls, stray bytes, and marks of the writing direction."""


def escape_controls(shown: str) -> str:
    r"""Return a text with everything written out that a terminal would obey: an escape character is `\u001b`.

    In JSON that is the same value. A byte that is no UTF-8 is written as `\x9b`.
    """
    if shown.isprintable():
        return shown
    from re import sub

    return sub(_CONTROLS, _written_out, shown)


def _written_out(match: Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number - 0xDC00:02x}" if 0xDC80 <= number <= 0xDCFF else f"\\u{number:04x}"


def columns(lines: Iterable[list[str]], least: int = 0) -> Iterator[str]:
    """Yield the lines of a table whose columns are as wide as their widest cell; no blanks at the end of a line.

    With its gap a column is at least `least` wide.
    """
    table = list(lines)
    if not table:
        return
    widths = [max(least - len(GAP), *map(width, column)) for column in zip(*table, strict=True)]
    for line in table:
        cells = [cell + " " * (wide - width(cell)) for cell, wide in zip(line, widths, strict=True)]
        yield GAP.join(cells).rstrip() + "\n"
