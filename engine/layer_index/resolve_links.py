"""Resolves the links of a layer that lead to lower layers: folders behind symbolic links, and targets of hard links.

Nearly no layer has such links. One that has them gets rows of its own for each stack, as does a layer that a stack has
twice: each of the two hides other entries.

The parent of an entry is resolved when the entry is reached in the archive, as container engines unpack it. A link that
the layer replaces or deletes leads the entries before that to its target, and none after it.
"""

from __future__ import annotations

from imq.engine.layers.rooted_fs import MAX_LINKS, TooManyLinks, follow_links
from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING, Record

from .entry_types import DIRECTORY, HARD_LINK, IMPLIED, OPAQUE, SYMLINK, WHITEOUT
from .hiding import IS_VISIBLE
from .schema import ENTRY_COLUMNS, IMPLIED_MODE, LINKED_COLUMNS, PACKAGE_COLUMNS, SCHEMA, write_linked_values

if TYPE_CHECKING:
    import sqlite3

_COLUMNS = ", ".join(ENTRY_COLUMNS)
_MARKERS = f"({WHITEOUT}, {OPAQUE})"
_IS_OPEN_LINK = f"(own.type = {HARD_LINK} AND own.size IS NULL)"
"""Whether the target of the entry `own`, a hard link, is unknown: it may be a symbolic link."""
_SHAPES = frozenset({SYMLINK, HARD_LINK, DIRECTORY, WHITEOUT, OPAQUE})
"""Types of entries that change where later paths lead."""
_TABLES = (("entry", "name"), ("note", "name"), ("package", "file"))
"""The tables with rows of a file, and the columns with its name."""
_DIRECTORIES = frozenset({DIRECTORY, IMPLIED})
_NO_TARGETS = frozenset({DIRECTORY, IMPLIED, WHITEOUT, OPAQUE})
"""Types that no hard link can lead to."""


def resolve_links(connection: sqlite3.Connection, layer: int, chain: int, now: int) -> int:
    """Return the layer whose rows have the resolved paths: `layer`, or a new one for the stack `chain`.

    The layers below are in the temporary table `lower`. Raises `Malformed` for a path with too many links.
    """
    has_link_parents, has_lower_links, is_repeated = connection.execute(
        f"""SELECT has_link_parents, has_lower_links, paths > 0 AND key IN (SELECT layer FROM lower)
        FROM {SCHEMA}.layer WHERE key = ?""",
        (layer,),
    ).fetchone()
    _find_linked_directories(connection, layer, layer)
    try:
        (is_linked,) = connection.execute("SELECT EXISTS (SELECT 1 FROM linked)").fetchone()
        if not (is_linked or has_lower_links or has_link_parents or is_repeated):
            return layer
        resolved = _copy_layer(connection, layer, chain, now)
        for _ in range(MAX_LINKS):
            if not _resolve_entries(connection, resolved):
                break
            _find_linked_directories(connection, resolved, layer)  # a moved link may be on the way to other entries
        connection.execute(f"DELETE FROM {SCHEMA}.entry WHERE layer = ? AND instr(name, '/')", (resolved,))
    finally:
        connection.execute("DROP TABLE linked")
    if is_linked:
        _drop_replaced(connection, resolved)
    return resolved


