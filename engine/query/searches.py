"""Searches: `like`, `matches` and `has` with a constant, of fields that a source searches where they are.

The content of a file can be larger than memory, so a search does not fetch it. The source searches the content while it
reads it. A hidden column of its rows has the results: a JSON object by the keys of the searches.
"""

from __future__ import annotations

import hashlib

from imq.engine.catalog.schema import DataType
from imq.grammar.record import TYPE_CHECKING, Record

from . import ir

if TYPE_CHECKING:
    from collections.abc import Iterable


class Search(Record):
    """A search of the values of a field. `operator` is `like` or `matches`, or `has` for a list."""

    field: str
    operator: str
    pattern: str

    def describe(self) -> list[str]:
        """Return the search as JSON: the arguments for one of another process."""
        return [self.field, self.operator, self.pattern]

    @property
    def key(self) -> str:
        """The key of its results, which is valid in a path of SQLite's JSON functions."""
        text = f"{self.field}\n{self.operator}\n{self.pattern}"
        return "s" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def get_search(value: ir.Expr) -> Search | None:
    """Return the search that a condition is; None if it is another condition."""
    match value:
        case ir.Comparison("like" | "matches" | "has" as operator, ir.Column(field, ""), ir.Literal(pattern)) if (
            field.search_column and (operator == "has") is (field.type is DataType.LIST)
        ):
            return Search(field.name, operator, str(pattern))
    return None


def find_searches(select: ir.Select) -> tuple[frozenset[Search], frozenset[str]]:
    """Return the searches of a query, and the names of the searched fields whose values it does not read otherwise."""
    searches: set[Search] = set()
    read: set[str] = set()
    pending: list[ir.Expr] = list(ir.list_expressions(select))
    while pending:
        value = pending.pop()
        if (search := get_search(value)) is not None:
            searches.add(search)
            continue
        if isinstance(value, ir.Column) and not value.join:
            read.add(value.field.name)
        pending += _list_operands(value)
    return frozenset(searches), frozenset(one.field for one in searches) - read


def _list_operands(value: ir.Expr) -> Iterable[ir.Expr]:
    yield from ir.children(value)
    if isinstance(value, ir.AggregateCall) and value.argument is not None:
        yield from (value.argument, *value.aligned_with)
