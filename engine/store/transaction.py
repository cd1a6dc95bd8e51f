"""Transactions on the entries of a store: index.json is locked, read, edited and written.

When the block of a `Transaction` ends without an error, index.json is replaced: this is the commit. Then the index is
updated and unreachable blobs are removed. After an error nothing has changed.
"""

from __future__ import annotations

import json
from contextlib import suppress

from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Index, Manifest
from imq.engine.oci.reference import Reference, parse_name
from imq.grammar.errors import ImqError, StoreError
from imq.grammar.record import TYPE_CHECKING, Record

from .atomic_files import store_errors
from .index_json import ALL_HELD, HELD_MANIFESTS, IndexEntry, set_held_manifests
from .layout import diff_id_mismatch, unknown_layer_type
from .leases import SWEEP_MARK, end_dead_leases, is_sweep_marked, mark_sweep
from .mentions import find_possible_users, may_mention
from .unreadable_images import collection_blocked

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from collections.abc import Set as AbstractSet
    from contextlib import AbstractContextManager
    from sqlite3 import Cursor
    from typing import Self

    from imq.engine.oci.manifest import Descriptor
    from imq.engine.oci.reference import Name

    from .index import StoreIndex
    from .index_document import IndexDocument
    from .layer_measure import LayerMeasure
    from .layout import Layout
    from .unreadable_images import UnreadableDocument

_SELECT_REACHED = "SELECT digest FROM reach WHERE root = ?"
_SELECT_LOST = "SELECT DISTINCT reach.digest FROM json_each(?) CROSS JOIN reach ON reach.root = value"
_SELECT_STILL_REACHED = """
SELECT value FROM json_each(?)
WHERE EXISTS (SELECT 1 FROM descriptor JOIN reaching ON reaching.blob = descriptor.key WHERE digest = value)
"""
_BATCH = 4096
"""The number of blobs that are looked up together."""


class Collected(Record):
    """The result of a collection: the number of removed blobs, their size, and that of removed partial downloads."""

    blobs: int
    size: int
    partial_bytes: int = 0


