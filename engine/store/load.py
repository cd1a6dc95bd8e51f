"""Loads images from archives of docker (`docker save`), OCI archives, and folders with an OCI layout.

Since docker 25 an archive has both index.json and, in docker's format, manifest.json. Other tools list some images in
only one of them, so the two lists are merged.
"""

from __future__ import annotations

import os

from imq.engine.layers.compression import detect_compression
from imq.engine.oci import media_types
from imq.engine.oci.config import Config
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, Index, Manifest
from imq.engine.oci.manifest_walk import IndexDepthError
from imq.engine.progress import CountingReader
from imq.grammar.errors import DigestMismatch, ImqError, Malformed, NotFound
from imq.grammar.record import TYPE_CHECKING

from .archive_files import Archive, Folder, ignore_progress
from .archive_listing import (
    compute_config_digest,
    has_blob,
    join_listings,
    open_blob,
    read_blob_document,
    read_docker_images,
    read_layout_entries,
    read_listing,
    read_tree,
)
from .atomic_files import store_errors
from .bounded_read import read_bounded, read_document
from .image_builder import LoadedImage, import_unknown_layer, store_manifest
from .index_json import get_foreign_annotations
from .layout import diff_id_mismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from typing import BinaryIO

    from .archive_files import ImageFiles
    from .archive_listing import DockerImage
    from .ingest import Ingest

    Selection = Mapping[Digest, frozenset[str]]
    """Images by the digest of their entry in index.json, or of their config; each with its names, or none."""

ALL_LISTINGS = ("index.json", "manifest.json", "repositories")
"""The files that list images."""
_MAGIC_SIZE = 512
"""Bytes from which the compression of a layer is detected."""


def _raise_skipped(_: str, problem: ImqError) -> None:
    raise problem


def load(
    path: str,
    ingest: Ingest,
    start_progress: Callable[[int], Callable[[int], None]] = lambda _: ignore_progress,
    on_skipped: Callable[[str, ImqError], None] = _raise_skipped,
) -> list[LoadedImage]:
    """Store every image of an archive or layout folder. Blobs are verified; names are returned, but not set.

    `on_skipped` is called with the name and the error of an image whose digest algorithm is not supported; the others
    are loaded. `start_progress` is called with the total size in bytes, and returns the callback for bytes read.
    """
    with store_errors(f"read {path}"):
        if os.path.isdir(path):
            return load_files(Folder(path), path, ingest, start_progress, on_skipped)
        try:
            with Archive(path) as archive:
                return load_files(archive, path, ingest, start_progress, on_skipped)
        except FileNotFoundError:
            raise NotFound(
                f"no such file: {path}", hints=("load reads archives of docker save and imq save",)
            ) from None


def load_files(
    files: ImageFiles,
    path: str,
    ingest: Ingest,
    start_progress: Callable[[int], Callable[[int], None]] = lambda _: ignore_progress,
    on_skipped: Callable[[str, ImqError], None] = _raise_skipped,
    *,
    listings: Collection[str] = ALL_LISTINGS,
    selection: Selection | None = None,
) -> list[LoadedImage]:
    """Load the images listed in index.json and manifest.json, merged; without both, those in repositories.

    An image in both lists has the manifest of index.json, and the names of both. Only `listings` are read. With a
    `selection` only its images are loaded, under its names.
    """
    files.on_progress = start_progress(files.total_size())

    def read(name: str) -> bytes | None:
        return read_listing(files, name, path) if name in listings else None

    layout, listing = read("index.json"), read("manifest.json")
    loaded = _load_layout(files, layout, ingest, on_skipped, selection) if layout is not None else []
    if listing is not None:
        loaded = _merge_listings(loaded, read_docker_images(listing, path), files, path, ingest, selection)
    if layout is None and listing is None and (repositories := read("repositories")) is not None:
        from .load_docker_v1 import load_v1

        loaded = load_v1(files, repositories, path, ingest)
    if selection is not None:
        return _select_names(loaded, selection)
    if not loaded:
        has_listing = layout is not None or listing is not None
        reason = "its listings are empty" if has_listing else "index.json, manifest.json and repositories are missing"
        raise Malformed(
            f"{path} has no images: {reason}",
            code="archive",
            hints=("to make an image from a plain archive or folder: imq import PATH as NAME",),
        )
    return loaded


def _select_names(loaded: Sequence[LoadedImage], selection: Selection) -> list[LoadedImage]:
    """Return the selected images with their selected names, each image once."""
    selected: dict[Digest, LoadedImage] = {}
    for image in loaded:
        selected_names = selection.get(image.descriptor.digest, selection.get(image.id))
        if selected_names is None:
            continue
        names = tuple(name for name in image.names if str(name) in selected_names)
        if selected_names and not names:
            continue  # another entry of the same image
        before = selected.get(image.descriptor.digest)
        known = before.names if before is not None else ()
        selected[image.descriptor.digest] = image.replace(names=tuple(dict.fromkeys((*known, *names))))
    return list(selected.values())


