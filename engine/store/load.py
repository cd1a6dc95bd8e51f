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
from imq.engine.oci.manifest import (
    Descriptor,
    Index,
    Manifest,
    check_layout_file,
    parse_archive_manifest,
    parse_layout_index,
    parse_manifest,
)
from imq.engine.oci.manifest_walk import IndexDepthError, read_manifest_tree
from imq.engine.oci.reference import Name, Reference
from imq.engine.progress import CountingReader
from imq.grammar.errors import DigestMismatch, ImqError, InvalidReference, Malformed, NotFound
from imq.grammar.record import TYPE_CHECKING, Record

from .archive_files import Archive, Folder, ignore_progress
from .atomic_files import store_errors
from .bounded_read import read_bounded, read_document
from .image_builder import LoadedImage, import_unknown_layer, store_manifest
from .layout import IndexEntry, diff_id_mismatch, get_foreign_annotations

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import BinaryIO

    from imq.engine.oci.manifest_walk import ManifestTree

    from .archive_files import ImageFiles
    from .ingest import Ingest

_MAGIC_SIZE = 512
"""Bytes from which the compression of a layer is detected."""
_MAX_MARKER_SIZE = 4096
"""The maximum size in bytes of the file oci-layout."""
_MAX_LISTING_SIZE = 32 << 20
"""The maximum size in bytes of index.json or manifest.json: enough for tens of thousands of images."""


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
            return _load(Folder(path), path, ingest, start_progress, on_skipped)
        try:
            with Archive(path) as archive:
                return _load(archive, path, ingest, start_progress, on_skipped)
        except FileNotFoundError:
            raise NotFound(
                f"no such file: {path}", hints=("load reads archives of docker save and imq save",)
            ) from None


def _load(
    files: ImageFiles,
    path: str,
    ingest: Ingest,
    start_progress: Callable[[int], Callable[[int], None]],
    on_skipped: Callable[[str, ImqError], None],
) -> list[LoadedImage]:
    """Load the images listed in index.json and manifest.json, merged; without both, those in repositories.

    An image in both lists has the manifest of index.json, and the names of both.
    """
    files.on_progress = start_progress(files.total_size())
    layout, listing = _read_listing(files, "index.json", path), _read_listing(files, "manifest.json", path)
    loaded = _load_layout(files, layout, ingest, on_skipped) if layout is not None else []
    if listing is not None:
        loaded = _merge_listings(loaded, _read_docker_images(listing, path), files, path, ingest)
    if layout is None and listing is None and (repositories := _read_listing(files, "repositories", path)) is not None:
        from .load_docker_v1 import load_v1

        loaded = load_v1(files, repositories, path, ingest)
    if not loaded:
        has_listing = layout is not None or listing is not None
        reason = "its listings are empty" if has_listing else "index.json, manifest.json and repositories are missing"
        raise Malformed(
            f"{path} has no images: {reason}",
            code="archive",
            hints=("to make an image from a plain archive or folder: imq import PATH as NAME",),
        )
    return loaded


def _read_listing(files: ImageFiles, name: str, path: str) -> bytes | None:
    """Return the content of a file that lists images; None when it does not exist."""
    source = files.open(name)
    if source is None:
        return None
    with source:
        content = read_bounded(source, _MAX_LISTING_SIZE)
    if len(content) > _MAX_LISTING_SIZE:
        raise Malformed(
            f"the list of images in {path} is larger than {_MAX_LISTING_SIZE >> 20} MiB",
            code="document-size",
            hints=("split it into several archives",),
        )
    return content


# OCI layouts


def _load_layout(
    files: ImageFiles, content: bytes, ingest: Ingest, on_skipped: Callable[[str, ImqError], None]
) -> list[LoadedImage]:
    if (marker := files.open("oci-layout")) is not None:
        with marker:
            check_layout_file(marker.read(_MAX_MARKER_SIZE), "oci-layout")
    try:
        entries = parse_layout_index(content, "index.json")["manifests"]
    except Malformed as problem:
        if problem.code not in ("json", "document"):
            raise
        raise Malformed(f"index.json is not the index of an image layout: {problem.message}", code="layout") from None
    index_entries = [IndexEntry.read(entry, position) for position, entry in enumerate(entries)]
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
    tree = _read_tree(files, root, ingest.largest_document, fail, contents)
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


def _read_tree(
    files: ImageFiles,
    root: Descriptor,
    max_size: int,
    on_error: Callable[[Descriptor, ImqError], None],
    contents: dict[Digest, bytes],
) -> ManifestTree:
    """Read the documents below a descriptor that are in the archive; `contents` receives their bytes."""

    def read(descriptor: Descriptor) -> Manifest | Index:
        contents[descriptor.digest] = _read_document(files, descriptor, max_size)
        return parse_manifest(contents[descriptor.digest], descriptor.media_type)

    return read_manifest_tree(root, read, descends=lambda child: _has_blob(files, child.digest), on_error=on_error)


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

    for root in (root for root in roots if _has_blob(files, root.digest)):
        tree = _read_tree(files, root, max_size, note, {})
        for node in tree.top_down():
            reached[node.descriptor.digest] = node.descriptor
            if isinstance(node.document, Manifest):
                reached |= {blob.digest: blob for blob in (node.document.config, *node.document.layers)}
    return list(reached.values())


