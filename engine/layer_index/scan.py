"""Scans a layer: every entry of its archive becomes a row of a small database, a pure function of the layer's bytes.

The database can be made anywhere, by another process too, and handed to the index of a store (`FileIndex.add`). Rows
are written in batches, so that memory does not grow with the number of entries.
"""

from __future__ import annotations

import json
import sqlite3

from imq.engine.layers.file_metadata import HOST_XATTRS
from imq.engine.layers.layer_reader import LayerDecompressor, LayerLimits
from imq.engine.layers.rooted_fs import MAX_DEPTH, clean_path
from imq.engine.layers.tar_entry import TarEntry
from imq.engine.layers.tar_walker import TarWalker
from imq.engine.layers.whiteout import OPAQUE as HIDES_ALL
from imq.engine.layers.whiteout import is_aufs_metadata, whiteout_target
from imq.grammar.errors import ImqError, Malformed
from imq.grammar.record import TYPE_CHECKING

from .content_tap import ContentTap
from .entry_types import DIRECTORY, FROM_TAR, HARD_LINK, IMPLIED, OPAQUE, SYMLINK, WHITEOUT
from .path_text import to_text
from .schema import (
    ENTRY_COLUMNS,
    IMPLIED_MODE,
    LINKED_COLUMNS,
    PACKAGE_COLUMNS,
    SCAN_TABLES,
    SCAN_VERSION,
    write_linked_values,
)
from .words import collect_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from imq.engine.layers.tar_walker import OrdinaryEntry
    from imq.engine.oci.digest import Digest

    from .content_tap import ContentReader

    FindReader = Callable[[str, int, int, bool], ContentReader | None]
    """Returns the reader of the content of a file: by its path, mode and size, and whether it is sparse."""

SCAN_ERRORS = (ImqError, OSError, sqlite3.Error)
"""What a scan raises, and adding it to an index: for a layer that cannot be unpacked, and for a full disk."""
_BATCH = 5_000 * len(ENTRY_COLUMNS)
"""The values of rows that are written together."""
_NS_PER_SECOND = 1_000_000_000
_NO_DEVICE = (0, 0)
_INSERT_PACKAGE = f"INSERT INTO package VALUES ({', '.join('?' * (len(PACKAGE_COLUMNS) + 2))})"
_WIDTH = len(ENTRY_COLUMNS)
_MACHINE = ENTRY_COLUMNS.index("machine")
_NO_TEXT, _NO_NUMBER = 0, ""
"""The values that represent NULL in columns of strings and of numbers. Binding None takes ten times as long."""
_NOTHING = {
    "size": _NO_NUMBER, "mtime_ns": 0, "link": _NO_TEXT, "stored_size": _NO_NUMBER, "details": _NO_TEXT,
    "machine": _NO_TEXT,
}  # fmt: skip
_TOGETHER = 64
"""The rows that one statement inserts: inserted one by one, each costs half as much again."""
_ENTRY_ROW = ", ".join(f"nullif(?, {_NOTHING[name]!r})" if name in _NOTHING else "?" for name in ENTRY_COLUMNS)
_INSERT_ENTRY = f"INSERT OR IGNORE INTO entry VALUES ({_ENTRY_ROW})"
_INSERT_ENTRIES = _INSERT_ENTRY + f", ({_ENTRY_ROW})" * (_TOGETHER - 1)
_NO_NAMES = frozenset({"", ".", ".."})


def _read_nothing(_path: str, _mode: int, _size: int, _is_sparse: bool) -> None:
    """Read no contents."""


