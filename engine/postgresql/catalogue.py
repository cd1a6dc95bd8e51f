"""A catalogue in PostgreSQL: its schema, the rows of stores in it, and the answers that it computes."""

from __future__ import annotations

import re
from contextlib import suppress

from imq.engine.query.sql.postgresql_functions import FUNCTIONS, SCHEMA
from imq.engine.query.sql.postgresql_patterns import Unsupported
from imq.grammar.record import TYPE_CHECKING

from .connection import CatalogueError, connect, convert_error, describe_url, get_driver_error, is_about_values
from .documents import SharedDocuments
from .statement_rows import copy_views
from .store_rows import VERSION, add_indexes, create_tables, fill_tables, update_tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from imq.engine.catalog.schema import Raw, Table
    from imq.engine.query.sql.statements import Sql
    from imq.engine.store.index import StoreIndex
    from psycopg import Connection

    Row = tuple[Raw, ...]

REVISION = 1
"""The version of the tables and functions that all stores share. A catalogue of a later one is not used."""
_LOCK = 0x696D71
"""The class of the advisory locks: of the shared tables (0), and of the rows of each store (its key)."""
_BATCH = 10_000
"""The number of rows that are read at once."""
_SHARED_TABLES = f"""
CREATE SCHEMA IF NOT EXISTS {SCHEMA};
CREATE TABLE IF NOT EXISTS {SCHEMA}.catalogue (revision integer NOT NULL);
CREATE TABLE IF NOT EXISTS {SCHEMA}.place (
    key integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE,
    version bigint, generation text, updated_at timestamptz
);
CREATE TABLE IF NOT EXISTS {SCHEMA}.document (
    digest text PRIMARY KEY, media_type text NOT NULL, content bytea NOT NULL,
    added_at timestamptz NOT NULL DEFAULT now()
);
"""


class Catalogue:
    """The catalogue of a session. It is connected when a statement first needs it. Not thread-safe."""

    def __init__(self, url: str, environment: Mapping[str, str]) -> None:
        self.url = url
        self._environment = environment
        self._connection: Connection[Row] | None = None
        self._open: _Answer | None = None
        self.documents = SharedDocuments(self.connect)

    def close(self) -> None:
        """Close the connection; rows of the last statement that were not read are lost."""
        if self._open is not None:
            self._open.close()
            self._open = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def text(self) -> str:
        """The URL in messages: without user and password."""
        return describe_url(self.url)

    def answer(self, sql: Sql, tables: Sequence[Table], index: StoreIndex, *, reads_store: bool) -> Iterator[Row]:
        """Yield the rows of a statement in the dialect of PostgreSQL.

        `tables` are those whose rows are in SQLite alone. `reads_store`: the statement reads the store of the index,
        whose rows are brought up to date first. Raises `Unsupported` when values are not representable.
        """
        if reads_store and not index.layout.exists:
            raise Unsupported("the rows of a store that does not exist")
        was_connected = self._connection is not None
        connection = self.connect()
        try:
            if self._open is not None:
                self._open.read_rest()
            path = SCHEMA
            if reads_store:
                path = f"{self.update(index)}, {SCHEMA}"
            connection.execute(f"SET search_path = {path}, pg_temp")
            copy_views(connection, index.connection, tables, sql.text)
            self._open = _Answer(connection, sql)
        except KeyboardInterrupt:
            self._reset()  # the transaction has failed
            raise
        except get_driver_error() as problem:
            is_lost = connection.closed and (self._open is None or self._open.is_finished)
            self._reset()
            if was_connected and is_lost:  # such as a server that was restarted since the last statement
                return self.answer(sql, tables, index, reads_store=reads_store)
            if is_about_values(problem):
                raise Unsupported(str(problem).partition("\n")[0]) from problem
            raise convert_error(problem) from problem
        return iter(self._open)

    # The rows of stores

    def update(self, index: StoreIndex) -> str:
        """Bring the rows of a store up to date and return their schema. Nothing is written when none has changed."""
        connection = self.connect()
        name = _name_place(index)
        generation = index.read_generation()
        row = connection.execute(
            f"SELECT key, version, generation FROM {SCHEMA}.place WHERE name = %s", (name,)
        ).fetchone()
        if row is not None and row[1:] == (VERSION, generation) and generation:
            return _name_schema(int(row[0] or 0))
        if not generation:
            with index.sql_transaction():
                pass  # which gives the rows a generation
        if row is None:
            connection.execute(f"INSERT INTO {SCHEMA}.place (name) VALUES (%s) ON CONFLICT DO NOTHING", (name,))
        return self._write_rows(connection, index, name)

    def _write_rows(self, connection: Connection[Row], index: StoreIndex, name: str) -> str:
        """Write the rows of a store in one transaction; of several processes with one store, one writes at a time."""
        source = index.connection
        source.execute("BEGIN")  # all rows are of one generation
        try:
            generation = index.read_generation()
            with connection.transaction():
                found = connection.execute(f"SELECT key FROM {SCHEMA}.place WHERE name = %s", (name,)).fetchone()
                key = int(found[0] or 0) if found is not None else 0
                connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", (_LOCK, key))
                schema = _name_schema(key)
                (version, written) = connection.execute(
                    f"SELECT version, generation FROM {SCHEMA}.place WHERE key = %s", (key,)
                ).fetchone() or (None, None)
                if version == VERSION and written == generation:
                    return schema  # another process wrote them
                if version != VERSION:
                    create_tables(connection, source, schema)
                    fill_tables(connection, source)
                    add_indexes(connection)
                else:
                    connection.execute(f"SET LOCAL search_path = {schema}, {SCHEMA}, pg_temp")
                    update_tables(connection, source)
                connection.execute(
                    f"UPDATE {SCHEMA}.place SET version = %s, generation = %s, updated_at = now() WHERE key = %s",
                    (VERSION, generation, key),
                )
            return schema
        finally:
            source.execute("COMMIT")

    # The connection

    def connect(self) -> Connection[Row]:
        """Return the connection, which is opened at the first call. Raises `CatalogueError`."""
        connection = self._connection
        if connection is None or connection.closed:
            connection = self._connection = connect(self.url, self._environment)
            try:
                self._install(connection)
            except get_driver_error() as problem:
                self._reset()
                raise convert_error(problem) from problem
        return connection

    def _install(self, connection: Connection[Row]) -> None:
        """Create the shared tables and functions, unless they have this version. Raises `CatalogueError`."""
        revision = self._read_revision(connection)
        if revision > REVISION:
            self.close()
            raise CatalogueError(
                f"the catalogue {self.text} was written by a newer imq (version {revision}, this one knows {REVISION})",
                code="catalogue-version",
                hints=("update imq, or choose another database", "to answer queries without it: set catalogue = none"),
            )
        if revision == REVISION:
            return
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s, 0)", (_LOCK,))
            if self._read_revision(connection) == REVISION:
                return
            for statement in _SHARED_TABLES.split(";\n"):
                if statement.strip():
                    connection.execute(statement)
            connection.execute(f"SET LOCAL search_path = {SCHEMA}, pg_temp")
            for statement in FUNCTIONS.split("\n\nCREATE"):
                connection.execute(statement if statement.lstrip().startswith("CREATE") else f"CREATE{statement}")
            connection.execute(f"DELETE FROM {SCHEMA}.catalogue")
            connection.execute(f"INSERT INTO {SCHEMA}.catalogue VALUES (%s)", (REVISION,))

    @staticmethod
    def _read_revision(connection: Connection[Row]) -> int:
        """Return the version of the shared tables; 0 before there are any."""
        exists = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (f"{SCHEMA}.catalogue",)).fetchone()
        if exists is None or not exists[0]:
            return 0
        row = connection.execute(f"SELECT revision FROM {SCHEMA}.catalogue").fetchone()
        return int(row[0] or 0) if row is not None else 0

    def _reset(self) -> None:
        """Close the connection after an error, so that no transaction stays open; the next statement connects again."""
        self.close()


