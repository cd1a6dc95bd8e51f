"""The OCI image layout on disk: the source of truth of the store, readable by other tools.

    oci-layout          the version of the layout
    index.json          one descriptor for each name of each image, and for each image without a name
    blobs/sha256/…      manifests, configs and layers, each named by its digest
    ingest/             blobs that are being stored (used by imq only; other tools ignore it)
    lock, index.db      used by imq only: the lock of the store, and the SQLite index derived from the layout

The annotations of a descriptor have the name in docker's familiar form, the digest that the registry has for the name,
and the time when it was set. Those of an index also list the manifests that are held here, when not all were fetched.
The index itself stays as the registry has it; its other manifests are absent, not lost.
"""

from __future__ import annotations

import os
from contextlib import suppress

from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest, is_digest
from imq.engine.oci.manifest import DEFAULT_MAX_DOCUMENT, Descriptor, encode_json, parse_layout_index
from imq.engine.oci.reference import Name, Reference, parse_name
from imq.engine.oci.timestamp import format_time, parse_time
from imq.grammar.errors import DigestMismatch, Malformed, StoreError
from imq.grammar.record import TYPE_CHECKING, Record

from . import disk_reserve
from .atomic_files import is_disk_full, lock_file, replace_file, store_errors
from .bounded_read import read_bounded
from .directory import Directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from typing import Any, BinaryIO

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"
REGISTRY_DIGEST = "dev.imq.registry-digest"
OTHER_DIGESTS = "dev.imq.other-digests"
SET_AT = "dev.imq.set-at"
_OWN_PREFIX = "dev.imq."
HELD_MANIFESTS = "dev.imq.holds"
"""On an index: the digests of its manifests that are held here, or `all`. Without it: those that exist."""
ALL_HELD = "all"
EMPTY_INDEX_DOCUMENT = b'{"schemaVersion":2,"manifests":[]}'
LAYOUT_DOCUMENT = b'{"imageLayoutVersion":"1.0.0"}'
LAYOUT_FILE, INDEX, BLOBS, INGEST, LOCK, DATABASE = "oci-layout", "index.json", "blobs", "ingest", "lock", "index.db"
_OWN_NAMES = {
    LAYOUT_FILE,
    INDEX,
    BLOBS,
    INGEST,
    LOCK,
    DATABASE,
    *(f"{DATABASE}{end}" for end in ("-wal", "-shm", "-journal")),
}
MAX_INDEX_SIZE = 1 << 30
"""The maximum size in bytes of index.json; at about 300 bytes a name that is three million names."""


class IndexEntry(Record):
    """One descriptor of index.json. `digest` is the registry's digest of the name; `set_at` is in nanoseconds.

    `other_digests` are further digests that the registry has for the image, of indexes that list it too.
    The descriptor has the annotations as written, and `raw` is the whole JSON object: an entry of another tool stays
    unchanged until imq changes its name or digest.
    """

    descriptor: Descriptor
    name: Name | None = None
    digest: Digest | None = None
    set_at: int | None = None
    other_digests: tuple[Digest, ...] = ()
    raw: Mapping[str, Any] | None = None

    @classmethod
    def read(cls, document: Any, position: int) -> IndexEntry:
        """Parse an entry written by imq, skopeo, umoci or containerd."""
        descriptor = Descriptor.parse(document, f"entry {position} of index.json")
        return cls(descriptor, *_read_annotations(descriptor.annotations), document)

    def to_json(self) -> dict[str, Any]:
        """Return the descriptor for index.json; only annotations with other values are changed."""
        annotations = dict(self.descriptor.annotations)
        name, digest, _, other_digests = _read_annotations(annotations)
        if self.name != name:
            annotations.pop(CONTAINERD_NAME, None)
            annotations.pop(REF_NAME, None)
            if self.name is not None:
                annotations[REF_NAME] = str(self.name)
                digest = _read_annotations(annotations)[1]
        if self.digest != digest:
            annotations.pop(REGISTRY_DIGEST, None)
            if self.digest is not None:
                annotations[REGISTRY_DIGEST] = str(self.digest)
        if self.set_at != parse_time(annotations.get(SET_AT)):
            annotations.pop(SET_AT, None)
            if self.set_at is not None:
                annotations[SET_AT] = format_time(self.set_at)
        if self.other_digests != other_digests:
            annotations[OTHER_DIGESTS] = " ".join(self.other_digests)
        if self.raw is None:
            return self.descriptor.replace(annotations=annotations).to_json()
        document = dict(self.raw)
        if annotations:
            document["annotations"] = annotations
        elif document.get("annotations"):
            del document["annotations"]
        return document

    def __hash__(self) -> int:
        """Hash by content: `raw` is a mapping and cannot be hashed."""
        return hash((self.descriptor, self.name, self.digest, self.set_at))


def _read_annotations(
    annotations: Mapping[str, str],
) -> tuple[Name | None, Digest | None, int | None, tuple[Digest, ...]]:
    """Return the name, the digest that its registry has for it, the time when it was set, and further digests."""
    text = annotations.get(CONTAINERD_NAME) or annotations.get(REF_NAME) or ""
    name = parse_name(text) if text else None
    digest = annotations.get(REGISTRY_DIGEST)
    known = Digest.parse(digest) if digest else name.digest if name else None
    others = tuple(Digest.parse(other) for other in annotations.get(OTHER_DIGESTS, "").split())
    return name, known, parse_time(annotations.get(SET_AT)), others