class LayerScanner:
    """Writes the rows of one layer to a new database at `path`. Call feed() with its archive, then finish().

    A caller that walks the archive itself calls begin_piece(), add_entry() or add_ordinary(), and end_piece() in place
    of feed(). Any thread may do so, one after the other. `find_reader` returns the reader of a file's content, or None;
    see `ContentTap`. Raises `Malformed` for archives that cannot be unpacked.
    """

    def __init__(
        self,
        path: str,
        find_reader: FindReader = _read_nothing,
        limits: LayerLimits | None = None,
    ) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.executescript(SCAN_TABLES)
        self._connection.execute("CREATE TEMP TABLE hard_link (directory, name, target_directory, target_name)")
        self._connection.execute("CREATE TEMP TABLE below_link (key INTEGER PRIMARY KEY)")
        self._connection.execute("BEGIN")
        self._walker = TarWalker(self.add_entry, (limits or LayerLimits()).archive, self.add_ordinary)
        self._tap = ContentTap()
        self._find_reader = find_reader
        self._values: list[Any] = []  # of rows of `entry`, one row after the other
        self._opened: dict[int, int] = {}  # where the row of a file with a reader begins in the values, by its offset
        self._late_machines: list[tuple[object, ...]] = []
        self._hard_links: list[tuple[int, str, str, str]] = []
        self._directories: dict[str, int] = {}
        self._new_directories: list[tuple[int, int | None, str, str]] = []
        self._root = self._number_directory("")
        self._parent_path, self._parent = "", self._root  # of the last entry
        self._written_parent: str | None = None  # its path as in the archive; None: it was not ordinary
        self._size = 0
        self._is_fed = False

    def feed(self, piece: bytes | memoryview) -> None:
        """Scan the next piece of the decompressed archive."""
        self._is_fed = True
        self.begin_piece(piece)
        self._walker.feed(piece)
        self.end_piece()

    def begin_piece(self, piece: bytes | memoryview) -> None:
        """Take the next piece of the decompressed archive, before the entries whose headers are in it."""
        self._size += len(piece)
        self._tap.feed(piece)

    def end_piece(self) -> None:
        """Read what the current piece has of the contents of entries."""
        self._tap.end_piece()

    def add_entry(self, entry: TarEntry) -> None:
        """Add an entry that the caller walked to, or that a table of contents has."""
        path = clean_path(entry.path, MAX_DEPTH)
        parent_path, _, name = path.rpartition("/")
        type_ = FROM_TAR.get(entry.type)
        if ".wh." in path:
            if is_aufs_metadata(path):
                return
            hidden = whiteout_target(name)
            if hidden is not None:
                type_ = OPAQUE if hidden == HIDES_ALL else WHITEOUT
        if not name:
            return
        if type_ is None:
            raise Malformed(f"{entry.path!r} has an unknown entry type", code="entry-type")
        if parent_path != self._parent_path:
            self._parent_path, self._parent = parent_path, self._number_directory(parent_path)
            self._written_parent = None
        text = to_text(name)
        link: str | int = _NO_TEXT
        size: str | int = entry.real_size
        if type_ == SYMLINK:
            link = to_text(entry.link_target)
        elif type_ == HARD_LINK:
            target = to_text(clean_path(entry.link_target, MAX_DEPTH, clamp=True))
            link, size = f"/{target}", _NO_NUMBER
            if target == to_text(path):
                return  # a link to itself changes nothing
            target_directory, _, target_name = link.rpartition("/")
            self._hard_links.append((self._parent, text, target_directory, target_name))
        seconds, nanoseconds = divmod(entry.mtime, _NS_PER_SECOND)
        if type_ == DIRECTORY:
            self._number_directory(path)
        elif entry.type == "file":
            is_sparse = entry.segments is not None or entry.map_in_content
            if (reader := self._find_reader(path, entry.mode, entry.size, is_sparse)) is not None:
                self._opened[entry.offset] = len(self._values)
                self._tap.open(path, entry.offset, entry.size, reader)
        self._values += (
            self._parent, text, type_, entry.mode, entry.uid, entry.gid, size, seconds, nanoseconds, link,
            entry.offset, entry.size if entry.size != entry.real_size else _NO_NUMBER,
            _encode_details(entry) if entry.xattrs or entry.segments or entry.device != _NO_DEVICE
            or entry.map_in_content else _NO_TEXT, _NO_TEXT,
        )  # fmt: skip
        if len(self._values) >= _BATCH:
            self._write_rows()

    def add_ordinary(self, entry: OrdinaryEntry) -> None:
        """Add an entry that the caller walked to, an ordinary one."""
        path, kind, size, mode, uid, gid, seconds, link, offset, _ = entry
        written_parent, _, name = path.rpartition("/")
        if kind == "link" or name in _NO_NAMES or ".wh." in path or not self._enter(written_parent):
            self.add_entry(TarEntry(
                path, kind, size, size, mode, uid, gid, "", "", seconds * _NS_PER_SECOND, link, (), (0, 0), offset,
            ))  # fmt: skip
            return
        if kind == "directory":
            self._number_directory(f"{self._parent_path}/{name}" if self._parent_path else name)
        elif kind == "file":
            clean = f"{self._parent_path}/{name}" if self._parent_path else name
            if (reader := self._find_reader(clean, mode, size, False)) is not None:
                self._opened[offset] = len(self._values)
                self._tap.open(clean, offset, size, reader)
        self._values += (
            self._parent, name if name.isascii() else to_text(name), FROM_TAR[kind], mode, uid, gid, size, seconds,
            0, to_text(link) if kind == "symlink" else _NO_TEXT, offset, _NO_NUMBER, _NO_TEXT, _NO_TEXT,
        )  # fmt: skip
        if len(self._values) >= _BATCH:
            self._write_rows()

    def _enter(self, written: str) -> bool:
        """Make a folder that of the next entry, by its path as in the archive; return False for an unusual path."""
        if written != self._written_parent:
            if ".." in written or written.count("/") >= MAX_DEPTH - 1:
                return False
            self._parent_path = clean_path(written.rstrip("/"), MAX_DEPTH)
            self._parent = self._number_directory(self._parent_path)
            self._written_parent = written
        return True

    def finish(self, diff_id: Digest) -> None:
        """Complete the database of the layer. Raises `Malformed` when the archive is truncated."""
        if self._is_fed:
            self._walker.finish()
        self._write_rows()
        connection = self._connection
        self._write_findings()
        has_link_parents = self._resolve_conflicts()
        self._add_implied_directories()
        self._resolve_hard_links()
        (lower_links,) = connection.execute(
            f"SELECT EXISTS (SELECT 1 FROM entry WHERE type = {HARD_LINK} AND size IS NULL)"
        ).fetchone()
        (paths,) = connection.execute("SELECT count(*) FROM entry").fetchone()
        connection.execute(
            "INSERT INTO scan VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                diff_id,
                SCAN_VERSION,
                paths,
                self._size,
                has_link_parents,
                lower_links,
                collect_words(connection, "main"),
            ),
        )
        connection.execute("COMMIT")
        self.close()

    def close(self) -> None:
        """Close the database. Idempotent."""
        self._connection.close()

    def _add_implied_directories(self) -> None:
        """Add the folders without an entry in which something exists."""
        without_entry = self._connection.execute(
            """SELECT 1 FROM directory WHERE parent IS NOT NULL AND NOT EXISTS (
                SELECT 1 FROM entry WHERE entry.directory = directory.parent AND entry.name = directory.name) LIMIT 1"""
        )
        if without_entry.fetchone() is None:
            return
        self._connection.execute(
            f"""INSERT OR IGNORE INTO entry (directory, name, type, mode, uid, gid, size)
            WITH RECURSIVE used (key) AS (
                SELECT directory FROM entry WHERE type NOT IN ({WHITEOUT}, {OPAQUE})
                UNION SELECT parent FROM used JOIN directory USING (key) WHERE parent IS NOT NULL)
            SELECT parent, name, {IMPLIED}, {IMPLIED_MODE}, 0, 0, 0 FROM used JOIN directory USING (key)
            WHERE parent IS NOT NULL"""
        )

    def _number_directory(self, path: str) -> int:
        key = self._directories.get(path)
        if key is None:
            parent: int | None = None
            parent_path, _, name = path.rpartition("/")
            if path:
                parent = self._number_directory(parent_path)
            key = self._directories[path] = len(self._directories)
            text = to_text(path)
            self._new_directories.append((key, parent, to_text(name), f"/{text}" if text else ""))
        return key

    def _write_findings(self) -> None:
        """Write what the readers found. Rows on a file that was replaced later in the archive are dropped."""
        written: set[str] = set()
        packages: list[tuple[object, ...]] = []
        notes: list[tuple[object, ...]] = []
        for path, findings in self._tap.take_findings():
            place = self._locate(path)
            if path in written:
                packages = [row for row in packages if row[:2] != place]
                notes = [row for row in notes if row[:2] != place]
            written.add(path)
            packages += [(*place, *row) for row in findings.packages]
            notes += [(*place, *note) for note in findings.notes]
        self._connection.executemany(
            "UPDATE entry SET machine = ? WHERE directory = ? AND name = ? AND offset = ?", self._late_machines
        )
        self._connection.executemany(_INSERT_PACKAGE, packages)
        self._connection.executemany("INSERT INTO note VALUES (?, ?, ?, ?)", notes)

    def _locate(self, path: str) -> tuple[int, str]:
        parent_path, _, name = path.rpartition("/")
        return self._directories[parent_path], to_text(name)

    def _write_rows(self) -> None:
        """Write the rows so far, with the machines of the files whose headers have been read."""
        values = self._values
        for path, offset, machine in self._tap.take_machines():
            at = self._opened.get(offset)
            if at is None:  # its row is written
                self._late_machines.append((machine, *self._locate(path), offset))
            else:
                values[at + _MACHINE] = machine
        connection = self._connection
        connection.executemany("INSERT INTO directory VALUES (?, ?, ?, ?)", self._new_directories)
        if self._insert_entries() < len(values) // _WIDTH:
            self._replace_rows()
        connection.executemany("INSERT INTO hard_link VALUES (?, ?, ?, ?)", self._hard_links)
        values.clear()
        self._opened.clear()
        self._hard_links.clear()
        self._new_directories.clear()

    def _insert_entries(self) -> int:
        """Insert the rows of `entry`; return the number of those that are new."""
        inserted, at, size = 0, 0, _TOGETHER * _WIDTH
        values = self._values
        while at + size <= len(values):
            inserted += self._connection.execute(_INSERT_ENTRIES, values[at : at + size]).rowcount
            at += size
        for start in range(at, len(values), _WIDTH):
            inserted += self._connection.execute(_INSERT_ENTRY, values[start : start + _WIDTH]).rowcount
        return inserted

    def _replace_rows(self) -> None:
        """Replace the rows of paths that the archive has more than once by those of this batch."""
        place = "directory = ? AND name = ?"
        nothing = [_NOTHING.get(name) for name in ENTRY_COLUMNS]
        for start in range(0, len(self._values), _WIDTH):
            row = self._values[start : start + _WIDTH]
            stored = self._connection.execute(f"SELECT * FROM entry WHERE {place}", row[:2]).fetchone()
            shown = (none if value is None else value for none, value in zip(nothing, stored or (), strict=False))
            if list(shown) != row:
                self._connection.execute(f"INSERT INTO replaced SELECT * FROM entry WHERE {place}", row[:2])
                self._connection.execute(f"DELETE FROM entry WHERE {place}", row[:2])
                self._connection.execute(_INSERT_ENTRY, row)

    def _resolve_conflicts(self) -> bool:
        """Handle paths below an entry that is no folder; return whether some lead through a symbolic link.

        Paths below a file are dropped: a file that comes after them replaces the folder, and extraction refuses paths
        after it. Paths below a symbolic link, or a hard link to one, are kept: lower layers decide where they lead.
        """
        conflicts = self._connection.execute(
            f"""SELECT directory.key, entry.type FROM directory
            JOIN entry ON entry.directory = directory.parent AND entry.name = directory.name
            WHERE entry.type <> {DIRECTORY}"""
        ).fetchall()
        for key, type_ in conflicts:
            below = f"""WITH RECURSIVE below (key) AS (
                SELECT {key} UNION SELECT directory.key FROM below JOIN directory ON directory.parent = below.key)
                SELECT key FROM below"""
            if type_ in {SYMLINK, HARD_LINK}:
                self._connection.execute(f"INSERT OR IGNORE INTO below_link {below}")
            else:
                self._connection.execute(f"DELETE FROM entry WHERE directory IN ({below})")
        (has_link_parents,) = self._connection.execute(
            "SELECT EXISTS (SELECT 1 FROM entry WHERE directory IN (SELECT key FROM below_link))"
        ).fetchone()
        return bool(has_link_parents)

    def _resolve_hard_links(self) -> None:
        """Give hard links the metadata and content of their target, if this layer has it before the link.

        A target below a symbolic link is left to the index, which resolves its path in a stack. A target that comes
        later replaces one of a lower layer, to which the link leads. The entries of a table of contents have no order:
        their offset is 0.
        """
        connection = self._connection
        if connection.execute("SELECT 1 FROM hard_link LIMIT 1").fetchone() is None:
            return
        connection.execute("CREATE INDEX directory_path ON directory (path)")
        while connection.execute(
            f"""UPDATE entry SET ({", ".join(LINKED_COLUMNS)}) = ({write_linked_values()})
            FROM hard_link CROSS JOIN directory CROSS JOIN entry AS target
            WHERE entry.directory = hard_link.directory AND entry.name = hard_link.name
                AND entry.type = {HARD_LINK} AND entry.size IS NULL AND directory.path = hard_link.target_directory
                AND target.directory = directory.key AND target.name = hard_link.target_name
                AND target.offset <= entry.offset AND target.size IS NOT NULL
                AND directory.key NOT IN (SELECT key FROM below_link)
                AND target.type NOT IN ({DIRECTORY}, {IMPLIED}, {WHITEOUT}, {OPAQUE})"""
        ).rowcount:
            pass  # a hard link can lead to another one
        connection.execute("DROP INDEX directory_path")


