"""The store index: SQLite tables derived from the layout, so that queries need not open thousands of documents.

`refresh` compares index.json with the index and reads only new manifests and configs. The index stores the signature of
the index.json that it was derived from, and so detects changes by other tools.
"""

from __future__ import annotations

import errno
import sqlite3
from contextlib import closing, nullcontext, suppress

from imq.engine.oci.digest import Digest
from imq.grammar.errors import ImqError, StoreError
from imq.grammar.record import TYPE_CHECKING

from .database import check_database_path, create_database, database_uri, enable_wal, has_database, remove_database
from .index_schema import create_tables, has_current_schema, has_schema, is_intact, is_made_in
from .layout import CONTAINERS, DATABASE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Set as AbstractSet
    from typing import TypeVar

    from .index_document import IndexEdits
    from .index_documents import DocumentReader
    from .layer_measure import LayerMeasure
    from .layout import Layout

    _Result = TypeVar("_Result")

INDEX_MISMATCH = "index-mismatch"
"""The code of the error for an index that differs from the layout: it is rebuilt, and the statement is run again."""
_MAX_REREADS = 5
"""How often index.json is read again when another process changes it during a refresh."""
_CHANGE_GENERATION = "INSERT OR REPLACE INTO meta VALUES ('generation', hex(randomblob(8)))"
"""Equal generations have equal rows: copies of the rows are compared by it."""
_MMAP_SIZE = 1 << 30
"""Bytes of the index that are memory-mapped for queries: lists of layers of 100,000 images take a third less time."""
_CORRUPTION_ERRORS = (sqlite3.DatabaseError, ValueError, TypeError, LookupError, AttributeError)
"""Errors from reading a corrupt database: from SQLite, or from the use of its values."""
_BUSY_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT)
_UNWRITABLE_CODES = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, timeout=60, isolation_level=None, check_same_thread=False, uri=True)


