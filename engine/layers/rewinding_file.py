"""A binary file whose content comes in chunks from the beginning, and which reads it again to go back."""

from __future__ import annotations

import io
import os

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class RewindingFile(io.RawIOBase):
    """The content of chunks as a file. Seeking backwards starts the chunks again; the end is not known before it."""

    def __init__(self) -> None:
        self._rewind()

    def iter_chunks(self) -> Iterator[bytes | memoryview]:
        """Yield the content from its beginning."""
        raise NotImplementedError

    def _rewind(self) -> None:
        self._offset = 0
        self._chunk = memoryview(b"")
        self._chunks = self.iter_chunks()

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to an offset, or to the end of the content if that comes first."""
        if whence == os.SEEK_END:
            raise io.UnsupportedOperation("the size of the content is unknown")
        target = offset + (self._offset if whence == os.SEEK_CUR else 0)
        if target < self._offset:
            self._rewind()
        while self._offset < target and self._fill_chunk():
            self._take_bytes(target - self._offset)
        return self._offset

    def readinto(self, buffer: Any, /) -> int:
        """Fill `buffer` with the next bytes."""
        if not self._fill_chunk():
            return 0
        piece = self._take_bytes(len(buffer))
        memoryview(buffer)[: len(piece)] = piece
        return len(piece)

    def _fill_chunk(self) -> bool:
        """Read the next chunk if none is left; return False at the end of the content."""
        while not self._chunk:
            piece = next(self._chunks, None)
            if piece is None:
                return False
            self._chunk = memoryview(piece)
        return True

    def _take_bytes(self, count: int) -> memoryview:
        taken, self._chunk = self._chunk[:count], self._chunk[count:]
        self._offset += len(taken)
        return taken
