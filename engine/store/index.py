"""The store index: SQLite tables derived from the layout, so that queries need not open thousands of documents.

`refresh` compares index.json with the index and reads only new manifests and configs. The index stores the signature of
the index.json that it was derived from, and so detects changes by other tools.
"""

from __future__ import annotations

import errno
import sqlite3
from contextlib import closing, contextmanager, nullcontext
from itertools import islice

from imq.engine.oci import media_types
from imq.engine.oci.config import Config
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, Index, Manifest, check_document_size, parse_manifest
from imq.engine.oci.manifest_walk import IndexDepthError, read_manifest_tree
from imq.grammar.errors import DigestMismatch, ImqError, Malformed, StoreError
from imq.grammar.record import TYPE_CHECKING

from . import unreadable_images
from .atomic_files import store_errors
from .bounded_read import read_bounded
from .database import check_database_path, create_database, database_uri, enable_wal, has_database, remove_database
from .index_entries import sync_entries
from .index_rows import delete_images, delete_reach, delete_unreached_descriptors, insert_images, insert_reach
from .index_schema import create_tables, has_current_schema, has_schema, is_intact, is_made_in
from .layout import DATABASE, HELD_MANIFESTS, is_held
from .shared_sizes import add_layer_counts, set_measures, subtract_layer_counts, update_sizes
from .unreadable_images import UnreadableDocument, is_opaque

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from collections.abc import Set as AbstractSet
    from typing import Any, TypeVar

    from .layer_measure import LayerMeasure
    from .layout import IndexEntry, Layout

    _Result = TypeVar("_Result")

_INSERT_BATCH = 500
"""The number of descriptors of index.json whose images are inserted together."""
_MAX_REREADS = 5
"""How often index.json is read again when another process changes it during a refresh."""
_DOCUMENT_CACHE_SIZE = 8 << 20
"""The maximum size in bytes of cached documents; parsed they take several times as much."""
_MMAP_SIZE = 1 << 30
"""Bytes of the index that are memory-mapped: twice as fast for 100,000 images."""
_CORRUPTION_ERRORS = (sqlite3.DatabaseError, ValueError, TypeError, LookupError, AttributeError)
"""Errors from reading a corrupt database: from SQLite, or from the use of its values."""
_BUSY_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT)
_UNWRITABLE_CODES = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, timeout=60, isolation_level=None, check_same_thread=False, uri=True)


