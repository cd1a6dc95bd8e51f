"""Walking a tar stream without copying its contents.

`TarWalker` is fed the stream in pieces of any size. It counts entries and their bytes, and on demand describes each
entry to a callback. Where only totals are wanted an ordinary header costs about a microsecond: two `struct` fields,
two integers and one checksum in C. Everything unusual (pax and GNU headers, sparse files, odd numbers, the end) takes
the careful way. What is accepted, and which size counts, follows Go's archive/tar, so that docker and imq agree on
whether a layer is whole.
"""

from __future__ import annotations

from struct import Struct

from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING, Record
from isal.isal_zlib import adler32

from . import tar_header as fields
from .tar_header import BLOCK
from .tar_sparse import checked_segments, gnu_segments, map_in_content, pax_segments

if TYPE_CHECKING:
    from collections.abc import Callable

    from .tar_sparse import Segments


class TarLimits(Record):
    """How much an archive may ask for before it is refused."""

    entries: int = 10_000_000
    name: int = 64 * 1024
    """Longest path or link target, in bytes; Linux takes 4,096."""
    header: int = 1024 * 1024
    """Longest pax header, in bytes; Go's archive/tar takes as much."""


class Entry(Record):
    """One entry of an archive, as its headers describe it."""

    path: str
    """As written, without slashes at its end; bytes that are not UTF-8 are surrogates."""
    type: str
    """file, directory, symlink, link (hard), char, block, fifo or unknown."""
    size: int
    """Bytes of content that the archive holds."""
    real_size: int
    """Length of the unpacked file: more than `size` for a sparse one."""
    mode: int
    uid: int
    gid: int
    uname: str
    gname: str
    mtime: int
    """Nanoseconds since 1970."""
    link_target: str
    xattrs: tuple[tuple[str, bytes], ...]
    device: tuple[int, int]
    """Major and minor number of a char or block device."""
    offset: int
    """Where the content begins in the unpacked stream."""
    segments: Segments | None = None
    """Where the content lies in a sparse file; None: it is the whole file, or as the next field says."""
    map_in_content: bool = False
    """The content begins with the map of a sparse file: see `sparse.content_segments`."""


_TYPES = {
    0x30: "file", 0x00: "file", 0x37: "file", 0x53: "file",  # 0, v7's NUL, contiguous, GNU sparse
    0x31: "link", 0x32: "symlink", 0x33: "char", 0x34: "block", 0x35: "directory", 0x36: "fifo",
}  # fmt: skip
_BODILESS = frozenset({"link", "symlink", "char", "block", "directory", "fifo"})  # whatever size they claim
_V7, _SPARSE, _LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL, _PAX_SUN = 0x00, 0x53, 0x4C, 0x4B, 0x78, 0x67, 0x58
_ZEROS = bytes(BLOCK)

_FAST = Struct("148s6s2s356s")
"""A header around its checksum: what it covers, its digits, its end, what it covers."""
_FAST_ENDS = frozenset({b"\x00 ", b" \x00"})
_FAST_TYPES = {kind: name == "file" for kind, name in _TYPES.items() if kind not in (_V7, _SPARSE)}
"""Typeflags whose header needs no second look, and whether content follows."""
_ADLER = 65521

_GLOBAL_KEYS = ("mtime", "uid", "gid", "uname", "gname")
"""What a global pax header may set: docker ignores them, and a path or size for all entries would be nonsense."""
_XATTR = "SCHILY.xattr."


