"""The cache of registry documents. The content behind a digest never changes, so it is requested only once.

The file `remote.db` is in the folder of the store, beside the index. It is attached to the connection of the index as
`cache`. It can be deleted at any time. Without write permission the cache is in memory. A file that came with a copied
folder is replaced: its documents may be forged.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import suppress
from zlib import crc32

from imq.engine.oci import media_types
from imq.engine.oci.chain_id import compute_chain_ids
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Index
from imq.grammar.record import TYPE_CHECKING, Record

from .config_columns import JSON_DEFINITIONS, STRING_DEFINITIONS, read_documents, read_strings
from .database import check_database_path, create_database, database_uri, enable_wal, has_database, remove_database
from .index_rows import build_step_rows, replace_surrogates, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from imq.engine.oci.config import Config
    from imq.engine.oci.manifest import Descriptor, Manifest
    from imq.engine.oci.platform import Platform
    from imq.engine.oci.reference import Reference

    from .layout import Layout

DATABASE = "remote.db"
_REVISION = 3
"""Increased when the meaning of values changes but the definitions of the tables do not."""
SCHEMA = "cache"
_CORRUPTION_ERRORS = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR")
"""The prefixes of SQLite's error names for an unusable file. They do not include locks and a full disk."""
_MIGRATED_TABLES = frozenset({"tag", "tag_count", "repository_manifest"})
"""Tables that are kept from a file of another version if their definition is unchanged. Others are fetched again."""
_REFERENCE_TYPE = "vnd.docker.reference.type"

_TABLES = f"""
-- The folder in which the file was created; see `Layout.origin`.
CREATE TABLE IF NOT EXISTS {SCHEMA}.origin (value TEXT NOT NULL);
-- A manifest or index. `download_size`: bytes of its config and its distinct layers.
CREATE TABLE IF NOT EXISTS {SCHEMA}.document (
    digest TEXT PRIMARY KEY, media_type TEXT NOT NULL, artifact_type TEXT, kind TEXT NOT NULL, size INTEGER NOT NULL,
    config TEXT, config_size INTEGER, config_type TEXT, download_size INTEGER, layer_count INTEGER,
    annotations TEXT NOT NULL, subject TEXT
) WITHOUT ROWID;
-- The entries of indexes.
CREATE TABLE IF NOT EXISTS {SCHEMA}.child (
    parent TEXT NOT NULL, position INTEGER NOT NULL, digest TEXT NOT NULL, media_type TEXT NOT NULL,
    size INTEGER NOT NULL, platform TEXT, os TEXT, architecture TEXT, variant TEXT, os_version TEXT, os_features TEXT,
    attestation INTEGER NOT NULL, artifact_type TEXT, annotations TEXT NOT NULL, PRIMARY KEY (parent, position)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS {SCHEMA}.child_digest ON child (digest);
CREATE TABLE IF NOT EXISTS {SCHEMA}.layer (
    manifest TEXT NOT NULL, position INTEGER NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL,
    media_type TEXT NOT NULL, annotations TEXT NOT NULL, PRIMARY KEY (manifest, position)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS {SCHEMA}.config (
    digest TEXT PRIMARY KEY, created INTEGER, platform TEXT, os TEXT, architecture TEXT, variant TEXT, os_version TEXT,
    {STRING_DEFINITIONS}, {JSON_DEFINITIONS},
    diff_ids TEXT NOT NULL, chain_ids TEXT NOT NULL
) WITHOUT ROWID;
-- The build steps of each image. `layer`: the position of the layer that the step created.
CREATE TABLE IF NOT EXISTS {SCHEMA}.step (
    config TEXT NOT NULL, position INTEGER NOT NULL, created INTEGER, comment TEXT, layer INTEGER, created_by TEXT,
    PRIMARY KEY (config, position)
) WITHOUT ROWID;
-- The manifest of each tag at its last request (nanoseconds since 1970). The tag may have moved since.
CREATE TABLE IF NOT EXISTS {SCHEMA}.tag (
    registry TEXT NOT NULL, repository TEXT NOT NULL, tag TEXT NOT NULL, digest TEXT NOT NULL,
    media_type TEXT NOT NULL, size INTEGER NOT NULL, requested_at INTEGER NOT NULL,
    PRIMARY KEY (registry, repository, tag)
) WITHOUT ROWID;
-- The number of tags of a repository at the last complete listing.
CREATE TABLE IF NOT EXISTS {SCHEMA}.tag_count (
    registry TEXT NOT NULL, repository TEXT NOT NULL, tags INTEGER NOT NULL, PRIMARY KEY (registry, repository)
) WITHOUT ROWID;
-- All manifests that were found in a repository so far.
CREATE TABLE IF NOT EXISTS {SCHEMA}.repository_manifest (
    registry TEXT NOT NULL, repository TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (registry, repository, digest)
) WITHOUT ROWID;
"""
_VERSION = crc32(f"{_REVISION}{_TABLES}".encode()) & 0x7FFFFFFF
"""A checksum of the tables. A file with another version is created again."""


