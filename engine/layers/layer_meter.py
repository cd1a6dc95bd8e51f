"""What a layer unpacks to: its diff ID, its size as docker counts it, its entries; measured as the bytes come in.

A pull does this for every layer, so it has to keep up with the network: beside inflating and hashing, walking the
archive takes the crumbs.
"""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING, Record

from .layer_reader import LayerDecompressor, LayerLimits
from .tar_walker import TarWalker

if TYPE_CHECKING:
    import hashlib
    from collections.abc import Callable
    from typing import Self

    from imq.engine.oci.digest import Digest

    from .tar_entry import TarEntry


class LayerSummary(Record):
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
    given up earlier must be closed, as leaving its `with` block does. `blob_hash` is as for `UnpackedLayer`.
    """

    def __init__(
        self,
        compression: str | None,
        *,
        diff_algorithm: str = "sha256",
        limits: LayerLimits | None = None,
        blob_hash: hashlib._Hash | None = None,
        on_entry: Callable[[TarEntry], None] | None = None,
    ) -> None:
        limits = limits or LayerLimits()
        self._layer = LayerDecompressor(compression, limits, diff_algorithm=diff_algorithm, blob_hash=blob_hash)
        self._walker = TarWalker(on_entry, limits.archive)

    def feed(self, chunk: bytes | memoryview) -> None:
        """Measure the next bytes of the layer; `chunk` may be reused after the call."""
        try:
            for piece in self._layer.feed(chunk):
                self._walker.feed(piece)
        except BaseException:
            self.close()
            raise

    def finish(self) -> LayerSummary:
        """Return the measures, or raise `Malformed` when the layer is not whole."""
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
        """End the thread; closing twice does nothing."""
        self._layer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()
