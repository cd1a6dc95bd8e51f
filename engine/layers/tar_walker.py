"""Walks a tar stream without copying its contents.

`TarWalker` is fed the stream in pieces of any size. It counts entries and their bytes, and optionally passes each entry
to a callback. Without a callback an ordinary header costs about a microsecond: two `struct` fields, two integers and
one checksum in C. With one it costs about two for its fields, and two more for a `TarEntry`. Everything unusual (pax
and GNU headers, sparse files, odd numbers, the end marker) takes a slower path. The accepted formats and sizes are
those of Go's archive/tar, so that docker and imq agree on which layers are valid.
"""

from __future__ import annotations

from struct import Struct

from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING, Record
from isal.isal_zlib import adler32

from . import tar_header as fields
from .tar_entry import TarEntry
from .tar_header import BLOCK_SIZE
from .tar_sparse import is_map_in_content, parse_gnu_map, parse_pax_map, validate_segments

if TYPE_CHECKING:
    from collections.abc import Callable

    OrdinaryEntry = tuple[str, str, int, int, int, int, int, str, int, bytes]
    """Path, type, size, mode, uid, gid, time in seconds, target of a link, offset of the content, and the field with
    the names of the owners."""


class TarLimits(Record):
    """The limits of an archive; one that exceeds them is rejected."""

    max_entries: int = 10_000_000
    max_name: int = 64 * 1024
    """The maximum size in bytes of a path or link target; Linux accepts 4,096."""
    max_header: int = 1024 * 1024
    """The maximum size in bytes of a pax header, as in Go's archive/tar."""
    max_trailing: int = 1 << 30
    """The maximum number of bytes after the end marker: more than any padding, but a bound for endless sources."""


_TYPES = {
    0x30: "file", 0x00: "file", 0x37: "file", 0x53: "file",  # 0, v7's NUL, contiguous, GNU sparse
    0x31: "link", 0x32: "symlink", 0x33: "char", 0x34: "block", 0x35: "directory", 0x36: "fifo",
}  # fmt: skip
_BODILESS = frozenset(
    {"link", "symlink", "char", "block", "directory", "fifo"}
)  # without content, whatever their size field
_V7, _SPARSE, _LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL, _PAX_SUN = 0x00, 0x53, 0x4C, 0x4B, 0x78, 0x67, 0x58
_ZEROS = bytes(BLOCK_SIZE)

_FAST = Struct("148s6s2s356s")
"""A header, split around its checksum: the bytes before, the digits, their terminator, the bytes after."""
_FAST_ENDS = frozenset({b"\x00 ", b" \x00"})
_FAST_TYPES = {kind: name == "file" for kind, name in _TYPES.items() if kind not in (_V7, _SPARSE)}
"""Type flags with ordinary headers, and whether content follows."""
_ADLER_MODULUS = 65521
_FIELDS = Struct("100s24s12s12s6s2sB100s8s64s16xB166x")
"""A header by its fields: name, mode with uid and gid, size, mtime, checksum, its end, type, target, magic, names of
the owners, and the first byte of the prefix."""
_TERMINATORS = frozenset({0x00, 0x20})
"""What ends a number, and the union of the bits of several ends."""
_MAGICS = frozenset({b"ustar\x0000", b"ustar  \x00"})
"""The magic and the version in the headers of ustar and pax, and in those of GNU tar."""
_FAST_ENTRY_TYPES = {
    kind: name for kind, name in _TYPES.items() if kind in _FAST_TYPES and name not in ("char", "block")
}
"""Type flags of headers whose fields are read at once."""
_LINKS = frozenset({"symlink", "link"})
_MAX_KEPT = 256
"""The most fields of one kind that are kept with their values."""
_MAX_HEADER_NAME = 256
"""The bytes that the fields of a header have for a name: no longer limit has to be checked."""

_GLOBAL_PAX_KEYS = ("mtime", "uid", "gid", "uname", "gname")
"""The keys that a global pax header may set. Docker ignores global headers; a path or size for all makes no sense."""
_XATTR_PREFIX = "SCHILY.xattr."


