"""Fetches blobs from a registry into a store; interrupted transfers resume."""

from __future__ import annotations

from http import HTTPStatus

from imq.engine import progress as words
from imq.engine.oci import media_types
from imq.grammar.errors import DigestMismatch, Malformed, RegistryError
from imq.grammar.record import TYPE_CHECKING

from .byte_counter import ByteCounter

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.manifest import Descriptor
    from imq.engine.oci.reference import Reference
    from imq.engine.progress import Progress
    from imq.engine.registry.mirrors import BlobReader, ImageReader

    from .byte_counter import LayerCounter
    from .worker_pool import Task, WorkerPool
else:
    Protocol = object

_FOREIGN_LAYER_HINT = "imq does not fetch layers from other URLs; pull from a registry that has the layer"


class BlobStore(Protocol):
    """A store for blobs; called from several threads."""

    def partial_size(self, descriptor: Descriptor) -> int:
        """Return the number of bytes stored by an interrupted transfer; they are not verified yet."""

    def receive_blob(
        self,
        descriptor: Descriptor,
        diff_id: Digest | None,
        readinto: Callable[[memoryview], int],
        is_cancelled: Callable[[], bool],
        partial_size: int | None = None,
    ) -> None:
        """Store a blob from a stream that starts after the first `partial_size` bytes; 0 from `readinto` ends it.

        Size and digest are verified before the blob is visible. With `partial_size`, received bytes are kept
        when the stream breaks.
        """


class BlobFetcher:
    """Fetches the blobs of one repository into a store, with a common byte count."""

    def __init__(self, client: ImageReader, reference: Reference, store: BlobStore, progress: Progress) -> None:
        self._client = client
        self._reference = reference
        self._store = store
        self._progress = progress
        self._counter = ByteCounter(progress)

    @property
    def transferred_bytes(self) -> int:
        """Bytes received."""
        return self._counter.total

    def make_task(self, blob: Descriptor, diff_id: Digest | None) -> Task:
        """Return the task that fetches a blob; with a `diff_id` it is a layer that must unpack to it."""
        count = self._counter.add_layer(blob.digest, blob.size)

        def fetch(pool: WorkerPool) -> None:
            while not self._fetch(pool, blob, diff_id, count):
                pass
            self._progress.set_layer_status(blob.digest, words.PULLED, blob.size)

        return fetch

    def _fetch(self, pool: WorkerPool, blob: Descriptor, diff_id: Digest | None, count: LayerCounter) -> bool:
        """Fetch a blob. Return False if its bytes were wrong and another source remains."""
        resume_from = done = self._store.partial_size(blob)
        count.start_at(resume_from)
        self._progress.set_layer_status(blob.digest, words.DOWNLOADING, blob.size)
        stream: BlobReader | None = None

        def readinto(view: memoryview) -> int:
            nonlocal done, stream
            if stream is None:  # opened late: hashing the stored bytes may take longer than the server's timeout
                if resume_from == blob.size:
                    return 0
                stream = self._open(blob, resume_from, pool)
                pool.watch(stream)
            read = stream.readinto(view)
            done += read
            count.advance_to(done)
            if not read:
                self._progress.set_layer_status(blob.digest, words.DOWNLOADED, blob.size)
            return read

        try:
            self._store.receive_blob(blob, diff_id, readinto, lambda: pool.is_stopped, resume_from)
        except (DigestMismatch, Malformed) as error:
            if resume_from or self._client.reject_source(
                blob
            ):  # the stored bytes may have been wrong; they are deleted now
                return False
            raise self._add_sender(error) from None
        finally:
            if stream is not None:
                pool.unwatch(stream)
                stream.close()
        return True

    def _open(self, blob: Descriptor, resume_from: int, pool: WorkerPool) -> BlobReader:
        """Open a blob. The URLs of a foreign layer are never requested."""
        try:
            return self._client.open_blob(self._reference, blob, resume_from, pool.stop)
        except RegistryError as error:
            if error.status != HTTPStatus.NOT_FOUND or not (
                blob.urls or media_types.is_nondistributable(blob.media_type)
            ):
                raise
            raise RegistryError(
                f"the layer {blob.digest.short} of {self._reference} must not be distributed by registries, "
                f"and {self._reference.registry} does not have it",
                code="foreign-layer",
                status=error.status,
                host=error.host,
                hints=(*(f"URL of the layer: {url}" for url in blob.urls[:1]), _FOREIGN_LAYER_HINT),
            ) from None

    def _add_sender(self, error: DigestMismatch | Malformed) -> DigestMismatch | Malformed:
        """Name the registry in an error of the store, which does not know it."""
        host = self._reference.registry
        if host in error.message:
            return error
        hints = error.hints or ("the image is corrupt in the registry, or it was changed in transit",)
        message = f"{error.message} (sent by {host} for {self._reference.repository})"
        return type(error)(message, code=error.code, hints=hints)
