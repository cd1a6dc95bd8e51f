"""Bringing blobs in: each is written beside the store, verified, and renamed into it when it is whole and right.

An `Ingest` protects every blob it names from collection for as long as it lives: its lease is a file that it holds
locked, so a lease dies with its process however that ends. What a dead one left half-written is removed by the next.
Blobs that are whole stay: a pull that is tried again finds them.
"""

from __future__ import annotations

import fcntl
import os
import threading
from itertools import count

from imq.engine.layers.compression import compressor
from imq.engine.layers.measure import LayerMeter
from imq.engine.oci import media
from imq.engine.oci.digest import Digest
from imq.engine.oci.document import Descriptor
from imq.grammar.errors import StoreError
from imq.grammar.record import TYPE_CHECKING, Record

from .files import locked, sync_file, sync_file_system, sync_folder, told
from .index import Content
from .intake import take_in
from .layout import unknown_type
from .leases import mark_sweep, reap, unlink
from .measuring import checked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Self

    from imq.engine.layers.stream import Compressor

    from .layout import Layout

_LAYER_TYPES = {"": media.OCI_LAYER, "gzip": media.OCI_LAYER_GZIP, "zstd": media.OCI_LAYER_ZSTD}


class Adopted(Record):
    """A layer that was stored under the digest it turned out to have."""

    descriptor: Descriptor
    content: Content


class Written(Record):
    """A small blob that is verified, but neither synced nor under its name yet."""

    temporary: str
    size: int


MOST_WRITTEN = 2048
"""Small blobs that wait for their sync: each holds a directory entry, and half a megabyte at most."""
_FEW = 16
"""Blobs that are synced one by one. More of them are synced with all that their file system has to write, which takes
one commit of its journal where the files would take one each."""


