"""Adds the scans of layers to the index of files.

A scan is a database of its own. It is loaded into one that stays attached to the connection of the index, so that the
statements stay prepared: to attach each file, and to prepare them again, takes longer than to insert 400 rows.
"""

from __future__ import annotations

import os

from imq.grammar.record import TYPE_CHECKING

from .schema import ENTRY_COLUMNS, PACKAGE_COLUMNS, SCAN_VERSION, SCHEMA

if TYPE_CHECKING:
    import sqlite3

    from imq.engine.oci.digest import Digest

_IN_MEMORY = 64 << 20
"""The most bytes of a scan that is loaded into memory: about 500,000 paths."""
_COLUMNS = ", ".join(ENTRY_COLUMNS[1:])
_PACKAGE_COLUMNS = ", ".join(f"package.{name}" for name in PACKAGE_COLUMNS)


class ScanAdder:
    """Adds scans to the index attached to `connection`, and has the database `scanned` attached until it is closed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._is_attached = False
        self._limit = _IN_MEMORY if hasattr(connection, "deserialize") else -1  # SQLite may be built without it

    def close(self) -> None:
        """Detach the database."""
        self._connection.execute("DROP TABLE IF EXISTS temp.scanned_directory")
        self._detach()

    def add(self, path: str, now: int) -> None:
        """Add a scanned layer, the database at `path`, unless the index has it. `now` is in nanoseconds.

        Raises `ValueError` for a scan of another version.
        """
        if os.path.getsize(path) > self._limit:
            self._add_large(path, now)
            return
        with open(path, "rb") as file:
            self._load(file.read())
        self._add(now)

    def add_packed(self, packed: bytes, diff_id: Digest, path: str, now: int) -> None:
        """Add the index of a layer that `pack_index` returned, perhaps for others: a large one by way of a new file.

        Raises `Malformed` (code `layer-index`) as `unpack_index` does.
        """
        from .packed_index import check_tables, read_index, unpack_index

        content = read_index(packed, diff_id, self._limit) if self._limit >= 0 else None
        if content is not None:
            self._load(content)
            check_tables(self._connection, "scanned", diff_id)
            self._add(now)
            return
        try:
            unpack_index(packed, path, diff_id)
            self._add_large(path, now)
        finally:
            os.unlink(path)

    def _load(self, content: bytes) -> None:
        if not self._is_attached:
            self._attach(":memory:")
        self._connection.deserialize(content, name="scanned")

    def _add_large(self, path: str, now: int) -> None:
        self._detach()
        self._attach(f"file:{_quote_path(path)}?mode=ro&immutable=1")
        try:
            self._add(now)
        finally:
            self._detach()

    def _attach(self, name: str) -> None:
        self._connection.execute("ATTACH ? AS scanned", (name,))
        self._is_attached = True

    def _detach(self) -> None:
        if self._is_attached:
            self._connection.execute("DETACH scanned")
            self._is_attached = False

    def _add(self, now: int) -> None:
        """Add the attached scan."""
        connection = self._connection
        (version,) = connection.execute("SELECT version FROM scanned.scan").fetchone()
        if version != SCAN_VERSION:
            raise ValueError(f"a scan of version {version}, expected {SCAN_VERSION}")
        connection.execute(
            "CREATE TEMP TABLE IF NOT EXISTS scanned_directory (key INTEGER PRIMARY KEY, own INTEGER NOT NULL UNIQUE)"
        )
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._add_rows(now)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def _add_rows(self, now: int) -> None:
        connection = self._connection
        connection.execute("DELETE FROM temp.scanned_directory")
        key = connection.execute(
            f"""INSERT OR IGNORE INTO {SCHEMA}.layer
                (diff_id, stack, paths, tar_size, has_link_parents, has_lower_links, used_at)
            SELECT diff_id, 0, paths, tar_size, has_link_parents, has_lower_links, ? FROM scanned.scan
            RETURNING key""",
            (now,),
        ).fetchone()
        if key is None:  # another process was faster
            return
        connection.execute(  # a new directory has the next key, and its parent a lower one
            f"""INSERT INTO temp.scanned_directory (key, own)
            SELECT coalesce(stored.key, last + row_number() OVER (PARTITION BY stored.key IS NULL ORDER BY own.key)),
                own.key
            FROM scanned.directory AS own LEFT JOIN {SCHEMA}.directory AS stored USING (path)
                CROSS JOIN (SELECT coalesce(max(key), 0) AS last FROM {SCHEMA}.directory)
            ORDER BY 1"""
        )
        connection.execute(
            f"""INSERT INTO {SCHEMA}.directory (key, parent, name, path)
            SELECT down.key, up.key, own.name, own.path FROM temp.scanned_directory AS down
            CROSS JOIN scanned.directory AS own ON own.key = down.own
            LEFT JOIN temp.scanned_directory AS up ON up.own = own.parent
            WHERE down.key > (SELECT coalesce(max(key), 0) FROM {SCHEMA}.directory)"""
        )
        connection.execute(  # in the order of the rows, without sorting them
            f"""INSERT INTO {SCHEMA}.entry (layer, directory, {_COLUMNS})
            SELECT ?, scanned_directory.key, {_COLUMNS} FROM temp.scanned_directory
            CROSS JOIN scanned.entry ON entry.directory = scanned_directory.own
            ORDER BY scanned_directory.key, name""",
            key,
        )
        connection.execute(
            f"""INSERT INTO {SCHEMA}.replaced (layer, directory, {_COLUMNS})
            SELECT ?, scanned_directory.key, {_COLUMNS} FROM scanned.replaced
            JOIN scanned_directory ON scanned_directory.own = replaced.directory ORDER BY replaced.rowid""",
            key,
        )
        connection.execute(
            f"""INSERT INTO {SCHEMA}.note SELECT ?, scanned_directory.key, name, kind, document FROM scanned.note
            JOIN scanned_directory ON scanned_directory.own = note.directory""",
            key,
        )
        connection.execute(
            f"""INSERT INTO {SCHEMA}.package SELECT ?, scanned_directory.key, file, {_PACKAGE_COLUMNS}
            FROM scanned.package JOIN scanned_directory ON scanned_directory.own = package.directory""",
            key,
        )
        connection.execute(f"INSERT INTO {SCHEMA}.word SELECT ?, words FROM scanned.scan", key)


def _quote_path(path: str) -> str:
    for character in "%?#":
        path = path.replace(character, f"%{ord(character):02x}")
    return path
