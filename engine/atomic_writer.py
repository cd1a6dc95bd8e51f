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

_PROCESSES = "/proc/"
_MOST_LINKS = 40
_SMALLEST_HOLE = 4096
"""Bytes: what file systems leave out."""
_ZEROS = bytes(64 << 10)
_HERE = -100  # AT_FDCWD
_NOREPLACE, _EXCHANGE = 1, 2  # of renameat2
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
_NO_UNNAMED = (errno.ENOTSUP, errno.EISDIR, errno.ENOENT, errno.EINVAL)
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS, errno.EACCES)


def is_zero(piece: bytes | memoryview) -> bool:
    """Whether a piece of at most 64 KiB is all zeros and long enough to be left out as a hole."""
    return len(piece) >= _SMALLEST_HOLE and not piece[0] and not piece[-1] and bytes(piece) == _ZEROS[: len(piece)]


class OutputFile:
    """A file that is being written; `size` counts the bytes. In one with `holes` long runs of zeros take no room."""

    def __init__(self, descriptor: int, *, holes: bool) -> None:
        self.size = 0
        self._descriptor = descriptor
        self._holes = holes
        self._ends_in_hole = False

    def write(self, content: bytes | memoryview) -> int:
        """Write all of the content."""
        left = memoryview(content)
        while left:
            piece = left[: len(_ZEROS)]
            self._ends_in_hole = self._holes and is_zero(piece)
            if self._ends_in_hole:
                os.lseek(self._descriptor, len(piece), os.SEEK_CUR)
                left = left[len(piece) :]
            else:
                left = left[os.write(self._descriptor, piece) :]
        self.size += len(content)
        return len(content)

    def finish(self) -> None:
        """Give the file the length of what was written."""
        if self._ends_in_hole:
            os.truncate(self._descriptor, self.size)


def kind_of_output(path: str) -> str:
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
    for _ in range(_MOST_LINKS):
        folder = os.path.realpath(os.path.dirname(path))
        if f"{folder}/".startswith(_PROCESSES):
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
    kind = kind_of_output(path)
    if kind == "folder":
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if kind == "stream":
        yield from _write_through(path)
        return
    if kind and not replace:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
    target = os.path.realpath(path)
    folder = os.open(os.path.dirname(target), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield from _write_whole(folder, os.path.basename(target), path, replace=replace, private=private)
    finally:
        os.close(folder)


def _write_through(path: str) -> Iterator[OutputFile]:
    handle = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if stat.S_ISREG(os.fstat(handle).st_mode):  # what a shell has redirected to: behind what was written there
            os.lseek(handle, 0, os.SEEK_END)
        yield OutputFile(handle, holes=False)
    finally:
        os.close(handle)


def _write_whole(folder: int, name: str, path: str, *, replace: bool, private: bool) -> Iterator[OutputFile]:
    before = _regular(folder, name, path)
    handle, temporary = _open_temporary(folder, 0o600 if private or before is not None else 0o666)
    try:
        file = OutputFile(handle, holes=True)
        yield file
        file.finish()
        if before is not None:
            with suppress(PermissionError):
                os.fchown(handle, before.st_uid, before.st_gid)
            os.fchmod(handle, 0o600 if private else before.st_mode & 0o777)
        os.fsync(handle)
        if replace and _regular(folder, name, path) is not None:
            if not temporary:
                temporary = _random_name()
                os.link(f"/proc/self/fd/{handle}", temporary, dst_dir_fd=folder, follow_symlinks=True)
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            temporary = ""
        else:
            _give_name(folder, handle, temporary, name)
        os.fsync(folder)
    except OSError as problem:
        if problem.filename is None or not os.path.isabs(os.fsdecode(problem.filename)):
            problem.filename, problem.filename2 = path, None
        raise
    finally:
        os.close(handle)
        if temporary:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)


def _regular(folder: int, name: str, path: str) -> os.stat_result | None:
    """Return what is known of the regular file of this name, None when there is nothing; nothing else is replaced."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISREG(found.st_mode):
        return found
    code = errno.ELOOP if stat.S_ISLNK(found.st_mode) else errno.EEXIST
    raise OSError(code, os.strerror(code), path)


def _random_name() -> str:
    return f".imq-{os.urandom(16).hex()}.part"


def _open_temporary(folder: int, mode: int) -> tuple[int, str]:
    """Return a new file in a folder, and its name; "" when it has none."""
    handle = _open_unnamed(folder, mode)
    if handle is not None:
        return handle, ""
    name = _random_name()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, mode, dir_fd=folder), name


def _open_unnamed(folder: int, mode: int) -> int | None:
    """Return a new file without a name, None where there is no such thing or no /proc to name it by later."""
    if not os.path.isdir("/proc/self/fd"):
        return None
    try:
        return os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, mode, dir_fd=folder)
    except OSError as problem:
        if problem.errno not in _NO_UNNAMED:
            raise
        return None


def _give_name(folder: int, handle: int, temporary: str, name: str) -> None:
    """Give a written file its name, unless something has it; raises `FileExistsError` then."""
    if not temporary:
        os.link(f"/proc/self/fd/{handle}", name, dst_dir_fd=folder, follow_symlinks=True)
        return
    try:
        os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as problem:
        if problem.errno not in _NO_HARD_LINKS:
            raise
        rename_without_replacing(temporary, name, folder)


def rename_without_replacing(source: str, target: str, folder: int = _HERE) -> None:
    """Rename a file or folder; raises `FileExistsError` when something has the name already."""
    try:
        _renameat2(folder, source, target, _NOREPLACE)
    except OSError as problem:
        if problem.errno not in _UNSUPPORTED:
            raise
        at = None if folder == _HERE else folder
        try:
            os.stat(target, dir_fd=at, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(source, target, src_dir_fd=at, dst_dir_fd=at)
        else:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from None


def exchange(one: str, other: str) -> bool:
    """Exchange what two paths name, in one step; return False where the system has no such step."""
    try:
        _renameat2(_HERE, one, other, _EXCHANGE)
    except OSError as problem:
        if problem.errno not in _UNSUPPORTED:
            raise
        return False
    return True


def _renameat2(folder: int, source: str, target: str, flags: int) -> None:
    from ctypes import CDLL, get_errno  # Python has no renameat2

    call = getattr(CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if call(folder, os.fsencode(source), folder, os.fsencode(target), flags) != 0:
        code = get_errno()
        raise OSError(code, os.strerror(code), target)


def private_path(path: str) -> str:
    """Return a path beside another one that nothing has, for what is to take the other's place."""
    return os.path.join(os.path.dirname(os.path.abspath(path)), _random_name())


@contextmanager
def made_folders(folder: str) -> Iterator[None]:
    """Make a folder and those above it that are missing; when the block fails, those go again that are empty."""
    made: list[str] = []
    while folder and not os.path.lexists(folder):
        made.append(folder)
        folder = os.path.dirname(folder)
    for path in reversed(made):
        with suppress(FileExistsError):
            os.mkdir(path)
    try:
        yield
    except BaseException:
        for path in made:
            with suppress(OSError):
                os.rmdir(path)
        raise
