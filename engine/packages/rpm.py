"""Reads the databases of RPM, which contain the header of each installed package.

| file | written by | read with |
|---|---|---|
| `rpmdb.sqlite` | Fedora from 33, RHEL from 9 | sqlite3, of a temporary copy |
| `Packages.db` | SUSE: RPM's own format "ndb" | this module |
| `Packages` | RHEL to 8, Amazon Linux 2: a hash of Berkeley DB | this module |

No library that is still maintained reads the last two: Python's `bsddb` left the standard library in 2008, and Debian
and Fedora drop Berkeley DB, whose licence is the AGPL. Each is read here in 60 lines, as RPM itself does (`bdb_ro.c`).
"""

from __future__ import annotations

import os
from struct import Struct

from imq.grammar.record import TYPE_CHECKING

from .package import Problem
from .reader import MAX_DATABASE
from .rpm_header import MAX_HEADER, read_header

if TYPE_CHECKING:
    from tempfile import _TemporaryFileWrapper
    from typing import BinaryIO

    from .package import Rows

_CHUNK = 1 << 20


def _make_temporary() -> _TemporaryFileWrapper[bytes]:
    """Return a temporary file, which is removed when it is closed. It has a name because SQLite opens files by name."""
    import tempfile

    return tempfile.NamedTemporaryFile(prefix="imq-rpm-")


def _copy(file: BinaryIO, copy: _TemporaryFileWrapper[bytes], path: str) -> tuple[int, Problem | None]:
    """Copy a database to a temporary file, in which seeking is cheap, and return its size."""
    size = 0
    while size < MAX_DATABASE and (piece := file.read(min(_CHUNK, MAX_DATABASE - size))):
        copy.write(piece)
        size += len(piece)
    copy.flush()
    if size == MAX_DATABASE and file.read(1):
        return size, Problem(path, size, f"more than {MAX_DATABASE:,} bytes, the rest is not read")
    return size, None


# ---- SQLite

_SQLITE_PAGE_COUNT = 28
"""The offset of the number of pages in the header of a database."""