def _copy_image(files: ImageFiles, manifest: Manifest, ingest: Ingest) -> Digest:
    config = _read_document(files, manifest.config, ingest.largest_document)
    diff_ids: Sequence[Digest | None] = (
        Config.parse(config).diff_ids if manifest.is_image else [None] * len(manifest.layers)
    )
    if len(diff_ids) != len(manifest.layers):
        raise Malformed(f"the config has {len(diff_ids)} layers, the manifest {len(manifest.layers)}", code="layers")
    present = ingest.reserve(manifest.layers)
    for layer, diff_id in zip(manifest.layers, diff_ids, strict=True):
        if layer.digest not in present:
            with _open_blob(files, layer.digest) as source:
                ingest.receive_blob(layer, diff_id, _make_reader(files, source), lambda: False)
    ingest.store_document(manifest.config, config)
    return manifest.config.digest


def get_blob_path(digest: Digest) -> str:
    """Return the path of a blob in an archive or a layout folder."""
    return f"blobs/{digest.algorithm}/{digest.encoded}"


def _has_blob(files: ImageFiles, digest: Digest) -> bool:
    """Whether the archive has a blob, with a supported digest algorithm."""
    if not digest.is_supported:
        return False
    source = files.open(get_blob_path(digest))
    if source is None:
        return False
    source.close()
    return True


def _open_blob(files: ImageFiles, digest: Digest) -> BinaryIO:
    source = files.open(get_blob_path(digest))
    if source is None:
        raise Malformed(f"the blob {digest} is missing from the archive", code="archive")
    return source


def _read_document(files: ImageFiles, descriptor: Descriptor, max_size: int) -> bytes:
    with _open_blob(files, descriptor.digest) as source:
        content = read_document(source, max_size, f"the archive's document {descriptor.digest}")
    if not descriptor.digest.matches(content):
        raise DigestMismatch(f"the archive's blob {descriptor.digest} is damaged")
    if len(content) != descriptor.size:
        raise Malformed(
            f"the archive's document {descriptor.digest} has {len(content)} bytes, "
            f"and its descriptor says {descriptor.size}",
            code="size",
            hints=("the size in index.json, or in an index or manifest, is wrong: save the archive again",),
        )
    return content


def _make_reader(files: ImageFiles, source: BinaryIO) -> Callable[[memoryview], int]:
    return CountingReader(source, files.on_progress).readinto


# docker's archives


class _DockerImage(Record):
    """An image in manifest.json."""

    config: str
    names: tuple[Reference, ...]
    layers: tuple[str, ...]


def _read_docker_images(content: bytes, path: str) -> list[_DockerImage]:
    """Read manifest.json; values must have the types that docker requires."""
    try:
        listed = parse_archive_manifest(content, f"the manifest.json of {path}")
    except Malformed as problem:
        if problem.code in ("json", "document"):
            problem.code = "archive"
        raise
    images = []
    for config, tags, layers in listed:
        try:
            names = tuple(Reference.parse(tag).with_default_tag().without_redundant_tag() for tag in tags)
        except InvalidReference as problem:
            raise Malformed(
                f"the manifest.json of {path} has an invalid image name: {problem.message}", code="archive"
            ) from None
        images.append(_DockerImage(config, names, tuple(layers)))
    return images


def _merge_listings(
    loaded: list[LoadedImage], images: Sequence[_DockerImage], files: ImageFiles, path: str, ingest: Ingest
) -> list[LoadedImage]:
    """Add the images of manifest.json to those loaded from index.json: names to the same images, and other images.

    Raises `Malformed` when two images have the same name.
    """
    positions: dict[Digest | None, list[int]] = {}  # in `loaded`, by the digest of a config
    for position, loaded_image in enumerate(loaded):
        for digest in loaded_image.ids:
            positions.setdefault(digest, []).append(position)
    configs = {image: _compute_config_digest(files, image, ingest.largest_document) for image in images}
    new_images = [image for image in images if configs[image] not in positions]
    if new_images and not ingest.has_room(files.total_size()):
        ingest.reserve(_list_uncompressed_layers(files, new_images, ingest.largest_document))
    imported: dict[Digest, Descriptor] = {}
    merged = list(loaded)
    for image in images:
        same_image = positions.get(configs[image])
        if same_image is None:
            merged.append(_load_docker_image(files, image, ingest, imported))
            continue
        existing_names = {name for position in same_image for name in merged[position].names}
        position = min(same_image, key=lambda position: len(loaded[position].ids))  # the image rather than an index
        new_names = tuple(name for name in image.names if name not in existing_names)
        names = tuple(name for name in merged[position].names if not _is_bare_tag(name, image.names))
        merged[position] = merged[position].replace(names=(*names, *new_names))
    digests_by_name: dict[Name, Digest] = {}
    for loaded_image in merged:
        for name in loaded_image.names:
            digest = loaded_image.descriptor.digest
            if digests_by_name.setdefault(name, digest) != digest:
                raise Malformed(f"{path} has two images with the name {name}", code="archive")
    return merged


def _is_bare_tag(name: Name, names: Sequence[Reference]) -> bool:
    """Whether a name of index.json is only the tag of one of these names: some tools write no more there."""
    return any(name != other and str(name) in (other.tag, f"{other.tag}:latest") for other in names)


def _compute_config_digest(files: ImageFiles, image: _DockerImage, max_size: int) -> Digest | None:
    """Return the digest of an image's config; None when it is missing or too large."""
    source = files.open(image.config)
    if source is None:
        return None
    with source:
        content = read_bounded(source, max_size)
    return Digest.of(content) if len(content) <= max_size else None


def _list_uncompressed_layers(files: ImageFiles, images: Sequence[_DockerImage], max_size: int) -> list[Descriptor]:
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
    files: ImageFiles, image: _DockerImage, ingest: Ingest, imported: dict[Digest, Descriptor]
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
