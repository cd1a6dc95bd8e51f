"""Records that are made by columns equal those that are made one by one."""

from __future__ import annotations

from itertools import repeat

import pytest
from imq.grammar.record import Record


class Point(Record):
    x: int
    y: int = 2
    span: str = ""


class Positive(Record):
    value: int

    def check(self) -> None:
        if self.value <= 0:
            raise ValueError(self.value)


def test_columns_make_the_records_that_calls_make() -> None:
    points = Point.make_many(3, x=range(3), span=repeat("here"))
    assert points == [Point(0), Point(1), Point(2)]
    assert [(point.y, point.span) for point in points] == [(2, "here")] * 3
    assert Point.make_many(0, x=()) == []


def test_columns_are_checked() -> None:
    with pytest.raises(TypeError, match="needs values for 'x'"):
        Point.make_many(1, y=(1,))
    with pytest.raises(TypeError, match="needs 2 values for 'x'"):
        Point.make_many(2, x=(1,))
    with pytest.raises(TypeError, match="has no field 'z'"):
        Point.make_many(1, x=(1,), z=(1,))
    with pytest.raises(ValueError, match="0"):
        Positive.make_many(2, value=(1, 0))
