"""The OCI image layout on disk: the source of truth of the store, readable by other tools.

    oci-layout          the version of the layout
    index.json          one descriptor for each name of each image, and for each image without a name
    blobs/sha256/…      manifests, configs and layers, each named by its digest
    ingest/             blobs that are being stored (used by imq only; other tools ignore it)
    lock, index.db      used by imq only: the lock of the store, and the SQLite index derived from the layout
    containers/, unpacked/   the containers of the store, and unpacked layers (used by imq only)

The annotations of a descriptor have the name in docker's familiar form, the digest that the registry has for the name,
and the time when it was set. Those of an index also list the manifests that are held here, when not all were fetched.
The index itself stays as the registry has it; its other manifests are absent, not lost.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest, is_digest
from imq.grammar.errors import DigestMismatch, Malformed, StoreError
from imq.grammar.record import TYPE_CHECKING

from .directory import Directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from typing import Any, BinaryIO

    from imq.engine.oci.manifest import Descriptor

    from .index_document import IndexDocument
    from .index_json import IndexEntry

EMPTY_INDEX_DOCUMENT = b'{"schemaVersion":2,"manifests":[]}'
LAYOUT_DOCUMENT = b'{"imageLayoutVersion":"1.0.0"}'
LAYOUT_FILE, INDEX, BLOBS, INGEST, LOCK, DATABASE = "oci-layout", "index.json", "blobs", "ingest", "lock", "index.db"
CONTAINERS, UNPACKED = "containers", "unpacked"
_OWN_NAMES = {
    CONTAINERS,
    UNPACKED,
    LAYOUT_FILE,
    INDEX,
    BLOBS,
    INGEST,
    LOCK,
    *(f"{name}{end}" for name in (DATABASE, "remote.db") for end in ("", "-wal", "-shm", "-journal")),
}
MAX_INDEX_SIZE = 1 << 30
"""The maximum size in bytes of index.json; at about 300 bytes a name that is three million names."""
_BLOCK_SIZE = 4096
"""Bytes that a disk writes at once, or not at all."""


class Layout:
    """The files of one store. Each is opened relative to the descriptor of its directory; links are not followed.

    Methods that write files or read documents import what they need: a query opens the index only.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.on_lock_wait: Callable[[], None] | None = None
        """Called when another process holds the lock of the store for some seconds."""
        self._directories: dict[tuple[str, ...], Directory] = {}
        self._index_members: Mapping[str, Any] = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX}
        """The members of index.json other than its entries, when it was last parsed."""
        self._document: IndexDocument | None = None
        """The index.json in which entries were last searched."""
        self.own_signature = ""
        """The signature of an index.json that imq wrote in this folder: its entries need no check before an edit."""
        self.largest_document = media_types.DEFAULT_MAX_DOCUMENT
        """The maximum size in bytes of a manifest or config."""

    # Directories

    @property
    def root_directory(self) -> Directory:
        """The root, kept open. Raises `FileNotFoundError`."""
        return self._open_directory()

    @property
    def ingest_directory(self) -> Directory:
        """The directory ingest/, kept open; the root when a full disk had no space to create it."""
        try:
            return self._open_directory(INGEST)
        except FileNotFoundError:
            return self.root_directory

    def has_leftovers(self) -> bool:
        """Whether ingest/ may have files of dead ingests: their names have a dot, that of the disk reserve has none."""
        with suppress(OSError):
            return any("." in name for name in self.ingest_directory.list_names())
        return False

    def open_blob_directory(self, algorithm: str) -> Directory:
        """Return the directory of the blobs of one digest algorithm, kept open. Raises `FileNotFoundError`."""
        return self._open_directory(BLOBS, algorithm)

    def make_directory(self, *names: str) -> Directory:
        """Return a directory below the root, kept open; it and its parents are created when they are missing."""
        directory = self._directories.get(names)
        if directory is None:
            directory = self.make_directory(*names[:-1]).make_directory(names[-1]) if names else self._open_directory()
            self._directories[names] = directory
        return directory

    def _open_directory(self, *names: str) -> Directory:
        directory = self._directories.get(names)
        if directory is None:
            directory = (
                self._open_directory(*names[:-1]).open_directory(names[-1]) if names else Directory.open(self.root)
            )
            self._directories[names] = directory
        return directory

    def close_directories(self) -> None:
        """Close all directories: the store at this path may have been replaced."""
        self._directories = {}

    def lock(self, *, wait: bool = True) -> AbstractContextManager[int]:
        """Return a context that holds the lock of the store; see `lock_file`."""
        from .atomic_files import lock_file

        return lock_file(self.root_directory, LOCK, wait=wait, on_wait=self.on_lock_wait)

    # The layout

    @property
    def exists(self) -> bool:
        """Whether the layout exists. Raises `StoreError` when its file oci-layout is not a regular file."""
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            if self.root_directory.has_file(LAYOUT_FILE):
                return True
        self.close_directories()  # it may be created later, in another directory
        return False

    def has_unpacked(self) -> bool:
        """Whether the store has a folder of unpacked layers."""
        return self.exists and self.root_directory.status(UNPACKED) is not None

    def is_writable(self) -> bool:
        """Whether this user may create files in the root."""
        return os.access(".", os.W_OK, dir_fd=self.root_directory.descriptor)

    def check(self) -> None:
        """Raise `StoreError` when the path of the root exists, but is not a store and must not become one."""
        from .atomic_files import store_errors

        hints = ("choose an empty or new folder with --root",)
        if not os.path.isdir(self.root):
            raise StoreError(f"{self.root} is not a folder, expected an image store", hints=hints)
        with store_errors(f"read {self.root}"):
            unexpected = set(os.listdir(self.root)) - _OWN_NAMES
        if unexpected:
            raise StoreError(
                f"{self.root} is not an image store: it has other files in it ({min(unexpected)})", hints=hints
            )
        if self._has_blobs():
            marker = os.path.join(self.root, "oci-layout")
            raise StoreError(
                f"{self.root} has blobs, but its file oci-layout is missing",
                code="layout",
                hints=(f"if it is an image layout: echo '{LAYOUT_DOCUMENT.decode()}' > {marker}",),
            )

    def create(self) -> None:
        """Create an empty layout, or complete an existing one. Idempotent."""
        from .atomic_files import is_disk_full, replace_file, store_errors

        if not self.exists and os.path.lexists(self.root):
            self.check()
        with store_errors(f"create the store {self.root}"):
            os.makedirs(self.root, exist_ok=True)
            self.make_directory(BLOBS, "sha256")
            try:
                self.make_directory(INGEST)
            except OSError as problem:  # removing images must work on a full disk
                if not is_disk_full(problem):
                    raise
            if not self.exists or not self.has_index():
                with self.lock():
                    if not self.has_index() and not self._has_blobs():
                        self.write_entries([])
                    if not self.exists:
                        replace_file(
                            self.root_directory,
                            LAYOUT_FILE,
                            (LAYOUT_DOCUMENT,),
                            self.ingest_directory,
                            new_temporary_name(),
                        )
                        self.ensure_reserve()

    def _has_blobs(self) -> bool:
        """Whether the layout has any blob."""
        from .atomic_files import store_errors

        with store_errors(f"read {os.path.join(self.root, BLOBS)}"):
            return next(self.iter_blob_sizes(), None) is not None

    def read_signature(self) -> str:
        """Return a string that changes whenever index.json is replaced; empty without index.json."""
        try:
            status = self.root_directory.file_status(INDEX)
        except FileNotFoundError:
            return ""
        return _sign(status) if status is not None else ""

    def origin(self) -> str:
        """Return a string that differs between this folder and all copies of it; empty without a lock file.

        It has the inode and the change time of the lock file. The author of an archive can choose neither.
        """
        try:
            status = self.root_directory.file_status(LOCK)
        except FileNotFoundError:
            return ""
        return f"{status.st_ino}:{status.st_ctime_ns}" if status is not None else ""

    def has_index(self) -> bool:
        """Whether index.json exists."""
        return self.read_signature() != ""

    def read_entries(self) -> list[IndexEntry]:
        """Return the entries of index.json. Raises `StoreError` when it is missing although there are blobs."""
        content, _ = self._read_index()
        return [] if content is None else self._parse_entries(content)

    def recognize_own(self) -> None:
        """Take an index.json whose text is exactly as imq writes the entries that `read_entries` read for its own."""
        from .index_document import encode_objects

        content, signature = self._read_index()
        members = self._index_members
        if content is not None and encode_objects(members, members.get("manifests", ())) == content:
            self.own_signature = signature

    def _read_index(self) -> tuple[bytes | None, str]:
        """Return the content of index.json and its signature; None when there is neither it nor a blob."""
        from .atomic_files import store_errors

        path = os.path.join(self.root, INDEX)
        content, signature = None, ""
        with (
            store_errors("read the store's index.json"),
            suppress(FileNotFoundError),
            self.root_directory.open_reader(INDEX) as source,
        ):
            status = os.fstat(source.fileno())
            content, signature = source.read(min(status.st_size, MAX_INDEX_SIZE) + 1), _sign(status)
        if content is None:
            if self._has_blobs():
                raise StoreError(
                    f"{self.root} has blobs, but its index.json is missing",
                    code="layout",
                    hints=(
                        "restore it from a backup; until then nothing is changed or removed",
                        f"to start without images: echo '{EMPTY_INDEX_DOCUMENT.decode()}' > {path}",
                    ),
                )
            return None, ""
        if len(content) > MAX_INDEX_SIZE:
            raise Malformed(f"{path} is larger than {MAX_INDEX_SIZE} bytes", code="layout")
        return content, signature

    def _parse_index(self, content: bytes) -> Mapping[str, Any]:
        """Return index.json as JSON, without parsing its entries."""
        from imq.engine.oci.manifest import parse_layout_index

        path = os.path.join(self.root, INDEX)
        try:
            document = parse_layout_index(content, path)
        except Malformed as problem:
            if problem.code not in ("json", "document"):
                raise
            raise Malformed(f"{path} is not the index of an image layout: {problem.message}", code="layout") from None
        self._index_members = document
        return document

    def _parse_entries(self, content: bytes) -> list[IndexEntry]:
        from .index_json import IndexEntry

        document = self._parse_index(content)
        return [
            IndexEntry.read(entry, f"entry {position} of index.json")
            for position, entry in enumerate(document["manifests"])
        ]

    def read_document(self) -> IndexDocument:
        """Return index.json to be edited. Unless imq wrote it (see `own_signature`), each entry gets a line first.

        Entries are parsed when they are looked up. All of them were checked when the index was derived from them.
        """
        from .index_document import IndexDocument, encode_objects

        if self._document is not None and self._document.signature == self.read_signature():
            return self._document.without_edits()
        content, signature = self._read_index()
        if content is None or signature != self.own_signature:
            document = self._index_members if content is None else self._parse_index(content)
            content = encode_objects(document, () if content is None else document["manifests"])
        return IndexDocument(content, signature)

    def find_entries(self, root: Digest) -> list[IndexEntry]:
        """Return the entries of the current index.json with the digest `root`; it is read again when it changes."""
        return self._get_document().entries_of(root)

    def find_named_entry(self, name: str) -> IndexEntry | None:
        """Return the entry of the current index.json with this name, as `find_entries` does."""
        return self._get_document().find_named(name)

    def iter_text(self) -> Iterator[bytes]:
        """Yield the current index.json in pieces of whole lines, with one entry on each; see `iter_pieces`."""
        from .atomic_files import store_errors
        from .index_document import iter_pieces

        if not self.own_signature or self.own_signature != self.read_signature():
            yield self.read_document().text
            return
        with store_errors("read the store's index.json"), self.root_directory.open_reader(INDEX) as source:
            yield from iter_pieces(source)

    def list_digests(self) -> set[bytes]:
        """Return all roots of the current index.json, and what other digests its entries have."""
        from .index_document import find_digests

        found: set[bytes] = set()
        for piece in self.iter_text():
            found.update(find_digests(piece))
        return found

    def _get_document(self) -> IndexDocument:
        if self._document is None or not (
            self._document.signature and self._document.signature == self.read_signature()
        ):
            self._document = None
            self._document = self.read_document()
        return self._document

    def write_entries(self, entries: Iterable[IndexEntry]) -> None:
        """Replace index.json by one with these entries, and what else it said when it was last parsed."""
        from .index_document import IndexDocument

        self.write_document(IndexDocument(self.encode_entries(entries)))

    def write_document(self, document: IndexDocument, *, may_take_reserve: bool = False) -> str:
        """Replace index.json atomically: this commits a transaction. Returns the signature of the new file.

        `may_take_reserve`: on a full disk the disk reserve is used. Only for transactions that free space.
        """
        from . import disk_reserve
        from .atomic_files import is_disk_full, replace_file, store_errors

        self._document = None
        with store_errors("write the store's index.json"):
            try:
                status = replace_file(
                    self.root_directory, INDEX, document.encode(), self.ingest_directory, new_temporary_name()
                )
            except OSError as problem:
                if (
                    not may_take_reserve
                    or not is_disk_full(problem)
                    or not disk_reserve.has_reserve(self.ingest_directory)
                ):
                    raise
                status = disk_reserve.replace_from_reserve(
                    self.root_directory,
                    INDEX,
                    b"".join(document.encode()),
                    self.ingest_directory,
                    new_temporary_name(),
                )
            finally:
                self.ensure_reserve()
        self.own_signature = _sign(status)
        return self.own_signature

    def overwrite_document(self, document: IndexDocument) -> str:
        """Overwrite index.json where it is: on a full disk there is space for no other file.

        Returns its new signature. Raises `StoreError` unless the change is within the last block of the file. Such a
        change is atomic: a crash leaves the old content or the new one.
        """
        from .atomic_files import store_errors

        self._document = None
        lines = b"".join(document.encode())
        with store_errors("write the store's index.json"):
            handle = self.root_directory.open_file(INDEX, os.O_RDWR)
            try:
                status = os.fstat(handle)
                old = os.pread(handle, status.st_size, 0)
                start = (len(old) - 1) // _BLOCK_SIZE * _BLOCK_SIZE
                forms = (lines, lines.replace(b"\n", b""))  # the second: as other tools write it
                content = next((form for form in forms if form[:start] == old[:start]), None)
                if content is None or len(content) > len(old) or status.st_nlink != 1:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.root_directory.path_of(INDEX))
                os.pwrite(handle, content[start:].ljust(len(old) - start), start)  # blanks after a document are ignored
                os.fsync(handle)
                signature = _sign(os.fstat(handle))
            finally:
                os.close(handle)
        self.own_signature = signature if content is lines else ""
        return signature

    def encode_entries(self, entries: Iterable[IndexEntry]) -> bytes:
        """Return an index.json with these entries, and with what else it said when it was last parsed."""
        from .index_document import encode

        return encode(self._index_members, entries)

    def ensure_reserve(self) -> None:
        """Create or enlarge the disk reserve if there is space for it. The caller holds the lock of the store.

        Errors are ignored: the transaction is committed already.
        """
        from . import disk_reserve

        with suppress(OSError, StoreError):  # StoreError: the name belongs to something other than a regular file
            status = self.root_directory.file_status(INDEX)
            disk_reserve.ensure_reserve(self.make_directory(INGEST), status.st_size if status is not None else 0)

    # Blobs

    def open_blob(self, digest: Digest) -> BinaryIO:
        """Open a blob for reading. Raises `FileNotFoundError`."""
        return self.open_blob_directory(digest.algorithm).open_reader(digest.encoded)

    def get_blob_path(self, digest: Digest) -> str:
        """Return the path of a blob, for another process."""
        return os.path.join(self.root, BLOBS, digest.algorithm, digest.encoded)

    def blob_size(self, digest: Digest) -> int | None:
        """Return the size of a blob in bytes; None when it does not exist."""
        try:
            status = self.open_blob_directory(digest.algorithm).file_status(digest.encoded)
        except FileNotFoundError:
            return None
        return status.st_size if status is not None else None

    def has_blob(self, digest: Digest) -> bool:
        """Whether a blob exists."""
        return self.blob_size(digest) is not None

    def iter_blob_sizes(self) -> Iterator[tuple[Digest, int]]:
        """Yield the digest and the size of every blob."""
        with suppress(FileNotFoundError):
            for algorithm, directory in self._open_directory(BLOBS).iter_directories():
                for name, status in directory.iter_files():
                    if is_digest(digest := f"{algorithm}:{name}"):
                        yield Digest(digest), status.st_size


