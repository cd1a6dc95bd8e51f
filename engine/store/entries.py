"""The table `entry`: what index.json says, descriptor by descriptor, and the images that each reaches."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from sqlite3 import Connection
    from typing import Any

    from imq.engine.oci.digest import Digest

    from .layout import Entry

_COLUMNS = "image, root, name, registry, repository, tag, digest, set_at"
_IMAGE = (
    "id, manifest, chain, created, size, shared_size, layer_count, platform, os, architecture, variant,"
    " os_version, media_type, user, workdir, stop_signal, author"
)
_INSERT = f"""
INSERT INTO entry ({_COLUMNS}, packed_size, {_IMAGE})
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, download_size, {_IMAGE} FROM image WHERE key = ?1
"""


def set_entries(connection: Connection, entries: Iterable[Entry], reached: Mapping[Digest, Sequence[int]]) -> None:
    """Make the table say what index.json says, touching only the rows that differ.

    `reached` are the keys of the images of those descriptors that the table does not know yet.
    """
    known: dict[str, list[int]] = {}
    for root, image in connection.execute("SELECT DISTINCT root, image FROM entry"):
        known.setdefault(root, []).append(image)
    rows = {
        row
        for entry in entries
        for root in (entry.descriptor.digest,)
        for row in _rows(entry, reached.get(root) or known.get(root) or ())
    }
    present = {tuple(row[1:]): row[0] for row in connection.execute(f"SELECT key, {_COLUMNS} FROM entry")}
    connection.executemany("DELETE FROM entry WHERE key = ?", [(present[row],) for row in present.keys() - rows])
    connection.executemany(_INSERT, sorted(rows - present.keys(), key=repr))


def _rows(entry: Entry, images: Iterable[int]) -> Iterable[tuple[Any, ...]]:
    name = entry.name
    said = (
        entry.descriptor.digest,
        str(name) if name else None,
        name.registry if name else None,
        name.familiar_name if name else None,
        name.tag if name else None,
        entry.digest,
        entry.set_at,
    )
    return [(image, *said) for image in images]
