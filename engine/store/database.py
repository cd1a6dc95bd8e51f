"""The SQLite files of a store: created, checked before SQLite opens them, and removed.

SQLite opens a path and follows a symbolic link at its end. So the type of the file is checked before, and the file that
SQLite has opened is compared with it before anything is read. A rollback journal is never played back: it may name any
other file, which SQLite would remove afterwards. All these databases can be derived or fetched again.
"""

from __future__ import annotations

import os
import time
from sqlite3 import SQLITE_BUSY, OperationalError

from imq.grammar.errors import StoreError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite3 import Connection

    from .layout import Layout

SUFFIXES = ("-journal", "-wal", "-shm", "")
"""The suffixes of the files of a database, in the order of removal: a log never outlives its database."""

_WAL_TIMEOUT = 60
"""Seconds to wait for another process that opens the same file."""


def has_database(layout: Layout, name: str, *, writable: bool = True) -> bool:
    """Whether a database exists that may be opened. Raises `StoreError` when one of its files is not a regular file.

    A file with a second hard link may be opened only for reading: writes would reach the other name.
    """
    directory = layout.root_directory
    statuses = [directory.file_status(name + suffix) for suffix in SUFFIXES]
    if statuses[-1] is None or statuses[0] is not None:
        return False
    return not writable or all(status is None or status.st_nlink == 1 for status in statuses)


def create_database(layout: Layout, name: str) -> None:
    """Create an empty database file, replacing one that may not be opened. The caller holds the lock of the store."""
    if not has_database(layout, name):
        remove_database(layout, name)
        os.close(layout.root_directory.create_file(name))  # SQLite gives its log the same mode


def remove_database(layout: Layout, name: str) -> None:
    """Remove the files of a database."""
    for suffix in SUFFIXES:
        layout.root_directory.remove_file(name + suffix)


def database_uri(layout: Layout, name: str, options: str = "mode=rw") -> str:
    """Return the URI of an existing database: SQLite does not create it."""
    path = layout.root_directory.path_of(name)
    for character in "%?#":
        path = path.replace(character, f"%{ord(character):02x}")
    return f"file:{path}?{options}"


def enable_wal(connection: Connection, schema: str = "main") -> None:
    """Switch a database to write-ahead logging; raises `sqlite3.OperationalError` when it is locked for too long.

    SQLite does not wait for a lock here: of two processes that open a new file at once, it refuses one.
    """
    deadline = time.monotonic() + _WAL_TIMEOUT
    while True:
        try:
            connection.execute(f"PRAGMA {schema}.journal_mode = WAL")
        except OperationalError as error:
            if error.sqlite_errorcode & 0xFF != SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def check_database_path(connection: Connection, layout: Layout, name: str, schema: str = "main") -> None:
    """Raise `StoreError` unless SQLite has opened the file in the root of the store, and not the target of a link."""
    paths = {row[1]: row[2] for row in connection.execute("PRAGMA database_list")}
    folder, opened_name = os.path.split(paths[schema])
    if opened_name == name and os.path.samestat(os.stat(folder), os.fstat(layout.root_directory.descriptor)):
        return
    raise StoreError(
        f"{layout.root_directory.path_of(name)} is a symbolic link, expected a regular file",
        code="unsafe-file",
        hints=("inspect and remove it, or choose another folder with --root",),
    )
