"""The OCI image layout on disk: what other tools read, and the only truth of the store.

    oci-layout          the layout's version
    index.json          one descriptor for each name of each image, and for each image without a name
    blobs/sha256/…      manifests, configs and layers, each named by its digest
    ingest/             blobs that are on their way in (imq's own; other tools pass it over)
    lock, index.db      imq's own: the lock of the store, and the SQLite index derived from all this

A descriptor's annotations say the name in docker's familiar form, the digest by which the registry knows the name,
and when it was set here. Those of an index also say which of its images are held here, when not all of them were
fetched: the index stays as its registry has it, and what it names besides is absent and not lost.
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
"""Of an index: the digests of its manifests that are held here, or `all`. Not said: those that happen to be here."""
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
"""Bytes of index.json that are read at most; at about 300 bytes a name that is three million names."""


class IndexEntry(Record):
    """One descriptor of index.json. `digest` is the registry's for the name; `set_at` is in nanoseconds.

    `other_digests` are further digests by which the registry knows the image, of indexes that name it too.
    The descriptor has the annotations as they are written, `written` is the whole object: what another tool wrote stays
    as it is, byte for byte, until imq changes what it means.
    """

    descriptor: Descriptor
    name: Name | None = None
    digest: Digest | None = None
    set_at: int | None = None
    other_digests: tuple[Digest, ...] = ()
    raw: Mapping[str, Any] | None = None

    @classmethod
    def read(cls, document: Any, position: int) -> IndexEntry:
        """Read an entry as imq, skopeo, umoci or containerd wrote it."""
        descriptor = Descriptor.parse(document, f"entry {position} of index.json")
        return cls(descriptor, *_read_annotations(descriptor.annotations), document)

    def to_json(self) -> dict[str, Any]:
        """Return the descriptor as index.json holds it: annotations are changed where they say something else."""
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
        """Hash by content: `written` is a mapping and cannot be hashed."""
        return hash((self.descriptor, self.name, self.digest, self.set_at))


def _read_annotations(
    annotations: Mapping[str, str],
) -> tuple[Name | None, Digest | None, int | None, tuple[Digest, ...]]:
    """Return what annotations say: the name, the digest by which its registry knows it, when it was set, and others."""
    text = annotations.get(CONTAINERD_NAME) or annotations.get(REF_NAME) or ""
    name = parse_name(text) if text else None
    digest = annotations.get(REGISTRY_DIGEST)
    known = Digest.parse(digest) if digest else name.digest if name else None
    others = tuple(Digest.parse(other) for other in annotations.get(OTHER_DIGESTS, "").split())
    return name, known, parse_time(annotations.get(SET_AT)), others


def get_foreign_annotations(annotations: Mapping[str, str]) -> dict[str, str]:
    """Return the annotations of an entry that are neither names nor imq's own."""
    names = (REF_NAME, CONTAINERD_NAME)
    return {key: text for key, text in annotations.items() if key not in names and not key.startswith(_OWN_PREFIX)}


