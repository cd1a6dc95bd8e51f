"""Reads the headers in `rpmdb.sqlite`, the database of RPM from Fedora 33 and RHEL 9 on."""

from __future__ import annotations

import sqlite3

from imq.grammar.record import TYPE_CHECKING

from .rpm_header import MAX_HEADER

if TYPE_CHECKING:
    from collections.abc import Iterator

_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What sqlite3 raises for damaged databases: the second for a message that contains damaged text."""


def iter_headers(file: str) -> Iterator[bytes | str]:
    """Yield the header of each package of a database file, and a text for what is wrong with it.

    The file is a copy that nobody else writes. So it can be opened as immutable: SQLite then takes no locks, and needs
    no log next to a database that was left in WAL mode. Its schema is not trusted: no view or trigger in it is used.
    """
    from urllib.parse import quote

    connection = sqlite3.connect(f"file:{quote(file)}?mode=ro&immutable=1", uri=True)
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_HEADER)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute("PRAGMA writable_schema = ON")  # indexes whose pages are missing do not matter
        connection.text_factory = bytes
        found = connection.execute("SELECT type, sql FROM sqlite_master WHERE name = 'Packages'").fetchone()
        if found is None or found[0] != b"table" or not bytes(found[1]).lower().startswith(b"create table"):
            yield "no table of packages"
            return
        yield from _iter_table(connection)
    except _ERRORS as error:
        yield _describe(error)
    finally:
        connection.close()


def _iter_table(connection: sqlite3.Connection) -> Iterator[bytes | str]:
    """Yield the headers one by one, so that a damaged one costs no other: from the end after a damaged page."""
    last = None
    try:
        for number in _iter_numbers(connection, "rowid > ? ORDER BY rowid", -(1 << 63)):
            last = number
            yield _read_header(connection, number)
    except _ERRORS as error:
        yield f"{_describe(error)}; the packages after a damaged page are read from the end"
    else:
        return
    try:
        for number in _iter_numbers(connection, "rowid < ? ORDER BY rowid DESC", (1 << 63) - 1):
            if last is not None and number <= last:
                return
            yield _read_header(connection, number)
    except _ERRORS:
        return  # the damaged page from its other side


def _iter_numbers(connection: sqlite3.Connection, condition: str, bound: int) -> Iterator[int]:
    """Yield the numbers of packages, each of its own query: sqlite3 fetches a row ahead, which an error loses."""
    query = f"SELECT rowid FROM Packages WHERE {condition} LIMIT 1"  # noqa: S608 - the condition is one of two above
    while (found := connection.execute(query, (bound,)).fetchone()) is not None:
        if found[0] == bound:
            return  # a damaged table can lead back to the same row
        (bound,) = found
        yield bound


def _read_header(connection: sqlite3.Connection, number: int) -> bytes | str:
    try:
        (header,) = connection.execute("SELECT blob FROM Packages WHERE rowid = ?", (number,)).fetchone() or (None,)
    except _ERRORS as error:
        return f"package {number}: {_describe(error)}"
    return header if isinstance(header, bytes) else f"package {number} has no header"


def _describe(error: Exception) -> str:
    return str(error) if isinstance(error, sqlite3.Error) else "database disk image is malformed"
