"""Tables of contents of layers: what a layer contains, and where in the compressed layer, without reading all of it.

Two formats have one, as JSON (https://github.com/containerd/stargz-snapshotter/blob/main/docs/estargz.md and
https://github.com/containers/storage/tree/main/pkg/chunked):

    eStargz        a gzip member at the end, with a tar archive of `stargz.index.json`; a footer says where it begins
    zstd:chunked   a skippable frame of zstd, whose place an annotation of the layer says

An annotation of the layer has the digest of its table, and the table has the digests of the contents. So both are
verified by the manifest, although the diff ID of the layer is not.
"""

from __future__ import annotations

import base64
import json
from functools import partial

from imq.engine.oci.digest import Digest, is_digest
from imq.engine.oci.timestamp import parse_time
from imq.grammar.errors import DigestMismatch, Malformed
from imq.grammar.record import TYPE_CHECKING, Record

from .compression import decompress
from .tar_entry import TarEntry
from .tar_members import iterate_members

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

    ReadRange = Callable[[int, int], Iterable[bytes | memoryview]]
    """Yields the bytes of a compressed layer from an offset up to another one."""

ESTARGZ, ZSTD_CHUNKED = "gzip", "zstd"
"""The formats, by the compression of their layers."""
_ESTARGZ_DIGEST = "containerd.io/snapshot/stargz/toc.digest"
_CHUNKED_DIGESTS = (
    "io.github.containers.zstd-chunked.manifest-checksum",
    "io.containers.zstd-chunked.manifest-checksum",
)
_CHUNKED_PLACES = (
    "io.github.containers.zstd-chunked.manifest-position",
    "io.containers.zstd-chunked.manifest-position",
)
_FOOTER_SIZE = 51
_FOOTER_START = b"SG\x16\x00"
_FOOTER_END = b"STARGZ"
_TABLE_NAME = "stargz.index.json"
_MAX_TABLE = 128 << 20
"""The maximum bytes of a table. A layer with a larger one is read as a whole."""
_MIN_LAYER = 256 << 10
"""A smaller layer is read as a whole: its table saves little."""
_MAX_DIGITS = 18
_MAX_NUMBER = 1 << 62
_MAX_GAP = 64 << 10
"""Bytes between two ranges that are read with them: cheaper than another request."""
_TYPES = {
    "reg": "file", "dir": "directory", "symlink": "symlink", "hardlink": "link", "char": "char", "block": "block",
    "fifo": "fifo",
}  # fmt: skip
_CHUNK = "chunk"
_ZEROS = "zeros"


class TableLocation(Record):
    """A layer with a table of contents: the digest of the table, the format, and the size of the layer in bytes.

    `place` is the offset and the size of the table in zstd:chunked; in eStargz the footer of the layer has it.
    """

    digest: Digest
    format: str
    layer_size: int
    place: tuple[int, int] | None = None

    @property
    def size(self) -> int:
        """The size of the table in bytes; 0 if it is not known yet."""
        return self.place[1] if self.place is not None else 0


def find_table(annotations: Mapping[str, str], layer_size: int) -> TableLocation | None:
    """Return where the table of contents of a layer is, by its annotations; None if it has none of use."""
    if layer_size < _MIN_LAYER:
        return None
    digest = next((annotations[name] for name in _CHUNKED_DIGESTS if name in annotations), "")
    place = next((annotations[name] for name in _CHUNKED_PLACES if name in annotations), "")
    parts = place.split(":")
    are_numbers = all(part.isascii() and part.isdigit() and len(part) <= _MAX_DIGITS for part in parts)
    if is_digest(digest) and len(parts) == len(("offset", "size", "unpacked", "type")) and are_numbers:
        offset, size, unpacked, kind = map(int, parts)
        if kind == 1 and unpacked <= _MAX_TABLE and 0 < size <= layer_size - offset:
            return TableLocation(Digest(digest), ZSTD_CHUNKED, layer_size, (offset, size))
        return None
    digest = annotations.get(_ESTARGZ_DIGEST, "")
    return TableLocation(Digest(digest), ESTARGZ, layer_size) if is_digest(digest) else None


