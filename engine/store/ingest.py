"""Ingests: each blob is written to a temporary file, verified, synced, and renamed into the store.

A blob with its final name is complete even after a power failure: it was synced before it was renamed. Small blobs are
synced together; until then the ingest serves them from their temporary files.

An `Ingest` protects its blobs from collection. Its lease is a locked file, so the lease ends with the process. The next
ingest removes the temporary files of a dead one, except large partial blobs, which a later pull resumes (see
partial_blobs.py). Complete blobs stay, and a repeated pull finds them.
"""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import ExitStack, contextmanager
from io import FileIO

from imq.engine.layers.layer_meter import LayerMeter
from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor
from imq.grammar.errors import DigestMismatch, Interrupted, RegistryError, StoreError
from imq.grammar.record import TYPE_CHECKING, Record

from . import partial_blobs
from .atomic_files import get_free_space, store_errors, sync_file_system, write_all
from .blob_pipeline import is_small, write_blob
from .corruption import is_marked_corrupt, read_verified_document, unmark_corrupt
from .layer_measure import LayerMeasure, finish_measure
from .layer_writer import measure, write_layer, write_plain_layer
from .layout import BLOBS, unknown_layer_type
from .leases import LEASE_SUFFIX, end_dead_leases, end_lease, new_token
from .partial_blobs import Partial
from .quota import Quota

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from typing import BinaryIO, Self

    from imq.engine.layers.tar_entry import TarEntry

    from .layout import Layout

_FEW = 3
"""Files that are synced one by one: those of one new image."""
_INTERRUPTIONS = (RegistryError, Interrupted, KeyboardInterrupt)
"""Errors that end a transfer but leave the received bytes valid."""


class ImportedLayer(Record):
    """A layer that was stored under its computed digest."""

    descriptor: Descriptor
    measure: LayerMeasure


