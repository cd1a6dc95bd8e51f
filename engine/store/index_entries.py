"""The table `entry`: the descriptors of index.json, with the images that each reaches."""

from __future__ import annotations

import json

from imq.grammar.record import TYPE_CHECKING

from .config_columns import STRING_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from sqlite3 import Connection
    from typing import Any

    from imq.engine.oci.digest import Digest

    from .index_json import IndexEntry

_COLUMNS = "image, root, name, registry, repository, tag, digest, set_at, other_digests"
_IMAGE = (
    "id, manifest, chain, created, size, shared_size, download_size, layer_count, platform, os, architecture, variant,"
    f" os_version, media_type, {STRING_COLUMNS}"
)
_INSERT = f"""
INSERT INTO entry ({_COLUMNS}, {_IMAGE})
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, {_IMAGE} FROM image WHERE key = ?1
"""
_INSERT_UNREADABLE = f"""
INSERT INTO entry ({_COLUMNS}, manifest, platform, os, architecture, variant, os_version)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, manifest, platform, os, architecture, variant, os_version
FROM unreadable WHERE root = ?2 AND manifest = ?10
"""


class Scope:
    """The roots whose rows an update may change: those of edited entries, or all of them (None)."""

    def __init__(self, roots: Iterable[Digest] | None) -> None:
        self._is_limited = roots is not None
        self.parameters = {"roots": json.dumps(sorted(roots))} if roots is not None else {}
        """The parameters of statements with the condition."""

    def condition(self, column: str = "root", prefix: str = "") -> str:
        """Return the SQL condition that `column` is one of the roots, after a prefix."""
        if not self._is_limited:
            return f"{column} GLOB '{prefix}*'" if prefix else "true"
        return f"{column} IN (SELECT '{prefix}' || value FROM json_each(:roots))"


_ALL = Scope(None)


def delete_entries(connection: Connection, roots: Iterable[Digest]) -> set[int]:
    """Delete the rows of roots that index.json no longer has; return the keys of their images."""
    scope = Scope(roots)
    select = f"SELECT image FROM entry WHERE image IS NOT NULL AND {scope.condition()}"
    images = {image for (image,) in connection.execute(select, scope.parameters)}
    connection.execute(f"DELETE FROM entry WHERE {scope.condition()}", scope.parameters)
    return images


def sync_entries(
    connection: Connection,
    entries: Iterable[IndexEntry],
    reached: Mapping[Digest, Sequence[int]],
    scope: Scope = _ALL,
) -> set[int]:
    """Update the rows of the roots in `scope` to index.json; only rows that differ are written.

    `entries` are the entries of these roots. `reached` has the keys of the images of those descriptors that are new in
    the table. Returns the keys of the images that have fewer rows now.
    """
    known: dict[str, list[int]] = {}
    for root, image in connection.execute(
        f"SELECT DISTINCT root, image FROM entry WHERE image IS NOT NULL AND {scope.condition()}", scope.parameters
    ):
        known.setdefault(root, []).append(image)
    unreadable: dict[str, list[str]] = {}
    for root, manifest in connection.execute(
        f"SELECT root, manifest FROM unreadable WHERE manifest IS NOT NULL AND {scope.condition()}", scope.parameters
    ):
        unreadable.setdefault(root, []).append(manifest)
    rows = {
        row
        for entry in entries
        for root in (entry.descriptor.digest,)
        for row in _rows(entry, reached[root] if root in reached else known.get(root, ()), unreadable.get(root, ()))
    }
    present = {
        row[1:]: row[0]
        for row in connection.execute(
            f"SELECT key, {_COLUMNS}, CASE WHEN image IS NULL THEN manifest END FROM entry WHERE {scope.condition()}",
            scope.parameters,
        )
    }
    old = present.keys() - rows
    connection.executemany("DELETE FROM entry WHERE key = ?", [(present[row],) for row in old])
    new = sorted(rows - present.keys(), key=repr)
    connection.executemany(_INSERT, [row[:-1] for row in new if row[0] is not None])
    connection.executemany(_INSERT_UNREADABLE, [row for row in new if row[0] is None])
    return {row[0] for row in old if row[0] is not None}


def _rows(entry: IndexEntry, images: Iterable[int], unreadable: Iterable[str]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of an entry: its columns, and at the end the manifest of a row without an image."""
    name = entry.name
    columns = (
        entry.descriptor.digest,
        str(name) if name else None,
        name.registry if name else None,
        name.familiar_name if name else None,
        name.tag if name else None,
        entry.digest,
        entry.set_at,
        " ".join(entry.other_digests) or None,
    )
    yield from ((image, *columns, None) for image in images)
    yield from ((None, *columns, manifest) for manifest in unreadable)
