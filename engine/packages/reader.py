"""A reader turns one file of a layer into rows; the functions that all readers share."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING, Record

from .package import Problem

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from .package import Rows

MAX_TEXT = 64 << 20
"""The most bytes of a text database that are read: the status file of a Debian with 60,000 packages has 60 MB."""
MAX_MANIFEST = 4 << 20
"""The most bytes of the manifest of one package that are read. The largest in public registries have 1 MB."""


class Reader(Record):
    """Reads the files of one kind."""

    kind: str
    """What it reads, for people: `dpkg status`."""
    parse: Callable[[bytes, str], Rows] | None
    """Turns the content of a file and its path into rows; None if it is not read whole."""
    max_size: int = MAX_MANIFEST
    """The most bytes that are read. The rest of a larger file becomes a `Problem`."""
    scan: Callable[[BinaryIO, str], Rows] | None = None
    """Turns an open file into rows, for files that are too large to be read whole."""

    def rows(self, file: BinaryIO, path: str) -> Rows:
        """Yield the rows of a file, without holding them.

        `file` is positioned at its beginning. It must be seekable if `needs_seek`. What is wrong with the content
        becomes a `Problem`; only an error of `file` itself is raised (`OSError`, `Malformed` for a damaged layer).
        """
        if self.scan is not None:
            yield from self.scan(file, path)
        elif self.parse is not None:
            content = read_up_to(file, self.max_size + 1)
            if len(content) > self.max_size:
                yield Problem(path, self.max_size, f"more than {self.max_size:,} bytes, the rest is not read")
                content = content[: content.rfind(b"\n", 0, self.max_size) + 1]
            yield from self.parse(content, path)

    @property
    def needs_seek(self) -> bool:
        """Whether the file must be seekable. Other files are read once from their beginning."""
        return self.scan is not None


def read_up_to(file: BinaryIO, size: int) -> bytes:
    """Read until the end of a file, but at most `size` bytes."""
    pieces = []
    while size > 0 and (piece := file.read(min(size, 1 << 20))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def decode(text: bytes) -> str:
    """Decode a text of a database. Bytes that are not UTF-8 become surrogates, as in `TarEntry.path`."""
    return text.decode("utf-8", "surrogateescape")


def drop_partial_line(content: bytes, path: str) -> tuple[bytes, Problem | None]:
    """Return a text without its last line if that does not end, and the problem that it does not."""
    if not content or content.endswith(b"\n"):
        return content, None
    end = content.rfind(b"\n") + 1
    return content[:end], Problem(path, end, "cut short within a line")