def get_foreign_annotations(annotations: Mapping[str, str]) -> dict[str, str]:
    """Return the annotations of an entry that are neither names nor used by imq."""
    names = (REF_NAME, CONTAINERD_NAME)
    return {key: text for key, text in annotations.items() if key not in names and not key.startswith(_OWN_PREFIX)}


class Layout:
    """The files of one store. Each is opened relative to the descriptor of its directory; links are not followed."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.on_lock_wait: Callable[[], None] | None = None
        """Called when another process holds the lock of the store for some seconds."""
        self._directories: dict[tuple[str, ...], Directory] = {}
        self._index_document: Mapping[str, Any] = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX}
        """The members of index.json other than its entries, when it was last read."""
        self.largest_document = DEFAULT_MAX_DOCUMENT
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

    def is_writable(self) -> bool:
        """Whether this user may create files in the root."""
        return os.access(".", os.W_OK, dir_fd=self.root_directory.descriptor)

    def check(self) -> None:
        """Raise `StoreError` when the path of the root exists, but is not a store and must not become one."""
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
                            LAYOUT_DOCUMENT,
                            self.ingest_directory,
                            new_temporary_name(),
                        )
                        self.ensure_reserve()

    def _has_blobs(self) -> bool:
        """Whether the layout has any blob."""
        with store_errors(f"read {os.path.join(self.root, BLOBS)}"):
            return next(self.iter_blob_sizes(), None) is not None

    def read_signature(self) -> str:
        """Return a string that changes whenever index.json is replaced; empty without index.json."""
        try:
            status = self.root_directory.file_status(INDEX)
        except FileNotFoundError:
            return ""
        return f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}" if status is not None else ""

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
        with store_errors("read the store's index.json"):
            try:
                with self.root_directory.open_reader(INDEX) as source:
                    content = read_bounded(source, MAX_INDEX_SIZE)
            except FileNotFoundError:
                content = None
        path = os.path.join(self.root, INDEX)
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
            return []
        if len(content) > MAX_INDEX_SIZE:
            raise Malformed(f"{path} is larger than {MAX_INDEX_SIZE} bytes", code="layout")
        try:
            document = parse_layout_index(content, path)
        except Malformed as problem:
            if problem.code not in ("json", "document"):
                raise
            raise Malformed(f"{path} is not the index of an image layout: {problem.message}", code="layout") from None
        self._index_document = document
        return [IndexEntry.read(entry, position) for position, entry in enumerate(document["manifests"])]

    def write_entries(self, entries: list[IndexEntry], *, may_take_reserve: bool = False) -> None:
        """Replace index.json atomically: this commits a transaction.

        `may_take_reserve`: on a full disk the disk reserve is used. Only for transactions that free space.
        """
        content = self.encode_entries(entries)
        with store_errors("write the store's index.json"):
            try:
                replace_file(self.root_directory, INDEX, content, self.ingest_directory, new_temporary_name())
            except OSError as problem:
                if (
                    not may_take_reserve
                    or not is_disk_full(problem)
                    or not disk_reserve.has_reserve(self.ingest_directory)
                ):
                    raise
                disk_reserve.replace_from_reserve(
                    self.root_directory, INDEX, content, self.ingest_directory, new_temporary_name()
                )
            finally:
                self.ensure_reserve()

    def encode_entries(self, entries: Iterable[IndexEntry]) -> bytes:
        """Return an index.json with these entries, and with what else it said when it was last read."""
        return encode_json({**self._index_document, "manifests": [entry.to_json() for entry in entries]})

    def ensure_reserve(self) -> None:
        """Create or enlarge the disk reserve if there is space for it. The caller holds the lock of the store.

        Errors are ignored: the transaction is committed already.
        """
        with suppress(OSError, StoreError):  # StoreError: the name belongs to something other than a regular file
            status = self.root_directory.file_status(INDEX)
            disk_reserve.ensure_reserve(self.make_directory(INGEST), status.st_size if status is not None else 0)

    # Blobs

    def open_blob(self, digest: Digest) -> BinaryIO:
        """Open a blob for reading. Raises `FileNotFoundError`."""
        return self.open_blob_directory(digest.algorithm).open_reader(digest.encoded)

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


def new_temporary_name() -> str:
    """Return an unguessable name for a new file in ingest/ that is renamed as soon as it is written."""
    return f"{os.getpid()}-{os.urandom(6).hex()}.new"


def set_held_manifests(descriptor: Descriptor, held: frozenset[Digest] | None) -> Descriptor:
    """Return the descriptor of an index, annotated with the manifests that are held; None: all of them."""
    value = ALL_HELD if held is None else " ".join(sorted(held))
    return descriptor.replace(annotations={**descriptor.annotations, HELD_MANIFESTS: value})


def is_held(root: Descriptor, manifest: Digest) -> bool:
    """Whether a manifest below a root is held here; True when the root does not say."""
    value = root.annotations.get(HELD_MANIFESTS, ALL_HELD)
    return value == ALL_HELD or manifest in value.split(" ")


def list_repositories(entries: Iterable[IndexEntry]) -> list[Reference]:
    """Return the repositories in the names of images, each once; first those known to have had the image."""
    ranked = sorted(entries, key=lambda entry: entry.digest is None)
    names = (entry.name for entry in ranked if isinstance(entry.name, Reference))
    return list(dict.fromkeys(name.replace(tag=None, digest=None) for name in names))


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