def _find_linked_directories(connection: sqlite3.Connection, layer: int, copied: int) -> None:
    """Make the table `linked`: the folders of a layer that are, or are below, a link of the layer or of a lower one.

    The layer can be a copy of the layer `copied`.

    Whether the link is there when the archive reaches an entry is not decided here.
    """
    connection.execute("DROP TABLE IF EXISTS temp.linked")
    connection.execute(
        f"""CREATE TEMP TABLE linked AS WITH RECURSIVE used (key) AS (
            SELECT DISTINCT directory FROM {SCHEMA}.entry WHERE layer = :layer
            UNION SELECT directory.parent FROM used JOIN {SCHEMA}.directory USING (key)
                WHERE directory.parent IS NOT NULL),
        linked (key) AS (
            SELECT directory.key FROM used JOIN {SCHEMA}.directory USING (key)
            WHERE EXISTS (SELECT 1 FROM {SCHEMA}.entry AS own WHERE own.layer = :layer
                    AND own.directory = directory.parent AND own.name = directory.name
                    AND (own.type = {SYMLINK} OR {_IS_OPEN_LINK}))
                OR EXISTS (SELECT 1 FROM {SCHEMA}.replaced AS own WHERE own.layer IN (:layer, :copied)
                    AND own.directory = directory.parent AND own.name = directory.name
                    AND (own.type = {SYMLINK} OR {_IS_OPEN_LINK}))
                OR EXISTS (SELECT 1 FROM lower CROSS JOIN {SCHEMA}.entry AS old ON old.layer = lower.layer
                    AND old.directory = directory.parent AND old.name = directory.name
                    WHERE old.type = {SYMLINK} AND {IS_VISIBLE})
            UNION SELECT directory.key FROM linked JOIN {SCHEMA}.directory ON directory.parent = linked.key)
        SELECT key FROM linked""",
        {"layer": layer, "copied": copied},
    )


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
        ("word", "words"),
        ("note", "directory, name, kind, document"),
        ("package", f"directory, file, {', '.join(PACKAGE_COLUMNS)}"),
    ):
        connection.execute(
            f"INSERT INTO {SCHEMA}.{table} (layer, {columns})"
            f" SELECT ?, {columns} FROM {SCHEMA}.{table} WHERE layer = ?",
            (key, layer),
        )
    columns = ", ".join(ENTRY_COLUMNS[2:])
    connection.execute(  # under names that no other entry has: see `_EARLIER`
        f"""INSERT OR IGNORE INTO {SCHEMA}.entry (layer, directory, name, {columns})
        SELECT ?, directory, name || '/' || offset, {columns} FROM {SCHEMA}.replaced WHERE layer = ?""",
        (key, layer),
    )
    connection.execute(f"UPDATE {SCHEMA}.entry SET content_layer = ? WHERE layer = ?", (layer, key))
    return key


_EARLIER = "old.name > ?3 || '/' AND old.name < ?3 || '0'"
"""Whether `old` is an earlier entry of the name ?3, which a later one replaces where it leads to the same place.

Until all paths are resolved, such an entry has its offset after its name and a slash; 0 follows the slash in ASCII.
"""


class _Node(Record):
    """An entry that a stack shows."""

    layer: int
    directory: int
    name: str
    type: int
    link: str | None


_NODE_COLUMNS = "old.layer, old.directory, old.name, old.type, old.link"
_NEVER = 1 << 62
"""An offset after every entry."""


class _StackView:
    """Finds paths in what a layer, on top of those in `lower`, shows while its archive is unpacked."""

    def __init__(self, connection: sqlite3.Connection, layer: int) -> None:
        self._connection = connection
        self._layer = layer

    def find_own(self, directory: int, name: str, until: int) -> _Node | None:
        """Return the entry of the layer with a name in a folder, if it is in the archive up to the offset `until`."""
        row = self._connection.execute(
            f"""SELECT {_NODE_COLUMNS} FROM {SCHEMA}.entry AS old
            WHERE old.layer = ?1 AND old.directory = ?2 AND (old.name = ?3 OR {_EARLIER}) AND old.type <> {IMPLIED}
                AND old.offset <= ?4 ORDER BY old.offset DESC LIMIT 1""",
            (self._layer, directory, name, until),
        ).fetchone()
        return _Node(*row) if row is not None else None

    def find_lower(self, directory: int, name: str) -> _Node | None:
        """Return the entry of the lower layers with a name in a folder."""
        row = self._connection.execute(
            f"""SELECT {_NODE_COLUMNS} FROM lower CROSS JOIN {SCHEMA}.entry AS old ON old.layer = lower.layer
                AND old.directory = ? AND old.name = ?
            WHERE old.type NOT IN {_MARKERS} AND {IS_VISIBLE} ORDER BY lower.position DESC LIMIT 1""",
            (directory, name),
        ).fetchone()
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

    def resolve(self, path: str, offset: int) -> tuple[int, int]:
        """Return the folder to which a path leads, as in a chroot, when the archive is at `offset`.

        The second value is the offset of the next entry that may change this. Raises `Malformed` for too many links.
        """
        changes = [_NEVER]
        cleared: set[str] = set()  # folders of which the layer deleted what the lower layers have

        def visit(parent: str, name: str) -> str | None:
            directory = self.make_directory(f"/{parent}" if parent else "")
            own = self.find_own(directory, name, offset)
            next_change, is_cleared = self._connection.execute(
                f"""SELECT min(offset) FILTER (WHERE offset > ?1), max(offset <= ?1 AND type IN {_MARKERS})
                FROM {SCHEMA}.entry AS old WHERE layer = ?2 AND directory = ?4 AND type <> {IMPLIED}
                    AND (name IN (?3, '.wh.' || ?3, '.wh..wh..opq') OR {_EARLIER})""",
                (offset, self._layer, name, directory),
            ).fetchone()
            if next_change is not None:
                changes.append(next_change)
            if is_cleared or parent in cleared:
                cleared.add(f"{parent}/{name}" if parent else name)
                node = own
            else:
                node = own or self.find_lower(directory, name)
            return (node.link or "") if node is not None and node.type == SYMLINK else None

        try:
            resolved = follow_links(path, visit)
        except TooManyLinks:
            where = f"{path} leads through more than {MAX_LINKS} symbolic links, in the entry at byte {offset:,}"
            raise Malformed(where, code="links") from None
        return self.make_directory(f"/{resolved}" if resolved else ""), min(changes)


