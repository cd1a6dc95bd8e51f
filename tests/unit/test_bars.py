"""Bars of block characters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imq.engine.units.bars import BAR_WIDTH, draw_bar, draw_split_bar


@pytest.mark.parametrize(
    ("value", "largest", "bar"),
    [
        (100, 100, "██████████"), (50, 100, "█████"), (55, 100, "█████▌"), (1, 1_000_000, "▏"), (0, 100, ""),
        (-5, 100, ""), (0, 0, ""), (-1, -1, ""), (200, 100, "██████████"),
    ],
)  # fmt: skip
def test_bars(value: float, largest: float, bar: str) -> None:
    assert draw_bar(value, largest) == bar


@pytest.mark.parametrize(
    ("part", "whole", "largest", "bar"),
    [
        (0, 100, 100, "░░░░░░░░░░"), (100, 100, 100, "██████████"), (25, 50, 100, "██░░░"), (1, 100, 100, "█░░░░░░░░░"),
        (1, 1, 1_000_000, "█"), (0, 1, 1_000_000, "░"), (0, 0, 100, ""), (0, 0, 0, ""),
    ],
)  # fmt: skip
def test_split_bars(part: float, whole: float, largest: float, bar: str) -> None:
    assert draw_split_bar(part, whole, largest, ascii_only=False) == bar
    assert draw_split_bar(part, whole, largest, ascii_only=True) == bar.replace("█", "#").replace("░", "-")


@given(st.integers(0, 1 << 62), st.integers(0, 1 << 62), st.integers(0, 1 << 62))
def test_bars_are_as_long_as_values_are_large(one: int, other: int, largest: int) -> None:
    smaller, larger = sorted((one, other))
    assert len(draw_bar(smaller, largest)) <= len(draw_bar(larger, largest)) <= BAR_WIDTH
    split = draw_split_bar(smaller, larger, largest, ascii_only=False)
    assert len(split) <= BAR_WIDTH
    assert split == "".join(sorted(split, reverse=True, key="░█".index))
