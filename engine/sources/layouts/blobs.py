"""The blobs of a layout, an archive or a folder, with the images that need them."""

from __future__ import annotations

from imq.engine.sources.blob_rows import References
from imq.engine.store.archive_listing import read_layout_entries, read_listing, read_tree
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .places import LISTINGS, STORAGE, inspect_kind
from .reader import open_files, read_place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.manifest import Descriptor
    from imq.engine.sources.blob_rows import Blob
    from imq.grammar.errors import ImqError

    from .places import Place


def read_blobs(place: Place, max_size: int) -> tuple[list[Blob], Mapping[str, ImqError]]:
    """Return the blobs of a place, and its problems by the image that they concern. Raises `ImqError`.

    Of an archive in docker's own format, only the configs and layers that it lists are blobs with a digest.
    """
    place = inspect_kind(place)
    if place.kind == STORAGE:
        raise StatementError(
            f"blobs cannot be read from {place.text}: a storage keeps layers unpacked",
            code="place",
            hints=("its images: images in containers-storage:, layers in containers-storage:",),
        )
    with open_files(place, max_size) as files:
        content = read_listing(files, "index.json", place.path) if "index.json" in LISTINGS[place.kind] else None
        if content is None:
            return _list_docker_blobs(place, max_size), {}
        references = References()
        problems: dict[str, ImqError] = {}
        for entry in read_layout_entries(files, content):
            image = str(entry.name) if entry.name is not None else str(entry.descriptor.digest)

            def fail(_descriptor: Descriptor, error: ImqError, image: str = image) -> None:
                references.unreadable[image] = None
                problems[image] = error

            references.add(image, entry.descriptor)
            for node in read_tree(files, entry.descriptor, max_size, fail, {}).top_down():
                references.add(image, node.descriptor, node.document)
        return list(references.make_blobs(files.iter_blob_sizes())), problems


def _list_docker_blobs(place: Place, max_size: int) -> list[Blob]:
    sizes: dict[Digest, int] = {}
    images: dict[Digest, dict[str, None]] = {}
    for listed in read_place(place, max_size).listed:
        for image in listed.images:
            names = [str(name) for name in listed.names] or [str(image.id)]
            blobs = [(image.id, listed.descriptor.size)]
            blobs += [(one.digest, one.download_size or 0) for one in image.layers if one.digest is not None]
            for digest, size in blobs:
                sizes[digest] = size
                images.setdefault(digest, {}).update(dict.fromkeys(names))
    return [(digest, size, None, list(images[digest])) for digest, size in sizes.items()]