class Layout:
    """The files of one store. Each is opened in the descriptor of its directory, and none through a link."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.on_lock_wait: Callable[[], None] | None = None
        """Called when another process has held the lock of the store for some seconds."""
        self._directories: dict[tuple[str, ...], Directory] = {}
        self._index_document: Mapping[str, Any] = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX}
        """What index.json says beside its entries, as it was last read."""
        self.largest_document = DEFAULT_MAX_DOCUMENT
        """The most bytes of a manifest or config that are read."""

    # Directories

    @property
    def root_directory(self) -> Directory:
        """The root, held open. Raises `FileNotFoundError`."""
        return self._open_directory()

    @property
    def ingest_directory(self) -> Directory:
        """The directory for what is on its way in, held open; the root where a full disk has no room for another."""
        try:
            return self._open_directory(INGEST)
        except FileNotFoundError:
            return self.root_directory

    def open_blob_directory(self, algorithm: str) -> Directory:
        """Return the directory of the blobs of one digest algorithm, held open. Raises `FileNotFoundError`."""
        return self._open_directory(BLOBS, algorithm)

    def make_directory(self, *names: str) -> Directory:
        """Return a directory beneath the root, held open; it and those on the way are made if they are missing."""
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
        """Let go of the directories that are held open: another store may lie at the root by now."""
        self._directories = {}

    def lock(self, *, wait: bool = True) -> AbstractContextManager[int]:
        """Return a context that holds the lock of the store; see `files.locked`."""
        return lock_file(self.root_directory, LOCK, wait=wait, on_wait=self.on_lock_wait)

    # The layout

    @property
    def exists(self) -> bool:
        """Whether there is a layout here. Raises `StoreError` when what says so is a link or no regular file."""
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            if self.root_directory.has_file(LAYOUT_FILE):
                return True
        self.close_directories()  # it may be made later, in another directory
        return False

    def is_writable(self) -> bool:
        """Whether this user may make files in the root."""
        return os.access(".", os.W_OK, dir_fd=self.root_directory.descriptor)

    def check(self) -> None:
        """Raise `StoreError` when what is at the root can neither be nor become a store."""
        hints = ("give an empty or new folder with --root",)
        if not os.path.isdir(self.root):
            raise StoreError(f"{self.root} is no folder, and so no image store", hints=hints)
        with store_errors(f"look into {self.root}"):
            unexpected = set(os.listdir(self.root)) - _OWN_NAMES
        if unexpected:
            raise StoreError(
                f"{self.root} is a folder with other things in it ({min(unexpected)}), and no image store", hints=hints
            )
        if self._has_blobs():
            marker = os.path.join(self.root, "oci-layout")
            raise StoreError(
                f"{self.root} has blobs, but its file oci-layout is missing",
                code="layout",
                hints=(f"if it is an image layout: echo '{LAYOUT_DOCUMENT.decode()}' > {marker}",),
            )

    def create(self) -> None:
        """Make an empty layout, or complete one. Idempotent."""
        if not self.exists and os.path.lexists(self.root):
            self.check()
        with store_errors(f"make the store {self.root}"):
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
        """Whether any blob lies here."""
        with store_errors(f"look into {os.path.join(self.root, BLOBS)}"):
            return next(self.iter_blob_sizes(), None) is not None

    def read_signature(self) -> str:
        """Return what changes whenever index.json is replaced: an empty text when there is none."""
        try:
            about = self.root_directory.file_status(INDEX)
        except FileNotFoundError:
            return ""
        return f"{about.st_ino}:{about.st_size}:{about.st_mtime_ns}" if about is not None else ""

    def origin(self) -> str:
        """Return what tells this folder from every copy of it: the inode of its lock, and when that was made.

        Whoever makes an archive of a store can choose neither. Empty without a lock.
        """
        try:
            about = self.root_directory.file_status(LOCK)
        except FileNotFoundError:
            return ""
        return f"{about.st_ino}:{about.st_ctime_ns}" if about is not None else ""

    def has_index(self) -> bool:
        """Whether there is an index.json."""
        return self.read_signature() != ""

    def read_entries(self) -> list[IndexEntry]:
        """Return the entries of index.json; raises `StoreError` when it is missing beside blobs."""
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
                        "put it back from a copy; nothing is changed and nothing is removed until then",
                        f"to begin without any image: echo '{EMPTY_INDEX_DOCUMENT.decode()}' > {path}",
                    ),
                )
            return []
        if len(content) > MAX_INDEX_SIZE:
            raise Malformed(f"{path} has more than {MAX_INDEX_SIZE} bytes", code="layout")
        try:
            document = parse_layout_index(content, path)
        except Malformed as problem:
            if problem.code not in ("json", "document"):
                raise
            raise Malformed(f"{path} is not the index of an image layout: {problem.message}", code="layout") from None
        self._index_document = document
        return [IndexEntry.read(entry, place) for place, entry in enumerate(document["manifests"])]

    def write_entries(self, entries: list[IndexEntry], *, may_take_reserve: bool = False) -> None:
        """Replace index.json. Atomic: this is the moment at which a change of the store is done.

        A change that makes room may take the reserve when the disk is full.
        """
        content = encode_json({**self._index_document, "manifests": [entry.to_json() for entry in entries]})
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

    def ensure_reserve(self) -> None:
        """Make or enlarge the reserve of the store, if the disk has room for it. Under the store's lock.

        A change of the store is done already when this runs, so no error here may say that it failed.
        """
        with suppress(OSError, StoreError):  # StoreError: something else than a file has the name
            about = self.root_directory.file_status(INDEX)
            disk_reserve.ensure_reserve(self.make_directory(INGEST), about.st_size if about is not None else 0)

    # Blobs

    def open_blob(self, digest: Digest) -> BinaryIO:
        """Open a blob to read its bytes. Raises `FileNotFoundError`."""
        return self.open_blob_directory(digest.algorithm).open_reader(digest.encoded)

    def blob_size(self, digest: Digest) -> int | None:
        """Return the bytes of a blob, None when it is not here."""
        try:
            about = self.open_blob_directory(digest.algorithm).file_status(digest.encoded)
        except FileNotFoundError:
            return None
        return about.st_size if about is not None else None

    def has_blob(self, digest: Digest) -> bool:
        """Whether a blob is here."""
        return self.blob_size(digest) is not None

    def iter_blob_sizes(self) -> Iterator[tuple[Digest, int]]:
        """Yield every blob that is here, with its bytes."""
        with suppress(FileNotFoundError):
            for algorithm, directory in self._open_directory(BLOBS).iter_directories():
                for name, about in directory.iter_files():
                    if is_digest(digest := f"{algorithm}:{name}"):
                        yield Digest(digest), about.st_size


def new_temporary_name() -> str:
    """Return the name of a new file in ingest/ that is renamed at once: nobody else can guess it."""
    return f"{os.getpid()}-{os.urandom(6).hex()}.new"


def set_held_manifests(descriptor: Descriptor, held: frozenset[Digest] | None) -> Descriptor:
    """Return the descriptor of an index that says which manifests are held; None: all that it names."""
    value = ALL_HELD if held is None else " ".join(sorted(held))
    return descriptor.replace(annotations={**descriptor.annotations, HELD_MANIFESTS: value})


def is_held(root: Descriptor, manifest: Digest) -> bool:
    """Whether a manifest of an index of index.json is meant to be here, as far as that is said."""
    value = root.annotations.get(HELD_MANIFESTS, ALL_HELD)
    return value == ALL_HELD or manifest in value.split(" ")


def list_repositories(entries: Iterable[IndexEntry]) -> list[Reference]:
    """Return the repositories that names of images give, each once; first those where they are known to have been."""
    named = sorted(entries, key=lambda entry: entry.digest is None)
    names = (entry.name for entry in named if isinstance(entry.name, Reference))
    return list(dict.fromkeys(name.replace(tag=None, digest=None) for name in names))


def diff_id_mismatch(layer: Digest, actual: Digest, expected: Digest | None, consequence: str) -> DigestMismatch:
    """Return the error that says: this layer unpacks to something else than the config of its image says.

    A diff ID of another algorithm than SHA-256 is not compared: it is not supported, as in other engines.
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
    """Return the error that says: nobody here knows how to unpack this layer."""
    return Malformed(
        f"the layer {layer.digest} is of the unknown type {layer.media_type!r}",
        code="media-type",
        hints=("known are layers of tar, plain or packed with gzip or zstd",),
    )
