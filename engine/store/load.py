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
    check_layout,
    check_size,
    read_archive_images,
    read_listing,
    read_manifest,
)
from imq.engine.oci.reference import Name, Reference
from imq.engine.progress import Watched
from imq.grammar.errors import DigestMismatch, ImqError, InvalidReference, Malformed, NotFound
from imq.grammar.record import TYPE_CHECKING, Record

from .archive_files import Archive, Folder, unsaid
from .atomic_files import told
from .image_builder import Loaded, adopt_unknown_layer, store_manifest
from .index import DEEPEST_INDEX
from .layout import Entry, foreign

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import BinaryIO

    from .archive_files import Files
    from .ingest import Ingest

_HEAD = 512
"""Bytes that tell how a layer is packed."""
_LARGEST_MARKER = 4096
"""Bytes of the oci-layout file that are read at most."""
_LARGEST_LISTING = 32 << 20
"""Bytes of index.json or manifest.json that are read at most: enough for tens of thousands of images."""


def load(path: str, ingest: Ingest, watch: Callable[[int], Callable[[int], None]] = lambda _: unsaid) -> list[Loaded]:
    """Take in every image of an archive or layout folder. Blobs are verified; names are returned and not yet given.

    `watch` is called with the number of bytes that there are, and returns what is called whenever some have come in.
    """
    with told(f"read {path}"):
        if os.path.isdir(path):
            return _load(Folder(path), path, ingest, watch)
        try:
            with Archive(path) as archive:
                return _load(archive, path, ingest, watch)
        except FileNotFoundError:
            raise NotFound(
                f"no such file: {path}", hints=("load takes an archive that docker save or imq save wrote",)
            ) from None


def _load(files: Files, path: str, ingest: Ingest, watch: Callable[[int], Callable[[int], None]]) -> list[Loaded]:
    """Load what an archive lists: in index.json, in manifest.json, or in both, which are joined; else in repositories.

    An image that both list keeps the manifest that index.json names, and has the names of both.
    """
    files.moved = watch(files.total())
    layout, listing = _listing(files, "index.json", path), _listing(files, "manifest.json", path)
    loaded = _load_layout(files, layout, ingest) if layout is not None else []
    if listing is not None:
        loaded = _join(loaded, _docker_images(listing, path), files, path, ingest)
    if layout is None and listing is None and (repositories := _listing(files, "repositories", path)) is not None:
        from .load_docker_v1 import load_v1

        loaded = load_v1(files, repositories, path, ingest)
    if not loaded:
        what = "they list none" if layout is not None or listing is not None else "there is none of them"
        raise Malformed(
            f"{path} holds no images: of index.json, manifest.json and repositories {what}",
            code="archive",
            hints=("to make an image of a plain archive or folder: imq import PATH as NAME",),
        )
    return loaded


def _listing(files: Files, name: str, path: str) -> bytes | None:
    """Return the content of a file that lists images, None when there is none."""
    source = files.open(name)
    if source is None:
        return None
    with source:
        content = source.read(_LARGEST_LISTING + 1)
    if len(content) > _LARGEST_LISTING:
        raise Malformed(
            f"{path} lists its images in more than {_LARGEST_LISTING >> 20} MiB",
            code="document-size",
            hints=("part it into several archives",),
        )
    return content


# OCI layouts


