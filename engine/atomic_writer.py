"""Writing files outside the store: a regular file is replaced whole, anything else is written through.

A regular file is written without a name (`O_TMPFILE`), or under a random name where the file system has no such
files, then synced and put in place in one step. So a reader sees the old content or the new one, and an interrupted
write leaves the old file as it was. Links are followed to their targets. Devices, FIFOs and open descriptors
(`/dev/stdout`) are never replaced: the bytes go to them.

Nothing that somebody else named is ever removed: names of temporaries are random, and only their maker removes them.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROC = "/proc/"
_MAX_LINKS = 40
_MIN_HOLE = 4096
"""Bytes: what file systems leave out."""
_ZEROS = bytes(64 << 10)
_AT_FDCWD = -100  # AT_FDCWD
_NOREPLACE, _EXCHANGE = 1, 2  # of renameat2
_UNSUPPORTED_ERRNOS = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
_NO_TMPFILE_ERRNOS = (errno.ENOTSUP, errno.EISDIR, errno.ENOENT, errno.EINVAL)
_NO_HARD_LINK_ERRNOS = (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS, errno.EACCES)


def is_hole(piece: bytes | memoryview) -> bool:
    """Whether a piece of at most 64 KiB is all zeros and long enough to be left out as a hole."""
    return len(piece) >= _MIN_HOLE and not piece[0] and not piece[-1] and bytes(piece) == _ZEROS[: len(piece)]


class OutputFile:
    """A file that is being written; `size` counts the bytes. In one with `holes` long runs of zeros take no room."""

    def __init__(self, descriptor: int, *, make_holes: bool) -> None:
        self.size = 0
        self._descriptor = descriptor
        self._make_holes = make_holes
        self._ends_in_hole = False

    def write(self, content: bytes | memoryview) -> int:
        """Write all of the content."""
        remaining = memoryview(content)
        while remaining:
            piece = remaining[: len(_ZEROS)]
            self._ends_in_hole = self._make_holes and is_hole(piece)
            if self._ends_in_hole:
                os.lseek(self._descriptor, len(piece), os.SEEK_CUR)
                remaining = remaining[len(piece) :]
            else:
                remaining = remaining[os.write(self._descriptor, piece) :]
        self.size += len(content)
        return len(content)

    def finish(self) -> None:
        """Give the file the length of what was written."""
        if self._ends_in_hole:
            os.truncate(self._descriptor, self.size)


def classify_output(path: str) -> str:
    """Return what an output to this path meets: "" (nothing), "file", "folder" or "stream" (written through).

    Raises `OSError` when that cannot be found out, as for links in a circle.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return ""
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) and not _is_descriptor(path) else "stream"


def _is_descriptor(path: str) -> bool:
    """Whether a path means an open file of a process, as `/dev/stdout` does."""
    for _ in range(_MAX_LINKS):
        folder = os.path.realpath(os.path.dirname(path))
        if f"{folder}/".startswith(_PROC):
            return True
        try:
            path = os.path.join(folder, os.readlink(path))
        except OSError:
            return False
    return False


@contextmanager
def open_output(path: str, *, replace: bool = True, private: bool = False) -> Iterator[OutputFile]:
    """Yield a file to write; it appears at `path`, or where a link at `path` leads, when the block ends well.

    Without `replace` a regular file that is there stays, and `FileExistsError` is raised, at the latest when the block
    ends. A replaced file hands on its mode and, as far as that is allowed, its owner. A `private` file has mode 0600.
    Raises `OSError`.
    """
    kind = classify_output(path)
    if kind == "folder":
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if kind == "stream":
        yield from _write_through(path)
        return
    if kind and not replace:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
    target = os.path.realpath(path)
    directory = os.open(os.path.dirname(target), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield from _write_atomically(directory, os.path.basename(target), path, replace=replace, private=private)
    finally:
        os.close(directory)


def _write_through(path: str) -> Iterator[OutputFile]:
    handle = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if stat.S_ISREG(os.fstat(handle).st_mode):  # what a shell has redirected to: behind what was written there
            os.lseek(handle, 0, os.SEEK_END)
        yield OutputFile(handle, make_holes=False)
    finally:
        os.close(handle)


def _write_atomically(directory: int, name: str, path: str, *, replace: bool, private: bool) -> Iterator[OutputFile]:
    replaced = _stat_regular_file(directory, name, path)
    handle, temporary = _open_temporary(directory, 0o600 if private or replaced is not None else 0o666)
    try:
        file = OutputFile(handle, make_holes=True)
        yield file
        file.finish()
        if replaced is not None:
            with suppress(PermissionError):
                os.fchown(handle, replaced.st_uid, replaced.st_gid)
            os.fchmod(handle, 0o600 if private else replaced.st_mode & 0o777)
        os.fsync(handle)
        if replace and _stat_regular_file(directory, name, path) is not None:
            if not temporary:
                temporary = _make_temporary_name()
                os.link(f"/proc/self/fd/{handle}", temporary, dst_dir_fd=directory, follow_symlinks=True)
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
            temporary = ""
        else:
            _link_into_place(directory, handle, temporary, name)
        os.fsync(directory)
    except OSError as problem:
        if problem.filename is None or not os.path.isabs(os.fsdecode(problem.filename)):
            problem.filename, problem.filename2 = path, None
        raise
    finally:
        os.close(handle)
        if temporary:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=directory)


