"""The rows of one statement that no store has: those of registries, engines and files, in temporary tables."""

from __future__ import annotations

import re

from imq.engine.catalog.tables import DataType
from imq.engine.query.sql.postgresql import get_column_type
from imq.engine.query.sql.postgresql_patterns import Unsupported
from imq.grammar.record import TYPE_CHECKING

from .store_rows import clean

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from imq.engine.catalog.schema import Raw, Table
    from psycopg import Connection

    Row = tuple[Raw, ...]

_NUMBERS = frozenset({"_row", "_image", "_entry", "_member", "_top", "_base_chain", "_gone"})
"""Hidden columns with integers; others have strings."""
_ANALYZED_ROWS = 1000
"""PostgreSQL has no statistics of a new table: with this many rows they are worth the time."""


def copy_views(target: Connection[Row], source: sqlite3.Connection, tables: Iterable[Table], statement: str) -> int:
    """Copy the rows of these tables of SQLite, and of each the columns that a statement names; return their number.

    Raises `Unsupported` for a column without a single type.
    """
    words = frozenset(re.findall(r"\w+", statement))
    return sum(_copy_view(target, source, table, words) for table in tables)


def _copy_view(target: Connection[Row], source: sqlite3.Connection, table: Table, words: frozenset[str]) -> int:
    name = table.sql_name
    kinds = {field.name: field.type for field in table.stored_fields}
    columns = {
        column: "bigint" if column in _NUMBERS else get_column_type(kinds.get(column, DataType.TEXT))
        for _, column, *_ in source.execute(f"PRAGMA table_xinfo({name})")
        if column == "_row" or column in words or not column.isidentifier()
    }
    for column, kind in kinds.items():
        if kind is DataType.NUMBER and column in columns:
            columns[column] = _find_number_type(source, name, column)
    quoted = {column: _quote_name(column) for column in columns}
    target.execute(f"DROP TABLE IF EXISTS pg_temp.{name}")
    target.execute(f"CREATE TEMP TABLE {name} ({', '.join(f'{quoted[one]} {kind}' for one, kind in columns.items())})")
    names = ", ".join(quoted.values())
    count = 0
    with target.cursor() as cursor, cursor.copy(f"COPY pg_temp.{name} ({names}) FROM STDIN") as copy:
        for row in source.execute(f"SELECT {names} FROM {name}"):
            copy.write_row(clean(row))
            count += 1
    if count >= _ANALYZED_ROWS:
        target.execute(f"ANALYZE pg_temp.{name}")
    return count


def _find_number_type(source: sqlite3.Connection, table: str, column: str) -> str:
    """Return the type of a column of numbers, of which SQLite has the type of each value."""
    name = _quote_name(column)
    found = {kind for (kind,) in source.execute(f"SELECT DISTINCT typeof({name}) FROM {table}")} - {"null"}
    if found <= {"integer"}:
        return "bigint"
    if found == {"real"}:
        return "double precision"
    raise Unsupported(f"{column}, which has numbers with and without decimals")


def _quote_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
