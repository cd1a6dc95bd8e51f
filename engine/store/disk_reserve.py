"""The reserve of a store: a file in ingest/ whose room becomes that of index.json when the disk has none left.

Removing an image frees room, but before that index.json has to be written, which takes a file and some blocks. On a
full disk the reserve is written over and takes the name of index.json, so that nothing new is needed and no other
program can take its room in between. The room of the old index.json then is that of the next reserve.
"""

from __future__ import annotations

import os
from contextlib import suppress

from imq.grammar.record import TYPE_CHECKING

from .atomic_files import is_disk_full, replace_file, write_all

if TYPE_CHECKING:
    from .directory import Directory

RESERVE = "reserve"
_MINIMUM_SIZE = 64 << 10
_BLOCK_SIZE = 4096


def has_reserve(ingest: Directory) -> bool:
    """Whether there is a reserve. One with another name is none: what is written to it would be written there."""
    status = ingest.file_status(RESERVE)
    return status is not None and status.st_nlink == 1


def ensure_reserve(ingest: Directory, size: int) -> None:
    """Make or enlarge the reserve, so that a file of `size` bytes, and a little more, has room in it.

    Raises `OSError` when the disk has no room for it; what there is of it then stays.
    """
    status = ingest.file_status(RESERVE)
    if status is not None and not has_reserve(ingest):
        ingest.remove_file(RESERVE)
        status = None
    current_size = status.st_size if status is not None else 0
    if current_size >= max(_MINIMUM_SIZE, size + _BLOCK_SIZE):
        return
    new_size = max(
        _MINIMUM_SIZE, -(-size * 5 // 4 // _BLOCK_SIZE + 1) * _BLOCK_SIZE
    )  # not enlarged for each name that is added
    handle = ingest.create_file(RESERVE) if status is None else ingest.open_file(RESERVE, os.O_WRONLY | os.O_APPEND)
    try:
        write_all(handle, os.urandom(new_size - current_size))  # no file system stores that in less room
    finally:
        os.close(handle)


def replace_from_reserve(directory: Directory, name: str, content: bytes, ingest: Directory, temporary: str) -> None:
    """Replace a file as `files.replace_file` does, in the room of the reserve. Under the store's lock.

    Where even writing over a file takes room, as on a file system that copies on writing, the reserve is removed first.
    """
    try:
        handle = ingest.open_file(RESERVE, os.O_RDWR)
        try:
            write_all(handle, content)
            os.ftruncate(handle, len(content))
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as problem:
        if not is_disk_full(problem):
            raise
        ingest.remove_file(RESERVE)
        replace_file(directory, name, content, ingest, temporary)
    else:
        ingest.rename(RESERVE, name, directory)
        with suppress(OSError):
            directory.sync()
