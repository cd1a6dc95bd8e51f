"""SQL statements with parameters for typed queries."""

from __future__ import annotations

from imq.engine.catalog.schema import DataType
from imq.engine.query import ir
from imq.grammar.record import TYPE_CHECKING, Record

from .generator import SqlGenerator, quote_name, select_one

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .dialect import Dialect

__all__ = [
    "Sql",
    "quote_name",
    "write_check",
    "write_condition",
    "write_kept_counts",
    "write_name_counts",
    "write_non_digest_check",
    "write_non_name_check",
    "write_row_condition",
    "write_select",
    "write_union",
    "write_unknown_check",
    "write_unread_rows",
    "write_values",
]


class Sql(Record):
    """A statement and its parameters by name (`:name` in the text).

    `functions` are the functions to register before it runs (see sqlite_executor.py).
    """

    text: str
    parameters: Mapping[str, str | float | None]
    functions: frozenset[str] = frozenset()


def write_select(select: ir.Select, now: int, hidden: tuple[str, ...] = (), dialect: Dialect | None = None) -> Sql:
    """Return the SQL of a query. Its columns are the selected ones, then the `hidden` columns of the source.

    The hidden column `FREES` is NULL unless `until` counts what the removal of each row frees.
    """
    writer = SqlGenerator(now, dialect=dialect)

    def outputs(row: str) -> list[tuple[str, str]]:
        columns = [(writer.write_value(column.value), f"c{place}") for place, column in enumerate(select.columns)]
        return [*columns, *((writer.write_hidden(select, row, name), name) for name in hidden)]

    text = writer.write_scalar(select) if select.count else writer.write_select(select, outputs)
    return _finish(writer, text)


def _finish(writer: SqlGenerator, text: str) -> Sql:
    return Sql(writer.with_ctes(text), writer.parameters, frozenset(writer.functions))


def write_condition(condition: ir.Expr, now: int, dialect: Dialect | None = None) -> Sql:
    """Return the SQL that returns whether a condition without a row holds, as one row."""
    writer = SqlGenerator(now, dialect=dialect)
    return _finish(writer, f"SELECT {writer.write_value(condition)} AS holds")


def write_row_condition(condition: ir.Expr, row: str, now: int) -> Sql:
    """Return the SQL of a condition on the columns of `row`, the alias of a table."""
    writer = SqlGenerator(now, row)
    return _finish(writer, writer.write_value(condition))


def write_values(values: tuple[ir.Expr, ...], now: int) -> Sql:
    """Return the SQL that returns these values, which do not depend on a row, as one row."""
    writer = SqlGenerator(now)
    return _finish(writer, f"SELECT {writer.write_expressions(values)}")


def write_check(select: ir.Select, now: int) -> Sql:
    """Return the SQL that returns a row if a query returns any."""
    writer = SqlGenerator(now)
    return _finish(writer, f"SELECT 1 FROM ({writer.write_select(select, select_one, ordered=False)}) AS found LIMIT 1")


def write_unread_rows(tables: Sequence[tuple[int, str]]) -> str:
    """Return the SQL for the outer rows whose rows in a scan could not be read: a table for each member of a union."""
    return " UNION ALL ".join(f"SELECT *, {place} AS _member FROM temp.{table}" for place, table in tables)


def write_unknown_check(select: ir.Select, now: int) -> Sql:
    """Return the SQL that returns a row if the single column of a query is unknown in any row."""
    writer = SqlGenerator(now)
    column = select.columns[0].value
    text = writer.write_select(select, lambda _: [(writer.write_value(column), "value")], ordered=False)
    return _finish(writer, f"SELECT 1 FROM ({text}) WHERE value IS NULL LIMIT 1")


