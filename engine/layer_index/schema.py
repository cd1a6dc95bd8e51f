"""The tables of the index of files.

A scanned layer is a database with the tables `directory`, `entry` and `note` (see `scan.py`). The index of a store
holds the same rows for all layers, and each directory path once. Its tables `chain` and `hidden` define what a stack of
layers shows.

Paths begin with a slash; the path of the root folder is empty. Their strings are those of `path_text.py`.
"""

from __future__ import annotations

from .entry_types import FILE, HARD_LINK

SCAN_VERSION = 8
"""Increased when the rows of a scan change: layers are scanned again."""

_ENTRY_COLUMNS = """
    directory INTEGER NOT NULL, name TEXT NOT NULL, type INTEGER NOT NULL, mode INTEGER, uid INTEGER, gid INTEGER,
    size INTEGER,                    -- bytes of the file; NULL for a hard link to a file of a lower layer
    mtime INTEGER, mtime_ns INTEGER, -- seconds, and the rest in nanoseconds, NULL for 0
    link TEXT,                       -- the target of a link
    offset INTEGER,                  -- of the content in the decompressed archive
    stored_size INTEGER,             -- bytes of the content in the archive, if other than `size`: a sparse file
    details TEXT,                    -- JSON: extended attributes, device numbers, the map of a sparse file
    machine TEXT                     -- of an executable or a shared library, an ELF file: see `elf_machine.py`
"""
ENTRY_COLUMNS = (
    "directory", "name", "type", "mode", "uid", "gid", "size", "mtime", "mtime_ns", "link", "offset", "stored_size",
    "details", "machine",
)  # fmt: skip

LINKED_COLUMNS = (
    "type", "link", "mode", "uid", "gid", "size", "mtime", "mtime_ns", "offset", "stored_size", "details", "machine",
)  # fmt: skip
"""The columns that a hard link has of its target."""


def write_linked_values() -> str:
    """Return the SQL of `LINKED_COLUMNS` for a hard link `entry` and its `target`: one to a file stays a hard link."""
    is_file = f"target.type IN ({FILE}, {HARD_LINK})"
    own = {
        "type": f"iif({is_file}, {HARD_LINK}, target.type)",
        "link": f"iif({is_file}, entry.link, target.link)",
    }
    return ", ".join(own.get(name, f"target.{name}") for name in LINKED_COLUMNS)


PACKAGE_COLUMNS = (
    "type", "name", "version", "architecture", "key", "source", "source_version", "licence", "size", "maintainer",
    "homepage", "toolchain", "vendor",
)  # fmt: skip
_PACKAGE_COLUMNS = ", ".join(PACKAGE_COLUMNS)
OS_NOTE, ACCOUNT_NOTE, MEMBER_NOTE = "os", "accounts", "members"
LICENCE_NOTE, OWNED_NOTE, PROBLEM_NOTE = "licence", "owned", "problem"
"""The kinds of notes: the text of a file of the operating system, the names of users or groups by their numbers, the
users by name with their numbers, or the groups with their members, the
licence of a package, the files of a package, and what was wrong in the file."""

SCAN_TABLES = f"""
CREATE TABLE directory (key INTEGER PRIMARY KEY, parent INTEGER, name TEXT NOT NULL, path TEXT NOT NULL);
CREATE TABLE entry ({_ENTRY_COLUMNS}, PRIMARY KEY (directory, name)) WITHOUT ROWID;
-- Entries that a later one of the same path replaces, if both paths lead to the same place.
CREATE TABLE replaced ({_ENTRY_COLUMNS});
-- The packages that a file of the layer lists; `key` is that of `Package`, `version` the encoded version.
CREATE TABLE package (directory INTEGER NOT NULL, file TEXT NOT NULL, {_PACKAGE_COLUMNS});
-- What else the scan read in a file: JSON documents, by kind; those of the kind `owned` are compressed.
CREATE TABLE note (directory INTEGER NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, document NOT NULL);
CREATE TABLE scan (
    diff_id TEXT NOT NULL, version INTEGER NOT NULL, paths INTEGER NOT NULL, tar_size INTEGER NOT NULL,
    has_link_parents INTEGER NOT NULL,  -- whether a path of the layer leads through a link of the layer
    has_lower_links INTEGER NOT NULL,   -- whether a hard link leads to a file of a lower layer
    words BLOB NOT NULL                 -- of the names of all entries and folders: see `words.py`
);
"""

