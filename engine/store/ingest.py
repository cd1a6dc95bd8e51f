"""Bringing blobs in: each is written beside the store, verified, synced, and renamed into it.

A blob that has its name is whole, whatever happens to the machine: it was on the disk before it was renamed. Small
ones wait for each other, so that all of them are synced at once; until then they can be read from here.

An `Ingest` protects every blob it names from collection for as long as it lives: its lease is a file that it holds
locked, so a lease dies with its process however that ends. What a dead one left half-written is removed by the next,
but for the large blobs of pulls, which go on where they broke off (see `partials`). Blobs that are whole stay: a pull
that is tried again finds them.
"""

from __future__ import annotations

import fcntl
import os
import threading
from io import FileIO

from imq.engine.layers.compression import make_compressor
from imq.engine.layers.layer_meter import LayerMeter
from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, check_size
from imq.grammar.errors import DigestMismatch, Interrupted, RegistryError, StoreError
from imq.grammar.record import TYPE_CHECKING, Record

from . import partial_blobs
from .atomic_files import free_at, sync_all, told, write_all
from .blob_pipeline import small, take_in
from .corruption import damaged, is_marked, unmark
from .index import Content
from .layout import BLOBS, unknown_type
from .leases import LEASE, end_lease, new_token, reap
from .measure import checked
from .partial_blobs import Partial
from .quota import Room

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Self

    from imq.engine.layers.codec import Compressor
    from imq.engine.layers.tar_entry import TarEntry

    from .layout import Layout

_BROKEN_OFF = (RegistryError, Interrupted, KeyboardInterrupt)
"""What ends a transfer without saying anything against the bytes that have come."""


class Adopted(Record):
    """A layer that was stored under the digest it turned out to have."""

    descriptor: Descriptor
    content: Content


