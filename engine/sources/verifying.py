"""Verifying an image of the store: every blob is hashed, every layer unpacked."""

from __future__ import annotations

import os
from contextlib import closing

from imq.engine.actions import Outcome
from imq.engine.oci.digest import Digest
from imq.engine.oci.document import Index
from imq.engine.store.layout import HOLDS, holds
from imq.engine.store.measuring import measure_layers
from imq.grammar.errors import NotFound
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.engine.actions import Verify
    from imq.engine.store.index import Content
    from imq.engine.store.store import Store

_PIECE = 1 << 20


def verify_image(store: Store, action: Verify, jobs: int) -> Outcome:
    """Check all that the image reaches and return the outcome; raises the first thing that is wrong."""
    connection = store.index.connection
    layers = connection.execute(
        "SELECT DISTINCT layer.digest, diff_id, download_size, layer.media_type FROM layer"
        " JOIN entry ON entry.image = layer.image WHERE entry.root = ?",
        (action.root,),
    ).fetchall()
    absent = _absent(store, action.root)
    digests = {row[0] for row in layers}
    checked = 0
    for digest, size in connection.execute("SELECT digest, size FROM reach WHERE root = ?", (action.root,)).fetchall():
        if digest not in digests:
            _read(store, Digest(digest))
        checked += size
    contents: list[Content] = []
    problems = measure_layers(
        store, [(Digest(d), Digest(i), s, m) for d, i, s, m in layers], jobs, contents.append, lambda _: None
    )
    store.index.measured(contents)
    if problems:
        raise problems[0]
    note = f"every blob is whole; not here: {absent} of what its index names" if absent else "every blob is whole"
    return Outcome("verify", action.name, action.id, checked, note=note)


def _read(store: Store, digest: Digest) -> None:
    """Hash a blob that is no layer of an image. What an artifact has may be as large as a layer."""
    with closing(store.open_checked(digest)) as source:
        while source.read(_PIECE):
            pass


def _absent(store: Store, root: Digest) -> int:
    """Return how many manifests of an index are not held; raise for one that is, and is missing or damaged."""
    rows = store.index.connection.execute("SELECT digest FROM reach WHERE root = ?", (root,))
    reached = {digest for (digest,) in rows}
    descriptor = next((entry.descriptor for entry in store.layout.read() if entry.descriptor.digest == root), None)
    if descriptor is None:
        raise NotFound(f"{root.short} was removed meanwhile", code="changed", hints=("run the statement again",))
    absent = 0
    for _, document in store.index.walk(descriptor):
        for child in document.manifests if isinstance(document, Index) else ():
            here = os.path.exists(store.layout.blob_path(child.digest))
            held = holds(descriptor, child.digest) and (here or HOLDS in descriptor.annotations)
            if held and child.digest not in reached:
                store.read(child.digest)  # which says what is wrong with it
            absent += not held
    return absent