class TarWalker:
    """Walks one archive.

    Call feed() with every piece, then finish(); then `entries` and `size` (the sum of the contents) are valid. Raises
    `Malformed` (code `archive` for invalid archives, `bomb` for those that exceed the limits). Bytes after the end
    marker are ignored up to a limit, as by other readers.

    `on_ordinary` is called in place of `on_entry` for entries with nothing but what a header of ustar has. For these a
    `TarEntry` would cost as much as reading them.
    """

    def __init__(
        self,
        on_entry: Callable[[TarEntry], None] | None = None,
        limits: TarLimits | None = None,
        on_ordinary: Callable[[OrdinaryEntry], None] | None = None,
    ) -> None:
        self.entries = 0
        self.size = 0
        self._on_entry = on_entry
        self._limits = limits or TarLimits()
        self._fed_size = 0
        self._next_offset = 0  # the offset in the stream of the next part to read, a header or an extension,
        self._next_size = BLOCK_SIZE  # its size,
        self._next_reader: Callable[[bytes], None] = self._read_header  # and its reader
        self._partial = b""  # the bytes of it in earlier pieces
        self._padding = 0  # bytes before `_next_offset` that pad the content of an entry
        self._ended = False
        self._global_pax: dict[str, bytes] = {}
        self._on_ordinary = on_ordinary or self._pass_ordinary
        self._owners: dict[bytes, tuple[int, int, int]] = {}  # values by their fields
        self._times: dict[bytes, int] = {}
        self._names: dict[bytes, tuple[str, str]] = {}
        self._reset_extensions()

    def _reset_extensions(self) -> None:
        """Drop the extension headers, which apply to one entry only."""
        self._pax: dict[str, bytes] = {}
        self._long_name: bytes | None = None
        self._long_link: bytes | None = None
        self._has_extension = False
        self._sparse_blocks: list[bytes] = []  # the header of a GNU sparse file and the blocks of its map

    def feed(self, piece: bytes | memoryview) -> None:
        """Walk through the next piece. It may be reused after the call."""
        start = self._fed_size
        self._fed_size = end = start + len(piece)
        while not self._ended and self._next_offset + self._next_size <= end:
            if self._partial:
                self._next_reader(self._partial + piece[: self._next_size - len(self._partial)])
                self._partial = b""
                continue
            if self._next_reader == self._read_header and not self._has_extension:
                if self._on_entry is None:
                    self._scan_ordinary_headers(piece, start)
                elif not self._global_pax and self._limits.max_name >= _MAX_HEADER_NAME:
                    self._read_ordinary_headers(piece, start)
                if self._next_offset + self._next_size > end:
                    break
            position = self._next_offset - start
            self._next_reader(bytes(piece[position : position + self._next_size]))
        if not self._ended and self._next_offset < end:
            self._partial += piece[max(0, self._next_offset - start) :]
        if self._ended and end - self._next_offset > self._limits.max_trailing:
            raise Malformed(f"the archive has more than {self._limits.max_trailing:,} bytes after its end", code="bomb")

    @property
    def has_ended(self) -> bool:
        """Whether the end marker has been read."""
        return self._ended

    def skip_content(self) -> int:
        """Return the number of bytes before the next header. They count as fed: the caller skips them in the stream."""
        skipped = max(self._next_offset - self._fed_size, 0)
        self._fed_size += skipped
        return skipped

    def _scan_ordinary_headers(self, piece: bytes | memoryview, start: int) -> None:
        """Walk over ordinary headers, up to the first that is unusual or incomplete in `piece`."""
        adler, unpack, types, ends = adler32, _FAST.unpack_from, _FAST_TYPES, _FAST_ENDS
        position, last = self._next_offset - start, len(piece) - BLOCK_SIZE
        size = padding = entries = total = 0
        while position <= last:
            before, digits, after_digits, after = unpack(piece, position)
            size_digits = before[124:135]
            has_content = types.get(after[0])
            if (
                has_content is None
                or not (size_digits.isdigit() and digits.isdigit())
                or after_digits not in ends
                or before[135] > 32
            ):
                break
            try:
                size, checksum = int(size_digits, 8), int(digits, 8)
            except ValueError:
                break
            # the low half of adler32 is 1 + the sum of the bytes; the checksum counts its own eight bytes as spaces
            if adler(after, adler(before)) & 0xFFFF != (checksum - 255) % _ADLER_MODULUS:
                break
            entries += 1
            if has_content:
                total += size
                padding = -size % BLOCK_SIZE
                position += BLOCK_SIZE + size + padding
            else:
                padding = 0
                position += BLOCK_SIZE
        if entries:
            self._next_offset = start + position
            self._padding = padding
            self.size += total
            self._count_entries(entries)

    def _read_ordinary_headers(self, piece: bytes | memoryview, start: int) -> None:
        """Pass on the entries of ordinary headers, up to the first that is unusual or incomplete in `piece`."""
        adler, unpack, types = adler32, _FIELDS.unpack_from, _FAST_ENTRY_TYPES
        magics, ends, owners, times = _MAGICS, _FAST_ENDS, self._owners, self._times
        on_ordinary = self._on_ordinary
        position, last = self._next_offset - start, len(piece) - BLOCK_SIZE
        while position <= last:
            (
                name, owner, size_digits, time, digits, after_digits, flag, target, magic, names, prefix,
            ) = unpack(piece, position)  # fmt: skip
            kind = types.get(flag)
            numbers = owners.get(owner) or self._read_owner(owner)
            seconds = times.get(time)
            if seconds is None:
                seconds = self._read_time(time)
            if (
                kind is None
                or numbers is None
                or seconds is None
                or prefix
                or magic not in magics
                or after_digits not in ends
                or size_digits[11] not in _TERMINATORS
                or not (size_digits[:11] + digits).isdigit()
            ):
                return
            try:
                size, checksum = int(size_digits[:11], 8), int(digits, 8)
            except ValueError:
                return
            # the low half of adler32 is 1 + the sum of the bytes; the checksum counts its own eight bytes as spaces
            whole = adler(piece[position : position + BLOCK_SIZE]) & 0xFFFF
            if (whole - (adler(digits) & 0xFFFF) + 7 * 32 - checksum) % _ADLER_MODULUS:
                return
            path = name.partition(b"\x00")[0].decode("utf-8", "surrogateescape")
            link = ""
            if kind != "file":
                size = 0
                if kind in _LINKS:
                    link = target.partition(b"\x00")[0].decode("utf-8", "surrogateescape")
            if path[-1:] == "/":
                path = path.rstrip("/") or "/"
            position += BLOCK_SIZE
            on_ordinary((path, kind, size, *numbers, seconds, link, start + position, names))
            padding = -size % BLOCK_SIZE
            position += size + padding
            self._next_offset, self._padding = start + position, padding
            self.size += size
            self._count_entries(1)

    def _pass_ordinary(self, ordinary: OrdinaryEntry) -> None:
        """Pass on an ordinary entry as any other one."""
        assert self._on_entry is not None
        path, kind, size, mode, uid, gid, seconds, link, offset, field = ordinary
        names = self._names.get(field) or self._read_names(field)
        mtime = seconds * 10**9
        self._on_entry(TarEntry(  # by position, which is the fastest
            path, kind, size, size, mode, uid, gid, *names, mtime, link, (), (0, 0), offset, None, False,
        ))  # fmt: skip

    def _read_names(self, field: bytes) -> tuple[str, str]:
        """Return the names of user and group, and keep them for the next entries."""
        if len(self._names) >= _MAX_KEPT:
            self._names.clear()
        names = self._names[field] = fields.decode_name(field[:32]), fields.decode_name(field[32:])
        return names

    def _read_owner(self, field: bytes) -> tuple[int, int, int] | None:
        """Return mode, uid and gid; None for unusual numbers. They are kept: nearly all entries have the same."""
        mode, uid, gid = field[:7], field[8:15], field[16:23]
        if (field[7] | field[15] | field[23]) not in _TERMINATORS or not (mode + uid + gid).isdigit():
            return None
        try:
            numbers = int(mode, 8) & 0o7777, int(uid, 8), int(gid, 8)
        except ValueError:
            return None
        if len(self._owners) >= _MAX_KEPT:
            self._owners.clear()
        self._owners[field] = numbers
        return numbers

    def _read_time(self, field: bytes) -> int | None:
        """Return the seconds of a time; None for an unusual number. They are kept: files of a package have the same."""
        if field[11] not in _TERMINATORS or not field[:11].isdigit():
            return None
        try:
            seconds = int(field[:11], 8)
        except ValueError:
            return None
        if len(self._times) >= _MAX_KEPT:
            self._times.clear()
        self._times[field] = seconds
        return seconds

    def _count_entries(self, entries: int) -> None:
        self.entries += entries
        if self.entries > self._limits.max_entries:
            raise Malformed(f"the archive has more than {self._limits.max_entries:,} entries", code="bomb")

    def _corrupt_error(self, reason: object) -> Malformed:
        return Malformed(
            f"invalid tar archive: {reason}, in entry {self.entries + 1:,} at byte {self._next_offset:,}",
            code="archive",
        )

    def _expect(self, reader: Callable[[bytes], None], size: int, skip: int, padding: int = 0) -> None:
        """Set the next part to read: it begins `skip` bytes after the current one, and has `size` bytes."""
        self._next_offset += skip
        self._next_reader, self._next_size, self._padding = reader, size, padding

    def _read_header(self, block: bytes) -> None:
        if block == _ZEROS:
            if self._has_extension:
                raise self._corrupt_error("it ends after the headers of an entry")
            self._expect(self._read_end_marker, BLOCK_SIZE, BLOCK_SIZE)
            return
        try:
            if not fields.has_valid_checksum(block):
                raise ValueError("the checksum of a header is wrong")
            self._dispatch_header(block)
        except ValueError as error:
            raise self._corrupt_error(error) from None

    def _read_end_marker(self, block: bytes) -> None:
        if block != _ZEROS:
            raise self._corrupt_error("only one block of zeros, expected two as the end marker")
        self._ended = True

    def _dispatch_header(self, block: bytes) -> None:
        kind = block[156]
        if kind in (_PAX, _PAX_GLOBAL, _PAX_SUN, _LONG_NAME, _LONG_LINK):
            self._expect_extension(kind, fields.parse_size(block[124:136]))
        elif kind == _SPARSE and block[482]:
            self._sparse_blocks = [block]
            self._expect(self._read_sparse_map, BLOCK_SIZE, BLOCK_SIZE)
        else:
            self._finish_entry(block, BLOCK_SIZE)

    def _expect_extension(self, kind: int, size: int) -> None:
        limit = self._limits.max_name + 1 if kind in (_LONG_NAME, _LONG_LINK) else self._limits.max_header
        if size > limit:
            raise Malformed(
                f"a header of {size:,} bytes in entry {self.entries + 1:,} of the archive "
                f"at byte {self._next_offset:,}; the limit is {limit:,}",
                code="bomb",
            )
        padding = -size % BLOCK_SIZE

        def read(body: bytes) -> None:
            try:
                self._apply_extension(kind, body[:size])
            except ValueError as error:
                raise self._corrupt_error(error) from None
            self._expect(self._read_header, BLOCK_SIZE, size + padding)

        self._expect(read, size + padding, BLOCK_SIZE)

    def _apply_extension(self, kind: int, body: bytes) -> None:
        if kind == _PAX_GLOBAL:
            records = fields.parse_pax_records(body)
            self._global_pax.update({key: records[key] for key in _GLOBAL_PAX_KEYS if key in records})
            return
        self._has_extension = True
        if kind == _LONG_NAME:
            self._long_name = body.partition(b"\x00")[0]
        elif kind == _LONG_LINK:
            self._long_link = body.partition(b"\x00")[0]
        else:
            self._pax = fields.parse_pax_records(body)

    def _read_sparse_map(self, block: bytes) -> None:
        """Read one block of a sparse file's map; a flag marks the last one."""
        if self._on_entry:
            self._sparse_blocks.append(block)
            if len(self._sparse_blocks) * BLOCK_SIZE > self._limits.max_header:
                raise Malformed(
                    f"a sparse map of over {self._limits.max_header:,} bytes in entry {self.entries + 1:,}",
                    code="bomb",
                )
        if block[504]:
            self._expect(self._read_sparse_map, BLOCK_SIZE, BLOCK_SIZE)
            return
        try:
            self._finish_entry(self._sparse_blocks[0], BLOCK_SIZE)
        except ValueError as error:
            raise self._corrupt_error(error) from None

    def _finish_entry(self, block: bytes, skip: int) -> None:
        """Count the entry of the header `block`, whose content begins `skip` bytes later."""
        kind = _TYPES.get(block[156], "unknown")
        path = self._read_path(block) if self._on_entry or block[156] == _V7 else ""
        if block[156] == _V7 and path.endswith("/"):
            kind = "directory"
        size = real_size = fields.parse_size(block[124:136])
        if self._pax:
            size = fields.get_pax_size(self._pax, "size", size)
            real_size = fields.get_pax_size(self._pax, "GNU.sparse.size", size)
            real_size = fields.get_pax_size(self._pax, "GNU.sparse.realsize", real_size)
        if block[156] == _SPARSE:
            real_size = fields.parse_size(block[483:495])
        if kind in _BODILESS:
            size = real_size = 0
        if self._on_entry:
            self._on_entry(self._make_entry(block, path, kind, (size, real_size), self._next_offset + skip))
        self._reset_extensions()
        self.size += size
        self._count_entries(1)
        padding = -size % BLOCK_SIZE
        self._expect(self._read_header, BLOCK_SIZE, skip + size + padding, padding)

    def _read_path(self, block: bytes) -> str:
        path = fields.decode_name(fields.read_path(block) if self._long_name is None else self._long_name)
        path = fields.get_pax_string(self._pax, "path", path)
        return self._check_name(fields.get_pax_string(self._pax, "GNU.sparse.name", path))

    def _check_name(self, name: str) -> str:
        if len(name) > self._limits.max_name:
            raise Malformed(f"a name of {len(name):,} bytes in entry {self.entries + 1:,} of the archive", code="bomb")
        return name

    def _make_entry(self, block: bytes, path: str, kind: str, sizes: tuple[int, int], offset: int) -> TarEntry:
        pax = {**self._global_pax, **self._pax} if self._global_pax else self._pax
        uname, gname = fields.read_owner_names(block)
        target = ""
        if kind in ("link", "symlink"):
            target = fields.decode_name(block[157:257] if self._long_link is None else self._long_link)
            target = self._check_name(fields.get_pax_string(pax, "linkpath", target))
        map_in_content = bool(self._pax) and is_map_in_content(self._pax)
        segments = parse_gnu_map(self._sparse_blocks or (block,)) if block[156] == _SPARSE else parse_pax_map(self._pax)
        if segments is not None and not map_in_content:
            segments = validate_segments(segments, *sizes)
        mode, uid, gid = (fields.parse_number(block[at : at + 8]) for at in (100, 108, 116))
        mtime = fields.parse_number(block[136:148]) * 10**9
        xattrs: tuple[tuple[str, bytes], ...] = ()
        if pax:
            uid, gid = fields.get_pax_number(pax, "uid", uid), fields.get_pax_number(pax, "gid", gid)
            uname, gname = fields.get_pax_string(pax, "uname", uname), fields.get_pax_string(pax, "gname", gname)
            mtime = fields.get_pax_time(pax, "mtime", mtime)
            xattrs = tuple(
                [(key[len(_XATTR_PREFIX) :], value) for key, value in pax.items() if key.startswith(_XATTR_PREFIX)]
            )
        device = fields.read_device(block) if kind in ("char", "block") else (0, 0)
        return TarEntry(  # by position, which is the fastest
            path.rstrip("/") or path[:1], kind, *sizes, mode & 0o7777, uid, gid, uname, gname, mtime, target, xattrs,
            device, offset, segments, map_in_content,
        )  # fmt: skip

    def finish(self) -> None:
        """Raise `Malformed` when the archive ends within an entry. The end marker may be missing."""
        if self._ended or (self._next_reader == self._read_end_marker and not self._partial):
            return
        is_complete = self._fed_size >= self._next_offset - self._padding
        if (
            self._has_extension
            or self._partial
            or not is_complete
            or self._next_reader not in (self._read_header, self._read_end_marker)
        ):
            raise self._corrupt_error(f"it is truncated after {self._fed_size:,} bytes")
