"""The output format `tree`: rows grouped by their leading columns."""

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
    """The children of a value: the values of the next column, or at the last level the lines of rows."""

_LEVEL_TYPES = frozenset(
    {DataType.TEXT, DataType.REFERENCE, DataType.REPOSITORY, DataType.TAG, DataType.DIGEST, DataType.BOOLEAN}
)
"""Types whose values can be levels of the tree. Sizes and times belong to one row."""


def write_tree(row_set: RowSet, options: DisplayOptions) -> Iterator[str]:
    """Yield rows as a tree, as the command `tree` draws it.

    The leading columns in which rows share values are levels. The other columns are aligned on the line of their row.
    Values and rows keep their order. The levels depend on all rows, so all rows are held in memory.
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
    """Return the number of leading columns in which at least two rows share a known value."""
    levels = 0
    for index, column in enumerate(columns[:-1]):
        prefixes = [row[: index + 1] for row in rows if row[index] is not None]
        if column.type not in _LEVEL_TYPES or len(set(prefixes)) == len(prefixes):
            break
        levels += 1
    return levels


def _draw(under: Branches, indent: str | None) -> Iterator[str]:
    """Yield the lines of the children of a value. `indent` is the start of their lines, None for the roots."""
    last = len(under) - 1
    for number, value in enumerate(under):
        mark, stem = ("", "") if indent is None else ("└── ", "    ") if number == last else ("├── ", "│   ")
        yield (indent or "") + mark + value.rstrip("\n") + "\n"
        if isinstance(under, dict):
            yield from _draw(under[value], (indent or "") + stem)
