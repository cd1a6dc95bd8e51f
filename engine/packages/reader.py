"""A reader turns one file of a layer into rows; the functions that all readers share."""

from __future__ import annotations

import re

from imq.grammar.record import TYPE_CHECKING, Record

from .package import FileList, OwnedFiles, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import BinaryIO, Protocol

    from .package import Rows

    class Feed(Protocol):
        """Takes the content of one file in pieces."""

        def feed(self, piece: bytes | memoryview, /) -> bool:
            """Take the next piece of the content, which may be reused after the call; return False if none is needed.

            Then the file has no rows, and finish() need not be called.
            """

        def finish(self) -> Rows:
            """Yield the rows of the file, and release temporary files."""

        def close(self) -> None:
            """Release temporary files of a content that does not come to its end. Idempotent."""


MAX_TEXT = 32 << 20
"""The most bytes of a text database that are read. The status file of a Debian with 5,000 packages has 6 MB."""
MAX_MANIFEST = 4 << 20
"""The most bytes of the manifest of one package that are read. The largest in public registries have 1 MB."""
MAX_DATABASE = 1 << 30
"""The most bytes of a database of rpm that are read. That of a Fedora with 10,000 packages has 300 MB."""
_MAX_BATCH = 10_000
_EMPTY_LINES = re.compile(rb"\n(?:[ \t\r]*+\n)++")


class Reader(Record):
    """Reads the files of one kind."""

    kind: str
    """What it reads, for people: `dpkg status`."""
    parse: Callable[[bytes, str], Rows] | None
    """Turns the content of a file and its path into rows; None if the file is not read whole."""
    max_size: int = MAX_MANIFEST
    """The most bytes that are read. A larger file is cut there, which becomes a `Problem`."""
    scan: Callable[[BinaryIO, str], Rows] | None = None
    """Turns an open file into rows, for files that are too large to be read whole."""
    make_feed: Callable[[str], Feed] | None = None
    """Makes what takes the content of the file at a path in pieces, for readers that need only parts of a file."""
    is_sound: Callable[[bytes], bool] | None = None
    """Whether `parse` makes only `OwnedFiles` of a content: a scan keeps such contents as they are (`FileList`)."""

    def rows(self, file: BinaryIO, path: str) -> Rows:
        """Yield the rows of a file, without holding them.

        `file` is at its beginning and is read once, forwards. Only executables of Go before 1.18 need to be read again,
        if `file.seekable()`. What is wrong with the content becomes a `Problem`. The only exceptions are those of
        `file` itself: `OSError`, and `Malformed` for a damaged layer.
        """
        if self.scan is not None:
            yield from self.scan(file, path)
        else:
            yield from self.parse_content(read_up_to(file, self.max_size + 1), path)

    def parse_content(self, content: bytes, path: str) -> Rows:
        """Yield the rows of a content, which is one byte longer than `max_size` if the rest of it is not read."""
        if len(content) > self.max_size:
            yield Problem(path, self.max_size, f"more than {self.max_size:,} bytes, the rest is not read")
            content = content[: content.rfind(b"\n", 0, self.max_size) + 1]
        if self.parse is not None:
            yield from self.parse(content, path)

    def scan_content(self, content: bytes, path: str) -> Rows:
        """Yield the rows of a content as `parse_content` does, but a sound list of files as one `FileList`."""
        if self.is_sound is None or len(content) > self.max_size or not self.is_sound(content):
            yield from self.parse_content(content, path)
        elif content:
            yield FileList(self.kind, path, content)


def read_up_to(file: BinaryIO, size: int) -> bytes:
    """Read until the end of a file, but at most `size` bytes."""
    pieces = []
    while size > 0 and (piece := file.read(min(size, 1 << 20))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def decode_path(path: bytes) -> str:
    """Decode a path. Bytes that are not UTF-8 become surrogates, as in `TarEntry.path`."""
    return path.decode("utf-8", "surrogateescape")


def decode(text: bytes) -> str:
    """Decode a text that is no path. Bytes that are not UTF-8 become U+FFFD, because databases take no surrogates."""
    return text.decode("utf-8", "replace")


def clean(text: str) -> str:
    """Replace what no database takes in a text that a JSON document can have: halves of surrogate pairs, NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def batch_files(
    owner: OwnedFiles, files: Iterable[tuple[str, str]] | Iterable[tuple[str, str, int]]
) -> Iterator[OwnedFiles]:
    """Yield copies of `owner` with the files, of which no more than 10,000 are held at a time.

    Files are path and checksum, or path, checksum and size in bytes.
    """
    batch: list[tuple[str, str]] = []
    total = None
    for path, checksum, *sizes in files:
        batch.append((path, checksum))
        for size in sizes:
            total = (total or 0) + size
        if len(batch) == _MAX_BATCH:
            yield owner.replace(files=tuple(batch), size=total)
            batch, total = [], None
    if batch:
        yield owner.replace(files=tuple(batch), size=total)


def split_files(owner: OwnedFiles, files: Sequence[tuple[str, str]]) -> Iterator[OwnedFiles]:
    """Yield copies of `owner` with the files of a list, path and checksum, at most 10,000 in each."""
    for at in range(0, len(files), _MAX_BATCH):
        yield owner.replace(files=tuple(files[at : at + _MAX_BATCH]))


def drop_partial_line(content: bytes, path: str) -> tuple[bytes, Problem | None]:
    """Return a text without its last line if that does not end, and the problem that it does not."""
    if not content or content.endswith(b"\n"):
        return content, None
    end = content.rfind(b"\n") + 1
    return content[:end], Problem(path, end, "cut short within a line")


def iter_paragraphs(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the paragraphs of a text, separated by empty lines, with their offsets."""
    start = 0
    for gap in _EMPTY_LINES.finditer(content):
        if gap.start() > start:
            yield start, content[start : gap.start()]
        start = gap.end()
    if start < len(content):
        yield start, content[start:]
