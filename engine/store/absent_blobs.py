"""Which blobs of images are not in the folder of the store: another program removed or truncated them."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite3 import Connection

    from .layout import Layout


def find_changes(connection: Connection, layout: Layout) -> list[tuple[bool, int]]:
    """Compare the column `is_absent` with the folder. Return the right value and the key of each row to change."""
    sizes = dict(layout.iter_blob_sizes())
    rows = connection.execute("SELECT key, digest, size, is_absent FROM descriptor")
    return [(absent, key) for key, digest, size, known in rows if (absent := sizes.get(digest) != size) != known]


def write_changes(connection: Connection, changes: list[tuple[bool, int]]) -> None:
    """Write what `find_changes` returned, in a transaction of the caller."""
    connection.executemany("UPDATE descriptor SET is_absent = ? WHERE key = ?", changes)
