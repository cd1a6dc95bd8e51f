"""The layers of the images of namespaces, for the index of files, from the content store."""

from __future__ import annotations

from imq.engine.sources.contents.protocol import plan_single_reads, read_each
from imq.engine.sources.layouts.contents import ListedContents
from imq.grammar.errors import NotFound
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.platform import Platform
    from imq.engine.query.source import ScanRequest
    from imq.engine.sources.contents.protocol import ImageLayers, LayerRead, ReadLayer
    from imq.engine.sources.layouts.content import LayerContent

    from .reader import ContainerdReader


class NamespaceContents(ListedContents):
    """The layers of the images of namespaces."""

    def __init__(self, reader: ContainerdReader, platform: Platform) -> None:
        super().__init__(reader, platform)
        self._reader = reader

    def list_places(self, request: ScanRequest) -> list[str]:
        """Return the namespaces of a request: `containerd:*` is all of them."""
        return list(dict.fromkeys(name for ref in request.refs for name in self._reader.expand(ref.text)))

    def plan_reads(self, images: Sequence[ImageLayers], missing: AbstractSet[Digest]) -> Iterator[LayerRead]:
        """Yield a read of each blob: namespaces share them."""

        def locate(image: ImageLayers, diff_id: Digest) -> tuple[Digest | None, int]:
            layer = _find_layer(image, diff_id)
            return layer.digest, layer.download_size or 0

        return plan_single_reads(self, images, missing, locate)

    def read_layers(self, image: ImageLayers, wanted: Sequence[Digest], read: ReadLayer) -> None:
        """Pass the blobs of the wanted layers to `read`."""

        def read_one(diff_id: Digest) -> None:
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

        read_each(wanted, read_one)


def _find_layer(image: ImageLayers, diff_id: Digest) -> LayerContent:
    layer: LayerContent = next(layer for layer in image.handle.layers if layer.diff_id == diff_id)
    return layer
