"""A layer as it unpacks: the pieces of its archive, weighed and hashed while they are made.

Inflating costs most (880 MB/s), hashing half of that: they run side by side, each outside the interpreter's lock.
"""

from __future__ import annotations

import hashlib

from imq.engine.oci.digest import Digest
from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING, Record

from .compression import decompressor, sniff
from .tar_header import BLOCK
from .tar_walker import TarLimits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from queue import SimpleQueue
    from typing import Self

    from .codec import Decompressor

_GIB = 1 << 30
_UNSURE = frozenset({"", "bzip2"})
"""What `sniff` tells surely only of a whole block."""
_SMALL = 1 << 20
"""Unpacked bytes up to which a thread for hashing is not worth starting."""
_WAITING = 8
"""Most pieces that wait for the hashing thread: 2 MiB, or 3 of zstd."""


class LayerLimits(Record):
    """How far a layer may unpack before it is refused as a bomb."""

    most_bytes: int = 64 * _GIB
    most_ratio: int = 1500
    """Unpacked to packed bytes. gzip cannot pass 1,032, and honest files of zeros come near that."""
    ratio_from: int = 4 * _GIB
    """The ratio counts only for layers that unpack to more."""
    archive: TarLimits = TarLimits()


class UnpackedLayer:
    """Unpacks one layer: feed() it as it comes, packed as `compression` says, then finish() for its diff ID.

    With `compression` None the first bytes tell how it is packed. That is how the layers of images are read: their
    media types are labels, and docker, podman and skopeo look at the bytes too.

    Every error is a `Malformed` (codes: compression, truncated, bomb). Who gives up earlier closes it, as leaving its
    `with` block does. `size` is how many bytes it has unpacked to.

    A plain layer's diff ID is the digest of the blob. Who hashes the blob anyway passes that hash object as
    `blob_hash` and goes on feeding it: then nothing is hashed twice.
    """

    def __init__(
        self,
        compression: str | None,
        limits: LayerLimits,
        *,
        diff_algorithm: str = "sha256",
        blob_hash: hashlib._Hash | None = None,
    ) -> None:
        self.size = 0
        self._limits = limits
        self._algorithm = diff_algorithm
        self._hash = hashlib.new(diff_algorithm)
        self._blob_hash = blob_hash
        self._plain = self._shared = False
        self._decompressor: Decompressor | None = None
        self._head = b""  # what has come while nobody knows how it is packed
        if compression is not None:
            self._begin(compression)
        self._thread: _HashThread | None = None
        self._packed = 0

    def _begin(self, compression: str) -> Decompressor:
        self._decompressor = decompressor(compression)
        self._plain = compression == ""
        if self._plain and self._blob_hash is not None and self._blob_hash.name == self._algorithm:
            self._shared, self._hash = True, self._blob_hash
        return self._decompressor

    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes | memoryview]:
        """Yield what `chunk` unpacks to; the iterator is to be used up before `chunk` is reused and the next call."""
        unpack = self._decompressor
        if unpack is None:
            if self._head:
                chunk, self._head = self._head + chunk, b""
            compression = sniff(bytes(chunk[:BLOCK]))
            if compression in _UNSURE and len(chunk) < BLOCK:
                self._head = bytes(chunk)
                return
            unpack = self._begin(compression)
        yield from self._unpack(unpack, chunk)

    def flush(self) -> Iterator[bytes | memoryview]:
        """Yield what is left once everything was fed: a stream so short that its compression was not known before."""
        if self._decompressor is None:
            yield from self._unpack(self._begin(sniff(self._head)), self._head)
            self._head = b""

    def _unpack(self, unpack: Decompressor, chunk: bytes | memoryview) -> Iterator[bytes | memoryview]:
        self._packed += len(chunk)
        for piece in unpack.feed(chunk):
            self.size += len(piece)
            if self.size > self._limits.most_bytes or self.size > self._limits.ratio_from:
                self._weigh()
            if not self._shared:
                self._update(piece)
            yield piece

    def _update(self, piece: bytes | memoryview) -> None:
        if self._thread is not None:
            self._thread.update(piece)
        elif self._plain or self.size < _SMALL:  # a plain layer's pieces are the caller's, who will reuse them
            self._hash.update(piece)
        else:
            self._thread = _HashThread(self._hash)
            self._thread.update(piece)

    def _weigh(self) -> None:
        limits = self._limits
        if self.size > limits.most_bytes:
            raise Malformed(f"the layer unpacks to more than {limits.most_bytes:,} bytes", code="bomb")
        if self.size > limits.most_ratio * self._packed:
            raise Malformed(f"the layer unpacks to more than {limits.most_ratio:,} times its size", code="bomb")

    def finish(self) -> Digest:
        """Return the digest of the unpacked archive, or raise `Malformed` when the packed stream is not whole.

        `flush` comes before it.
        """
        try:
            assert self._decompressor is not None
            self._decompressor.finish()
        finally:
            self.close()
        return Digest.parse(f"{self._algorithm}:{self._hash.hexdigest()}")

    def close(self) -> None:
        """End the thread; closing twice does nothing."""
        if self._thread is not None:
            self._thread.close()
            self._thread = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()


class _HashThread:
    """Hashes pieces in order, behind the caller's back."""

    def __init__(self, hasher: hashlib._Hash) -> None:
        from queue import SimpleQueue
        from threading import Thread

        self._pieces: SimpleQueue[bytes | memoryview | None] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()  # a semaphore, without the Python that threading's is made of
        for _ in range(_WAITING):
            self._room.put(None)
        self._thread = Thread(target=_hash_all, args=(hasher, self._pieces, self._room), daemon=True)
        self._thread.start()

    def update(self, piece: bytes | memoryview) -> None:
        """Hash `piece` some time; wait when too many are waiting already."""
        self._room.get()
        self._pieces.put(piece)

    def close(self) -> None:
        """Wait until everything is hashed."""
        self._pieces.put(None)
        self._thread.join()


def _hash_all(hasher: hashlib._Hash, pieces: SimpleQueue[bytes | memoryview | None], room: SimpleQueue[None]) -> None:
    while (piece := pieces.get()) is not None:
        hasher.update(piece)
        room.put(None)
