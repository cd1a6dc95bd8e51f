"""The scope that statements are bound against."""

from __future__ import annotations

from imq.engine.catalog.tables import Table
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo
    from typing import Protocol

    from imq.engine.query import ir
    from imq.engine.query.fetch_executor import FetchExecutor
    from imq.engine.query.source import SourceRef
    from imq.grammar import ast
else:
    Protocol = object  # typing is slow to import, and a Protocol has no effect at run time

NOTHING = Table("no table", "The table of a condition that is not about a row.", (), (), ())
"""The table of an `assert`, and of a query in an expression that does not depend on a row."""


class Scope(Record):
    """The scope of a statement: its start time, the local time zone, the images of the store, and the sources.

    `find` returns the key of an image by name or ID, or raises `NotFound`. `fetch` resolves sources and binds their
    tables. `default_refs` returns the sources of a query without `in`, of this table (default: images). `outer` are the
    tables of the enclosing queries, innermost first. `is_removal`: the rows are removed, so ambiguity is refused.
    `note` reports a remark on the statement.
    """

    now: int
    zone: tzinfo | None
    find: Callable[[str], int]
    fetch: FetchExecutor
    default_refs: Callable[..., tuple[SourceRef, ...]]
    outer: tuple[Table, ...] = ()
    is_removal: bool = False
    note: Callable[[str], None] = lambda _text: None


class ExpressionBinder(Protocol):
    """The interface of `expressions.Expressions` for the modules that it calls; it avoids an import cycle.

    `columns_by_name` are the selected columns by their case-folded names, for clauses after `select`.
    `allows_aggregates` and `allows_previous`: aggregates, and values of the row before, are allowed in this clause.
    """

    table: Table
    scope: Scope
    columns_by_name: dict[str, ir.Expr]
    allows_aggregates: bool
    allows_previous: bool

    def bind_value(self, node: ast.Expr) -> ir.Expr:
        """Bind an expression; a bare word is a field."""

    def require_literal(self, node: ast.Literal | ast.Variable) -> ast.Literal:
        """Return a literal; raises `TypeMismatch` for any other expression."""

    def bind_rows(self, rows: ast.RowSource) -> ir.Select:
        """Bind the rows of a relation of this table, or of another table."""
