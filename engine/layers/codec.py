"""The protocols of compressors and decompressors. Memory is bounded, whatever the compression ratio.

A decompressor is fed chunks and yields their decompressed content in pieces of at most `MAX_PIECE` bytes; for a plain
stream it yields the caller's own buffer. 256 KiB stay in the second-level cache of a core until they are hashed: pieces
of 4 MiB halve the speed.
"""

from __future__ import annotations

from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    class Decompressor(Protocol):
        """Decompresses one stream."""

        def feed(self, chunk: bytes | memoryview) -> Iterator[bytes | memoryview]:
            """Yield the content of `chunk`. The iterator must be exhausted before the next call."""

        def finish(self) -> None:
            """Raise `Malformed` (code `truncated`) when the stream is incomplete."""

    class Compressor(Protocol):
        """Compresses one stream. Equal input, level and library versions give equal output: it has no time or name."""

        def feed(self, chunk: bytes | memoryview) -> bytes | memoryview:
            """Return the compressed bytes that are ready."""

        def finish(self) -> bytes:
            """Return the last compressed bytes."""


MAX_PIECE = 256 * 1024
"""The maximum size in bytes of one decompressed piece."""


def truncated_error(kind: str) -> Malformed:
    """Return the error for a stream that ends early."""
    return Malformed(
        f"the {kind} stream is truncated", code="truncated", hints=("it may be incomplete: fetch it again",)
    )