def write_kept_counts(select: ir.Select, now: int) -> Sql:
    """Return the SQL that counts the names that `except newest` of a query leaves out, and the images of these names.

    The last three columns of the query are the source, the ID of an image and its name; rows that lack one of them are
    not counted. An index has several images under one name: names of the same images are those of one image.
    """
    assert select.keep_newest is not None
    writer = SqlGenerator(now)
    kept = select.replace(keep_newest=select.keep_newest.replace(is_inverted=True))
    names = [f"c{place}" for place in range(len(select.columns))]

    def outputs(_: str) -> list[tuple[str, str]]:
        return [(writer.write_value(column.value), name) for column, name in zip(kept.columns, names, strict=True)]

    known = " AND ".join(f"{name} IS NOT NULL" for name in names[-3:])
    rows = writer.add_cte(f"SELECT * FROM ({writer.write_select(kept, outputs, ordered=False)}) WHERE {known}")
    *groups, image, name = names
    group = ", ".join(groups)
    kept_names = writer.add_cte(
        f"SELECT {group}, min({image}) AS first, max({image}) AS last FROM {rows} GROUP BY {group}, {name}"
    )
    images = f"SELECT DISTINCT {group}, first, last FROM {kept_names}"
    return _finish(writer, f"SELECT (SELECT count(*) FROM {kept_names}), (SELECT count(*) FROM ({images}))")


def write_name_counts(select: ir.Select, now: int) -> Sql:
    """Return the SQL that counts the rows of a query and their names: its columns are a source and a name there.

    Rows without a name are not counted.
    """
    writer = SqlGenerator(now)
    outputs = ("source", "name")

    def write_outputs(_: str) -> list[tuple[str, str]]:
        return [(writer.write_value(one.value), name) for one, name in zip(select.columns, outputs, strict=True)]

    text = writer.write_select(select, write_outputs, ordered=False)
    rows = writer.add_cte(f"SELECT * FROM ({text}) WHERE name IS NOT NULL")
    names = f"SELECT DISTINCT source, name FROM {rows}"
    return _finish(writer, f"SELECT (SELECT count(*) FROM {rows}), (SELECT count(*) FROM ({names}))")


def write_non_name_check(select: ir.Select, now: int) -> Sql:
    """Return the SQL for the first ID of a query of names, and for its first name that has both a tag and a digest."""
    writer = SqlGenerator(now)
    value = select.columns[0].value
    if isinstance(value, ir.FunctionCall) and value.arguments[0].kind is DataType.TEXT:
        (value,) = value.arguments  # as it is written: a name gets the tag latest, and so would an ID
    text = writer.write_select(select, lambda _: [(writer.write_value(value), "value")], ordered=False)
    rows = writer.add_cte(text)
    found = [
        f"(SELECT value FROM {rows} WHERE {writer.write_regex_match('value', pattern)} LIMIT 1)"
        for pattern in (r"^\s*(sha256:)?[0-9a-f]{12,64}\s*$", r":[^/@]+@")
    ]
    return _finish(writer, f"SELECT {', '.join(found)}")


def write_non_digest_check(select: ir.Select, now: int) -> Sql:
    """Return the SQL for the first string of a query that is not a digest or a prefix of one."""
    writer = SqlGenerator(now)
    normalized = select.columns[0].value
    assert isinstance(normalized, ir.FunctionCall)

    def outputs(_: str) -> list[tuple[str, str]]:
        return [
            (writer.write_value(normalized), "normalized"),
            (writer.write_value(normalized.arguments[0]), "original"),
        ]

    text = writer.write_select(select, outputs, ordered=False)
    return _finish(writer, f"SELECT original FROM ({text}) WHERE normalized IS NULL AND original IS NOT NULL LIMIT 1")


def write_union(fields: Sequence[str], members: Sequence[tuple[int, str, Sequence[str]]], count: int) -> str:
    """Return the SQL for the rows of several views. `members` are the index, name and columns of each view.

    `count` is the number of members, including those without a view. The columns are `_row`, `_member`, the other
    hidden columns of the views, and the fields. A column that a view lacks is NULL in its rows.
    """
    hidden = dict.fromkeys(name for _, _, columns in members for name in columns if name.startswith("_"))
    names = [*(name for name in hidden if name not in ("_row", "_member")), *fields]
    parts = []
    for place, view, columns in members:
        own = {*columns}
        values = [quote_name(name) if name in own else f"NULL AS {quote_name(name)}" for name in names]
        parts.append(f"SELECT _row * {count} + {place} AS _row, {place} AS _member, {', '.join(values)} FROM {view}")
    if not parts:
        values = [f"NULL AS {quote_name(name)}" for name in ("_row", "_member", "_image", "_root", "_entry", *fields)]
        return f"SELECT {', '.join(values)} WHERE 0"
    return " UNION ALL ".join(parts)
