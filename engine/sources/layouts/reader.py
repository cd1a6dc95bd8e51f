"""Reads the listings of a place: index.json of OCI layouts, manifest.json of docker archives. Writes nothing."""

from __future__ import annotations

import os
from contextlib import contextmanager

from imq.engine.layers.compression import detect_compression
from imq.engine.oci.config import Config
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, Manifest
from imq.engine.store.archive_files import Archive, Folder
from imq.engine.store.archive_listing import (
    compute_config_digest,
    get_blob_path,
    has_blob,
    join_listings,
    keep_last_names,
    read_blob_document,
    read_docker_images,
    read_layout_entries,
    read_listing,
    read_tree,
)
from imq.engine.store.atomic_files import store_errors
from imq.engine.store.bounded_read import read_document
from imq.grammar.errors import ImqError, Malformed
from imq.grammar.record import TYPE_CHECKING

from .content import ImageContent, LayerContent, ListedImage, PlaceContent, Unreadable, check_layer_count
from .places import DIR, LISTINGS, STORAGE, inspect_kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from imq.engine.store.archive_files import ImageFiles
    from imq.engine.store.archive_listing import DockerImage
    from imq.engine.store.index_json import IndexEntry

    from .places import Place

_MAGIC_SIZE = 512
"""Bytes from which the compression of a layer is detected."""
_MIN_UNPACKED = 1 << 30
_MAX_RATIO = 100
"""A compressed archive unpacks to at most this many times its size, or to `_MIN_UNPACKED` bytes if that is more."""


@contextmanager
def open_files(place: Place, max_size: int, *, in_place: bool = True) -> Iterator[ImageFiles]:
    """Yield the files of a place. `max_size` is the maximum size in bytes of a document.

    Read `in_place`, a truncated archive has the files before its end, and a compressed one has a limited size.
    """
    with store_errors(f"read {place.path}"):
        if os.path.isdir(place.path):
            if place.kind == DIR:
                from .dir_files import DirFiles

                yield DirFiles(place.path, max_size)
            elif place.kind == STORAGE:
                from .storage_files import StorageFiles

                yield StorageFiles(place.path, max_size)
            else:
                yield Folder(place.path)
            return
        max_unpacked = max(_MIN_UNPACKED, _MAX_RATIO * os.path.getsize(place.path)) if in_place else None
        with Archive(place.path, takes_damaged=in_place, max_size=max_unpacked) as archive:
            if in_place:
                archive.cache_documents(max_size)
            yield archive


def read_place(place: Place, max_size: int) -> PlaceContent:
    """Return what a place lists. Raises `NotFound`, and `Malformed` for a place without a listing."""
    place = inspect_kind(place)
    if place.kind == STORAGE:
        from .storage_reader import read_storage

        return read_storage(place.path, max_size)
    with open_files(place, max_size) as files:
        listed = ListingReader(files, place, max_size).read()
        damage = files.damage if isinstance(files, Archive) else None
        return PlaceContent(tuple(listed), (damage,) if damage is not None else ())


def measure_place(place: Place, max_size: int, layers: Iterable[LayerContent]) -> dict[Digest, int | None]:
    """Return the bytes of the files in layers of a place, by diff ID; None: they are not known without unpacking."""
    to_measure = list(layers)
    if not any(layer.path for layer in to_measure):
        return {layer.diff_id: None for layer in to_measure}
    place = inspect_kind(place)
    if place.kind == STORAGE:
        from .storage_reader import measure_storage

        return measure_storage(place.path, max_size, to_measure)
    from .sizes import measure_layers

    with open_files(place, max_size) as files:
        return measure_layers(files, to_measure)