class Chunk(Record):
    """A part of the content of a file: its place in the compressed layer, its offset in the file, its size and digest.

    The bytes at `start` unpack to `size` bytes of content, and perhaps more that belong to something else. A hole has
    no digest.
    """

    start: int
    end: int
    offset: int
    size: int
    digest: Digest | None


class TableOfContents:
    """The entries of a layer, in its order, and the chunks of its files."""

    def __init__(self, location: TableLocation, entries: list[TarEntry], chunks: dict[str, list[Chunk]]) -> None:
        self.location = location
        self.entries = entries
        self._chunks = chunks
        self._by_path = {entry.path.strip("/"): entry for entry in entries}

    def list_chunks(self, path: str) -> list[Chunk]:
        """Return the chunks of a file, of the target for a hard link. Raises `Malformed` for another path."""
        entry = self._by_path.get(path.strip("/"))
        seen = set()
        while entry is not None and entry.type == "link" and entry.path not in seen:
            seen.add(entry.path)
            entry = self._by_path.get(entry.link_target.strip("/"))
        if entry is None or entry.type != "file":
            raise Malformed(f"its table of contents has no file {path}", code="table-of-contents")
        return self._chunks.get(entry.path.strip("/"), [])

    def read_chunk(self, path: str, chunk: Chunk, read: ReadRange) -> Iterator[bytes | memoryview]:
        """Yield the content of a chunk, verified: the last bytes come when the digest is known to be right.

        Raises `DigestMismatch` and `Malformed`, with the offset in the layer.
        """
        place = f"the content of {path} at byte {chunk.start:,} of the layer"
        if chunk.digest is None:
            yield from _make_zeros(chunk.size)
            return
        hasher = chunk.digest.new_hash()
        held: bytes = b""
        remaining = chunk.size
        try:
            for piece in decompress(self.location.format, map(bytes, read(chunk.start, chunk.end))):
                part = bytes(piece[:remaining])
                hasher.update(part)
                remaining -= len(part)
                if held:
                    yield held
                held = part
                if not remaining:
                    break
        except Malformed as error:
            raise Malformed(f"{place}: {error.message}", code=error.code) from None
        if remaining:
            raise Malformed(f"{place} is {remaining:,} bytes shorter than its table says", code="table-of-contents")
        if hasher.hexdigest() != chunk.digest.encoded:
            raise DigestMismatch(f"{place} does not match the table of contents of the layer", code="table-of-contents")
        yield held


class MergedRanges:
    """Reads ranges of a layer, in ascending order, with few requests: those that lie near each other are one."""

    def __init__(self, read: ReadRange, ranges: Iterable[tuple[int, int]]) -> None:
        self._read_range = read
        self._ends: dict[int, int] = {}  # where the request for a range ends that begins one
        first = last = -1
        for start, end in sorted(ranges):
            if first < 0 or start > last + _MAX_GAP:
                first = start
                last = end
            last = max(last, end)
            self._ends[first] = last
        self._pieces: Iterator[bytes | memoryview] = iter(())
        self._piece = memoryview(b"")
        self._position = self._end = -1

    def read(self, start: int, end: int) -> Iterator[bytes | memoryview]:
        """Yield the bytes from `start` up to `end`."""
        if not self._position <= start <= end <= self._end:
            self._end = max(self._ends.get(start, end), end)
            self._pieces = iter(self._read_range(start, self._end))
            self._piece, self._position = memoryview(b""), start
        while self._position < end:
            if not self._piece:
                piece = next(self._pieces, None)
                if piece is None:
                    raise Malformed(f"the layer ends at byte {self._position:,}", code="truncated")
                self._piece = memoryview(piece)
            skipped = min(max(start - self._position, 0), len(self._piece))
            taken = self._piece[skipped : skipped + end - self._position - skipped]
            self._piece = self._piece[skipped + len(taken) :]
            self._position += skipped + len(taken)
            if taken:
                yield taken


def _make_zeros(count: int) -> Iterator[bytes]:
    step = 1 << 16
    while count > 0:
        yield bytes(min(step, count))
        count -= step


