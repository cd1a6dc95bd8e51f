"""What registries have told, remembered by digest: a digest's content never changes, so it is asked for once.

`remote.db` lies in the store's folder, beside the index, and is attached to the index's connection as `remembered`.
All of it can be lost: it is asked for again. Where nothing can be written it lasts as long as the connection.
"""

from __future__ import annotations

import json
import os
import sqlite3

from imq.engine.oci import media
from imq.engine.oci.digest import Digest
from imq.engine.oci.document import Index
from imq.grammar.errors import StoreError
from imq.grammar.record import TYPE_CHECKING

from .rows import config_row, environment, texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from imq.engine.oci.config import Config
    from imq.engine.oci.document import Descriptor, Manifest
    from imq.engine.oci.reference import Reference

FILE = "remote.db"
_VERSION = 1
_ATTACHED = "remembered"
_REFERENCE_TYPE = "vnd.docker.reference.type"

_SCHEMA = """
-- A manifest or index. `download_size`: bytes of its config and its layers, each distinct one once.
CREATE TABLE {0}.document (
    digest TEXT PRIMARY KEY, media_type TEXT NOT NULL, artifact_type TEXT, kind TEXT NOT NULL, size INTEGER NOT NULL,
    config TEXT, config_size INTEGER, config_type TEXT, download_size INTEGER, layer_count INTEGER,
    annotations TEXT NOT NULL, subject TEXT
) WITHOUT ROWID;
-- The entries of indexes, as they stand there.
CREATE TABLE {0}.child (
    parent TEXT NOT NULL, position INTEGER NOT NULL, digest TEXT NOT NULL, media_type TEXT NOT NULL,
    size INTEGER NOT NULL, platform TEXT, os TEXT, architecture TEXT, variant TEXT, os_version TEXT,
    attestation INTEGER NOT NULL, artifact_type TEXT, annotations TEXT NOT NULL, PRIMARY KEY (parent, position)
) WITHOUT ROWID;
CREATE INDEX {0}.child_digest ON child (digest);
CREATE TABLE {0}.layer (
    manifest TEXT NOT NULL, position INTEGER NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL,
    media_type TEXT NOT NULL, PRIMARY KEY (manifest, position)
) WITHOUT ROWID;
CREATE TABLE {0}.config (
    digest TEXT PRIMARY KEY, created INTEGER, platform TEXT, os TEXT, architecture TEXT, variant TEXT, os_version TEXT,
    user TEXT, workdir TEXT, stop_signal TEXT, author TEXT, label TEXT NOT NULL, env TEXT NOT NULL,
    entrypoint TEXT, cmd TEXT, ports TEXT, volumes TEXT, healthcheck TEXT, diff_ids TEXT NOT NULL
) WITHOUT ROWID;
-- What tags stood for when they were last asked for: only a guess of what they stand for now.
CREATE TABLE {0}.tag (
    registry TEXT NOT NULL, repository TEXT NOT NULL, tag TEXT NOT NULL, digest TEXT NOT NULL,
    PRIMARY KEY (registry, repository, tag)
) WITHOUT ROWID;
-- The manifests that were ever seen in a repository.
CREATE TABLE {0}.seen (
    registry TEXT NOT NULL, repository TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (registry, repository, digest)
) WITHOUT ROWID;
PRAGMA {0}.user_version = {1}
"""


