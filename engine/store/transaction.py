"""Changing what the store's names mean: one locked reading, editing and writing of index.json.

When a block of `Change` ends well, index.json is replaced (that is the moment of the change), the index follows, and
blobs that nothing reaches any more are removed. When it raises, nothing has changed.
"""

from __future__ import annotations

import json
import re

from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Index, Manifest
from imq.engine.oci.reference import Reference
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING, Record

from . import partial_blobs
from .atomic_files import told
from .bulk_unlink import remove_blobs
from .layout import EVERY, HOLDS, Entry, holding, unknown_type, wrong_diff_id
from .leases import SWEEP_MARK, is_sweep_marked, mark_sweep, reap
from .unreadable_images import nothing_collected

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from collections.abc import Set as AbstractSet
    from contextlib import AbstractContextManager
    from typing import Self

    from imq.engine.oci.manifest import Descriptor
    from imq.engine.oci.reference import Name

    from .index import Content, StoreIndex
    from .layout import Layout
    from .unreadable_images import Unreadable

_HEX_DIGITS = re.compile(rb"[0-9a-f]{64,}")
"""What a digest has after its algorithm, in the text of a document."""
_REACHED = "SELECT digest FROM reach WHERE root = ?"
_LOST = "SELECT DISTINCT reach.digest FROM json_each(?) CROSS JOIN reach ON reach.root = value"
_UNREACHED = """
SELECT value FROM json_each(?)
WHERE NOT EXISTS (SELECT 1 FROM descriptor JOIN reaching ON reaching.blob = descriptor.key WHERE digest = value)
"""


class Freed(Record):
    """What a change removed from the disk: blobs, and what was left of transfers that broke off. Bytes of both."""

    blobs: tuple[Digest, ...]
    size: int
    begun: int = 0


