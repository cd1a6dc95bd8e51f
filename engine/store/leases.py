"""Who is bringing blobs in: each ingest holds a lease, a locked file that lists the blobs it protects.

A lease dies with its process, however that ends: what is in the folder of a dead one may be cleared away.
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
"""The file in ingest/ that says: blobs may lie about that nothing reaches."""
CORRUPT_SUFFIX = ".damaged"
"""How the name of a file in ingest/ ends that says: the blob of this digest is damaged."""
LEASE_SUFFIX = ".lease"
_MAX_LEASE_SIZE = 64 << 20
"""Bytes of a lease that are read at most: 900,000 digests."""
_INGEST_FILE = r"([0-9]+-[0-9a-f]{12})\.([0-9]+|lease|room|new)\Z"
_CORRUPT_FILE = r"(sha256-[0-9a-f]{64}|sha512-[0-9a-f]{128})\.damaged\Z"


def new_token() -> str:
    """Return how the names begin of the files in ingest/ that one ingest makes: nobody else can guess it."""
    return f"{os.getpid()}-{os.urandom(6).hex()}"


def find_token(name: str) -> str | None:
    """Return the token of the ingest, living or dead, that made a file in ingest/; None for any other file."""
    match = re.match(_INGEST_FILE, name)
    return match[1] if match else None


def remove_leftovers(layout: Layout) -> None:
    """Clear away what dead ingests left, unless the store is busy: then whoever holds its lock does it.

    It can wait, so a full disk or a file of another user is no reason to fail.
    """
    with suppress(OSError):
        if any(map(find_token, layout.ingest_directory.list_names())):
            with layout.lock(wait=False):
                end_dead_leases(layout)


def end_dead_leases(layout: Layout) -> frozenset[Digest]:
    """Remove what dead ingests left and nobody can go on with; return the digests that living ones protect.

    Nothing is removed but what has a name as an ingest makes it. The caller holds the store's lock.
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
    """Yield the digests of a lease; what is no digest was not written by an ingest, or not to its end."""
    for line in content.decode("ascii", "replace").split():
        if is_digest(line):
            yield Digest(line)


def end_lease(layout: Layout, name: str, *, sweep: bool) -> None:
    """Remove a lease. With `sweep` it becomes the mark of `mark_sweep`, in one step that needs no room."""
    if sweep:
        layout.ingest_directory.rename(name, SWEEP_MARK)
    else:
        layout.ingest_directory.remove_file(name)


def mark_sweep(layout: Layout) -> None:
    """Say that blobs may lie about that nothing reaches, so that the next collection looks at all of them.

    On a full disk nothing is said: `prune` looks at all of them anyway.
    """
    try:
        layout.ingest_directory.ensure_file(SWEEP_MARK)
    except OSError as problem:
        if not is_disk_full(problem):
            raise


def is_sweep_marked(layout: Layout) -> bool:
    """Whether the next collection is to look at all blobs."""
    return layout.ingest_directory.has_file(SWEEP_MARK)