class StoreIndex:
    """The SQLite index of one layout, with one connection. Not thread-safe."""

    def __init__(self, layout: Layout, *, create: bool = True) -> None:
        self._layout = layout
        self._is_persistent = create
        self.holds_lock = False
        """Whether a transaction that uses this index holds the lock of the store."""
        self._document_cache: dict[tuple[str, str, int], Config | Manifest | Index] | None = None
        self._cached_bytes = 0
        try:
            self.connection = self._open_or_use_memory(self._open_file) if create else self._open_in_memory()
        except sqlite3.Error as problem:
            raise StoreError(f"cannot open the index of {layout.root}: {problem}", code="index") from problem

    def _open_file(self) -> sqlite3.Connection:
        """Open the file; create it when it is missing or invalid."""
        try:
            return self._connect_file() if has_database(self._layout, DATABASE) else self._create_file()
        except _CORRUPTION_ERRORS as problem:
            if _is_unwritable(problem) or _is_busy(problem):
                raise
            return self._create_file(replace=True, force=_proves_corruption(problem))

    def _open_or_use_memory(self, open_: Callable[[], sqlite3.Connection]) -> sqlite3.Connection:
        """Return the connection from `open_`; an index in memory when the disk is full or read-only."""
        try:
            return open_()
        except OSError:
            pass
        except sqlite3.DatabaseError as problem:
            if not _is_unwritable(problem):
                raise
        return self._open_in_memory()

    def _create_file(self, *, replace: bool = False, force: bool = False) -> sqlite3.Connection:
        """Create the file and open it; only one process at a time.

        `replace` replaces an existing file that is corrupt, `force` any existing file.
        """
        with nullcontext() if self.holds_lock else self._layout.lock():
            if force or (replace and not self._is_intact()):
                remove_database(self._layout, DATABASE)
            create_database(self._layout, DATABASE)
            self._layout.ensure_reserve()  # a layout of another tool has none
            return self._connect_file()

    def _is_intact(self) -> bool:
        """Whether the file is an intact index: another process may have replaced it in the meantime."""
        try:
            if not has_database(self._layout, DATABASE):
                return False
            with closing(_connect(database_uri(self._layout, DATABASE))) as connection:
                check_database_path(connection, self._layout, DATABASE)
                return is_intact(connection) and is_made_in(connection, self._layout.origin())
        except _CORRUPTION_ERRORS:
            return False

    def _open_in_memory(self) -> sqlite3.Connection:
        """Return an index in memory for a read-only store, copied from the file if possible."""
        connection = self._prepare(_connect(":memory:"))
        if self._layout.exists and has_database(self._layout, DATABASE, writable=False):
            for options in ("mode=ro", "immutable=1"):  # the second: a closed database whose log cannot be created
                try:
                    with closing(_connect(database_uri(self._layout, DATABASE, options))) as source:
                        check_database_path(source, self._layout, DATABASE)
                        if has_current_schema(source) and is_made_in(source, self._layout.origin()):
                            source.backup(connection)
                        break
                except _CORRUPTION_ERRORS:
                    continue
        return connection

    def _connect_file(self) -> sqlite3.Connection:
        """Open the existing file."""
        connection = _connect(database_uri(self._layout, DATABASE))
        try:
            check_database_path(connection, self._layout, DATABASE)
        except BaseException:
            connection.close()
            raise
        return self._prepare(connection)

    def _prepare(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """Create the tables in an empty database; raise and close the connection for one with other tables.

        Only an index that was created in this folder is trusted: one that came with a copied store may have any rows.
        """
        try:
            if not has_schema(connection):
                enable_wal(connection)
                with _SqlTransaction(connection):
                    if not has_schema(connection):  # another process may have been faster
                        create_tables(connection, self._layout.origin() if self._layout.exists else "")
            elif not has_current_schema(connection) or not is_made_in(connection, self._layout.origin()):
                raise sqlite3.DatabaseError("the index was made in another folder, or by another version")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA mmap_size = {_MMAP_SIZE}")
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def is_persistent(self) -> bool:
        """Whether the index is a file in the store, and not in memory."""
        return self._is_persistent

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    # Synchronization with the layout

    @property
    def is_current(self) -> bool:
        """Whether the index was derived from the current index.json."""
        row = self.connection.execute("SELECT value FROM meta WHERE key = 'signature'").fetchone()
        signature = self._layout.read_signature()
        if not signature:
            self._layout.read_entries()  # without index.json: an empty store, or an error
        return (row[0] if row else "") == signature

    def sync_with_layout(self, *, retry: bool = False) -> None:
        """Update the index to the current index.json; a corrupt index is rebuilt.

        With `retry` unreadable documents are read again.
        """
        if not self._run_with_recovery(lambda: self.is_current):
            self.refresh()
        if retry:
            self.retry_unreadable()

    def _run_with_recovery(self, work: Callable[[], _Result]) -> _Result:
        """Return the result of `work`; when the index is corrupt, rebuild it and run `work` again."""
        try:
            return work()
        except _CORRUPTION_ERRORS as problem:
            if _is_unwritable(problem) or _is_busy(problem):
                raise
            self._recreate(force=_proves_corruption(problem))
            return work()

    def recover(self, problem: BaseException) -> bool:
        """Rebuild the index if it is corrupt, which may have caused `problem`; return whether it was."""
        is_proof = _proves_corruption(problem)
        try:
            if not is_proof and is_intact(self.connection):
                return False
        except _CORRUPTION_ERRORS as check_problem:
            if _is_busy(check_problem):
                return False
        self._recreate(force=is_proof)
        return True

    def refresh(self, entries: list[IndexEntry] | None = None, measures: Iterable[LayerMeasure] = ()) -> None:
        """Update the index to index.json, or to `entries` when the caller has just written them. One transaction.

        index.json is read inside the transaction: a process that waited for another writer must not restore old rows.
        """
        layer_measures = list(measures)
        self._run_with_recovery(
            lambda: self._write(lambda connection: self._apply_layout(connection, entries, layer_measures))
        )
        for _ in range(_MAX_REREADS):
            # a missing blob may have been removed together with its entry during the refresh
            if entries is not None or not unreadable_images.find_roots(self.connection) or self.is_current:
                break
            self._write(self._apply_layout)

    def reread(self, root: Digest) -> None:
        """Read the documents of a root again, because missing ones have been stored."""
        self._run_with_recovery(lambda: self._write(lambda connection: self._apply_layout(connection, reread={root})))

    def retry_unreadable(self) -> None:
        """Read unreadable documents again, and insert the images of those that are readable now."""
        readable = {
            root
            for root, document, is_config in unreadable_images.iter_retryable(self.connection)
            if self._is_readable(document, is_config=is_config)
        }
        if readable:
            self._write(lambda connection: self._apply_layout(connection, reread=readable))

    def _is_readable(self, document: Descriptor, *, is_config: bool) -> bool:
        try:
            if is_config:
                self.read_config(document)
            else:
                self._read_manifest(document)
        except ImqError:
            return False
        return True

    def list_problems(self) -> tuple[ImqError, ...]:
        """Return an error for each image with unreadable documents."""
        return unreadable_images.list_problems(self.connection)

    def find_unreadable_roots(self) -> set[str]:
        """Return the roots with an unreadable document."""
        return unreadable_images.find_unreadable_roots(self.connection)

    def find_incomplete_roots(self) -> dict[str, str]:
        """Return the roots whose blobs are not all known, with their names. Meanwhile no blob may be removed."""
        return unreadable_images.find_incomplete_roots(self.connection)

    def rebuild(self) -> None:
        """Derive the index again in a new file, whatever the state of the old one."""
        self.connection.close()
        try:
            with store_errors("write the index", self._layout.root):
                self.connection = (
                    self._create_file(force=True) if self._is_persistent else self._prepare(_connect(":memory:"))
                )
            with self.sql_transaction() as connection:
                self._apply_layout(connection)
        except sqlite3.DatabaseError as problem:
            if not (_is_unwritable(problem) and self._is_persistent):
                raise
            with store_errors("write the index", self._layout.root):
                raise OSError(errno.ENOSPC, str(problem)) from problem

    def _recreate(self, *, force: bool = False) -> None:
        """Replace the index; without `force`, use that of another process if it has created one."""
        self.connection.close()
        if self._is_persistent:
            self.connection = self._open_or_use_memory(lambda: self._create_file(replace=True, force=force))
        else:
            self.connection = self._prepare(_connect(":memory:"))
        self._write(self._apply_layout)

    def _apply_layout(
        self,
        connection: sqlite3.Connection,
        entries: list[IndexEntry] | None = None,
        measures: Iterable[LayerMeasure] = (),
        reread: AbstractSet[Digest] = frozenset(),
    ) -> None:
        """Update the tables to index.json; the roots in `reread` are read even if they are known."""
        signature = self._layout.read_signature()
        if entries is None:
            entries = self._layout.read_entries()
        roots_by_digest = {entry.descriptor.digest: entry.descriptor for entry in entries}
        # roots without an image are read again, as missing blobs may have been stored; also those with other manifests
        known = {root for (root,) in connection.execute("SELECT DISTINCT root FROM entry WHERE image IS NOT NULL")}
        unreadable = unreadable_images.find_roots(connection)
        known -= _update_held_manifests(connection, roots_by_digest.values()) | unreadable | reread
        unreadable_images.delete(connection, unreadable)
        unreached_candidates: set[int] = set()
        before = "SELECT DISTINCT digest FROM descriptor WHERE key IN (SELECT root FROM reaching)"
        for (root,) in connection.execute(before).fetchall():
            if root not in roots_by_digest or root not in known:
                unreached_candidates |= delete_reach(connection, root)
        (last_key,) = connection.execute("SELECT coalesce(max(key), 0) FROM image").fetchone()
        new = (descriptor for digest, descriptor in roots_by_digest.items() if digest not in known)
        reached: dict[Digest, list[int]] = {}
        while roots := list(islice(new, _INSERT_BATCH)):
            reached |= self._insert_roots(connection, roots)
        add_layer_counts(
            connection, [key for (key,) in connection.execute("SELECT key FROM image WHERE key > ?", (last_key,))]
        )
        set_measures(connection, measures)
        update_sizes(connection)
        sync_entries(connection, entries, reached)
        self._drop_unreached(connection)
        delete_unreached_descriptors(connection, unreached_candidates)
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('signature', ?)", (signature,))

    def add_measures(self, measures: Iterable[LayerMeasure]) -> None:
        """Store measures of layers, and the sizes of the images that are complete now."""

        def write(connection: sqlite3.Connection) -> None:
            set_measures(connection, measures)
            update_sizes(connection)

        self._run_with_recovery(lambda: self._write(write))

    def _write(self, write: Callable[[sqlite3.Connection], None]) -> None:
        """Run `write` in one transaction; on a full disk, in an index in memory.

        The index can be derived again. A change of the store that is on disk already must not fail because of it.
        """
        try:
            with self.sql_transaction() as connection:
                write(connection)
        except sqlite3.DatabaseError as problem:
            if not _is_unwritable(problem):
                raise
            self.connection.close()
            self.connection = self._open_in_memory()
            with self.sql_transaction() as connection:
                write(connection)

    def sql_transaction(self) -> _SqlTransaction:
        """Return a context for one write transaction, rolled back on errors."""
        return _SqlTransaction(self.connection)

    def _drop_unreached(self, connection: sqlite3.Connection) -> None:
        """Delete the images without an entry."""
        unreached = "SELECT key FROM image WHERE NOT EXISTS (SELECT 1 FROM entry WHERE entry.image = image.key)"
        unreached_keys = [key for (key,) in connection.execute(unreached)]
        if not unreached_keys:
            return
        subtract_layer_counts(connection, unreached_keys)
        delete_images(connection, unreached_keys)
        update_sizes(connection)

    # Inserting images

    def _insert_roots(self, connection: sqlite3.Connection, roots: list[Descriptor]) -> dict[Digest, list[int]]:
        """Insert the images and blobs that roots reach, and their unreadable documents.

        Returns the keys of the images of each root.
        """
        images: dict[Digest, tuple[Digest, Manifest, Config]] = {}
        unreadable: list[tuple[Digest, UnreadableDocument]] = []
        manifests_by_root: dict[Digest, list[Digest]] = {}
        reach: list[tuple[Descriptor, Iterable[Descriptor]]] = []
        for root in roots:
            blobs = {root.digest: root}
            manifests = manifests_by_root.setdefault(root.digest, [])
            problems: list[UnreadableDocument] = []
            for descriptor, document in self.walk(root, problems):
                blobs[descriptor.digest] = descriptor
                if isinstance(document, Index):
                    continue
                blobs.update((blob.digest, blob) for blob in (document.config, *document.layers))
                if descriptor.digest not in images and document.is_image:
                    try:
                        images[descriptor.digest] = (descriptor.digest, document, self.read_image_config(document))
                    except ImqError as problem:
                        problems.append(UnreadableDocument(document.config, problem, descriptor, is_config=True))
                if descriptor.digest in images:
                    manifests.append(descriptor.digest)
            unreadable += [(root.digest, problem) for problem in problems]
            reach.append((blobs[root.digest], blobs.values()))
        insert_reach(connection, reach)
        unreadable_images.insert(connection, unreadable)
        keys = {digest: key for digest in images if (key := _find_image_key(connection, digest)) is not None}
        new = [image for digest, image in images.items() if digest not in keys]
        keys.update(zip((digest for digest, _, _ in new), insert_images(connection, new), strict=True))
        return {root: [keys[digest] for digest in manifests] for root, manifests in manifests_by_root.items()}

    def read_image_config(self, manifest: Manifest) -> Config:
        """Return the config of an image; raises `ImqError` when it is missing, corrupt, or of another image."""
        config = self.read_config(manifest.config)
        if len(config.diff_ids) != len(manifest.layers):
            raise Malformed(
                f"the config {manifest.config.digest} has {len(config.diff_ids)} layers,"
                f" and its manifest has {len(manifest.layers)}",
                code="layers",
            )
        return config

    def read_config(self, descriptor: Descriptor) -> Config:
        """Return a verified config; raises `ImqError` when it is missing, corrupt or invalid."""
        config: Config = self._read_cached(descriptor, Config, lambda: Config.parse(self.read_document(descriptor)))
        return config

    def _read_manifest(self, descriptor: Descriptor) -> Manifest | Index:
        document: Manifest | Index = self._read_cached(
            descriptor, (Manifest, Index), lambda: parse_manifest(self.read_document(descriptor), descriptor.media_type)
        )
        return document

    def _read_cached(self, descriptor: Descriptor, types: Any, read: Callable[[], Any]) -> Any:
        """Return the result of `read`, cached by descriptor within `cache_documents`."""
        if self._document_cache is None:
            return read()
        key = (descriptor.digest, descriptor.media_type, descriptor.size)
        document = self._document_cache.get(key)
        if not isinstance(document, types):
            document = read()
            if self._cached_bytes + descriptor.size <= _DOCUMENT_CACHE_SIZE:
                self._cached_bytes += descriptor.size
                self._document_cache[key] = document
        return document

    @contextmanager
    def cache_documents(self) -> Iterator[None]:
        """Read each document once in the block: a transaction checks new images, and inserts them later."""
        self._document_cache, self._cached_bytes = {}, 0
        try:
            yield
        finally:
            self._document_cache = None

    def walk(
        self, root: Descriptor, unreadable: list[UnreadableDocument] | None = None
    ) -> Iterator[tuple[Descriptor, Manifest | Index]]:
        """Yield the readable manifests and indexes that a descriptor holds.

        Unreadable documents are appended to `unreadable`. A manifest that an index does not hold may be missing.
        """

        def note(descriptor: Descriptor, error: ImqError) -> None:
            if unreadable is None:
                return
            if isinstance(error, IndexDepthError):
                unreadable.append(UnreadableDocument(descriptor, error, descriptor))
            elif not is_opaque(descriptor, error, self._layout.open_blob):
                unreadable.append(_describe_unreadable(root, descriptor, error))

        tree = read_manifest_tree(
            root, self._read_manifest, descends=lambda child: is_held(root, child.digest), on_error=note
        )
        for node in tree.top_down():
            yield node.descriptor, node.document

    def is_reachable(self, digest: Digest) -> bool:
        """Whether the current index.json reaches a blob; True when this is unknown."""
        reached = "SELECT 1 FROM descriptor JOIN reaching ON reaching.blob = descriptor.key WHERE digest = ? LIMIT 1"
        try:
            self.sync_with_layout()
            return self.connection.execute(reached, (digest,)).fetchone() is not None
        except (ImqError, sqlite3.Error):
            return True

    def find_diff_id(self, layer: Digest) -> Digest | None:
        """Return the diff ID of a layer; None when it was never measured."""
        row = self.connection.execute("SELECT max(diff_id) FROM descriptor WHERE digest = ?", (layer,)).fetchone()
        return Digest(row[0]) if row[0] else None

    def has_image(self, root: Digest) -> bool:
        """Whether the root has an image in the tables. Images with unreadable documents have none."""
        has_image = "SELECT 1 FROM entry WHERE root = ? AND image IS NOT NULL"
        return self.connection.execute(has_image, (root,)).fetchone() is not None

    def read_document(self, descriptor: Descriptor) -> bytes:
        """Return the content of a document, verified against its digest and size."""
        limit = self._layout.largest_document
        check_document_size(descriptor.size, limit, f"the document {descriptor.digest}")
        with store_errors(f"read the blob {descriptor.digest}"):
            try:
                with self._layout.open_blob(descriptor.digest) as source:
                    content = read_bounded(source, limit)
            except FileNotFoundError:
                raise StoreError(f"the blob {descriptor.digest} is not in the store", code="blob-missing") from None
        if not descriptor.digest.matches(content):
            raise DigestMismatch(
                f"the blob {descriptor.digest} is damaged",
                hints=("pull the image again to repair it; imq verify all lists everything that is damaged",),
            )
        if len(content) != descriptor.size:
            raise DigestMismatch(
                f"the blob {descriptor.digest} has {len(content)} bytes, and its descriptor says {descriptor.size}",
                hints=("the blob is intact; the size in index.json or in the document above it is wrong",),
            )
        return content


def _update_held_manifests(connection: sqlite3.Connection, roots: Iterable[Descriptor]) -> set[str]:
    """Store the held manifests of each index in index.json; return the roots where they have changed."""
    held = {root.digest: root.annotations[HELD_MANIFESTS] for root in roots if HELD_MANIFESTS in root.annotations}
    before = dict(connection.execute("SELECT substr(key, 7), value FROM meta WHERE key GLOB 'holds *'").fetchall())
    changed = {root for root in {*held, *before} if held.get(Digest(root)) != before.get(root)}
    connection.executemany("DELETE FROM meta WHERE key = 'holds ' || ?", [(root,) for root in changed])
    rows = [(f"holds {root}", held[Digest(root)]) for root in changed if root in held]
    connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
    return changed


def _describe_unreadable(root: Descriptor, document: Descriptor, problem: ImqError) -> UnreadableDocument:
    """Return the record of an unreadable manifest or index."""
    is_root = document.digest == root.digest
    is_image = media_types.REFERENCE_DIGEST not in document.annotations
    is_absent = problem.code == "blob-missing" and not is_root and HELD_MANIFESTS not in root.annotations
    return UnreadableDocument(document, problem, document if is_image and not is_absent else None, is_absent=is_absent)


def _find_image_key(connection: sqlite3.Connection, manifest: Digest) -> int | None:
    """Return the key of the image with this manifest; None when there is none."""
    row: tuple[int] | None = connection.execute("SELECT key FROM image WHERE manifest = ?", (manifest,)).fetchone()
    return row[0] if row else None


def _proves_corruption(problem: BaseException) -> bool:
    """Whether an error proves that the file is corrupt, whatever an integrity check finds."""
    if isinstance(problem, UnicodeDecodeError) or "Could not decode" in str(problem):
        return True  # all strings were valid when they were written
    code = getattr(problem, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CONSTRAINT)


def _is_busy(problem: BaseException) -> bool:
    """Whether the file is locked by others, or the statement was interrupted."""
    return getattr(problem, "sqlite_errorcode", 0) & 0xFF in _BUSY_CODES


def _is_unwritable(problem: BaseException) -> bool:
    """Whether the disk is full or read-only."""
    return getattr(problem, "sqlite_errorcode", 0) & 0xFF in _UNWRITABLE_CODES


class _SqlTransaction:
    """A write transaction as a context."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> sqlite3.Connection:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as problem:
            if not _is_busy(problem):
                raise
            raise StoreError(f"cannot write the index: {problem}", code="index") from problem
        return self._connection

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:  # SQLite rolls back by itself on some errors. Example: a full disk
                self._connection.execute("ROLLBACK")
