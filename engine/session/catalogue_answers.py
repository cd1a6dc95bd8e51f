"""Answers of queries that the catalogue computes, from the plan that SQLite would run."""

from __future__ import annotations

from imq.engine.catalog.tables import DERIVED
from imq.engine.query import ir
from imq.engine.query.sql.postgresql import PostgresqlDialect
from imq.engine.query.sql.postgresql_patterns import Unsupported
from imq.engine.query.sql.statements import write_condition, write_select
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.catalog.schema import Raw, Table
    from imq.engine.postgresql.catalogue import Catalogue
    from imq.engine.query.sql.statements import Sql
    from imq.engine.store.index import StoreIndex

__all__ = ["PlannedAnswer", "Unsupported", "answer", "plan_answer"]

_STORED = frozenset({"images", "layers", "history", "containers"})
"""The tables of the store, whose rows the catalogue has."""


def write_answer(query: ir.Select | ir.Expr, now: int) -> Sql:
    """Return the SQL of a query, or of a condition without a row, for the catalogue. Raises `Unsupported`."""
    write = write_select if isinstance(query, ir.Select) else write_condition
    return write(query, now, dialect=PostgresqlDialect())  # type: ignore[arg-type] # the function of its type


class PlannedAnswer(Record):
    """The SQL for the catalogue at `place`; None when SQLite answers, for a `reason`."""

    sql: Sql | None
    place: str
    reason: str = ""


def plan_answer(catalogue: Catalogue, query: ir.Select | ir.Expr, now: int) -> PlannedAnswer:
    """Return what the catalogue computes of a query, or of a condition without a row."""
    try:
        return PlannedAnswer(write_answer(query, now), catalogue.text)
    except Unsupported as reason:
        return PlannedAnswer(None, catalogue.text, str(reason))


def answer(catalogue: Catalogue, index: StoreIndex, query: ir.Select | ir.Expr, now: int) -> Iterator[tuple[Raw, ...]]:
    """Return the rows that the catalogue computes. Raises `Unsupported` when it has no exact equivalent."""
    sql = write_answer(query, now)
    loaded, reads_store = _list_tables(query)
    return catalogue.answer(sql, loaded, index, reads_store=reads_store)


def _list_tables(query: ir.Select | ir.Expr) -> tuple[list[Table], bool]:
    """Return the tables of a statement that are in SQLite alone, and whether it reads tables of the store."""
    selects = list(_walk(query))
    tables = {select.table.sql_name: select.table for select in selects if select.table.view != DERIVED}
    values = [value for select in selects for value in ir.walk(ir.list_expressions(select))]
    if not isinstance(query, ir.Select):
        values += ir.walk((query,))
    reads_store = any(isinstance(value, ir.ImageField | ir.ImageRelation) for value in values)
    loaded = [table for table in tables.values() if table.is_staged or table.sql_name not in _STORED]
    return loaded, reads_store or len(loaded) < len(tables)


def _walk(query: ir.Select | ir.Expr) -> Iterator[ir.Select]:
    if isinstance(query, ir.Select):
        yield from ir.walk_subqueries(query)
        return
    for value in ir.walk((query,)):
        if (select := ir.get_subquery(value)) is not None:
            yield from ir.walk_subqueries(select)
