"""Images out of archives: docker's (`docker save`, `docker load`), OCI's, and folders with an OCI layout.

Since docker 25 an archive is both: index.json lists images and manifest.json lists them in docker's form. Other tools
list some images in one of them only, and so the two are joined.
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
    check_document_size,
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
from .bounded_read import read_bounded
from .image_builder import LoadedImage, import_unknown_layer, store_manifest
from .layout import IndexEntry, diff_id_mismatch, get_foreign_annotations

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import BinaryIO

    from imq.engine.oci.manifest_walk import ManifestTree

    from .archive_files import ImageFiles
    from .ingest import Ingest

_MAGIC_SIZE = 512
"""Bytes that tell how a layer is packed."""
_MAX_MARKER_SIZE = 4096
"""Bytes of the oci-layout file that are read at most."""
_MAX_LISTING_SIZE = 32 << 20
"""Bytes of index.json or manifest.json that are read at most: enough for tens of thousands of images."""


def _raise_skipped(_: str, problem: ImqError) -> None:
    raise problem


def load(
    path: str,
    ingest: Ingest,
    start_progress: Callable[[int], Callable[[int], None]] = lambda _: ignore_progress,
    on_skipped: Callable[[str, ImqError], None] = _raise_skipped,
) -> list[LoadedImage]:
    """Take in every image of an archive or layout folder. Blobs are verified; names are returned and not yet given.

    `on_skipped` is called with the name of an image that no digest here can check, and why; the others are loaded.
    `watch` is called with the number of bytes that there are, and returns what is called whenever some have come in.
    """
    with store_errors(f"read {path}"):
        if os.path.isdir(path):
            return _load(Folder(path), path, ingest, start_progress, on_skipped)
        try:
            with Archive(path) as archive:
                return _load(archive, path, ingest, start_progress, on_skipped)
        except FileNotFoundError:
            raise NotFound(
                f"no such file: {path}", hints=("load takes an archive that docker save or imq save wrote",)
            ) from None


def _load(
    files: ImageFiles,
    path: str,
    ingest: Ingest,
    start_progress: Callable[[int], Callable[[int], None]],
    on_skipped: Callable[[str, ImqError], None],
) -> list[LoadedImage]:
    """Load what an archive lists: in index.json, in manifest.json, or in both, which are joined; else in repositories.

    An image that both list keeps the manifest that index.json names, and has the names of both.
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
        problem = "they list none" if layout is not None or listing is not None else "there is none of them"
        raise Malformed(
            f"{path} holds no images: of index.json, manifest.json and repositories {problem}",
            code="archive",
            hints=("to make an image of a plain archive or folder: imq import PATH as NAME",),
        )
    return loaded


def _read_listing(files: ImageFiles, name: str, path: str) -> bytes | None:
    """Return the content of a file that lists images, None when there is none."""
    source = files.open(name)
    if source is None:
        return None
    with source:
        content = read_bounded(source, _MAX_LISTING_SIZE)
    if len(content) > _MAX_LISTING_SIZE:
        raise Malformed(
            f"{path} lists its images in more than {_MAX_LISTING_SIZE >> 20} MiB",
            code="document-size",
            hints=("part it into several archives",),
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
    index_entries = [IndexEntry.read(entry, place) for place, entry in enumerate(entries)]
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
    """Copy a manifest and all documents below it, each index after its entries; return the id of its (first) image.

    An archive of one platform has an index that names others too. `image_ids` gets the documents that are copied, each
    with its (first) image, and `problems` those that are there in part.
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
    """Read the documents below a descriptor that the archive has; `contents` gets their bytes."""

    def read(descriptor: Descriptor) -> Manifest | Index:
        contents[descriptor.digest] = _read_document(files, descriptor, max_size)
        return parse_manifest(contents[descriptor.digest], descriptor.media_type)

    return read_manifest_tree(root, read, descends=lambda child: _has_blob(files, child.digest), on_error=on_error)


def _first_image(
    index: Index, image_ids: Mapping[Digest, Digest], problems: Mapping[Digest, ImqError], descriptor: Descriptor
) -> Digest:
    """Return the id of the first image of an index that was copied."""
    for child in index.manifests:
        if child.digest in image_ids:
            return image_ids[child.digest]
    raise next(
        (problems[child.digest] for child in index.manifests if child.digest in problems),
        Malformed(f"the index {descriptor.digest} has none of its images here", code="archive"),
    )


def _add_platform(child: Descriptor, problem: ImqError) -> ImqError:
    """Let a problem say which image of an index it is about."""
    subject = f"the image for {child.platform}" if child.platform is not None else f"the manifest {child.digest}"
    if not problem.message.startswith(subject):
        problem.message = f"{subject} is not whole in the archive: {problem.message}"
    return problem


def _list_blobs(files: ImageFiles, roots: Sequence[Descriptor], max_size: int) -> list[Descriptor]:
    """Return the blobs that will be copied for these descriptors; what is wrong with them is told later."""
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
    """Return the name of a blob in an archive or a layout folder."""
    return f"blobs/{digest.algorithm}/{digest.encoded}"


def _has_blob(files: ImageFiles, digest: Digest) -> bool:
    """Whether the archive has a blob, as far as it can be checked."""
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
        content = read_bounded(source, max_size)
    check_document_size(len(content), max_size, f"the archive's document {descriptor.digest}")
    hasher = descriptor.digest.new_hash()
    hasher.update(content)
    if hasher.hexdigest() != descriptor.digest.encoded:
        raise DigestMismatch(f"the archive's blob {descriptor.digest} is damaged")
    if len(content) != descriptor.size:
        raise Malformed(
            f"the archive's document {descriptor.digest} has {len(content)} bytes, "
            f"and what names it says {descriptor.size}",
            code="size",
            hints=("the size in index.json or in an index or manifest is wrong: write the archive again",),
        )
    return content


def _make_reader(files: ImageFiles, source: BinaryIO) -> Callable[[memoryview], int]:
    return CountingReader(source, files.on_progress).readinto


# docker's archives


class _DockerImage(Record):
    """An image as manifest.json lists it."""

    config: str
    names: tuple[Reference, ...]
    layers: tuple[str, ...]


def _read_docker_images(content: bytes, path: str) -> list[_DockerImage]:
    """Read manifest.json; docker's own types are asked for."""
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
                f"the manifest.json of {path} names an image wrongly: {problem.message}", code="archive"
            ) from None
        images.append(_DockerImage(config, names, tuple(layers)))
    return images


