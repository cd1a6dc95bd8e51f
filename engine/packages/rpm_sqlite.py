"""Reads the headers in `rpmdb.sqlite`, the database of RPM from Fedora 33 and RHEL 9 on."""

from __future__ import annotations

import sqlite3

from imq.grammar.record import TYPE_CHECKING

from .rpm_header import MAX_HEADER

if TYPE_CHECKING:
    from collections.abc import Iterator


def iter_headers(file: str) -> Iterator[bytes | str]:
    """Yield the header of each package of a database file, and a text for what is wrong with it.

    The file is a copy that nobody else writes. So it can be opened as immutable: SQLite then takes no locks, and needs
    no log beside a database that was left in WAL mode. Its schema is not trusted: no view or trigger in it is used.
    """
    from urllib.parse import quote

    connection = sqlite3.connect(f"file:{quote(file)}?mode=ro&immutable=1", uri=True)
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_HEADER)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.text_factory = bytes
        yield from _iter_table(connection)
    except sqlite3.DatabaseError as error:
        yield str(error)
    finally:
        connection.close()


def _iter_table(connection: sqlite3.Connection) -> Iterator[bytes | str]:
    found = connection.execute("SELECT type, sql FROM sqlite_master WHERE name = 'Packages'").fetchone()
    if found is None or found[0] != b"table" or not found[1].lower().startswith(b"create table"):
        yield "no table of packages"
        return
    last = None
    try:
        for last, blob in connection.execute("SELECT rowid, blob FROM Packages ORDER BY rowid"):
            yield blob if isinstance(blob, bytes) else f"package {last} is no header"
    except sqlite3.DatabaseError as error:
        yield f"{error}; the packages after a damaged page are read from the end"
        yield from _iter_backwards(connection, last)


def _iter_backwards(connection: sqlite3.Connection, last: int | None) -> Iterator[bytes | str]:
    """Yield the headers after a damaged page, from the end."""
    try:
        for number, blob in connection.execute("SELECT rowid, blob FROM Packages ORDER BY rowid DESC"):
            if last is not None and number <= last:
                return
            if isinstance(blob, bytes):
                yield blob
    except sqlite3.DatabaseError:
        return  # the damaged page from its other side