class Ingest:
    """One bringing-in of blobs. Used as a context; its methods may be called from several threads.

    Small blobs are renamed into the store together, after one sync for all of them: at the latest by `sync`.
    """

    def __init__(self, layout: Layout, *, measure: bool) -> None:
        self._layout = layout
        self._measure = measure
        self._token = f"{os.getpid()}-{os.urandom(6).hex()}"
        self._lease: int | None = None
        self._numbers = count()
        self._guard = threading.Lock()
        self._written: dict[Digest, Written] = {}
        self.contents: list[Content] = []

    def __enter__(self) -> Self:
        """Take a lease, and clear away what dead ones left."""
        with told("prepare the store for new blobs"), locked(self._layout.lock_path):
            reap(self._layout)
            path = os.path.join(self._layout.ingest_path, f"{self._token}.lease")
            self._lease = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._lease, fcntl.LOCK_EX)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Give the lease back. After an error the whole blobs stay, and the next collection looks for them."""
        assert self._lease is not None
        try:
            self._settle()
            with told("end bringing blobs in"), locked(self._layout.lock_path):
                if kind is not None:
                    mark_sweep(self._layout)
                unlink(os.path.join(self._layout.ingest_path, f"{self._token}.lease"))
        except StoreError:
            if kind is None:  # else the first error says more; the lease that stays is found dead, which is mark enough
                raise
        finally:
            os.close(self._lease)

    def reserve(self, descriptors: Iterable[Descriptor]) -> frozenset[Digest]:
        """Protect these blobs from collection until the ingest ends; return those that are already stored."""
        assert self._lease is not None
        wanted = {descriptor.digest: descriptor for descriptor in descriptors}
        with told("reserve blobs"), locked(self._layout.lock_path):
            os.write(self._lease, "".join(f"{digest}\n" for digest in wanted).encode())
            present = set()
            for digest, descriptor in wanted.items():
                waiting = self._written.get(digest)
                try:
                    stored = waiting.size if waiting else os.stat(self._layout.blob_path(digest)).st_size
                except FileNotFoundError:
                    continue
                if stored == descriptor.size:
                    present.add(digest)
        return frozenset(present)

    def document(self, descriptor: Descriptor, content: bytes) -> None:
        """Store a document (manifest, index or config). Verified, atomic, idempotent."""
        self.receive(descriptor, None, _reader(content), lambda: False)

    def read(self, digest: Digest) -> bytes:
        """Return the content of a stored document."""
        waiting = self._written.get(digest)
        path = waiting.temporary if waiting else self._layout.blob_path(digest)
        with told(f"read the blob {digest}"), open(path, "rb") as source:
            return source.read()

    def receive(
        self,
        descriptor: Descriptor,
        diff_id: Digest | None,
        readinto: Callable[[memoryview], int],
        cancelled: Callable[[], bool],
    ) -> None:
        """Store a blob from a stream that `readinto` fills pieces from until it returns 0.

        The blob becomes visible only when its size and digest are the descriptor's. With a `diff_id` (and unless the
        store verifies lazily) the layer is unpacked on the way, must hash to it, and its measures are kept.
        Raises `DigestMismatch` or `Malformed`, and leaves nothing behind then.
        """
        digest = descriptor.digest
        compression = media.layer_compression(descriptor.media_type)
        if diff_id is not None and compression is None:
            raise unknown_type(descriptor)
        measures = diff_id is not None and self._measure
        meter = LayerMeter(compression) if measures and compression is not None else None
        target = self._layout.blob_path(digest)
        temporary = os.path.join(self._layout.ingest_path, f"{self._token}.{digest.hex}.{next(self._numbers)}")
        try:
            with told(f"store the blob {digest}"):
                os.makedirs(os.path.dirname(target), exist_ok=True)
                handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
                try:
                    small = take_in(handle, descriptor, meter, readinto, cancelled)
                finally:
                    os.close(handle)
                content = checked(meter, digest, diff_id, "nothing of it was kept") if meter is not None else None
                if small:
                    self._wait(digest, Written(temporary, descriptor.size))
                else:
                    os.rename(temporary, target)
        except BaseException:
            unlink(temporary)
            raise
        finally:
            if meter is not None:
                meter.close()
        if content is not None:
            with self._guard:
                self.contents.append(content)

    def adopt(self, pieces: Iterable[bytes | memoryview], packed: str, repack: str | None = None) -> Adopted:
        """Store a layer whose digest nobody has said: a tar archive, packed as `packed` names (`""`: plain).

        `repack` packs a plain archive on the way in. Returns the descriptor that the content turned out to have.
        """
        from hashlib import sha256

        pack = compressor(repack) if repack is not None and repack != packed else None
        meter = LayerMeter("" if pack else packed)
        hasher, size = sha256(), 0
        temporary = os.path.join(self._layout.ingest_path, f"{self._token}.layer.{next(self._numbers)}")
        try:
            with told("store a layer"), open(temporary, "xb", buffering=0) as target:
                for piece in _through(pieces, meter, pack):
                    hasher.update(piece)
                    size += len(piece)
                    view = memoryview(piece)
                    while view:
                        view = view[target.write(view) or 0 :]
                os.fsync(target.fileno())
            measured = meter.finish()
            kind = packed if pack is None else repack
            descriptor = Descriptor(_LAYER_TYPES[kind or ""], Digest(f"sha256:{hasher.hexdigest()}"), size)
            self.reserve((descriptor,))
            with told("store a layer"):
                os.rename(temporary, self._layout.blob_path(descriptor.digest))
        except BaseException:
            meter.close()
            unlink(temporary)
            raise
        content = Content(descriptor.digest, measured.diff_id, measured.size, measured.tar_size, measured.entries)
        with self._guard:
            self.contents.append(content)
        return Adopted(descriptor, content)

    def _wait(self, digest: Digest, written: Written) -> None:
        """Let a small blob wait for the sync that it shares with others."""
        with self._guard:
            twin = self._written.get(digest)
            self._written[digest] = written
            full = len(self._written) >= MOST_WRITTEN
        if twin is not None:
            unlink(twin.temporary)
        if full:
            self._settle()

    def _settle(self) -> None:
        """Sync the small blobs that wait, and give them their names."""
        with self._guard:
            waiting, self._written = self._written, {}
        if not waiting:
            return
        with told("store small blobs"):
            if len(waiting) <= _FEW or not sync_file_system(self._layout.ingest_path):
                for written in waiting.values():
                    sync_file(written.temporary)
            for digest, written in waiting.items():
                os.rename(written.temporary, self._layout.blob_path(digest))

    def sync(self) -> None:
        """Make all blobs and their names durable; to be done before something refers to them."""
        self._settle()
        with told("sync the store"):
            for algorithm in os.listdir(os.path.join(self._layout.root, "blobs")):
                sync_folder(os.path.join(self._layout.root, "blobs", algorithm))


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
