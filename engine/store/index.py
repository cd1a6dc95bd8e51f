"""The index: SQLite tables derived from the layout, so that questions need not open thousands of documents.

`refresh` compares what index.json says with what the index knows and reads only the manifests and configs that are
new. It notices changes by other tools too, because it remembers which index.json it was derived from.
"""

from __future__ import annotations

import errno
import sqlite3
from contextlib import closing, contextmanager, nullcontext
from itertools import islice

from imq.engine.oci import media_types
from imq.engine.oci.config import Config
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, Index, Manifest, check_size, read_manifest
from imq.grammar.errors import DigestMismatch, ImqError, Malformed, StoreError
from imq.grammar.record import TYPE_CHECKING, Record

from . import unreadable_images
from .atomic_files import told
from .database import check_opened, discard_database, has_database, make_database, uri_of
from .index_entries import set_entries
from .index_rows import delete_images, delete_reach, forget, insert_images, insert_reach
from .index_schema import VERSION, has_our_tables, is_whole, make_tables
from .layout import DATABASE, HOLDS, holds
from .shared_sizes import count_in, count_out, set_contents, sum_up
from .unreadable_images import Unreadable, is_opaque

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from collections.abc import Set as AbstractSet
    from typing import Any, TypeVar

    from .layout import Entry, Layout

    _Found = TypeVar("_Found")

DEEPEST_INDEX = 8
"""Indexes within indexes that are followed."""
_AT_ONCE = 500
"""Descriptors of index.json whose images are inserted together."""
_RACES = 5
"""How often index.json is read again that others change while it is being followed."""
_REMEMBERED = 8 << 20
"""Bytes of documents that are remembered at most; parsed they take several times as much."""
_MAPPED = 1 << 30
"""Bytes of the index that are read in place instead of being copied: twice as fast for 100,000 images."""
_DAMAGE = (sqlite3.DatabaseError, ValueError, TypeError, LookupError, AttributeError)
"""What reading a damaged database raises: SQLite itself, or whoever uses the values that are in it."""
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT)
_UNWRITABLE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


class Content(Record):
    """What unpacking a layer told: see the table `descriptor`."""

    digest: Digest
    diff_id: Digest
    size: int
    tar_size: int
    entries: int


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, timeout=60, isolation_level=None, check_same_thread=False, uri=True)


