"""Reads of small files, in memory that grows with the file and not with the limit."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import BinaryIO

_FIRST = 64 << 10


def read_bounded(source: BinaryIO, limit: int) -> bytes:
    """Return the bytes of a file; `limit` + 1 bytes mean that it has more than `limit`.

    `source.read(limit + 1)` would allocate the whole limit before it reads the first byte.
    """
    pieces: list[bytes] = []
    size, remaining = _FIRST, limit + 1
    while remaining > 0:
        piece = source.read(min(size, remaining))
        pieces.append(piece)
        remaining -= len(piece)
        if len(piece) < size:
            break
        size *= 2
    return b"".join(pieces)
