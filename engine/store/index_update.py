"""Brings the tables of the index up to date with index.json: new images are read, those without an entry deleted."""

from __future__ import annotations

from itertools import islice

from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Index
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from . import unreadable_images
from .index_entries import sync_entries
from .index_json import HELD_MANIFESTS
from .index_rows import delete_images, delete_reach, delete_unreached_descriptors, insert_images, insert_reach
from .shared_sizes import add_layer_counts, set_measures, subtract_layer_counts, update_sizes
from .unreadable_images import UnreadableDocument

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet
    from sqlite3 import Connection

    from imq.engine.oci.config import Config
    from imq.engine.oci.manifest import Descriptor, Manifest

    from .index_documents import DocumentReader
    from .index_json import IndexEntry
    from .layer_measure import LayerMeasure
    from .layout import Layout

_INSERT_BATCH = 500
"""The number of descriptors of index.json whose images are inserted together."""


def apply_layout(
    connection: Connection,
    layout: Layout,
    documents: DocumentReader,
    entries: list[IndexEntry] | None = None,
    measures: Iterable[LayerMeasure] = (),
    reread: AbstractSet[Digest] = frozenset(),
) -> None:
    """Update the tables of the index to index.json, or to `entries` when the caller has just written them.

    `measures` are further measures of layers. The roots in `reread` are read even if they are known.
    """
    signature = layout.read_signature()
    if entries is None:
        entries = layout.read_entries()
    roots_by_digest = {entry.descriptor.digest: entry.descriptor for entry in entries}
    # roots without an image are read again, as missing blobs may have been stored; also those with other manifests
    known = {root for (root,) in connection.execute("SELECT DISTINCT root FROM entry WHERE image IS NOT NULL")}
    unreadable = unreadable_images.find_roots(connection)
    known -= _update_held_manifests(connection, roots_by_digest.values()) | unreadable | reread
    unreadable_images.delete(connection, unreadable)
    unreached_candidates: set[int] = set()
    before = "SELECT DISTINCT digest FROM descriptor WHERE key IN (SELECT root FROM reaching)"
    for (root,) in connection.execute(before).fetchall():
        if root not in roots_by_digest or root not in known:
            unreached_candidates |= delete_reach(connection, root)
    (last_key,) = connection.execute("SELECT coalesce(max(key), 0) FROM image").fetchone()
    new = (descriptor for digest, descriptor in roots_by_digest.items() if digest not in known)
    reached: dict[Digest, list[int]] = {}
    while roots := list(islice(new, _INSERT_BATCH)):
        reached |= _insert_roots(connection, documents, roots)
    add_layer_counts(
        connection, [key for (key,) in connection.execute("SELECT key FROM image WHERE key > ?", (last_key,))]
    )
    set_measures(connection, measures)
    update_sizes(connection)
    sync_entries(connection, entries, reached)
    _drop_unreached(connection)
    delete_unreached_descriptors(connection, unreached_candidates)
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('signature', ?)", (signature,))


def _drop_unreached(connection: Connection) -> None:
    """Delete the images without an entry."""
    unreached = "SELECT key FROM image WHERE NOT EXISTS (SELECT 1 FROM entry WHERE entry.image = image.key)"
    unreached_keys = [key for (key,) in connection.execute(unreached)]
    if not unreached_keys:
        return
    subtract_layer_counts(connection, unreached_keys)
    delete_images(connection, unreached_keys)
    update_sizes(connection)


def _insert_roots(
    connection: Connection, documents: DocumentReader, roots: list[Descriptor]
) -> dict[Digest, list[int]]:
    """Insert the images and blobs that roots reach, and their unreadable documents.

    Returns the keys of the images of each root.
    """
    images: dict[Digest, tuple[Digest, Manifest, Config]] = {}
    unreadable: list[tuple[Digest, UnreadableDocument]] = []
    manifests_by_root: dict[Digest, list[Digest]] = {}
    reach: list[tuple[Descriptor, Iterable[Descriptor]]] = []
    for root in roots:
        blobs = {root.digest: root}
        manifests = manifests_by_root.setdefault(root.digest, [])
        problems: list[UnreadableDocument] = []
        for descriptor, document in documents.walk(root, problems):
            blobs[descriptor.digest] = descriptor
            if isinstance(document, Index):
                continue
            blobs.update((blob.digest, blob) for blob in (document.config, *document.layers))
            if descriptor.digest not in images and document.is_image:
                try:
                    images[descriptor.digest] = (descriptor.digest, document, documents.read_image_config(document))
                except ImqError as problem:
                    problems.append(UnreadableDocument(document.config, problem, descriptor, is_config=True))
            if descriptor.digest in images:
                manifests.append(descriptor.digest)
        unreadable += [(root.digest, problem) for problem in problems]
        reach.append((blobs[root.digest], blobs.values()))
    insert_reach(connection, reach)
    unreadable_images.insert(connection, unreadable)
    keys = {digest: key for digest in images if (key := _find_image_key(connection, digest)) is not None}
    new = [image for digest, image in images.items() if digest not in keys]
    keys.update(zip((digest for digest, _, _ in new), insert_images(connection, new), strict=True))
    return {root: [keys[digest] for digest in manifests] for root, manifests in manifests_by_root.items()}


def _update_held_manifests(connection: Connection, roots: Iterable[Descriptor]) -> set[str]:
    """Store the held manifests of each index in index.json; return the roots where they have changed."""
    held = {root.digest: root.annotations[HELD_MANIFESTS] for root in roots if HELD_MANIFESTS in root.annotations}
    before = dict(connection.execute("SELECT substr(key, 7), value FROM meta WHERE key GLOB 'holds *'").fetchall())
    changed = {root for root in {*held, *before} if held.get(Digest(root)) != before.get(root)}
    connection.executemany("DELETE FROM meta WHERE key = 'holds ' || ?", [(root,) for root in changed])
    rows = [(f"holds {root}", held[Digest(root)]) for root in changed if root in held]
    connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
    return changed


def _find_image_key(connection: Connection, manifest: Digest) -> int | None:
    """Return the key of the image with this manifest; None when there is none."""
    row: tuple[int] | None = connection.execute("SELECT key FROM image WHERE manifest = ?", (manifest,)).fetchone()
    return row[0] if row else None
