"""The storage of Podman, Buildah and CRI-O (containers/storage), presented as an archive.

    DRIVER-images/images.json           images: id, names, top layer
    DRIVER-images/ID/…                  the manifest and the config of an image, by encoded names
    DRIVER-layers/layers.json           layers: id, parent, digests and sizes
    DRIVER-layers/ID.tar-split.gz       how the archive of a layer is put together
    DRIVER-containers/containers.json   containers, each with the id of its image
    overlay/ID/diff, vfs/dir/ID         the files of a layer

An image whose manifest names uncompressed layers is in the archive as an OCI layout has it. The compressed layers that
other manifests name are not in the storage, so these images are there in docker's form.

The files volatile-layers.json and volatile-containers.json list the entries that do not survive a restart.
"""

from __future__ import annotations

import base64
import io
import os
import re
from contextlib import suppress
from functools import cached_property

from imq.engine.layers.tar_split import LayerArchive, sum_file_sizes
from imq.engine.oci.digest import Digest, is_digest
from imq.engine.oci.manifest import Descriptor, Manifest, encode_json, parse_json, parse_manifest
from imq.engine.store.archive_files import Folder
from imq.engine.store.bounded_read import read_bounded, read_document
from imq.engine.store.index_json import REF_NAME
from imq.grammar.errors import ImqError, Malformed
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, BinaryIO

_MAX_LISTING_SIZE = 256 << 20
"""The maximum size in bytes of images.json and the other lists."""
_MAX_CHAIN = 4096
_PLAIN_KEY = re.compile(r"[a-z0-9]+\Z")
_LAYER_ARCHIVE = re.compile(r"([0-9a-f]{64})/layer\.tar\Z")
_CONFIG_FILE = re.compile(r"([0-9a-f]{64})\.json\Z")
_LAYER_FOLDERS = ("overlay/{}/diff", "vfs/dir/{}")


class StoredLayer(Record):
    """A layer of the storage. `diff_size` is the size of its uncompressed archive in bytes."""

    id: str
    parent: str
    diff_id: Digest | None
    diff_size: int


class StoredImage(Record):
    """An image of the storage. `digests` are those of its manifests, the list that it was pulled by among them."""

    id: str
    names: tuple[str, ...]
    layer: str
    digests: tuple[Digest, ...]


