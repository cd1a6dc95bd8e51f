"""Passes the content of some entries to readers while an archive is scanned."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Protocol

    from imq.engine.layers.tar_entry import TarEntry

    class ContentReader(Protocol):
        """Reads the content of one entry. Its notes are JSON documents, each with its kind."""

        def feed(self, piece: memoryview, /) -> None:
            """Read the next piece. It may be reused after the call."""

        def finish(self) -> Iterable[tuple[str, Any]]:
            """Return the notes on the complete content."""


class ContentTap:
    """Feeds the contents of opened entries to their readers, piece by piece of the archive."""

    def __init__(self) -> None:
        self._offset = 0  # of the current piece in the archive
        self._piece = memoryview(b"")
        self._open: list[tuple[str, int, int, ContentReader]] = []  # path, next offset, end, reader
        self._notes: list[tuple[str, str, Any]] = []

    def feed(self, piece: bytes | memoryview) -> None:
        """Take the next piece of the archive, before its entries are opened."""
        self._piece = memoryview(piece)

    def open(self, path: str, entry: TarEntry, reader: ContentReader) -> None:
        """Feed the content of an entry, whose header was just read, to a reader."""
        self._open.append((path, entry.offset, entry.offset + entry.size, reader))

    def end_piece(self) -> None:
        """Feed the parts of the current piece, after its entries are opened."""
        end_offset = self._offset + len(self._piece)
        remaining = []
        for path, offset, end, reader in self._open:
            start, stop = offset - self._offset, min(end, end_offset) - self._offset
            if start < stop:
                reader.feed(self._piece[start:stop])
            if end <= end_offset:
                self._notes += [(kind, path, document) for kind, document in reader.finish()]
            else:
                remaining.append((path, max(offset, end_offset), end, reader))
        self._open = remaining
        self._offset = end_offset
        self._piece = memoryview(b"")

    def take_notes(self) -> list[tuple[str, str, Any]]:
        """Return the kind, the path and the document of each note, in the order of the archive."""
        notes, self._notes = self._notes, []
        return notes
