"""The columns that a string takes on a terminal, and lines that fit in them."""

from __future__ import annotations

_ZERO_WIDTH_CATEGORIES = frozenset({"Mn", "Me", "Cf"})
"""Unicode categories without a width: accents, enclosing marks, joiners."""
_MIN_WIDTH = 20
"""Minimum columns of wrapped lines."""


def display_width(string: str) -> int:
    """Return the number of terminal columns of a string: wide characters take two, combining characters none."""
    if string.isascii():
        return len(string)
    from unicodedata import category, east_asian_width

    return sum(
        0 if category(char) in _ZERO_WIDTH_CATEGORIES or "\u1160" <= char <= "\u11ff"  # Korean vowels join the initial
        else 2 if east_asian_width(char) in "WF"
        else 1
        for char in string
    )  # fmt: skip


def wrap_line(line: str, width: int) -> list[str]:
    """Wrap a line between words; further lines are indented by two more columns."""
    if display_width(line) <= width:
        return [line]
    from textwrap import wrap

    return wrap(
        line,
        max(width, _MIN_WIDTH),
        subsequent_indent=f"{' ' * (len(line) - len(line.lstrip(' ')))}  ",
        break_long_words=False,
        break_on_hyphens=False,  # of names of files and options
    )