def read_table(location: TableLocation, read: ReadRange) -> TableOfContents | None:
    """Return the table of contents of a layer, verified; None when it is too large.

    Raises `DigestMismatch`, and `Malformed` with the offset at which the table and the layer disagree.
    """
    if location.format == ZSTD_CHUNKED:
        assert location.place is not None
        offset, size = location.place
        packed = b"".join(map(bytes, read(offset, offset + size)))
        _check_digest(location, packed, offset)
        return parse_table(_unpack(packed, offset), location, offset, ())
    footer_at = location.layer_size - _FOOTER_SIZE
    offset = _parse_footer(b"".join(map(bytes, read(footer_at, location.layer_size))), footer_at)
    if footer_at - offset > _MAX_TABLE:
        return None
    pieces = decompress("gzip", map(bytes, read(offset, footer_at)))
    archive = _Reader(pieces)
    try:
        for entry, content in iterate_members(archive.read):
            if entry.path != _TABLE_NAME:
                break
            if entry.size > _MAX_TABLE:
                return None
            document = b"".join(map(bytes, content))
            _check_digest(location, document, offset)
            return parse_table(document, location, offset, (entry,))
    except Malformed as error:
        if error.code == "table-of-contents":
            raise
        raise _disagreement(f"the table of contents cannot be unpacked: {error.message}", offset) from None
    raise _disagreement("the archive of the table of contents does not begin with it", offset)


class _Reader:
    """Reads chunks as a file."""

    def __init__(self, pieces: Iterator[bytes | memoryview]) -> None:
        self._pieces = pieces

    def read(self, _size: int) -> bytes:
        """Return the next chunk, whatever its size; no bytes at the end."""
        return bytes(next(self._pieces, b""))


def _unpack(packed: bytes, offset: int) -> bytes:
    content = bytearray()
    try:
        for piece in decompress("zstd", iter((packed,))):
            content += piece
            if len(content) > _MAX_TABLE:
                raise _disagreement("the table of contents is larger than its annotation says", offset)
    except Malformed as error:
        if error.code == "table-of-contents":
            raise
        raise _disagreement(f"the table of contents cannot be unpacked: {error.message}", offset) from None
    return bytes(content)


def _parse_footer(footer: bytes, offset: int) -> int:
    """Return the offset of the table of contents, by the footer of an eStargz layer."""
    digits = footer[16:32]
    is_footer = footer[12:16] == _FOOTER_START and footer[32:38] == _FOOTER_END
    try:
        table_at = int(digits, 16) if is_footer else -1
    except ValueError:
        table_at = -1
    if not 0 <= table_at < offset:
        raise _disagreement("the layer has no footer of eStargz, but its manifest says so", offset)
    return table_at


def _check_digest(location: TableLocation, content: bytes, offset: int) -> None:
    if not location.digest.matches(content):
        raise DigestMismatch(
            f"the table of contents at byte {offset:,} of the layer does not have the digest {location.digest}",
            code="table-of-contents",
        )


def _disagreement(reason: str, offset: int) -> Malformed:
    return Malformed(f"{reason}, at byte {offset:,} of the layer", code="table-of-contents")


def parse_table(
    document: bytes, location: TableLocation, table_at: int, further: tuple[TarEntry, ...]
) -> TableOfContents:
    """Return the table of contents of a JSON document at this offset. `further` are entries that it does not list."""
    fail = partial(_disagreement, offset=table_at)
    try:
        table = json.loads(document)
        items = table["entries"]
        if table["version"] != 1 or not isinstance(items, list):
            raise fail("the table of contents has an unknown version")
        return _TableParser(location, table_at).parse(items, further)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise fail(f"the table of contents is not valid: {type(error).__name__}: {error}") from None


def _read_number(item: Mapping[str, Any], name: str) -> int:
    """Return a number of an entry, 0 when it has none. Raises `ValueError` for one that no archive has."""
    value = item.get(name) or 0
    if type(value) is not int or not 0 <= value < _MAX_NUMBER:
        raise ValueError(f"{name} is {value!r}")
    return value


