"""The layers of the images of the store, for the index of files."""

from __future__ import annotations

import re
from contextlib import closing
from functools import partial

from imq.engine.oci.digest import Digest
from imq.engine.sources.contents.protocol import (
    ImageLayers,
    LayerPlace,
    make_image_removed_error,
    plan_single_reads,
)
from imq.grammar.errors import ImqError, Interrupted
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from sqlite3 import Connection
    from typing import Any

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import ScanRequest
    from imq.engine.sources.contents.container_layer import ContainerLayer
    from imq.engine.sources.contents.protocol import LayerRead, ReadLayer
    from imq.engine.store.store import Store

_CHUNK_SIZE = 256 * 1024
_CONTAINER_ID = re.compile(r"[0-9a-f]{64}\Z")


class StoreContents:
    """The layers of the images and the containers of the store, whose rows have `source`.

    `problems` collects errors, and `changes` the changes of containers that were read, by their IDs.
    """

    def __init__(
        self,
        store: Store,
        source: str,
        problems: list[tuple[str, str, ImqError]],
        changes: dict[str, ContainerLayer],
        environment: Mapping[str, str],
    ) -> None:
        self._store = store
        self._source = source
        self._problems = problems
        self._changes = changes
        self._environment = environment

    def list_images(self, request: ScanRequest, names: Sequence[tuple[Raw, ...]]) -> Iterator[ImageLayers]:
        """Yield the images that are looked up by their IDs, and those of names."""
        for value, *source in names:
            if source:
                if source[0] == self._source and _CONTAINER_ID.match(str(value)):
                    yield self._find_container(str(value))
                elif source[0] == self._source:
                    yield from self._list_by_id(str(value), None)
            else:
                yield self._find(str(value))
        for target in request.targets:
            yield self._find(target)
        if not (names or request.targets or request.lookup_fields or request.has_target_queries):
            ids = self._store.index.connection.execute("SELECT DISTINCT id FROM image").fetchall()
            for (id_,) in ids:
                yield from self._list_by_id(id_, None)

    def _find_container(self, id_: str) -> ImageLayers:
        """Return a container: the layers of its image, with its changes on top, or why they cannot be read."""
        try:
            return self._read_container(id_)
        except Interrupted:
            raise
        except ImqError as error:
            return ImageLayers(id_, self._source, id_, None, (), problem=error)

    def _read_container(self, id_: str) -> ImageLayers:
        from imq.engine.containers.factory import make_containers
        from imq.engine.sources.contents.container_layer import ContainerLayer

        containers = make_containers(self._store, "", self._environment)
        container = containers.read(id_)
        base = next(self._list_by_id(str(container.document["Image"]), None), None)
        if base is None:
            raise make_image_removed_error(container.name, "store")
        changes = self._changes.get(id_)
        if changes is None:
            changes = ContainerLayer(self._environment)
            with containers.open_changes(container, pause=False) as pieces:
                for piece in pieces:
                    changes.write(piece)
            self._changes[id_] = changes
        diff_id = changes.finish()
        handle = {**base.handle, diff_id: changes}
        diff_ids = (*base.diff_ids, diff_id)
        return base.replace(
            lookup=id_, id=id_, name=container.name, diff_ids=diff_ids, handle=handle, digest=None, is_container=True
        )

    def _find(self, name: str) -> ImageLayers:
        image = self._store.find(name)
        return self._make(self._store.index.connection, image.key, image.id, str(name), name)

    def _list_by_id(self, id_: str, name: str | None) -> Iterator[ImageLayers]:
        connection = self._store.index.connection  # once, since it is checked each time
        row = connection.execute("SELECT key FROM image WHERE id = ? ORDER BY key LIMIT 1", (id_,)).fetchone()
        if row is None:
            return
        if name is None:
            named = connection.execute(
                "SELECT name FROM entry WHERE image = ? AND name IS NOT NULL ORDER BY name LIMIT 1", row
            ).fetchone()
            name = named[0] if named is not None else None
        yield self._make(connection, row[0], id_, id_, name)

    def _make(self, connection: Connection, key: int, id_: str, lookup: str, name: str | None) -> ImageLayers:
        rows = connection.execute(
            "SELECT digest, diff_id FROM layer WHERE image = ? ORDER BY position", (key,)
        ).fetchall()
        blobs = {Digest(diff_id): Digest(digest) for digest, diff_id in rows}
        (digest,) = connection.execute("SELECT manifest FROM image WHERE key = ?", (key,)).fetchone()
        diff_ids = tuple(Digest(diff_id) for _, diff_id in rows)
        return ImageLayers(lookup, self._source, id_, name, diff_ids, blobs, digest=digest)

    def plan_reads(self, images: Sequence[ImageLayers], missing: AbstractSet[Digest]) -> Iterator[LayerRead]:
        """Yield a read of each blob of a missing layer."""

        def locate(image: ImageLayers, diff_id: Digest) -> tuple[Hashable, int]:
            blob = image.handle[diff_id]
            if not isinstance(blob, str):
                return blob, blob.size
            return blob, self._store.layout.blob_size(Digest(blob)) or 0

        return plan_single_reads(self, images, missing, locate, self._find_place)

    def _find_place(self, image: ImageLayers, diff_id: Digest) -> LayerPlace | None:
        """Return the file of a blob; None for the changes of a container."""
        blob = image.handle[diff_id]
        if not isinstance(blob, str):
            return None
        digest = Digest(blob)
        from imq.engine.oci.manifest import Descriptor
        from imq.engine.units.urls import make_file_url

        descriptor = Descriptor("", digest, self._store.layout.blob_size(digest) or 0)
        return LayerPlace(descriptor, (make_file_url(self._store.layout.get_blob_path(digest)),))

    def read_layers(self, image: ImageLayers, diff_ids: Sequence[Digest], read: ReadLayer) -> None:
        """Pass the blobs of layers to `read`, and the changes of a container."""
        for diff_id in diff_ids:
            place = image.handle[diff_id]
            if not isinstance(place, str):
                read(diff_id, place.iter_chunks())
                continue
            with closing(self._store.open_verified(Digest(place))) as blob:
                read(diff_id, iter(partial(blob.read, _CHUNK_SIZE), b""))

    def read_config(self, image: ImageLayers) -> Mapping[str, Any]:
        """Return the config of an image."""
        from imq.engine.oci.config import Config

        id_ = self._read_image_id(image.id) if image.is_container else image.id
        return Config.parse(self._store.read_document(Digest(id_)), f"the config {id_}").document

    def _read_image_id(self, container: str) -> str:
        from imq.engine.containers.factory import make_containers

        return str(make_containers(self._store, "", self._environment).read(container).document["Image"])

    def add_problem(self, view: str, subject: str, error: ImqError) -> None:
        """Record that an image could not be read."""
        self._problems.append((view, subject, error))
