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

from .leases import CORRUPT_SUFFIX

if TYPE_CHECKING:
    from typing import BinaryIO

    from imq.engine.oci.digest import Digest

    from .layout import Layout

REPAIR_HINTS = ("verify … repair fetches it again, and so does pulling the image",)


def mark_corrupt(layout: Layout, digest: Digest) -> DigestMismatch:
    """Mark a blob as damaged, where anything may be written, and return the error that says so."""
    with suppress(OSError):  # a store that may only be read, or a full disk: it is found again by who reads it again
        layout.ingest_directory.ensure_file(_mark_name(digest))
    return DigestMismatch(f"the blob {digest} is damaged", hints=REPAIR_HINTS)


def is_marked_corrupt(layout: Layout, digest: Digest) -> bool:
    """Whether a blob was found damaged, and has not been replaced since."""
    try:
        return layout.ingest_directory.has_file(_mark_name(digest))
    except FileNotFoundError:
        return False


def unmark_corrupt(layout: Layout, digest: Digest) -> None:
    """Say that a blob is whole."""
    with suppress(OSError):  # where nothing may be written: then it is fetched once more than needed
        layout.ingest_directory.remove_file(_mark_name(digest))


def _mark_name(digest: Digest) -> str:
    return f"{digest.algorithm}-{digest.hex}{CORRUPT_SUFFIX}"


class VerifiedBlob:
    """A blob that is read once, from its beginning: its last bytes are given out only when all have the digest."""

    def __init__(self, layout: Layout, digest: Digest, source: BinaryIO) -> None:
        self._layout = layout
        self._digest = digest
        self._source = source
        self._hasher = digest.hasher()
        self._remaining = os.fstat(source.fileno()).st_size
        self.size = self._remaining

    def read(self, count: int = -1, /) -> bytes:
        """Return the next bytes, none at the end. Raises `DigestMismatch` for other bytes than the digest's."""
        chunk = self._source.read(count)
        self._hasher.update(chunk)
        self._remaining -= len(chunk)
        if chunk and self._remaining <= 0 and self._hasher.hexdigest() != self._digest.hex:
            raise mark_corrupt(self._layout, self._digest)
        return chunk

    def close(self) -> None:
        """Close the file."""
        self._source.close()
