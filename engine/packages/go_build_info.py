r"""Reads what Go's linker writes into executables: the version of Go, the main module, and all modules in it.

The format is that of Go's package debug/buildinfo. A block that begins with `\xff Go buildinf:` is in a writable
segment of the ELF file. From Go 1.18 on both texts follow it; before, it has the addresses of two strings.
"""

from __future__ import annotations

import os
from operator import itemgetter
from struct import Struct, calcsize, unpack_from

from imq.grammar.record import TYPE_CHECKING, Record

from .elf_machine import HEADER_SIZE, find_machine
from .package import Package, Problem
from .reader import decode, read_up_to

if TYPE_CHECKING:
    from tempfile import _TemporaryFileWrapper
    from typing import BinaryIO, Protocol

    from .package import Rows

    class _RangeReader(Protocol):
        def read_at(self, offset: int, size: int, /) -> bytes | None: ...


_MAGIC = b"\xff Go buildinf:"
_ALIGNMENT = 16
_BLOCK_SIZE = 32
_BIG_ENDIAN, _INLINE = 1, 2
"""Flags: the byte order of the addresses; the texts follow the block."""
_MAX_VERSION, _MAX_MODULES = 1 << 10, 4 << 20
"""The most bytes of the two texts. The largest programs list 1,500 modules in 200 kB."""
_MARKER = 16
"""The bytes before and after the list of modules: markers, by which it is found in memory."""
_CHUNK = 1 << 20
_MAX_IN_MEMORY, _MAX_KEPT = 8 << 20, 512 << 20
"""The most bytes of an executable that are kept in memory, and on disk. Go's largest have 200 MB."""
_HEAD = 8 << 10
"""The first bytes, which have the program headers of every executable that a linker writes, and Go's note."""
_ELF = b"\x7fELF"
_PT_LOAD, _PT_NOTE, _PF_X, _PF_W = 1, 4, 1, 2
_GO_NOTE = b"Go\0\0"
"""The owner of the note with Go's build ID."""


class _Segment:
    """A part of a file that is loaded. An executable has several, and a layer hundreds of executables: no `Record`."""

    __slots__ = ("address", "flags", "offset", "size")

    def __init__(self, offset: int, address: int, size: int, flags: int) -> None:
        self.offset = offset
        self.address = address
        self.size = size
        self.flags = flags


class _Elf(Record):
    order: str
    """`<` or `>`, for `Struct`."""
    architecture: str
    segments: tuple[_Segment, ...]
    """The segments that are loaded, by their offsets and without overlaps."""
    notes: tuple[_Segment, ...]


def scan_executable(file: BinaryIO, path: str) -> Rows:
    """Yield the modules in an executable that Go built, the main module first; nothing for other files.

    The standard library counts as the module `stdlib` with the version of Go, as in Go's vulnerability database.
    """
    magic = read_up_to(file, 4)
    if magic != _ELF:
        return
    head = magic + read_up_to(file, _HEAD - len(magic))
    yield from _scan(_ForwardReader(file, head), head, path)


def _scan(reader: _RangeReader, head: bytes, path: str) -> Rows:
    elf = _parse_elf(head)
    if elf is not None:
        yield from _scan_segments(reader, elf, path)


def _scan_segments(reader: _RangeReader, elf: _Elf, path: str) -> Rows:
    for segment in elf.segments:
        if segment.flags & (_PF_X | _PF_W) == _PF_W:
            offset = _find_block(reader, segment)
            if offset is not None:
                yield from _read_block(reader, elf, offset, path)
                return


