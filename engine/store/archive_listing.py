"""Reads the listings and documents of an archive or folder of images: the part of loading that writes nothing.

An archive lists its images in index.json (OCI), in manifest.json (docker), or in both.
"""

from __future__ import annotations

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
from imq.engine.oci.manifest_walk import read_manifest_tree
from imq.engine.oci.reference import Reference
from imq.grammar.errors import DigestMismatch, InvalidReference, Malformed
from imq.grammar.record import TYPE_CHECKING, Record

from .bounded_read import read_bounded, read_document
from .index_json import IndexEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from typing import BinaryIO, Protocol, Self, TypeVar

    from imq.engine.oci.manifest_walk import ManifestTree
    from imq.engine.oci.reference import Name
    from imq.grammar.errors import ImqError

    from .archive_files import ImageFiles

    class ListedImage(Protocol):
        """An image of a listing: what names it, its names, and the configs of it or of the images of its index."""

        @property
        def descriptor(self) -> Descriptor: ...  # noqa: D102 - see the class
        @property
        def names(self) -> tuple[Name, ...]: ...  # noqa: D102
        @property
        def ids(self) -> AbstractSet[Digest]: ...  # noqa: D102

        def replace(self, *, names: tuple[Name, ...]) -> Self:
            """Return the image with other names."""

    _Listed = TypeVar("_Listed", bound=ListedImage)

_MAX_MARKER_SIZE = 4096
"""The maximum size in bytes of the file oci-layout."""
_MAX_LISTING_SIZE = 32 << 20
"""The maximum size in bytes of index.json or manifest.json: enough for tens of thousands of images."""


def read_listing(files: ImageFiles, name: str, path: str) -> bytes | None:
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


def read_layout_entries(files: ImageFiles, content: bytes) -> list[IndexEntry]:
    """Return the entries of an index.json. Raises `Malformed` for another document, or another layout version."""
    if (marker := files.open("oci-layout")) is not None:
        with marker:
            check_layout_file(marker.read(_MAX_MARKER_SIZE), "oci-layout")
    try:
        entries = parse_layout_index(content, "index.json")["manifests"]
    except Malformed as problem:
        if problem.code not in ("json", "document"):
            raise
        raise Malformed(f"index.json is not the index of an image layout: {problem.message}", code="layout") from None
    return [IndexEntry.read(entry, f"entry {position} of index.json") for position, entry in enumerate(entries)]


def get_blob_path(digest: Digest) -> str:
    """Return the path of a blob in an archive or a layout folder."""
    return f"blobs/{digest.algorithm}/{digest.encoded}"


def has_blob(files: ImageFiles, digest: Digest) -> bool:
    """Whether the archive has a blob, with a supported digest algorithm."""
    if not digest.is_supported:
        return False
    source = files.open(get_blob_path(digest))
    if source is None:
        return False
    source.close()
    return True


def open_blob(files: ImageFiles, digest: Digest) -> BinaryIO:
    """Open a blob. Raises `Malformed` when it is missing."""
    source = files.open(get_blob_path(digest))
    if source is None:
        raise Malformed(f"the blob {digest} is missing from the archive", code="archive")
    return source


def read_blob_document(files: ImageFiles, descriptor: Descriptor, max_size: int) -> bytes:
    """Return a manifest, index or config of at most `max_size` bytes, verified by its digest and size."""
    with open_blob(files, descriptor.digest) as source:
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


def read_tree(
    files: ImageFiles,
    root: Descriptor,
    max_size: int,
    on_error: Callable[[Descriptor, ImqError], None],
    contents: dict[Digest, bytes],
) -> ManifestTree:
    """Read the documents below a descriptor that are in the archive; `contents` receives their bytes."""

    def read(descriptor: Descriptor) -> Manifest | Index:
        contents[descriptor.digest] = read_blob_document(files, descriptor, max_size)
        return parse_manifest(contents[descriptor.digest], descriptor.media_type)

    return read_manifest_tree(root, read, descends=lambda child: has_blob(files, child.digest), on_error=on_error)


# Docker archives


class DockerImage(Record):
    """An image in manifest.json."""

    config: str
    names: tuple[Reference, ...]
    layers: tuple[str, ...]


def read_docker_images(content: bytes, path: str) -> list[DockerImage]:
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
        images.append(DockerImage(config, names, tuple(layers)))
    return images


def join_listings(
    listed: Sequence[_Listed],
    configs: Mapping[DockerImage, Digest | None],
    add: Callable[[DockerImage], _Listed],
    path: str,
) -> list[_Listed]:
    """Add the images of manifest.json to those of index.json: names to the same images, and other images.

    `configs` has the images of manifest.json, each with the digest of its config; `add` reads one. Raises `Malformed`
    when the two lists have different images of one name. Within one list the last image has the name, as in docker.
    """
    own_names = _get_last_images(listed)
    positions: dict[Digest | None, list[int]] = {}  # in `listed`, by the digest of a config
    for position, one in enumerate(listed):
        for digest in one.ids:
            positions.setdefault(digest, []).append(position)
    joined = list(listed)
    for image, config in configs.items():
        same_image = positions.get(config)
        if same_image is None:
            joined.append(add(image))
            continue
        existing_names = {name for position in same_image for name in joined[position].names}
        position = min(same_image, key=lambda position: len(listed[position].ids))  # the image rather than an index
        new_names = tuple(name for name in image.names if name not in existing_names)
        names = tuple(name for name in joined[position].names if not _is_bare_tag(name, image.names))
        joined[position] = joined[position].replace(names=(*names, *new_names))
    last_images = _get_last_images(joined)
    for name, digest in own_names.items():
        if last_images.get(name, digest) != digest:
            raise Malformed(f"{path} has two images with the name {name}", code="archive")
    return joined


def _get_last_images(listed: Iterable[ListedImage]) -> dict[Name, Digest]:
    """Return the digest of the last image with each name."""
    return {name: one.descriptor.digest for one in listed for name in one.names}


def keep_last_names(listed: Sequence[_Listed]) -> list[_Listed]:
    """Return the images of an archive with the names that they have once it is loaded: the last image keeps a name."""
    last_images = _get_last_images(listed)
    return [
        one.replace(names=tuple(name for name in one.names if last_images[name] == one.descriptor.digest))
        for one in listed
    ]


def _is_bare_tag(name: Name, names: Sequence[Reference]) -> bool:
    """Whether a name of index.json is only the tag of one of these names: some tools write no more there."""
    return any(name != other and str(name) in (other.tag, f"{other.tag}:latest") for other in names)


def compute_config_digest(files: ImageFiles, image: DockerImage, max_size: int) -> Digest | None:
    """Return the digest of an image's config; None when it is missing or too large."""
    source = files.open(image.config)
    if source is None:
        return None
    with source:
        content = read_bounded(source, max_size)
    return Digest.of(content) if len(content) <= max_size else None
