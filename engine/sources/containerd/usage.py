"""The table `usage` of namespaces: unpacked images, the content store, and what containers wrote."""

from __future__ import annotations

from imq.engine.sources.scan_rows import ScanRows
from imq.grammar.errors import ImqError, NotFound
from imq.grammar.record import TYPE_CHECKING

from .blobs import read_references
from .containers import list_sources

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import FetchRequest, ScanRequest

    from .content import ContainerdImage, NamespaceRows
    from .reader import ContainerdReader
    from .uses import ContainerUse


class Usage(ScanRows):
    """The rows of `usage`. A size is unknown when containerd does not report all of its parts."""

    columns = ("source", "type", "total", "active", "size", "reclaimable")

    def __init__(self, reader: ContainerdReader, request: ScanRequest) -> None:
        super().__init__(reader.connection, request)
        self._reader = reader

    def list_rows(self, _names: Sequence[tuple[Raw, ...]], /) -> None:
        """List the types of each namespace."""
        self.create({})
        for source, uses in list_sources(self._reader, self.scan):
            try:
                self.insert((source, *row, None) for row in self._measure(source, uses))
            except ImqError as error:
                if len(self.scan.refs) == 1:
                    raise
                self._reader.add_problem(self.scan.view, source, error)

    def fetch(self, _request: FetchRequest, /) -> None:
        """Fetch nothing: the rows are listed whole."""

    def _measure(self, source: str, uses: Sequence[ContainerUse]) -> Iterator[tuple[Raw, ...]]:
        rows = self._reader.read(source)
        used = {id_ for use in uses for id_ in use.used_ids}
        images = {image.id: image for listed in rows.list_targets() for image in listed.images}
        size = _measure_layers(rows, list(images.values()))  # type: ignore[arg-type] # images of containerd
        needed = _measure_layers(rows, [image for id_, image in images.items() if id_ in used])  # type: ignore[misc]
        free = None if size is None or needed is None else size - needed
        yield "Images", len(images), len(used & images.keys()), size, free
        written = [(use, self._measure_container(source, use)) for use in uses]
        size = _add(one for _, one in written)
        free = _add(one for use, one in written if not use.is_running)
        yield "Containers", len(uses), sum(use.is_running for use in uses), size, free
        yield self._measure_content(source, uses)

    def _measure_container(self, source: str, use: ContainerUse) -> int | None:
        record = use.record
        if not record.snapshotter or not record.snapshot_key:
            return 0
        namespace = self._reader.get_namespace(source)
        try:
            return self._reader.client.get_snapshot_size(namespace, record.snapshotter, record.snapshot_key)
        except NotFound:
            return None

    def _measure_content(self, source: str, uses: Sequence[ContainerUse]) -> tuple[Raw, ...]:
        """Return the row of the content store: blobs that images of containers need are active."""
        used = {str(digest) for use in uses for digest in use.used}
        references, sizes, _ = read_references(self._reader, source, by_digest=True)
        blobs = list(references.make_blobs(sizes.items()))
        active = [size for _, size, _, images in blobs if used & set(images)]
        total = sum(sizes.values())
        return "Content", len(blobs), len(active), total, total - sum(active)


def _measure_layers(rows: NamespaceRows, images: Sequence[ContainerdImage]) -> int | None:
    """Return the bytes of the snapshots of the layers of images, each once; images that are not unpacked have none."""
    layers = {layer.diff_id for image in images if image.is_unpacked for layer in image.layers}
    return _add(rows.get_layer_sizes(layers))


def _add(sizes: Iterator[int | None] | Sequence[int | None]) -> int | None:
    known = list(sizes)
    return None if None in known else sum(size or 0 for size in known)