class StorageFiles(Folder):
    """The files of a storage, by the names that archives have: `index.json`, `manifest.json`, `ID/layer.tar`."""

    def __init__(self, root: str, max_size: int) -> None:
        super().__init__(root)
        self._max_size = max_size
        self._driver = self._find_driver()
        self.signature = self.read_signature()
        """The signature from before the lists were read."""
        self.layers = self._read_layers()
        self.images = [_read_image(one) for one in self._read_list("images", "images.json") if one.get("id")]

    def _find_driver(self) -> str:
        names = sorted(name for name in os.listdir(self.root) if name.endswith("-images"))
        used = [name for name in names if os.path.isfile(os.path.join(self.root, name, "images.json"))]
        if len(used) > 1:  # a storage whose driver was changed has the images of both
            used = [name for name in used if name == "overlay-images"] or used
        if not used and not names:
            raise Malformed(
                f"{self.root} is no storage of Podman, Buildah or CRI-O: it has no folder overlay-images", code="layout"
            )
        return (used or names)[0].removesuffix("-images")

    # Lists

    def read_signature(self) -> tuple[tuple[int, ...], ...]:
        """Return a value that changes whenever one of the lists is replaced."""
        found = []
        for kind in ("images", "layers", "containers"):
            with suppress(OSError):
                about = os.stat(os.path.join(self.root, f"{self._driver}-{kind}", f"{kind}.json"))
                found.append((about.st_ino, about.st_size, about.st_mtime_ns))
        return tuple(found)

    def _read_list(self, kind: str, name: str) -> list[dict[str, Any]]:
        """Return the objects of a list; none when the file does not exist."""
        path = f"{self._driver}-{kind}/{name}"
        source = super().open(path)
        if source is None:
            return []
        with source:
            content = read_bounded(source, _MAX_LISTING_SIZE)
        if len(content) > _MAX_LISTING_SIZE:
            raise Malformed(f"{path} is larger than {_MAX_LISTING_SIZE >> 20} MiB", code="document-size")
        if not content:
            return []
        document = parse_json(content, path)
        if document is None:
            return []
        if not isinstance(document, list):
            raise Malformed(f"{path} is not a list", code="document")
        return [one for one in document if isinstance(one, dict)]

    def _read_layers(self) -> dict[str, StoredLayer]:
        entries = [*self._read_list("layers", "layers.json"), *self._read_list("layers", "volatile-layers.json")]
        layers = {}
        for one in entries:
            id_, parent = _read_text(one, "id"), _read_text(one, "parent")
            size = one.get("diff-size")
            layers[id_] = StoredLayer(
                id_, parent, _read_digest(one.get("diff-digest")), size if isinstance(size, int) else 0
            )
        return layers

    def count_containers(self) -> Mapping[str, int]:
        """Return the number of containers of each image, by its id."""
        entries = self._read_list("containers", "containers.json")
        entries += self._read_list("containers", "volatile-containers.json")
        counts: dict[str, int] = {}
        for id_ in {_read_text(one, "id"): _read_text(one, "image") for one in entries}.values():
            counts[id_] = counts.get(id_, 0) + 1
        return counts

    def list_layers(self, image: StoredImage) -> list[StoredLayer]:
        """Return the layers of an image, bottom layer first. Raises `Malformed` when one is missing."""
        chain: list[StoredLayer] = []
        id_ = image.layer
        while id_:
            layer = self.layers.get(id_)
            if layer is None or len(chain) >= _MAX_CHAIN:
                raise Malformed(f"the layer {id_[:12]} is missing from the storage", code="blob")
            chain.append(layer)
            id_ = layer.parent
        return chain[::-1]

    # Documents

    def read_document(self, image: StoredImage, key: str) -> bytes:
        """Return a document of an image by its key: `manifest`, or the digest of the config. Raises `Malformed`."""
        name = key if _PLAIN_KEY.match(key) else "=" + base64.b64encode(key.encode()).decode()
        source = super().open(f"{self._driver}-images/{image.id}/{name}")
        if source is None:
            raise Malformed(f"the document {key} of the image {image.id[:12]} is missing from the storage", code="blob")
        with source:
            return read_document(source, self._max_size, f"the document {key} of the image {image.id[:12]}")

    def measure(self, layer: str) -> int:
        """Return the bytes of the files in a layer. Raises `Malformed`."""
        with self._open_records(layer) as source:
            return sum_file_sizes(source, f"the tar-split file of the layer {layer[:12]}")

    def _open_records(self, layer: str) -> BinaryIO:
        source = super().open(f"{self._driver}-layers/{layer}.tar-split.gz")
        if source is None:
            raise Malformed(f"the layer {layer[:12]} of the storage has no tar-split file", code="blob")
        return source

    # As an archive

    @cached_property
    def exact_images(self) -> dict[Digest, tuple[StoredImage, Manifest]]:
        """The images that the storage has with all blobs of their manifests, by the digest of the manifest."""
        found = {}
        for image in self.images:
            try:
                content = self.read_document(image, "manifest")
                manifest = parse_manifest(content)
                layers = self.list_layers(image)
            except ImqError:
                continue
            if not isinstance(manifest, Manifest) or manifest.config.digest != f"sha256:{image.id}":
                continue
            if [layer.digest for layer in manifest.layers] == [layer.diff_id for layer in layers]:
                found[Digest.of(content)] = image, manifest
        return found

    def _open_blob(self, digest: str) -> BinaryIO | None:
        """Open a manifest, a config or an uncompressed layer of an image in `exact_images`."""
        if (found := self.exact_images.get(Digest(digest))) is not None:
            return io.BytesIO(self.read_document(found[0], "manifest"))
        for image, manifest in self.exact_images.values():
            if manifest.config.digest == digest:
                return io.BytesIO(self.read_document(image, digest))
            for blob, layer in zip(manifest.layers, self.list_layers(image), strict=True):
                if blob.digest == digest:
                    return self.open(get_layer_path(layer))
        return None

    def _write_index(self) -> bytes:
        entries = []
        for digest, (image, manifest) in self.exact_images.items():
            descriptor = Descriptor(manifest.media_type, digest, len(self.read_document(image, "manifest")))
            for name in image.names or ("",):
                named = descriptor.replace(annotations={REF_NAME: name} if name else {})
                entries += [named.to_json()]
        return encode_json({"schemaVersion": 2, "manifests": entries})

    def open(self, name: str) -> BinaryIO | None:
        """Open a file of the archive."""
        if name == "index.json":
            return io.BytesIO(self._write_index())
        if name == "manifest.json":
            return io.BytesIO(self._write_listing())
        if name.startswith("blobs/sha256/"):
            return self._open_blob(f"sha256:{name.removeprefix('blobs/sha256/')}")
        if (archive := _LAYER_ARCHIVE.match(name)) is not None:
            folders = (form.format(archive[1]) for form in _LAYER_FOLDERS)
            folder = next((one for one in folders if os.path.isdir(os.path.join(self.root, one))), None)
            if archive[1] not in self.layers or folder is None:
                return None
            return io.BufferedReader(
                LayerArchive(lambda: self._open_records(archive[1]), self.root, folder, f"the layer {name}")
            )
        if (config := _CONFIG_FILE.match(name)) is not None:
            image = next((one for one in self.images if one.id == config[1]), None)
            try:
                return io.BytesIO(self.read_document(image, f"sha256:{image.id}")) if image is not None else None
            except Malformed:
                return None
        return None

    def size(self, name: str) -> int:
        """Return the size of a layer in bytes; 0 for another file."""
        archive = _LAYER_ARCHIVE.match(name)
        layer = self.layers.get(archive[1]) if archive is not None else None
        return layer.diff_size if layer is not None else 0

    def total_size(self) -> int:
        """Return the size of all layers in bytes."""
        return sum(layer.diff_size for layer in self.layers.values())

    def list_folders(self) -> list[str]:
        """Return nothing: that is for archives of format 1.0."""
        return []

    def _write_listing(self) -> bytes:
        """Return the manifest.json of the images that are whole."""
        entries = []
        exact = {image.id for image, _ in self.exact_images.values()}
        for image in self.images:
            try:
                layers = self.list_layers(image)
            except Malformed:
                continue
            if image.id in exact:
                continue
            if not layers and not image.layer and not super().size(f"{self._driver}-images/{image.id}/manifest"):
                continue
            names = [name for name in image.names if "@" not in name]
            paths = [get_layer_path(layer) for layer in layers]
            entries.append({"Config": f"{image.id}.json", "RepoTags": names, "Layers": paths})
        return encode_json({"": entries})[4:-1]


def get_layer_path(layer: StoredLayer) -> str:
    """Return the name of the archive of a layer."""
    return f"{layer.id}/layer.tar"


def _read_text(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""


def _read_digest(value: object) -> Digest | None:
    return Digest(value) if isinstance(value, str) and is_digest(value) else None


def _read_image(document: Mapping[str, Any]) -> StoredImage:
    names = document.get("names")
    keys = document.get("big-data-names")
    digests = [
        digest
        for key in (keys if isinstance(keys, list) else ())
        if isinstance(key, str) and key.startswith("manifest-")
        if (digest := _read_digest(key.removeprefix("manifest-"))) is not None
    ]
    texts = tuple(name for name in (names if isinstance(names, list) else ()) if isinstance(name, str))
    return StoredImage(_read_text(document, "id"), texts, _read_text(document, "layer"), tuple(digests))