class StoreIndex:
    """The SQLite index of one layout. One connection; not to be shared between threads."""

    def __init__(self, layout: Layout, *, create: bool = True) -> None:
        self._layout = layout
        self._create = create
        self.is_locked = False
        """Whether the store's lock is held by a change that works with this index."""
        self._documents: dict[tuple[str, str, int], Config | Manifest | Index] | None = None
        self._remembered = 0
        try:
            self.connection = self._kept_or_in_memory(self._opened) if create else self._in_memory()
        except sqlite3.Error as problem:
            raise StoreError(f"cannot open the index of {layout.root}: {problem}", code="index") from problem

    def _opened(self) -> sqlite3.Connection:
        """Open the file, made when it is missing or no index."""
        try:
            return self._connected() if has_database(self._layout, DATABASE) else self._made()
        except _DAMAGE as problem:
            if _unwritable(problem) or _is_busy(problem):
                raise
            return self._made(instead=True, always=_is_certain(problem))

    def _kept_or_in_memory(self, opened: Callable[[], sqlite3.Connection]) -> sqlite3.Connection:
        """Return what `opened` opens; an index in memory where the disk takes nothing more."""
        try:
            return opened()
        except OSError:
            pass
        except sqlite3.DatabaseError as problem:
            if not _unwritable(problem):
                raise
        return self._in_memory()

    def _made(self, *, instead: bool = False, always: bool = False) -> sqlite3.Connection:
        """Make the file and open it: one process at a time.

        `instead` of one that is no whole index, or (`always`) of any.
        """
        with nullcontext() if self.is_locked else self._layout.locked():
            if always or (instead and not self._is_whole()):
                discard_database(self._layout, DATABASE)
            make_database(self._layout, DATABASE)
            self._layout.keep_reserve()  # of layouts that other tools have made
            return self._connected()

    def _is_whole(self) -> bool:
        """Whether the file is an index without damage: perhaps another process has made it in the meantime."""
        try:
            if not has_database(self._layout, DATABASE):
                return False
            with closing(_connect(uri_of(self._layout, DATABASE))) as connection:
                check_opened(connection, self._layout, DATABASE)
                return is_whole(connection)
        except _DAMAGE:
            return False

    def _in_memory(self) -> sqlite3.Connection:
        """Return an index in memory, for when nothing may be written; it begins as what the file says, if it can."""
        connection = self._prepared(_connect(":memory:"))
        if self._layout.exists and has_database(self._layout, DATABASE, to_write=False):
            for how in ("mode=ro", "immutable=1"):  # the second: closed well, and nobody can make its log
                try:
                    with closing(_connect(uri_of(self._layout, DATABASE, how))) as source:
                        check_opened(source, self._layout, DATABASE)
                        if has_our_tables(source):
                            source.backup(connection)
                        break
                except _DAMAGE:
                    continue
        return connection

    def _connected(self) -> sqlite3.Connection:
        """Open the file, which is there."""
        connection = _connect(uri_of(self._layout, DATABASE))
        try:
            check_opened(connection, self._layout, DATABASE)
        except BaseException:
            connection.close()
            raise
        return self._prepared(connection)

    def _prepared(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """Make the tables, if there are none of this version; close the connection when that fails."""
        try:
            if self._version(connection) != VERSION:
                connection.execute("PRAGMA journal_mode = WAL")
                with _Transaction(connection):
                    if self._version(connection) != VERSION:
                        make_tables(connection)
            elif not has_our_tables(connection):
                with _Transaction(connection):
                    if not has_our_tables(connection):
                        make_tables(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA mmap_size = {_MAPPED}")
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def kept(self) -> bool:
        """Whether it lies in the store, rather than in memory alone."""
        return self._create

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    @staticmethod
    def _version(connection: sqlite3.Connection) -> int:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        return version

    # Keeping up with the layout

    @property
    def current(self) -> bool:
        """Whether the index was derived from the index.json that is there now."""
        row = self.connection.execute("SELECT value FROM meta WHERE key = 'signature'").fetchone()
        signature = self._layout.signature()
        if not signature:
            self._layout.read()  # no index.json: that there are no images, or damage
        return (row[0] if row else "") == signature

    def keep_up(self, *, retry: bool = False) -> None:
        """Bring the index up to the index.json that is there now; one that turns out to be broken is made again.

        With `retry` documents that could not be read are tried again.
        """
        if not self._mended(lambda: self.current):
            self.refresh()
        if retry:
            self.retry()

    def _mended(self, work: Callable[[], _Found]) -> _Found:
        """Return what some work with the index returns; when its file turns out to be broken, of a new one."""
        try:
            return work()
        except _DAMAGE as problem:
            if _unwritable(problem) or _is_busy(problem):
                raise
            self._start_again(always=_is_certain(problem))
            return work()

    def mend(self, problem: BaseException) -> bool:
        """Make the index again if it is damaged, which `problem` may come from; return whether it was."""
        certain = _is_certain(problem)
        try:
            if not certain and is_whole(self.connection):
                return False
        except _DAMAGE as found:
            if _is_busy(found):
                return False
        self._start_again(always=certain)
        return True

    def refresh(self, entries: list[Entry] | None = None, contents: Iterable[Content] = ()) -> None:
        """Bring the index up to index.json (`entries` when the caller has just written it). One transaction.

        index.json is read within the transaction: who waited for another writer must not bring back what was before.
        """
        known = list(contents)
        self._mended(lambda: self._write(lambda connection: self._follow(connection, entries, known)))
        for _ in range(_RACES):
            # what is missing may have been removed while this was reading, with its entry of index.json
            if entries is not None or not unreadable_images.roots_of(self.connection) or self.current:
                break
            self._write(self._follow)

    def look_again(self, root: Digest) -> None:
        """Derive anew what a descriptor of index.json reaches: documents that were missing of it have come."""
        self._mended(lambda: self._write(lambda connection: self._follow(connection, again={root})))

    def retry(self) -> None:
        """Try documents again that could not be read, and take in what they name if they can be now."""
        readable = {
            root
            for root, document, is_config in unreadable_images.to_try_again(self.connection)
            if self._is_readable(document, is_config=is_config)
        }
        if readable:
            self._write(lambda connection: self._follow(connection, again=readable))

    def _is_readable(self, document: Descriptor, *, is_config: bool) -> bool:
        try:
            if is_config:
                self.config(document)
            else:
                self._manifest(document)
        except ImqError:
            return False
        return True

    def problems(self) -> tuple[ImqError, ...]:
        """Return what is wrong with the images whose documents could not be read."""
        return unreadable_images.problems(self.connection)

    def unreadable(self) -> set[str]:
        """Return the descriptors of index.json of which a document could not be read."""
        return unreadable_images.damaged_roots(self.connection)

    def hiding_blobs(self) -> dict[str, str]:
        """Return the descriptors whose blobs are not known, with their names; meanwhile no blob may be removed."""
        return unreadable_images.hiding_blobs(self.connection)

    def rebuild(self) -> None:
        """Forget everything that was derived and derive it again, in a new file: whatever the old one is."""
        self.connection.close()
        try:
            with told("write the index", self._layout.root):
                self.connection = self._made(always=True) if self._create else self._prepared(_connect(":memory:"))
            with self.transaction() as connection:
                self._follow(connection)
        except sqlite3.DatabaseError as problem:
            if not (_unwritable(problem) and self._create):
                raise
            with told("write the index", self._layout.root):
                raise OSError(errno.ENOSPC, str(problem)) from problem

    def _start_again(self, *, always: bool = False) -> None:
        """Go on with a new index; (not `always`) with that of another process, if it has made one already."""
        self.connection.close()
        if self._create:
            self.connection = self._kept_or_in_memory(lambda: self._made(instead=True, always=always))
        else:
            self.connection = self._prepared(_connect(":memory:"))
        self._write(self._follow)

    def _follow(
        self,
        connection: sqlite3.Connection,
        entries: list[Entry] | None = None,
        contents: Iterable[Content] = (),
        again: AbstractSet[Digest] = frozenset(),
    ) -> None:
        """Make the tables say what index.json says; `again` are descriptors to be read though they are known."""
        signature = self._layout.signature()
        if entries is None:
            entries = self._layout.read()
        wanted = {entry.descriptor.digest: entry.descriptor for entry in entries}
        # what showed no image is looked at again: its missing blobs may have come; and what holds others than before
        known = {root for (root,) in connection.execute("SELECT DISTINCT root FROM entry WHERE image IS NOT NULL")}
        unread = unreadable_images.roots_of(connection)
        known -= _set_holdings(connection, wanted.values()) | unread | again
        unreadable_images.forget(connection, unread)
        suspects: set[int] = set()
        before = "SELECT DISTINCT digest FROM descriptor WHERE key IN (SELECT root FROM reaching)"
        for (root,) in connection.execute(before).fetchall():
            if root not in wanted or root not in known:
                suspects |= delete_reach(connection, root)
        (newest,) = connection.execute("SELECT coalesce(max(key), 0) FROM image").fetchone()
        new = (descriptor for digest, descriptor in wanted.items() if digest not in known)
        reached: dict[Digest, list[int]] = {}
        while roots := list(islice(new, _AT_ONCE)):
            reached |= self._take_in(connection, roots)
        count_in(connection, [key for (key,) in connection.execute("SELECT key FROM image WHERE key > ?", (newest,))])
        set_contents(connection, contents)
        sum_up(connection)
        set_entries(connection, entries, reached)
        self._drop_unreached(connection)
        forget(connection, suspects)
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('signature', ?)", (signature,))

    def measured(self, contents: Iterable[Content]) -> None:
        """Add facts about layers and the sizes of the images that they complete."""

        def write(connection: sqlite3.Connection) -> None:
            set_contents(connection, contents)
            sum_up(connection)

        self._mended(lambda: self._write(write))

    def _write(self, write: Callable[[sqlite3.Connection], None]) -> None:
        """Do some writing in one transaction; on a disk that takes nothing more, in memory.

        All of it can be derived again. What it was derived from is on the disk, and must not fail for this.
        """
        try:
            with self.transaction() as connection:
                write(connection)
        except sqlite3.DatabaseError as problem:
            if not _unwritable(problem):
                raise
            self.connection.close()
            self.connection = self._in_memory()
            with self.transaction() as connection:
                write(connection)

    def transaction(self) -> _Transaction:
        """Return a context: its block is one writing transaction, undone when it raises."""
        return _Transaction(self.connection)

    def _drop_unreached(self, connection: sqlite3.Connection) -> None:
        """Delete the images that no entry shows any more."""
        unreached = "SELECT key FROM image WHERE NOT EXISTS (SELECT 1 FROM entry WHERE entry.image = image.key)"
        gone = [key for (key,) in connection.execute(unreached)]
        if not gone:
            return
        count_out(connection, gone)
        delete_images(connection, gone)
        sum_up(connection)

    # Taking in images

    def _take_in(self, connection: sqlite3.Connection, roots: list[Descriptor]) -> dict[Digest, list[int]]:
        """Record what descriptors of index.json reach, and what of it cannot be read.

        Returns the keys of the images of each.
        """
        images: dict[Digest, tuple[Digest, Manifest, Config]] = {}
        unread: list[tuple[Digest, Unreadable]] = []
        found: dict[Digest, list[Digest]] = {}
        reach: list[tuple[Descriptor, Iterable[Descriptor]]] = []
        for root in roots:
            blobs = {root.digest: root}
            manifests = found.setdefault(root.digest, [])
            problems: list[Unreadable] = []
            for descriptor, document in self.walk(root, problems):
                blobs[descriptor.digest] = descriptor
                if isinstance(document, Index):
                    continue
                blobs.update((blob.digest, blob) for blob in (document.config, *document.layers))
                if descriptor.digest not in images and document.is_image:
                    try:
                        images[descriptor.digest] = (descriptor.digest, document, self.image_config(document))
                    except ImqError as problem:
                        problems.append(Unreadable(document.config, problem, descriptor, is_config=True))
                if descriptor.digest in images:
                    manifests.append(descriptor.digest)
            unread += [(root.digest, problem) for problem in problems]
            reach.append((blobs[root.digest], blobs.values()))
        insert_reach(connection, reach)
        unreadable_images.record(connection, unread)
        keys = {digest: key for digest in images if (key := _key(connection, digest)) is not None}
        new = [image for digest, image in images.items() if digest not in keys]
        keys.update(zip((digest for digest, _, _ in new), insert_images(connection, new), strict=True))
        return {root: [keys[digest] for digest in manifests] for root, manifests in found.items()}

    def image_config(self, manifest: Manifest) -> Config:
        """Return the config of an image; raises `ImqError` when it is missing, damaged, or of another image."""
        config = self.config(manifest.config)
        if len(config.diff_ids) != len(manifest.layers):
            raise Malformed(
                f"the config {manifest.config.digest} has {len(config.diff_ids)} layers,"
                f" and its manifest has {len(manifest.layers)}",
                code="layers",
            )
        return config

    def config(self, descriptor: Descriptor) -> Config:
        """Return a config, read and checked; raises `ImqError` when it is missing, damaged or none."""
        config: Config = self._read(descriptor, Config, lambda: Config.read(self.document(descriptor)))
        return config

    def _manifest(self, descriptor: Descriptor) -> Manifest | Index:
        document: Manifest | Index = self._read(
            descriptor, (Manifest, Index), lambda: read_manifest(self.document(descriptor), descriptor.media_type)
        )
        return document

    def _read(self, descriptor: Descriptor, kinds: Any, read: Callable[[], Any]) -> Any:
        """Return what `read` reads; within `remembering` it is read once. Media types are ways to read a digest."""
        if self._documents is None:
            return read()
        key = (descriptor.digest, descriptor.media_type, descriptor.size)
        document = self._documents.get(key)
        if not isinstance(document, kinds):
            document = read()
            if self._remembered + descriptor.size <= _REMEMBERED:
                self._remembered += descriptor.size
                self._documents[key] = document
        return document

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Read each document once: for a change, which checks new images, and takes them in when it has ended."""
        self._documents, self._remembered = {}, 0
        try:
            yield
        finally:
            self._documents = None

    def walk(
        self, root: Descriptor, unread: list[Unreadable] | None = None
    ) -> Iterator[tuple[Descriptor, Manifest | Index]]:
        """Yield the manifests and indexes that a descriptor holds, as far as they are here and whole.

        What cannot be read is added to `unread`. A manifest that an index does not say to hold may be absent.
        """
        seen: set[Digest] = set()
        pending = [(root, 0)]
        while pending:
            descriptor, depth = pending.pop()
            if descriptor.digest in seen:
                continue
            seen.add(descriptor.digest)
            try:
                document = self._manifest(descriptor)
            except ImqError as problem:
                if unread is not None and not is_opaque(descriptor, problem, self._layout.open_blob):
                    unread.append(_unreadable(root, descriptor, problem))
                continue
            yield descriptor, document
            if not isinstance(document, Index):
                continue
            if depth < DEEPEST_INDEX:
                children = (child for child in reversed(document.manifests) if holds(root, child.digest))
                pending += [(child, depth + 1) for child in children]
            elif document.manifests and unread is not None:
                deep = Malformed(f"the index {descriptor.digest} is the {depth + 1}th of indexes in indexes")
                unread.append(Unreadable(descriptor, deep, descriptor))

    def reaches(self, digest: Digest) -> bool:
        """Whether a descriptor of index.json reaches a blob, by what it says now; True where that cannot be told."""
        reached = "SELECT 1 FROM descriptor JOIN reaching ON reaching.blob = descriptor.key WHERE digest = ? LIMIT 1"
        try:
            self.keep_up()
            return self.connection.execute(reached, (digest,)).fetchone() is not None
        except (ImqError, sqlite3.Error):
            return True

    def diff_id(self, layer: Digest) -> Digest | None:
        """Return what a layer unpacks to, if it ever was unpacked."""
        row = self.connection.execute("SELECT max(diff_id) FROM descriptor WHERE digest = ?", (layer,)).fetchone()
        return Digest(row[0]) if row[0] else None

    def shows(self, root: Digest) -> bool:
        """Whether an image of this descriptor is in the tables; one whose documents are missing or damaged is not."""
        shown = "SELECT 1 FROM entry WHERE root = ? AND image IS NOT NULL"
        return self.connection.execute(shown, (root,)).fetchone() is not None

    def document(self, descriptor: Descriptor) -> bytes:
        """Return the content of a small blob, checked against its digest and size."""
        limit = self._layout.largest_document
        check_size(descriptor.size, limit, f"the document {descriptor.digest}")
        with told(f"read the blob {descriptor.digest}"):
            try:
                with self._layout.open_blob(descriptor.digest) as source:
                    content = source.read(limit + 1)
            except FileNotFoundError:
                raise StoreError(f"the blob {descriptor.digest} is not in the store", code="blob-missing") from None
        hasher = descriptor.digest.hasher()
        hasher.update(content)
        if hasher.hexdigest() != descriptor.digest.hex:
            raise DigestMismatch(
                f"the blob {descriptor.digest} is damaged",
                hints=("imq verify all: names all that is damaged; pull the image again to mend it",),
            )
        if len(content) != descriptor.size:
            raise DigestMismatch(
                f"the blob {descriptor.digest} has {len(content)} bytes, and what names it says {descriptor.size}",
                hints=("the blob is whole; the size in index.json or in the document above it is wrong",),
            )
        return content


def _set_holdings(connection: sqlite3.Connection, roots: Iterable[Descriptor]) -> set[str]:
    """Remember which manifests the indexes of index.json hold; return the roots of which that has changed."""
    said = {root.digest: root.annotations[HOLDS] for root in roots if HOLDS in root.annotations}
    before = dict(connection.execute("SELECT substr(key, 7), value FROM meta WHERE key GLOB 'holds *'").fetchall())
    changed = {root for root in {*said, *before} if said.get(Digest(root)) != before.get(root)}
    connection.executemany("DELETE FROM meta WHERE key = 'holds ' || ?", [(root,) for root in changed])
    rows = [(f"holds {root}", said[Digest(root)]) for root in changed if root in said]
    connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
    return changed


def _unreadable(root: Descriptor, document: Descriptor, problem: ImqError) -> Unreadable:
    """Return what is remembered of a manifest or index that cannot be read."""
    is_root = document.digest == root.digest
    is_image = media_types.REFERENCE_DIGEST not in document.annotations
    is_absent = problem.code == "blob-missing" and not is_root and HOLDS not in root.annotations
    return Unreadable(document, problem, document if is_image and not is_absent else None, is_absent=is_absent)


def _key(connection: sqlite3.Connection, manifest: Digest) -> int | None:
    """Return the key of the image of this manifest, None when it is not in the tables."""
    row: tuple[int] | None = connection.execute("SELECT key FROM image WHERE manifest = ?", (manifest,)).fetchone()
    return row[0] if row else None


def _is_certain(problem: BaseException) -> bool:
    """Whether an error is enough to tell that a file is damaged, whatever SQLite finds when it looks through it."""
    if isinstance(problem, UnicodeDecodeError) or "Could not decode" in str(problem):
        return True  # all texts in it were valid when they were written
    code = getattr(problem, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CONSTRAINT)


def _is_busy(problem: BaseException) -> bool:
    """Whether an error says that others work with the file, or that the user called it off."""
    return getattr(problem, "sqlite_errorcode", 0) & 0xFF in _BUSY


def _unwritable(problem: BaseException) -> bool:
    """Whether an error says that the disk takes nothing, or nothing more."""
    return getattr(problem, "sqlite_errorcode", 0) & 0xFF in _UNWRITABLE


class _Transaction:
    """A writing transaction as a context."""

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
            if self._connection.in_transaction:  # SQLite itself ends it on some errors, such as a full disk
                self._connection.execute("ROLLBACK")