class StoreIndex:
    """The SQLite index of one layout, with one connection. Not thread-safe."""

    def __init__(self, layout: Layout, *, create: bool = True, maps_file: bool = True) -> None:
        self._layout = layout
        self._maps_file = maps_file
        self._is_persistent = create
        self._holds_lock = False
        self._documents: DocumentReader | None = None
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
            connection.execute(self._mapping_pragma)
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def layout(self) -> Layout:
        """The layout that the index is derived from."""
        return self._layout

    def has_containers(self) -> bool:
        """Whether the store has a folder for containers."""
        return self._layout.exists and self._layout.root_directory.status(CONTAINERS) is not None

    @property
    def _mapping_pragma(self) -> str:
        return f"PRAGMA mmap_size = {_MMAP_SIZE if self._maps_file else 0}"

    def map_file(self, maps_file: bool) -> None:
        """Map the file into memory for queries, or read its pages one by one.

        A change of many images reads all of the file. Mapped pages would stay in the memory of the process.
        """
        self._maps_file = maps_file
        with suppress(sqlite3.Error):  # a connection that an error has closed
            self.connection.execute(self._mapping_pragma)

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
        known = dict(self.connection.execute("SELECT key, value FROM meta WHERE key IN ('signature', 'own')"))
        signature = self._layout.read_signature()
        if not signature:
            self._layout.read_entries()  # without index.json: an empty store, or an error
        self._layout.own_signature = known.get("own", "")
        return bool(known.get("signature", "") == signature)

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

    def refresh(self) -> None:
        """Update the index to index.json. One transaction.

        index.json is read inside the transaction: a process that waited for another writer must not restore old rows.
        """
        self._run_with_recovery(lambda: self._write(self._apply_layout))
        for _ in range(_MAX_REREADS):
            # a missing blob may have been removed together with its entry during the refresh
            if not self._has_unreadable or self.is_current:
                break
            self._write(self._apply_layout)

    def apply_edits(self, edits: IndexEdits, signature: str, measures: Iterable[LayerMeasure] = ()) -> None:
        """Update the index to the edits of index.json, which the caller has written to a file with this signature."""
        from .index_update import apply_edits, apply_layout

        layer_measures = list(measures)

        def write(connection: sqlite3.Connection) -> None:
            if not apply_edits(connection, self._layout, self.documents, edits, signature, layer_measures):
                apply_layout(connection, self._layout, self.documents, layer_measures)

        self._run_with_recovery(lambda: self._write(write))

    def reread(self, root: Digest) -> None:
        """Read the documents of a root again, because missing ones have been stored."""
        self._run_with_recovery(lambda: self._reread({root}))

    def _reread(self, roots: AbstractSet[Digest]) -> None:
        """Read the documents of these roots again."""
        from .index_update import apply_layout, reread_roots

        def write(connection: sqlite3.Connection) -> None:
            if not reread_roots(connection, self._layout, self.documents, roots):
                apply_layout(connection, self._layout, self.documents, reread=roots)

        self._write(write)

    def retry_unreadable(self) -> None:
        """Read unreadable documents again, and insert the images of those that are readable now."""
        if not self._has_unreadable:
            return
        from .unreadable_images import iter_retryable

        readable = {
            root
            for root, document, is_config in iter_retryable(self.connection)
            if self.documents.is_readable(document, is_config=is_config)
        }
        if readable:
            self._reread(readable)

    @property
    def _has_unreadable(self) -> bool:
        """Whether any document is unreadable: usually none is, and their module need not be loaded."""
        return self.connection.execute("SELECT 1 FROM unreadable LIMIT 1").fetchone() is not None

    @property
    def holds_lock(self) -> bool:
        """Whether a transaction that uses this index holds the lock of the store. It reads each document once."""
        return self._holds_lock

    @holds_lock.setter
    def holds_lock(self, holds: bool) -> None:
        self._holds_lock = holds
        self._documents = None

    @property
    def documents(self) -> DocumentReader:
        """The reader of the layout's documents. It is loaded when one is first read: queries read the tables alone."""
        if self._documents is None:
            from .index_documents import DocumentReader

            self._documents = DocumentReader(self._layout, caches=self._holds_lock)
        return self._documents

    def _apply_layout(self, connection: sqlite3.Connection) -> None:
        """Update the tables to index.json; see `apply_layout`."""
        from .index_update import apply_layout

        apply_layout(connection, self._layout, self.documents)

    def list_problems(self) -> tuple[ImqError, ...]:
        """Return an error for each image with unreadable documents."""
        if not self._has_unreadable:
            return ()
        from .unreadable_images import list_problems

        return list_problems(self.connection)

    def find_unreadable_roots(self) -> set[str]:
        """Return the roots with an unreadable document."""
        from .unreadable_images import find_unreadable_roots

        return find_unreadable_roots(self.connection)

    def find_incomplete_roots(self) -> dict[str, str]:
        """Return the roots whose blobs are not all known, with their names. Meanwhile no blob may be removed."""
        from .unreadable_images import find_incomplete_roots

        return find_incomplete_roots(self.connection)

    def rebuild(self) -> None:
        """Derive the index again in a new file, whatever the state of the old one."""
        from .atomic_files import store_errors

        self.connection.close()
        try:
            with store_errors("write the index", self._layout.root):
                self.connection = (
                    self._create_file(force=True) if self._is_persistent else self._prepare(_connect(":memory:"))
                )
            self.connection.execute("PRAGMA temp_store = MEMORY")  # sorting takes less than writing what is sorted
            with self.sql_transaction() as connection:
                self._apply_layout(connection)
        except sqlite3.DatabaseError as problem:
            if not (_is_unwritable(problem) and self._is_persistent):
                raise
            with store_errors("write the index", self._layout.root):
                raise OSError(errno.ENOSPC, str(problem)) from problem

    def remove_databases(self) -> bool:
        """Remove the files of the index and of the registry cache, to free space; return whether any was removed.

        The index is in memory afterwards. Both can be derived or fetched again.
        """
        from .registry_cache import DATABASE as REGISTRY_CACHE

        directory = self._layout.root_directory
        names = [name for name in (DATABASE, REGISTRY_CACHE) if directory.status(name) is not None]
        if self._is_persistent and DATABASE in names:
            in_memory = self._open_in_memory()
            self.connection.close()
            self.connection = in_memory
        for name in names:
            remove_database(self._layout, name)
        return bool(names)

    def _recreate(self, *, force: bool = False) -> None:
        """Replace the index; without `force`, use that of another process if it has created one."""
        self.connection.close()
        if self._is_persistent:
            self.connection = self._open_or_use_memory(lambda: self._create_file(replace=True, force=force))
        else:
            self.connection = self._prepare(_connect(":memory:"))
        self._write(self._apply_layout)

    def add_measures(self, measures: Iterable[LayerMeasure]) -> None:
        """Store measures of layers, and the sizes of the images that are complete now."""
        from .shared_sizes import set_measures, update_sizes

        def write(connection: sqlite3.Connection) -> None:
            set_measures(connection, measures)
            update_sizes(connection)

        self._run_with_recovery(lambda: self._write(write))

    def update_absent_blobs(self) -> None:
        """Look for the blobs of all images, for the field `complete`."""
        from .absent_blobs import find_changes, write_changes

        def update() -> None:
            if changes := find_changes(self.connection, self._layout):
                self._write(lambda connection: write_changes(connection, changes))

        self._run_with_recovery(update)

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

    def read_generation(self) -> str:
        """Return what identifies the current rows: every transaction that may write changes it."""
        row = self.connection.execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()
        return str(row[0]) if row is not None else ""

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


def _proves_corruption(problem: BaseException) -> bool:
    """Whether an error proves that the file is corrupt, whatever an integrity check finds."""
    if isinstance(problem, ImqError):
        return problem.code == INDEX_MISMATCH
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
                self._connection.execute(_CHANGE_GENERATION)
                self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:  # SQLite rolls back by itself on some errors. Example: a full disk
                self._connection.execute("ROLLBACK")
