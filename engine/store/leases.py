"""Who is bringing blobs in: each ingest holds a lease, a locked file that lists the blobs it protects.

A lease dies with its process, however that ends: what is in the folder of a dead one may be cleared away.
"""

from __future__ import annotations

import fcntl
import os

from imq.engine.oci.digest import Digest
from imq.grammar.record import TYPE_CHECKING

from . import partials
from .files import locked, told

if TYPE_CHECKING:
    from .layout import Layout

SWEEP_MARK = "sweep"
"""The file in ingest/ that says: blobs may lie about that nothing reaches."""
DAMAGED = ".damaged"
"""How the name of a file in ingest/ ends that says: the blob of this digest is damaged."""
_STAYING = (partials.ENDING, DAMAGED)


def is_left(name: str) -> bool:
    """Whether a file in ingest/ is of an ingest, living or dead, rather than something that outlives it."""
    return name != SWEEP_MARK and not name.endswith(_STAYING)


def tidy(layout: Layout) -> None:
    """Clear away what dead ingests left, unless the store is busy: then whoever holds its lock does it."""
    with told("tidy the store"):
        try:
            with locked(layout.lock_path, wait=False):
                reap(layout)
        except BlockingIOError:
            pass


def reap(layout: Layout) -> frozenset[Digest]:
    """Remove what dead ingests left and nobody can go on with; return the digests that living ones protect.

    The caller holds the store's lock.
    """
    protected: set[Digest] = set()
    living: set[str] = set()
    names = os.listdir(layout.ingest_path)
    for name in names:
        token, dot, kind = name.rpartition(".")
        if not dot or kind != "lease":
            continue
        path = os.path.join(layout.ingest_path, name)
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            living.add(token)
            with open(path, encoding="ascii") as lease:
                protected.update(Digest(line) for line in lease.read().split())
        else:
            mark_sweep(layout)
        finally:
            os.close(handle)
    for name in names:
        if is_left(name) and name.split(".")[0] not in living:
            unlink(os.path.join(layout.ingest_path, name))
        elif name.endswith(DAMAGED):
            algorithm, _, digits = name.removesuffix(DAMAGED).partition("-")
            if not os.path.exists(os.path.join(layout.root, "blobs", algorithm, digits)):
                unlink(os.path.join(layout.ingest_path, name))
    partials.drop(layout)
    return frozenset(protected)


def mark_sweep(layout: Layout) -> None:
    """Say that blobs may lie about that nothing reaches, so that the next collection looks at all of them."""
    path = os.path.join(layout.ingest_path, SWEEP_MARK)
    if not os.path.exists(path):  # it may be somebody else's
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))


def unlink(path: str) -> None:
    """Remove a file that may be gone already."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
