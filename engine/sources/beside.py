"""What is written beside its place, and put there when it is whole and on the disk: archives and folders.

Its name is the target's with the number of the process and `.part`; it is held locked while it is written. What a
process left that was killed is removed by the next that writes to the same place.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import contextmanager

from imq.engine.layers.unpack import discard, hold
from imq.engine.store.files import sync_folder
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

_PART, _OLD = "part", "old"
_HERE = -100  # AT_FDCWD
_EXCHANGE = 2  # RENAME_EXCHANGE


def beside(path: str) -> str:
    """Return where to write what is to become `path`; what dead processes left there is gone."""
    _sweep(path)
    return f"{path}.{os.getpid()}.{_PART}"


@contextmanager
def file_beside(path: str) -> Iterator[BinaryIO]:
    """Yield a file to write to, which takes the place of `path` when the block ends well; else it goes again."""
    part = beside(path)
    try:
        with open(part, "xb") as target:
            hold(target.fileno())
            yield target
            target.flush()
            os.fsync(target.fileno())
        os.rename(part, path)
    except BaseException:
        if os.path.lexists(part):
            os.unlink(part)
        raise
    sync_folder(os.path.dirname(os.path.abspath(path)))


def put_in_place(part: str, path: str) -> None:
    """Let what was written beside `path` take the place of whatever is there, in one step where the system can."""
    try:
        _exchange(part, path)
        old = part
    except FileNotFoundError:
        os.rename(part, path)
        old = ""
    except OSError as problem:
        if problem.errno not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
            raise
        old = f"{path}.{os.getpid()}.{_OLD}"
        os.rename(path, old)
        os.rename(part, path)
    sync_folder(os.path.dirname(os.path.abspath(path)))
    if old:
        _remove(old)


def _exchange(one: str, other: str) -> None:
    """Exchange two names; raises `OSError`, ENOSYS where that is not known."""
    from ctypes import CDLL, get_errno  # Python has no renameat2

    call = getattr(CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if call(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) != 0:
        code = get_errno()
        raise OSError(code, os.strerror(code), other)


def _sweep(path: str) -> None:
    """Remove what processes that are gone left beside a place."""
    folder, base = os.path.split(os.path.abspath(path))
    try:
        names = os.listdir(folder)
    except OSError:
        return  # whoever writes there will say so
    for name in names:
        if name.startswith(f"{base}."):
            number, _, kind = name[len(base) + 1 :].partition(".")
            if kind in (_PART, _OLD) and number.isascii() and number.isdigit():
                left = os.path.join(folder, name)
                if not _runs(int(number)) and not _held(left):
                    _remove(left)


def _runs(process: int) -> bool:
    """Whether another process of this number runs; this one has not begun to write yet."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _held(path: str) -> bool:
    """Whether somebody holds it locked, as from another container, where numbers are others; or it is not ours."""
    try:
        about = os.lstat(path)
        if not (stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode)):
            return True
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        discard(path)
    else:
        os.unlink(path)
