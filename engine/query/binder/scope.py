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
    Protocol = object  # typing is slow to import, and a Protocol says nothing at run time

NOTHING = Table("no table", "The table of a condition that is not about a row.", (), (), ())
"""The table of an `assert`, and of a query that stands alone in an expression."""


class Scope(Record):
    """What a statement is bound against: the time it began, the local zone, images of the store, and the sources.

    `find` returns the key of the image that a text names, or raises `NotFound`. `fetch` resolves sources and binds
    their tables; `default_refs` are the sources of a query that names none. `outer` are the tables of the queries that
    this one stands inside, the nearest first.
    """

    now: int
    zone: tzinfo | None
    find: Callable[[str], int]
    fetch: FetchExecutor
    default_refs: tuple[SourceRef, ...]
    outer: tuple[Table, ...] = ()


class ExpressionBinder(Protocol):
    """What binds the expressions of one query: `expressions.Expressions`, as the modules that it calls see it.

    `columns_by_name` are the selected columns by their case-folded names, for clauses that follow `select`;
    `allows_aggregates`: an aggregate may be used here.
    """

    table: Table
    scope: Scope
    columns_by_name: dict[str, ir.Expr]
    allows_aggregates: bool

    def value(self, node: ast.Expr) -> ir.Expr:
        """Bind an expression; a bare word is a field."""

    def literal(self, node: ast.Literal | ast.Variable) -> ast.Literal:
        """Return a literal in which variables were replaced."""

    def rows(self, rows: ast.RowSource) -> ir.Select:
        """Bind rows of a relation of this row, or of a table."""
