"""Brings the tables of the index up to date with index.json: new images are read, those without an entry deleted."""

from __future__ import annotations

from itertools import islice

from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Index
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from . import mentions, unreadable_images
from .index_entries import Scope, delete_entries, sync_entries
from .index_json import HELD_MANIFESTS
from .index_rows import delete_images, delete_reach, delete_unreached_descriptors, insert_images, insert_reach
from .shared_sizes import add_layer_counts, set_measures, subtract_layer_counts, update_sizes
from .unreadable_images import UnreadableDocument

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from sqlite3 import Connection

    from imq.engine.oci.config import Config
    from imq.engine.oci.manifest import Descriptor, Manifest

    from .index_document import IndexEdits
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
    measures: Iterable[LayerMeasure] = (),
    reread: AbstractSet[Digest] = frozenset(),
) -> None:
    """Update the tables of the index to index.json.

    `measures` are further measures of layers. The roots in `reread` are read even if they are known.
    """
    signature = layout.read_signature()
    _apply_entries(connection, documents, _group(layout.read_entries()), None, measures, reread)
    if connection.execute("SELECT 1 FROM meta WHERE key = 'signature'").fetchone() is None:
        layout.recognize_own()  # the index is new, or rebuilt: it does not say which index.json imq wrote
    _set_signature(connection, layout, signature)


def apply_edits(
    connection: Connection,
    layout: Layout,
    documents: DocumentReader,
    edits: IndexEdits,
    signature: str,
    measures: Iterable[LayerMeasure] = (),
) -> bool:
    """Update the tables to the edits of an index.json, which were written to a file with this signature.

    Returns False, and changes nothing, unless the tables are those of the index.json before the edits.
    """
    if not _is_made_from(connection, edits.signature):
        return False
    _apply_entries(connection, documents, edits.entries, edits.roots, measures)
    _set_signature(connection, layout, signature)
    return True


def reread_roots(connection: Connection, layout: Layout, documents: DocumentReader, roots: AbstractSet[Digest]) -> bool:
    """Read the documents of roots again; False unless the tables are those of the current index.json."""
    document = layout.read_document()
    if not _is_made_from(connection, document.signature):
        return False
    entries = {root: held for root in roots if (held := document.entries_of(root))}
    _apply_entries(connection, documents, entries, roots, reread=roots)
    return True