def _load_layout(files: Files, content: bytes, ingest: Ingest) -> list[Loaded]:
    if (marker := files.open("oci-layout")) is not None:
        with marker:
            check_layout(marker.read(_LARGEST_MARKER), "oci-layout")
    try:
        entries = read_listing(content, "index.json")["manifests"]
    except Malformed as problem:
        if problem.code not in ("json", "document"):
            raise
        raise Malformed(f"index.json is not the index of an image layout: {problem.message}", code="layout") from None
    described = [Entry.read(entry, place) for place, entry in enumerate(entries)]
    if not ingest.roomy(files.total()):
        ingest.reserve(_reached(files, [entry.descriptor for entry in described], ingest.largest_document))
    loaded: list[Loaded] = []
    for entry in described:
        held: dict[Digest, Digest] = {}
        problems: dict[Digest, ImqError] = {}
        id_ = _copy_tree(files, entry.descriptor, ingest, held, problems)
        descriptor = entry.descriptor.replace(annotations=foreign(entry.descriptor.annotations))
        names = (entry.name,) if entry.name else ()
        others = frozenset(held) - {descriptor.digest}
        loaded.append(Loaded(descriptor, id_, names, others, frozenset(held.values()), tuple(problems.values())))
    return loaded


def _copy_tree(
    files: Files,
    descriptor: Descriptor,
    ingest: Ingest,
    held: dict[Digest, Digest],
    problems: dict[Digest, ImqError],
    depth: int = 0,
) -> Digest:
    """Copy a manifest and all it reaches, the manifest last; return the id of its (first) image.

    An archive of one platform has an index that names others too; `held` takes what is there, each with its (first)
    image, and `problems` what is there in part. What indexes name twice is copied once.
    """
    if descriptor.digest in held:
        return held[descriptor.digest]
    if depth > DEEPEST_INDEX:
        raise Malformed("the archive has an index of indexes without end", code="document")
    content = _document(files, descriptor, ingest.largest_document)
    document = read_manifest(content, descriptor.media_type)
    if isinstance(document, Index):
        present = [child for child in document.manifests if _has(files, child.digest)]
        ids = []
        for child in present:
            if child.digest in problems:
                continue
            try:
                ids.append(_copy_tree(files, child, ingest, held, problems, depth + 1))
            except (Malformed, DigestMismatch) as problem:
                problems[child.digest] = _about_platform(child, problem)
        if not ids:
            raise next(
                (problems[child.digest] for child in present if child.digest in problems),
                Malformed(f"the index {descriptor.digest} has none of its images here", code="archive"),
            )
        id_ = ids[0]
    else:
        id_ = _copy_image(files, document, ingest)
    ingest.document(descriptor, content)
    held[descriptor.digest] = id_
    return id_


def _about_platform(child: Descriptor, problem: ImqError) -> ImqError:
    """Let a problem say which image of an index it is about."""
    what = f"the image for {child.platform}" if child.platform is not None else f"the manifest {child.digest}"
    if not problem.message.startswith(what):
        problem.message = f"{what} is not whole in the archive: {problem.message}"
    return problem


def _reached(files: Files, roots: Sequence[Descriptor], largest: int) -> list[Descriptor]:
    """Return the blobs that will be copied for these descriptors; what is wrong with them is told later."""
    reached: dict[Digest, Descriptor] = {}
    pending = list(roots)
    while pending:
        descriptor = pending.pop()
        if descriptor.digest in reached or not _has(files, descriptor.digest):
            continue
        reached[descriptor.digest] = descriptor
        try:
            document = read_manifest(_document(files, descriptor, largest), descriptor.media_type)
        except ImqError:
            continue
        if isinstance(document, Index):
            pending += document.manifests
        else:
            reached |= {blob.digest: blob for blob in (document.config, *document.layers)}
    return list(reached.values())


def _copy_image(files: Files, manifest: Manifest, ingest: Ingest) -> Digest:
    config = _document(files, manifest.config, ingest.largest_document)
    diff_ids: Sequence[Digest | None] = (
        Config.read(config).diff_ids if manifest.is_image else [None] * len(manifest.layers)
    )
    if len(diff_ids) != len(manifest.layers):
        raise Malformed(f"the config has {len(diff_ids)} layers, the manifest {len(manifest.layers)}", code="layers")
    present = ingest.reserve(manifest.layers)
    for layer, diff_id in zip(manifest.layers, diff_ids, strict=True):
        if layer.digest not in present:
            with _blob(files, layer.digest) as source:
                ingest.receive(layer, diff_id, _filler(files, source), lambda: False)
    ingest.document(manifest.config, config)
    return manifest.config.digest


