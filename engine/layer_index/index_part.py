"""A part of the index of a layer: the entries that a statement selects, and what hides entries of other layers.

Whether an image shows an entry depends on the layers above it. So a part keeps, besides the selected entries, all
whiteouts, symbolic links and folders. The others can only hide an entry of their own path, or what is below it if that
was a folder. A part has a Bloom filter of their paths: where it says that one may be on the way to a selected entry of
a lower layer, the whole index is needed.

A part has a name of its own in the index of files, so that nothing takes it for the index of the layer.
"""

from __future__ import annotations

import hashlib

from imq.engine.oci.digest import Digest
from imq.grammar.record import TYPE_CHECKING

from .entry_types import DIRECTORY, HARD_LINK, IMPLIED, OPAQUE, SYMLINK, WHITEOUT
from .schema import ENTRY_COLUMNS, SCAN_TABLES
from .words import collect_words

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any, Protocol

    class Selection(Protocol):
        """The entries that a statement needs, and the kinds of notes. `packages`: a condition on packages; "": none."""

        @property
        def parameters(self) -> Mapping[str, Any]: ...  # noqa: D102 - see the class
        @property
        def packages(self) -> str: ...  # noqa: D102
        @property
        def notes(self) -> Sequence[str]: ...  # noqa: D102

        def write(self, schema: str, /) -> str:
            """Return the SQL of the `directory` and the `name` of the entries of a schema."""


DROPPED_NOTE = "dropped"
"""The kind of the note of the root folder with the filter of the dropped paths."""
_KEPT = f"({DIRECTORY}, {IMPLIED}, {SYMLINK}, {WHITEOUT}, {OPAQUE})"
_BITS = 24
"""Bits of the filter for each path. With `_HASHES` of them set, one of 100,000 other paths seems to be in it."""
_HASHES = 12
_LEAST_BYTES = 16
_COLUMNS = ", ".join(ENTRY_COLUMNS)


def make_part_key(diff_id: Digest, statement: str) -> Digest:
    """Return the name of the part of a layer that a statement needs, which has a unique string."""
    return Digest.of(f"{diff_id}\n{statement}".encode())


def write_part(path: str, target: str, key: Digest, connection: sqlite3.Connection, selection: Selection) -> bool:
    """Write a part of the scan at `path` to `target`; return False if the layer has links that need the whole.

    The functions of the selection are registered on `connection`, which is in memory and to be closed by the caller.
    """
    connection.execute("ATTACH ? AS whole", (path,))
    connection.execute("ATTACH ? AS part", (target,))
    (needs_whole,) = connection.execute(
        f"""SELECT has_link_parents OR has_lower_links
            OR EXISTS (SELECT 1 FROM whole.replaced WHERE type IN ({SYMLINK}, {HARD_LINK})) FROM whole.scan"""
    ).fetchone()
    if not needs_whole:
        _write_tables(connection, key, selection)
    return not needs_whole


def _write_tables(connection: sqlite3.Connection, key: Digest, selection: Selection) -> None:
    connection.execute("BEGIN")
    for statement in SCAN_TABLES.split(";\n"):
        connection.execute(statement.replace("CREATE TABLE ", "CREATE TABLE part."))
    connection.execute(
        f"""CREATE TEMP TABLE kept AS SELECT directory, name FROM whole.entry WHERE type IN {_KEPT}
        UNION SELECT directory, name FROM ({selection.write("whole")})""",
        selection.parameters,
    )
    connection.execute("CREATE UNIQUE INDEX temp.kept_place ON kept (directory, name)")
    connection.execute("INSERT INTO part.directory SELECT * FROM whole.directory")
    connection.execute(
        f"INSERT INTO part.entry ({_COLUMNS}) SELECT {_COLUMNS} FROM whole.entry"
        " WHERE (directory, name) IN (SELECT directory, name FROM kept) ORDER BY directory, name"
    )
    dropped = connection.execute(
        """SELECT directory.path || '/' || entry.name FROM whole.entry
        JOIN whole.directory ON directory.key = entry.directory
        WHERE (entry.directory, entry.name) NOT IN (SELECT directory, name FROM kept)"""
    )
    connection.execute(
        "INSERT INTO part.note SELECT key, '', ?, ? FROM part.directory WHERE path = ''",
        (DROPPED_NOTE, make_filter(path for (path,) in dropped)),
    )
    connection.executemany(
        "INSERT INTO part.note SELECT * FROM whole.note WHERE kind = ?", ((kind,) for kind in selection.notes)
    )
    if selection.packages:
        packages = f"SELECT * FROM whole.package WHERE {selection.packages}"
        connection.execute(f"INSERT INTO part.package {packages}", selection.parameters)
    connection.execute(
        "INSERT INTO part.scan SELECT ?, version, (SELECT count(*) FROM part.entry), tar_size, 0, 0, ? FROM whole.scan",
        (key, collect_words(connection, "part")),
    )
    connection.execute("DROP TABLE kept")
    connection.execute("COMMIT")


def make_filter(paths: Iterable[str]) -> bytes:
    """Return a Bloom filter of paths."""
    listed = list(paths)
    size = max((len(listed) * _BITS + 7) // 8, _LEAST_BYTES) if listed else 0
    bits = bytearray(size)
    for path in listed:
        for place in _list_places(path, size * 8):
            bits[place >> 3] |= 1 << (place & 7)
    return bytes(bits)


def may_contain(bits: bytes, path: str) -> bool:
    """Whether a path may be among those of a filter: False is certain."""
    return bool(bits) and all(bits[place >> 3] & 1 << (place & 7) for place in _list_places(path, len(bits) * 8))


def _list_places(path: str, size: int) -> Iterator[int]:
    """Yield the bits of a path in a filter of so many bits, by enhanced double hashing (Dillinger, Manolios 2004)."""
    digest = hashlib.blake2b(path.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    place, step = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
    for number in range(_HASHES):
        yield place % size
        place += step
        step += number