IMPLIED_MODE = 0o755
"""The mode of folders without an entry."""

SCHEMA = "files"
"""The name under which the index of a store is attached."""

INDEX_TABLES = f"""
-- A layer by its diff ID. `stack` is 0, or the key in `chain` for which its paths were resolved: some of them lead
-- through links of lower layers.
CREATE TABLE IF NOT EXISTS {SCHEMA}.layer (
    key INTEGER PRIMARY KEY, diff_id TEXT NOT NULL, stack INTEGER NOT NULL, paths INTEGER NOT NULL,
    tar_size INTEGER NOT NULL, has_link_parents INTEGER NOT NULL, has_lower_links INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    is_held INTEGER NOT NULL DEFAULT 0,  -- whether an image of the store has the layer
    UNIQUE (diff_id, stack)
);
CREATE TABLE IF NOT EXISTS {SCHEMA}.directory (
    key INTEGER PRIMARY KEY, parent INTEGER, name TEXT NOT NULL, path TEXT NOT NULL UNIQUE
);
CREATE INDEX IF NOT EXISTS {SCHEMA}.directory_parent ON directory (parent);
CREATE TABLE IF NOT EXISTS {SCHEMA}.entry (
    layer INTEGER NOT NULL, {_ENTRY_COLUMNS},
    content_layer INTEGER,           -- the layer with the content of a hard link, if it is another one
    PRIMARY KEY (layer, directory, name)
) WITHOUT ROWID;
-- Entries that a later one of the same layer and path replaces, if both paths lead to the same place.
CREATE TABLE IF NOT EXISTS {SCHEMA}.replaced (layer INTEGER NOT NULL, {_ENTRY_COLUMNS});
CREATE INDEX IF NOT EXISTS {SCHEMA}.replaced_layer ON replaced (layer);
-- The words of the file names of a layer and of the paths of its folders, each once, compressed: a condition that needs
-- a certain string skips the layers that do not have it.
CREATE TABLE IF NOT EXISTS {SCHEMA}.word (layer INTEGER PRIMARY KEY, words BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS {SCHEMA}.note (
    layer INTEGER NOT NULL, directory INTEGER NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, document NOT NULL
);
CREATE INDEX IF NOT EXISTS {SCHEMA}.note_layer ON note (layer, kind);
CREATE TABLE IF NOT EXISTS {SCHEMA}.package (
    layer INTEGER NOT NULL, directory INTEGER NOT NULL, file TEXT NOT NULL, {_PACKAGE_COLUMNS}
);
CREATE INDEX IF NOT EXISTS {SCHEMA}.package_layer ON package (layer);
CREATE INDEX IF NOT EXISTS {SCHEMA}.package_name ON package (name, version, layer);
-- A stack of layers by its chain ID: `layer` on top of the stack `parent`.
CREATE TABLE IF NOT EXISTS {SCHEMA}.chain (
    key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, parent INTEGER, layer INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS {SCHEMA}.chain_layer ON chain (layer);
-- The entries of lower layers that the top layer of a stack hides, and why.
CREATE TABLE IF NOT EXISTS {SCHEMA}.hidden (
    layer INTEGER NOT NULL, directory INTEGER NOT NULL, name TEXT NOT NULL, chain INTEGER NOT NULL,
    status INTEGER NOT NULL, PRIMARY KEY (layer, directory, name, chain)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS {SCHEMA}.hidden_chain ON hidden (chain);
"""
