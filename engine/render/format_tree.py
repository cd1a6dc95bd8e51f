"""The tree: rows under what they begin with."""

from __future__ import annotations

from imq.engine.catalog.schema import DataType
from imq.grammar.record import TYPE_CHECKING

from .text_table import align_columns
from .values import NONE_TEXT, format_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.result import Column, RowSet

    from .values import DisplayOptions

    Branches = dict[str, "Branches"] | list[str]
    """What stands under a value: by its text the values of the next column, or, at the end, the lines of rows."""

_LEVEL_TYPES = frozenset(
    {DataType.TEXT, DataType.REFERENCE, DataType.REPOSITORY, DataType.TAG, DataType.DIGEST, DataType.BOOLEAN}
)
"""Kinds whose values name something that others can stand under; sizes and times measure the row itself."""


def write_tree(row_set: RowSet, options: DisplayOptions) -> Iterator[str]:
    """Rows under what they begin with, as `tree` draws them.

    The first columns, as far as they name things and rows agree in them, are levels; the rest of a row stands in its
    line, aligned with the others. Values and rows keep the order in which they come first. Only the whole answer tells
    which columns those are, so all rows are held.
    """
    rows = list(row_set.rows)
    lines = list(format_rows(row_set.replace(rows=rows), options))
    levels = _count_levels(row_set.columns, rows)
    top: Branches = {} if levels else []
    for line, leaf in zip(lines, align_columns([line[levels:] for line in lines]), strict=True):
        under = top
        for depth, value in enumerate(line[:levels], 1):
            assert isinstance(under, dict)
            under = under.setdefault(value or NONE_TEXT, {} if depth < levels else [])
        assert isinstance(under, list)
        under.append(leaf)
    return _draw(top, None)


def _count_levels(columns: Sequence[Column], rows: Sequence[tuple[Raw, ...]]) -> int:
    """Return how many leading columns are levels: those in which at least two rows agree on something known."""
    levels = 0
    for index, column in enumerate(columns[:-1]):
        prefixes = [row[: index + 1] for row in rows if row[index] is not None]
        if column.type not in _LEVEL_TYPES or len(set(prefixes)) == len(prefixes):
            break
        levels += 1
    return levels


def _draw(under: Branches, indent: str | None) -> Iterator[str]:
    """Yield the lines of what stands under a value; `indent` is what its lines begin with, None for the roots."""
    last = len(under) - 1
    for number, value in enumerate(under):
        mark, stem = ("", "") if indent is None else ("└── ", "    ") if number == last else ("├── ", "│   ")
        yield (indent or "") + mark + value.rstrip("\n") + "\n"
        if isinstance(under, dict):
            yield from _draw(under[value], (indent or "") + stem)
