"""The layers of the images of namespaces, for the index of files, from the content store."""

from __future__ import annotations

from imq.engine.oci.digest import is_digest
from imq.engine.sources.contents.protocol import (
    ImageLayers,
    make_image_removed_error,
    plan_single_reads,
    read_each,
)
from imq.engine.sources.layouts.contents import ListedContents, make_image
from imq.grammar.errors import ImqError, Interrupted, NotFound
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from typing import Any

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.platform import Platform
    from imq.engine.query.source import ScanRequest
    from imq.engine.sources.contents.container_layer import ContainerLayer
    from imq.engine.sources.contents.protocol import LayerRead, ReadLayer
    from imq.engine.sources.layouts.content import LayerContent

    from .content import ContainerdImage
    from .reader import ContainerdReader
    from .uses import ContainerUse


class ContainerHandle(Record):
    """What the layers of a container are read by: its image, its use of it, and its changes."""

    image: ContainerdImage
    use: ContainerUse
    changes: ContainerLayer


class NamespaceContents(ListedContents):
    """The layers of the images of namespaces."""

    def __init__(self, reader: ContainerdReader, platform: Platform) -> None:
        super().__init__(reader, platform)
        self._reader = reader

    def list_places(self, request: ScanRequest) -> list[str]:
        """Return the namespaces of a request: `containerd:*` is all of them."""
        return list(dict.fromkeys(name for ref in request.refs for name in self._reader.expand(ref.text)))

    def look_up(self, id_: str, text: str) -> ImageLayers:
        """Return the image with an ID, or the container, whose ID is no digest."""
        if is_digest(id_):
            return super().look_up(id_, text)
        try:
            return self._read_container(id_, text)
        except Interrupted:
            raise
        except ImqError as error:
            return ImageLayers(id_, text, id_, None, (), problem=error)

    def _read_container(self, id_: str, text: str) -> ImageLayers:
        """Return a container: the layers of its image, with its changes on top. Raises `NotFound` and `EngineError`."""
        use = next((use for use in self._reader.read_containers(text) if use.record.id == id_), None)
        if use is None:
            raise NotFound(f"No such container: {id_}", code="no-such-container")
        if use.listed is None or use.image is None:
            raise make_image_removed_error(id_, "")
        base = make_image((use.listed,), use.image, id_, text)
        changes = self._reader.read_changes(text, use)
        handle = ContainerHandle(use.image, use, changes)
        diff_ids = (*base.diff_ids, changes.finish())
        return base.replace(id=id_, name=id_, diff_ids=diff_ids, handle=handle, is_container=True, digest=None)

    def read_config(self, image: ImageLayers) -> Mapping[str, Any]:
        """Return the config of an image, or of that of a container."""
        return super().read_config(image.replace(handle=image.handle.image) if image.is_container else image)

    def plan_reads(self, images: Sequence[ImageLayers], missing: AbstractSet[Digest]) -> Iterator[LayerRead]:
        """Yield a read of each blob: namespaces share them."""

        def locate(image: ImageLayers, diff_id: Digest) -> tuple[Hashable, int]:
            if image.is_container and diff_id == image.diff_ids[-1]:
                return image.id, image.handle.changes.size
            layer = _find_layer(image, diff_id)
            return layer.digest, layer.download_size or 0

        return plan_single_reads(self, images, missing, locate)

    def read_layers(self, image: ImageLayers, diff_ids: Sequence[Digest], read: ReadLayer) -> None:
        """Pass the blobs of layers to `read`."""

        def read_one(diff_id: Digest) -> None:
            if image.is_container and diff_id == image.diff_ids[-1]:
                read(diff_id, image.handle.changes.iter_chunks())
                return
            digest = _find_layer(image, diff_id).digest
            assert digest is not None
            try:
                read(diff_id, self._reader.read_blob(image.source, digest))
            except NotFound as error:
                raise NotFound(
                    f"the layer {digest} is not in {image.source}",
                    code="incomplete",
                    hints=("pull it again; nodes discard unpacked layers when discard_unpacked_layers is set",),
                ) from error

        read_each(diff_ids, read_one)


def _find_layer(image: ImageLayers, diff_id: Digest) -> LayerContent:
    content = image.handle.image if image.is_container else image.handle
    layer: LayerContent = next(layer for layer in content.layers if layer.diff_id == diff_id)
    return layer
