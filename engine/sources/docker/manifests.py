"""The manifests of the images of an engine, as docker's image store of containerd lists them since API 1.47."""

from __future__ import annotations

from imq.engine.oci.digest import is_digest
from imq.engine.oci.platform import Platform, parse_platform
from imq.grammar.record import TYPE_CHECKING, Record

from .json_documents import read_boolean, read_image_id, read_integer, read_object, read_objects, read_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from .reader import EngineReader

LISTS_MANIFESTS = (1, 47)
"""The version of docker's API that has the parameter `manifests` of a listing of images."""
_IMAGE, _ATTESTATION = "image", "attestation"


class ImageManifest(Record):
    """One manifest of an image: that of a platform, or an attestation.

    `download_size` is bytes of the config and the compressed layers; None unless the engine has all of them.
    """

    digest: str
    media_type: str | None
    kind: str
    platform: Platform | None
    is_available: bool
    download_size: int | None

    @property
    def is_image(self) -> bool:
        """Whether it is the manifest of a platform."""
        return self.kind == _IMAGE

    @property
    def is_attestation(self) -> bool:
        """Whether it is about another manifest."""
        return self.kind == _ATTESTATION


def list_manifests(reader: EngineReader, source: str) -> dict[str, list[ImageManifest]] | None:
    """Return the manifests of each image of an engine, by its ID; None for an engine that does not list them.

    Manifests are in the order of their index. Raises `EngineError`.
    """
    if reader.is_podman(source) or not reader.client(source).supports(LISTS_MANIFESTS):
        return None
    found: dict[str, list[ImageManifest]] = {}
    for item in reader.list_documents(source, "images/json", manifests="1"):
        id_ = read_image_id(item.get("Id"))
        if id_ is not None and isinstance(item.get("Manifests"), list):
            manifests = (_read_manifest(one) for one in read_objects(item["Manifests"]))
            found[id_] = [one for one in manifests if one is not None]
    return found


def choose_manifest(manifests: Sequence[ImageManifest], platform: Platform | None) -> ImageManifest | None:
    """Return the manifest of an image for a platform; that of its only platform without one."""
    images = [one for one in manifests if one.is_image]
    present = [one for one in images if one.is_available] or images
    if len(present) > 1 and platform is not None:
        present = [one for one in present if one.platform is not None and platform.matches_exactly(one.platform)]
    return present[0] if len(present) == 1 else None


def _read_manifest(document: Mapping[str, Any]) -> ImageManifest | None:
    descriptor, size = read_object(document.get("Descriptor")), read_object(document.get("Size"))
    image = read_object(document.get("ImageData"))
    digest = read_text(descriptor.get("digest")) or read_text(document.get("ID"))
    if digest is None or not is_digest(digest):
        return None
    kind = read_text(document.get("Kind")) or ""
    described = read_object(image.get("Platform")) or read_object(descriptor.get("platform"))
    platform = parse_platform(described) if described and kind != _ATTESTATION else None
    is_available = read_boolean(document.get("Available")) or False
    content, own = read_integer(size.get("Content")), read_integer(descriptor.get("size"))
    download = None if content is None or own is None or content < own or not is_available else content - own
    return ImageManifest(digest, read_text(descriptor.get("mediaType")), kind, platform, is_available, download)
