"""Leases: each ingest holds a locked file that lists the blobs it protects from collection.

A lease ends with its process. The files of an ingest whose lease has ended may be removed.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import suppress

from imq.engine.oci.digest import Digest, is_digest
from imq.grammar.record import TYPE_CHECKING

from . import partial_blobs
from .atomic_files import is_disk_full
from .bounded_read import read_bounded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .layout import Layout

SWEEP_MARK = "sweep"
"""The file in ingest/ that marks the store for a full collection: it may have unreachable blobs."""
CORRUPT_SUFFIX = ".damaged"
"""The suffix of a file in ingest/ that marks the blob of this digest as corrupt."""
LEASE_SUFFIX = ".lease"
_MAX_LEASE_SIZE = 64 << 20
"""The maximum size in bytes of a lease: 900,000 digests."""
_INGEST_FILE = r"([0-9]+-[0-9a-f]{12})\.([0-9]+|lease|room|new)\Z"
_CORRUPT_FILE = r"(sha256-[0-9a-f]{64}|sha512-[0-9a-f]{128})\.damaged\Z"


def new_token() -> str:
    """Return a new unguessable prefix for the names of the files of one ingest."""
    return f"{os.getpid()}-{os.urandom(6).hex()}"


def find_token(name: str) -> str | None:
    """Return the token of the ingest that created a file in ingest/; None for any other file."""
    match = re.match(_INGEST_FILE, name)
    return match[1] if match else None


def remove_leftovers(layout: Layout) -> None:
    """Remove the files of dead ingests, unless the store is locked: the holder of the lock removes them.

    A full disk or a file of another user is ignored, as this can be done later.
    """
    with suppress(OSError):
        if any(map(find_token, layout.ingest_directory.list_names())):
            with layout.lock(wait=False):
                end_dead_leases(layout)


def count_running_ingests(layout: Layout) -> int:
    """Return the number of ingests of all processes that hold their lease, such as running pulls."""
    count = 0
    try:
        if not layout.exists:
            return 0
        for name in layout.ingest_directory.list_names():
            if name.endswith(LEASE_SUFFIX):
                with layout.ingest_directory.open_reader(name) as lease:
                    try:
                        fcntl.flock(lease, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    except BlockingIOError:
                        count += 1
    except OSError:
        pass  # an ingest ended in the meantime, or its files belong to another user
    return count


def end_dead_leases(layout: Layout) -> frozenset[Digest]:
    """Remove the files of dead ingests that cannot be resumed; return the digests that live ones protect.

    Only files with names of an ingest are removed. The caller holds the lock of the store.
    """
    protected: set[Digest] = set()
    live_tokens: set[str] = set()
    ingest = layout.ingest_directory
    names = ingest.list_names()
    for name in names:
        token = find_token(name)
        if token is None or not name.endswith(LEASE_SUFFIX):
            continue
        try:
            lease = ingest.open_reader(name)
        except FileNotFoundError:
            continue
        with lease:
            try:
                fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                live_tokens.add(token)
                protected.update(_parse_digests(read_bounded(lease, _MAX_LEASE_SIZE)))
            else:
                end_lease(layout, name, sweep=True)
    for name in names:
        token = find_token(name)
        if token is not None and token not in live_tokens:
            ingest.remove_file(name)
        elif re.match(_CORRUPT_FILE, name):
            algorithm, _, digits = name.removesuffix(CORRUPT_SUFFIX).partition("-")
            if not layout.has_blob(Digest(f"{algorithm}:{digits}")):
                ingest.remove_file(name)
    partial_blobs.remove_unused(layout)
    return frozenset(protected)


def _parse_digests(content: bytes) -> Iterator[Digest]:
    """Yield the digests of a lease; incomplete lines are skipped."""
    for line in content.decode("ascii", "replace").split():
        if is_digest(line):
            yield Digest(line)


def end_lease(layout: Layout, name: str, *, sweep: bool) -> None:
    """Remove a lease. With `sweep` it is renamed to the sweep mark: one step that needs no space."""
    if sweep:
        layout.ingest_directory.rename(name, SWEEP_MARK)
    else:
        layout.ingest_directory.remove_file(name)


def mark_sweep(layout: Layout) -> None:
    """Mark the store for a full collection, because it may have unreachable blobs.

    On a full disk there is no mark; `prune` checks all blobs anyway.
    """
    try:
        layout.ingest_directory.ensure_file(SWEEP_MARK)
    except OSError as problem:
        if not is_disk_full(problem):
            raise


def is_sweep_marked(layout: Layout) -> bool:
    """Whether the next collection must check all blobs."""
    return layout.ingest_directory.has_file(SWEEP_MARK)
