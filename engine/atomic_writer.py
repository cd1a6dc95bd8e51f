"""Writes files outside the store. Regular files are replaced atomically; others are written to directly.

A regular file is written without a name (`O_TMPFILE`), or with a random name where the file system does not support
that. It is synced, then renamed or linked. So a reader sees the old content or the new content, and an interrupted
write leaves the old file unchanged. Links are followed. Devices, FIFOs and open descriptors (`/dev/stdout`) are never
replaced.

Only files with the random names of this process are ever removed.
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
"""Minimum size of a hole, in bytes: the block size of common file systems."""
_ZEROS = bytes(64 << 10)
_AT_FDCWD = -100  # AT_FDCWD
_NOREPLACE, _EXCHANGE = 1, 2  # of renameat2
_UNSUPPORTED_ERRNOS = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
_NO_TMPFILE_ERRNOS = (errno.ENOTSUP, errno.EISDIR, errno.ENOENT, errno.EINVAL)
_NO_HARD_LINK_ERRNOS = (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS, errno.EACCES)


def is_hole(piece: bytes | memoryview) -> bool:
    """Return whether a chunk of at most 64 KiB is all zeros and long enough for a hole."""
    return len(piece) >= _MIN_HOLE and not piece[0] and not piece[-1] and bytes(piece) == _ZEROS[: len(piece)]


class OutputFile:
    """A file that is being written; `size` is its length so far. With `make_holes`, long runs of zeros become holes."""

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
        """Extend the file over a hole at its end."""
        if self._ends_in_hole:
            os.truncate(self._descriptor, self.size)


def classify_output(path: str) -> str:
    """Return what exists at an output path: "" (nothing), "file", "folder" or "stream" (written to directly).

    Raises `OSError` when that is impossible to determine, such as for a loop of links.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return ""
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) and not _is_descriptor(path) else "stream"


def _is_descriptor(path: str) -> bool:
    """Return whether a path is an open file of a process, such as `/dev/stdout`."""
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
    """Yield a file to write. It appears at `path`, or at the target of a link, when the block ends without an error.

    Without `replace`, an existing regular file stays and `FileExistsError` is raised, at the latest when the block
    ends. The new file gets the mode of the file that it replaces, and its owner if that is permitted. A `private` file
    has mode 0600. Raises `OSError`.
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
        if stat.S_ISREG(os.fstat(handle).st_mode):  # a file that a shell redirected to: append
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
    """Return the status of a regular file, None when it is missing. Raises for anything else, which is not replaced."""
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
    """Return a new file in a folder and its name; "" for a file without a name."""
    handle = _open_unnamed(directory, mode)
    if handle is not None:
        return handle, ""
    name = _make_temporary_name()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, mode, dir_fd=directory), name


def _open_unnamed(directory: int, mode: int) -> int | None:
    """Return a new file without a name; None when that, or naming it later through /proc, is not supported."""
    if not os.path.isdir("/proc/self/fd"):
        return None
    try:
        return os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, mode, dir_fd=directory)
    except OSError as problem:
        if problem.errno not in _NO_TMPFILE_ERRNOS:
            raise
        return None


def _link_into_place(directory: int, handle: int, temporary: str, name: str) -> None:
    """Give a written file its name; raises `FileExistsError` when the name is taken."""
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
    """Rename a file or folder; raises `FileExistsError` when the target exists."""
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
    """Exchange two paths atomically; return False when the system does not support it."""
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
    """Return an unused path in the same folder, for a file or folder that will replace `path`."""
    return os.path.join(os.path.dirname(os.path.abspath(path)), _make_temporary_name())


@contextmanager
def make_directories(directory: str) -> Iterator[None]:
    """Create a folder and its missing parents. After an error in the block, the created ones are removed if empty."""
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
