"""Lists the members of archives, and of archives inside them: zip and its kin, and tar with any compression of layers.

An archive is found by its name, and by its first bytes: a file that only has such a name is no archive. What is inside
an archive is unpacked to temporary files, a bounded number of bytes in all.
"""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from datetime import UTC, datetime
from tempfile import SpooledTemporaryFile

from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING, Record

from .compression import detect_compression
from .layer_reader import LayerDecompressor, LayerLimits
from .tar_header import BLOCK_SIZE, has_valid_checksum
from .tar_walker import TarWalker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Self

    from .tar_entry import TarEntry

_ZIP_ENDINGS = (".jar", ".war", ".ear", ".aar", ".zip", ".whl", ".egg", ".nupkg")
_TAR_ENDINGS = (
    ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst",
)  # fmt: skip
ENDINGS = (*_ZIP_ENDINGS, *_TAR_ENDINGS)
"""The ends of the names of archives, in lower case."""
_ZIP_MAGIC = b"PK"
_END_RECORD = struct.Struct("<4s4H2LH")
_END_MAGIC = b"PK\x05\x06"
_MAX_COMMENT = 1 << 16
_ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, NotImplementedError, RuntimeError,
)  # fmt: skip
"""What `zipfile` raises for damaged, encrypted and unusual archives."""
_PIECE = 1 << 20
_IN_MEMORY = 8 << 20
_NS_PER_SECOND = 1_000_000_000
_FILE_TYPES = {0o120000: "symlink", 0o040000: "directory"}
_MAX_LINK = 4096


class ArchiveLimits(Record):
    """Limits of what one file is opened for; an archive that exceeds them is an error."""

    max_depth: int = 8
    """The number of archives inside each other."""
    max_members: int = 1_000_000
    max_bytes: int = 2 << 30
    """The bytes that are unpacked to open the archives inside it, in all."""
    max_directory: int = 128 << 20
    """The bytes of the list of members of a zip archive, which is read as a whole."""


class Member(Record):
    """A member of an archive: its path after `!/`, with those of the archives around it, as `TarEntry` has it."""

    path: str
    depth: int
    type: str
    size: int
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    mtime: int | None = None
    link_target: str | None = None


def is_archive_name(name: str) -> bool:
    """Whether a file with this name may be an archive."""
    return name.lower().endswith(ENDINGS)


def list_members(file: IO[bytes], name: str, limits: ArchiveLimits | None = None) -> Iterator[Member]:
    """Yield the members of the archive in a seekable file; nothing when it is none. `name` is its path.

    Raises `Malformed` for an archive that is damaged, encrypted or exceeds a limit.
    """
    lister = _Lister(limits or ArchiveLimits())
    try:
        yield from lister.list(file, name, "", 1)
    except _ZIP_ERRORS as error:
        raise Malformed(f"{name}: {error}", code="archive") from None
    except Malformed as error:
        raise Malformed(f"{name}: {error.message}", code=error.code) from None


