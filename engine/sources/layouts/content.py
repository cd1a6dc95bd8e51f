"""The content of a place on disk: its images, with their documents, and the names under which it lists them."""

from __future__ import annotations

from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imq.engine.oci.config import Config
    from imq.engine.oci.digest import Digest
    from imq.engine.oci.manifest import Descriptor
    from imq.engine.oci.platform import Platform
    from imq.engine.oci.reference import Name
    from imq.grammar.errors import ImqError


class LayerContent(Record):
    """One layer of an image.

    `file` is its file in the place, compressed or not; `path` is the same if that is an uncompressed archive, else "".
    """

    diff_id: Digest
    digest: Digest | None
    download_size: int | None
    media_type: str | None = None
    path: str = ""
    file: str = ""


class ImageContent(Record):
    """One image for one platform. In a place without manifests, `manifest` and the media type are None.

    `problem` is an error of its layers. The values from its documents are known despite it.
    """

    id: Digest
    config: Config
    layers: tuple[LayerContent, ...]
    manifest: Digest | None = None
    media_type: str | None = None
    annotations: Mapping[str, str] = {}
    download_size: int | None = None
    problem: ImqError | None = None

    def __hash__(self) -> int:
        """Hash by content: annotations are a mapping and cannot be hashed."""
        return hash((self.id, self.manifest))


class Unreadable(Record):
    """An image whose documents cannot be read. `platform` is that of its entry in an index, if it has one."""

    manifest: Digest | None
    problem: ImqError
    platform: Platform | None = None


class ListedImage(Record):
    """An entry of a listing: its descriptor and names, its images, and those of its images that are unreadable.

    `digest` is the digest of the name in its registry. `containers` is the number of containers made from the image;
    None in a place that has no information about containers.
    """

    descriptor: Descriptor
    names: tuple[Name, ...]
    images: tuple[ImageContent, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    digest: Digest | None = None
    set_at: int | None = None
    containers: int | None = None

    @property
    def ids(self) -> frozenset[Digest]:
        """The ids of the images."""
        return frozenset(image.id for image in self.images)


class PlaceContent(Record):
    """Everything that a place lists. `problems` are about the place, and not about one of its images."""

    listed: tuple[ListedImage, ...]
    problems: tuple[ImqError, ...] = ()


def check_layer_count(config: Config, count: int, name: str) -> None:
    """Raise `Malformed` when a config has another number of layers than the document of this name."""
    if len(config.diff_ids) != count:
        raise Malformed(f"the config has {len(config.diff_ids)} layers, {name} {count}", code="layers")