def _sign(status: os.stat_result) -> str:
    """Return the signature of an index.json, by which a replaced or changed file is recognized."""
    return f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"


def new_temporary_name() -> str:
    """Return an unguessable name for a new file in ingest/ that is renamed as soon as it is written."""
    return f"{os.getpid()}-{os.urandom(6).hex()}.new"


def diff_id_mismatch(layer: Digest, actual: Digest, expected: Digest | None, consequence: str) -> DigestMismatch:
    """Return the error for a layer whose diff ID differs from the config; `consequence` ends the hint.

    A diff ID of an algorithm other than SHA-256 is not compared: it is not supported, as in other engines.
    """
    if expected is not None and expected.algorithm != actual.algorithm:
        return DigestMismatch(
            f"the layer {layer} has the diff ID {expected}: diff IDs of {expected.algorithm} are not supported",
            code="digest-algorithm",
            hints=(f"build the image with diff IDs of {actual.algorithm}, as all engines do; {consequence}",),
        )
    return DigestMismatch(
        f"the layer {layer} unpacks to {actual}, but the config says {expected}",
        code="diff-id-mismatch",
        hints=(f"the image is damaged or forged; {consequence}",),
    )


def unknown_layer_type(layer: Descriptor) -> Malformed:
    """Return the error for a layer of a media type that cannot be unpacked."""
    return Malformed(
        f"the layer {layer.digest} has the unknown media type {layer.media_type!r}",
        code="media-type",
        hints=("supported are tar layers, plain or compressed with gzip or zstd",),
    )
