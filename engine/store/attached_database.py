"""A database in the folder of a store that is attached to the connection of the index. It can be deleted at any time.

Without write permission the database is in memory.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress

from imq.grammar.record import TYPE_CHECKING, Record

from .database import check_database_path, create_database, database_uri, enable_wal, has_database, remove_database

if TYPE_CHECKING:
    from .layout import Layout

_CORRUPTION_ERRORS = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR")
"""The prefixes of SQLite's error names for an unusable file. They do not include locks and a full disk."""


class AttachedDatabase(Record):
    """A database: its file, its name in SQL, its tables, and the checksum of their definitions.

    A file with another `version` is created again.
    """

    file: str
    schema: str
    tables: str
    version: int

    def attach(self, connection: sqlite3.Connection, layout: Layout | None) -> None:
        """Attach the file in the root of `layout`, replacing a database in memory; None: a database in memory."""
        attached = {name: path for _, name, path in connection.execute("PRAGMA database_list")}
        if attached.get(self.schema) or (self.schema in attached and layout is None):
            return
        self._detach(connection)
        if layout is not None:
            with suppress(sqlite3.Error, OSError):
                self._attach_file(connection, layout)
                return
            self._detach(connection)
        self._prepare(connection, None)

    def _attach_file(self, connection: sqlite3.Connection, layout: Layout) -> None:
        if not has_database(layout, self.file):
            with layout.lock():
                create_database(layout, self.file)
        try:
            self._prepare(connection, layout)
        except sqlite3.Error as problem:
            self._detach(connection)
            if not problem.sqlite_errorname.startswith(_CORRUPTION_ERRORS):
                raise
            with layout.lock():  # it is corrupt, and can be made again
                remove_database(layout, self.file)
                create_database(layout, self.file)
            self._prepare(connection, layout)
        connection.execute(f"PRAGMA {self.schema}.synchronous = OFF")

    def _detach(self, connection: sqlite3.Connection) -> None:
        if any(name == self.schema for _, name, _ in connection.execute("PRAGMA database_list")):
            connection.execute(f"DETACH {self.schema}")

    def _prepare(self, connection: sqlite3.Connection, layout: Layout | None) -> None:
        """Attach the file, or a database in memory, and create the tables unless they have this version."""
        path = ":memory:" if layout is None else database_uri(layout, self.file)
        connection.execute(f"ATTACH ? AS {self.schema}", (path,))
        if layout is not None:
            check_database_path(connection, layout, self.file, self.schema)
            connection.execute(f"PRAGMA {self.schema}.auto_vacuum = INCREMENTAL")  # without effect on an existing file
            enable_wal(connection, self.schema)
        if self._read_version(connection) == self.version:
            connection.execute(f"SELECT 1 FROM {self.schema}.sqlite_schema LIMIT 1")
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            if self._read_version(connection) != self.version:
                tables = f"SELECT name FROM {self.schema}.sqlite_schema WHERE type = 'table'"
                for (name,) in connection.execute(tables).fetchall():
                    connection.execute(f'DROP TABLE {self.schema}."{name}"')
                for statement in self.tables.split(";\n"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA {self.schema}.user_version = {self.version}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def _read_version(self, connection: sqlite3.Connection) -> int:
        version: int = connection.execute(f"PRAGMA {self.schema}.user_version").fetchone()[0]
        return version