class Ingest:
    """A set of blobs that are being stored. Used as a context; its methods are thread-safe."""

    def __init__(
        self, layout: Layout, *, measure: bool, quota: int | None = None, scan_folder: str | None = None
    ) -> None:
        self._layout = layout
        self._measure = measure
        self._scan_folder = scan_folder
        self.scans: list[str] = []
        """The databases of the scans of layers, in `scan_folder`."""
        self._token = new_token()
        self._quota = Quota(layout, quota, self._token)
        self._lease: int | None = None
        self._mutex = threading.Lock()
        self._count = 0
        self._unsynced: dict[Digest, str] = {}
        """The temporary names of verified blobs that are not synced yet."""
        self._partials: dict[Digest, Partial] = {}
        """Claimed partial blobs of earlier transfers that are not resumed yet."""
        self._receiving_count = 0
        self.measures: list[LayerMeasure] = []

    def __enter__(self) -> Self:
        """Create the lease, and remove the files of dead ingests."""
        with store_errors("prepare the store for new blobs"), self._layout.lock():
            end_dead_leases(self._layout)
            self._lease = self._layout.ingest_directory.create_file(self._token + LEASE_SUFFIX)
            fcntl.flock(self._lease, fcntl.LOCK_EX)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """End the lease. After an error complete blobs stay, and the next collection checks them."""
        assert self._lease is not None
        try:
            self._publish_unsynced()
            with store_errors("finish storing blobs"), self._layout.lock():
                self._quota.release()
                end_lease(self._layout, self._token + LEASE_SUFFIX, sweep=kind is not None)
        except StoreError:
            if kind is None:  # otherwise the first error is raised; the next ingest finds the dead lease
                raise
        finally:
            os.close(self._lease)
            for partial in self._partials.values():
                os.close(partial.handle)

    def reserve(self, descriptors: Iterable[Descriptor]) -> frozenset[Digest]:
        """Protect these blobs from collection until the ingest ends; return those that are stored already.

        Stored documents are verified. Of other blobs the size is checked, and that none is marked corrupt.
        """
        descriptors_by_digest = {descriptor.digest: descriptor for descriptor in descriptors}
        self._add_to_lease({digest: descriptor.size for digest, descriptor in descriptors_by_digest.items()})
        return frozenset(digest for digest, descriptor in descriptors_by_digest.items() if self._is_stored(descriptor))

    def _is_stored(self, descriptor: Descriptor) -> bool:
        """Whether a blob is stored; only documents are read and verified."""
        digest = descriptor.digest
        if not digest.is_supported:
            return False
        if self._stored_size(digest) != descriptor.size or is_marked_corrupt(self._layout, digest):
            return False
        if media_types.is_layer(descriptor.media_type) or descriptor.size > self.largest_document:
            return True
        try:
            self.read_document(digest)
        except DigestMismatch:
            return False
        return True

    @property
    def largest_document(self) -> int:
        """The maximum size in bytes of a manifest or config."""
        return self._layout.largest_document

    def has_room(self, size: int) -> bool:
        """Whether `size` bytes certainly fit, so that blobs need not be reserved first."""
        return self._quota.has_room(size)

    def _add_to_lease(self, sizes: Mapping[Digest, int]) -> None:
        """Add blobs to the lease if there is space for their `sizes`.

        It takes the lock of the store, so that no collection runs at the same time.
        """
        assert self._lease is not None
        with store_errors("reserve blobs", self._layout.root), self._layout.lock():
            self._drop_unused_partials(sizes)
            self._quota.claim(sizes)
            write_all(self._lease, "".join(f"{digest}\n" for digest in sizes).encode())

    def _drop_unused_partials(self, sizes: Mapping[Digest, int]) -> None:
        """Remove unused partial blobs when the disk has no space for the new ones."""
        free, _ = get_free_space(self._layout.root)
        if free is not None and sum(sizes.values()) > free:
            missing = sum(size for digest, size in sizes.items() if self._stored_size(digest) is None)
            if missing > free:
                partial_blobs.remove_unused(self._layout, any_age=True, keep=frozenset(sizes))

    def _stored_size(self, digest: Digest) -> int | None:
        """Return the size of a stored blob; None when it is not stored."""
        with store_errors("reserve blobs"):
            unsynced_name = self._unsynced_name(digest)
            if unsynced_name is None:
                return self._layout.blob_size(digest)
            status = self._layout.ingest_directory.file_status(unsynced_name)
            return status.st_size if status is not None else None

    def store_document(self, descriptor: Descriptor, content: bytes) -> None:
        """Store a manifest, index or config. Verified, atomic and idempotent; no reservation is needed."""
        if not is_small(descriptor):
            self.reserve((descriptor,))
        self.receive_blob(descriptor, None, _make_reader(content), lambda: False)

    def read_document(self, digest: Digest) -> bytes:
        """Return the content of a stored document, verified against its digest."""
        return read_verified_document(self._layout, digest, self._open_blob)

    def _open_blob(self, digest: Digest) -> BinaryIO:
        """Open a stored blob, whether it is synced yet or not."""
        unsynced_name = self._unsynced_name(digest)
        if unsynced_name is None:
            return self._layout.open_blob(digest)
        return self._layout.ingest_directory.open_reader(unsynced_name)

    def _unsynced_name(self, digest: Digest) -> str | None:
        """Return the temporary name of a blob that is not synced yet; None for any other."""
        with self._mutex:
            return self._unsynced.get(digest)

    def partial_size(self, descriptor: Descriptor) -> int:
        """Claim the partial blob of an earlier transfer; return its size, where `receive_blob` can resume."""
        digest = descriptor.digest
        with self._mutex:
            partial = self._partials.get(digest)
        if partial is None and not is_small(descriptor):
            with store_errors(f"resume the blob {digest}"):
                if partial_blobs.exists(self._layout, digest):
                    with self._layout.lock():
                        partial = partial_blobs.claim(self._layout, descriptor)
            if partial is not None:
                with self._mutex:
                    self._partials[digest] = partial
        return partial.size if partial is not None else 0

    def receive_blob(
        self,
        descriptor: Descriptor,
        diff_id: Digest | None,
        readinto: Callable[[memoryview], int],
        is_cancelled: Callable[[], bool],
        partial_size: int | None = None,
    ) -> None:
        """Store a blob from a stream: `readinto` fills a buffer and returns 0 at the end.

        The blob is published only if its size and digest match the descriptor. With a `diff_id` the layer is
        decompressed as well, unless measures are deferred; its diff ID must match, and its measures are stored.
        Raises `DigestMismatch` or `Malformed`, and leaves nothing behind then.

        A resumable stream passes `partial_size`, the offset at which it starts: 0, or the result of `partial_size`. A
        large blob then stays as a partial blob when the transfer is interrupted.
        """
        digest = descriptor.digest
        if diff_id is not None and not media_types.is_layer(descriptor.media_type):
            raise unknown_layer_type(descriptor)
        walker = None
        if diff_id is not None and self._measure and self._scan_folder is not None:
            from .layer_scans import ScanningWalker

            walker = ScanningWalker(self._scan_folder)
        with self._mutex:
            hashes_inline = self._receiving_count > 0  # the threads of other blobs keep the processors busy
            self._receiving_count += 1
        meter = None
        if diff_id is not None and self._measure:
            meter = LayerMeter(None, walker=walker, hashes_inline=hashes_inline)
        keeps_partial = partial_size is not None and not is_small(descriptor)
        target: Partial | None = None
        measure: LayerMeasure | None = None
        try:
            with store_errors(f"store the blob {digest}", self._layout.root, descriptor.size):
                target = self._open_target(digest, partial_size or 0, keeps_partial=keeps_partial)
                write_blob(
                    target.handle,
                    descriptor,
                    meter,
                    readinto,
                    is_cancelled,
                    target.size,
                    hashes_inline=hashes_inline,
                )
                measure = finish_measure(meter, digest, diff_id, "nothing was stored") if meter is not None else None
                self._finish_blob(target.name, descriptor)
        except BaseException as problem:
            if target is not None and not (
                keeps_partial and isinstance(problem, _INTERRUPTIONS) and os.fstat(target.handle).st_size
            ):
                self._layout.ingest_directory.remove_file(target.name)
            raise
        finally:
            with self._mutex:
                self._receiving_count -= 1
            if target is not None:  # only now: until then another process could claim it under its old name
                os.close(target.handle)
            if meter is not None:
                meter.close()
            if walker is not None and measure is None:
                walker.close()
        if measure is not None:
            scan = walker.complete(measure.diff_id) if walker is not None else None
            with self._mutex:
                self.measures.append(measure)
                self.scans += (scan,) if scan is not None else ()

    def import_layer(
        self,
        chunks: Iterable[bytes | memoryview],
        compression: str,
        on_entry: Callable[[TarEntry], None] | None = None,
    ) -> ImportedLayer:
        """Store a layer of unknown digest as it is: a tar archive with this `compression` (`""`: none).

        `on_entry` is called with each entry and may raise to reject it.
        """
        with LayerMeter(compression, on_entry=on_entry) as meter, self._create_layer() as (name, file):
            digest, size = write_layer(file.fileno(), measure(chunks, meter), self._quota.extend)
            return self._finish_layer(name, file, meter, compression, size, digest)

    def import_plain_layer(
        self,
        chunks: Iterable[bytes | memoryview],
        on_entry: Callable[[TarEntry], None] | None = None,
        *,
        in_thread: bool = False,
    ) -> ImportedLayer:
        """Store a layer of unknown digest from a plain tar archive, with gzip unless that saves little.

        `on_entry` is that of `import_layer`. `in_thread`: another thread gets the chunks and measures them while others
        are compressed, see `read_ahead`.
        """
        files: list[tuple[str, FileIO]] = []
        with LayerMeter("", on_entry=on_entry, hashes_inline=True) as meter, ExitStack() as stack:

            def open_file() -> int:
                files.append(stack.enter_context(self._create_layer()))
                return files[-1][1].fileno()

            written = write_plain_layer(chunks, meter, open_file, self._quota.extend, in_thread=in_thread)
            layer = self._finish_layer(*files.pop(), meter, written.compression, written.size, written.digest)
            for name, _ in files:
                self._layout.ingest_directory.remove_file(name)
            return layer

    @contextmanager
    def _create_layer(self) -> Iterator[tuple[str, FileIO]]:
        """Return the name of a new file in ingest/ for a layer, and the open file; it is removed after an error."""
        name = self._new_temporary_name()
        try:
            with store_errors("store a layer", self._layout.root), self._create_file(name) as file:
                yield name, file
        except BaseException:
            self._layout.ingest_directory.remove_file(name)
            raise

    def _finish_layer(
        self, name: str, file: FileIO, meter: LayerMeter, compression: str, size: int, digest: Digest | None = None
    ) -> ImportedLayer:
        """Publish a layer that is written; return it. The digest of a plain one may be missing: it is its diff ID."""
        summary = meter.finish()
        descriptor = Descriptor(media_types.LAYER_TYPES[compression], digest or summary.diff_id, size)
        if not is_small(descriptor):
            os.fsync(file.fileno())
            self.reserve((descriptor,))
        self._finish_blob(name, descriptor)
        measure = LayerMeasure(descriptor.digest, summary.diff_id, summary.size, summary.tar_size, summary.entries)
        with self._mutex:
            self.measures.append(measure)
        return ImportedLayer(descriptor, measure)

    def _open_target(self, digest: Digest, partial_size: int, *, keeps_partial: bool) -> Partial:
        """Return the file to write a blob to; it holds the first `partial_size` bytes already."""
        with self._mutex:
            partial = self._partials.pop(digest, None)
        if partial is not None:
            if partial_size:
                return partial
            partial_blobs.remove(self._layout, partial)
        if keeps_partial:
            return partial_blobs.create(self._layout, digest, self._new_temporary_name())
        name = self._new_temporary_name()
        return Partial(name, self._layout.ingest_directory.create_file(name))

    def _create_file(self, name: str) -> FileIO:
        """Create a file in ingest/ for writing."""
        return FileIO(self._layout.ingest_directory.create_file(name), "w")

    def _new_temporary_name(self) -> str:
        """Return a new name in ingest/."""
        with self._mutex:
            self._count += 1
            return f"{self._token}.{self._count}"

    def _finish_blob(self, temporary: str, descriptor: Descriptor) -> None:
        """Publish a verified blob: a large one at once, as it is synced; a small one after the next sync."""
        digest = descriptor.digest
        if not is_small(descriptor):
            self._publish(temporary, digest)
            return
        with self._mutex:
            before = self._unsynced.get(digest)
            self._unsynced[digest] = temporary
        if before is not None:
            self._layout.ingest_directory.remove_file(before)

    def _publish(self, temporary: str, digest: Digest) -> None:
        self._layout.ingest_directory.rename(
            temporary, digest.encoded, self._layout.make_directory(BLOBS, digest.algorithm)
        )
        unmark_corrupt(self._layout, digest)

    def _publish_unsynced(self) -> None:
        """Sync the small blobs together and publish them."""
        with self._mutex:
            unsynced, self._unsynced = self._unsynced, {}
        if unsynced:
            statuses = {digest: self._layout.ingest_directory.file_status(name) for digest, name in unsynced.items()}
            self._add_to_lease({digest: status.st_size for digest, status in statuses.items() if status is not None})
            with store_errors("sync the store", self._layout.root):
                self._sync_files(unsynced.values())
                for digest, temporary in unsynced.items():
                    self._publish(temporary, digest)

    def _sync_files(self, names: Collection[str]) -> None:
        """Make files in ingest/ durable: a few alone, without what other programs have written, or all together."""
        directory = self._layout.ingest_directory
        if len(names) > _FEW:
            sync_file_system(directory)
            return
        for name in names:
            handle = directory.open_file(name, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def sync(self) -> None:
        """Make all blobs and their names durable. Call it before a transaction refers to them."""
        self._publish_unsynced()
        with store_errors("sync the store"):
            blobs = self._layout.make_directory(BLOBS)
            for _, directory in blobs.iter_directories():
                directory.sync()
            blobs.sync()


def _make_reader(content: bytes) -> Callable[[memoryview], int]:
    """Return a `readinto` over bytes in memory."""
    remaining = memoryview(content)

    def readinto(buffer: memoryview) -> int:
        nonlocal remaining
        count = min(len(buffer), len(remaining))
        buffer[:count] = remaining[:count]
        remaining = remaining[count:]
        return count

    return readinto
