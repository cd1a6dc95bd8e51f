"""Images out of archives: docker's (`docker save`, `docker load`), OCI's, and folders with an OCI layout."""

from __future__ import annotations

import os

from imq.engine.layers.compression import sniff, unpacked
from imq.engine.oci import media
from imq.engine.oci.config import Config
from imq.engine.oci.digest import Digest
from imq.engine.oci.document import (
    Descriptor,
    Index,
    Manifest,
    check_layout,
    check_size,
    read_archive_images,
    read_listing,
    read_manifest,
)
from imq.engine.oci.reference import Reference
from imq.engine.progress import Watched
from imq.grammar.errors import DigestMismatch, ImqError, InvalidReference, Malformed, NotFound
from imq.grammar.record import TYPE_CHECKING, Record

from .files import told
from .index import DEEPEST_INDEX
from .layout import Entry
from .making import store_manifest
from .members import Archive, Folder, unreadable, unsaid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import BinaryIO

    from .ingest import Ingest
    from .members import Files

_PIECE = 1 << 20
_HEAD = 512
"""Bytes that tell how a layer is packed."""
_LARGEST_MARKER = 4096
"""Bytes of the oci-layout file that are read at most."""
_LARGEST_LISTING = 32 << 20
"""Bytes of index.json or manifest.json that are read at most: enough for tens of thousands of images."""


class Loaded(Record):
    """An image that was taken in, and the names it bore; of an index, `held` are the manifests that came with it."""

    descriptor: Descriptor
    id: Digest
    names: tuple[Reference, ...]
    held: frozenset[Digest] = frozenset()


def load(path: str, ingest: Ingest, watch: Callable[[int], Callable[[int], None]] = lambda _: unsaid) -> list[Loaded]:
    """Take in every image of an archive or layout folder. Blobs are verified; names are returned and not yet given.

    `watch` is called with the number of bytes that there are, and returns what is called whenever some have come in.
    """
    with told(f"read {path}"):
        if os.path.isdir(path):
            return list(_load(Folder(path), path, ingest, watch))
        try:
            with Archive(path) as archive:
                return list(_load(archive, path, ingest, watch))
        except FileNotFoundError:
            raise NotFound(
                f"no such file: {path}", hints=("load takes an archive that docker save or imq save wrote",)
            ) from None
        except unreadable() as problem:
            raise Malformed(f"{path} is damaged: {problem}", code="archive") from None
        except OSError as problem:
            if problem.errno is not None:
                raise
            raise Malformed(f"{path} is damaged: {problem}", code="archive") from None  # as bz2 says it


def _load(files: Files, path: str, ingest: Ingest, watch: Callable[[int], Callable[[int], None]]) -> Iterator[Loaded]:
    files.moved = watch(files.total())
    if (layout := files.open("index.json")) is not None:
        with layout:
            yield from _load_layout(files, _listing(layout, path), ingest)
    elif (listing := files.open("manifest.json")) is not None:
        with listing:
            yield from _load_docker(files, _listing(listing, path), path, ingest)
    else:
        raise Malformed(
            f"{path} holds no images: it has neither index.json nor manifest.json",
            code="archive",
            hints=("to make an image of a plain archive or folder: imq import PATH as NAME",),
        )


def _listing(source: BinaryIO, path: str) -> bytes:
    content = source.read(_LARGEST_LISTING + 1)
    if len(content) > _LARGEST_LISTING:
        raise Malformed(
            f"{path} lists its images in more than {_LARGEST_LISTING >> 20} MiB",
            code="document-size",
            hints=("part it into several archives",),
        )
    return content


# OCI layouts


def _load_layout(files: Files, content: bytes, ingest: Ingest) -> Iterator[Loaded]:
    if (marker := files.open("oci-layout")) is not None:
        with marker:
            check_layout(marker.read(_LARGEST_MARKER), "oci-layout")
    try:
        entries = read_listing(content, "index.json")
    except Malformed as problem:
        if problem.code not in ("json", "document"):
            raise
        raise Malformed(f"index.json is not the index of an image layout: {problem.message}", code="layout") from None
    described = [Entry.read(entry, place) for place, entry in enumerate(entries)]
    if not ingest.roomy(files.total()):
        ingest.reserve(_reached(files, [entry.descriptor for entry in described], ingest.largest_document))
    for entry in described:
        held: dict[Digest, Digest] = {}
        id_ = _copy_tree(files, entry.descriptor, ingest, held)
        descriptor = entry.descriptor.replace(annotations={})
        yield Loaded(descriptor, id_, (entry.name,) if entry.name else (), frozenset(held) - {descriptor.digest})