class _Answer:
    """The rows of one statement, read as they are needed; the rest of them before the next statement."""

    def __init__(self, connection: Connection[Row], sql: Sql) -> None:
        self._connection = connection
        self.is_finished = False
        connection.execute("BEGIN")
        self._cursor = connection.cursor("imq_answer")
        self._batch: list[Row] = []
        try:
            self._cursor.execute(convert_parameters(sql.text), dict(sql.parameters))
            self._read(_BATCH)
        except BaseException:
            self._cursor.close()
            raise

    def __iter__(self) -> Iterator[Row]:
        try:
            while self._batch:
                batch, self._batch = self._batch, []
                yield from batch
                if not self._batch:
                    self._read(_BATCH)
        except get_driver_error() as problem:
            raise convert_error(problem) from problem
        finally:
            self.close()  # also when the reader has had enough

    def read_rest(self) -> None:
        """Read all rows into memory: the connection is needed."""
        self._read(None)

    def close(self) -> None:
        """Read no more rows from the server."""
        if not self.is_finished:
            self._finish()

    def _read(self, count: int | None) -> None:
        if self.is_finished:
            return
        rows = self._cursor.fetchall() if count is None else self._cursor.fetchmany(count)
        self._batch += rows
        if count is None or len(rows) < count:
            self._finish()

    def _finish(self) -> None:
        self.is_finished = True
        with suppress(get_driver_error()):  # a lost connection: the rows that were read are valid
            self._cursor.close()
            self._connection.execute("COMMIT")  # documents may have been added meanwhile


def convert_parameters(text: str) -> str:
    """Return a statement with the placeholders of psycopg."""
    return re.sub(r"(?<!:):(p\d+)\b", r"%(\1)s", text.replace("%", "%%"))


def _name_place(index: StoreIndex) -> str:
    """Return the name of a store in the catalogue: its host and its folder."""
    import os
    import socket

    return f"{socket.gethostname()}:{os.path.abspath(index.layout.root)}"


def _name_schema(key: int) -> str:
    return f"{SCHEMA}_place_{key}"
