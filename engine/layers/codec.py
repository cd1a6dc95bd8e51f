"""What all compressed streams have in common; memory is bounded whatever the ratio.

A decompressor is fed chunks as they arrive and yields what they unpack to in pieces of at most `MAX_PIECE` bytes (a
plain stream yields the caller's own buffer). 256 KiB stays in a core's second-level cache until it is hashed: pieces
of 4 MiB halve the speed.
"""

from __future__ import annotations

from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    class Decompressor(Protocol):
        """Unpacks one stream."""

        def feed(self, chunk: bytes | memoryview) -> Iterator[bytes | memoryview]:
            """Yield what `chunk` unpacks to; the iterator is to be used up before the next call."""

        def finish(self) -> None:
            """Raise `Malformed(code="truncated")` when the stream ended before its end."""

    class Compressor(Protocol):
        """Packs one stream; equal input, level and library versions give equal output, with no time or name in it."""

        def feed(self, chunk: bytes | memoryview) -> bytes | memoryview:
            """Return the packed bytes that are ready."""

        def finish(self) -> bytes:
            """Return the rest."""


MAX_PIECE = 256 * 1024
"""Maximum size in bytes of one piece of decompressed data."""


def truncated_error(kind: str) -> Malformed:
    """Return the error for a stream that ends too early."""
    return Malformed(f"the {kind} stream breaks off", code="truncated", hints=("it may not be whole: fetch it again",))