def _merge_listings(
    loaded: list[LoadedImage], images: Sequence[_DockerImage], files: ImageFiles, path: str, ingest: Ingest
) -> list[LoadedImage]:
    """Add what manifest.json lists to what index.json lists: names to images that are there, and other images.

    Raises `Malformed` when they give one name to two images.
    """
    positions: dict[Digest | None, list[int]] = {}  # of the images that are there, by their configs
    for position, image_ in enumerate(loaded):
        for digest in image_.ids:
            positions.setdefault(digest, []).append(position)
    configs = {image: _compute_config_digest(files, image, ingest.largest_document) for image in images}
    new_images = [image for image in images if configs[image] not in positions]
    if new_images and not ingest.has_room(files.total_size()):
        ingest.reserve(_list_uncompressed_layers(files, new_images, ingest.largest_document))
    imported: dict[Digest, Descriptor] = {}
    merged = list(loaded)
    for image in images:
        found = positions.get(configs[image])
        if found is None:
            merged.append(_load_docker_image(files, image, ingest, imported))
            continue
        existing_names = {name for place in found for name in merged[place].names}
        position = min(found, key=lambda place: len(loaded[place].ids))  # the image itself before an index of several
        new_names = tuple(name for name in image.names if name not in existing_names)
        names = tuple(name for name in merged[position].names if not _is_bare_tag(name, image.names))
        merged[position] = merged[position].replace(names=(*names, *new_names))
    digests_by_name: dict[Name, Digest] = {}
    for image_ in merged:
        for name in image_.names:
            if digests_by_name.setdefault(name, image_.descriptor.digest) != image_.descriptor.digest:
                raise Malformed(f"{path} gives the name {name} to two images", code="archive")
    return merged


def _is_bare_tag(name: Name, names: Sequence[Reference]) -> bool:
    """Whether a name of index.json is only the tag of one of these names: that is all that some writers note there."""
    return any(name != other and str(name) in (other.tag, f"{other.tag}:latest") for other in names)


def _compute_config_digest(files: ImageFiles, image: _DockerImage, max_size: int) -> Digest | None:
    """Return the digest of an image's config, None when it is missing or too large."""
    source = files.open(image.config)
    if source is None:
        return None
    with source:
        content = read_bounded(source, max_size)
    return Digest.of(content) if len(content) <= max_size else None


def _list_uncompressed_layers(files: ImageFiles, images: Sequence[_DockerImage], max_size: int) -> list[Descriptor]:
    """Return the layers that will be taken in and are not packed, as most; what is wrong with them is told later."""
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
    """Take in one image. `adopted` are the layers that came already, by diff ID: many images have the same ones."""
    config_name, layers = image.config, image.layers
    source = files.open(config_name)
    if source is None:
        raise Malformed(f"the config {config_name} is missing from the archive", code="archive")
    with source:
        content = read_bounded(source, ingest.largest_document)
    check_document_size(len(content), ingest.largest_document, f"the config {config_name} of the archive")
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
    if not compression:  # then what it unpacks to is what it is
        descriptor = Descriptor(media_types.OCI_LAYER, diff_id, size)
        if diff_id not in ingest.reserve((descriptor,)):
            try:
                ingest.receive_blob(descriptor, diff_id, _make_reader(files, source), lambda: False)
            except DigestMismatch as problem:
                if problem.code == "digest-algorithm":
                    raise
                raise DigestMismatch(
                    f"a layer of the archive is not what the config says: {problem.message}", code="diff-id-mismatch"
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
