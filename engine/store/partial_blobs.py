"""Partial blobs: the bytes of interrupted transfers of large blobs, which a later transfer resumes.

A partial blob is a file in ingest/ named by the expected digest. Its writer holds it locked; if the lock is free, the
writer has ended. The bytes are not trusted: they are hashed again before more are appended.

Unused partial blobs are removed by `prune`, after a week, and when their space is needed.
"""

from __future__ import annotations

import fcntl
import os
import re
import time

from imq.engine.oci.digest import Digest
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.oci.manifest import Descriptor

    from .layout import Layout

SUFFIX = ".part"
_NAME_PATTERN = r"(sha256(?=-[0-9a-f]{64}\.)|sha512(?=-[0-9a-f]{128}\.))-([0-9a-f]+)\.[0-9][0-9a-f.-]*\.part\Z"
MAX_AGE = 7 * 24 * 3600
"""Seconds after which an unused partial blob is removed."""


class Partial(Record):
    """A partial blob, locked through `handle`; `size` is its size when it was claimed."""

    name: str
    handle: int
    size: int = 0


def create(layout: Layout, digest: Digest, private: str) -> Partial:
    """Create an empty partial blob: the new file `private` in ingest/ is renamed once it is locked."""
    handle = layout.ingest_directory.create_file(private)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        name = f"{_name_stem(digest)}.{private}{SUFFIX}"
        layout.ingest_directory.rename(private, name)
    except BaseException:
        os.close(handle)
        raise
    return Partial(name, handle)


def exists(layout: Layout, digest: Digest) -> bool:
    """Whether a blob has partial blobs, in use or not."""
    return next(_list_names(layout, digest), None) is not None


def claim(layout: Layout, descriptor: Descriptor) -> Partial | None:
    """Return the largest unused partial blob, locked, and remove the others. The caller holds the lock of the store."""
    best: Partial | None = None
    for name in list(_list_names(layout, descriptor.digest)):
        partial = _lock(layout, name)
        if partial is None:
            continue
        if not 0 < partial.size <= descriptor.size or (best is not None and partial.size <= best.size):
            remove(layout, partial)
            continue
        if best is not None:
            remove(layout, best)
        best = partial
    return best


def remove_unused(layout: Layout, *, any_age: bool = False, keep: frozenset[Digest] = frozenset()) -> int:
    """Remove unused partial blobs that are too old, or of `any_age`, except those in `keep`; return their total size.

    The caller holds the lock of the store.
    """
    freed = 0
    now = time.time()
    for name in layout.ingest_directory.list_names():
        digest = _parse_digest(name)
        if digest is None or digest in keep or (status := layout.ingest_directory.file_status(name)) is None:
            continue
        is_old = abs(now - status.st_mtime) > MAX_AGE
        if (any_age or is_old) and (partial := _lock(layout, name, os.O_RDONLY)) is not None:
            remove(layout, partial)
            freed += partial.size
    return freed


def read_sizes(layout: Layout) -> dict[Digest, int]:
    """Return the total size of the partial blobs of each blob."""
    sizes: dict[Digest, int] = {}
    for name, status in layout.ingest_directory.iter_files():
        digest = _parse_digest(name)
        if digest is not None:
            sizes[digest] = sizes.get(digest, 0) + status.st_size
    return sizes


def remove(layout: Layout, partial: Partial) -> None:
    """Remove a claimed partial blob and release its lock."""
    layout.ingest_directory.remove_file(partial.name)
    os.close(partial.handle)


def _parse_digest(name: str) -> Digest | None:
    """Return the expected digest of a partial blob; None for any other file."""
    match = re.match(_NAME_PATTERN, name)
    return Digest(f"{match[1]}:{match[2]}") if match else None


def _name_stem(digest: Digest) -> str:
    return f"{digest.algorithm}-{digest.encoded}"


def _list_names(layout: Layout, digest: Digest) -> Iterator[str]:
    return (name for name in layout.ingest_directory.list_names() if _parse_digest(name) == digest)


def _lock(layout: Layout, name: str, flags: int = os.O_RDWR) -> Partial | None:
    """Lock a partial blob; None when it is in use, or has become a blob.

    A file with a second hard link is not claimed: writes would reach the other name.
    """
    try:
        handle = layout.ingest_directory.open_file(name, flags)
    except (FileNotFoundError, PermissionError):  # the second: of another user of the store
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(handle)
        named_status = layout.ingest_directory.file_status(name)
        is_safe = status.st_nlink == 1 or flags == os.O_RDONLY
        # the writer renames its file before it releases the lock, so the name may belong to another file now
        if named_status is not None and status.st_ino == named_status.st_ino and is_safe:
            return Partial(name, handle, status.st_size)
    except BlockingIOError:
        pass
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None