class Ingest:
    """One bringing-in of blobs. Used as a context; its methods may be called from several threads."""

    def __init__(self, layout: Layout, *, measure: bool, quota: int | None = None) -> None:
        self._layout = layout
        self._measure = measure
        self._token = new_token()
        self._room = Room(layout, quota, self._token)
        self._lease: int | None = None
        self._guard = threading.Lock()
        self._count = 0
        self._waiting: dict[Digest, str] = {}
        """Verified blobs that are not synced yet, and where they lie."""
        self._begun: dict[Digest, Partial] = {}
        """What was taken over of earlier transfers, and is not gone on with yet."""
        self.contents: list[Content] = []

    def __enter__(self) -> Self:
        """Take a lease, and clear away what dead ones left."""
        with told("prepare the store for new blobs"), self._layout.locked():
            reap(self._layout)
            self._lease = self._layout.ingest.create_file(self._token + LEASE)
            fcntl.flock(self._lease, fcntl.LOCK_EX)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Give the lease back. After an error the whole blobs stay, and the next collection looks for them."""
        assert self._lease is not None
        try:
            self._settle()
            with told("end bringing blobs in"), self._layout.locked():
                self._room.close()
                end_lease(self._layout, self._token + LEASE, sweep=kind is not None)
        except StoreError:
            if kind is None:  # else the first error says more; the lease that stays is found dead, which is mark enough
                raise
        finally:
            os.close(self._lease)
            for partial in self._begun.values():
                os.close(partial.handle)

    def reserve(self, descriptors: Iterable[Descriptor]) -> frozenset[Digest]:
        """Protect these blobs from collection until the ingest ends; return those that are already stored.

        Documents are hashed again. Other blobs are as long as they should be, and were not found damaged by anybody.
        """
        wanted = {descriptor.digest: descriptor for descriptor in descriptors}
        self._protect({digest: descriptor.size for digest, descriptor in wanted.items()})
        return frozenset(digest for digest, descriptor in wanted.items() if self._has(descriptor))

    def _has(self, descriptor: Descriptor) -> bool:
        """Whether a blob is stored, as far as that can be told without reading what is large."""
        digest = descriptor.digest
        if not digest.is_computable:
            return False
        if self._stored(digest) != descriptor.size or is_marked(self._layout, digest):
            return False
        if media_types.is_layer(descriptor.media_type) or descriptor.size > self.largest_document:
            return True
        try:
            self.read(digest)
        except DigestMismatch:
            return False
        return True

    @property
    def largest_document(self) -> int:
        """The most bytes of a manifest or config."""
        return self._layout.largest_document

    def roomy(self, size: int) -> bool:
        """Whether so many bytes find room for sure, so that nothing need be reckoned before they come."""
        return self._room.roomy(size)

    def _protect(self, wanted: Mapping[Digest, int]) -> None:
        """Add to the lease, if there is room. Under the store's lock: a collection that is under way has not seen it.

        `wanted` are the bytes of each blob.
        """
        assert self._lease is not None
        with told("reserve blobs", self._layout.root), self._layout.locked():
            self._make_room(wanted)
            self._room.claim(wanted)
            write_all(self._lease, "".join(f"{digest}\n" for digest in wanted).encode())

    def _make_room(self, wanted: Mapping[Digest, int]) -> None:
        """Remove what is left of other blobs that nobody goes on with, when the disk has no room beside it."""
        free, _ = free_at(self._layout.root)
        if free is not None and sum(wanted.values()) > free:
            missing = sum(size for digest, size in wanted.items() if self._stored(digest) is None)
            if missing > free:
                partial_blobs.drop(self._layout, everything=True, but=frozenset(wanted))

    def _stored(self, digest: Digest) -> int | None:
        """Return the bytes of a blob that is here, None when it is not."""
        with told("reserve blobs"):
            waiting = self._waits_as(digest)
            if waiting is None:
                return self._layout.blob_size(digest)
            about = self._layout.ingest.file_status(waiting)
            return about.st_size if about is not None else None

    def document(self, descriptor: Descriptor, content: bytes) -> None:
        """Store a document (manifest, index or config). Verified, atomic, idempotent; it need not be reserved."""
        if not small(descriptor):
            self.reserve((descriptor,))
        self.receive(descriptor, None, _reader(content), lambda: False)

    def read(self, digest: Digest) -> bytes:
        """Return the content of a stored document, checked against its digest."""
        with told(f"read the blob {digest}"):
            waiting = self._waits_as(digest)
            opened = self._layout.open_blob(digest) if waiting is None else self._layout.ingest.open_to_read(waiting)
            with opened as source:
                content = source.read(self.largest_document + 1)
        check_size(len(content), self.largest_document, f"the document {digest}")
        hasher = digest.hasher()
        hasher.update(content)
        if hasher.hexdigest() != digest.hex:
            raise damaged(self._layout, digest)
        return content

    def _waits_as(self, digest: Digest) -> str | None:
        """Return the name in ingest/ of a blob that is not synced yet, None for any other."""
        with self._guard:
            return self._waiting.get(digest)

    def begun(self, descriptor: Descriptor) -> int:
        """Take over what an earlier transfer left of a blob; return its bytes, behind which `receive` can go on."""
        digest = descriptor.digest
        with self._guard:
            partial = self._begun.get(digest)
        if partial is None and not small(descriptor):
            with told(f"go on with the blob {digest}"):
                if partial_blobs.any_of(self._layout, digest):
                    with self._layout.locked():
                        partial = partial_blobs.take_over(self._layout, descriptor)
            if partial is not None:
                with self._guard:
                    self._begun[digest] = partial
        return partial.size if partial is not None else 0

    def receive(
        self,
        descriptor: Descriptor,
        diff_id: Digest | None,
        readinto: Callable[[memoryview], int],
        cancelled: Callable[[], bool],
        begun: int | None = None,
    ) -> None:
        """Store a blob from a stream that `readinto` fills pieces from until it returns 0.

        The blob becomes visible only when its size and digest are the descriptor's. With a `diff_id` (and unless the
        store verifies lazily) the layer is unpacked on the way, must hash to it, and its measures are kept.
        Raises `DigestMismatch` or `Malformed`, and leaves nothing behind then.

        Who can begin in the middle says where the stream begins: at the bytes that `begun` returned, 0 or more. What
        has come of a large blob then stays when the transfer breaks off.
        """
        digest = descriptor.digest
        if diff_id is not None and not media_types.is_layer(descriptor.media_type):
            raise unknown_type(descriptor)
        meter = LayerMeter(None) if diff_id is not None and self._measure else None
        keeps = begun is not None and not small(descriptor)
        target: Partial | None = None
        try:
            with told(f"store the blob {digest}", self._layout.root, descriptor.size):
                target = self._target(digest, begun or 0, keeps=keeps)
                take_in(target.handle, descriptor, meter, readinto, cancelled, target.size)
                content = checked(meter, digest, diff_id, "nothing of it was kept") if meter is not None else None
                self._keep(target.name, descriptor)
        except BaseException as problem:
            if target is not None and not (
                keeps and isinstance(problem, _BROKEN_OFF) and os.fstat(target.handle).st_size
            ):
                self._layout.ingest.remove_file(target.name)
            raise
        finally:
            if target is not None:  # only now: nobody else may find it unlocked under its old name
                os.close(target.handle)
            if meter is not None:
                meter.close()
        if content is not None:
            with self._guard:
                self.contents.append(content)

    def adopt(
        self,
        pieces: Iterable[bytes | memoryview],
        packed: str,
        repack: str | None = None,
        on_entry: Callable[[TarEntry], None] | None = None,
    ) -> Adopted:
        """Store a layer whose digest nobody has said: a tar archive, packed as `packed` names (`""`: plain).

        `repack` packs a plain archive on the way in; `on_entry` is called with each entry, and may refuse it. Returns
        the descriptor that the content turned out to have.
        """
        from hashlib import sha256

        pack = make_compressor(repack) if repack is not None and repack != packed else None
        meter = LayerMeter("" if pack else packed, on_entry=on_entry)
        hasher, size = sha256(), 0
        temporary = self._temporary()
        try:
            with told("store a layer", self._layout.root), self._new_file(temporary) as target:
                for piece in self._room.watched(_through(pieces, meter, pack)):
                    hasher.update(piece)
                    size += len(piece)
                    view = memoryview(piece)
                    while view:
                        view = view[target.write(view) or 0 :]
                kind = packed if pack is None else repack
                descriptor = Descriptor(
                    media_types.LAYER_TYPES[kind or ""], Digest(f"sha256:{hasher.hexdigest()}"), size
                )
                if not small(descriptor):
                    os.fsync(target.fileno())
                    self.reserve((descriptor,))
            measured = meter.finish()
            with told("store a layer"):
                self._keep(temporary, descriptor)
        except BaseException:
            meter.close()
            self._layout.ingest.remove_file(temporary)
            raise
        content = Content(descriptor.digest, measured.diff_id, measured.size, measured.tar_size, measured.entries)
        with self._guard:
            self.contents.append(content)
        return Adopted(descriptor, content)

    def _target(self, digest: Digest, begun: int, *, keeps: bool) -> Partial:
        """Return the file that a blob is to be written to, which has its first `begun` bytes."""
        with self._guard:
            partial = self._begun.pop(digest, None)
        if partial is not None:
            if begun:
                return partial
            partial_blobs.remove(self._layout, partial)
        if keeps:
            return partial_blobs.begin(self._layout, digest, self._temporary())
        name = self._temporary()
        return Partial(name, self._layout.ingest.create_file(name))

    def _new_file(self, name: str) -> FileIO:
        """Make a file in ingest/ to write to."""
        return FileIO(self._layout.ingest.create_file(name), "w")

    def _temporary(self) -> str:
        """Return a new name in ingest/."""
        with self._guard:
            self._count += 1
            return f"{self._token}.{self._count}"

    def _keep(self, temporary: str, descriptor: Descriptor) -> None:
        """Give a verified blob its name: a large one at once, for it is synced, a small one when it is."""
        digest = descriptor.digest
        if not small(descriptor):
            self._name(temporary, digest)
            return
        with self._guard:
            before = self._waiting.get(digest)
            self._waiting[digest] = temporary
        if before is not None:
            self._layout.ingest.remove_file(before)

    def _name(self, temporary: str, digest: Digest) -> None:
        self._layout.ingest.rename(temporary, digest.hex, self._layout.make_directory(BLOBS, digest.algorithm))
        unmark(self._layout, digest)

    def _settle(self) -> None:
        """Sync the blobs that wait, and give them their names."""
        with self._guard:
            waiting, self._waiting = self._waiting, {}
        if waiting:
            statuses = {digest: self._layout.ingest.file_status(name) for digest, name in waiting.items()}
            self._protect({digest: about.st_size for digest, about in statuses.items() if about is not None})
            with told("sync the store", self._layout.root):
                sync_all(self._layout.ingest)
                for digest, temporary in waiting.items():
                    self._name(temporary, digest)

    def sync(self) -> None:
        """Make all blobs and their names durable; to be done before something refers to them."""
        self._settle()
        with told("sync the store"):
            blobs = self._layout.make_directory(BLOBS)
            for _, directory in blobs.directories():
                directory.sync()
            blobs.sync()


def _through(
    pieces: Iterable[bytes | memoryview], meter: LayerMeter, pack: Compressor | None
) -> Iterator[bytes | memoryview]:
    """Measure pieces as they pass, and pack them when asked."""
    for piece in pieces:
        meter.feed(piece)
        yield pack.feed(piece) if pack else piece
    if pack:
        yield pack.finish()


def _reader(content: bytes) -> Callable[[memoryview], int]:
    """Return a `readinto` over bytes in memory."""
    left = memoryview(content)

    def readinto(buffer: memoryview) -> int:
        nonlocal left
        count = min(len(buffer), len(left))
        buffer[:count] = left[:count]
        left = left[count:]
        return count

    return readinto