def scan_sqlite(file: BinaryIO, path: str) -> Rows:
    """Yield the packages of `rpmdb.sqlite`."""
    with _make_temporary() as copy:
        size, problem = _copy(file, copy, path)
        if problem is not None:
            yield problem
        if not size:
            return  # rpm writes an empty file before it has made the tables
        page_size, pages = _read_sqlite_size(_read_at(copy.fileno(), 0, 100))
        if page_size * pages > size:
            yield Problem(path, size, f"cut short: {size:,} of {page_size * pages:,} bytes")
            # SQLite refuses such a file as a whole, unless the header of the copy names only the pages that are there
            os.pwrite(copy.fileno(), (size // page_size).to_bytes(4), _SQLITE_PAGE_COUNT)
        from .rpm_sqlite import iter_headers

        for header in iter_headers(copy.name):
            if isinstance(header, str):
                yield Problem(path, None, header)
            else:
                yield from read_header(header, path, None)


def _read_sqlite_size(header: bytes) -> tuple[int, int]:
    """Return the size of a page and the number of pages by the header of a database; zeros if it does not say."""
    if len(header) < 100 or header[:16] != b"SQLite format 3\0" or header[24:28] != header[92:96]:
        return 0, 0
    page_size, pages = Struct(">H10xI").unpack_from(header, 16)
    return (65536 if page_size == 1 else page_size), pages


def scan_write_ahead_log(file: BinaryIO, path: str) -> Rows:
    """Yield a problem unless `rpmdb.sqlite-wal` is empty: then the database does not have the last changes."""
    if file.read(1):
        database = path.removesuffix("-wal").rpartition("/")[2]
        yield Problem(path, 0, f"changes that {database} does not have yet: its packages can be older")


# ---- ndb

_NDB_HEADER, _NDB_SLOT, _NDB_BLOB, _NDB_TAIL = Struct("<4sIII"), Struct("<4sIII"), Struct("<4sIII"), Struct("<II4s")
_NDB_PAGE, _NDB_BLOCK, _NDB_FIRST_SLOT = 4096, 16, 32
_NDB_MAX_PAGES = 4096
"""The most pages of slots: a million packages."""


def scan_ndb(file: BinaryIO, path: str) -> Rows:
    """Yield the packages of `Packages.db`: slots that say where the blocks of each header are."""
    with _make_temporary() as copy:
        size, problem = _copy(file, copy, path)
        if problem is not None:
            yield problem
        intro = _read_at(copy.fileno(), 0, _NDB_HEADER.size)
        if len(intro) < _NDB_HEADER.size or intro[:4] != b"RpmP":
            if size:
                yield Problem(path, 0, "not a database of RPM's format ndb")
            return
        _, version, _, pages = _NDB_HEADER.unpack(intro)
        if version != 0:
            yield Problem(path, 4, f"version {version} of the format ndb, which is unknown")
            return
        slots = _read_at(copy.fileno(), 0, min(pages, _NDB_MAX_PAGES) * _NDB_PAGE)[_NDB_FIRST_SLOT:]
        whole = len(slots) - len(slots) % _NDB_SLOT.size
        for at in range(0, whole, _NDB_SLOT.size):
            magic, index, block, blocks = _NDB_SLOT.unpack_from(slots, at)
            if magic != b"Slot":
                yield Problem(path, _NDB_FIRST_SLOT + at, "not a slot, the rest is not read")
                return
            if index and block:
                yield from _read_ndb_blob(copy.fileno(), path, index, block * _NDB_BLOCK, blocks * _NDB_BLOCK)


def _read_ndb_blob(file: int, path: str, index: int, offset: int, size: int) -> Rows:
    from zlib import adler32

    blob = _read_at(file, offset, min(size, MAX_HEADER))
    if len(blob) < _NDB_BLOB.size + _NDB_TAIL.size:
        yield Problem(path, offset, "a package that is cut short")
        return
    magic, owner, _, length = _NDB_BLOB.unpack_from(blob)
    tail = blob[len(blob) - _NDB_TAIL.size :]
    checksum, tail_length, end_magic = _NDB_TAIL.unpack(tail)
    if (magic, owner) != (b"BlbS", index) or length > len(blob) - _NDB_BLOB.size - _NDB_TAIL.size:
        yield Problem(path, offset, "not the package that its slot names, or cut short")
        return
    body = blob[: len(blob) - _NDB_TAIL.size]
    if (end_magic, tail_length) != (b"BlbE", length) or adler32(body) != checksum:
        yield Problem(path, offset, "a package with a wrong checksum")
    yield from read_header(blob[_NDB_BLOB.size : _NDB_BLOB.size + length], path, offset)


# ---- Berkeley DB

_BDB_MAGIC = 0x061561
_BDB_PAGE_HEADER = 26
_BDB_HASH_PAGES = frozenset({2, 13})
_BDB_OVERFLOW_PAGE = 7
_BDB_ON_PAGE, _BDB_OFF_PAGE = 1, 3


def scan_berkeley_db(file: BinaryIO, path: str) -> Rows:
    """Yield the packages of `Packages`: the values of a hash, most of them on chains of overflow pages.

    All pages are read in order instead of by bucket, so that a damaged page costs only the packages on it.
    """
    with _make_temporary() as copy:
        size, problem = _copy(file, copy, path)
        if problem is not None:
            yield problem
        meta = _read_at(copy.fileno(), 0, 512)
        order = next((order for order in "<>" if meta[12:16] == Struct(f"{order}I").pack(_BDB_MAGIC)), "")
        if len(meta) < 72 or not order:
            if size:
                yield Problem(path, 0, "not a hash of Berkeley DB")
            return
        page_size, last_page = (Struct(f"{order}I").unpack_from(meta, at)[0] for at in (20, 32))
        if not 512 <= page_size <= 65536 or page_size & (page_size - 1):
            yield Problem(path, 20, f"pages of {page_size:,} bytes")
            return
        if meta[24]:
            yield Problem(path, 24, "encrypted")
            return
        available = size // page_size
        if available <= last_page:
            yield Problem(path, size, f"cut short: {available:,} of {last_page + 1:,} pages")
        database = _BerkeleyDb(copy.fileno(), path, page_size, order)
        for number in range(1, min(last_page + 1, available)):
            yield from database.read_page(number)


class _BerkeleyDb:
    """A database file with its pages."""

    def __init__(self, file: int, path: str, page_size: int, order: str) -> None:
        self._file = file
        self._path = path
        self._page_size = page_size
        self._page = Struct(f"{order}8xIII HH BB".replace(" ", ""))
        self._order = order

    def read_page(self, number: int) -> Rows:
        """Yield the packages whose keys are on a page of the hash."""
        offset = number * self._page_size
        page = _read_at(self._file, offset, self._page_size)
        own_number, _, _, entries, _, _, kind = self._page.unpack_from(page)
        if kind not in _BDB_HASH_PAGES:
            return
        if own_number != number or _BDB_PAGE_HEADER + 2 * entries > self._page_size:
            yield Problem(self._path, offset, "a damaged page")
            return
        starts = Struct(f"{self._order}{entries}H").unpack_from(page, _BDB_PAGE_HEADER)
        ends = (self._page_size, *starts)  # entries are written from the end of the page
        for at in range(1, entries, 2):  # every second entry is a value, after its key
            start, end = starts[at], ends[at]
            if not _BDB_PAGE_HEADER <= start < end <= self._page_size:
                yield Problem(self._path, offset + _BDB_PAGE_HEADER + 2 * at, "an entry outside of its page")
            elif page[start] == _BDB_ON_PAGE:
                if end - start > 64:  # the value of key 0 is the last number of a package
                    yield from read_header(page[start + 1 : end], self._path, offset + start)
            elif page[start] == _BDB_OFF_PAGE and end - start == 12:
                first, length = Struct(f"{self._order}II").unpack_from(page, start + 4)
                yield from self._read_overflow(first, length, offset + start)

    def _read_overflow(self, number: int, length: int, offset: int) -> Rows:
        """Yield the package of a value on a chain of pages. `offset` is that of the entry."""
        if length > MAX_HEADER:
            yield Problem(self._path, offset, f"a package of {length:,} bytes")
            return
        pieces, left = [], length
        while left > 0:
            page = _read_at(self._file, number * self._page_size, self._page_size)
            if len(page) < self._page_size:
                yield Problem(self._path, offset, f"a package without the last {left:,} of its {length:,} bytes")
                return
            own_number, _, next_number, _, used, _, kind = self._page.unpack_from(page)
            if own_number != number or kind != _BDB_OVERFLOW_PAGE or not 0 < used <= self._page_size - _BDB_PAGE_HEADER:
                yield Problem(self._path, number * self._page_size, "not the page that continues a package")
                return
            pieces.append(page[_BDB_PAGE_HEADER : _BDB_PAGE_HEADER + used])
            left -= used
            number = next_number
        yield from read_header(b"".join(pieces)[:length], self._path, offset)


def _read_at(file: int, offset: int, size: int) -> bytes:
    return os.pread(file, size, offset)
