"""The files of a tar stream, one after the other, while it is read. Nothing is kept."""

from __future__ import annotations

from itertools import groupby

from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING

from .tar_walker import TarLimits, TarWalker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .tar_entry import TarEntry

_READ_SIZE = 256 * 1024


def iterate_members(
    read: Callable[[int], bytes], limits: TarLimits | None = None
) -> Iterator[tuple[TarEntry, Iterator[memoryview]]]:
    """Yield each file with its content in pieces, which are valid until the next one.

    What is left of a content is skipped when the next file is requested. Raises `Malformed` when the archive is invalid
    or truncated, also while a content is read.
    """
    for entry, pieces in groupby(_iterate_pieces(read, limits), lambda pair: pair[0]):
        yield entry, (piece for _, piece in pieces)


def _iterate_pieces(read: Callable[[int], bytes], limits: TarLimits | None) -> Iterator[tuple[TarEntry, memoryview]]:
    """Yield each piece of a file with its entry. An empty file has one empty piece."""
    entries: list[TarEntry] = []

    def add_entry(entry: TarEntry) -> None:
        if entry.type == "file":
            entries.append(entry)

    walker = TarWalker(add_entry, limits)
    offset = 0
    while chunk := read(_READ_SIZE):
        walker.feed(chunk)
        end = offset + len(chunk)
        view = memoryview(chunk)
        while entries:
            entry = entries[0]
            start, stop = max(entry.offset, offset), min(entry.offset + entry.size, end)
            if start < stop or not entry.size:
                yield entry, view[start - offset : max(stop, start) - offset]
            if entry.offset + entry.size > end:
                break
            entries.pop(0)
        offset = end
    if entries:
        raise Malformed(f"the archive ends within {entries[0].path!r}, at byte {offset:,}", code="truncated")
    walker.finish()
