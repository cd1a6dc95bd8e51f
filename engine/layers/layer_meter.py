"""Measures a layer while it is received: its diff ID, its size as docker counts it, and the number of its entries.

A pull does this for every layer, so it must keep up with the network: compared to decompression and hashing, the cost
of walking the archive is negligible.
"""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING, Record

from .layer_reader import LayerDecompressor, LayerLimits
from .tar_walker import TarWalker

if TYPE_CHECKING:
    import hashlib
    from collections.abc import Callable
    from typing import Protocol, Self

    from imq.engine.oci.digest import Digest

    from .tar_entry import TarEntry

    class Walker(Protocol):
        """Walks an archive, as `TarWalker` does."""

        @property
        def size(self) -> int: ...  # noqa: D102 - see `TarWalker`
        @property
        def entries(self) -> int: ...  # noqa: D102

        def feed(self, piece: bytes | memoryview, /) -> None:
            """Walk the next piece of the archive, which may be reused after the call."""

        def finish(self) -> None:
            """Raise `Malformed` when the archive is incomplete."""


class LayerSummary(Record):
    """The measures of a complete layer."""

    diff_id: Digest
    """The digest of the decompressed archive."""
    size: int
    """The sum of the file sizes in bytes."""
    tar_size: int
    """The size of the decompressed archive in bytes."""
    entries: int


class LayerMeter:
    """Measures one layer: call feed() with its bytes, in the given `compression`, then finish().

    Every error is a `Malformed` (codes: compression, truncated, archive, bomb) and closes the meter. A meter that is
    not finished must be closed; leaving its `with` block does so. `blob_hash` and `hashes_inline` are those of
    `LayerDecompressor`. `walker` walks the archive in place of the own one, which calls `on_entry`.
    """

    def __init__(
        self,
        compression: str | None,
        *,
        diff_algorithm: str = "sha256",
        limits: LayerLimits | None = None,
        blob_hash: hashlib._Hash | None = None,
        on_entry: Callable[[TarEntry], None] | None = None,
        walker: Walker | None = None,
        hashes_inline: bool = False,
    ) -> None:
        limits = limits or LayerLimits()
        self._layer = LayerDecompressor(
            compression,
            limits,
            diff_algorithm=diff_algorithm,
            blob_hash=blob_hash,
            hashes_inline=hashes_inline,
        )
        self._walker: Walker = walker or TarWalker(on_entry, limits.archive)

    def feed(self, chunk: bytes | memoryview) -> None:
        """Measure the next bytes of the layer. `chunk` may be reused after the call."""
        try:
            for piece in self._layer.feed(chunk):
                self._walker.feed(piece)
        except BaseException:
            self.close()
            raise

    def finish(self) -> LayerSummary:
        """Return the measures. Raises `Malformed` when the layer is incomplete."""
        for piece in self._layer.flush():
            self._walker.feed(piece)
        diff_id = self._layer.finish()
        self._walker.finish()
        return LayerSummary(
            diff_id=diff_id,
            size=self._walker.size,
            tar_size=self._layer.size,
            entries=self._walker.entries,
        )

    def close(self) -> None:
        """End the hashing thread. Idempotent."""
        self._layer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()