class ExecutableFeed:
    """Takes an executable in pieces, and keeps the parts of which one can have the build information.

    These are the first bytes and the writable segments. If the program headers have a note of Go, they include the
    read-only segments, which have the strings of Go before 1.18. Code and symbols are never kept.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._head = bytearray()
        self._offset = 0
        self._elf: _Elf | None = None
        self._needed: tuple[tuple[int, int], ...] | None = None  # None until the head is complete
        self._parts = _Parts()

    def feed(self, piece: bytes | memoryview) -> bool:
        """Take the next piece of the content, as far as it is needed; return False for what is no executable."""
        start, self._offset = self._offset, self._offset + len(piece)
        if self._needed is None:
            self._head += piece[: _HEAD - len(self._head)]
            if self._head[:4] != _ELF[: len(self._head)]:
                self._needed = ()
            elif len(self._head) == _HEAD:
                self._elf = _parse_elf(self._head)
                self._needed = _list_needed(self._elf, self._head) if self._elf is not None else ()
        for first, end in self._needed or ():
            if first < self._offset and start < end:
                self._parts.add(max(first, start), piece[max(first - start, 0) : end - start])
        return self._needed is None or self._is_elf()

    def finish(self) -> Rows:
        """Yield the rows of the executable."""
        try:
            if self._is_elf():
                if self._needed is None:
                    self._elf = _parse_elf(self._head)
                if self._elf is not None:
                    self._parts.add(0, self._head)
                    yield from _scan_segments(self._parts, self._elf, self._path)
        finally:
            self.close()

    def close(self) -> None:
        """Release the temporary file. Idempotent."""
        self._parts.close()

    def _is_elf(self) -> bool:
        return self._head[:4] == _ELF


class _Parts:
    """Parts of a file: in memory, or in a sparse temporary file when they are large."""

    def __init__(self) -> None:
        self._parts: dict[int, bytearray] = {}  # by offset; adjacent parts are one, but for the first
        self._end = -1  # where the last part ends
        self._last = bytearray()
        self._size = 0
        self._file: _TemporaryFileWrapper[bytes] | None = None

    def close(self) -> None:
        """Remove the temporary file. Idempotent."""
        if self._file is not None:
            self._file.close()

    def add(self, offset: int, part: bytes | bytearray | memoryview) -> None:
        """Keep a copy of a part."""
        self._size += len(part)
        if self._size > _MAX_KEPT:
            return
        if self._file is None and self._size > _MAX_IN_MEMORY:
            from tempfile import NamedTemporaryFile

            self._file = NamedTemporaryFile(prefix="imq-go-")  # noqa: SIM115 - closed with the parts
            for start, content in self._parts.items():
                os.pwrite(self._file.fileno(), content, start)
            self._parts.clear()
        if self._file is not None:
            os.pwrite(self._file.fileno(), part, offset)
        elif offset == self._end:
            self._last += part
        else:
            self._last = self._parts[offset] = bytearray(part)
        self._end = offset + len(part)

    def read_at(self, offset: int, size: int) -> bytes | None:
        """Return the bytes at an offset, as far as they are kept; None if none of them is."""
        if self._file is not None:
            return os.pread(self._file.fileno(), size, offset)
        found = b""
        while len(found) < size:
            at = offset + len(found)
            piece = next(
                (
                    bytes(memoryview(part)[at - start : at - start + size - len(found)])
                    for start, part in self._parts.items()
                    if start <= at < start + len(part)
                ),
                None,
            )
            if piece is None:
                break
            found = found + piece if found else piece
        return found or None


def _list_needed(elf: _Elf, head: bytes | bytearray) -> tuple[tuple[int, int], ...]:
    """Return the ranges of a file that can be needed, after the head."""
    has_note = any(
        segment.offset + segment.size > len(head) or _GO_NOTE in head[segment.offset : segment.offset + segment.size]
        for segment in elf.notes
    )
    ranges = [
        (max(segment.offset, _HEAD), segment.offset + segment.size)
        for segment in elf.segments
        if not segment.flags & _PF_X and (has_note or segment.flags & _PF_W)
    ]
    return tuple((first, end) for first, end in ranges if first < end)


class _ForwardReader:
    """Reads ranges of a file in order, by seeking where that is possible."""

    def __init__(self, file: BinaryIO, head: bytes) -> None:
        self._file = file
        self._buffer = head
        self._start = 0  # the offset of the buffer
        self._seekable = file.seekable()

    def read_at(self, offset: int, size: int) -> bytes | None:
        """Return the bytes at an offset, fewer at the end of the file; None if they were passed and cannot be read."""
        end = self._start + len(self._buffer)
        if offset < self._start or offset > end:
            if self._seekable:
                self._file.seek(offset)
            elif offset < self._start:
                return None
            else:
                self._skip(offset - end)
            self._buffer, self._start, end = b"", offset, offset
        kept = self._buffer[offset - self._start :]
        self._buffer = kept + read_up_to(self._file, size - len(kept)) if size > len(kept) else kept
        self._start = offset
        return self._buffer[:size]

    def _skip(self, size: int) -> None:
        while size > 0 and (piece := self._file.read(min(size, _CHUNK))):
            size -= len(piece)


def _parse_elf(head: bytes | bytearray) -> _Elf | None:
    """Return the segments that are loaded, by their offsets; None for what no ELF executable begins with."""
    if len(head) < 64 or head[4] not in (1, 2) or head[5] not in (1, 2):
        return None
    is_64, order = head[4] == 2, "<" if head[5] == 1 else ">"
    table = unpack_from(f"{order}Q" if is_64 else f"{order}I", head, 32 if is_64 else 28)[0]
    entry_size, count = unpack_from(f"{order}HH", head, 54 if is_64 else 42)
    form = f"{order}IIQQQQ" if is_64 else f"{order}IIIIIII"
    fits = len(head) - calcsize(form)
    loaded, notes = [], []
    for at in range(table, table + entry_size * count, max(entry_size, 1)):
        if at > fits:
            break
        if is_64:
            kind, flags, offset, address, _, size = unpack_from(form, head, at)
        else:
            kind, offset, address, _, size, _, flags = unpack_from(form, head, at)
        if kind == _PT_LOAD and size:
            loaded.append((offset, address, size, flags))
        elif kind == _PT_NOTE and size:
            notes.append(_Segment(offset, address, size, flags))
    segments = []
    end = 0
    for offset, address, size, flags in sorted(loaded, key=itemgetter(0)):
        overlap = max(end - offset, 0)  # so that no byte is searched twice, whatever the headers say
        if overlap < size:
            segments.append(_Segment(offset + overlap, address + overlap, size - overlap, flags))
            end = offset + size
    return _Elf(order, find_machine(bytes(head[:HEADER_SIZE])) or "", tuple(segments), tuple(notes))


def _find_block(reader: _RangeReader, segment: _Segment) -> int | None:
    """Return the offset of the block in a segment."""
    offset, end = segment.offset, segment.offset + segment.size
    while offset < end:
        chunk = reader.read_at(offset, min(_CHUNK, end - offset))
        if not chunk:
            return None
        at = chunk.find(_MAGIC)
        while at >= 0:
            if (segment.address + offset + at - segment.offset) % _ALIGNMENT == 0:
                return offset + at
            at = chunk.find(_MAGIC, at + 1)
        if len(chunk) < _CHUNK:
            return None
        offset += len(chunk) - _BLOCK_SIZE
    return None


def _read_block(reader: _RangeReader, elf: _Elf, offset: int, path: str) -> Rows:
    block = reader.read_at(offset, _BLOCK_SIZE) or b""
    if len(block) < _BLOCK_SIZE:
        yield Problem(path, offset, "build information of Go that is cut short")
        return
    pointer_size, flags = block[14], block[15]
    if flags & _INLINE:
        texts = (reader.read_at(offset + _BLOCK_SIZE, _MAX_VERSION + _MAX_MODULES + 16)) or b""
        version, at = _read_inline(texts, 0, _MAX_VERSION)
        modules, _ = _read_inline(texts, at, _MAX_MODULES) if version is not None else (None, 0)
    elif pointer_size in (4, 8):
        order = ">" if flags & _BIG_ENDIAN else "<"
        pointers = Struct(f"{order}QQ" if pointer_size == 8 else f"{order}II")
        first, second = pointers.unpack_from(block, 16)
        version = _read_string(reader, elf, pointers, first, _MAX_VERSION)
        modules = _read_string(reader, elf, pointers, second, _MAX_MODULES)
    else:
        yield Problem(path, offset, f"build information of Go with addresses of {pointer_size} bytes")
        return
    if version is None or modules is None:
        yield Problem(path, offset, "build information of Go that is cut short, or needs a file that can be read again")
        return
    yield from _read_modules(decode(version), modules, path, elf.architecture)


def _read_inline(texts: bytes, at: int, limit: int) -> tuple[bytes | None, int]:
    """Return a text that its length precedes, and where it ends. The length is a varint: 7 bits a byte."""
    length = shift = 0
    while at < len(texts) and shift < 35:
        byte = texts[at]
        length |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            end = at + length
            return (texts[at:end], end) if length <= limit and end <= len(texts) else (None, at)
    return None, at


def _read_string(reader: _RangeReader, elf: _Elf, pointers: Struct, address: int, limit: int) -> bytes | None:
    """Return the string whose address and length are at an address."""
    header = _read_address(reader, elf, address, pointers.size)
    if header is None or len(header) < pointers.size:
        return None
    start, length = pointers.unpack(header)
    if length > limit:
        return None
    text = _read_address(reader, elf, start, length) if length else b""
    return text if text is not None and len(text) == length else None


def _read_address(reader: _RangeReader, elf: _Elf, address: int, size: int) -> bytes | None:
    for segment in elf.segments:
        if segment.address <= address < segment.address + segment.size:
            return reader.read_at(segment.offset + address - segment.address, size)
    return None


def _read_modules(version: str, modules: bytes, path: str, architecture: str) -> Rows:
    """Yield the packages of the list of modules: lines of words that tabs separate."""
    if len(modules) >= 2 * _MARKER + 1 and modules[-_MARKER - 1 : -_MARKER] == b"\n":
        modules = modules[_MARKER:-_MARKER]
    else:
        modules = b""  # built without modules
    lines = [line.split("\t") for line in decode(modules).split("\n")]
    settings = dict(line[1].partition("=")[::2] for line in lines if line[0] == "build" and len(line) == 2)
    architecture = settings.get("GOARCH") or architecture
    found: list[tuple[str, str]] = []
    for line in lines:
        if line[0] in {"mod", "dep"} and len(line) >= 3:
            found.append((line[1], line[2]))
        elif line[0] == "=>" and len(line) >= 3 and found:
            is_folder = line[1].startswith((".", "/"))  # its content has the name, but not the version
            found[-1] = (found[-1][0] if is_folder else line[1], line[2])
    for name, module_version in found:
        yield Package("go", name, module_version, path, architecture=architecture, toolchain=version)
    number = version.removeprefix("go").partition(" ")[0] if version.startswith("go") else ""
    yield Package("go", "stdlib", number, path, architecture=architecture, toolchain=version)
