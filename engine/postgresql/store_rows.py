"""The rows of a store in the catalogue: the tables of its index, in a schema of PostgreSQL of their own.

The tables, their indexes and the views are those that the index declares. Only rows that differ are written: rows with
a key are compared by fingerprints, and the parts of an image (its layers, steps, labels) are replaced with it.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import cast

from imq.engine.catalog.tables import CONTAINERS, MAP_TABLES, DataType
from imq.engine.query.sql.postgresql import get_column_type
from imq.engine.query.sql.postgresql_functions import SCHEMA as SHARED
from imq.engine.store.index_schema import SCHEMA as INDEX_SCHEMA
from imq.engine.store.index_schema import VERSION as INDEX_VERSION
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

    from imq.engine.catalog.schema import Raw
    from psycopg import Connection

    Row = tuple[Raw, ...]

_REVISION = 1
"""Increased when the tables change although the index does not."""
VERSION = INDEX_VERSION * 1000 + _REVISION
_KEYED = ("image", "entry", "descriptor", "chain", "command", "container")
"""The tables whose rows have a `key`."""
_PARTS = ("config", "stack", "step", *MAP_TABLES.values())
"""The tables whose rows belong to an image and do not change while it exists."""
_USES = "image_use"
_TABLES = (*_KEYED, *_PARTS, _USES)
_MARKS = {**dict.fromkeys(_KEYED, ("_fingerprint",)), "image": ("_fingerprint", "_parts")}
"""The columns by which rows are compared."""
_PRIMARY_KEYS = {
    "config": "image",
    "stack": "image, position",
    "step": "image, position",
    _USES: "image_id",
    **dict.fromkeys(MAP_TABLES.values(), "image, key"),
}
_INDEXES = {
    "image": ("(id)", "(top)", "(manifest)"),
    "entry": (
        "(image)",
        "(id)",
        "(created DESC NULLS LAST)",
        "USING hash (name)",
        "USING hash (repository)",
    ),
    "descriptor": ("(digest)",),
    "chain": ("(id)", "(diff_id)"),
    "stack": ("(descriptor)", "(chain, image)", "(command)"),
    "step": ("(command)",),
    "container": ("(image_id)", "(manifest)"),
    **dict.fromkeys(MAP_TABLES.values(), ("USING hash (value)",)),
}
"""Indexes for lookups. PostgreSQL refuses long values in a tree, so values without a limit are in hash indexes."""
_VIEWS = ("layer", "images", "layers", "history", "containers")
_TYPES = {"INTEGER": "bigint", "NUMERIC": "numeric"}
_TRUTH_COLUMNS = frozenset(field.name for field in CONTAINERS.stored_fields if field.type is DataType.BOOLEAN)
_PARTS_OF_IMAGE = """SELECT image.key, image.manifest,
 (SELECT sum(position * 1000003 + descriptor * 8191 + chain * 131 + command * 7 + coalesce(step, -1))
  FROM stack WHERE image = image.key),
 (SELECT sum(position * 1000003 + command * 131 + coalesce(layer, -1) * 7 + coalesce(created, 0) % 1000003)
  FROM step WHERE image = image.key)
 FROM image ORDER BY image.key"""
"""What identifies the parts of each image. Its manifest decides them, except for the keys of other tables in them."""
_BATCH = 10_000
_NUL_IN_JSON = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Difference(Record):
    """What an update wrote: the number of rows that were copied, and of rows that were deleted."""

    copied: int
    deleted: int


def create_tables(target: Connection[Row], source: sqlite3.Connection, schema: str) -> None:
    """Create the schema with empty tables, in a transaction of the caller."""
    target.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
    target.execute(f"CREATE SCHEMA {schema}")
    target.execute(f"SET LOCAL search_path = {schema}, {SHARED}, pg_temp")
    for table in _TABLES:
        definitions = [f'"{name}" {kind}' for name, kind in _list_columns(source, table)]
        definitions += [f"{mark} bigint NOT NULL" for mark in _MARKS.get(table, ())]
        key = _PRIMARY_KEYS.get(table, "key")
        target.execute(f"CREATE TABLE {table} ({', '.join(definitions)}, PRIMARY KEY ({key}))")
    for statement in INDEX_SCHEMA.split(";\n"):
        view = re.search(r"^CREATE VIEW (\w+) AS", statement, re.MULTILINE)
        if view is not None and view[1] in _VIEWS:
            target.execute(statement[view.start() :])


def add_indexes(target: Connection[Row]) -> None:
    """Create the indexes of filled tables, and collect their statistics. The schema is as in `fill_tables`."""
    for table, keys in _INDEXES.items():
        for columns in keys:
            target.execute(f"CREATE INDEX ON {table} {columns}")
    for table in _TABLES:
        target.execute(f"ANALYZE {table}")


def fill_tables(target: Connection[Row], source: sqlite3.Connection) -> int:
    """Copy all rows into new tables and return their number. The schema is the first one of the search path."""
    copied = 0
    for table in _KEYED:
        names = _list_names(source, table)
        rows = source.execute(f"SELECT {_quote(names)} FROM {table} ORDER BY key")
        copied += _copy(target, table, [*names, *_MARKS[table]], _add_marks(source, table, rows))
    for table in (*_PARTS, _USES):
        columns = _list_columns(source, table)
        names = [name for name, _ in columns]
        if all(kind == "bigint" for _, kind in columns):
            copied += _copy_numbers(target, source, table, names)
        else:
            copied += _copy(target, table, names, source.execute(f"SELECT {_quote(names)} FROM {table}"))
    return copied


def update_tables(target: Connection[Row], source: sqlite3.Connection) -> Difference:
    """Make the rows equal to those of the index. The schema is the first one of the search path."""
    copied = deleted = 0
    for table in _KEYED:
        names = _list_names(source, table)
        key = names.index("key")
        width = len(_MARKS[table])
        rows = _add_marks(source, table, source.execute(f"SELECT {_quote(names)} FROM {table} ORDER BY key"))
        local = (cast("tuple[int, ...]", (row[key], *row[-width:])) for row in rows)
        remote = _stream(target, f"SELECT key, {', '.join(_MARKS[table])} FROM {table} ORDER BY key")
        changes = list(_compare(local, remote))
        if not changes:
            continue
        old = [one for one, before, _ in changes if before is not None]
        new: dict[Raw, tuple[int, ...]] = {one: after for one, _, after in changes if after is not None}
        deleted += _delete(target, table, "key", old)
        keys = [one for one, _, after in changes if after is not None]
        added_rows = ((*row, *new[row[key]]) for row in _select(source, table, names, "key", keys))
        copied += _copy(target, table, [*names, *_MARKS[table]], added_rows)
        if table == "image":
            parts = [(key, before, after) for key, before, after in changes if _last(before) != _last(after)]
            for part in _PARTS:
                names = _list_names(source, part)
                deleted += _delete(target, part, "image", [key for key, before, _ in parts if before is not None])
                added = [key for key, _, after in parts if after is not None]
                copied += _copy(target, part, names, _select(source, part, names, "image", added))
    target.execute(f"DELETE FROM {_USES}")
    names = _list_names(source, _USES)
    copied += _copy(target, _USES, names, source.execute(f"SELECT {_quote(names)} FROM {_USES}"))
    return Difference(copied, deleted)


def _last(marks: Sequence[int] | None) -> int | None:
    return None if marks is None else marks[-1]


def _compare(
    local: Iterator[tuple[int, ...]], remote: Iterator[tuple[int, ...]]
) -> Iterator[tuple[int, tuple[int, ...] | None, tuple[int, ...] | None]]:
    """Yield the keys whose marks differ, with those in the catalogue and those in the index; None for a missing row.

    Both have a key first, and are in the order of keys.
    """
    one, other = next(local, None), next(remote, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one[0] < other[0]):
            assert one is not None
            yield one[0], None, one[1:]
            one = next(local, None)
        elif one is None or other[0] < one[0]:
            yield other[0], other[1:], None
            other = next(remote, None)
        else:
            if one != other:
                yield one[0], other[1:], one[1:]
            one, other = next(local, None), next(remote, None)


def _add_marks(source: sqlite3.Connection, table: str, rows: Iterator[Row]) -> Iterator[Row]:
    """Yield rows of a table with its marks. `rows` are all of them, in the order of keys."""
    if table != "image":
        yield from ((*row, _fingerprint(row)) for row in rows)
        return
    for row, parts in zip(rows, source.execute(_PARTS_OF_IMAGE), strict=True):
        yield (*row, _fingerprint(row), _fingerprint(parts))


def _fingerprint(row: Row) -> int:
    """Return 64 bits that identify the values of a row, as a signed integer."""
    return int.from_bytes(blake2b(repr(row).encode("utf-8", "surrogatepass"), digest_size=8).digest(), signed=True)


def _list_columns(source: sqlite3.Connection, table: str) -> list[tuple[str, str]]:
    """Return the names and types of the columns of a table."""
    truth = _TRUTH_COLUMNS if table == "container" else frozenset()
    return [
        (name, "boolean" if name in truth else _TYPES.get(kind, get_column_type(DataType.TEXT)))
        for _, name, kind, *_ in source.execute(f"PRAGMA table_info({table})")
    ]


def _list_names(source: sqlite3.Connection, table: str) -> list[str]:
    return [name for name, _ in _list_columns(source, table)]


def _quote(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _select(source: sqlite3.Connection, table: str, names: list[str], key: str, keys: Sequence[int]) -> Iterator[Row]:
    """Yield the rows of a table with these keys."""
    text = f'SELECT {_quote(names)} FROM {table} WHERE "{key}" IN (SELECT value FROM json_each(?))'
    for start in range(0, len(keys), _BATCH):
        yield from source.execute(text, (f"[{','.join(map(str, keys[start : start + _BATCH]))}]",))


def _stream(target: Connection[Row], text: str) -> Iterator[tuple[int, ...]]:
    """Yield the rows of a query that returns integers, without holding them all."""
    with target.cursor("imq_keys") as cursor:
        cursor.itersize = _BATCH
        yield from cursor.execute(text)


def _delete(target: Connection[Row], table: str, key: str, keys: Sequence[int]) -> int:
    """Delete the rows with these keys and return their number."""
    if not keys:
        return 0
    return target.execute(f"DELETE FROM {table} WHERE {key} = ANY(%s)", (list(keys),)).rowcount


def _copy(target: Connection[Row], table: str, names: Sequence[str], rows: Iterable[Row]) -> int:
    """Copy rows into a table and return their number."""
    count = 0
    with target.cursor() as cursor, cursor.copy(f"COPY {table} ({_quote(names)}) FROM STDIN") as copy:
        for count, row in enumerate(map(clean, rows), 1):  # noqa: B007 - the number of the last row
            copy.write_row(row)
    return count


def _copy_numbers(target: Connection[Row], source: sqlite3.Connection, table: str, names: Sequence[str]) -> int:
    """Copy a table of integers and return the number of its rows. SQLite writes the text: a third of the time."""
    line = " || char(9) || ".join(f"coalesce(\"{name}\", '\\N')" for name in names)
    rows = source.execute(f"SELECT {line} || char(10) FROM {table}")
    count = 0
    with target.cursor() as cursor, cursor.copy(f"COPY {table} ({_quote(names)}) FROM STDIN") as copy:
        while batch := rows.fetchmany(_BATCH):
            copy.write("".join([text for (text,) in batch]))
            count += len(batch)
    return count


def clean(row: Row) -> Row:
    """Return a row as PostgreSQL takes it: text without NUL, which becomes U+FFFD, also where JSON escapes it."""
    for value in row:
        if isinstance(value, str) and ("\0" in value or "\\u0000" in value):
            return tuple(_clean_text(one) if isinstance(one, str) else one for one in row)
    return row


def _clean_text(text: str) -> str:
    text = text.replace("\0", _REPLACEMENT)
    return _NUL_IN_JSON.sub(rf"\1{_REPLACEMENT}", text) if text[:1] in ("[", "{") else text
