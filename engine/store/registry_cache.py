"""The cache of registry documents. The content behind a digest never changes, so it is requested only once.

The file `remote.db` is in the folder of the store, next to the index. It is attached to the connection of the index as
`cache`. It can be deleted at any time. Without write permission the cache is in memory. A file that came with a copied
folder is replaced: its documents may be forged.
"""

from __future__ import annotations

import json
import sqlite3

from imq.engine.oci import media_types
from imq.engine.oci.chain_id import compute_chain_ids
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Index
from imq.grammar.record import TYPE_CHECKING, Record

from .attached_database import AttachedDatabase
from .config_columns import JSON_DEFINITIONS, STRING_DEFINITIONS, read_documents, read_strings
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
_MIGRATED_TABLES = frozenset({"tag", "tag_count", "repository_manifest"})
"""Tables that are kept from a file of another version if their definition is unchanged. Others are fetched again."""
_REFERENCE_TYPE = "vnd.docker.reference.type"

_TABLES = f"""
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
_DATABASE = AttachedDatabase(DATABASE, SCHEMA, _TABLES, _REVISION, _MIGRATED_TABLES)


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
        _DATABASE.attach(connection, layout)

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
