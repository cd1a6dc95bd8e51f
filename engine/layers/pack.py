"""Packs a directory tree as a layer: the same tree gives the same bytes.

The headers have the format pax, which is plain ustar except for names, numbers and attributes that do not fit. Names
are sorted, owners are numeric only, and times are whole seconds, as in docker.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
from contextlib import suppress
from itertools import chain

from imq.grammar.errors import ImqError, NotFound
from imq.grammar.record import TYPE_CHECKING

from . import tar_writer
from .rooted_fs import too_deep_error
from .tar_header import BLOCK_SIZE
from .tar_writer import TarHeader
from .user_namespace import OWNER_ATTRIBUTE, decode_owner, has_single_id
from .whiteout import OPAQUE_FILES, OPAQUE_NAME, WHITEOUT_DEVICE, is_opaque, whiteout_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TypeAlias

    Part: TypeAlias = "bytes | FileContent"
    """A part of an archive: a header, the content of a file, or padding."""

_PIECE_SIZE = 1 << 20
_END = bytes(2 * BLOCK_SIZE)
"""What ends an archive."""
_KINDS = {
    stat.S_IFREG: tar_writer.FILE,
    stat.S_IFDIR: tar_writer.DIRECTORY,
    stat.S_IFLNK: tar_writer.SYMLINK,
    stat.S_IFIFO: tar_writer.FIFO,
    stat.S_IFCHR: tar_writer.CHAR,
    stat.S_IFBLK: tar_writer.BLOCK,
}
"""The types of entries by those of files."""
_WHITEOUT_MODE = 0o600
_PACKED_XATTRS = ("user.", "security.capability")
"""Attributes of the files; other namespaces belong to this host (labels, integrity keys)."""
_XATTR_RECORD = "SCHILY.xattr."
"""What the names of pax records of extended attributes begin with."""
_OWNER_RECORD = _XATTR_RECORD + OWNER_ATTRIBUTE
_MARKS = ("user.overlay.", "user.fuseoverlayfs.")
"""Attributes with which overlay file systems mark the files of their layers."""


def pack_tree(root: str, *, max_depth: int | None = None) -> Iterator[memoryview]:
    """Yield a tar archive of all files below `root`, in the pieces of `join_parts`; the root itself is not an entry.

    Symbolic links stay, further names of a file become hard links, devices and FIFOs are entries. Sockets, which cannot
    be archived, are skipped.

    Raises `NotFound` for a missing root, `Malformed` (code `path-depth`) for a path of more than `max_depth` names, and
    `ImqError` (code `unreadable`, or `changed` for a file that changes while it is read). Each error names the file.
    """
    if not os.path.isdir(root):
        raise NotFound(f"no such directory: {root}", hints=("import takes a directory or an archive",))
    yield from join_parts(chain(TreePacker(root, max_depth).iter_parts(), (b"",)))  # an archive even of no files


def pack_overlay_layer(root: str) -> Iterator[memoryview]:
    """Yield a tar archive of the writable layer of an overlay file system, as a layer of an image.

    Devices that hide files become whiteouts, folders that hide lower ones get an opaque whiteout, as in docker. The
    archive of a layer without files has no bytes at all. Raises the errors of `pack_tree`.
    """
    yield from join_parts(OverlayPacker(root, None).iter_parts())


def join_parts(parts: Iterable[Part]) -> Iterator[memoryview]:
    """Yield parts of an archive in pieces of 1 MiB, and the end of the archive; nothing without parts.

    The pieces share one buffer, so each is valid until the next. Files are read straight into it, and it begins at a
    page, from which a full piece can be written without a copy.
    """
    remaining = iter(parts)
    first = next(remaining, None)
    if first is None:
        return
    buffer = memoryview(mmap.mmap(-1, _PIECE_SIZE))
    size = 0
    for part in chain((first,), remaining, (_END,)):
        content = _Bytes(part) if isinstance(part, bytes) else part
        while content.remaining:
            size += content.readinto(buffer[size:])
            if size == _PIECE_SIZE:
                yield buffer
                size = 0
    if size:
        yield buffer[:size]


class _Bytes:
    """Bytes of an archive that are in memory."""

    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)

    @property
    def remaining(self) -> int:
        """The number of bytes that have not been read."""
        return len(self._content)

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer, or a part of it; return the number of bytes."""
        count = min(len(buffer), len(self._content))
        buffer[:count] = self._content[:count]
        self._content = self._content[count:]
        return count


