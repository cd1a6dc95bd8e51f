"""Reads the contents of entries of a layer, in one pass over its archive, and returns the diff ID to verify it by."""

from __future__ import annotations

import hashlib
import json

from imq.engine.layers.layer_reader import LayerDecompressor, LayerLimits
from imq.engine.layers.tar_entry import TarEntry
from imq.engine.layers.tar_sparse import SparseWriter
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Protocol

    from imq.engine.oci.digest import Digest

    class ContentSink(Protocol):
        """Takes the content of one file, in order.

        Two more methods are called of a sink that has them: `end_content()` when the content is complete, since what
        a sink holds should go long before the layer ends; and `skip(size)` in place of zeros for the holes of a sparse
        file, which can be larger than any disk.
        """

        def write(self, piece: memoryview | bytes, /) -> object:
            """Take the next piece. It may be reused after the call."""


_ZEROS = bytes(1 << 16)


class StoredContent(Record):
    """Where the archive of a layer has the content of a file: `offset` and `stored_size`; its `size`, holes included.

    `details` is the JSON of the entry, with the map of a sparse file.
    """

    offset: int
    stored_size: int
    size: int
    details: str | None = None


def read_contents(
    chunks: Iterable[bytes | memoryview],
    contents: Sequence[tuple[StoredContent, ContentSink]],
    *,
    algorithm: str = "sha256",
    limits: LayerLimits | None = None,
    report: Callable[[int], object] = lambda _size: None,
    hashes_inline: bool = False,
) -> Digest:
    """Write each content of a layer, compressed or not, to its sinks; return the diff ID of the layer.

    `report` is called with the sizes of the pieces of the decompressed archive. `hashes_inline` is that of
    `scan_layer`.

    Raises `Malformed` (codes: compression, truncated, bomb).
    """
    pending = sorted(contents, key=lambda one: one[0].offset, reverse=True)
    active: list[_Writer] = []
    position = 0
    limits = limits or LayerLimits()
    with LayerDecompressor(None, limits, diff_algorithm=algorithm, hashes_inline=hashes_inline) as layer:

        def take(piece: bytes | memoryview) -> None:
            nonlocal position, active
            view, end = memoryview(piece), position + len(piece)
            while pending and pending[-1][0].offset < end:
                active.append(_Writer(*pending.pop()))
            for writer in active:
                writer.take(view, position)
                if not writer.remaining:
                    end_content(writer.sink)
            active = [writer for writer in active if writer.remaining]
            position = end
            report(len(view))

        for chunk in chunks:
            for piece in layer.feed(chunk):
                take(piece)
        for piece in layer.flush():
            take(piece)
        return layer.finish()


def end_content(sink: ContentSink) -> None:
    """Tell a sink that its content is complete."""
    end: Callable[[], object] | None = getattr(sink, "end_content", None)
    if end is not None:
        end()


class _Writer:
    """Writes one content to its sink, with zeros for the holes of a sparse file."""

    def __init__(self, content: StoredContent, sink: ContentSink) -> None:
        self.sink = sink
        self.remaining = content.stored_size
        self._offset = content.offset
        self._size = content.size
        self._written = 0
        self._sparse = _make_sparse_writer(content, self._write_at)
        self._skip: Callable[[int], object] | None = getattr(sink, "skip", None)

    def take(self, piece: memoryview, position: int) -> None:
        """Take the part of the content in a piece of the archive that begins at `position`."""
        start = self._offset - position
        part = piece[start : start + self.remaining]
        self._offset += len(part)
        self.remaining -= len(part)
        if self._sparse is None:
            self.sink.write(part)
            return
        self._sparse.write(part)
        if not self.remaining:
            self._sparse.finish()
            self._fill(self._size)

    def _write_at(self, piece: memoryview, offset: int) -> int:
        self._fill(offset)
        self.sink.write(piece)
        self._written += len(piece)
        return len(piece)

    def _fill(self, end: int) -> None:
        if self._skip is not None and self._written < end:
            self._skip(end - self._written)
            self._written = end
        while self._written < end:
            zeros = _ZEROS[: end - self._written]
            self.sink.write(zeros)
            self._written += len(zeros)


def _make_sparse_writer(content: StoredContent, write_at: Callable[[memoryview, int], int]) -> SparseWriter | None:
    details = json.loads(content.details) if content.details else {}
    segments = details.get("segments")
    if segments is None and not details.get("map_in_content"):
        return None
    entry = TarEntry(
        path="", type="file", size=content.stored_size, real_size=content.size, mode=0, uid=0, gid=0, uname="",
        gname="", mtime=0, link_target="", xattrs=(), device=(0, 0), offset=content.offset,
        segments=tuple((start, size) for start, size in segments) if segments is not None else None,
        map_in_content=bool(details.get("map_in_content")),
    )  # fmt: skip
    return SparseWriter(write_at, entry)


class HashSink:
    """Hashes the content, by an algorithm of hashlib."""

    def __init__(self, algorithm: str = "sha256") -> None:
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm, usedforsecurity=False)

    def write(self, piece: memoryview | bytes) -> None:
        """Hash the next piece."""
        self._hash.update(piece)

    def get_digest(self) -> str:
        """Return the digest of what was written."""
        return f"{self._algorithm}:{self._hash.hexdigest()}"


class TextSink:
    """Keeps a content of at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._content: bytearray | None = bytearray()

    def write(self, piece: memoryview | bytes) -> None:
        """Keep the next piece, unless the content is too large."""
        if self._content is None:
            return
        if len(self._content) + len(piece) > self._limit:
            self._content = None
        else:
            self._content += piece

    def get_text(self) -> str | None:
        """Return the text; None when it is too large, is not UTF-8 or has a NUL."""
        if self._content is None or b"\0" in self._content:
            return None
        try:
            return self._content.decode()
        except UnicodeDecodeError:
            return None
