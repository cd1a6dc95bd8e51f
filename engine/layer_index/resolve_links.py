"""Resolves the links of a layer that lead to lower layers: folders behind symbolic links, and targets of hard links.

Nearly no layer has such links. One that has them gets rows of its own for each stack, as does a layer that a stack has
twice: each of the two hides other entries.
"""

from __future__ import annotations

from imq.engine.layers.rooted_fs import TooManyLinks, follow_links
from imq.grammar.record import TYPE_CHECKING, Record

from .entry_types import DIRECTORY, HARD_LINK, IMPLIED, OPAQUE, SYMLINK, WHITEOUT
from .hiding import IS_VISIBLE
from .schema import ENTRY_COLUMNS, LINKED_COLUMNS, PACKAGE_COLUMNS, SCHEMA, write_linked_values

if TYPE_CHECKING:
    import sqlite3

_COLUMNS = ", ".join(ENTRY_COLUMNS)
_MARKERS = f"({WHITEOUT}, {OPAQUE})"
_IS_KEPT = f"""NOT EXISTS (SELECT 1 FROM {SCHEMA}.entry AS marker WHERE marker.layer = :layer
    AND marker.directory = old.directory AND marker.name IN ('.wh.' || old.name, '.wh..wh..opq'))"""
"""Whether the layer `:layer` does not delete the entry `old` of a lower layer."""


def resolve_links(connection: sqlite3.Connection, layer: int, chain: int, now: int) -> int:
    """Return the layer whose rows have the resolved paths: `layer`, or a new one for the stack `chain`.

    The layers below are in the temporary table `lower`.
    """
    has_link_parents, has_lower_links, is_repeated = connection.execute(
        f"""SELECT has_link_parents, has_lower_links, paths > 0 AND key IN (SELECT layer FROM lower)
        FROM {SCHEMA}.layer WHERE key = ?""",
        (layer,),
    ).fetchone()
    linked = _find_linked_directories(connection, layer)
    if not (linked or has_lower_links or has_link_parents or is_repeated):
        return layer
    resolved = _copy_layer(connection, layer, chain, now)
    view = _StackView(connection, resolved)
    for directory in linked:
        _move_entries(connection, resolved, directory, view)
    if has_lower_links:
        _resolve_hard_links(connection, resolved, view)
    return resolved


def _find_linked_directories(connection: sqlite3.Connection, layer: int) -> list[int]:
    """Return the folders of a layer whose path is a symbolic link, in the layer or below, highest first."""
    rows = connection.execute(
        f"""WITH RECURSIVE used (key) AS (
            SELECT DISTINCT directory FROM {SCHEMA}.entry WHERE layer = :layer
            UNION SELECT directory.parent FROM used JOIN {SCHEMA}.directory USING (key)
                WHERE directory.parent IS NOT NULL)
        SELECT directory.key, directory.path FROM used JOIN {SCHEMA}.directory USING (key)
        WHERE EXISTS (SELECT 1 FROM {SCHEMA}.entry AS own WHERE own.layer = :layer
                AND own.directory = directory.parent AND own.name = directory.name AND own.type = {SYMLINK})
            OR (NOT EXISTS (SELECT 1 FROM {SCHEMA}.entry AS own WHERE own.layer = :layer
                    AND own.directory = directory.parent AND own.name = directory.name AND own.type <> {IMPLIED})
                AND EXISTS (SELECT 1 FROM lower CROSS JOIN {SCHEMA}.entry AS old ON old.layer = lower.layer
                    AND old.directory = directory.parent AND old.name = directory.name
                    WHERE old.type = {SYMLINK} AND {IS_VISIBLE} AND {_IS_KEPT}))""",
        {"layer": layer},
    ).fetchall()
    return [key for key, _ in sorted(rows, key=lambda row: (row[1].count("/"), row[1]))]


