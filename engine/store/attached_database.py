"""A database in the folder of a store that is attached to the connection of the index. It can be deleted at any time.

Without write permission the database is in memory. A file that came with a copied folder is replaced: it may be forged.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from zlib import crc32

from imq.grammar.record import TYPE_CHECKING

from .database import check_database_path, create_database, database_uri, enable_wal, has_database, remove_database

if TYPE_CHECKING:
    from .layout import Layout

_CORRUPTION_ERRORS = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR")
"""The prefixes of SQLite's error names for an unusable file. They do not include locks and a full disk."""


class AttachedDatabase:
    """A database: its file, its name in SQL, and its tables.

    The definitions in `tables` name the schema, and each ends with `;` and a line break. `revision` is increased when
    the meaning of values changes but the definitions do not. A file of another version is created again; tables in
    `kept` stay if their definition is unchanged.
    """

    def __init__(self, file: str, schema: str, tables: str, revision: int, kept: frozenset[str] = frozenset()) -> None:
        self.file = file
        self._schema = schema
        self._tables = (
            "-- The folder in which the file was created; see `Layout.origin`.\n"
            f"CREATE TABLE IF NOT EXISTS {schema}.origin (value TEXT NOT NULL);\n{tables}"
        )
        self._version = crc32(f"{revision}{self._tables}".encode()) & 0x7FFFFFFF
        self._kept = kept

    def attach(self, connection: sqlite3.Connection, layout: Layout | None) -> None:
        """Attach the file in the root of `layout`, replacing a database in memory.

        None: keep the database that is attached already, or attach one in memory.
        """
        attached = {name: path for _, name, path in connection.execute("PRAGMA database_list")}
        if attached.get(self._schema) or (self._schema in attached and layout is None):
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
            is_usable = self._prepare(connection, layout)
        except sqlite3.Error as problem:
            if not problem.sqlite_errorname.startswith(_CORRUPTION_ERRORS):
                self._detach(connection)
                raise
            is_usable = False
        if not is_usable:  # its content can be made again
            self._detach(connection)
            with layout.lock():
                remove_database(layout, self.file)
                create_database(layout, self.file)
            self._prepare(connection, layout)
        connection.execute(f"PRAGMA {self._schema}.synchronous = OFF")  # lost rows are made again

    def _detach(self, connection: sqlite3.Connection) -> None:
        if any(name == self._schema for _, name, _ in connection.execute("PRAGMA database_list")):
            connection.execute(f"DETACH {self._schema}")

    def _prepare(self, connection: sqlite3.Connection, layout: Layout | None) -> bool:
        """Attach the file, or a database in memory, and create the tables unless they have this version.

        Returns whether the file can be used: it was created in this folder, and has no foreign tables or views. Their
        definitions are compared before any is read: a view of the same name may be endless.
        """
        path = ":memory:" if layout is None else database_uri(layout, self.file)
        connection.execute(f"ATTACH ? AS {self._schema}", (path,))
        if layout is not None:
            check_database_path(connection, layout, self.file, self._schema)
            connection.execute(f"PRAGMA {self._schema}.auto_vacuum = INCREMENTAL")  # of an empty file alone
            enable_wal(connection, self._schema)
            if not self._is_made_in(connection, layout.origin()):
                return False
        if self._read_version(connection) == self._version:
            return self._has_own_tables(connection)
        connection.execute("BEGIN IMMEDIATE")
        try:
            if self._read_version(connection) != self._version:
                self._create_tables(connection, layout.origin() if layout is not None else "")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        return True

    def _create_tables(self, connection: sqlite3.Connection, origin: str) -> None:
        objects = f"SELECT type, name, sql FROM {self._schema}.sqlite_master WHERE type IN ('table', 'view')"
        definitions = self._list_definitions()
        for kind, name, definition in connection.execute(objects).fetchall():
            is_same = definitions.get((kind, name)) == _get_columns(definition)
            if name not in self._kept or not is_same:
                connection.execute(f'DROP {kind} {self._schema}."{name}"')
        for statement in self._tables.split(";\n"):
            connection.execute(statement)
        connection.execute(f"INSERT INTO {self._schema}.origin VALUES (?)", (origin,))
        connection.execute(f"PRAGMA {self._schema}.user_version = {self._version}")

    def _read_version(self, connection: sqlite3.Connection) -> int:
        version: int = connection.execute(f"PRAGMA {self._schema}.user_version").fetchone()[0]
        return version

    def _is_made_in(self, connection: sqlite3.Connection, origin: str) -> bool:
        """Whether the attached file was created in the folder with this origin, or is empty."""
        objects = f"SELECT type, name, sql FROM {self._schema}.sqlite_master"
        definitions = {(kind, name): sql for kind, name, sql in connection.execute(objects)}
        if not definitions:
            return True
        key = ("table", "origin")
        if origin == "" or _get_columns(definitions.get(key)) != self._list_definitions()[key]:
            return False
        return bool(connection.execute(f"SELECT value FROM {self._schema}.origin").fetchall() == [(origin,)])

    def _has_own_tables(self, connection: sqlite3.Connection) -> bool:
        """Whether the attached file has exactly the tables and indexes of this version."""
        expected = self._list_definitions()
        for kind, name, sql in connection.execute(f"SELECT type, name, sql FROM {self._schema}.sqlite_master"):
            is_automatic = kind == "index" and sql is None  # SQLite reserves their names
            if not is_automatic and expected.pop((kind, name), None) != _get_columns(sql):
                return False
        return not expected

    def _list_definitions(self) -> dict[tuple[str, str], str]:
        """Return the columns of each table and index, by type and name."""
        definitions: dict[tuple[str, str], str] = {}
        for statement in self._tables.split(";\n"):
            _, _, rest = statement.partition("CREATE ")
            if rest:
                kind, _, _, _, name, *_ = rest.split(maxsplit=5)
                definitions[kind.lower(), name.partition(".")[2]] = _get_columns(rest)
        return definitions


def _get_columns(definition: str | None) -> str:
    """Return the statement of a table or index from its columns on, as SQLite stores it, too."""
    return (definition or "").partition("(")[2]