def blob_member(digest: Digest) -> str:
    """Return the name of a blob in an archive or a layout folder."""
    return f"blobs/{digest.algorithm}/{digest.hex}"


def _has(files: Files, digest: Digest) -> bool:
    """Whether the archive has a blob, as far as it can be checked."""
    if not digest.is_computable:
        return False
    source = files.open(blob_member(digest))
    if source is None:
        return False
    source.close()
    return True


def _blob(files: Files, digest: Digest) -> BinaryIO:
    source = files.open(blob_member(digest))
    if source is None:
        raise Malformed(f"the blob {digest} is missing from the archive", code="archive")
    return source


def _document(files: Files, descriptor: Descriptor, largest: int) -> bytes:
    with _blob(files, descriptor.digest) as source:
        content = source.read(largest + 1)
    check_size(len(content), largest, f"the archive's document {descriptor.digest}")
    hasher = descriptor.digest.hasher()
    hasher.update(content)
    if hasher.hexdigest() != descriptor.digest.hex:
        raise DigestMismatch(f"the archive's blob {descriptor.digest} is damaged")
    if len(content) != descriptor.size:
        raise Malformed(
            f"the archive's document {descriptor.digest} has {len(content)} bytes, "
            f"and what names it says {descriptor.size}",
            code="size",
            hints=("the size in index.json or in an index or manifest is wrong: write the archive again",),
        )
    return content


def _filler(files: Files, source: BinaryIO) -> Callable[[memoryview], int]:
    return Watched(source, files.moved).readinto


# docker's archives


class _DockerImage(Record):
    """An image as manifest.json lists it."""

    config: str
    names: tuple[Reference, ...]
    layers: tuple[str, ...]


def _docker_images(content: bytes, path: str) -> list[_DockerImage]:
    """Read manifest.json; docker's own types are asked for."""
    try:
        listed = read_archive_images(content, f"the manifest.json of {path}")
    except Malformed as problem:
        if problem.code in ("json", "document"):
            problem.code = "archive"
        raise
    images = []
    for config, tags, layers in listed:
        try:
            names = tuple(Reference.parse(tag).with_default_tag().without_idle_tag() for tag in tags)
        except InvalidReference as problem:
            raise Malformed(
                f"the manifest.json of {path} names an image wrongly: {problem.message}", code="archive"
            ) from None
        images.append(_DockerImage(config, names, tuple(layers)))
    return images


def _join(
    loaded: list[Loaded], images: Sequence[_DockerImage], files: Files, path: str, ingest: Ingest
) -> list[Loaded]:
    """Add what manifest.json lists to what index.json lists: names to images that are there, and other images.

    Raises `Malformed` when they give one name to two images.
    """
    places: dict[Digest | None, list[int]] = {}  # of the images that are there, by their configs
    for place, one in enumerate(loaded):
        for digest in one.ids:
            places.setdefault(digest, []).append(place)
    configs = {image: _config_digest(files, image, ingest.largest_document) for image in images}
    others = [image for image in images if configs[image] not in places]
    if others and not ingest.roomy(files.total()):
        ingest.reserve(_plain_layers(files, others, ingest.largest_document))
    adopted: dict[Digest, Descriptor] = {}
    joined = list(loaded)
    for image in images:
        found = places.get(configs[image])
        if found is None:
            joined.append(_load_docker_image(files, image, ingest, adopted))
            continue
        taken = {name for place in found for name in joined[place].names}
        place = min(found, key=lambda place: len(loaded[place].ids))  # the image itself before an index of several
        new = tuple(name for name in image.names if name not in taken)
        names = tuple(name for name in joined[place].names if not _is_bare_tag(name, image.names))
        joined[place] = joined[place].replace(names=(*names, *new))
    named: dict[Name, Digest] = {}
    for one in joined:
        for name in one.names:
            if named.setdefault(name, one.descriptor.digest) != one.descriptor.digest:
                raise Malformed(f"{path} gives the name {name} to two images", code="archive")
    return joined