class Transaction:
    """A transaction on the entries of a store; used as a context."""

    def __init__(self, layout: Layout, index: StoreIndex, measures: Iterable[LayerMeasure] = ()) -> None:
        self._layout = layout
        self._index = index
        self._measures = measures
        self._lock: AbstractContextManager[int] | None = None
        self._document: IndexDocument
        self._edited = False
        self._adds_entries = False
        """Whether it adds an entry: one that only removes entries may use the disk reserve."""
        self.collects_all = False
        """Set to collect leftovers of failed processes as well: unreachable blobs and partial downloads."""
        self.collection_error: ImqError | None = None
        """Why no blob was removed although some may be unreachable."""
        self._shrunk_indexes: set[Digest] = set()
        self.collected = Collected(0, 0)

    def __enter__(self) -> Self:
        """Take the store's lock and read index.json."""
        with store_errors("lock the store"):
            self._lock = self._layout.lock()
            self._lock.__enter__()
        self._index.holds_lock = True
        try:
            if not self._index.is_current:  # the index was current before the lock was taken
                self._index.refresh()
            self._document = self._layout.read_document()
        except BaseException:
            self._unlock()
            raise
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Commit unless the block raised, and release the lock."""
        try:
            if kind is None:
                self._commit()
        finally:
            self._unlock()

    def _unlock(self) -> None:
        assert self._lock is not None
        self._index.holds_lock = False
        self._lock.__exit__(None, None, None)

    def _commit(self) -> None:
        with store_errors("prepare the transaction"):
            protected = end_dead_leases(self._layout)
        candidates: set[str] = set()
        collects_all = self.collects_all
        if self._edited or not self._layout.has_index():
            edits = self._document.list_edits()
            removed = self._document.list_removed_roots()
            if self._count_lost_blobs(removed):
                # the blobs of an unreadable image are unknown: check all blobs
                collects_all = (
                    collects_all
                    or is_sweep_marked(self._layout)
                    or not self._index.find_incomplete_roots().keys().isdisjoint(removed)
                )
                with store_errors("prepare the transaction"):
                    mark_sweep(self._layout)  # if this process dies before it removes them, the next one collects them
            try:
                signature = self._layout.write_document(self._document, may_take_reserve=not self._adds_entries)
            except StoreError as problem:
                if problem.code != "no-space" or self._adds_entries:
                    raise
                candidates = self._list_lost_blobs(removed)  # the index may be removed too
                signature = self._write_on_full_disk(candidates - protected)
            del self._document  # its text takes as much memory as all that follows
            candidates |= self._list_lost_blobs(removed)
            self._index.apply_edits(edits, signature, self._measures)
        elif self._measures:
            self._index.add_measures(self._measures)
        if collects_all:
            candidates |= self._list_blobs()
        if candidates or collects_all:
            self._index.retry_unreadable()
            self._discard_reached(candidates)
            incomplete = self._index.find_incomplete_roots()  # any blob may be theirs
            if candidates and not incomplete:
                needed, incomplete = self._read_needed_blobs(candidates)
                if needed:  # the index disagrees with the documents
                    self._index.rebuild()
                candidates -= needed
            if incomplete:
                self.collection_error = collection_blocked(incomplete.values())
                with store_errors("prepare the transaction"):
                    mark_sweep(self._layout)
            else:
                self.collected = self._collect(candidates, protected)
        if self.collects_all:
            with store_errors("remove partial downloads"):
                from . import partial_blobs

                partial_bytes = partial_blobs.remove_unused(self._layout, any_age=True)
            self.collected = self.collected.replace(partial_bytes=partial_bytes)
        self._layout.ensure_reserve()  # on a full disk there is space for it only now

    # Reading

    def find_entry(self, name: Name | str) -> IndexEntry | None:
        """Return the entry with this name; None when there is none."""
        return self._document.find_named(str(name))

    def entries_of(self, root: Digest) -> list[IndexEntry]:
        """Return the entries whose descriptor has the digest `root`."""
        return self._document.entries_of(root)

    def list_users(self, root: Digest) -> list[tuple[str, bool]]:
        """Return the containers made from an image: the ID of each, and whether it has processes."""
        rows = self._index.connection.execute(
            "SELECT DISTINCT container.id, status IN ('running', 'paused') FROM entry JOIN container"
            " ON container.image_id = entry.id OR container.manifest = entry.manifest WHERE entry.root = ?",
            (root,),
        )
        return [(id_, bool(is_running)) for id_, is_running in rows]

    def refers_to(self, entry: IndexEntry, id_: Digest | None) -> bool:
        """Whether an entry refers to the image with this ID; for None: whether it refers to no readable image."""
        root = entry.descriptor.digest
        if id_ is None:
            return not self._index.has_image(root)
        rows = self._index.connection.execute("SELECT 1 FROM images WHERE _root = ? AND id = ?", (root, id_))
        return rows.fetchone() is not None

    def find_image_id(self, root: Digest) -> Digest | None:
        """Return the ID of the first image of a root; None when the index has none."""
        row = self._index.connection.execute(
            "SELECT id FROM entry WHERE root = ? AND id IS NOT NULL ORDER BY image LIMIT 1", (root,)
        ).fetchone()
        return Digest(row[0]) if row else None

    # Editing

    def set_name(self, name: Name, descriptor: Descriptor, digest: Digest | None, now: int) -> bool:
        """Set the name to `descriptor`; return whether that changed anything.

        The image that loses the name keeps its digest name when it came from a registry, as in docker; otherwise it
        stays without a name.
        """
        digest = digest or name.digest
        current = self.find_entry(name)
        if current is not None and current.descriptor.digest == descriptor.digest and current.digest == digest:
            self._edited |= self._needs_refresh(descriptor)
            return False
        self._check_layers(descriptor)
        if current is not None:
            self._drop_name(current, descriptor)
        new = IndexEntry(descriptor, name, digest, now)
        for entry in self.entries_of(descriptor.digest):
            if entry.name is None:
                self._document.drop(entry)
            elif entry.name.tag is None and _is_same_repository(entry.name, name):
                self._document.drop(entry)
                new = _add_digests(new, (entry.digest, *entry.other_digests))
        self._document.add(new)
        self._edited = self._adds_entries = True
        return True

    def set_digest_name(self, name: Reference, descriptor: Descriptor, digest: Digest, now: int) -> bool:
        """Set a name with a digest to `descriptor`; return whether that changed anything.

        If the image has a name in this repository already, the digest is added to that name: docker shows one row, too.
        """
        siblings = [
            entry
            for entry in self.entries_of(descriptor.digest)
            if entry.name and _is_same_repository(entry.name, name)
        ]
        if not siblings:
            return self.set_name(name, descriptor, digest, now)
        self._edited |= self._needs_refresh(descriptor)
        if any(digest in (entry.digest, *entry.other_digests) for entry in siblings):
            return False
        entry = siblings[0]
        updated = entry.replace(digest=digest) if entry.digest is None else _add_digests(entry, (digest,))
        if updated == entry:
            return False
        self._document.drop(entry)
        self._document.add(updated)
        self._edited = self._adds_entries = True
        return True

    def hold(self, index: Descriptor, manifests: frozenset[Digest] | None) -> tuple[Descriptor, bool]:
        """Record that these manifests of an index are held, besides the earlier ones; None: all of the index.

        Returns the descriptor of the index to set names to, and whether existing entries have changed.
        """
        entries = self.entries_of(index.digest)
        if entries and manifests is not None:
            value = entries[0].descriptor.annotations.get(HELD_MANIFESTS)
            if value is None:  # another tool stored the index
                manifests |= self._list_held(entries[0].descriptor) - {index.digest}
            else:
                manifests = None if value == ALL_HELD else manifests | {Digest(digest) for digest in value.split()}
        descriptor = set_held_manifests(index, manifests)
        differing = [
            entry
            for entry in entries
            if entry.descriptor.annotations.get(HELD_MANIFESTS) != descriptor.annotations[HELD_MANIFESTS]
        ]
        if differing:
            self._check_layers(descriptor, grew=True)
        for entry in differing:
            self._document.drop(entry)
            self._document.add(entry.replace(descriptor=set_held_manifests(entry.descriptor, manifests)))
            self._edited = self._adds_entries = True
        return descriptor, bool(differing)

    def add_unnamed(self, descriptor: Descriptor, now: int) -> bool:
        """Add an image without a name; return whether it is new."""
        if self.entries_of(descriptor.digest):
            self._edited |= self._needs_refresh(descriptor)
            return False
        self._check_layers(descriptor)
        self._document.add(IndexEntry(descriptor, None, None, now))
        self._edited = self._adds_entries = True
        return True

    def untag(self, entry: IndexEntry) -> None:
        """Remove a name; the image stays, without a name if this was the last one."""
        self._document.drop(entry)
        if not self.entries_of(entry.descriptor.digest):
            self._document.add(entry.replace(name=None, digest=None))
        self._edited = True

    def forget_digest(self, name: str, root: Digest) -> bool:
        """Remove a digest from the tags of an image in one repository; `name` is a name with that digest.

        The tags stay. Returns whether any tag had the digest.
        """
        by_digest = parse_name(name)
        if by_digest.digest is None:
            return False
        tags = [
            entry
            for entry in self.entries_of(root)
            if entry.name is not None
            and _is_same_repository(entry.name, by_digest)
            and by_digest.digest in (entry.digest, *entry.other_digests)
        ]
        for entry in tags:
            remaining = [digest for digest in _digests_of(entry) if digest != by_digest.digest]
            self._document.drop(entry)
            self._document.add(
                entry.replace(digest=remaining[0] if remaining else None, other_digests=tuple(remaining[1:]))
            )
            self._edited = True
        return bool(tags)

    def remove(self, entry: IndexEntry) -> None:
        """Remove an entry. Removing the last entry of an image removes the image."""
        self._document.drop(entry)
        self._edited = True

    def release(self, root: Digest, manifest: Digest) -> bool:
        """Release one image of an index and its attestations; False when no other image of the index is held.

        The index and its names stay; `hold` reverts this.
        """
        entries = self.entries_of(root)
        documents = list(self._index.documents.walk(entries[0].descriptor)) if entries else []
        children = [child for _, document in documents if isinstance(document, Index) for child in document.manifests]
        dropped = {
            child.digest for child in children if child.annotations.get(media_types.REFERENCE_DIGEST) == manifest
        }
        remaining = frozenset(self._list_held(entries[0].descriptor) if entries else ()) - dropped - {root, manifest}
        if not any(
            isinstance(document, Manifest) and descriptor.digest in remaining for descriptor, document in documents
        ):
            return False
        if manifest not in {descriptor.digest for descriptor, _ in documents}:
            return False
        for entry in entries:
            self._document.drop(entry)
            self._document.add(entry.replace(descriptor=set_held_manifests(entry.descriptor, remaining)))
        self._shrunk_indexes.add(root)
        self._edited = True
        return True

    def _list_held(self, root: Descriptor) -> set[Digest]:
        """Return the digests of the documents that a descriptor of index.json holds, unreadable ones included."""
        unreadable: list[UnreadableDocument] = []
        readable = {descriptor.digest for descriptor, _ in self._index.documents.walk(root, unreadable)}
        return readable | {one.document.digest for one in unreadable if not one.is_absent}

    def _needs_refresh(self, root: Descriptor) -> bool:
        """Whether the index lacks blobs of a descriptor: documents that were missing may exist now."""
        is_indexed = self._index.has_image(root.digest)
        if is_indexed and root.media_type not in media_types.INDEXES:
            return False
        reached = {row[0] for row in self._index.connection.execute(_SELECT_REACHED, (root.digest,))}
        manifests = [document for _, document in self._index.documents.walk(root) if isinstance(document, Manifest)]
        is_incomplete = any(
            (manifest.is_image and not is_indexed)
            or {manifest.config.digest, *(layer.digest for layer in manifest.layers)} - reached
            for manifest in manifests
        )
        if is_indexed and is_incomplete:
            self._index.reread(root.digest)
            return False
        return is_incomplete or not manifests

    def _check_layers(self, root: Descriptor, *, grew: bool = False) -> None:
        """Reject a new image with a layer of an unknown media type, or with another diff ID than its config has.

        An ingest does not read layers that are stored already, so these are checked here.
        """
        if self.entries_of(root.digest) and not grew:
            return
        for _, document in self._index.documents.walk(root):
            if not isinstance(document, Manifest) or not document.is_image:
                continue
            diff_ids = self._index.documents.read_config(document.config).diff_ids
            for layer, diff_id in zip(document.layers, diff_ids, strict=False):
                if not media_types.is_layer(layer.media_type):
                    raise unknown_layer_type(layer)
                known = self._index.find_diff_id(layer.digest)
                if known is not None and known != diff_id:
                    raise diff_id_mismatch(layer.digest, known, diff_id, "nothing was stored")

    def _drop_name(self, entry: IndexEntry, successor: Descriptor) -> None:
        """Remove the name of an entry in favor of another image, or of an index with the same image."""
        self._document.drop(entry)
        if any(child.digest == entry.descriptor.digest for child, _ in self._index.documents.walk(successor)):
            return
        if any(other.name is not None for other in self.entries_of(entry.descriptor.digest)):
            return
        if entry.digest is not None and isinstance(entry.name, Reference):
            by_digest = entry.name.replace(tag=None, digest=entry.digest)
            if self.find_entry(by_digest) is None:
                self._document.add(entry.replace(name=by_digest))
                return
        if not self.entries_of(entry.descriptor.digest):
            self._document.add(entry.replace(name=None, digest=None))

    # Collection

    def _count_lost_blobs(self, removed: Sequence[Digest]) -> int:
        """Return the number of `_list_lost_blobs`. It reads the same rows, so that errors come before the commit."""
        count: int = self._select_lost(f"SELECT count(*) FROM ({_SELECT_LOST})", removed).fetchone()[0]
        return count

    def _list_lost_blobs(self, removed: Sequence[Digest]) -> set[str]:
        """Return the blobs of removed roots, and of indexes that hold fewer manifests now.

        It is known from the index before it is updated.
        """
        return {digest for (digest,) in self._select_lost(_SELECT_LOST, removed)}

    def _select_lost(self, select: str, removed: Sequence[Digest]) -> Cursor:
        return self._index.connection.execute(select, (json.dumps([*removed, *self._shrunk_indexes]),))

    def _list_blobs(self) -> set[str]:
        with store_errors("list the blobs"):
            return {digest for digest, _ in self._layout.iter_blob_sizes()}

    def _discard_reached(self, candidates: set[str]) -> None:
        """Remove the blobs that an entry reaches, according to the index, from a set."""
        digests = sorted(candidates)
        for start in range(0, len(digests), _BATCH):
            batch = json.dumps(digests[start : start + _BATCH])
            reached = self._index.connection.execute(_SELECT_STILL_REACHED, (batch,)).fetchall()
            candidates.difference_update([digest for (digest,) in reached])

    def _read_needed_blobs(
        self, candidates: AbstractSet[str], unwritten: IndexDocument | None = None
    ) -> tuple[set[str], dict[str, str]]:
        """Return the candidates that entries reach, and the names of unreadable entries, by root.

        The entries are those of an `unwritten` index.json, else of the current one. The index is only derived, so
        nothing is removed before the documents that may mention it have been read.
        """
        find_entries = self._layout.find_entries if unwritten is None else unwritten.entries_of
        roots = (self._layout if unwritten is None else unwritten).list_digests()
        needed: set[str] = {
            digest for digest in candidates if digest.encode() in roots and find_entries(Digest(digest))
        }
        incomplete: dict[str, str] = {}
        for root in find_possible_users(self._index.connection, roots, candidates):
            entries = find_entries(Digest(root))
            if not entries or not self._may_contain(entries[-1].descriptor, candidates):
                continue
            unreadable: list[UnreadableDocument] = []
            for descriptor, document in self._index.documents.walk(entries[-1].descriptor, unreadable):
                needed.add(descriptor.digest)
                if isinstance(document, Manifest):
                    needed |= {document.config.digest, *(layer.digest for layer in document.layers)}
            if unreadable:
                incomplete[root] = str(entries[-1].name or entries[-1].descriptor.digest.short)
        return needed & candidates, incomplete

    def _may_contain(self, root: Descriptor, blobs: Iterable[str]) -> bool:
        """Whether a root may reach one of these blobs; True for an index, and for an unreadable document."""
        try:
            content = self._index.documents.read_document(root)
        except ImqError:
            return True
        return b'"manifests"' in content or may_mention(content, blobs)

    def _write_on_full_disk(self, candidates: AbstractSet[str]) -> str:
        """Write index.json on a full disk without a reserve; return its signature.

        First blobs of removed images are removed, then files that can be derived or fetched again. If there are none,
        the existing index.json is overwritten.
        """
        with suppress(StoreError):  # it may be another error. Example: a name is a directory
            if self._free_room(candidates):
                return self._layout.write_document(self._document, may_take_reserve=True)
        with suppress(StoreError):
            if self._index.remove_databases():
                return self._layout.write_document(self._document, may_take_reserve=True)
        return self._layout.overwrite_document(self._document)

    def _free_room(self, candidates: AbstractSet[str]) -> bool:
        """Remove the blobs of removed images before index.json is written; return whether any was removed.

        A full disk without a reserve has no space for a new index.json. If this process dies here, the images to remove
        are unreadable, and all other images are intact.
        """
        if not candidates:
            return False
        needed, incomplete = self._read_needed_blobs(candidates, self._document)
        if incomplete or self._index.find_incomplete_roots():
            return False
        return self._remove_blobs(candidates - needed).blobs > 0

    def _collect(self, unreached: set[str], protected: AbstractSet[str]) -> Collected:
        """Remove unreachable blobs except those that a live ingest protects."""
        count = len(unreached)
        unreached -= protected
        collected = self._remove_blobs(unreached)
        if len(unreached) == count:
            self._layout.ingest_directory.remove_file(SWEEP_MARK)
        return collected

    def _remove_blobs(self, digests: Iterable[str]) -> Collected:
        """Remove blobs; an index reaches manifests of platforms that were never pulled, and are not there."""
        from .bulk_unlink import remove_blobs

        with store_errors("remove blobs"):
            sizes = [size for size in remove_blobs(self._layout, sorted(digests)) if size is not None]
        return Collected(len(sizes), sum(sizes))


def _add_digests(entry: IndexEntry, digests: Iterable[Digest | None]) -> IndexEntry:
    """Return the entry with these further digests; the digest of its descriptor is not repeated."""
    present = {entry.digest, entry.descriptor.digest, *entry.other_digests}
    new = (digest for digest in digests if digest is not None and digest not in present)
    return entry.replace(other_digests=(*entry.other_digests, *dict.fromkeys(new)))


def _digests_of(entry: IndexEntry) -> list[Digest]:
    """Return the digests that the registry of the name has for its image."""
    return [digest for digest in (entry.digest, *entry.other_digests) if digest is not None]


def _is_same_repository(one: Name, other: Name) -> bool:
    return one.canonical_name == other.canonical_name
