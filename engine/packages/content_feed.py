"""Reads a file whose content comes in pieces, while an archive is walked, instead of an open file."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

from .reader import MAX_TEXT

if TYPE_CHECKING:
    from tempfile import SpooledTemporaryFile

    from .package import Rows
    from .reader import Feed, Reader


def open_feed(reader: Reader, path: str) -> Feed:
    """Return an object that takes the content of a file in pieces: call feed() with each, then finish() for the rows.

    It holds at most `MAX_TEXT` bytes in memory. It writes larger databases of RPM to a temporary file, and also the
    parts of Go's executables that may be needed.
    """
    if reader.make_feed is not None:
        return reader.make_feed(path)
    return _ContentFeed(reader, path) if reader.scan is None else _FileFeed(reader, path)


class _ContentFeed:
    """Holds the content of a file that is parsed as a whole."""

    def __init__(self, reader: Reader, path: str) -> None:
        self._reader = reader
        self._path = path
        self._content = bytearray()

    def feed(self, piece: bytes | memoryview) -> bool:
        """Take the next piece of the content, as far as it is read."""
        room = self._reader.max_size + 1 - len(self._content)
        if room > 0:
            self._content += piece[:room]
        return True

    def finish(self) -> Rows:
        """Yield the rows of the file."""
        content = bytes(self._content)
        self.close()
        return self._reader.scan_content(content, self._path)

    def close(self) -> None:
        """Release the content. Idempotent."""
        self._content = bytearray()


class _FileFeed:
    """Writes the content of a file to a temporary file if it is large."""

    def __init__(self, reader: Reader, path: str) -> None:
        self._reader = reader
        self._path = path
        self._file: SpooledTemporaryFile[bytes] | None = None
        self._size = 0

    def feed(self, piece: bytes | memoryview) -> bool:
        """Take the next piece of the content, as far as it is read."""
        if self._file is None:
            from tempfile import SpooledTemporaryFile

            self._file = SpooledTemporaryFile(MAX_TEXT, prefix="imq-")  # noqa: SIM115 - finish closes it
        if self._size <= self._reader.max_size:
            self._size += self._file.write(piece)
        return True

    def finish(self) -> Rows:
        """Yield the rows of the file."""
        import io

        file = self._file or io.BytesIO()
        try:
            file.seek(0)
            yield from self._reader.rows(file, self._path)  # type: ignore[arg-type]
        finally:
            self.close()

    def close(self) -> None:
        """Remove the temporary file. Idempotent."""
        if self._file is not None:
            self._file.close()