def _copy_layer(connection: sqlite3.Connection, layer: int, chain: int, now: int) -> int:
    """Copy the rows of a layer for one stack, and return the key of the copy."""
    key: int
    (key,) = connection.execute(
        f"""INSERT INTO {SCHEMA}.layer
            (diff_id, stack, paths, tar_size, has_link_parents, has_lower_links, used_at)
        SELECT diff_id, ?, paths, tar_size, has_link_parents, has_lower_links, ? FROM {SCHEMA}.layer WHERE key = ?
        RETURNING key""",
        (chain, now, layer),
    ).fetchone()
    for table, columns in (
        ("entry", _COLUMNS),
        ("word", "names"),
        ("note", "directory, name, kind, document"),
        ("package", f"directory, file, {', '.join(PACKAGE_COLUMNS)}"),
    ):
        connection.execute(
            f"INSERT INTO {SCHEMA}.{table} (layer, {columns})"
            f" SELECT ?, {columns} FROM {SCHEMA}.{table} WHERE layer = ?",
            (key, layer),
        )
    connection.execute(f"UPDATE {SCHEMA}.entry SET content_layer = ? WHERE layer = ?", (layer, key))
    return key


class _Node(Record):
    """An entry that a stack shows."""

    layer: int
    directory: int
    name: str
    type: int
    link: str | None


class _StackView:
    """Finds paths in what a layer, on top of those in `lower`, shows."""

    def __init__(self, connection: sqlite3.Connection, layer: int) -> None:
        self._connection = connection
        self._layer = layer

    def find(self, directory: int, name: str, before: int | None = None) -> _Node | None:
        """Return the entry of a name in a folder; None when it does not exist.

        With `before`, the own entries of the layer count only up to this offset of its archive.
        """
        columns = "old.layer, old.directory, old.name, old.type, old.link"
        row = (
            self._connection.execute(
                f"""SELECT {columns} FROM {SCHEMA}.entry AS old
            WHERE old.layer = ?1 AND old.directory = ?2 AND old.name = ?3 AND old.type <> {IMPLIED}
                AND (?4 IS NULL OR old.offset <= ?4)""",
                (self._layer, directory, name, before),
            ).fetchone()
            or self._connection.execute(
                f"""SELECT {columns} FROM lower CROSS JOIN {SCHEMA}.entry AS old ON old.layer = lower.layer
                AND old.directory = ? AND old.name = ?
            WHERE old.type NOT IN {_MARKERS} AND {IS_VISIBLE} ORDER BY lower.position DESC LIMIT 1""",
                (directory, name),
            ).fetchone()
        )
        return _Node(*row) if row is not None else None

    def make_directory(self, path: str) -> int:
        """Return the key of a folder by its path; it need not exist."""
        row = self._connection.execute(f"SELECT key FROM {SCHEMA}.directory WHERE path = ?", (path,)).fetchone()
        if row is not None:
            return int(row[0])
        parent_path, _, name = path.rpartition("/")
        parent = self.make_directory(parent_path)
        (key,) = self._connection.execute(
            f"INSERT INTO {SCHEMA}.directory (parent, name, path) VALUES (?, ?, ?) RETURNING key", (parent, name, path)
        ).fetchone()
        return int(key)

    def resolve(self, path: str) -> str:
        """Return the path of a folder with all links followed, as in a chroot; too many links end at the root."""

        def visit(directory: str, name: str) -> str | None:
            node = self.find(self.make_directory(f"/{directory}" if directory else ""), name)
            return (node.link or "") if node is not None and node.type == SYMLINK else None

        try:
            resolved = follow_links(path, visit)
        except TooManyLinks:
            return ""
        return f"/{resolved}" if resolved else ""


