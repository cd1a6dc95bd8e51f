"""What a layer unpacks to: its diff ID, its size as docker counts it, its entries; measured as the bytes come in.

A pull does this for every layer, so it has to keep up with the network. Inflating costs most (880 MB/s), hashing half
of that: they run side by side, each outside the interpreter's lock, and walking the archive takes the crumbs.
"""

from __future__ import annotations

import hashlib

from imq.engine.oci.digest import Digest
from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING, Record

from .compression import decompressor
from .tar import TarLimits, TarWalker

if TYPE_CHECKING:
    from collections.abc import Callable
    from queue import SimpleQueue
    from typing import Self

    from .tar import Entry

_GIB = 1 << 30
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


class Measured(Record):
    """What a whole layer unpacks to."""

    diff_id: Digest
    """Digest of the unpacked archive."""
    size: int
    """Bytes in files: the sum of the contents of the archive's entries."""
    tar_size: int
    """Bytes of the unpacked archive."""
    entries: int


class LayerMeter:
    """Measures one layer: feed() it as it comes, packed as `compression` says, then finish().

    Every error is a `Malformed` (codes: compression, truncated, archive, bomb) and ends the meter. A meter that is
    given up earlier must be closed, as leaving its `with` block does.

    A plain layer's diff ID is the digest of the blob. Who hashes the blob anyway passes that hash object as
    `blob_hash` and goes on feeding it: then nothing is hashed twice.
    """

    def __init__(
        self,
        compression: str,
        *,
        diff_algorithm: str = "sha256",
        limits: LayerLimits | None = None,
        blob_hash: hashlib._Hash | None = None,
        on_entry: Callable[[Entry], None] | None = None,
    ) -> None:
        self._limits = limits or LayerLimits()
        self._decompressor = decompressor(compression)
        self._walker = TarWalker(on_entry, self._limits.archive)
        self._algorithm = diff_algorithm
        self._hash = hashlib.new(diff_algorithm)
        self._plain = compression == ""
        self._shared = blob_hash is not None and self._plain and blob_hash.name == diff_algorithm
        if blob_hash is not None and self._shared:
            self._hash = blob_hash
        self._thread: _HashThread | None = None
        self._packed = 0
        self._unpacked = 0

    def feed(self, chunk: bytes | memoryview) -> None:
        """Measure the next bytes of the layer; `chunk` may be reused after the call."""
        self._packed += len(chunk)
        try:
            for piece in self._decompressor.feed(chunk):
                self._unpacked += len(piece)
                if self._unpacked > self._limits.most_bytes or self._unpacked > self._limits.ratio_from:
                    self._weigh()
                if not self._shared:
                    self._update(piece)
                self._walker.feed(piece)
        except BaseException:
            self.close()
            raise

    def _update(self, piece: bytes | memoryview) -> None:
        if self._thread is not None:
            self._thread.update(piece)
        elif self._plain or self._unpacked < _SMALL:  # a plain layer's pieces are the caller's, who will reuse them
            self._hash.update(piece)
        else:
            self._thread = _HashThread(self._hash)
            self._thread.update(piece)

    def _weigh(self) -> None:
        limits = self._limits
        if self._unpacked > limits.most_bytes:
            raise Malformed(f"the layer unpacks to more than {limits.most_bytes:,} bytes", code="bomb")
        if self._unpacked > limits.most_ratio * self._packed:
            raise Malformed(f"the layer unpacks to more than {limits.most_ratio:,} times its size", code="bomb")

    def finish(self) -> Measured:
        """Return the measures, or raise `Malformed` when the layer is not whole."""
        try:
            self._decompressor.finish()
            self._walker.finish()
        finally:
            self.close()
        return Measured(
            diff_id=Digest.parse(f"{self._algorithm}:{self._hash.hexdigest()}"),
            size=self._walker.size,
            tar_size=self._unpacked,
            entries=self._walker.entries,
        )

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
