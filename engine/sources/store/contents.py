"""The layers of the images of the store, for the index of files."""

from __future__ import annotations

from contextlib import closing
from functools import partial

from imq.engine.oci.digest import Digest
from imq.engine.sources.contents.protocol import ImageLayers, plan_single_reads
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from typing import Any

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import ScanRequest
    from imq.engine.sources.contents.protocol import LayerRead, ReadLayer
    from imq.engine.store.store import Store
    from imq.grammar.errors import ImqError

_CHUNK_SIZE = 256 * 1024


class StoreContents:
    """The layers of the images of the store, whose rows have `source`. `problems` collects errors."""

    def __init__(self, store: Store, source: str, problems: list[tuple[str, str, ImqError]]) -> None:
        self._store = store
        self._source = source
        self._problems = problems

    def list_images(self, request: ScanRequest, names: Sequence[tuple[Raw, ...]]) -> Iterator[ImageLayers]:
        """Yield the images that are looked up by their IDs, and those of names."""
        for value, *source in names:
            if source:
                if source[0] == self._source:
                    yield from self._list_by_id(str(value), None)
            else:
                yield self._find(str(value))
        for target in request.targets:
            yield self._find(target)
        if not (names or request.targets or request.lookup_fields or request.has_target_queries):
            ids = self._store.index.connection.execute("SELECT DISTINCT id FROM image").fetchall()
            for (id_,) in ids:
                yield from self._list_by_id(id_, None)

    def _find(self, name: str) -> ImageLayers:
        image = self._store.find(name)
        return self._make(image.key, image.id, str(name), name)

    def _list_by_id(self, id_: str, name: str | None) -> Iterator[ImageLayers]:
        connection = self._store.index.connection
        row = connection.execute("SELECT key FROM image WHERE id = ? ORDER BY key LIMIT 1", (id_,)).fetchone()
        if row is None:
            return
        if name is None:
            named = connection.execute(
                "SELECT name FROM entry WHERE image = ? AND name IS NOT NULL ORDER BY name LIMIT 1", row
            ).fetchone()
            name = named[0] if named is not None else None
        yield self._make(row[0], id_, id_, name)

    def _make(self, key: int, id_: str, lookup: str, name: str | None) -> ImageLayers:
        rows = self._store.index.connection.execute(
            "SELECT digest, diff_id FROM layer WHERE image = ? ORDER BY position", (key,)
        ).fetchall()
        blobs = {Digest(diff_id): Digest(digest) for digest, diff_id in rows}
        (digest,) = self._store.index.connection.execute("SELECT manifest FROM image WHERE key = ?", (key,)).fetchone()
        diff_ids = tuple(Digest(diff_id) for _, diff_id in rows)
        return ImageLayers(lookup, self._source, id_, name, diff_ids, blobs, digest=digest)

    def plan_reads(self, images: Sequence[ImageLayers], missing: AbstractSet[Digest]) -> Iterator[LayerRead]:
        """Yield a read of each blob of a missing layer."""

        def locate(image: ImageLayers, diff_id: Digest) -> tuple[Digest, int]:
            blob = image.handle[diff_id]
            return blob, self._store.layout.blob_size(blob) or 0

        return plan_single_reads(self, images, missing, locate)

    def read_layers(self, image: ImageLayers, wanted: Sequence[Digest], read: ReadLayer) -> None:
        """Pass the blobs of the wanted layers to `read`."""
        for diff_id in wanted:
            with closing(self._store.open_verified(image.handle[diff_id])) as blob:
                read(diff_id, iter(partial(blob.read, _CHUNK_SIZE), b""))

    def read_config(self, image: ImageLayers) -> Mapping[str, Any]:
        """Return the config of an image."""
        from imq.engine.oci.config import Config

        config = Config.parse(self._store.read_document(Digest(image.id)), f"the config {image.id}")
        return config.document

    def add_problem(self, view: str, subject: str, error: ImqError) -> None:
        """Record that an image could not be read."""
        self._problems.append((view, subject, error))