# OCI layouts


def _load_layout(
    files: ImageFiles,
    content: bytes,
    ingest: Ingest,
    on_skipped: Callable[[str, ImqError], None],
    selection: Selection | None,
) -> list[LoadedImage]:
    index_entries = [
        entry
        for entry in read_layout_entries(files, content)
        if selection is None or entry.descriptor.digest in selection
    ]
    if not ingest.has_room(files.total_size()):
        ingest.reserve(_list_blobs(files, [entry.descriptor for entry in index_entries], ingest.largest_document))
    loaded: list[LoadedImage] = []
    for entry in index_entries:
        image_ids: dict[Digest, Digest] = {}
        problems: dict[Digest, ImqError] = {}
        try:
            id_ = _copy_tree(files, entry.descriptor, ingest, image_ids, problems)
        except Malformed as problem:
            if problem.code != "digest-algorithm" or len(index_entries) == 1:
                raise
            on_skipped(str(entry.name or entry.descriptor.digest), problem)
            continue
        descriptor = entry.descriptor.replace(annotations=get_foreign_annotations(entry.descriptor.annotations))
        names = (entry.name,) if entry.name else ()
        others = frozenset(image_ids) - {descriptor.digest}
        loaded.append(
            LoadedImage(descriptor, id_, names, others, frozenset(image_ids.values()), tuple(problems.values()))
        )
    return loaded


def _copy_tree(
    files: ImageFiles,
    root: Descriptor,
    ingest: Ingest,
    image_ids: dict[Digest, Digest],
    problems: dict[Digest, ImqError],
) -> Digest:
    """Copy a manifest and all documents below it, each index after its manifests; return the ID of its first image.

    The index of an archive for one platform lists manifests that are not in the archive. `image_ids` receives each
    copied document with the ID of its first image, and `problems` the error of each incomplete document.
    """

    def fail(descriptor: Descriptor, error: ImqError) -> None:
        if descriptor.digest == root.digest or not isinstance(error, Malformed | DigestMismatch):
            raise error
        if isinstance(error, IndexDepthError):
            raise error
        problems[descriptor.digest] = _add_platform(descriptor, error)

    contents: dict[Digest, bytes] = {}
    tree = read_tree(files, root, ingest.largest_document, fail, contents)
    for node in tree.bottom_up():
        descriptor, document = node.descriptor, node.document
        try:
            if isinstance(document, Index):
                id_ = _first_image(document, image_ids, problems, descriptor)
            else:
                id_ = _copy_image(files, document, ingest)
            ingest.store_document(descriptor, contents[descriptor.digest])
        except ImqError as error:
            fail(descriptor, error)
        else:
            image_ids[descriptor.digest] = id_
    return image_ids[root.digest]


def _first_image(
    index: Index, image_ids: Mapping[Digest, Digest], problems: Mapping[Digest, ImqError], descriptor: Descriptor
) -> Digest:
    """Return the ID of the first copied image of an index."""
    for child in index.manifests:
        if child.digest in image_ids:
            return image_ids[child.digest]
    raise next(
        (problems[child.digest] for child in index.manifests if child.digest in problems),
        Malformed(f"the archive has no images of the index {descriptor.digest}", code="archive"),
    )


def _add_platform(child: Descriptor, problem: ImqError) -> ImqError:
    """Add the platform or digest of the image to an error about one image of an index."""
    subject = f"the image for {child.platform}" if child.platform is not None else f"the manifest {child.digest}"
    if not problem.message.startswith(subject):
        problem.message = f"{subject} is incomplete in the archive: {problem.message}"
    return problem


def _list_blobs(files: ImageFiles, roots: Sequence[Descriptor], max_size: int) -> list[Descriptor]:
    """Return the blobs that will be copied for these descriptors. Errors are raised later, by the copy."""
    reached: dict[Digest, Descriptor] = {}

    def note(descriptor: Descriptor, _: ImqError) -> None:
        reached[descriptor.digest] = descriptor

    for root in (root for root in roots if has_blob(files, root.digest)):
        tree = read_tree(files, root, max_size, note, {})
        for node in tree.top_down():
            reached[node.descriptor.digest] = node.descriptor
            if isinstance(node.document, Manifest):
                reached |= {blob.digest: blob for blob in (node.document.config, *node.document.layers)}
    return list(reached.values())


def _copy_image(files: ImageFiles, manifest: Manifest, ingest: Ingest) -> Digest:
    config = read_blob_document(files, manifest.config, ingest.largest_document)
    diff_ids: Sequence[Digest | None] = (
        Config.parse(config).diff_ids if manifest.is_image else [None] * len(manifest.layers)
    )
    if len(diff_ids) != len(manifest.layers):
        raise Malformed(f"the config has {len(diff_ids)} layers, the manifest {len(manifest.layers)}", code="layers")
    present = ingest.reserve(manifest.layers)
    for layer, diff_id in zip(manifest.layers, diff_ids, strict=True):
        if layer.digest not in present:
            with open_blob(files, layer.digest) as source:
                ingest.receive_blob(layer, diff_id, _make_reader(files, source), lambda: False)
    ingest.store_document(manifest.config, config)
    return manifest.config.digest


