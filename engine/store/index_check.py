"""Compares what the index says about images with index.json and with the documents themselves.

The index is a file that a disk or another program can change. Queries are answered from it, but what is shown, copied
or renamed is found by the documents, whose digests are verified.
"""

from __future__ import annotations

from imq.engine.oci.manifest import Manifest
from imq.grammar.errors import NotFound, StoreError
from imq.grammar.record import TYPE_CHECKING

from .index import INDEX_MISMATCH

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.manifest import Descriptor, Index

    from .index import StoreIndex
    from .unreadable_images import UnreadableDocument


_MANY = 100
"""The number of images from which reading all of index.json is faster than finding each."""


def check_images(
    index: StoreIndex, images: Iterable[tuple[str | None, Digest, Digest]], *, reads_documents: bool
) -> None:
    """Raise `StoreError` (`INDEX_MISMATCH`) unless index.json has these images: the name, root and ID of each.

    With `reads_documents` the ID must also be that of an image of the root. Names are those of one entry each.
    """
    distinct: Collection[tuple[str | None, Digest, Digest]] = list(images)
    if not reads_documents and len(distinct) > _MANY:
        distinct = _leave_out_plain(index, distinct)
    distinct = dict.fromkeys(distinct)
    for name, root, id_ in distinct:
        entries = index.layout.find_entries(root)
        if not entries or (name is not None and all(str(entry.name) != name for entry in entries)):
            raise _mismatch(index, name or id_.short)
        if reads_documents and not (_is_no_image(index, root) if id_ == root else _has_image(index, root, id_)):
            raise _mismatch(index, name or id_.short)


def _leave_out_plain(
    index: StoreIndex, images: Collection[tuple[str | None, Digest, Digest]]
) -> list[tuple[str | None, Digest, Digest]]:
    """Return the images whose root and name the text of index.json does not show at once; see `find_plain`."""
    from .index_document import find_plain

    named: set[tuple[str, str]] = {(root, name) for name, root, _ in images if name is not None}
    unnamed: set[str] = {root for name, root, _ in images if name is None}
    for piece in index.layout.iter_text():
        shown = find_plain(piece)
        named.difference_update(shown)
        if unnamed:
            unnamed.difference_update([root for root, _ in shown])
    return [
        (name, root, id_) for name, root, id_ in images if (root in unnamed if name is None else (root, name) in named)
    ]


def check_name(index: StoreIndex, name: str) -> None:
    """Raise `StoreError` (`INDEX_MISMATCH`) when index.json has an image of this name, which the index has not."""
    entry = index.layout.find_named_entry(name)
    if entry is not None and not _is_no_image(index, entry.descriptor.digest):
        raise _mismatch(index, name)


def _is_no_image(index: StoreIndex, root: Digest) -> bool:
    """Whether a root that the index has no readable image of has none: it is an artifact, or unreadable."""
    unreadable: list[UnreadableDocument] = []
    manifests = [document for _, document in walk_documents(index, root, unreadable) if isinstance(document, Manifest)]
    is_image = any(manifest.is_image for manifest in manifests)
    return not is_image or bool(unreadable) or root in index.find_unreadable_roots()


def _has_image(index: StoreIndex, root: Digest, id_: Digest) -> bool:
    """Whether a root has an image with this ID; True when documents of it cannot be read: the readers report that."""
    unreadable: list[UnreadableDocument] = []
    found = any(
        id_ in (descriptor.digest, document.config.digest if isinstance(document, Manifest) else None)
        for descriptor, document in walk_documents(index, root, unreadable)
    )
    return found or bool(unreadable)


def _mismatch(index: StoreIndex, subject: str) -> StoreError:
    if not index.is_current:
        return NotFound(f"{subject} was changed by another process", code="changed", hints=("run the statement again",))
    return StoreError(
        f"the index of {index.layout.root} differs from its index.json: {subject} is another image there",
        code=INDEX_MISMATCH,
        hints=("imq reindex derives the index again",),
    )


def walk_documents(
    index: StoreIndex, root: Digest, unreadable: list[UnreadableDocument] | None = None
) -> Iterator[tuple[Descriptor, Manifest | Index]]:
    """Yield the readable manifests and indexes that an entry of index.json holds, each with its descriptor.

    Raises `NotFound` (`changed`) when index.json has no such entry any more.
    """
    entries = index.layout.find_entries(root)
    if not entries:
        raise NotFound(f"{root.short} was removed meanwhile", code="changed", hints=("run the statement again",))
    return index.documents.walk(entries[0].descriptor, unreadable)


def find_image(index: StoreIndex, root: Digest, id_: Digest) -> tuple[Descriptor, Manifest] | None:
    """Return the manifest of the image with this ID below a root, with its descriptor; None when there is none."""
    for descriptor, document in walk_documents(index, root):
        if isinstance(document, Manifest) and document.is_image and document.config.digest == id_:
            return descriptor, document
    return None


def make_holds(index: StoreIndex, root: Digest) -> Callable[[Descriptor], bool]:
    """Return a test whether the store holds an entry of the indexes below a root; its first call reads them."""
    held: set[Digest] = set()

    def holds(entry: Descriptor) -> bool:
        if not held:
            held.update(descriptor.digest for descriptor, _ in walk_documents(index, root))
        return entry.digest in held

    return holds
