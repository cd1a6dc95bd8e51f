"""Reads small files; memory use grows with the file, not with the limit."""

from __future__ import annotations

from imq.engine.oci.manifest import check_document_size
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import BinaryIO

_FIRST_SIZE = 64 << 10


def read_bounded(source: BinaryIO, limit: int) -> bytes:
    """Return the content of a file, at most `limit` + 1 bytes: the caller checks whether it is longer than `limit`.

    `source.read(limit + 1)` would allocate the whole limit before it reads the first byte.
    """
    pieces: list[bytes] = []
    size, remaining = _FIRST_SIZE, limit + 1
    while remaining > 0:
        piece = source.read(min(size, remaining))
        pieces.append(piece)
        remaining -= len(piece)
        if len(piece) < size:
            break
        size *= 2
    return b"".join(pieces)


def read_document(source: BinaryIO, limit: int, name: str) -> bytes:
    """Return the content of a document; raises `Malformed` (code `document-size`) if it is longer than `limit`."""
    content = read_bounded(source, limit)
    check_document_size(len(content), limit, name)
    return content
