"""Blobs from a registry into a store, each gone on with where an earlier transfer of it broke off."""

from __future__ import annotations

from http import HTTPStatus

from imq.engine import progress as words
from imq.engine.oci import media_types
from imq.grammar.errors import DigestMismatch, Malformed, RegistryError
from imq.grammar.record import TYPE_CHECKING

from .byte_counter import Counter

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.manifest import Descriptor
    from imq.engine.oci.reference import Reference
    from imq.engine.progress import Progress
    from imq.engine.registry.mirrors import Blob, Fetcher

    from .byte_counter import LayerCount
    from .worker_pool import Job, Work
else:
    Protocol = object

_FOREIGN_HINT = "imq asks registries alone; a registry that has the layer itself can be pulled from"


class Receiver(Protocol):
    """Where blobs are put; called from several threads."""

    def partial_size(self, descriptor: Descriptor) -> int:
        """Return how many bytes of a blob are here from an earlier transfer; they are not checked yet."""

    def receive_blob(
        self,
        descriptor: Descriptor,
        diff_id: Digest | None,
        readinto: Callable[[memoryview], int],
        is_cancelled: Callable[[], bool],
        partial_size: int | None = None,
    ) -> None:
        """Store a blob from a stream that goes on behind the bytes that are `begun`: read until 0 is returned.

        Size and digest are verified before it is visible. With `begun`, what has come stays when the stream breaks.
        """


class Transfers:
    """The blobs of one repository on their way into a store, counted together."""

    def __init__(self, client: Fetcher, reference: Reference, store: Receiver, progress: Progress) -> None:
        self._client = client
        self._reference = reference
        self._store = store
        self._progress = progress
        self._counter = Counter(progress)

    @property
    def total(self) -> int:
        """Bytes that have travelled."""
        return self._counter.total

    def job(self, blob: Descriptor, diff_id: Digest | None) -> Job:
        """Return what fetches a blob; with a `diff_id` it is a layer that must unpack to that."""
        count = self._counter.layer(blob.digest, blob.size)

        def fetch(work: Work) -> None:
            while not self._received(work, blob, diff_id, count):
                pass
            self._progress.status(blob.digest, words.PULLED, blob.size)

        return fetch

    def _received(self, work: Work, blob: Descriptor, diff_id: Digest | None, count: LayerCount) -> bool:
        """Fetch a blob; return False when its bytes were wrong, and there are others to be had."""
        begun = done = self._store.partial_size(blob)
        count.begin(begun)
        self._progress.status(blob.digest, words.DOWNLOADING, blob.size)
        stream: Blob | None = None

        def readinto(view: memoryview) -> int:
            nonlocal done, stream
            if stream is None:  # only now: to hash what is here already may take longer than a server waits
                if begun == blob.size:
                    return 0
                stream = self._opened(blob, begun, work)
                work.watch(stream)
            read = stream.readinto(view)
            done += read
            count.reach(done)
            if not read:
                self._progress.status(blob.digest, words.DOWNLOADED, blob.size)
            return read

        try:
            self._store.receive_blob(blob, diff_id, readinto, lambda: work.stopped, begun)
        except (DigestMismatch, Malformed) as problem:
            if begun or self._client.distrust(blob):  # what was here may be what is wrong, and is gone now
                return False
            raise self._sent_by(problem) from None
        finally:
            if stream is not None:
                work.forget(stream)
                stream.close()
        return True

    def _opened(self, blob: Descriptor, begun: int, work: Work) -> Blob:
        """Open a blob; the other places that a foreign layer may be had from are not asked."""
        try:
            return self._client.open_blob(self._reference, blob, begun, work.stop)
        except RegistryError as problem:
            if problem.status != HTTPStatus.NOT_FOUND or not (blob.urls or media_types.is_foreign(blob.media_type)):
                raise
            raise RegistryError(
                f"the layer {blob.digest.short} of {self._reference} may not be handed on by registries, "
                f"and {self._reference.registry} has not got it",
                code="foreign-layer",
                status=problem.status,
                host=problem.host,
                hints=(*(f"the image says that it is at {url}" for url in blob.urls[:1]), _FOREIGN_HINT),
            ) from None

    def _sent_by(self, problem: DigestMismatch | Malformed) -> DigestMismatch | Malformed:
        """Say which registry sent what the store refuses; the store does not know."""
        host = self._reference.registry
        if host in problem.message:
            return problem
        hints = problem.hints or ("the image is broken as it is stored there, or something on the way changes it",)
        told = f"{problem.message} (sent by {host} for {self._reference.repository})"
        return type(problem)(told, code=problem.code, hints=hints)
