"""What transfers that broke off left of large blobs, for the next one that wants them to go on with.

A partial lies in ingest/ under the digest that it is to have. Whoever writes one holds it locked, so nobody else does;
where the lock can be taken, its writer has ended, however that was. What it holds is believed of nobody: it is hashed
again before anything is added to it.

Those that nobody comes back for are removed by `prune`, after a week, and when what is brought in would not fit beside
them.
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
"""Seconds for which a partial that nobody writes is kept."""


class Partial(Record):
    """A file in ingest/ that is to become a blob, locked by the one who holds `handle`; `size` is that it had then."""

    name: str
    handle: int
    size: int = 0


def create(layout: Layout, digest: Digest, private: str) -> Partial:
    """Make an empty partial by way of the new file `private` in ingest/: it bears its name once locked."""
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
    """Whether there are partials of a blob; somebody may be writing them."""
    return next(_list_names(layout, digest), None) is not None


def claim(layout: Layout, descriptor: Descriptor) -> Partial | None:
    """Return the longest partial of a blob that nobody writes, locked; remove its like. Under the store's lock."""
    best: Partial | None = None
    for name in list(_list_names(layout, descriptor.digest)):
        found = _lock(layout, name)
        if found is None:
            continue
        if not 0 < found.size <= descriptor.size or (best is not None and found.size <= best.size):
            remove(layout, found)
            continue
        if best is not None:
            remove(layout, best)
        best = found
    return best


def remove_unused(layout: Layout, *, any_age: bool = False, keep: frozenset[Digest] = frozenset()) -> int:
    """Remove the partials that nobody writes and that are too old, or all but those of `but`; return their bytes.

    Under the store's lock.
    """
    freed = 0
    now = time.time()
    for name in layout.ingest_directory.list_names():
        digest = _parse_digest(name)
        if digest is None or digest in keep or (status := layout.ingest_directory.file_status(name)) is None:
            continue
        is_old = abs(now - status.st_mtime) > MAX_AGE
        if (any_age or is_old) and (found := _lock(layout, name, os.O_RDONLY)) is not None:
            remove(layout, found)
            freed += found.size
    return freed


def read_sizes(layout: Layout) -> dict[Digest, int]:
    """Return the bytes of what there is of each blob; of several partials of one the sum."""
    found: dict[Digest, int] = {}
    for name, about in layout.ingest_directory.iter_files():
        digest = _parse_digest(name)
        if digest is not None:
            found[digest] = found.get(digest, 0) + about.st_size
    return found


def remove(layout: Layout, partial: Partial) -> None:
    """Remove a partial that the caller holds, and let it go."""
    layout.ingest_directory.remove_file(partial.name)
    os.close(partial.handle)


def _parse_digest(name: str) -> Digest | None:
    """Return the digest that a partial is to have, None for what is no partial."""
    match = re.match(_NAME_PATTERN, name)
    return Digest(f"{match[1]}:{match[2]}") if match else None


def _name_stem(digest: Digest) -> str:
    return f"{digest.algorithm}-{digest.hex}"


def _list_names(layout: Layout, digest: Digest) -> Iterator[str]:
    return (name for name in layout.ingest_directory.list_names() if _parse_digest(name) == digest)


def _lock(layout: Layout, name: str, flags: int = os.O_RDWR) -> Partial | None:
    """Lock a partial; None when somebody writes it, or it has become a blob meanwhile.

    One that has another name too is not taken over: what is written to it would be written there.
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
        if (
            named_status is not None and status.st_ino == named_status.st_ino and is_safe
        ):  # its writer renames it before letting it go
            return Partial(name, handle, status.st_size)
    except BlockingIOError:
        pass
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None
