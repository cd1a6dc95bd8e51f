"""Reads the images of containers/storage, and which of them containers use."""

from __future__ import annotations

from imq.engine.oci.config import Config
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, Index, parse_manifest
from imq.engine.oci.reference import parse_name
from imq.engine.store.atomic_files import store_errors
from imq.grammar.errors import DigestMismatch, ImqError, Malformed
from imq.grammar.record import TYPE_CHECKING

from .content import ImageContent, LayerContent, ListedImage, PlaceContent, Unreadable, check_layer_count
from .storage_files import StorageFiles, get_layer_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imq.engine.oci.manifest import Manifest

    from .storage_files import StoredImage, StoredLayer

_MAX_READS = 3
"""The maximum number of reads when another process changes the storage meanwhile."""
_LOCAL = "localhost"
"""The registry of names that Podman gives to images that came from no registry."""


def read_storage(root: str, max_size: int) -> PlaceContent:
    """Return the images of a storage. It is read again when it changes meanwhile, up to `_MAX_READS` times."""
    with store_errors(f"read {root}"):
        reads = 0
        while True:
            files = StorageFiles(root, max_size)
            content = _read(files)
            reads += 1
            if reads == _MAX_READS or files.signature == files.read_signature():
                return content


def measure_storage(root: str, max_size: int, layers: Iterable[LayerContent]) -> dict[Digest, int | None]:
    """Return the bytes of the files in layers of a storage, by diff ID; None for one that cannot be read."""
    sizes: dict[Digest, int | None] = {}
    with store_errors(f"read {root}"):
        files = StorageFiles(root, max_size)
        for layer in layers:
            try:
                sizes[layer.diff_id] = files.measure(layer.path.partition("/")[0])
            except Malformed:
                sizes[layer.diff_id] = None
    return sizes


def _read(files: StorageFiles) -> PlaceContent:
    containers = files.count_containers()
    listed = [_read_image(files, image, containers.get(image.id, 0)) for image in files.images]
    return PlaceContent(tuple(one for one in listed if one is not None))


def _read_image(files: StorageFiles, image: StoredImage, containers: int) -> ListedImage | None:
    """Read one image; None for a list of manifests, whose images are listed themselves."""
    names = tuple(parse_name(name) for name in image.names)
    descriptor = Descriptor("", Digest(f"sha256:{image.id}"), 0)
    try:
        content = files.read_document(image, "manifest")
        manifest = parse_manifest(content, "", f"the manifest of {image.id[:12]}")
        if isinstance(manifest, Index):
            return None
        read = _read_content(files, image, Digest.of(content), manifest)
    except ImqError as error:
        unreadable = Unreadable(image.digests[0] if len(image.digests) == 1 else None, error)
        return ListedImage(descriptor, names, unreadable=(unreadable,), containers=containers)
    if read.manifest in files.exact_images:
        descriptor = descriptor.replace(digest=read.manifest)
    return ListedImage(descriptor, names, (read,), digest=_choose_digest(image, read.manifest), containers=containers)


def _choose_digest(image: StoredImage, manifest: Digest | None) -> Digest | None:
    """Return the digest by which a registry knows the image: that of the list by which it was pulled, if any."""
    if not any(parse_name(name).registry not in (None, _LOCAL) for name in image.names):
        return None
    others = [digest for digest in image.digests if digest != manifest]
    return others[0] if len(others) == 1 else manifest


def _read_content(files: StorageFiles, image: StoredImage, digest: Digest, manifest: Manifest) -> ImageContent:
    if image.digests and digest not in image.digests:
        raise DigestMismatch(f"the manifest of the image {image.id[:12]} is damaged: its digest is {digest}")
    document = files.read_document(image, manifest.config.digest)
    if Digest.of(document) != manifest.config.digest:
        raise DigestMismatch(f"the config of the image {image.id[:12]} is damaged")
    config = Config.parse(document, f"the config of {image.id[:12]}")
    check_layer_count(config, len(manifest.layers), "the manifest")
    problem: Malformed | None = None
    stored: list[StoredLayer | None] = []
    try:
        stored += files.list_layers(image)
    except Malformed as error:
        problem = error
    if len(stored) != len(manifest.layers):
        stored = [None] * len(manifest.layers)
    paths = [get_layer_path(own) if own else "" for own in stored]
    layers = [
        LayerContent(diff_id, layer.digest, layer.size, layer.media_type, path, path)
        for layer, diff_id, path in zip(manifest.layers, config.diff_ids, paths, strict=True)
    ]
    return ImageContent(
        manifest.config.digest,
        config,
        tuple(layers),
        digest,
        manifest.media_type,
        manifest.annotations,
        manifest.download_size,
        problem,
    )
