"""Walks of the manifests and indexes below a descriptor, all with one limit on indexes within indexes.

Pull, push, copy, save, load, verification and the store's index use this walk. Whatever one of them accepts, the others
accept too. The depth of a document is the length of the shortest path to it.
"""

from __future__ import annotations

from imq.grammar.errors import ImqError, Malformed
from imq.grammar.record import TYPE_CHECKING, Record

from .manifest import Descriptor, Index, Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .digest import Digest

    Document = Manifest | Index

MAX_INDEX_DEPTH = 8
"""The maximum number of indexes on the way to a manifest: an index of images counts as one."""


class IndexDepthError(Malformed):
    """An index is nested in more indexes than `MAX_INDEX_DEPTH` allows."""

    code = "document"

    def __init__(self, index: Descriptor) -> None:
        super().__init__(
            f"the index {index.digest} is nested too deep: at most {MAX_INDEX_DEPTH} levels of indexes are allowed",
            hints=("push the images with an index of their own",),
        )


class ManifestNode(Record):
    """A document of a walk: its descriptor and its parsed content."""

    descriptor: Descriptor
    document: Document


class ManifestTree:
    """The documents below one descriptor, each digest once. `nodes` has them by digest, nearest to the root first."""

    def __init__(self, root: Descriptor, nodes: dict[Digest, ManifestNode]) -> None:
        self.root = root
        self.nodes = nodes

    def top_down(self) -> Iterator[ManifestNode]:
        """Yield each index before its entries, entries in order."""
        seen: set[Digest] = set()
        pending = [self.root.digest]
        while pending:
            node = self.nodes.get(pending.pop())
            if node is None or node.descriptor.digest in seen:
                continue
            seen.add(node.descriptor.digest)
            yield node
            pending += [entry.digest for entry in reversed(_entries_of(node.document))]

    def bottom_up(self) -> Iterator[ManifestNode]:
        """Yield each index after its entries, entries in order: registries require this order."""
        seen: set[Digest] = set()
        pending = [(self.root.digest, False)]
        while pending:
            digest, has_entries_done = pending.pop()
            node = self.nodes.get(digest)
            if node is None:
                continue
            if has_entries_done:
                yield node
            elif digest not in seen:
                seen.add(digest)
                pending.append((digest, True))
                pending += [(entry.digest, False) for entry in reversed(_entries_of(node.document))]


def read_manifest_tree(
    root: Descriptor,
    read: Callable[[Descriptor], Document],
    *,
    descends: Callable[[Descriptor], bool] | None = None,
    prefetch: Callable[[Sequence[Descriptor]], None] | None = None,
    on_error: Callable[[Descriptor, ImqError], None] | None = None,
) -> ManifestTree:
    """Read a manifest, or an index and all documents below it.

    `descends` selects the entries of indexes to read, by default all. `prefetch` gets the descriptors of each level
    before `read` is called for them. `on_error` gets the errors of `read` and `IndexDepthError`; the walk then
    continues without the document. Without `on_error` the first error is raised.
    """
    nodes: dict[Digest, ManifestNode] = {}
    failed: set[Digest] = set()
    level = {root.digest: root}
    for depth in range(MAX_INDEX_DEPTH + 1):
        if prefetch is not None:
            prefetch(list(level.values()))
        entries: dict[Digest, Descriptor] = {}
        for descriptor in level.values():
            try:
                document = read(descriptor)
                nodes[descriptor.digest] = ManifestNode(descriptor, document)
                if isinstance(document, Index):
                    check_index_depth(descriptor, depth)
            except ImqError as error:
                if on_error is None:
                    raise
                on_error(descriptor, error)
                failed.add(descriptor.digest)
                continue
            for entry in _entries_of(document):
                if descends is None or descends(entry):
                    entries.setdefault(entry.digest, entry)
        level = {digest: entry for digest, entry in entries.items() if digest not in nodes and digest not in failed}
        if not level:
            break
    return ManifestTree(root, nodes)


def read_path(
    root: Descriptor, read: Callable[[Descriptor], Document], select: Callable[[Index], Descriptor]
) -> list[ManifestNode]:
    """Return the indexes from `root` to one manifest and the manifest; `select` chooses an entry of each index."""
    path = [ManifestNode(root, read(root))]
    while isinstance(index := path[-1].document, Index):
        check_index_depth(path[-1].descriptor, len(path) - 1)
        entry = select(index)
        path.append(ManifestNode(entry, read(entry)))
    return path


def check_index_depth(index: Descriptor, depth: int) -> None:
    """Raise `IndexDepthError` for an index nested in `depth` others when that is too deep."""
    if depth >= MAX_INDEX_DEPTH:
        raise IndexDepthError(index)


def _entries_of(document: Document) -> tuple[Descriptor, ...]:
    return document.manifests if isinstance(document, Index) else ()
