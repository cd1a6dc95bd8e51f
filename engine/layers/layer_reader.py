"""Decompresses a layer, and counts and hashes the decompressed bytes.

Decompression costs most (880 MB/s), hashing half of that. They run in parallel, each without the interpreter lock. When
the caller keeps all processors busy, one thread does both, while a piece is in the processor's cache.
"""

from __future__ import annotations

import hashlib

from imq.engine.oci.digest import Digest
from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING, Record

from .compression import detect_compression, make_decompressor
from .tar_header import BLOCK_SIZE
from .tar_walker import TarLimits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from queue import SimpleQueue
    from typing import Self

    from .codec import Decompressor

_GIB = 1 << 30
_NEEDS_WHOLE_BLOCK = frozenset({"", "bzip2"})
"""Results of `detect_compression` that are certain only for a whole block."""
_HASH_INLINE_UP_TO = 1 << 20
"""Decompressed bytes up to which a hashing thread is not worth starting."""
_MAX_QUEUED = 8
"""The maximum number of pieces that wait for the hashing thread: 2 MiB."""


class LayerLimits(Record):
    """Limits of the decompressed size; a layer that exceeds them is rejected as a decompression bomb."""

    max_bytes: int = 64 * _GIB
    max_ratio: int = 1500
    """Decompressed to compressed bytes. gzip cannot exceed 1,032, and legitimate files of zeros come close."""
    ratio_threshold: int = 4 * _GIB
    """The ratio is checked only for layers with more decompressed bytes."""
    archive: TarLimits = TarLimits()


class LayerDecompressor:
    """Decompresses one layer: call feed() with its bytes, then flush(), then finish() for its diff ID.

    With `compression` None it is detected from the first bytes. The layers of images are read so: their media types
    are only labels, and docker, podman and skopeo detect the compression too.

    Every error is a `Malformed` (codes: compression, truncated, bomb). A decompressor that is not finished must be
    closed; leaving its `with` block does so. `size` is the number of decompressed bytes.

    The diff ID of an uncompressed layer is the digest of its blob. A caller that hashes the blob itself passes its hash
    object as `blob_hash`, so that nothing is hashed twice. With `hashes_inline` no thread is started.
    """

    def __init__(
        self,
        compression: str | None,
        limits: LayerLimits,
        *,
        diff_algorithm: str = "sha256",
        blob_hash: hashlib._Hash | None = None,
        hashes_inline: bool = False,
    ) -> None:
        self.size = 0
        self._limits = limits
        self._algorithm = diff_algorithm
        self._hash = hashlib.new(diff_algorithm)
        self._blob_hash = blob_hash
        self._hashes_inline = hashes_inline
        self._is_plain = self._uses_blob_hash = False
        self._decompressor: Decompressor | None = None
        self._undetected = b""  # the first bytes, until the compression is detected
        if compression is not None:
            self._set_compression(compression)
        self._hash_thread: _HashThread | None = None
        self._compressed_size = 0

    def _set_compression(self, compression: str) -> Decompressor:
        self._decompressor = make_decompressor(compression)
        self._is_plain = compression == ""
        if self._is_plain and self._blob_hash is not None and self._blob_hash.name == self._algorithm:
            self._uses_blob_hash, self._hash = True, self._blob_hash
        return self._decompressor

    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes | memoryview]:
        """Yield the decompressed content of `chunk`. The iterator must be exhausted before `chunk` is reused."""
        decompressor = self._decompressor
        if decompressor is None:
            if self._undetected:
                chunk, self._undetected = self._undetected + chunk, b""
            compression = detect_compression(bytes(chunk[:BLOCK_SIZE]))
            if compression in _NEEDS_WHOLE_BLOCK and len(chunk) < BLOCK_SIZE:
                self._undetected = bytes(chunk)
                return
            decompressor = self._set_compression(compression)
        yield from self._decompress(decompressor, chunk)

    def flush(self) -> Iterator[bytes | memoryview]:
        """Yield the content of a stream that was too short to detect its compression. Call it after all feeds."""
        if self._decompressor is None:
            yield from self._decompress(self._set_compression(detect_compression(self._undetected)), self._undetected)
            self._undetected = b""

    def _decompress(self, decompressor: Decompressor, chunk: bytes | memoryview) -> Iterator[bytes | memoryview]:
        self._compressed_size += len(chunk)
        for piece in decompressor.feed(chunk):
            self.size += len(piece)
            if self.size > self._limits.max_bytes or self.size > self._limits.ratio_threshold:
                self._check_limits()
            if not self._uses_blob_hash:
                self._hash_piece(piece)
            yield piece

    def _hash_piece(self, piece: bytes | memoryview) -> None:
        if self._hash_thread is not None:
            self._hash_thread.update(piece)
        elif self._hashes_inline or self._is_plain or self.size < _HASH_INLINE_UP_TO:
            self._hash.update(piece)  # that of a plain layer at once: the caller may reuse it
        else:
            self._hash_thread = _start_hash_thread(self._hash)
            (self._hash_thread or self._hash).update(piece)

    def _check_limits(self) -> None:
        limits = self._limits
        if self.size > limits.max_bytes:
            raise Malformed(f"the layer unpacks to more than {limits.max_bytes:,} bytes", code="bomb")
        if self.size > limits.max_ratio * self._compressed_size:
            raise Malformed(f"the layer unpacks to more than {limits.max_ratio:,} times its size", code="bomb")

    def finish(self) -> Digest:
        """Return the digest of the decompressed archive. Call `flush` before it.

        Raises `Malformed` when the compressed stream is incomplete.
        """
        try:
            assert self._decompressor is not None
            self._decompressor.finish()
        finally:
            self.close()
        return Digest.parse(f"{self._algorithm}:{self._hash.hexdigest()}")

    def close(self) -> None:
        """End the hashing thread. Idempotent."""
        if self._hash_thread is not None:
            self._hash_thread.close()
            self._hash_thread = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()


def _start_hash_thread(hasher: hashlib._Hash) -> _HashThread | None:
    """Start a hashing thread; return None when the system cannot start another, and the caller hashes itself."""
    try:
        return _HashThread(hasher)
    except RuntimeError:
        return None


class _HashThread:
    """Hashes pieces in order in a thread of its own."""

    def __init__(self, hasher: hashlib._Hash) -> None:
        from queue import SimpleQueue
        from threading import Thread

        self._pieces: SimpleQueue[bytes | memoryview | None] = SimpleQueue()
        self._slots: SimpleQueue[None] = SimpleQueue()  # a semaphore, faster than the pure Python one of threading
        for _ in range(_MAX_QUEUED):
            self._slots.put(None)
        self._thread = Thread(target=_hash_pieces, args=(hasher, self._pieces, self._slots), daemon=True)
        self._thread.start()

    def update(self, piece: bytes | memoryview) -> None:
        """Queue `piece` for hashing; wait while the queue is full."""
        self._slots.get()
        self._pieces.put(piece)

    def close(self) -> None:
        """Wait until everything is hashed."""
        self._pieces.put(None)
        self._thread.join()


def _hash_pieces(
    hasher: hashlib._Hash, pieces: SimpleQueue[bytes | memoryview | None], slots: SimpleQueue[None]
) -> None:
    while (piece := pieces.get()) is not None:
        hasher.update(piece)
        slots.put(None)