def _is_bare_tag(name: Name, names: Sequence[Reference]) -> bool:
    """Whether a name of index.json is only the tag of one of these names: that is all that some writers note there."""
    return any(name != other and str(name) in (other.tag, f"{other.tag}:latest") for other in names)


def _config_digest(files: Files, image: _DockerImage, largest: int) -> Digest | None:
    """Return the digest of an image's config, None when it is missing or too large."""
    source = files.open(image.config)
    if source is None:
        return None
    with source:
        content = source.read(largest + 1)
    return Digest.of(content) if len(content) <= largest else None


def _plain_layers(files: Files, images: Sequence[_DockerImage], largest: int) -> list[Descriptor]:
    """Return the layers that will be taken in and are not packed, as most; what is wrong with them is told later."""
    layers: dict[Digest, Descriptor] = {}
    for image in images:
        source = files.open(image.config)
        if source is None:
            continue
        with source:
            try:
                diff_ids = Config.read(source.read(largest)).diff_ids
            except ImqError:
                continue
        for name, diff_id in zip(image.layers, diff_ids, strict=False):
            layer = files.open(name) if diff_id not in layers else None
            if layer is not None:
                with layer:
                    if not detect_compression(layer.read(_HEAD)):
                        layers[diff_id] = Descriptor(media_types.OCI_LAYER, diff_id, files.size(name))
    return list(layers.values())


def _load_docker_image(files: Files, image: _DockerImage, ingest: Ingest, adopted: dict[Digest, Descriptor]) -> Loaded:
    """Take in one image. `adopted` are the layers that came already, by diff ID: many images have the same ones."""
    config_name, layers = image.config, image.layers
    source = files.open(config_name)
    if source is None:
        raise Malformed(f"the config {config_name} is missing from the archive", code="archive")
    with source:
        content = source.read(ingest.largest_document + 1)
    check_size(len(content), ingest.largest_document, f"the config {config_name} of the archive")
    config = Config.read(content, config_name)
    if len(config.diff_ids) != len(layers):
        raise Malformed(
            f"{config_name} has {len(config.diff_ids)} layers, manifest.json says {len(layers)}", code="layers"
        )
    described = []
    for name, diff_id in zip(layers, config.diff_ids, strict=True):
        source = files.open(name)
        if source is None:
            raise Malformed(f"the layer {name} is missing from the archive", code="archive")
        with source:
            if diff_id not in adopted:
                adopted[diff_id] = _adopt_layer(files, source, diff_id, files.size(name), ingest)
        described.append(adopted[diff_id])
    descriptor = store_manifest(
        ingest, Descriptor(media_types.OCI_CONFIG, Digest.of(content), len(content)), content, described
    )
    return Loaded(descriptor, Digest.of(content), image.names)


def _adopt_layer(files: Files, source: BinaryIO, diff_id: Digest, size: int, ingest: Ingest) -> Descriptor:
    head = source.read(_HEAD)
    source.seek(0)
    packed = detect_compression(head)
    if not packed:  # then what it unpacks to is what it is
        descriptor = Descriptor(media_types.OCI_LAYER, diff_id, size)
        if diff_id not in ingest.reserve((descriptor,)):
            try:
                ingest.receive(descriptor, diff_id, _filler(files, source), lambda: False)
            except DigestMismatch as problem:
                raise DigestMismatch(
                    f"a layer of the archive is not what the config says: {problem.message}", code="diff-id-mismatch"
                ) from None
        return descriptor
    adopted = adopt_unknown_layer(files, source, ingest)
    if adopted.content.diff_id != diff_id:
        raise DigestMismatch(
            f"a layer of the archive unpacks to {adopted.content.diff_id}, but the config says {diff_id}",
            code="diff-id-mismatch",
        )
    return adopted.descriptor