def _is_made_from(connection: Connection, signature: str) -> bool:
    """Whether the tables were derived from the index.json with this signature."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'signature'").fetchone()
    return signature != "" and row is not None and bool(row[0] == signature)


def _set_signature(connection: Connection, layout: Layout, signature: str) -> None:
    own = signature if signature == layout.own_signature else ""
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", [("signature", signature), ("own", own)])


def _group(entries: Iterable[IndexEntry]) -> dict[Digest, list[IndexEntry]]:
    """Return the entries by root."""
    groups: dict[Digest, list[IndexEntry]] = {}
    for entry in entries:
        groups.setdefault(entry.descriptor.digest, []).append(entry)
    return groups


def _apply_entries(
    connection: Connection,
    documents: DocumentReader,
    entries: Mapping[Digest, Sequence[IndexEntry]],
    changed: AbstractSet[Digest] | None,
    measures: Iterable[LayerMeasure] = (),
    reread: AbstractSet[Digest] = frozenset(),
) -> None:
    """Update the tables to these entries of index.json, by root: all of it, or those of the roots in `changed`."""
    scope = Scope(changed)
    # of several entries with one root, the last one describes it
    descriptors = {root: held[-1].descriptor for root, held in entries.items()}
    # roots without an image are read again, as missing blobs may have been stored; also those with other manifests
    kept = scope if changed is None else Scope(descriptors)
    known = _select_roots(connection, f"SELECT root FROM entry WHERE image IS NOT NULL AND {kept.condition()}", kept)
    unreadable = _select_roots(connection, f"SELECT root FROM unreadable WHERE {scope.condition()}", scope)
    known -= _update_held_manifests(connection, descriptors.values(), scope) | unreadable | reread
    unreadable_images.delete(connection, unreadable)
    unreached_candidates: set[int] = set()
    reaching = "SELECT digest FROM descriptor WHERE key IN (SELECT root FROM reaching)"
    for root in changed if changed is not None else _select_roots(connection, reaching, scope):
        if root not in descriptors or root not in known:
            unreached_candidates |= delete_reach(connection, root)
    (last_key,) = connection.execute("SELECT coalesce(max(key), 0) FROM image").fetchone()
    new = (descriptor for root, descriptor in descriptors.items() if root not in known)
    reached: dict[Digest, list[int]] = {}
    while roots := list(islice(new, _INSERT_BATCH)):
        reached |= _insert_roots(connection, documents, roots)
    add_layer_counts(
        connection, [key for (key,) in connection.execute("SELECT key FROM image WHERE key > ?", (last_key,))]
    )
    set_measures(connection, measures)
    update_sizes(connection)
    left = delete_entries(connection, changed - descriptors.keys()) if changed is not None else set()
    left |= sync_entries(connection, (entry for held in entries.values() for entry in held), reached, kept)
    _drop_unreached(connection, left)
    delete_unreached_descriptors(connection, unreached_candidates)


def _select_roots(connection: Connection, select: str, scope: Scope) -> set[str]:
    return {root for (root,) in connection.execute(select, scope.parameters)}


def _drop_unreached(connection: Connection, left: Iterable[int]) -> None:
    """Delete the images without an entry, of the images that have lost one."""
    import json

    unreached = (
        "SELECT value FROM json_each(?) WHERE NOT EXISTS (SELECT 1 FROM entry WHERE entry.image = value)"
        " AND EXISTS (SELECT 1 FROM image WHERE key = value)"
    )
    unreached_keys = [key for (key,) in connection.execute(unreached, (json.dumps(sorted(left)),))]
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
    mentioned: dict[Digest, bytes] = {}
    for root in roots:
        blobs = {root.digest: root}
        manifests = manifests_by_root.setdefault(root.digest, [])
        problems: list[UnreadableDocument] = []
        parts: list[bytes | None] = []
        for descriptor, document in documents.walk(root, problems):
            blobs[descriptor.digest] = descriptor
            parts.append(documents.mentions.get(descriptor.digest))
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
        if not problems and None not in parts:
            mentioned[root.digest] = b"".join(part for part in parts if part is not None)
        reach.append((blobs[root.digest], blobs.values()))
    insert_reach(connection, reach)
    mentions.insert(connection, mentioned)
    documents.mentions.clear()
    unreadable_images.insert(connection, unreadable)
    keys = {digest: key for digest in images if (key := _find_image_key(connection, digest)) is not None}
    new = [image for digest, image in images.items() if digest not in keys]
    keys.update(zip((digest for digest, _, _ in new), insert_images(connection, new), strict=True))
    return {root: [keys[digest] for digest in manifests] for root, manifests in manifests_by_root.items()}


def _update_held_manifests(connection: Connection, roots: Iterable[Descriptor], scope: Scope) -> set[str]:
    """Store the held manifests of each index in index.json; return the roots where they have changed."""
    held = {root.digest: root.annotations[HELD_MANIFESTS] for root in roots if HELD_MANIFESTS in root.annotations}
    select = f"SELECT substr(key, 7), value FROM meta WHERE {scope.condition('key', prefix='holds ')}"
    before = dict(connection.execute(select, scope.parameters).fetchall())
    changed = {root for root in {*held, *before} if held.get(Digest(root)) != before.get(root)}
    connection.executemany("DELETE FROM meta WHERE key = 'holds ' || ?", [(root,) for root in changed])
    rows = [(f"holds {root}", held[Digest(root)]) for root in changed if root in held]
    connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
    return changed


def _find_image_key(connection: Connection, manifest: Digest) -> int | None:
    """Return the key of the image with this manifest; None when there is none."""
    row: tuple[int] | None = connection.execute("SELECT key FROM image WHERE manifest = ?", (manifest,)).fetchone()
    return row[0] if row else None