def _encode_details(entry: TarEntry) -> str | int:
    details: dict[str, object] = {}
    xattrs = {name: value.hex() for name, value in entry.xattrs if not name.startswith(HOST_XATTRS)}
    if xattrs:
        details["xattrs"] = {to_text(name): value for name, value in sorted(xattrs.items())}
    if entry.device != (0, 0):
        details["device"] = entry.device
    if entry.segments is not None:
        details["segments"] = entry.segments
    if entry.map_in_content:
        details["map_in_content"] = True
    return json.dumps(details, separators=(",", ":")) if details else _NO_TEXT


def scan_layer(
    chunks: Iterable[bytes | memoryview],
    path: str,
    find_reader: FindReader = _read_nothing,
    limits: LayerLimits | None = None,
    *,
    algorithm: str = "sha256",
    hashes_inline: bool = False,
) -> Digest:
    """Scan a layer, compressed or not, into a new database at `path`; return its diff ID.

    `hashes_inline`: hash in this thread, which takes less processor time, and longer while a processor is idle.
    Raises `Malformed` (codes: compression, truncated, archive, bomb, path-escape, path-depth, whiteout, entry-type).
    """
    limits = limits or LayerLimits()
    scanner = LayerScanner(path, find_reader, limits)
    try:
        with LayerDecompressor(None, limits, diff_algorithm=algorithm, hashes_inline=hashes_inline) as layer:
            for chunk in chunks:
                for piece in layer.feed(chunk):
                    scanner.feed(piece)
            for piece in layer.flush():
                scanner.feed(piece)
            diff_id = layer.finish()
        scanner.finish(diff_id)
        return diff_id
    finally:
        scanner.close()


def scan_entries(entries: Iterable[TarEntry], path: str, digest: Digest) -> None:
    """Write the entries of a table of contents, whose digest this is, into a new database at `path`.

    The contents of files are not read, and their offsets are not known. Raises `Malformed`, as `scan_layer`.
    """
    scanner = LayerScanner(path)
    try:
        for entry in entries:
            scanner.add_entry(entry)
        scanner.finish(digest)
    finally:
        scanner.close()
