"""The layers of an image, bottom first, as one stream of unpacked pieces that runs ahead of who reads it."""

from __future__ import annotations

from imq.grammar.errors import DigestMismatch, ImqError
from imq.grammar.record import TYPE_CHECKING, Record

from .layer_reader import LayerDecompressor, LayerLimits
from .prefetch import prefetch

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from contextlib import AbstractContextManager
    from typing import Protocol

    from imq.engine.oci.digest import Digest

    class BlobReader(Protocol):
        """Where a blob is read from."""

        def read(self, size: int, /) -> bytes:
            """Return up to `size` bytes, nothing at the end."""

    Pieces = Generator[bytes | memoryview | None, None, None]


_READ_SIZE = 256 * 1024
_MAX_PREFETCHED = 8
"""Pieces that wait to be used: 3 MiB at most."""


class StackedLayer(Record):
    """One layer: its blob, how that is packed (None: its bytes tell), and what it has to unpack to."""

    digest: Digest
    diff_id: Digest
    compression: str | None
    open: Callable[[], AbstractContextManager[BlobReader]]


def iter_unpacked(layers: Sequence[StackedLayer], limits: LayerLimits) -> Pieces:
    """Yield the pieces of each layer's archive, and None where a layer has ended and has the diff ID it should have.

    Errors name the layer: `Malformed` (compression, truncated, bomb), `DigestMismatch(code="diff-id-mismatch")`. Who
    gives the iterator up closes it.
    """
    return prefetch(_unpack_layers(layers, limits), _MAX_PREFETCHED)


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
    """Let a problem say which layer it is about, as those of archives and streams do not."""
    if layer.digest.encoded not in error.message:
        error.message = f"the layer {layer.digest} cannot be unpacked: {error.message}"
    return error