class Remembered:
    """The memory, attached to a connection of the index. Not to be shared between threads."""

    def __init__(self, connection: sqlite3.Connection, folder: str | None) -> None:
        """Attach the memory that lies in `folder`; None: one that lasts as long as the connection."""
        self._connection = connection
        if any(name == _ATTACHED for _, name, _ in connection.execute("PRAGMA database_list")):
            return
        try:
            self._attach(":memory:" if folder is None else os.path.join(folder, FILE))
        except (sqlite3.Error, StoreError):
            self._attach(":memory:")

    def _attach(self, path: str) -> None:
        connection = self._connection
        try:
            self._prepare(path)
        except sqlite3.Error:
            self._detach()
            if path == ":memory:":
                raise
            for part in (path, f"{path}-wal", f"{path}-shm"):  # it is broken; what it held can be asked for again
                if os.path.lexists(part):
                    os.unlink(part)
            try:
                self._prepare(path)
            except sqlite3.Error:
                self._detach()
                raise
        except OSError as problem:
            self._detach()
            raise StoreError(str(problem), code="remembered") from problem
        connection.execute(f"PRAGMA {_ATTACHED}.synchronous = OFF")  # what is lost is asked for again

    def _detach(self) -> None:
        if any(name == _ATTACHED for _, name, _ in self._connection.execute("PRAGMA database_list")):
            self._connection.execute(f"DETACH {_ATTACHED}")

    def _prepare(self, path: str) -> None:
        connection = self._connection
        connection.execute(f"ATTACH ? AS {_ATTACHED}", (path,))
        if path != ":memory:":
            connection.execute(f"PRAGMA {_ATTACHED}.journal_mode = WAL")
        version = connection.execute(f"PRAGMA {_ATTACHED}.user_version").fetchone()[0]
        if version == _VERSION:
            connection.execute(f"SELECT 1 FROM {_ATTACHED}.document LIMIT 1")
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            if connection.execute(f"PRAGMA {_ATTACHED}.user_version").fetchone()[0] != _VERSION:
                names = f"SELECT name FROM {_ATTACHED}.sqlite_master WHERE type = 'table'"
                for (name,) in connection.execute(names).fetchall():
                    connection.execute(f'DROP TABLE {_ATTACHED}."{name}"')
                for statement in _SCHEMA.format(_ATTACHED, _VERSION).split(";\n"):
                    connection.execute(statement)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def counts(self) -> tuple[int, int]:
        """Return how many manifests and indexes, and how many configs, are remembered."""
        documents, configs = (
            self._connection.execute(f"SELECT count(*) FROM {_ATTACHED}.{table}").fetchone()[0]
            for table in ("document", "config")
        )
        return documents, configs

    def repositories_with(self, registry: str, blobs: Iterable[Digest]) -> dict[Digest, str]:
        """Return for each of these blobs a repository of the registry where it was last seen, if it was anywhere."""
        wanted = "IN (SELECT value FROM json_each(?1))"
        try:
            named = self._connection.execute(
                f"SELECT digest, manifest FROM {_ATTACHED}.layer WHERE digest {wanted}"
                f" UNION SELECT config, digest FROM {_ATTACHED}.document WHERE config {wanted}",
                (json.dumps(list(blobs)),),
            ).fetchall()
            seen = self._connection.execute(
                f"SELECT digest, repository FROM {_ATTACHED}.seen"
                " WHERE registry = ? AND digest IN (SELECT value FROM json_each(?))",
                (registry, json.dumps([manifest for _, manifest in named])),
            )
            places = dict(seen.fetchall())
        except sqlite3.Error:  # it is only a memory
            return {}
        return {Digest(blob): places[manifest] for blob, manifest in named if manifest in places}

    # Remembering

    def manifests(self, manifests: Iterable[tuple[Reference, Digest, int, Manifest | Index]]) -> None:
        """Remember manifests that repositories have: the name, the digest, the bytes and the document of each."""
        manifests = list(manifests)
        try:
            self.documents((digest, size, document) for _, digest, size, document in manifests)
            self.all_named((reference.replace(tag=None, digest=None), digest) for reference, digest, _, _ in manifests)
        except sqlite3.Error:
            pass  # on a full disk: it is found out again

    def named(self, reference: Reference, digest: Digest) -> None:
        """Remember what a name stood for, and that the repository has this manifest."""
        self.all_named([(reference, digest)])

    def all_named(self, named: Iterable[tuple[Reference, Digest]]) -> None:
        """Remember what names stood for."""
        named = list(named)
        tags = [(r.registry, r.repository, r.tag, digest) for r, digest in named if r.tag is not None]
        self._put("tag", 4, tags, replace=True)
        self._put("seen", 3, [(r.registry, r.repository, digest) for r, digest in named])

    def gone(self, reference: Reference) -> None:
        """Forget a tag, or a manifest, that is no longer there."""
        where = "registry = ? AND repository = ?"
        if reference.tag is not None:
            key = (reference.registry, reference.repository, reference.tag)
            self._connection.execute(f"DELETE FROM {_ATTACHED}.tag WHERE {where} AND tag = ?", key)
        elif reference.digest is not None:
            key = (reference.registry, reference.repository, str(reference.digest))
            self._connection.execute(f"DELETE FROM {_ATTACHED}.tag WHERE {where} AND digest = ?", key)
            self._connection.execute(f"DELETE FROM {_ATTACHED}.seen WHERE {where} AND digest = ?", key)

    def documents(self, documents: Iterable[tuple[Digest, int, Manifest | Index]]) -> None:
        """Remember manifests and indexes, each with its digest and its bytes."""
        rows, children, layers = [], [], []
        for digest, size, document in documents:
            rows.append(_document(digest, size, document))
            if isinstance(document, Index):
                children += [_child(digest, place, entry) for place, entry in enumerate(document.manifests)]
            else:
                layers += [
                    (digest, place, layer.digest, layer.size, layer.media_type)
                    for place, layer in enumerate(document.layers)
                ]
        self._put("child", 13, children)
        self._put("layer", 5, layers)
        self._put("document", 12, rows)

    def configs(self, configs: Iterable[tuple[Digest, Config]]) -> None:
        """Remember configs, each with its digest."""
        self._put("config", 19, [_config(digest, config) for digest, config in configs])

    def _put(self, table: str, columns: int, rows: list[tuple[Any, ...]], *, replace: bool = False) -> None:
        how = "REPLACE" if replace else "IGNORE"
        places = ", ".join("?" * columns)
        self._connection.execute("SAVEPOINT remembering")
        try:
            self._connection.executemany(
                f"INSERT OR {how} INTO {_ATTACHED}.{table} VALUES ({places})", map(texts, rows)
            )
        finally:
            self._connection.execute("RELEASE remembering")


