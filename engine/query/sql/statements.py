"""Typed queries as SQL statements with parameters."""

from __future__ import annotations

from imq.engine.query import ir
from imq.grammar.record import TYPE_CHECKING, Record

from .dialect import Dialect
from .generator import SqlGenerator, one_column, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "Dialect",
    "Sql",
    "quoted",
    "write_check",
    "write_condition",
    "write_non_digest_check",
    "write_select",
    "write_union",
    "write_values",
]


class Sql(Record):
    """A statement and its parameters, by the names that stand in the text as `:name`.

    `functions` are those that the engine lends to SQL (see runner.py).
    """

    text: str
    parameters: Mapping[str, str | float | None]
    functions: frozenset[str] = frozenset()


def write_select(select: ir.Select, now: int, dialect: Dialect | None = None, hidden: tuple[str, ...] = ()) -> Sql:
    """Return the SQL of a query. Its columns are the selected ones in order, then the `hidden` keys of the source."""
    writer = SqlGenerator(dialect or Dialect(), now)

    def outputs(row: str) -> list[tuple[str, str]]:
        columns = [(writer.value(column.value), f"c{place}") for place, column in enumerate(select.columns)]
        return [*columns, *((f"{row}.{name}", name) for name in hidden)]

    text = writer.select_scalar(select) if select.count else writer.select(select, outputs)
    return _sql(writer, text)


def _sql(writer: SqlGenerator, text: str) -> Sql:
    return Sql(writer.with_ctes(text), writer.parameters, frozenset(writer.functions))


def write_condition(condition: ir.Expr, now: int, dialect: Dialect | None = None) -> Sql:
    """Return the SQL that answers one row of one column: whether a condition about no row holds."""
    writer = SqlGenerator(dialect or Dialect(), now)
    return _sql(writer, f"SELECT {writer.value(condition)} AS holds")


def write_values(values: tuple[ir.Expr, ...], now: int, dialect: Dialect | None = None) -> Sql:
    """Return the SQL that answers one row with these values, which are about no row."""
    writer = SqlGenerator(dialect or Dialect(), now)
    return _sql(writer, f"SELECT {writer.expression_list(values)}")


def write_check(select: ir.Select, now: int, dialect: Dialect | None = None) -> Sql:
    """Return the SQL that answers a row when a query has any."""
    writer = SqlGenerator(dialect or Dialect(), now)
    return _sql(writer, f"SELECT 1 FROM ({writer.select(select, one_column, ordered=False)}) LIMIT 1")


def write_non_digest_check(select: ir.Select, now: int, dialect: Dialect | None = None) -> Sql:
    """Return the SQL for the first string of a query that is not a digest or a prefix of one."""
    writer = SqlGenerator(dialect or Dialect(), now)
    made = select.columns[0].value
    assert isinstance(made, ir.FunctionCall)

    def outputs(_: str) -> list[tuple[str, str]]:
        return [(writer.value(made), "made"), (writer.value(made.arguments[0]), "given")]

    text = writer.select(select, outputs, ordered=False)
    return _sql(writer, f"SELECT given FROM ({text}) WHERE made IS NULL AND given IS NOT NULL LIMIT 1")


def write_union(fields: Sequence[str], members: Sequence[tuple[int, str, Sequence[str]]], count: int) -> str:
    """Return the query of the rows of several views: the place of each among `count` members, its name and columns.

    Its columns are `_row`, `_member`, what else begins with `_` in one of the views, and the fields; a column that a
    view lacks is NULL in its rows.
    """
    hidden = dict.fromkeys(name for _, _, columns in members for name in columns if name.startswith("_"))
    names = [*(name for name in hidden if name not in ("_row", "_member")), *fields]
    parts = []
    for place, view, columns in members:
        own = {*columns}
        values = [quoted(name) if name in own else f"NULL AS {quoted(name)}" for name in names]
        parts.append(f"SELECT _row * {count} + {place} AS _row, {place} AS _member, {', '.join(values)} FROM {view}")
    if not parts:
        values = [f"NULL AS {quoted(name)}" for name in ("_row", "_member", "_image", "_root", "_entry", *fields)]
        return f"SELECT {', '.join(values)} WHERE 0"
    return " UNION ALL ".join(parts)
