"""Images that go out of a source and into another one as an archive: `save` and `copy` between any two sources.

A source that keeps images behind a program of its own (a container engine) offers `ImageArchives`. The store and places
on disk need none: their blobs are read and written directly.
"""

from __future__ import annotations

import os

from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import Protocol, TypeVar

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.reference import Reference

    from .action import Action, ExecutionContext

    T = TypeVar("T")

    class Readable(Protocol):
        """A binary stream."""

        def read(self, size: int, /) -> bytes:
            """Return at most `size` bytes; no bytes at the end."""
else:
    Protocol = object  # typing is slow to import, and a Protocol has no effect at run time

_PIECE = 256 << 10
_LISTINGS = frozenset({"index.json", "manifest.json"})
_MAX_LISTING_SIZE = 32 << 20


class ImageArchives(Protocol):
    """Reads and writes the images of a source as archives. It has no state; `source` is the text of a `SourceRef`."""

    def open_archive(
        self, source: str, names: Sequence[str], context: ExecutionContext, /
    ) -> AbstractContextManager[Readable]:
        """Open an archive of the images with these names or IDs."""

    def load_archive(
        self, source: str, archive: Readable | Iterable[bytes], names: Sequence[str], context: ExecutionContext, /
    ) -> None:
        """Store the images of an archive, with these names. Raises when one of them is missing then."""

    def check_image(self, source: str, id_: Digest, names: Sequence[str], context: ExecutionContext, /) -> None:
        """Raise `NotFound` (`changed`) when the names are no longer those of this image."""

    def add_name(self, source: str, name: Reference, id_: Digest, verb: str, /) -> Action:
        """Return the action that gives an image of the source a name."""


class ArchivePlace(Record):
    """A source whose images go in and out as archives."""

    text: str
    archives: ImageArchives


def read_checked(archive: Readable, ids: Iterable[str]) -> Iterator[bytes]:
    """Yield the content of an archive. Raises `Malformed` when it is incomplete or lacks one of these IDs."""
    from imq.engine.layers.tar_walker import TarWalker

    ranges: list[tuple[int, int]] = []

    def note_listing(path: str, offset: int, size: int) -> None:
        if path.removeprefix("./") in _LISTINGS and size <= _MAX_LISTING_SIZE:
            ranges.append((offset, offset + size))

    walker = TarWalker(lambda entry: note_listing(entry.path, entry.offset, entry.size))
    listings, position = bytearray(), 0
    while piece := archive.read(_PIECE):
        walker.feed(piece)
        for start, end in ranges:
            listings += piece[max(0, start - position) : max(0, end - position)]
        position += len(piece)
        yield piece
    walker.finish()
    missing = [id_ for id_ in ids if id_.partition(":")[2].encode() not in listings]
    if missing:
        raise Malformed(f"the archive does not have the image {missing[0][:19]}", code="archive")


class ArchivePipe:
    """Passes an archive from a function that writes it to a function that reads it, in another thread.

    An error of the writer is raised by `read` too, so that a reader never mistakes a part for the whole.
    """

    def __init__(self, write: Callable[[PipeWriter], None]) -> None:
        self._write = write
        reading, self._writing = os.pipe()
        self._reader = os.fdopen(reading, "rb", buffering=0)
        self._error: BaseException | None = None

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; no bytes at the end."""
        data = self._reader.read(size)
        if not data and self._error is not None:
            raise self._error
        return data

    def run(self, receive: Callable[[ArchivePipe], T]) -> T:
        """Write the archive in this thread while `receive` reads it in another; return the result of `receive`."""
        from concurrent.futures import ThreadPoolExecutor

        def receive_and_close() -> T:
            try:
                return receive(self)
            finally:
                self._reader.close()

        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(receive_and_close)
            try:
                self._write(PipeWriter(self._writing))
            except BaseException as error:  # noqa: BLE001 - raised below, unless it follows from an error of the reader
                self._error = error
            finally:
                os.close(self._writing)
            result = future.result()
            if self._error is not None and not isinstance(self._error, BrokenPipeError):
                raise self._error
            return result


class PipeWriter:
    """The end of a pipe as a binary file; `size` is the number of bytes that went through it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = 0

    def write(self, content: bytes | memoryview) -> int:
        """Write all of the content. Raises `BrokenPipeError` when nobody reads it any more."""
        remaining = memoryview(content)
        while remaining:
            remaining = remaining[os.write(self._descriptor, remaining) :]
        self.size += len(content)
        return len(content)