def _copy_tree(
    files: Files, descriptor: Descriptor, ingest: Ingest, held: dict[Digest, Digest], depth: int = 0
) -> Digest:
    """Copy a manifest and all it reaches, the manifest last; return the id of its (first) image.

    An archive of one platform has an index that names others too; `held` takes what is there, each with its (first)
    image. What indexes name twice is copied once.
    """
    if descriptor.digest in held:
        return held[descriptor.digest]
    if depth > DEEPEST_INDEX:
        raise Malformed("the archive has an index of indexes without end", code="document")
    content = _document(files, descriptor, ingest.largest_document)
    document = read_manifest(content, descriptor.media_type)
    if isinstance(document, Index):
        present = [child for child in document.manifests if _has(files, child.digest)]
        ids = [_copy_tree(files, child, ingest, held, depth + 1) for child in present]
        if not ids:
            raise Malformed(f"the index {descriptor.digest} has none of its images here", code="archive")
        id_ = ids[0]
    else:
        id_ = _copy_image(files, document, ingest)
    ingest.document(descriptor, content)
    held[descriptor.digest] = id_
    return id_


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


def _load_docker(files: Files, content: bytes, path: str, ingest: Ingest) -> Iterator[Loaded]:
    try:
        wanted = read_archive_images(content, f"the manifest.json of {path}")
    except Malformed as problem:
        if problem.code in ("json", "document"):
            problem.code = "archive"
        raise
    if not ingest.roomy(files.total()):
        ingest.reserve(_plain_layers(files, wanted, ingest.largest_document))
    adopted: dict[Digest, Descriptor] = {}
    for config_name, tags, layers in wanted:
        yield _load_docker_image(files, config_name, tags, layers, ingest, adopted)


def _plain_layers(files: Files, images: Sequence[tuple[str, list[str], list[str]]], largest: int) -> list[Descriptor]:
    """Return the layers that will be taken in and are not packed, as most; what is wrong with them is told later."""
    layers: dict[Digest, Descriptor] = {}
    for config_name, _, names in images:
        source = files.open(config_name)
        if source is None:
            continue
        with source:
            try:
                diff_ids = Config.read(source.read(largest)).diff_ids
            except ImqError:
                continue
        for name, diff_id in zip(names, diff_ids, strict=False):
            layer = files.open(name) if diff_id not in layers else None
            if layer is not None:
                with layer:
                    if not sniff(layer.read(_HEAD)):
                        layers[diff_id] = Descriptor(media.OCI_LAYER, diff_id, files.size(name))
    return list(layers.values())


def _load_docker_image(
    files: Files,
    config_name: str,
    tags: list[str],
    layers: list[str],
    ingest: Ingest,
    adopted: dict[Digest, Descriptor],
) -> Loaded:
    """Take in one image. `adopted` are the layers that came already, by diff ID: many images have the same ones."""
    try:
        names = tuple(Reference.parse(tag).with_default_tag() for tag in tags)
    except InvalidReference as problem:
        raise Malformed(f"the archive names an image wrongly: {problem.message}", code="archive") from None
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
        ingest, Descriptor(media.OCI_CONFIG, Digest.of(content), len(content)), content, described
    )
    return Loaded(descriptor, Digest.of(content), names)


def _adopt_layer(files: Files, source: BinaryIO, diff_id: Digest, size: int, ingest: Ingest) -> Descriptor:
    head = source.read(_HEAD)
    source.seek(0)
    packed = sniff(head)
    if not packed:  # then what it unpacks to is what it is
        descriptor = Descriptor(media.OCI_LAYER, diff_id, size)
        if diff_id not in ingest.reserve((descriptor,)):
            try:
                ingest.receive(descriptor, diff_id, _filler(files, source), lambda: False)
            except DigestMismatch as problem:
                raise DigestMismatch(
                    f"a layer of the archive is not what the config says: {problem.message}", code="diff-id-mismatch"
                ) from None
        return descriptor
    pieces = _pieces(files, source)
    if packed in media.LAYER_TYPES:
        adopted = ingest.adopt(pieces, packed)
    else:  # bzip2 and xz, for which there is no media type
        adopted = ingest.adopt(unpacked(packed, pieces), "", repack="gzip")
    if adopted.content.diff_id != diff_id:
        raise DigestMismatch(
            f"a layer of the archive unpacks to {adopted.content.diff_id}, but the config says {diff_id}",
            code="diff-id-mismatch",
        )
    return adopted.descriptor


def _pieces(files: Files, source: BinaryIO) -> Iterator[bytes]:
    while piece := source.read(_PIECE):
        files.moved(len(piece))
        yield piece