class FileContent:
    """The content of an open file of a tree, as long as its status says."""

    def __init__(self, path: str, descriptor: int, size: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self.remaining = size
        """The number of bytes that have not been read."""

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer, or a part of it; return the number of bytes. Raises the errors of `pack_tree`."""
        with _ReadErrors(self._path):
            count = os.readv(self._descriptor, [buffer[: self.remaining]])
        if not count:
            raise _changed_error(self._path)
        self.remaining -= count
        return count


class TreePacker:
    """One pass over a tree."""

    def __init__(self, root: str, max_depth: int | None) -> None:
        self.root = root
        self._max_depth = max_depth
        self._first_names: dict[tuple[int, int], str] = {}  # of files with several names, by device and inode
        self._without_xattrs: set[int] = set()  # devices with a file system without extended attributes
        self._has_single_id = has_single_id()

    def iter_parts(self) -> Iterator[Part]:
        """Yield headers, contents and padding. A content must be read before the next part."""
        for path, name, status in self.iter_entries():
            yield from self.pack_entry(path, name, status)

    def pack_entry(self, path: str, name: str, status: os.stat_result) -> Iterator[Part]:
        """Yield the header, the content and the padding of an entry."""
        first_name = self._find_first_name(status, name)
        if first_name is not None:
            header = TarHeader(name, tar_writer.HARD_LINK)
            header.link_target = first_name
            yield self.set_common_fields(header, status).encode()
        elif stat.S_ISREG(status.st_mode):
            yield from self._pack_file(path, name, status)
        elif not stat.S_ISSOCK(status.st_mode):  # which no archive can hold
            yield self._make_header(path, name, status).encode()

    def iter_entries(self) -> Iterator[tuple[str, str, os.stat_result]]:
        """Yield path, relative name and status of each entry in byte order, a directory before its children."""
        pending = [self._iter_names("")]
        while pending:
            name = next(pending[-1], None)
            if name is None:
                pending.pop()
                continue
            path = os.path.join(self.root, name)
            with _ReadErrors(path):
                status = os.lstat(path)
            if self._max_depth is not None and name.count("/") >= self._max_depth:
                raise too_deep_error(name, self._max_depth)
            yield path, name, status
            if stat.S_ISDIR(status.st_mode):
                pending.append(self._iter_names(name + "/"))

    def _iter_names(self, prefix: str) -> Iterator[str]:
        directory = os.path.join(self.root, prefix)
        with _ReadErrors(directory):
            names = os.listdir(directory)
        for name in sorted(names, key=os.fsencode):
            yield prefix + name

    def _find_first_name(self, status: os.stat_result, name: str) -> str | None:
        """Return the first name of a file that was packed already; None for a new file."""
        if status.st_nlink < 2 or stat.S_ISDIR(status.st_mode):
            return None
        first = self._first_names.setdefault((status.st_dev, status.st_ino), name)
        return None if first == name else first

    def _pack_file(self, path: str, name: str, listed_status: os.stat_result) -> Iterator[Part]:
        with _ReadErrors(path):
            # it may have been replaced by a link, or by a FIFO without a writer
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                status = os.fstat(descriptor)
                if not os.path.samestat(status, listed_status):
                    raise _changed_error(path)
                yield self._make_header(path, name, status).encode()
                yield FileContent(path, descriptor, status.st_size)
                if os.fstat(descriptor).st_size != status.st_size:
                    raise _changed_error(path)
                yield bytes(-status.st_size % BLOCK_SIZE)
            finally:
                os.close(descriptor)

    def _make_header(self, path: str, name: str, status: os.stat_result) -> TarHeader:
        mode = status.st_mode
        header = TarHeader(name, _KINDS[stat.S_IFMT(mode)])
        if stat.S_ISREG(mode):
            header.size = status.st_size
        elif stat.S_ISLNK(mode):
            with _ReadErrors(path):
                header.link_target = os.readlink(path)
        elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            header.device = os.major(status.st_rdev), os.minor(status.st_rdev)
        self.set_common_fields(header, status)
        records = self._read_xattrs(path, status.st_dev)
        if self._has_single_id and (owner := records.pop(_OWNER_RECORD, None)) is not None:
            with suppress(ValueError):
                header.uid, header.gid = decode_owner(owner.encode("utf-8", "surrogateescape"))
        header.records = records
        return header

    def set_common_fields(self, header: TarHeader, status: os.stat_result) -> TarHeader:
        """Set the fields that every entry has."""
        header.mode = stat.S_IMODE(status.st_mode)
        header.uid, header.gid = status.st_uid, status.st_gid
        header.mtime = status.st_mtime_ns // 10**9
        return header

    def _read_xattrs(self, path: str, device: int) -> dict[str, str]:
        """Return the pax records of a file's extended attributes; unreadable ones are skipped."""
        if device in self._without_xattrs:
            return {}
        try:
            names = os.listxattr(path, follow_symlinks=False)
        except OSError as error:
            if error.errno == errno.ENOTSUP:
                self._without_xattrs.add(device)
            return {}
        records = {}
        for name in sorted(names):
            if name.startswith(_PACKED_XATTRS) and not name.startswith(_MARKS):
                try:
                    value = os.getxattr(path, name, follow_symlinks=False)
                except OSError:
                    continue
                records[_XATTR_RECORD + name] = value.decode("utf-8", "surrogateescape")
        return records


class OverlayPacker(TreePacker):
    """One pass over the writable layer of an overlay file system."""

    def iter_entries(self) -> Iterator[tuple[str, str, os.stat_result]]:
        """Yield what `TreePacker` yields, without the files with which fuse-overlayfs marks opaque folders."""
        for entry in super().iter_entries():
            if entry[1].rpartition("/")[2] not in OPAQUE_FILES:
                yield entry

    def pack_entry(self, path: str, name: str, status: os.stat_result) -> Iterator[Part]:
        """Yield the entry, as a whiteout for a device that hides a file."""
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == WHITEOUT_DEVICE:
            yield self._encode_whiteout(whiteout_name(name), status, _WHITEOUT_MODE)
            return
        yield from super().pack_entry(path, name, status)
        if stat.S_ISDIR(status.st_mode) and is_opaque(path):
            yield self._encode_whiteout(f"{name}/{OPAQUE_NAME}", status, stat.S_IMODE(status.st_mode) & 0o777)

    def _encode_whiteout(self, name: str, status: os.stat_result, mode: int) -> bytes:
        header = self.set_common_fields(TarHeader(name), status)
        header.mode = mode
        return header.encode()


def _changed_error(path: str) -> ImqError:
    hint = "import it while no process writes to it"
    return ImqError(f"{path} changed while it was read", code="changed", hints=(hint,))


class _ReadErrors:
    """Converts an `OSError` while a file is read to an `ImqError` that names the file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, FileNotFoundError):
            raise _changed_error(self._path) from None
        if isinstance(error, OSError):
            hint = "run as a user that may read it" if isinstance(error, PermissionError) else ""
            raise ImqError(f"cannot read {self._path}: {error.strerror}", code="unreadable", hints=(hint,)) from None