def _make_reader(files: ImageFiles, source: BinaryIO) -> Callable[[memoryview], int]:
    return CountingReader(source, files.on_progress).readinto


# docker's archives


def _merge_listings(
    loaded: list[LoadedImage],
    images: Sequence[DockerImage],
    files: ImageFiles,
    path: str,
    ingest: Ingest,
    selection: Selection | None,
) -> list[LoadedImage]:
    """Add the images of manifest.json to those loaded from index.json: names to the same images, and other images.

    Raises `Malformed` when the two lists have different images of one name.
    """
    configs = {image: compute_config_digest(files, image, ingest.largest_document) for image in images}
    present = {digest for image in loaded for digest in image.ids}
    if selection is not None:
        configs = {image: digest for image, digest in configs.items() if digest in present or digest in selection}
    new_images = [image for image, digest in configs.items() if digest not in present]
    if new_images and not ingest.has_room(files.total_size()):
        ingest.reserve(_list_uncompressed_layers(files, new_images, ingest.largest_document))
    imported: dict[Digest, Descriptor] = {}
    return join_listings(loaded, configs, lambda image: _load_docker_image(files, image, ingest, imported), path)


def _list_uncompressed_layers(files: ImageFiles, images: Sequence[DockerImage], max_size: int) -> list[Descriptor]:
    """Return the uncompressed layers that will be stored. Errors are raised later, by the import."""
    layers: dict[Digest, Descriptor] = {}
    for image in images:
        source = files.open(image.config)
        if source is None:
            continue
        with source:
            try:
                diff_ids = Config.parse(read_bounded(source, max_size)).diff_ids
            except ImqError:
                continue
        for name, diff_id in zip(image.layers, diff_ids, strict=False):
            layer = files.open(name) if diff_id not in layers else None
            if layer is not None:
                with layer:
                    if not detect_compression(layer.read(_MAGIC_SIZE)):
                        layers[diff_id] = Descriptor(media_types.OCI_LAYER, diff_id, files.size(name))
    return list(layers.values())


def _load_docker_image(
    files: ImageFiles, image: DockerImage, ingest: Ingest, imported: dict[Digest, Descriptor]
) -> LoadedImage:
    """Store one image. `imported` has the layers that are stored already, by diff ID: images share layers."""
    config_name, layers = image.config, image.layers
    source = files.open(config_name)
    if source is None:
        raise Malformed(f"the config {config_name} is missing from the archive", code="archive")
    with source:
        content = read_document(source, ingest.largest_document, f"the config {config_name} of the archive")
    config = Config.parse(content, config_name)
    if len(config.diff_ids) != len(layers):
        raise Malformed(
            f"{config_name} has {len(config.diff_ids)} layers, manifest.json says {len(layers)}", code="layers"
        )
    descriptors = []
    for name, diff_id in zip(layers, config.diff_ids, strict=True):
        source = files.open(name)
        if source is None:
            raise Malformed(f"the layer {name} is missing from the archive", code="archive")
        with source:
            if diff_id not in imported:
                imported[diff_id] = _import_layer(files, source, diff_id, files.size(name), ingest)
        descriptors.append(imported[diff_id])
    descriptor = store_manifest(
        ingest, Descriptor(media_types.OCI_CONFIG, Digest.of(content), len(content)), content, descriptors
    )
    return LoadedImage(descriptor, Digest.of(content), image.names)


def _import_layer(files: ImageFiles, source: BinaryIO, diff_id: Digest, size: int, ingest: Ingest) -> Descriptor:
    magic = source.read(_MAGIC_SIZE)
    source.seek(0)
    compression = detect_compression(magic)
    if not compression:  # the diff ID is the digest of the blob
        descriptor = Descriptor(media_types.OCI_LAYER, diff_id, size)
        if diff_id not in ingest.reserve((descriptor,)):
            try:
                ingest.receive_blob(descriptor, diff_id, _make_reader(files, source), lambda: False)
            except DigestMismatch as problem:
                if problem.code == "digest-algorithm":
                    raise
                raise DigestMismatch(
                    f"a layer of the archive does not match its config: {problem.message}", code="diff-id-mismatch"
                ) from None
        return descriptor
    imported = import_unknown_layer(files, source, ingest)
    if imported.measure.diff_id != diff_id:
        if diff_id.algorithm != imported.measure.diff_id.algorithm:
            raise diff_id_mismatch(imported.descriptor.digest, imported.measure.diff_id, diff_id, "nothing was loaded")
        raise DigestMismatch(
            f"a layer of the archive unpacks to {imported.measure.diff_id}, but the config says {diff_id}",
            code="diff-id-mismatch",
        )
    return imported.descriptor