class _Lister:
    """Lists one archive, and counts what its limits allow."""

    def __init__(self, limits: ArchiveLimits) -> None:
        self._limits = limits
        self._members = 0
        self._unpacked = 0

    def list(self, file: IO[bytes], name: str, prefix: str, depth: int) -> Iterator[Member]:
        """Yield the members of an archive, and those of the archives in it."""
        head = file.read(BLOCK_SIZE)
        file.seek(0)
        if name.lower().endswith(_ZIP_ENDINGS):
            if head.startswith(_ZIP_MAGIC) or _find_end_record(file) is not None:
                yield from self._list_zip(file, prefix, depth)
        elif detect_compression(head) or (len(head) == BLOCK_SIZE and _is_tar(head)):
            yield from self._list_tar(file, prefix, depth)

    def _count(self, name: str, depth: int) -> None:
        self._members += 1
        if self._members > self._limits.max_members:
            raise Malformed(f"more than {self._limits.max_members:,} members", code="bomb")
        if depth > self._limits.max_depth:
            raise Malformed(f"{name} is inside more than {self._limits.max_depth} archives", code="bomb")

    def count_unpacked(self, size: int) -> None:
        """Count bytes that are unpacked to a temporary file."""
        self._unpacked += size
        if self._unpacked > self._limits.max_bytes:
            raise Malformed(f"the archives in it unpack to more than {self._limits.max_bytes:,} bytes", code="bomb")

    def _list_zip(self, file: IO[bytes], prefix: str, depth: int) -> Iterator[Member]:
        size = _find_end_record(file)
        if size is None or size > self._limits.max_directory:
            reason = "the end of the zip archive is missing" if size is None else "a list of members that is too large"
            raise Malformed(reason, code="archive" if size is None else "bomb")
        file.seek(0)
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                path = f"{prefix}{info.filename.lstrip('/')}"
                self._count(path, depth)
                yield _describe_zip_member(archive, info, path.rstrip("/"), depth)
                if is_archive_name(path) and not info.is_dir():
                    with _Spool(self) as spool:
                        with archive.open(info) as source:
                            while piece := source.read(_PIECE):
                                spool.write(piece)
                        yield from self.list(spool.rewind(), path, f"{path}!/", depth + 1)

    def _list_tar(self, file: IO[bytes], prefix: str, depth: int) -> Iterator[Member]:
        """Yield the members of a tar archive, which is read once; those of an archive in it when its end is read."""
        entries: list[TarEntry] = []
        walker = TarWalker(entries.append)
        nested: list[tuple[TarEntry, str, _Spool]] = []
        offset = 0
        try:
            with LayerDecompressor(None, LayerLimits()) as layer:
                pieces = (piece for chunk in iter(lambda: file.read(_PIECE), b"") for piece in layer.feed(chunk))
                for piece in _chain_flush(pieces, layer):
                    walker.feed(piece)
                    for entry in entries:
                        path = f"{prefix}{entry.path.lstrip('/').removeprefix('./')}"
                        if entry.path.strip("./"):
                            self._count(path, depth)
                            yield _describe_tar_member(entry, path, depth)
                        if entry.type == "file" and is_archive_name(path):
                            nested.append((entry, path, _Spool(self)))
                    entries.clear()
                    view, end = memoryview(piece), offset + len(piece)
                    for entry, path, spool in list(nested):
                        start = entry.offset + spool.size - offset
                        spool.write(view[max(start, 0) : max(start, 0) + entry.size - spool.size])
                        if spool.size == entry.size:
                            nested.remove((entry, path, spool))
                            with spool:
                                yield from self.list(spool.rewind(), path, f"{path}!/", depth + 1)
                    offset = end
                layer.finish()
            walker.finish()
        finally:
            for *_, spool in nested:
                spool.close()


def _chain_flush(pieces: Iterator[bytes | memoryview], layer: LayerDecompressor) -> Iterator[bytes | memoryview]:
    yield from pieces
    yield from layer.flush()


class _Spool:
    """A temporary file of a member, in memory while it is small."""

    def __init__(self, lister: _Lister) -> None:
        self._lister = lister
        self._file = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed in `close`
        self.size = 0

    def write(self, piece: bytes | memoryview) -> None:
        """Add the next piece of the member."""
        self._lister.count_unpacked(len(piece))
        self._file.write(piece)
        self.size += len(piece)

    def rewind(self) -> IO[bytes]:
        """Return the file, to be read from its start."""
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Remove the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()


def _find_end_record(file: IO[bytes]) -> int | None:
    """Return the size in bytes of the list of members of a zip archive; None when the end of the archive is missing."""
    end = file.seek(0, 2)
    start = max(end - _MAX_COMMENT - _END_RECORD.size, 0)
    file.seek(start)
    tail = file.read()
    file.seek(0)
    at = tail.rfind(_END_MAGIC)
    if at < 0 or len(tail) - at < _END_RECORD.size:
        return None
    size: int = _END_RECORD.unpack_from(tail, at)[5]
    return size


def _is_tar(block: bytes) -> bool:
    try:
        return block == bytes(BLOCK_SIZE) or has_valid_checksum(block)
    except ValueError:
        return False


def _describe_zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: str, depth: int) -> Member:
    unix = info.external_attr >> 16
    kind = "directory" if info.is_dir() else _FILE_TYPES.get(unix & 0o170000, "file")
    try:
        mtime = int(datetime(*info.date_time, tzinfo=UTC).timestamp()) * _NS_PER_SECOND
    except ValueError:
        mtime = None
    target = None
    if kind == "symlink" and info.file_size <= _MAX_LINK:
        target = archive.read(info).decode("utf-8", "surrogateescape")
    size = 0 if kind == "directory" else info.file_size
    return Member(path, depth, kind, size, unix & 0o7777 or None, mtime=mtime, link_target=target)


def _describe_tar_member(entry: TarEntry, path: str, depth: int) -> Member:
    kind = {"link": "hardlink", "unknown": "file"}.get(entry.type, entry.type)
    return Member(
        path, depth, kind, entry.real_size, entry.mode, entry.uid, entry.gid, entry.mtime, entry.link_target or None
    )
