"""Bars of block characters, for terminals."""

from __future__ import annotations

BAR_WIDTH = 10
"""The blocks of the bar of the largest value."""
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def draw_bar(value: float, largest: float) -> str:
    """Return a bar of at most `BAR_WIDTH` blocks, to an eighth of a block. A value above 0 has an eighth at least.

    Values of 0 and below have no bar, and so have all values when the largest is not above 0.
    """
    if value <= 0 or largest <= 0:
        return ""
    eighths = max(1, round(min(value / largest, 1) * BAR_WIDTH * 8))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def draw_split_bar(part: float, whole: float, largest: float, *, ascii_only: bool) -> str:
    """Return a bar of whole blocks for a value, with its first `part` dark and the rest light.

    The largest value has `BAR_WIDTH` blocks, and a value above 0 one at least. A part above 0 has a dark block.
    """
    if whole <= 0 or largest <= 0:
        return ""
    blocks = max(1, round(min(whole / largest, 1) * BAR_WIDTH))
    dark = min(blocks, max(int(part > 0), round(blocks * part / whole)))
    marks = "#-" if ascii_only else "█░"
    return marks[0] * dark + marks[1] * (blocks - dark)
