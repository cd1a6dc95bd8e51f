"""The layers of an image, bottom first, as one stream of decompressed pieces, prefetched by a thread."""

from __future__ import annotations

from imq.grammar.errors import DigestMismatch, ImqError
from imq.grammar.record import TYPE_CHECKING, Record

from .background_iterator import iterate_in_background
from .layer_reader import LayerDecompressor, LayerLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from contextlib import AbstractContextManager
    from typing import Protocol

    from imq.engine.oci.digest import Digest

    class BlobReader(Protocol):
        """A blob that is open for reading."""

        def read(self, size: int, /) -> bytes:
            """Return up to `size` bytes, none at the end."""

    Pieces = Generator[bytes | memoryview | None, None, None]


_READ_SIZE = 256 * 1024
_MAX_PREFETCHED = 8
"""The maximum number of prefetched pieces: at most 2 MiB."""


class StackedLayer(Record):
    """One layer: its blob, its compression (None: detected from its bytes), and the diff ID of its config."""

    digest: Digest
    diff_id: Digest
    compression: str | None
    open: Callable[[], AbstractContextManager[BlobReader]]


def iter_unpacked(layers: Sequence[StackedLayer], limits: LayerLimits) -> Pieces:
    """Yield the pieces of each layer's archive, and None at the end of a layer whose diff ID matches.

    Errors name the layer: `Malformed` (codes: compression, truncated, bomb), and `DigestMismatch` (code:
    diff-id-mismatch). An iterator that is not exhausted must be closed.
    """
    return iterate_in_background(_unpack_layers(layers, limits), _MAX_PREFETCHED)


def _unpack_layers(layers: Sequence[StackedLayer], limits: LayerLimits) -> Pieces:
    for layer in layers:
        try:
            with (
                layer.open() as source,
                LayerDecompressor(layer.compression, limits, diff_algorithm=layer.diff_id.algorithm) as decompressor,
            ):
                while chunk := source.read(_READ_SIZE):
                    yield from decompressor.feed(chunk)
                yield from decompressor.flush()
                diff_id = decompressor.finish()
        except ImqError as error:
            raise with_layer_context(layer, error) from None
        if diff_id != layer.diff_id:
            raise DigestMismatch(
                f"the layer {layer.digest} unpacks to {diff_id}, but the config says {layer.diff_id}",
                code="diff-id-mismatch",
                hints=("the image is damaged or forged; remove it",),
            )
        yield None


def with_layer_context(layer: StackedLayer, error: ImqError) -> ImqError:
    """Add the digest of the layer to an error of its archive or stream."""
    if layer.digest.encoded not in error.message:
        error.message = f"the layer {layer.digest} cannot be unpacked: {error.message}"
    return error