def _get_columns(definition: str | None) -> str:
    """Return the statement of a table or index from its columns on, as SQLite stores it, too."""
    return (definition or "").partition("(")[2]


def _list_definitions() -> dict[tuple[str, str], str]:
    """Return the columns of each table and index, by type and name."""
    definitions: dict[tuple[str, str], str] = {}
    for statement in _TABLES.split(";\n"):
        _, _, rest = statement.partition("CREATE ")
        if rest:
            kind, _, _, _, name, *_ = rest.split(maxsplit=5)
            definitions[kind.lower(), name.partition(".")[2]] = _get_columns(rest)
    return definitions


class TagStats(Record):
    """Counts for the tags of a repository: all tags, and fresh ones, which were requested recently.

    `oldest` is the time of the oldest fresh request in nanoseconds. `documents` and `fresh_documents` are the tags with
    a cached manifest or index; `manifests` and `configs` those with a cached image manifest and config.
    """

    tags: int
    fresh: int
    oldest: int | None
    documents: int
    fresh_documents: int
    manifests: int
    configs: int


class RegistryCache:
    """The cache, attached to a connection of the index. Not thread-safe."""

    def __init__(self, connection: sqlite3.Connection, layout: Layout | None) -> None:
        """Attach the cache file in the root of `layout`, replacing a cache in memory.

        None: use the cache that is attached already, or one in memory.
        """
        self._connection = connection
        attached = {name: path for _, name, path in connection.execute("PRAGMA database_list")}
        if attached.get(SCHEMA) or (SCHEMA in attached and layout is None):
            return
        self._detach()
        if layout is not None:
            with suppress(sqlite3.Error, OSError):
                self._attach(layout)
                return
            self._detach()
        self._prepare(None)

    def _attach(self, layout: Layout) -> None:
        if not has_database(layout, DATABASE):
            with layout.lock():
                create_database(layout, DATABASE)
        try:
            is_usable = self._prepare(layout)
        except sqlite3.Error as problem:
            if not problem.sqlite_errorname.startswith(_CORRUPTION_ERRORS):
                self._detach()
                raise
            is_usable = False
        if not is_usable:  # its documents can be requested again
            self._detach()
            with layout.lock():
                remove_database(layout, DATABASE)
                create_database(layout, DATABASE)
            self._prepare(layout)
        self._connection.execute(f"PRAGMA {SCHEMA}.synchronous = OFF")  # lost documents are requested again

    def _detach(self) -> None:
        if any(name == SCHEMA for _, name, _ in self._connection.execute("PRAGMA database_list")):
            self._connection.execute(f"DETACH {SCHEMA}")

    def _prepare(self, layout: Layout | None) -> bool:
        """Attach the file, or a database in memory, and create the tables unless they have this version.

        Returns whether the file can be used: it was created in this folder, and has no foreign tables or views. Their
        definitions are compared before any is read: a view of the same name may be endless.
        """
        connection = self._connection
        path = ":memory:" if layout is None else database_uri(layout, DATABASE)
        connection.execute(f"ATTACH ? AS {SCHEMA}", (path,))
        if layout is not None:
            check_database_path(connection, layout, DATABASE, SCHEMA)
            enable_wal(connection, SCHEMA)
            if not self._is_made_in(layout.origin()):
                return False
        version = connection.execute(f"PRAGMA {SCHEMA}.user_version").fetchone()[0]
        if version == _VERSION:
            return self._has_own_tables()
        connection.execute("BEGIN IMMEDIATE")
        try:
            current_version = connection.execute(f"PRAGMA {SCHEMA}.user_version").fetchone()[0]
            if current_version != _VERSION:
                objects = f"SELECT type, name, sql FROM {SCHEMA}.sqlite_master WHERE type IN ('table', 'view')"
                definitions = _list_definitions()
                for kind, name, definition in connection.execute(objects).fetchall():
                    is_same = definitions.get((kind, name)) == _get_columns(definition)
                    if name not in _MIGRATED_TABLES or not is_same:
                        connection.execute(f'DROP {kind} {SCHEMA}."{name}"')
                for statement in _TABLES.split(";\n"):
                    connection.execute(statement)
                origin = layout.origin() if layout is not None else ""
                connection.execute(f"INSERT INTO {SCHEMA}.origin VALUES (?)", (origin,))
                connection.execute(f"PRAGMA {SCHEMA}.user_version = {_VERSION}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        return True

    def _is_made_in(self, origin: str) -> bool:
        """Whether the attached file was created in the folder with this origin, or is empty."""
        objects = f"SELECT type, name, sql FROM {SCHEMA}.sqlite_master"
        definitions = {(kind, name): sql for kind, name, sql in self._connection.execute(objects)}
        if not definitions:
            return True
        key = ("table", "origin")
        if origin == "" or _get_columns(definitions.get(key)) != _list_definitions()[key]:
            return False
        return bool(self._connection.execute(f"SELECT value FROM {SCHEMA}.origin").fetchall() == [(origin,)])

    def _has_own_tables(self) -> bool:
        """Whether the attached file has exactly the tables and indexes of this version."""
        expected = _list_definitions()
        for kind, name, sql in self._connection.execute(f"SELECT type, name, sql FROM {SCHEMA}.sqlite_master"):
            is_automatic = kind == "index" and sql is None  # SQLite reserves their names
            if not is_automatic and expected.pop((kind, name), None) != _get_columns(sql):
                return False
        return not expected

    def count_documents(self) -> tuple[int, int]:
        """Return the number of cached manifests and indexes, and of cached configs."""
        documents, configs = (
            self._connection.execute(f"SELECT count(*) FROM {SCHEMA}.{table}").fetchone()[0]
            for table in ("document", "config")
        )
        return documents, configs

    def find_repositories(self, registry: str, blobs: Iterable[Digest]) -> dict[Digest, str]:
        """Return a repository of the registry for each blob that was found in one."""
        condition = "IN (SELECT value FROM json_each(?1))"
        try:
            containers = self._connection.execute(
                f"SELECT digest, manifest FROM {SCHEMA}.layer WHERE digest {condition}"
                f" UNION SELECT config, digest FROM {SCHEMA}.document WHERE config {condition}",
                (json.dumps(list(blobs)),),
            ).fetchall()
            manifests = self._connection.execute(
                f"SELECT digest, repository FROM {SCHEMA}.repository_manifest"
                " WHERE registry = ? AND digest IN (SELECT value FROM json_each(?))",
                (registry, json.dumps([manifest for _, manifest in containers])),
            )
            repositories = dict(manifests.fetchall())
        except sqlite3.Error:  # a cache error is no failure
            return {}
        return {Digest(blob): repositories[manifest] for blob, manifest in containers if manifest in repositories}

    def read_tag_stats(self, reference: Reference, since: int, now: int, platform: Platform) -> TagStats | None:
        """Return the counts of a tag, or of all tags of a repository. None if these were never listed completely.

        A tag is fresh if it was requested after `since` and not after `now`, both in nanoseconds. For an index the
        image of the `platform` counts.
        """
        key: tuple[str, ...] = (reference.registry, reference.repository)
        where, tags = "registry = ? AND repository = ?", 1
        if reference.tag is None:
            tag_count = self._connection.execute(f"SELECT tags FROM {SCHEMA}.tag_count WHERE {where}", key).fetchone()
            if tag_count is None:
                return None
            tags = int(tag_count[0])
        else:
            where, key = f"{where} AND tag = ?", (*key, reference.tag)
        self._connection.create_function("rank_platform", 5, platform.make_ranker(), deterministic=True)
        position = select_position("last.digest", "rank_platform")
        row = self._connection.execute(
            f"""WITH last AS (
                SELECT digest, requested_at > ?1 AND requested_at <= ?2 AS fresh, requested_at
                FROM {SCHEMA}.tag WHERE {where}
            ), named AS (
                SELECT last.*, document.kind, CASE document.kind WHEN 'index' THEN (SELECT child.digest
                    FROM {SCHEMA}.child WHERE parent = last.digest AND position = ({position})
                ) ELSE document.digest END AS manifest FROM last LEFT JOIN {SCHEMA}.document USING (digest)
            )
            SELECT count(*) FILTER (WHERE fresh), min(requested_at) FILTER (WHERE fresh), count(named.kind),
                count(named.kind) FILTER (WHERE fresh), count(document.kind),
                count(*) FILTER (WHERE config.digest IS NOT NULL OR document.kind = 'artifact')
            FROM named LEFT JOIN {SCHEMA}.document ON document.digest = named.manifest
            LEFT JOIN {SCHEMA}.config ON config.digest = document.config""",
            (since, now, *key),
        ).fetchone()
        return TagStats(tags, *row)

    def list_layers(self, reference: Reference, platform: Platform) -> tuple[dict[Digest, tuple[int, str]], int]:
        """Return the layers of the images of a tag, or of all tags of a repository, by diff ID: size and annotations.

        Of an index that is the image for the `platform`. The number is that of the manifests that are not known.
        """
        where = "registry = ? AND repository = ?" + (" AND tag = ?" if reference.tag is not None else "")
        key = (reference.registry, reference.repository, *((reference.tag,) if reference.tag is not None else ()))
        self._connection.create_function("rank_platform", 5, platform.make_ranker(), deterministic=True)
        position = select_position("last.digest", "rank_platform")
        rows = self._connection.execute(
            f"""WITH last AS (SELECT DISTINCT digest FROM {SCHEMA}.tag WHERE {where}),
            named AS (SELECT last.digest, CASE document.kind WHEN 'index' THEN (SELECT child.digest FROM {SCHEMA}.child
                WHERE parent = last.digest AND position = ({position})) ELSE last.digest END AS manifest
                FROM last LEFT JOIN {SCHEMA}.document USING (digest))
            SELECT named.digest, document.kind, json_extract(config.diff_ids, '$[' || layer.position || ']'),
                layer.size, layer.annotations
            FROM named LEFT JOIN {SCHEMA}.document ON document.digest = named.manifest
            LEFT JOIN {SCHEMA}.config ON config.digest = document.config
            LEFT JOIN {SCHEMA}.layer ON layer.manifest = named.manifest AND document.kind = 'image'""",
            key,
        ).fetchall()
        layers = {Digest(row[2]): (row[3], row[4]) for row in rows if row[2] is not None}
        unknown = {row[0] for row in rows if row[1] != "artifact" and row[2] is None}
        return layers, len(unknown) if rows else 1

    # Adding

    def add_manifests(self, manifests: Iterable[tuple[Reference, Digest, int, Manifest | Index]]) -> None:
        """Add manifests to repositories: the name, digest, size and document of each."""
        manifests = list(manifests)
        try:
            self.add_documents((digest, size, document) for _, digest, size, document in manifests)
            self._add_to_repositories((reference, digest) for reference, digest, _, _ in manifests)
        except sqlite3.Error:
            pass  # such as a full disk: they are requested again

    def add_tags(self, named: Iterable[tuple[Reference, Descriptor]], requested_at: int) -> None:
        """Add the descriptors of names, requested at this time in nanoseconds."""
        named = list(named)
        tags = [
            (r.registry, r.repository, r.tag, descriptor.digest, descriptor.media_type, descriptor.size, requested_at)
            for r, descriptor in named
            if r.tag is not None
        ]
        self._insert("tag", tags, replace=True)
        self._add_to_repositories((reference, descriptor.digest) for reference, descriptor in named)

    def _add_to_repositories(self, manifests: Iterable[tuple[Reference, Digest]]) -> None:
        self._insert("repository_manifest", [(one.registry, one.repository, digest) for one, digest in manifests])

    def set_tag_count(self, reference: Reference, tags: int, rows: str) -> None:
        """Set the number of tags of a repository, and delete cached tags that the table `rows` does not list."""
        where = "registry = ?1 AND repository = ?2"
        key = (reference.registry, reference.repository)
        self._insert("tag_count", [(*key, tags)], replace=True)
        if self._connection.execute(f"SELECT 1 FROM {SCHEMA}.tag WHERE {where} LIMIT 1", key).fetchone():
            listed_tags = f"SELECT tag FROM {rows} WHERE registry = ?1 AND _path = ?2 AND tag IS NOT NULL"
            self._connection.execute(f"DELETE FROM {SCHEMA}.tag WHERE {where} AND tag NOT IN ({listed_tags})", key)

    def expire_tags(self) -> None:
        """Expire all tags: some may have changed."""
        try:
            self._connection.execute(f"UPDATE {SCHEMA}.tag SET requested_at = 0")
        except sqlite3.Error:
            pass  # the action has succeeded even if this fails

    def forget(self, reference: Reference) -> None:
        """Delete a tag or a manifest that no longer exists."""
        where = "registry = ? AND repository = ?"
        if reference.tag is not None:
            key = (reference.registry, reference.repository, reference.tag)
            self._connection.execute(f"DELETE FROM {SCHEMA}.tag WHERE {where} AND tag = ?", key)
        elif reference.digest is not None:
            key = (reference.registry, reference.repository, str(reference.digest))
            self._connection.execute(f"DELETE FROM {SCHEMA}.tag WHERE {where} AND digest = ?", key)
            self._connection.execute(f"DELETE FROM {SCHEMA}.repository_manifest WHERE {where} AND digest = ?", key)

    def add_documents(self, documents: Iterable[tuple[Digest, int, Manifest | Index]]) -> None:
        """Add manifests and indexes, each with its digest and size."""
        rows, children, layers = [], [], []
        for digest, size, document in documents:
            rows.append(_build_document_row(digest, size, document))
            if isinstance(document, Index):
                children += [_build_child_row(digest, place, entry) for place, entry in enumerate(document.manifests)]
            else:
                layers += [
                    (digest, place, layer.digest, layer.size, layer.media_type, to_json(dict(layer.annotations)))
                    for place, layer in enumerate(document.layers)
                ]
        self._insert("child", children)
        self._insert("layer", layers)
        self._insert("document", rows)

    def add_configs(self, configs: Iterable[tuple[Digest, Config]]) -> None:
        """Add configs, each with its digest."""
        configs = list(configs)
        self._insert(
            "step",
            [row for digest, config in configs for row in build_step_rows(digest, config, len(config.diff_ids))],
        )
        self._insert("config", [_build_config_row(digest, config) for digest, config in configs])

    def _insert(self, table: str, rows: list[tuple[Any, ...]], *, replace: bool = False) -> None:
        conflict = "REPLACE" if replace else "IGNORE"
        if not rows:
            return
        placeholders = ", ".join("?" * len(rows[0]))
        self._connection.execute("SAVEPOINT cache_insert")
        try:
            self._connection.executemany(
                f"INSERT OR {conflict} INTO {SCHEMA}.{table} VALUES ({placeholders})", map(replace_surrogates, rows)
            )
        finally:
            self._connection.execute("RELEASE cache_insert")


def select_position(index: str, rank: str) -> str:
    """Return the query for the position of an index's image of the best platform, else of its first image.

    `index` is an SQL expression for the digest of the index, `rank` the SQL function that ranks platforms.
    """
    ranked = f"{rank}(os, architecture, variant, os_version, os_features)"
    return f"""SELECT position FROM {SCHEMA}.child WHERE parent = {index} AND NOT attestation
        ORDER BY {ranked} IS NULL, {ranked}, position LIMIT 1"""


def _build_document_row(digest: Digest, size: int, document: Manifest | Index) -> tuple[Any, ...]:
    annotations = to_json(dict(document.annotations))
    if isinstance(document, Index):
        return (digest, document.media_type, None, "index", size, None, None, None, None, None, annotations, None)
    config = document.config
    artifact = document.artifact_type or (None if document.is_image else config.media_type)
    return (
        digest,
        document.media_type,
        artifact,
        "image" if document.is_image else "artifact",
        size,
        config.digest,
        config.size,
        config.media_type,
        document.download_size,
        len(document.layers),
        annotations,
        document.subject.digest if document.subject is not None else None,
    )


def _build_child_row(parent: Digest, position: int, entry: Descriptor) -> tuple[Any, ...]:
    platform = entry.platform if entry.platform is not None and entry.platform.is_known else None
    is_image = (
        entry.media_type in media_types.MANIFESTS or entry.media_type in media_types.INDEXES or not entry.media_type
    )
    is_attestation = (
        _REFERENCE_TYPE in entry.annotations or (entry.platform is not None and platform is None) or not is_image
    )
    return (
        parent,
        position,
        entry.digest,
        entry.media_type,
        entry.size,
        *(platform.field_values if platform else (None,) * 5),
        json.dumps(platform.os_features) if platform and platform.os_features else None,
        int(is_attestation),
        entry.artifact_type or None,
        to_json(dict(entry.annotations)),
    )


def _build_config_row(digest: Digest, config: Config) -> tuple[Any, ...]:
    return (
        digest,
        config.created,
        *config.platform.field_values,
        *read_strings(config),
        *map(to_json, read_documents(config).values()),
        json.dumps(config.diff_ids),
        json.dumps(compute_chain_ids(config.diff_ids)),
    )
