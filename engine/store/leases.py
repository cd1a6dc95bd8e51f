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
from .atomic_files import is_full

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .layout import Layout

SWEEP_MARK = "sweep"
"""The file in ingest/ that says: blobs may lie about that nothing reaches."""
DAMAGED = ".damaged"
"""How the name of a file in ingest/ ends that says: the blob of this digest is damaged."""
LEASE = ".lease"
_LARGEST_LEASE = 64 << 20
"""Bytes of a lease that are read at most: 900,000 digests."""
_LEFT = r"([0-9]+-[0-9a-f]{12})\.([0-9]+|lease|room|new)\Z"
_DAMAGED = r"(sha256-[0-9a-f]{64}|sha512-[0-9a-f]{128})\.damaged\Z"


def new_token() -> str:
    """Return how the names begin of the files in ingest/ that one ingest makes: nobody else can guess it."""
    return f"{os.getpid()}-{os.urandom(6).hex()}"


def owner_of(name: str) -> str | None:
    """Return the token of the ingest, living or dead, that made a file in ingest/; None for any other file."""
    made = re.match(_LEFT, name)
    return made[1] if made else None


def tidy(layout: Layout) -> None:
    """Clear away what dead ingests left, unless the store is busy: then whoever holds its lock does it.

    It can wait, so a full disk or a file of another user is no reason to fail.
    """
    with suppress(OSError):
        if any(map(owner_of, layout.ingest.names())):
            with layout.locked(wait=False):
                reap(layout)


def reap(layout: Layout) -> frozenset[Digest]:
    """Remove what dead ingests left and nobody can go on with; return the digests that living ones protect.

    Nothing is removed but what has a name as an ingest makes it. The caller holds the store's lock.
    """
    protected: set[Digest] = set()
    living: set[str] = set()
    ingest = layout.ingest
    names = ingest.names()
    for name in names:
        token = owner_of(name)
        if token is None or not name.endswith(LEASE):
            continue
        try:
            lease = ingest.open_to_read(name)
        except FileNotFoundError:
            continue
        with lease:
            try:
                fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                living.add(token)
                protected.update(_digests(lease.read(_LARGEST_LEASE)))
            else:
                end_lease(layout, name, sweep=True)
    for name in names:
        token = owner_of(name)
        if token is not None and token not in living:
            ingest.remove_file(name)
        elif re.match(_DAMAGED, name):
            algorithm, _, digits = name.removesuffix(DAMAGED).partition("-")
            if not layout.has_blob(Digest(f"{algorithm}:{digits}")):
                ingest.remove_file(name)
    partial_blobs.drop(layout)
    return frozenset(protected)


def _digests(content: bytes) -> Iterator[Digest]:
    """Yield the digests of a lease; what is no digest was not written by an ingest, or not to its end."""
    for line in content.decode("ascii", "replace").split():
        if is_digest(line):
            yield Digest(line)


def end_lease(layout: Layout, name: str, *, sweep: bool) -> None:
    """Remove a lease. With `sweep` it becomes the mark of `mark_sweep`, in one step that needs no room."""
    if sweep:
        layout.ingest.rename(name, SWEEP_MARK)
    else:
        layout.ingest.remove_file(name)


def mark_sweep(layout: Layout) -> None:
    """Say that blobs may lie about that nothing reaches, so that the next collection looks at all of them.

    On a full disk nothing is said: `prune` looks at all of them anyway.
    """
    try:
        layout.ingest.ensure_file(SWEEP_MARK)
    except OSError as problem:
        if not is_full(problem):
            raise


def is_sweep_marked(layout: Layout) -> bool:
    """Whether the next collection is to look at all blobs."""
    return layout.ingest.has_file(SWEEP_MARK)
