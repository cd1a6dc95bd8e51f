"""The layers of an image, bottom first, as one stream of unpacked pieces that runs ahead of who reads it."""

from __future__ import annotations

from imq.grammar.errors import DigestMismatch, ImqError
from imq.grammar.record import TYPE_CHECKING, Record

from .layer_reader import LayerLimits, UnpackedLayer
from .prefetch import run_ahead

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from contextlib import AbstractContextManager
    from typing import Protocol

    from imq.engine.oci.digest import Digest

    class Source(Protocol):
        """Where a blob is read from."""

        def read(self, size: int, /) -> bytes:
            """Return up to `size` bytes, nothing at the end."""

    Pieces = Generator[bytes | memoryview | None, None, None]


_CHUNK = 256 * 1024
_AHEAD = 8
"""Pieces that wait to be used: 3 MiB at most."""


class StackedLayer(Record):
    """One layer: its blob, how that is packed (None: its bytes tell), and what it has to unpack to."""

    digest: Digest
    diff_id: Digest
    compression: str | None
    open: Callable[[], AbstractContextManager[Source]]


def unpacked_pieces(layers: Sequence[StackedLayer], limits: LayerLimits) -> Pieces:
    """Yield the pieces of each layer's archive, and None where a layer has ended and has the diff ID it should have.

    Errors name the layer: `Malformed` (compression, truncated, bomb), `DigestMismatch(code="diff-id-mismatch")`. Who
    gives the iterator up closes it.
    """
    return run_ahead(_pieces(layers, limits), _AHEAD)


def _pieces(layers: Sequence[StackedLayer], limits: LayerLimits) -> Pieces:
    for layer in layers:
        try:
            with (
                layer.open() as source,
                UnpackedLayer(layer.compression, limits, diff_algorithm=layer.diff_id.algorithm) as unpacked,
            ):
                while chunk := source.read(_CHUNK):
                    yield from unpacked.feed(chunk)
                yield from unpacked.flush()
                found = unpacked.finish()
        except ImqError as problem:
            raise about(layer, problem) from None
        if found != layer.diff_id:
            raise DigestMismatch(
                f"the layer {layer.digest} unpacks to {found}, but the config says {layer.diff_id}",
                code="diff-id-mismatch",
                hints=("the image is damaged or forged; remove it",),
            )
        yield None


def about(layer: StackedLayer, problem: ImqError) -> ImqError:
    """Let a problem say which layer it is about, as those of archives and streams do not."""
    if layer.digest.hex not in problem.message:
        problem.message = f"the layer {layer.digest} cannot be unpacked: {problem.message}"
    return problem
