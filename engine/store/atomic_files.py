"""Atomic writes of files, and the translation of their errors.

A file is written to a temporary name, synced, and renamed into place: a reader sees the old content or the new one,
never a part.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import contextmanager, suppress

from imq.engine.units.size import human_size
from imq.grammar.errors import StoreError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .directory import Directory

_FREE_STORE_SPACE = (
    "free some space (imq prune removes blobs that no image needs) and run the statement again,"
    " or choose another folder with --root"
)
FREE_OUTPUT_SPACE = "free some space there and run the statement again, or write to another folder"
"""The hint for a full disk when the file is outside the store."""
_MESSAGES = {
    errno.ENOSPC: ("no-space", "no space is left on the device", _FREE_STORE_SPACE),
    errno.EDQUOT: ("no-space", "the disk quota of this user or folder is used up", _FREE_STORE_SPACE),
    errno.EACCES: (
        "permission",
        "permission denied",
        "run as the owner of the store, or choose another folder with --root",
    ),
    errno.EPERM: (
        "permission",
        "operation not permitted",
        "run as the owner of the store, or choose another folder with --root",
    ),
    errno.EROFS: ("read-only", "the file system is read-only", "choose another folder with --root"),
}

_SILENT_WAIT = 3.0
"""Seconds after which `on_wait` is called because another process holds a lock."""
_LOCK_POLL = 0.01
"""Seconds between two attempts to take the lock until then."""


def is_disk_full(problem: OSError) -> bool:
    """Whether the disk is full, or the quota of this user is used up."""
    return problem.errno in (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def store_errors(operation: str, path: str = "", needed: int | None = None, space_hint: str = "") -> Iterator[None]:
    """Convert an `OSError` of the block to a `StoreError` that names the `operation`.

    For a full disk the error shows the bytes `needed`, the free bytes at the file or else at `path`, and `space_hint`
    instead of the hint to free the disk of the store.
    """
    try:
        yield
    except OSError as problem:
        code, reason, hint = _MESSAGES.get(problem.errno or 0, ("store", problem.strerror or str(problem), ""))
        details = f" ({problem.filename})" if problem.filename else ""
        if code == "no-space":
            is_device_full = problem.errno == errno.ENOSPC  # a user's disk quota says nothing about the free space
            details += _describe_space((_parent_directory(problem.filename) or path) if is_device_full else "", needed)
            hint = space_hint or hint
        raise StoreError(f"cannot {operation}: {reason}{details}", code=code, hints=(hint,)) from problem


def _parent_directory(name: object) -> str:
    return os.path.dirname(os.fsdecode(name)) if isinstance(name, str | bytes) else ""


def _describe_space(path: str, needed: int | None) -> str:
    """Return the needed and free space at a path, to append to an error message."""
    free, _ = get_free_space(path) if path else (None, 1)
    facts = []
    if needed is not None:
        facts.append(f"{human_size(needed)} are needed")
    if free is not None:
        facts.append(f"{human_size(free)} are free at {path}")
    return f"; {', '.join(facts)}" if facts else ""


def get_free_space(path: str) -> tuple[int | None, int]:
    """Return the free bytes at a path, None when unknown, and the block size of its file system."""
    try:
        status = os.statvfs(path)
    except OSError:
        return None, 1
    blocks = status.f_bfree if os.geteuid() == 0 else status.f_bavail  # some blocks are reserved for root
    return (blocks * status.f_frsize if status.f_blocks else None), status.f_frsize or 1


def sync_directory(path: str) -> None:
    """Make the names in a directory durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file_system(directory: Directory) -> None:
    """Sync the file system of a directory.

    One call makes a thousand small files durable; synced one by one, each waits for the journal.
    """
    from ctypes import CDLL, get_errno  # Python has no syncfs

    syncfs = getattr(CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:  # neither glibc nor musl; on Linux sync waits, too
        os.sync()
    elif syncfs(directory.descriptor) != 0:
        raise OSError(get_errno(), os.strerror(get_errno()), directory.path)


def write_all(handle: int, content: bytes | memoryview) -> None:
    """Write all bytes. A single write may be partial. Example: on a full disk."""
    remaining = memoryview(content)
    while remaining:
        remaining = remaining[os.write(handle, remaining) :]


def replace_file(
    directory: Directory, name: str, content: Iterable[bytes | memoryview], scratch: Directory, temporary: str
) -> os.stat_result:
    """Replace a file: write the parts of its content to `temporary` in `scratch`, on the same file system, and rename.

    Returns the status of the new file; it is that of this content, even if another program replaces the file at once.
    """
    handle = scratch.create_file(temporary)
    try:
        with os.fdopen(handle, "wb") as target:
            for part in content:
                target.write(part)
            target.flush()
            os.fsync(handle)
            status = os.fstat(handle)
        scratch.rename(temporary, name, directory)
    except BaseException:
        with suppress(OSError):
            scratch.remove_file(temporary)
        raise
    directory.sync()
    return status


@contextmanager
def lock_file(
    directory: Directory, name: str, *, wait: bool = True, on_wait: Callable[[], None] | None = None
) -> Iterator[int]:
    """Lock a file exclusively against other processes and threads. Yields its descriptor.

    The lock ends with the process, however that ends. With `wait=False` a held lock raises `BlockingIOError`. `on_wait`
    is called once when the lock is not free after some seconds.
    """
    handle = _open_lock_file(directory, name)
    try:
        if handle is None:
            handle = _create_lock_file(directory, name, wait=wait, on_wait=on_wait)
        _lock(handle, wait=wait, on_wait=on_wait)
        yield handle
    finally:
        if handle is not None:
            os.close(handle)


def _lock(handle: int, *, wait: bool, on_wait: Callable[[], None] | None) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not wait:
            raise
        _wait_for_lock(handle, on_wait)


def _wait_for_lock(handle: int, on_wait: Callable[[], None] | None) -> None:
    deadline = time.monotonic() + _SILENT_WAIT
    while on_wait is not None and time.monotonic() < deadline:
        time.sleep(_LOCK_POLL)
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
    if on_wait is not None:
        on_wait()
    fcntl.flock(handle, fcntl.LOCK_EX)


def _open_lock_file(directory: Directory, name: str) -> int | None:
    """Open an existing file to lock it; None when it does not exist."""
    try:
        return directory.open_file(name, os.O_RDWR)
    except FileNotFoundError:
        return None
    except PermissionError:  # the file of another user can be locked if it is readable
        if not os.access(".", os.W_OK, dir_fd=directory.descriptor):
            raise
        return directory.open_file(name)


def _create_lock_file(directory: Directory, name: str, *, wait: bool, on_wait: Callable[[], None] | None) -> int:
    """Create a file to lock it, under a lock of its directory, which is the lock while a full disk has no inode for it.

    A process that finds the file does not lock the directory: so nobody may create the file while that is locked.
    """
    handle = directory.open_self()
    try:
        try:
            _lock(handle, wait=wait, on_wait=on_wait)
        except BlockingIOError:
            raise
        except OSError:
            pass  # such as NFS, which locks no directories
        created = _open_lock_file(directory, name)
        if created is None:
            created = directory.create_file(name)
    except OSError as problem:
        if is_disk_full(problem):
            return handle
        os.close(handle)
        raise
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return created