class Change:
    """An edit of the store's entries; used as a context."""

    def __init__(self, layout: Layout, index: StoreIndex, contents: Iterable[Content] = ()) -> None:
        self._layout = layout
        self._index = index
        self._contents = contents
        self._lock: AbstractContextManager[int] | None = None
        self._memory = index.remembering()
        self._entries: dict[int, Entry] = {}
        self._named: dict[str, int] = {}
        self._rooted: dict[Digest, set[int]] = {}
        self._next = 0
        self._edited = False
        self._adds = False
        """Whether it names or keeps anything, rather than makes room only."""
        self.thorough = False
        """Set to look for what dead or failed processes left, too: whole blobs, and those that nobody goes on with."""
        self._before: frozenset[Digest] = frozenset()
        self.withheld: ImqError | None = None
        """Why no blob was removed, though some may be needed no more."""
        self._shrunk: set[Digest] = set()
        self.freed = Freed((), 0)

    def __enter__(self) -> Self:
        """Take the store's lock and read the entries."""
        with told("lock the store"):
            self._lock = self._layout.locked()
            self._lock.__enter__()
        self._memory.__enter__()
        self._index.is_locked = True
        try:
            entries = self._layout.read()
            if not self._index.current:  # it was before the lock came
                self._index.refresh(entries)
            for entry in entries:
                self._add(entry)
            self._before = frozenset(self._rooted)
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Write, follow, collect, and give the lock back."""
        try:
            if kind is None:
                self._finish()
        finally:
            self._leave()

    def _leave(self) -> None:
        assert self._lock is not None
        self._index.is_locked = False
        self._memory.__exit__(None, None, None)
        self._lock.__exit__(None, None, None)

    def _finish(self) -> None:
        with told("prepare the change"):
            protected = reap(self._layout)
        suspects: frozenset[Digest] = frozenset()
        thorough = self.thorough
        if self._edited or not self._layout.has_index():
            suspects = self._losing()
            if suspects:
                # what one that cannot be read had is not known: all blobs are looked at
                thorough = thorough or is_sweep_marked(self._layout) or self._loses_any(self._index.hiding_blobs())
                with told("prepare the change"):  # should this process die before they are gone, the next one knows
                    mark_sweep(self._layout)
            entries = list(self._entries.values())
            self._layout.write(entries, may_take_reserve=not self._adds)
            self._index.refresh(entries, self._contents)
        elif self._contents:
            self._index.measured(self._contents)
        if thorough:
            suspects |= self._all_blobs()
        if suspects or thorough:
            self._index.retry()
            free = self._unreached(suspects)
            hiding = self._index.hiding_blobs()  # any blob may be theirs
            if free and not hiding:
                needed, hiding = self._needed(free)
                if needed:  # the index says something else than the documents
                    self._index.rebuild()
                free -= needed
            if hiding:
                self.withheld = nothing_collected(hiding.values())
                with told("prepare the change"):
                    mark_sweep(self._layout)
            else:
                self.freed = self._collect(free, protected)
        if self.thorough:
            with told("remove what transfers left"):
                begun = partial_blobs.drop(self._layout, everything=True)
            self.freed = self.freed.replace(begun=begun)
        self._layout.keep_reserve()  # on a full disk there is room for it only now

    # Reading

    def named(self, name: Name | str) -> Entry | None:
        """Return the entry of this name."""
        key = self._named.get(str(name))
        return None if key is None else self._entries[key]

    def of(self, root: Digest) -> Iterator[Entry]:
        """Yield the entries whose descriptor names `root`."""
        for key in sorted(self._rooted.get(root, ())):
            yield self._entries[key]

    def means(self, entry: Entry, id_: Digest | None) -> bool:
        """Whether an entry names the image of this id; None: whether it names none that can be read."""
        root = entry.descriptor.digest
        if id_ is None:
            return not self._index.shows(root)
        found = self._index.connection.execute("SELECT 1 FROM images WHERE _root = ? AND id = ?", (root, id_))
        return found.fetchone() is not None

    # Editing

    def name(self, name: Name, descriptor: Descriptor, digest: Digest | None, now: int) -> bool:
        """Let `name` mean `descriptor`; return whether that changed anything.

        An image that loses the name keeps its digest name when it came from a registry, as in docker, else it stays
        without a name.
        """
        digest = digest or name.digest
        held = self.named(name)
        if held is not None and held.descriptor.digest == descriptor.digest and held.digest == digest:
            self._edited |= self._unseen(descriptor)
            return False
        self._check(descriptor)
        if held is not None:
            self._release(held, descriptor)
        new = Entry(descriptor, name, digest, now)
        for entry in list(self.of(descriptor.digest)):
            if entry.name is None:
                self._drop(entry)
            elif entry.name.tag is None and _same_repository(entry.name, name):
                self._drop(entry)
                new = _with_digests(new, (entry.digest, *entry.other_digests))
        self._add(new)
        self._edited = self._adds = True
        return True

    def name_by_digest(self, name: Reference, descriptor: Descriptor, digest: Digest, now: int) -> bool:
        """Let a name with a digest mean `descriptor`; return whether that changed anything.

        A name that the image has in this repository already is known by the digest then: docker, too, shows one row.
        """
        named = [entry for entry in self.of(descriptor.digest) if entry.name and _same_repository(entry.name, name)]
        if not named:
            return self.name(name, descriptor, digest, now)
        self._edited |= self._unseen(descriptor)
        if any(digest in (entry.digest, *entry.other_digests) for entry in named):
            return False
        entry = named[0]
        known = entry.replace(digest=digest) if entry.digest is None else _with_digests(entry, (digest,))
        if known == entry:
            return False
        self._drop(entry)
        self._add(known)
        self._edited = self._adds = True
        return True

    def hold(self, index: Descriptor, manifests: frozenset[Digest] | None) -> tuple[Descriptor, bool]:
        """Say that these manifests of an index are held, beside those that were before; None: all that it names.

        Returns the descriptor of the index to give names to, and whether that changed anything for names it has.
        """
        entries = list(self.of(index.digest))
        if entries and manifests is not None:
            said = entries[0].descriptor.annotations.get(HOLDS)
            if said is None:  # another tool brought it
                manifests |= self._held(entries[0].descriptor) - {index.digest}
            else:
                manifests = None if said == EVERY else manifests | {Digest(digest) for digest in said.split()}
        wanted = holding(index, manifests)
        differing = [entry for entry in entries if entry.descriptor.annotations.get(HOLDS) != wanted.annotations[HOLDS]]
        if differing:
            self._check(wanted, grown=True)
        for entry in differing:
            self._drop(entry)
            self._add(entry.replace(descriptor=holding(entry.descriptor, manifests)))
            self._edited = self._adds = True
        return wanted, bool(differing)

    def keep(self, descriptor: Descriptor, now: int) -> bool:
        """Keep an image without a name; return whether it was not there."""
        if self._rooted.get(descriptor.digest):
            self._edited |= self._unseen(descriptor)
            return False
        self._check(descriptor)
        self._add(Entry(descriptor, None, None, now))
        self._edited = self._adds = True
        return True

    def untag(self, entry: Entry) -> None:
        """Take a name away; the image stays, without a name if it was the last."""
        self._drop(entry)
        if not self._rooted.get(entry.descriptor.digest):
            self._add(entry.replace(name=None, digest=None))
        self._edited = True

    def remove(self, entry: Entry) -> None:
        """Take an entry away, and with the last entry of an image the image."""
        self._drop(entry)
        self._edited = True

    def let_go(self, root: Digest, manifest: Digest) -> bool:
        """Hold one image of an index no longer, nor what is said about it there; False when it is not held alone.

        The index stays as it is, and with it its names: `hold` is the way back.
        """
        entries = list(self.of(root))
        found = list(self._index.walk(entries[0].descriptor)) if entries else []
        named = [child for _, document in found if isinstance(document, Index) for child in document.manifests]
        gone = {child.digest for child in named if child.annotations.get(media_types.REFERENCE_DIGEST) == manifest}
        left = frozenset(self._held(entries[0].descriptor) if entries else ()) - gone - {root, manifest}
        if not any(isinstance(document, Manifest) and descriptor.digest in left for descriptor, document in found):
            return False
        if manifest not in {descriptor.digest for descriptor, _ in found}:
            return False
        for entry in entries:
            self._drop(entry)
            self._add(entry.replace(descriptor=holding(entry.descriptor, left)))
        self._shrunk.add(root)
        self._edited = True
        return True

    def _held(self, root: Descriptor) -> set[Digest]:
        """Return the documents that a descriptor of index.json holds, those that cannot be read now too."""
        unread: list[Unreadable] = []
        found = {descriptor.digest for descriptor, _ in self._index.walk(root, unread)}
        return found | {one.document.digest for one in unread if not one.is_absent}

    def _unseen(self, root: Descriptor) -> bool:
        """Whether the index does not know all of what a descriptor reaches: what was missing of it may be here now."""
        shown = self._index.shows(root.digest)
        if shown and root.media_type not in media_types.INDEXES:
            return False
        reached = {row[0] for row in self._index.connection.execute(_REACHED, (root.digest,))}
        found = [document for _, document in self._index.walk(root) if isinstance(document, Manifest)]
        unseen = any(
            (document.is_image and not shown)
            or {document.config.digest, *(layer.digest for layer in document.layers)} - reached
            for document in found
        )
        if shown and unseen:
            self._index.look_again(root.digest)
            return False
        return unseen or not found

    def _check(self, root: Descriptor, *, grown: bool = False) -> None:
        """Refuse a new image with a layer of an unknown type, or one known to unpack to what its config does not say.

        A layer that is stored already is not looked at again on its way in, so these are found here.
        """
        if self._rooted.get(root.digest) and not grown:
            return
        for _, document in self._index.walk(root):
            if not isinstance(document, Manifest) or not document.is_image:
                continue
            diff_ids = self._index.config(document.config).diff_ids
            for layer, diff_id in zip(document.layers, diff_ids, strict=False):
                if not media_types.is_layer(layer.media_type):
                    raise unknown_type(layer)
                known = self._index.diff_id(layer.digest)
                if known is not None and known != diff_id:
                    raise wrong_diff_id(layer.digest, known, diff_id, "nothing of it was kept")

    def _release(self, entry: Entry, successor: Descriptor) -> None:
        """Take the name of an entry for another image, or for an index that has the image too."""
        self._drop(entry)
        if any(found.digest == entry.descriptor.digest for found, _ in self._index.walk(successor)):
            return
        if any(other.name is not None for other in self.of(entry.descriptor.digest)):
            return
        if entry.digest is not None and isinstance(entry.name, Reference):
            by_digest = entry.name.replace(tag=None, digest=entry.digest)
            if self.named(by_digest) is None:
                self._add(entry.replace(name=by_digest))
                return
        if not self._rooted.get(entry.descriptor.digest):
            self._add(entry.replace(name=None, digest=None))

    def _add(self, entry: Entry) -> None:
        key = self._next
        self._next += 1
        self._entries[key] = entry
        self._rooted.setdefault(entry.descriptor.digest, set()).add(key)
        if entry.name is not None:
            self._named.setdefault(str(entry.name), key)

    def _drop(self, entry: Entry) -> None:
        for key in self._rooted.get(entry.descriptor.digest, ()):
            if self._entries[key] == entry:
                self._rooted[entry.descriptor.digest].discard(key)
                del self._entries[key]
                if entry.name is not None and self._named.get(str(entry.name)) == key:
                    del self._named[str(entry.name)]
                return

    # Collection

    def _losing(self) -> frozenset[Digest]:
        """Return the blobs of images that this change takes out of index.json, and of indexes that hold fewer now."""
        lost = json.dumps([root for root in self._before if not self._rooted.get(root) or root in self._shrunk])
        return frozenset(Digest(digest) for (digest,) in self._index.connection.execute(_LOST, (lost,)))

    def _loses_any(self, roots: Iterable[str]) -> bool:
        """Whether this change takes one of these descriptors out of index.json."""
        return any(root in self._before and not self._rooted.get(Digest(root)) for root in roots)

    def _all_blobs(self) -> frozenset[Digest]:
        with told("look for blobs"):
            return frozenset(digest for digest, _ in self._layout.blob_sizes())

    def _unreached(self, suspects: Iterable[Digest]) -> set[Digest]:
        """Return those of the suspected blobs that no entry reaches, as the index knows it."""
        rows = self._index.connection.execute(_UNREACHED, (json.dumps(sorted(suspects)),))
        return {Digest(digest) for (digest,) in rows}

    def _needed(self, suspects: AbstractSet[Digest]) -> tuple[set[Digest], dict[str, str]]:
        """Return those of the suspected blobs that entries reach, and the entries that cannot be read.

        The index is only derived, so nothing is removed before the documents themselves are read. Most of them name
        none of the suspects, which their text shows without parsing.
        """
        needed: set[Digest] = set()
        hiding: dict[str, str] = {}
        hexes = {digest.hex.encode() for digest in suspects}
        for entry in {entry.descriptor.digest: entry for entry in self._entries.values()}.values():
            needed.add(entry.descriptor.digest)
            if not self._may_name(entry.descriptor, hexes):
                continue
            unread: list[Unreadable] = []
            for descriptor, document in self._index.walk(entry.descriptor, unread):
                needed.add(descriptor.digest)
                if isinstance(document, Manifest):
                    needed |= {document.config.digest, *(layer.digest for layer in document.layers)}
            if unread:
                hiding[entry.descriptor.digest] = str(entry.name or entry.descriptor.digest.short)
        return needed & suspects, hiding

    def _may_name(self, root: Descriptor, hexes: AbstractSet[bytes]) -> bool:
        """Whether what a descriptor reaches may have one of these digests; an index may, and what cannot be read."""
        try:
            text = self._index.document(root).lower()
        except ImqError:
            return True
        return b"\\" in text or b'"manifests"' in text or not hexes.isdisjoint(_HEX_DIGITS.findall(text))

    def _collect(self, unreached: set[Digest], protected: frozenset[Digest]) -> Freed:
        """Remove blobs that no entry reaches, but for those that a living ingest protects."""
        free = sorted(unreached - protected)
        with told("remove blobs"):
            sizes = remove_blobs(self._layout, free)
        # an index reaches platforms that never came
        gone = tuple(digest for digest, size in zip(free, sizes, strict=True) if size is not None)
        kept = len(free) < len(unreached)
        if not kept:
            self._layout.ingest.remove_file(SWEEP_MARK)
        return Freed(gone, sum(size or 0 for size in sizes))


def _with_digests(entry: Entry, digests: Iterable[Digest | None]) -> Entry:
    """Return an entry that is known by these digests, too; that of its descriptor finds it anyway."""
    known = {entry.digest, entry.descriptor.digest, *entry.other_digests}
    new = (digest for digest in digests if digest is not None and digest not in known)
    return entry.replace(other_digests=(*entry.other_digests, *dict.fromkeys(new)))


def _same_repository(one: Name, other: Name) -> bool:
    return one.canonical_name == other.canonical_name