class ListingReader:
    """Reads the listings of one place; a config that several images have is read once."""

    def __init__(self, files: ImageFiles, place: Place, max_size: int) -> None:
        self._files = files
        self._place = place
        self._max_size = max_size
        self._configs: dict[Digest, Config] = {}

    def read(self) -> list[ListedImage]:
        """Return the images of index.json and of manifest.json; a prefix says which of them counts."""
        path = self._place.path
        index, manifest = self._read_listing("index.json"), self._read_listing("manifest.json")
        listed = [self._read_entry(entry) for entry in read_layout_entries(self._files, index)] if index else []
        if manifest is not None:
            images = read_docker_images(manifest, path)
            configs = {image: compute_config_digest(self._files, image, self._max_size) for image in images}
            listed = join_listings(listed, configs, self._read_docker_image, path)
        if index is None and manifest is None:
            raise self._no_listing()
        return keep_last_names(listed)

    def _read_listing(self, name: str) -> bytes | None:
        return read_listing(self._files, name, self._place.path) if name in LISTINGS[self._place.kind] else None

    def _no_listing(self) -> Malformed:
        path = self._place.path
        if isinstance(self._files, Archive) and self._files.damage is not None:
            return self._files.damage
        if self._read_listing("repositories") is not None:
            return Malformed(
                f"{path} is an archive of docker's format 1.0, whose image ids are known only when it is loaded",
                code="archive",
                hints=(f'load "{path}"',),
            )
        return Malformed(f"{path} lists no images: it has neither an index.json nor a manifest.json", code="archive")

    # OCI

    def _read_entry(self, entry: IndexEntry) -> ListedImage:
        """Read the images that an entry of index.json leads to."""
        failures: dict[Digest, Unreadable] = {}
        images: list[ImageContent] = []
        found_artifact = False

        def fail(descriptor: Descriptor, error: ImqError) -> None:
            failures[descriptor.digest] = Unreadable(descriptor.digest, error, descriptor.platform)

        tree = read_tree(self._files, entry.descriptor, self._max_size, fail, {})
        for node in tree.top_down():
            if not isinstance(node.document, Manifest):
                continue
            if not node.document.is_image:
                found_artifact = True
                continue
            try:
                images.append(self._read_image(node.descriptor.digest, node.document))
            except ImqError as error:
                fail(node.descriptor, error)
        if not images and not failures and not found_artifact:
            digest = entry.descriptor.digest
            absent = Malformed(f"the index {digest} has none of its images here", code="archive")
            failures[digest] = Unreadable(digest, absent)
        names = (entry.name,) if entry.name is not None else ()
        unreadable = tuple(failures.values())
        return ListedImage(entry.descriptor, names, tuple(images), unreadable, entry.digest, entry.set_at)

    def _read_image(self, digest: Digest, manifest: Manifest) -> ImageContent:
        config = self._read_config(manifest.config)
        check_layer_count(config, len(manifest.layers), "the manifest")
        layers, missing = [], []
        for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
            path = get_blob_path(layer.digest)
            is_plain = layer.digest == diff_id
            layers.append(
                LayerContent(diff_id, layer.digest, layer.size, layer.media_type, path if is_plain else "", path)
            )
            if self._files.size(path) != layer.size:
                missing.append(layer)
        return ImageContent(
            manifest.config.digest,
            config,
            tuple(layers),
            digest,
            manifest.media_type,
            manifest.annotations,
            manifest.download_size,
            self._missing_layers(missing) if missing else None,
        )

    def _missing_layers(self, layers: list[Descriptor]) -> Malformed:
        layer = layers[0]
        size = self._files.size(get_blob_path(layer.digest))
        if has_blob(self._files, layer.digest):
            reason = f"has {size} bytes, and its manifest says {layer.size}"
        else:
            reason = "is missing"
        more = f" (and {len(layers) - 1} more)" if len(layers) > 1 else ""
        return Malformed(f"the layer {layer.digest} {reason}{more}", code="blob")

    def _read_config(self, descriptor: Descriptor) -> Config:
        config = self._configs.get(descriptor.digest)
        if config is None:
            content = read_blob_document(self._files, descriptor, self._max_size)
            config = self._configs[descriptor.digest] = Config.parse(content, f"the config {descriptor.digest}")
        return config

    # Docker

    def _read_docker_image(self, image: DockerImage) -> ListedImage:
        """Read an image of manifest.json; of one that cannot be read, the row has its names."""
        descriptor = Descriptor("", Digest.of(image.config.encode()), 0)
        try:
            content, size = self._read_docker_content(image)
        except ImqError as error:
            return ListedImage(descriptor, image.names, unreadable=(Unreadable(None, error),))
        return ListedImage(descriptor.replace(digest=content.id, size=size), image.names, (content,))

    def _read_docker_content(self, image: DockerImage) -> tuple[ImageContent, int]:
        source = self._files.open(image.config)
        if source is None:
            raise Malformed(f"the config {image.config} is missing from the archive", code="archive")
        with source:
            document = read_document(source, self._max_size, f"the config {image.config} of the archive")
        config = Config.parse(document, image.config)
        check_layer_count(config, len(image.layers), "manifest.json")
        layers: list[LayerContent] = []
        problem: Malformed | None = None
        for name, diff_id in zip(image.layers, config.diff_ids, strict=True):
            source = self._files.open(name)
            if source is None:
                problem = problem or Malformed(f"the layer {name} is missing from the archive", code="blob")
                layers.append(LayerContent(diff_id, None, None))
                continue
            with source:
                is_plain = not detect_compression(source.read(_MAGIC_SIZE))
            digest, path = (diff_id, name) if is_plain else (None, "")
            layers.append(LayerContent(diff_id, digest, self._files.size(name), path=path, file=name))
        sizes = {layer.diff_id: layer.download_size for layer in layers}
        known = [size for size in sizes.values() if size is not None]
        download_size = len(document) + sum(known) if len(known) == len(sizes) else None
        content = ImageContent(Digest.of(document), config, tuple(layers), download_size=download_size, problem=problem)
        return content, len(document)
