"""Blobs that were found damaged: marked, so that the next pull fetches them though they are as long as they should be.

Hashing every blob again whenever it is pulled would cost more than most pulls. So whoever reads a blob compares its
digest as it goes, and what is found to be wrong is remembered beside the store until another blob has taken its place.
The blob itself stays where it is: who can still use a part of it decides that himself.
"""

from __future__ import annotations

import os
from contextlib import suppress

from imq.grammar.errors import DigestMismatch
from imq.grammar.record import TYPE_CHECKING

from .leases import DAMAGED

if TYPE_CHECKING:
    from typing import BinaryIO

    from imq.engine.oci.digest import Digest

    from .layout import Layout

PULL_AGAIN = ("verify … repair fetches it again, and so does pulling the image",)


def damaged(layout: Layout, digest: Digest) -> DigestMismatch:
    """Mark a blob as damaged, where anything may be written, and return the error that says so."""
    with suppress(OSError):  # a store that may only be read, or a full disk: it is found again by who reads it again
        layout.ingest.ensure_file(_mark(digest))
    return DigestMismatch(f"the blob {digest} is damaged", hints=PULL_AGAIN)


def is_marked(layout: Layout, digest: Digest) -> bool:
    """Whether a blob was found damaged, and has not been replaced since."""
    try:
        return layout.ingest.has_file(_mark(digest))
    except FileNotFoundError:
        return False


def unmark(layout: Layout, digest: Digest) -> None:
    """Say that a blob is whole."""
    with suppress(OSError):  # where nothing may be written: then it is fetched once more than needed
        layout.ingest.remove_file(_mark(digest))


def _mark(digest: Digest) -> str:
    return f"{digest.algorithm}-{digest.hex}{DAMAGED}"


class CheckedBlob:
    """A blob that is read once, from its beginning: its last bytes are given out only when all have the digest."""

    def __init__(self, layout: Layout, digest: Digest, source: BinaryIO) -> None:
        self._layout = layout
        self._digest = digest
        self._source = source
        self._hasher = digest.hasher()
        self._left = os.fstat(source.fileno()).st_size
        self.size = self._left

    def read(self, count: int = -1, /) -> bytes:
        """Return the next bytes, none at the end. Raises `DigestMismatch` for other bytes than the digest's."""
        piece = self._source.read(count)
        self._hasher.update(piece)
        self._left -= len(piece)
        if piece and self._left <= 0 and self._hasher.hexdigest() != self._digest.hex:
            raise damaged(self._layout, self._digest)
        return piece

    def close(self) -> None:
        """Close the file."""
        self._source.close()
