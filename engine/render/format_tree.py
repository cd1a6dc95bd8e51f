"""The tree: rows under what they begin with."""

from __future__ import annotations

from imq.engine.catalog.schema import DataType
from imq.grammar.record import TYPE_CHECKING

from .text_table import columns
from .values import NONE, texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.result import Column, RowSet

    from .values import Manner

    Branches = dict[str, "Branches"] | list[str]
    """What stands under a value: by its text the values of the next column, or, at the end, the lines of rows."""

_BRANCHING = frozenset(
    {DataType.TEXT, DataType.REFERENCE, DataType.REPOSITORY, DataType.TAG, DataType.DIGEST, DataType.BOOLEAN}
)
"""Kinds whose values name something that others can stand under; sizes and times measure the row itself."""


def as_tree(answer: RowSet, manner: Manner) -> Iterator[str]:
    """Rows under what they begin with, as `tree` draws them.

    The first columns, as far as they name things and rows agree in them, are levels; the rest of a row stands in its
    line, aligned with the others. Values and rows keep the order in which they come first. Only the whole answer tells
    which columns those are, so all rows are held.
    """
    rows = list(answer.rows)
    lines = list(texts(answer.replace(rows=rows), manner))
    levels = _levels(answer.columns, rows)
    top: Branches = {} if levels else []
    for line, leaf in zip(lines, columns([line[levels:] for line in lines]), strict=True):
        under = top
        for depth, value in enumerate(line[:levels], 1):
            assert isinstance(under, dict)
            under = under.setdefault(value or NONE, {} if depth < levels else [])
        assert isinstance(under, list)
        under.append(leaf)
    return _drawn(top, None)


def _levels(headings: Sequence[Column], rows: Sequence[tuple[Raw, ...]]) -> int:
    """Return how many leading columns are levels: those in which at least two rows agree on something known."""
    levels = 0
    for place, heading in enumerate(headings[:-1]):
        known = [row[: place + 1] for row in rows if row[place] is not None]
        if heading.kind not in _BRANCHING or len(set(known)) == len(known):
            break
        levels += 1
    return levels


def _drawn(under: Branches, indent: str | None) -> Iterator[str]:
    """Yield the lines of what stands under a value; `indent` is what its lines begin with, None for the roots."""
    last = len(under) - 1
    for number, value in enumerate(under):
        mark, stem = ("", "") if indent is None else ("└── ", "    ") if number == last else ("├── ", "│   ")
        yield (indent or "") + mark + value.rstrip("\n") + "\n"
        if isinstance(under, dict):
            yield from _drawn(under[value], (indent or "") + stem)
