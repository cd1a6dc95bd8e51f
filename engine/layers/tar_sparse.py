"""The maps of sparse files, which list the segments of content, in all formats of GNU tar and star.

Old GNU headers have four (offset, size) pairs, and further blocks with 21 each. The pax formats 0.0 and 0.1 have the
pairs in their records, format 1.0 has them before the content. The parsers raise `ValueError` with a short reason.
"""

from __future__ import annotations

from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING

from .tar_header import BLOCK_SIZE, MAX_NUMBER, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .tar_entry import Segments, TarEntry

_MAX_SEGMENTS = 1 << 16
"""The maximum number of segments of one file; such a map takes 2.6 MB."""
_PAIR_SIZE = 24


def parse_gnu_map(blocks: Sequence[bytes]) -> Segments:
    """Read the map of an old GNU header: the header block, then the blocks that follow it."""
    pairs = []
    for number, block in enumerate(blocks):
        start, count = (0, 21) if number else (386, 4)
        for offset in range(start, start + count * _PAIR_SIZE, _PAIR_SIZE):
            if not block[offset : offset + _PAIR_SIZE].strip(b"\0 "):
                break
            pairs.append(
                (parse_size(block[offset : offset + 12]), parse_size(block[offset + 12 : offset + _PAIR_SIZE]))
            )
    return tuple(pairs)


def parse_pax_map(records: Mapping[str, bytes]) -> Segments | None:
    """Read the map from the records of formats 0.0 and 0.1; None when they have none."""
    text = records.get("GNU.sparse.map")
    if text is None:
        return None
    numbers = [_parse_number(digits) for digits in text.split(b",")] if text else []
    if len(numbers) % 2:
        raise ValueError("a sparse map with an odd count of numbers")
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def is_map_in_content(records: Mapping[str, bytes]) -> bool:
    """Whether the content begins with the map, as in format 1.0."""
    return records.get("GNU.sparse.major") == b"1" and records.get("GNU.sparse.minor") == b"0"


def parse_content_map(content: bytes) -> tuple[Segments, int] | None:
    """Read the map at the beginning of the content; return it and its size in bytes. None: `content` is too short.

    The map has the number of pairs and then the pairs, one number per line, padded with zeros to whole blocks.
    """
    end = content.find(b"\n")
    if end < 0:
        if len(content) > BLOCK_SIZE:
            raise ValueError("a sparse map without a count")
        return None
    count = _parse_number(content[:end])
    if count > _MAX_SEGMENTS:
        raise ValueError(f"a sparse map of {count:,} segments")
    lines = content.split(b"\n", 1 + 2 * count)
    if len(lines) < 2 + 2 * count:
        if len(content) > (2 * count + 1) * 20 + BLOCK_SIZE:
            raise ValueError("a sparse map that does not end")
        return None
    numbers = [_parse_number(digits) for digits in lines[1:-1]]
    length = len(content) - len(lines[-1])
    return tuple(zip(numbers[::2], numbers[1::2], strict=True)), length + -length % BLOCK_SIZE


def encode_map(segments: Segments) -> bytes:
    """Return the map before the content in format 1.0."""
    numbers = [len(segments), *(number for pair in segments for number in pair)]
    text = "".join(f"{number}\n" for number in numbers).encode()
    return text + bytes(-len(text) % BLOCK_SIZE)


def validate_segments(segments: Segments, content_size: int, file_size: int) -> Segments:
    """Return the segments if they are in order, within the file, and match the size of the content."""
    end = 0
    for offset, size in segments:
        if offset < end or offset + size > file_size:
            raise ValueError("a sparse map with segments that are out of order, or not within the file")
        end = offset + size
    if sum(size for _, size in segments) != content_size:
        raise ValueError("a sparse map that does not fit its content")
    return segments


class SparseWriter:
    """Writes the content of one sparse entry to the offsets of its segments, in order; the rest are holes.

    `write_at` is called with bytes and their offset, and returns the number of bytes that it wrote.
    """

    def __init__(self, write_at: Callable[[memoryview, int], int], entry: TarEntry) -> None:
        self._write_at = write_at
        self._entry = entry
        self._partial_map = b""  # the content read so far, until it has the whole map
        self._remaining_segments: list[tuple[int, int]] | None = (
            None  # segments that are not written yet, the next one last
        )
        if not entry.map_in_content:
            self._remaining_segments = list(reversed(entry.segments or ()))

    def write(self, content: bytes | memoryview) -> None:
        """Write the next bytes of the content."""
        if self._remaining_segments is None:
            content = self._consume_map(content)
        view = memoryview(content)
        while view and self._remaining_segments:
            offset, length = self._remaining_segments.pop()
            written = self._write_at(view[:length], offset) if length else 0
            view = view[written:]
            if written < length:
                self._remaining_segments.append((offset + written, length - written))

    def _consume_map(self, content: bytes | memoryview) -> bytes:
        self._partial_map += content
        entry = self._entry
        try:
            parsed = parse_content_map(self._partial_map)
            if parsed is None or parsed[1] > len(self._partial_map):
                return b""
            segments, length = parsed
            self._remaining_segments = list(reversed(validate_segments(segments, entry.size - length, entry.real_size)))
        except ValueError as error:
            raise Malformed(f"{entry.path!r} has {error}", code="archive") from None
        return self._partial_map[length:]

    def finish(self) -> None:
        """Raise `Malformed` when the map in the content is incomplete."""
        if self._remaining_segments is None:
            raise Malformed(f"{self._entry.path!r} has a sparse map that does not end", code="archive")


def _parse_number(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > len(str(MAX_NUMBER)):
        raise ValueError("a sparse map with an invalid number")
    return int(digits)