class TarWalker:
    """Walks one archive.

    feed() every piece, then finish(); `entries` and `size` (the sum of the contents) are valid after it. Nonsense
    raises `Malformed(code="archive")`, more than `limits` allow `Malformed(code="bomb")`. What follows the end marker
    is ignored, as by every reader.
    """

    def __init__(self, on_entry: Callable[[Entry], None] | None = None, limits: TarLimits | None = None) -> None:
        self.entries = 0
        self.size = 0
        self._on_entry = on_entry
        self._limits = limits or TarLimits()
        self._fed = 0
        self._at = 0  # where in the stream the next thing to be read begins,
        self._need = BLOCK  # how long it is,
        self._read: Callable[[bytes], None] = self._read_header  # and what reads it
        self._held = b""  # the part of it that came in an earlier piece
        self._padding = 0  # before `_at`, after the content of an entry
        self._ended = False
        self._globals: dict[str, bytes] = {}
        self._forget()

    def _forget(self) -> None:
        """Drop what was said about the next entry only."""
        self._pax: dict[str, bytes] = {}
        self._long_name: bytes | None = None
        self._long_link: bytes | None = None
        self._pending = False
        self._sparse: list[bytes] = []  # the header of a GNU sparse file and the blocks of its map

    def feed(self, piece: bytes | memoryview) -> None:
        """Walk on through `piece`, which is not kept."""
        start = self._fed
        self._fed = end = start + len(piece)
        while not self._ended and self._at + self._need <= end:
            if self._held:
                self._read(self._held + piece[: self._need - len(self._held)])
                self._held = b""
                continue
            if self._read == self._read_header and not (self._pending or self._on_entry):
                self._scan(piece, start)
                if self._at + self._need > end:
                    break
            position = self._at - start
            self._read(bytes(piece[position : position + self._need]))
        if not self._ended and self._at < end:
            self._held += piece[max(0, self._at - start) :]

    @property
    def ended(self) -> bool:
        """Whether the end marker has come."""
        return self._ended

    def pass_over(self) -> int:
        """Count what lies before the next header as fed; return its bytes, which the caller passes over."""
        ahead = max(self._at - self._fed, 0)
        self._fed += ahead
        return ahead

    def _scan(self, piece: bytes | memoryview, start: int) -> None:
        """Walk over ordinary headers, up to the first that is not, or is not wholly in `piece`."""
        adler, unpack, types, ends = adler32, _FAST.unpack_from, _FAST_TYPES, _FAST_ENDS
        position, last = self._at - start, len(piece) - BLOCK
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
            # the low half of adler32 is 1 + the sum of the bytes; the checksum takes its own eight as blanks
            if adler(after, adler(before)) & 0xFFFF != (checksum - 255) % _ADLER:
                break
            entries += 1
            if has_content:
                total += size
                padding = -size % BLOCK
                position += BLOCK + size + padding
            else:
                padding = 0
                position += BLOCK
        if entries:
            self._at = start + position
            self._padding = padding
            self.size += total
            self._count(entries)

    def _count(self, entries: int) -> None:
        self.entries += entries
        if self.entries > self._limits.entries:
            raise Malformed(f"the archive has more than {self._limits.entries:,} entries", code="bomb")

    def _refuse(self, what: object) -> Malformed:
        return Malformed(
            f"not a whole tar archive: {what}, in entry {self.entries + 1:,} at byte {self._at:,}", code="archive"
        )

    def _advance(self, read: Callable[[bytes], None], need: int, skip: int, padding: int = 0) -> None:
        """Go on `skip` bytes behind where the current thing begins."""
        self._at += skip
        self._read, self._need, self._padding = read, need, padding

    def _read_header(self, block: bytes) -> None:
        if block == _ZEROS:
            if self._pending:
                raise self._refuse("it ends after the headers of an entry")
            self._advance(self._read_end, BLOCK, BLOCK)
            return
        try:
            if not fields.checksum_holds(block):
                raise ValueError("the checksum of a header is wrong")
            self._take_header(block)
        except ValueError as error:
            raise self._refuse(error) from None

    def _read_end(self, block: bytes) -> None:
        if block != _ZEROS:
            raise self._refuse("a lone block of zeros stands where the end is marked by two")
        self._ended = True

    def _take_header(self, block: bytes) -> None:
        kind = block[156]
        if kind in (_PAX, _PAX_GLOBAL, _PAX_SUN, _LONG_NAME, _LONG_LINK):
            self._await_body(kind, fields.size_of(block[124:136]))
        elif kind == _SPARSE and block[482]:
            self._sparse = [block]
            self._advance(self._read_sparse_map, BLOCK, BLOCK)
        else:
            self._take_entry(block, BLOCK)

    def _await_body(self, kind: int, size: int) -> None:
        longest = self._limits.name + 1 if kind in (_LONG_NAME, _LONG_LINK) else self._limits.header
        if size > longest:
            raise Malformed(
                f"a header of {size:,} bytes in entry {self.entries + 1:,} of the archive at byte {self._at:,}; "
                f"{longest:,} are allowed",
                code="bomb",
            )
        padding = -size % BLOCK

        def read(body: bytes) -> None:
            try:
                self._take_body(kind, body[:size])
            except ValueError as error:
                raise self._refuse(error) from None
            self._advance(self._read_header, BLOCK, size + padding)

        self._advance(read, size + padding, BLOCK)

    def _take_body(self, kind: int, body: bytes) -> None:
        if kind == _PAX_GLOBAL:
            records = fields.pax_records(body)
            self._globals.update({key: records[key] for key in _GLOBAL_KEYS if key in records})
            return
        self._pending = True
        if kind == _LONG_NAME:
            self._long_name = body.partition(b"\x00")[0]
        elif kind == _LONG_LINK:
            self._long_link = body.partition(b"\x00")[0]
        else:
            self._pax = fields.pax_records(body)

    def _read_sparse_map(self, block: bytes) -> None:
        """Pass one block of a sparse file's map; the last one says so."""
        if self._on_entry:
            self._sparse.append(block)
            if len(self._sparse) * BLOCK > self._limits.header:
                raise Malformed(
                    f"a sparse map of over {self._limits.header:,} bytes in entry {self.entries + 1:,}",
                    code="bomb",
                )
        if block[504]:
            self._advance(self._read_sparse_map, BLOCK, BLOCK)
            return
        try:
            self._take_entry(self._sparse[0], BLOCK)
        except ValueError as error:
            raise self._refuse(error) from None

    def _take_entry(self, block: bytes, skip: int) -> None:
        """Take the entry that `block` describes, and whose content begins `skip` bytes on."""
        kind = _TYPES.get(block[156], "unknown")
        path = self._path(block) if self._on_entry or block[156] == _V7 else ""
        if block[156] == _V7 and path.endswith("/"):
            kind = "directory"
        size = fields.pax_size(self._pax, "size", fields.size_of(block[124:136]))
        real_size = fields.pax_size(self._pax, "GNU.sparse.size", size)
        real_size = fields.pax_size(self._pax, "GNU.sparse.realsize", real_size)
        if block[156] == _SPARSE:
            real_size = fields.size_of(block[483:495])
        if kind in _BODILESS:
            size = real_size = 0
        if self._on_entry:
            self._on_entry(self._describe(block, path, kind, (size, real_size), self._at + skip))
        self._forget()
        self.size += size
        self._count(1)
        padding = -size % BLOCK
        self._advance(self._read_header, BLOCK, skip + size + padding, padding)

    def _path(self, block: bytes) -> str:
        path = fields.text(fields.path_of(block) if self._long_name is None else self._long_name)
        path = fields.pax_text(self._pax, "path", path)
        return self._short(fields.pax_text(self._pax, "GNU.sparse.name", path))

    def _short(self, name: str) -> str:
        if len(name) > self._limits.name:
            raise Malformed(f"a name of {len(name):,} bytes in entry {self.entries + 1:,} of the archive", code="bomb")
        return name

    def _describe(self, block: bytes, path: str, kind: str, sizes: tuple[int, int], offset: int) -> Entry:
        pax = {**self._globals, **self._pax} if self._globals else self._pax
        uname, gname = fields.owner_names(block)
        target = ""
        if kind in ("link", "symlink"):
            target = fields.text(block[157:257] if self._long_link is None else self._long_link)
            target = self._short(fields.pax_text(pax, "linkpath", target))
        inside = bool(self._pax) and map_in_content(self._pax)
        segments = gnu_segments(self._sparse or (block,)) if block[156] == _SPARSE else pax_segments(self._pax)
        if segments is not None and not inside:
            segments = checked_segments(segments, *sizes)
        return Entry(
            path=path.rstrip("/") or path[:1],
            type=kind,
            size=sizes[0],
            real_size=sizes[1],
            mode=fields.number(block[100:108]) & 0o7777,
            uid=fields.pax_number(pax, "uid", fields.number(block[108:116])),
            gid=fields.pax_number(pax, "gid", fields.number(block[116:124])),
            uname=fields.pax_text(pax, "uname", uname),
            gname=fields.pax_text(pax, "gname", gname),
            mtime=fields.pax_time(pax, "mtime", fields.number(block[136:148]) * 10**9),
            link_target=target,
            xattrs=tuple((key[len(_XATTR) :], value) for key, value in pax.items() if key.startswith(_XATTR)),
            device=fields.device_of(block) if kind in ("char", "block") else (0, 0),
            offset=offset,
            segments=segments,
            map_in_content=inside,
        )

    def finish(self) -> None:
        """Raise `Malformed` when the archive ends within an entry; without an end marker it may end between two."""
        if self._ended or (self._read == self._read_end and not self._held):
            return
        whole = self._fed >= self._at - self._padding
        if self._pending or self._held or not whole or self._read not in (self._read_header, self._read_end):
            raise self._refuse(f"it ends too early, after {self._fed:,} bytes")