def _resolve_entries(connection: sqlite3.Connection, layer: int) -> bool:
    """Move the entries of linked folders to where they lead, in the order of the archive, and find hard links' targets.

    Return whether a symbolic link was moved.
    """
    view = _StackView(connection, layer)
    rows = connection.execute(
        f"""SELECT own.directory, directory.path, own.name, own.type, own.link, own.offset, {_IS_OPEN_LINK}
        FROM {SCHEMA}.entry AS own JOIN {SCHEMA}.directory ON directory.key = own.directory
        WHERE own.layer = ? AND own.type <> {IMPLIED} AND (own.directory IN (SELECT key FROM linked) OR {_IS_OPEN_LINK})
        ORDER BY own.offset, directory.path, own.name""",
        (layer,),
    ).fetchall()
    known: dict[int, tuple[int, int]] = {}
    has_moved_link = False
    for directory, path, name, type_, link, offset, is_open in rows:
        target, until = known.get(directory, (directory, -1))
        if offset >= until:
            target, until = known[directory] = view.resolve(path, offset)
        own_name = name.partition("/")[0]
        if target != directory or name != own_name:
            _move_entry(connection, layer, (directory, name), (target, own_name))
            has_moved_link = has_moved_link or type_ in {SYMLINK, HARD_LINK}
        if is_open:
            _resolve_hard_link(connection, view, (layer, target, own_name, offset), link)
        if type_ in _SHAPES:
            known.clear()
    return has_moved_link


def _move_entry(connection: sqlite3.Connection, layer: int, place: tuple[int, str], target: tuple[int, str]) -> None:
    """Move an entry, and what was read in it, to another place; of two entries of one path, the later one counts."""
    found = connection.execute(
        f"""SELECT directory, name, offset, type FROM {SCHEMA}.entry
        WHERE layer = ? AND (directory, name) IN (VALUES (?, ?), (?, ?)) ORDER BY offset, (directory, name) = (?, ?)""",
        (layer, *place, *target, *place),
    ).fetchall()
    if all(one[:2] != place for one in found):
        return  # another entry that leads to this path, without an order between them, has replaced it
    if len(found) > 1:
        *loser, offset, type_ = found[0]
        if type_ not in _DIRECTORIES:
            _drop_below(connection, layer, target, offset)
            connection.execute(  # if the later one is a folder, it is new: lower layers have nothing in it
                f"""INSERT OR IGNORE INTO {SCHEMA}.entry (layer, directory, name, type, offset)
                SELECT ?, key, '.wh..wh..opq', {OPAQUE}, ? FROM {SCHEMA}.directory WHERE parent = ? AND name = ?""",
                (layer, offset, *target),
            )
        for table, column in _TABLES:
            connection.execute(
                f"DELETE FROM {SCHEMA}.{table} WHERE layer = ? AND directory = ? AND {column} = ?", (layer, *loser)
            )
    for table, column in _TABLES:
        connection.execute(
            f"""UPDATE {SCHEMA}.{table} SET directory = ?, {column} = ?
            WHERE layer = ? AND directory = ? AND {column} = ?""",
            (*target, layer, *place),
        )


