"""The disk reserve of a store: a file in ingest/ that is overwritten with index.json when the disk is full.

Removing an image frees space, but index.json has to be written first, which needs a file and some blocks. On a full
disk the reserve is overwritten and renamed to index.json: no new blocks are needed, and no other program can take the
space in between. The space freed by the old index.json is used for the next reserve.
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
    """Whether a reserve exists. A file with a second hard link does not count: writes would reach the other name."""
    status = ingest.file_status(RESERVE)
    return status is not None and status.st_nlink == 1


def ensure_reserve(ingest: Directory, size: int) -> None:
    """Create or enlarge the reserve, so that a file of a little more than `size` bytes fits into it.

    Raises `OSError` when the disk is full; the part that was written stays.
    """
    status = ingest.file_status(RESERVE)
    if status is not None and not has_reserve(ingest):
        ingest.remove_file(RESERVE)
        status = None
    current_size = status.st_size if status is not None else 0
    if current_size >= max(_MINIMUM_SIZE, size + _BLOCK_SIZE):
        return
    # a quarter more than needed, so that not every added name enlarges it
    new_size = max(_MINIMUM_SIZE, -(-size * 5 // 4 // _BLOCK_SIZE + 1) * _BLOCK_SIZE)
    handle = ingest.create_file(RESERVE) if status is None else ingest.open_file(RESERVE, os.O_WRONLY | os.O_APPEND)
    try:
        write_all(handle, os.urandom(new_size - current_size))  # random, so that no file system can compress it
    finally:
        os.close(handle)


def replace_from_reserve(
    directory: Directory, name: str, content: bytes, ingest: Directory, temporary: str
) -> os.stat_result:
    """Replace a file like `replace_file`, in the space of the reserve. The caller holds the lock of the store.

    On a copy-on-write file system even overwriting a file needs space; there the reserve is removed first.
    """
    try:
        handle = ingest.open_file(RESERVE, os.O_RDWR)
        try:
            write_all(handle, content)
            os.ftruncate(handle, len(content))
            os.fsync(handle)
            status = os.fstat(handle)
        finally:
            os.close(handle)
    except OSError as problem:
        if not is_disk_full(problem):
            raise
        ingest.remove_file(RESERVE)
        return replace_file(directory, name, (content,), ingest, temporary)
    ingest.rename(RESERVE, name, directory)
    with suppress(OSError):
        directory.sync()
    return status
