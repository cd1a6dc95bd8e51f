"""The index of the files of layers and images, in the attached database `files`.

A scanned layer is added once, whatever images and sources have it. A stack of layers is described by what its top layer
hides of the layers below, so images with common lower layers share these rows too.
"""

from __future__ import annotations

from contextlib import contextmanager
from itertools import islice

from imq.grammar.record import TYPE_CHECKING

from .schema import SCHEMA

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Container, Iterable, Iterator

    from imq.engine.oci.digest import Digest
    from imq.grammar.errors import ImqError

    from .scan_adder import ScanAdder
    from .stacks import StackKeys

_DAY = 24 * 3600 * 1_000_000_000
_STACKS = 1_000
"""The stacks that are described in one transaction: others wait for it."""


class FileIndex:
    """The index, attached to `connection`. Not thread-safe. Its methods raise `sqlite3.Error`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def list_missing(self, diff_ids: Iterable[Digest]) -> list[Digest]:
        """Return the layers, each once, that are not in the index."""
        known = f"SELECT 1 FROM {SCHEMA}.layer WHERE diff_id = ? AND stack = 0"
        return [one for one in dict.fromkeys(diff_ids) if self.connection.execute(known, (one,)).fetchone() is None]

    @contextmanager
    def adding(self) -> Iterator[ScanAdder]:
        """Yield what adds scans to the index. It holds the last one that it added."""
        from .scan_adder import ScanAdder

        adder = ScanAdder(self.connection)
        try:
            yield adder
        finally:
            adder.close()

    def add(self, path: str, now: int) -> None:
        """Add a scanned layer, the database at `path`: see `ScanAdder.add`."""
        with self.adding() as adder:
            adder.add(path, now)

    def describe_stacks(
        self, stacks: Iterable[tuple[Digest, ...]], now: int, parts: Container[Digest] = ()
    ) -> dict[tuple[Digest, ...], StackKeys | ImqError]:
        """Return the keys of stacks whose layers are all in the index. Each is described when it is first needed.

        `parts` are the names of layers of which the index has a part. A stack that cannot be unpacked, since a path
        leads through too many links, has a `Malformed`; see `StackDescriber.describe` for other errors.
        """
        from .stacks import StackDescriber

        found: dict[tuple[Digest, ...], StackKeys | ImqError] = {}
        waiting = iter(dict.fromkeys(stacks))
        while batch := list(islice(waiting, _STACKS)):
            found.update(zip(batch, StackDescriber(self.connection, now, parts).describe(batch), strict=True))
        return found

    def touch(self, keys: Iterable[int], now: int) -> None:
        """Note that a statement used layers; once a day is enough, since every note is a write."""
        old = now - _DAY
        rows = [(now, key, old) for key in dict.fromkeys(keys)]
        stale = f"SELECT 1 FROM {SCHEMA}.layer WHERE key = ? AND used_at < ?"
        if any(self.connection.execute(stale, row[1:]).fetchone() for row in rows):
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.executemany(f"UPDATE {SCHEMA}.layer SET used_at = ? WHERE key = ? AND used_at < ?", rows)
            self.connection.execute("COMMIT")

    def mark_held(self) -> None:
        """Mark the layers that images of the store have."""
        self.connection.execute(
            f"UPDATE {SCHEMA}.layer SET is_held = 1 WHERE NOT is_held AND diff_id IN (SELECT diff_id FROM main.chain)"
        )

    def drop_released(self) -> None:
        """Drop the layers that images of the store had, and have no more."""
        released = self.connection.execute(
            f"SELECT diff_id FROM {SCHEMA}.layer WHERE is_held AND diff_id NOT IN (SELECT diff_id FROM main.chain)"
        ).fetchall()
        if released:
            self.drop(diff_id for (diff_id,) in released)
            self.connection.execute(f"PRAGMA {SCHEMA}.incremental_vacuum").fetchall()

    def measure(self) -> tuple[int, int, int, int]:
        """Return the number of layers, of those that the store has, the bytes of all, and of the others, about."""
        layers, held, paths, held_paths = self.connection.execute(
            f"""SELECT count(DISTINCT diff_id), count(DISTINCT diff_id) FILTER (WHERE is_held), coalesce(sum(paths), 0),
                coalesce(sum(paths) FILTER (WHERE is_held), 0) FROM {SCHEMA}.layer"""
        ).fetchone()
        size = self._count_pages("page_count") * self._count_pages("page_size")
        return layers, held, size, size * (paths - held_paths) // paths if paths else 0

    def _count_pages(self, pragma: str) -> int:
        count: int = self.connection.execute(f"PRAGMA {SCHEMA}.{pragma}").fetchone()[0]
        return count

    def trim(self, limit: int) -> int:
        """Drop layers that the store does not have until the index has at most `limit` bytes; return the bytes freed.

        Those go first that no statement has used for the longest time.
        """
        before = self._count_pages("page_count")
        while self._count_pages("page_count") * self._count_pages("page_size") > limit:
            oldest = self.connection.execute(
                f"SELECT diff_id FROM {SCHEMA}.layer WHERE NOT is_held AND stack = 0 ORDER BY used_at LIMIT 16"
            ).fetchall()
            if not oldest:
                break
            self.drop(diff_id for (diff_id,) in oldest)
            self.connection.execute(f"PRAGMA {SCHEMA}.incremental_vacuum").fetchall()
        return (before - self._count_pages("page_count")) * self._count_pages("page_size")

    def drop(self, diff_ids: Iterable[str]) -> None:
        """Drop layers, and the stacks that have them."""
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute("CREATE TEMP TABLE dropped (layer INTEGER PRIMARY KEY)")
            connection.executemany(
                f"INSERT OR IGNORE INTO dropped SELECT key FROM {SCHEMA}.layer WHERE diff_id = ?",
                ((diff_id,) for diff_id in diff_ids),
            )
            self._drop_collected()
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def _drop_collected(self) -> None:
        connection = self.connection
        connection.execute(
            f"""CREATE TEMP TABLE dropped_chain AS WITH RECURSIVE gone (key) AS (
                SELECT key FROM {SCHEMA}.chain WHERE layer IN (SELECT layer FROM dropped)
                UNION SELECT chain.key FROM gone JOIN {SCHEMA}.chain ON chain.parent = gone.key)
            SELECT key FROM gone"""
        )
        chains = "(SELECT key FROM dropped_chain)"
        connection.execute(f"INSERT OR IGNORE INTO dropped SELECT key FROM {SCHEMA}.layer WHERE stack IN {chains}")
        connection.execute(f"DELETE FROM {SCHEMA}.hidden WHERE chain IN {chains}")
        connection.execute(f"DELETE FROM {SCHEMA}.chain WHERE key IN {chains}")
        for table in ("hidden", "entry", "replaced", "word", "note", "package"):
            connection.execute(f"DELETE FROM {SCHEMA}.{table} WHERE layer IN (SELECT layer FROM dropped)")
        connection.execute(f"DELETE FROM {SCHEMA}.layer WHERE key IN (SELECT layer FROM dropped)")
        connection.execute("DROP TABLE dropped")
        connection.execute("DROP TABLE dropped_chain")