def _drop_below(connection: sqlite3.Connection, layer: int, place: tuple[int, str], offset: int) -> None:
    """Drop the entries below a path that come before the offset of the entry that replaces the folder."""
    connection.execute(
        f"""DELETE FROM {SCHEMA}.entry WHERE layer = ? AND offset < ? AND directory IN (
            WITH RECURSIVE below (key) AS (
                SELECT key FROM {SCHEMA}.directory WHERE parent = ? AND name = ?
                UNION SELECT directory.key FROM below JOIN {SCHEMA}.directory ON directory.parent = below.key)
            SELECT key FROM below)""",
        (layer, offset, *place),
    )


def _drop_replaced(connection: sqlite3.Connection, layer: int) -> None:
    """Drop the entries below folders that the layer replaces later, and find the implied folders again."""
    replacing = connection.execute(
        f"""SELECT own.directory, own.name, own.offset FROM {SCHEMA}.entry AS own JOIN {SCHEMA}.directory
            ON directory.parent = own.directory AND directory.name = own.name
        WHERE own.layer = ? AND own.type NOT IN ({DIRECTORY}, {IMPLIED})""",
        (layer,),
    ).fetchall()
    for directory, name, offset in replacing:
        _drop_below(connection, layer, (directory, name), offset)
    for table, column in _TABLES[1:]:
        connection.execute(
            f"""DELETE FROM {SCHEMA}.{table} WHERE layer = ? AND NOT EXISTS (
                SELECT 1 FROM {SCHEMA}.entry AS own WHERE own.layer = {table}.layer
                AND own.directory = {table}.directory AND own.name = {table}.{column})""",
            (layer,),
        )
    connection.execute(f"DELETE FROM {SCHEMA}.entry WHERE layer = ? AND type = {IMPLIED}", (layer,))
    connection.execute(
        f"""INSERT OR IGNORE INTO {SCHEMA}.entry (layer, directory, name, type, mode, uid, gid, size)
        WITH RECURSIVE used (key) AS (
            SELECT directory FROM {SCHEMA}.entry WHERE layer = ?1 AND type NOT IN {_MARKERS}
            UNION SELECT parent FROM used JOIN {SCHEMA}.directory USING (key) WHERE parent IS NOT NULL)
        SELECT ?1, parent, name, {IMPLIED}, {IMPLIED_MODE}, 0, 0, 0 FROM used JOIN {SCHEMA}.directory USING (key)
        WHERE parent IS NOT NULL""",
        (layer,),
    )


def _resolve_hard_link(
    connection: sqlite3.Connection, view: _StackView, place: tuple[int, int, str, int], link: str
) -> None:
    """Give a hard link the metadata of its target in a lower layer, and the layer with the content.

    `place` has its layer, folder, name and offset: a later entry of the same path may have replaced it.
    """
    offset = place[-1]
    parent_path, _, target_name = link.rpartition("/")
    parent, _ = view.resolve(parent_path, offset)
    node = (
        view.find_own(parent, target_name, offset)
        or view.find_lower(parent, target_name)
        or view.find_own(parent, target_name, _NEVER)
    )
    if node is None or node.type in _NO_TARGETS:
        return
    connection.execute(
        f"""UPDATE {SCHEMA}.entry SET ({", ".join(LINKED_COLUMNS)}, content_layer)
            = ({write_linked_values()}, coalesce(target.content_layer, target.layer))
        FROM {SCHEMA}.entry AS target
        WHERE target.layer = ? AND target.directory = ? AND target.name = ?
            AND entry.layer = ? AND entry.directory = ? AND entry.name = ? AND entry.offset = ?
            AND entry.type = {HARD_LINK}""",
        (node.layer, node.directory, node.name, *place),
    )