def _move_entries(connection: sqlite3.Connection, layer: int, directory: int, view: _StackView) -> None:
    """Move the entries of a folder, and of those below it, to where its path leads."""
    (path,) = connection.execute(f"SELECT path FROM {SCHEMA}.directory WHERE key = ?", (directory,)).fetchone()
    target = view.resolve(path)
    below = connection.execute(
        f"""WITH RECURSIVE below (key) AS (
            SELECT ? UNION SELECT directory.key FROM below JOIN {SCHEMA}.directory ON directory.parent = below.key)
        SELECT directory.key, directory.path FROM below JOIN {SCHEMA}.directory USING (key)
        WHERE key IN (SELECT directory FROM {SCHEMA}.entry WHERE layer = ?)""",
        (directory, layer),
    ).fetchall()
    has_files = False
    for key, old_path in below:
        (shows,) = connection.execute(
            f"""SELECT EXISTS (SELECT 1 FROM {SCHEMA}.entry WHERE layer = ? AND directory = ?
                AND type NOT IN {_MARKERS})""",
            (layer, key),
        ).fetchone()
        has_files = has_files or bool(shows)
        new = view.make_directory(target + old_path[len(path) :])
        connection.execute(  # of two entries of one path, the later one counts
            f"""DELETE FROM {SCHEMA}.entry WHERE layer = ?1 AND directory = ?2 AND EXISTS (
                SELECT 1 FROM {SCHEMA}.entry AS other WHERE other.layer = ?1 AND other.directory = ?3
                AND other.name = entry.name AND other.offset > coalesce(entry.offset, -1))""",
            (layer, key, new),
        )
        connection.execute(
            f"UPDATE OR REPLACE {SCHEMA}.entry SET directory = ? WHERE layer = ? AND directory = ?", (new, layer, key)
        )
        for table in ("note", "package"):
            connection.execute(
                f"UPDATE {SCHEMA}.{table} SET directory = ? WHERE layer = ? AND directory = ?", (new, layer, key)
            )
    connection.execute(  # the path is a link, so no folder is implied by it; its target may be new
        f"""DELETE FROM {SCHEMA}.entry WHERE layer = ?1 AND type = {IMPLIED}
            AND (directory, name) = (SELECT parent, name FROM {SCHEMA}.directory WHERE key = ?2)""",
        (layer, directory),
    )
    while has_files and target:
        key = view.make_directory(target)
        connection.execute(
            f"""INSERT OR IGNORE INTO {SCHEMA}.entry (layer, directory, name, type, mode, uid, gid, size)
            SELECT ?1, parent, name, {IMPLIED}, 493, 0, 0, 0 FROM {SCHEMA}.directory WHERE key = ?2""",
            (layer, key),
        )
        target = target.rpartition("/")[0]


def _resolve_hard_links(connection: sqlite3.Connection, layer: int, view: _StackView) -> None:
    """Give hard links the metadata of their targets in lower layers, and the layer with the content."""
    links = connection.execute(
        f"""SELECT directory, name, link, offset FROM {SCHEMA}.entry
        WHERE layer = ? AND type = {HARD_LINK} AND size IS NULL ORDER BY offset""",
        (layer,),
    ).fetchall()
    for directory, name, link, offset in links:
        parent_path, _, target_name = link.rpartition("/")
        parent = view.make_directory(view.resolve(parent_path))
        node = view.find(parent, target_name, offset) or view.find(parent, target_name)
        if node is None or node.type in _NO_TARGETS:
            continue
        connection.execute(
            f"""UPDATE {SCHEMA}.entry SET ({", ".join(LINKED_COLUMNS)}, content_layer)
                = ({write_linked_values()}, coalesce(target.content_layer, target.layer))
            FROM {SCHEMA}.entry AS target
            WHERE target.layer = ? AND target.directory = ? AND target.name = ?
                AND entry.layer = ? AND entry.directory = ? AND entry.name = ?""",
            (node.layer, node.directory, node.name, layer, directory, name),
        )


_NO_TARGETS = frozenset({DIRECTORY, IMPLIED, WHITEOUT, OPAQUE})
"""Types that no hard link can lead to."""