def _read_name(item: Mapping[str, Any], name: str) -> str:
    """Return a name of an entry, "" when it has none. Raises `ValueError` for one that no archive has."""
    return _check_name(item.get(name) or "")


def _check_name(value: str) -> str:
    if "\0" in value:
        raise ValueError(f"a name has a NUL: {value!r}")
    value.encode("utf-8", "surrogateescape")  # raises for other surrogates
    return value


class _TableParser:
    def __init__(self, location: TableLocation, table_at: int) -> None:
        self._location = location
        self._table_at = table_at
        self._entries: list[TarEntry] = []
        self._parts: dict[str, list[tuple[int, int, int, Digest | None]]] = {}  # start, offset, size, digest
        self._sizes: dict[str, int] = {}

    def parse(self, items: list[dict[str, Any]], further: tuple[TarEntry, ...]) -> TableOfContents:
        for item in items:
            if item["type"] == _CHUNK:
                self._add_part(item["name"].strip("/"), item)
            else:
                self._add_entry(item)
        self._entries += further
        return TableOfContents(self._location, self._entries, self._make_chunks())

    def _add_entry(self, item: dict[str, Any]) -> None:
        name, kind = _check_name(item["name"]), _TYPES.get(item["type"])
        if kind is None:
            raise _disagreement(f"{name!r} has the unknown type {item['type']!r}", self._table_at)
        size = _read_number(item, "size") if kind == "file" else 0
        xattrs = item.get("xattrs") or {}
        self._entries.append(
            TarEntry(
                path=name.rstrip("/"),
                type=kind,
                size=size,
                real_size=size,
                mode=_read_number(item, "mode") & 0o7777,
                uid=_read_number(item, "uid"),
                gid=_read_number(item, "gid"),
                uname=_read_name(item, "userName"),
                gname=_read_name(item, "groupName"),
                mtime=parse_time(item.get("modtime")) or 0,
                link_target=_read_name(item, "linkName"),
                xattrs=tuple((_check_name(key), base64.b64decode(value)) for key, value in xattrs.items()),
                device=(_read_number(item, "devMajor"), _read_number(item, "devMinor")),
                offset=0,
            )
        )
        path = name.strip("/")
        self._parts.pop(path, None)  # of two entries of one path, the later one counts
        self._sizes.pop(path, None)
        if kind == "file" and size:
            self._sizes[path] = size
            self._add_part(path, item)

    def _add_part(self, path: str, item: dict[str, Any]) -> None:
        total = self._sizes.get(path)
        if total is None:
            raise _disagreement(f"a chunk of {path!r} has no file", self._table_at)
        start, offset = _read_number(item, "offset"), _read_number(item, "chunkOffset")
        size = _read_number(item, "chunkSize") or total - offset
        digest = str(item.get("chunkDigest") or (item.get("digest") if size == total else ""))
        is_hole = item.get("chunkType") == _ZEROS
        if not is_hole and not (is_digest(digest) and 0 <= start < self._table_at):
            raise _disagreement(
                f"{path!r} has no digest, or is at byte {start:,} behind the table of contents", self._table_at
            )
        self._parts.setdefault(path, []).append((start, offset, size, None if is_hole else Digest(digest)))

    def _make_chunks(self) -> dict[str, list[Chunk]]:
        """Return the chunks of each file. A chunk ends where the next one begins, at the latest."""
        starts = sorted({part[0] for parts in self._parts.values() for part in parts if part[3] is not None})
        ends = dict(zip(starts, [*starts[1:], self._table_at], strict=True))
        chunks: dict[str, list[Chunk]] = {}
        for path, parts in self._parts.items():
            expected = 0
            for _, offset, size, _ in parts:
                if offset != expected or size <= 0:
                    raise _disagreement(f"the chunks of {path!r} do not make up the file", self._table_at)
                expected += size
            if expected != self._sizes[path]:
                raise _disagreement(f"the chunks of {path!r} have {expected:,} bytes in all", self._table_at)
            chunks[path] = [
                Chunk(start, ends.get(start, start), offset, size, digest) for start, offset, size, digest in parts
            ]
        return chunks