def _document(digest: Digest, size: int, document: Manifest | Index) -> tuple[Any, ...]:
    annotations = _json(document.annotations)
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


def _child(parent: Digest, place: int, entry: Descriptor) -> tuple[Any, ...]:
    platform = entry.platform if entry.platform is not None and entry.platform.known else None
    is_image = entry.media_type in media.MANIFESTS or entry.media_type in media.INDEXES
    about = _REFERENCE_TYPE in entry.annotations or (entry.platform is not None and platform is None) or not is_image
    return (
        parent,
        place,
        entry.digest,
        entry.media_type,
        entry.size,
        *((platform.canonical, platform.os, platform.architecture) if platform else (None, None, None)),
        *((platform.variant or None, platform.os_version or None) if platform else (None, None)),
        int(about),
        entry.artifact_type or None,
        _json(entry.annotations),
    )


def _config(digest: Digest, config: Config) -> tuple[Any, ...]:
    platform = config.platform
    labels, env, entrypoint, cmd, ports, volumes, healthcheck = config_row(config, environment(config))
    return (
        digest,
        config.created,
        platform.canonical or None,
        platform.os or None,
        platform.architecture or None,
        platform.variant or None,
        platform.os_version or None,
        config.text("User"),
        config.text("WorkingDir"),
        config.text("StopSignal"),
        config.author or None,
        labels,
        env,
        entrypoint,
        cmd,
        ports,
        volumes,
        healthcheck,
        json.dumps(config.diff_ids),
    )


def _json(value: Mapping[str, str]) -> str:
    return json.dumps(dict(value), ensure_ascii=False, separators=(",", ":"))
