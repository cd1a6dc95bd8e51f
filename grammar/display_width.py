"""The columns that a string takes on a terminal."""

from __future__ import annotations

_ZERO_WIDTH_CATEGORIES = frozenset({"Mn", "Me", "Cf"})
"""Unicode categories without a width: accents, enclosing marks, joiners."""


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