def _stat_regular_file(directory: int, name: str, path: str) -> os.stat_result | None:
    """Return what is known of the regular file of this name, None when there is nothing; nothing else is replaced."""
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISREG(status.st_mode):
        return status
    code = errno.ELOOP if stat.S_ISLNK(status.st_mode) else errno.EEXIST
    raise OSError(code, os.strerror(code), path)


def _make_temporary_name() -> str:
    return f".imq-{os.urandom(16).hex()}.part"


def _open_temporary(directory: int, mode: int) -> tuple[int, str]:
    """Return a new file in a folder, and its name; "" when it has none."""
    handle = _open_unnamed(directory, mode)
    if handle is not None:
        return handle, ""
    name = _make_temporary_name()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, mode, dir_fd=directory), name


def _open_unnamed(directory: int, mode: int) -> int | None:
    """Return a new file without a name, None where there is no such thing or no /proc to name it by later."""
    if not os.path.isdir("/proc/self/fd"):
        return None
    try:
        return os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, mode, dir_fd=directory)
    except OSError as problem:
        if problem.errno not in _NO_TMPFILE_ERRNOS:
            raise
        return None


def _link_into_place(directory: int, handle: int, temporary: str, name: str) -> None:
    """Give a written file its name, unless something has it; raises `FileExistsError` then."""
    if not temporary:
        os.link(f"/proc/self/fd/{handle}", name, dst_dir_fd=directory, follow_symlinks=True)
        return
    try:
        os.link(temporary, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    except OSError as problem:
        if problem.errno not in _NO_HARD_LINK_ERRNOS:
            raise
        rename_without_replacing(temporary, name, directory)


def rename_without_replacing(source: str, target: str, directory: int = _AT_FDCWD) -> None:
    """Rename a file or folder; raises `FileExistsError` when something has the name already."""
    try:
        _renameat2(directory, source, target, _NOREPLACE)
    except OSError as problem:
        if problem.errno not in _UNSUPPORTED_ERRNOS:
            raise
        at = None if directory == _AT_FDCWD else directory
        try:
            os.stat(target, dir_fd=at, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(source, target, src_dir_fd=at, dst_dir_fd=at)
        else:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from None


def exchange_paths(one: str, other: str) -> bool:
    """Exchange what two paths name, in one step; return False where the system has no such step."""
    try:
        _renameat2(_AT_FDCWD, one, other, _EXCHANGE)
    except OSError as problem:
        if problem.errno not in _UNSUPPORTED_ERRNOS:
            raise
        return False
    return True


def _renameat2(directory: int, source: str, target: str, flags: int) -> None:
    from ctypes import CDLL, get_errno  # Python has no renameat2

    call = getattr(CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if call(directory, os.fsencode(source), directory, os.fsencode(target), flags) != 0:
        code = get_errno()
        raise OSError(code, os.strerror(code), target)


def make_sibling_path(path: str) -> str:
    """Return a path beside another one that nothing has, for what is to take the other's place."""
    return os.path.join(os.path.dirname(os.path.abspath(path)), _make_temporary_name())


@contextmanager
def make_directories(directory: str) -> Iterator[None]:
    """Make a folder and those above it that are missing; when the block fails, those go again that are empty."""
    created: list[str] = []
    while directory and not os.path.lexists(directory):
        created.append(directory)
        directory = os.path.dirname(directory)
    for path in reversed(created):
        with suppress(FileExistsError):
            os.mkdir(path)
    try:
        yield
    except BaseException:
        for path in created:
            with suppress(OSError):
                os.rmdir(path)
        raise
