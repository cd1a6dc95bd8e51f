"""Marks corrupt blobs, so that the next pull fetches them although their size is right.

Hashing every stored blob in each pull would cost more than most pulls. Instead, readers verify the digest as they read.
A corrupt blob gets a mark in ingest/, which stays until the blob is replaced. The blob itself is not removed.
"""

from __future__ import annotations

import os
from contextlib import suppress

from imq.grammar.errors import DigestMismatch
from imq.grammar.record import TYPE_CHECKING

from .atomic_files import store_errors
from .bounded_read import read_document
from .leases import CORRUPT_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from imq.engine.oci.digest import Digest

    from .layout import Layout

REPAIR_HINTS = ("to fetch it again: imq verify … repair, or pull the image",)


def mark_corrupt(layout: Layout, digest: Digest) -> DigestMismatch:
    """Mark a blob as corrupt if the store is writable, and return the error to raise."""
    with suppress(OSError):  # read-only store or full disk: the next reader finds it again
        layout.ingest_directory.ensure_file(_mark_name(digest))
    return DigestMismatch(f"the blob {digest} is damaged", hints=REPAIR_HINTS)


def read_verified_document(layout: Layout, digest: Digest, open_blob: Callable[[Digest], BinaryIO]) -> bytes:
    """Return the content of a stored document. Raises `DigestMismatch` when it is corrupt, and marks it."""
    with store_errors(f"read the blob {digest}"), open_blob(digest) as source:
        content = read_document(source, layout.largest_document, f"the document {digest}")
    if not digest.matches(content):
        raise mark_corrupt(layout, digest)
    return content


def is_marked_corrupt(layout: Layout, digest: Digest) -> bool:
    """Whether a blob is marked as corrupt."""
    try:
        return layout.ingest_directory.has_file(_mark_name(digest))
    except FileNotFoundError:
        return False


def unmark_corrupt(layout: Layout, digest: Digest) -> None:
    """Remove the mark of a blob."""
    with suppress(OSError):  # read-only store: it is fetched once more than needed
        layout.ingest_directory.remove_file(_mark_name(digest))


def _mark_name(digest: Digest) -> str:
    return f"{digest.algorithm}-{digest.encoded}{CORRUPT_SUFFIX}"


class VerifiedBlob:
    """A blob for one sequential read: its last bytes are returned only if the digest matches."""

    def __init__(self, layout: Layout, digest: Digest, source: BinaryIO) -> None:
        self._layout = layout
        self._digest = digest
        self._source = source
        self._hasher = digest.new_hash()
        self._remaining = os.fstat(source.fileno()).st_size
        self.size = self._remaining

    def read(self, count: int = -1, /) -> bytes:
        """Return the next bytes, none at the end. Raises `DigestMismatch` when the digest differs."""
        chunk = self._source.read(count)
        self._hasher.update(chunk)
        self._remaining -= len(chunk)
        if chunk and self._remaining <= 0 and self._hasher.hexdigest() != self._digest.encoded:
            raise mark_corrupt(self._layout, self._digest)
        return chunk

    def close(self) -> None:
        """Close the file."""
        self._source.close()
