"""The rows of `reclaim` of namespaces: blobs and snapshots that no other image of the namespace has."""

from __future__ import annotations

from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Index
from imq.engine.sources.reclaim import USED_IMAGE, ReclaimScan
from imq.grammar.errors import ImqError, NotFound
from imq.grammar.record import TYPE_CHECKING

from .content import ContainerdImage, name_of_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import ScanRequest

    from .content import ContainerdRecords, NamespaceRows
    from .reader import ContainerdReader

_PINNED = "the image is pinned"


class NamespaceReclaim(ReclaimScan):
    """The rows of `reclaim` of namespaces. Images that containers use or the kubelet has pinned stay."""

    def __init__(self, reader: ContainerdReader, request: ScanRequest) -> None:
        super().__init__(reader.connection, request)
        self._reader = reader
        self.places = tuple(dict.fromkeys(name for ref in request.refs for name in reader.expand(ref.text)))

    def measure_place(self, place: str, requested: Sequence[tuple[Raw, Raw]] | None) -> None:
        """Insert the rows for these IDs and names. The error of the only namespace is raised."""
        try:
            self._measure(place, requested)
        except ImqError as error:
            if len(self.places) == 1:
                raise
            self._reader.add_problem(self.scan.view, place, error)

    def _measure(self, place: str, requested: Sequence[tuple[Raw, Raw]] | None) -> None:
        rows = self._reader.read(place)
        targets = {str(listed.descriptor.digest): listed for listed in rows.list_targets()}
        ids = {id_: min(listed.ids) for listed in targets.values() for id_ in listed.ids}
        if requested is not None:  # an index goes with all its images
            requested = [(ids.get(Digest(str(id_)), id_), name) for id_, name in requested]
        removed = set(self.choose(lambda: _list_names(targets.values()), requested))
        notes = {digest: _PINNED for digest in removed if targets[digest].is_pinned}
        for use in self._reader.read_containers(place):
            notes |= dict.fromkeys((str(digest) for digest in use.used), USED_IMAGE)
        self.keep(notes)
        if removed - notes.keys():
            self.add_parts(self._list_parts(place, rows, removed - notes.keys()))
        self.add_rows(place, notes)

    def _list_parts(self, place: str, rows: NamespaceRows, removed: set[str]) -> Iterator[tuple[Raw, ...]]:
        """Yield the blobs and snapshots of all images, with the sizes of the snapshots of those that go."""
        namespace = self._reader.get_namespace(place)
        reader = self._reader.make_namespace_reader(namespace)
        sizes: dict[str, int | None] = {}
        for listed in rows.list_targets():
            target = str(listed.descriptor.digest)
            digests = [listed.descriptor.digest]
            for _, document in reader.walk(listed.descriptor):
                entries = document.manifests if isinstance(document, Index) else (document.config, *document.layers)
                digests += [entry.digest for entry in entries]
            yield from ((target, str(one), reader.blobs[one].size) for one in digests if one in reader.blobs)
            for image in listed.images:
                if not (isinstance(image, ContainerdImage) and image.is_unpacked):
                    continue
                for path in dict.fromkeys(layer.path for layer in image.layers):
                    if target in removed and path not in sizes:
                        sizes[path] = self._measure_snapshot(namespace, path)
                    yield target, path, sizes.get(path)

    def _measure_snapshot(self, namespace: str, path: str) -> int | None:
        snapshotter, _, chain_id = path.partition("/")
        try:
            return self._reader.client.get_snapshot_size(namespace, snapshotter, chain_id)
        except NotFound:
            return None


def _list_names(targets: Iterable[ContainerdRecords]) -> Iterator[tuple[Raw, ...]]:
    """Yield the names of all images of a namespace: the names that its records show."""
    for listed in targets:
        shown = {str(name): name for name in listed.names}
        names = [name for record in listed.records if (name := name_of_record(record.name)) is not None]
        hidden = {str(name): name for name in names if str(name) not in shown}
        digest, id_ = str(listed.descriptor.digest), min(listed.ids, default=None)
        for name in (*shown.values(), *hidden.values()):
            yield digest, id_, str(name), name.registry, name.familiar_name, name.tag
        if not shown:
            yield digest, id_, None, None, None, None
