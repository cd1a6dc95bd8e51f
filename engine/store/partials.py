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
import time

from imq.engine.oci.digest import Digest
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.oci.document import Descriptor

    from .layout import Layout

ENDING = ".part"
LONGEST = 7 * 24 * 3600
"""Seconds for which a partial that nobody writes is kept."""


class Partial(Record):
    """A file that is to become a blob, locked by the one who holds `handle`; `size` are the bytes that it had then."""

    path: str
    handle: int
    size: int = 0


def begin(layout: Layout, digest: Digest, private: str) -> Partial:
    """Make an empty partial by way of the file `private`, which is not there yet: it bears its name once locked."""
    handle = os.open(private, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path = os.path.join(layout.ingest_path, f"{_stem(digest)}.{os.path.basename(private)}{ENDING}")
        os.rename(private, path)
    except BaseException:
        os.close(handle)
        raise
    return Partial(path, handle)


def any_of(layout: Layout, digest: Digest) -> bool:
    """Whether there are partials of a blob; somebody may be writing them."""
    return next(_named(layout, digest), None) is not None


def take_over(layout: Layout, descriptor: Descriptor) -> Partial | None:
    """Return the longest partial of a blob that nobody writes, locked; remove its like. Under the store's lock."""
    best: Partial | None = None
    for path in list(_named(layout, descriptor.digest)):
        found = _taken(path)
        if found is None:
            continue
        if not 0 < found.size <= descriptor.size or (best is not None and found.size <= best.size):
            remove(found)
            continue
        if best is not None:
            remove(best)
        best = found
    return best


def drop(layout: Layout, *, everything: bool = False, but: frozenset[Digest] = frozenset()) -> int:
    """Remove the partials that nobody writes and that are too old, or all but those of `but`; return their bytes.

    Under the store's lock.
    """
    freed = 0
    now = time.time()
    for name in os.listdir(layout.ingest_path):
        if not name.endswith(ENDING) or any(name.startswith(f"{_stem(digest)}.") for digest in but):
            continue
        path = os.path.join(layout.ingest_path, name)
        try:
            touched = os.stat(path).st_mtime
        except FileNotFoundError:
            continue
        if (everything or abs(now - touched) > LONGEST) and (found := _taken(path, os.O_RDONLY)) is not None:
            remove(found)
            freed += found.size
    return freed


def sizes(layout: Layout) -> dict[Digest, int]:
    """Return the bytes of what there is of each blob; of several partials of one the sum."""
    found: dict[Digest, int] = {}
    for entry in os.scandir(layout.ingest_path):
        if entry.name.endswith(ENDING):
            algorithm, _, rest = entry.name.partition("-")
            digest = Digest(f"{algorithm}:{rest.partition('.')[0]}")
            try:
                found[digest] = found.get(digest, 0) + entry.stat().st_size
            except FileNotFoundError:
                continue
    return found


def remove(partial: Partial) -> None:
    """Remove a partial that the caller holds, and let it go."""
    os.unlink(partial.path)
    os.close(partial.handle)


def _stem(digest: Digest) -> str:
    return f"{digest.algorithm}-{digest.hex}"


def _named(layout: Layout, digest: Digest) -> Iterator[str]:
    stem = f"{_stem(digest)}."
    for name in os.listdir(layout.ingest_path):
        if name.startswith(stem) and name.endswith(ENDING):
            yield os.path.join(layout.ingest_path, name)


def _taken(path: str, how: int = os.O_RDWR) -> Partial | None:
    """Lock a partial; None when somebody writes it, or it has become a blob meanwhile."""
    try:
        handle = os.open(path, how | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError):  # the second: of another user of the store
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        about = os.fstat(handle)
        if about.st_ino == os.stat(path).st_ino:  # its writer renames it before letting it go
            return Partial(path, handle, about.st_size)
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None
