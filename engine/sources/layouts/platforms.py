"""The platforms of images of a layout, an archive, a folder or the store, by the documents that are there."""

from __future__ import annotations

from imq.engine.oci.config import Config
from imq.engine.oci.manifest import parse_manifest
from imq.engine.sources.platform_rows import list_platforms
from imq.engine.store.archive_listing import has_blob, read_blob_document, read_layout_entries, read_listing
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .places import LISTINGS, STORAGE, inspect_kind
from .reader import open_files

if TYPE_CHECKING:
    from imq.engine.oci.digest import Digest
    from imq.engine.oci.manifest import Descriptor, Index, Manifest
    from imq.engine.sources.platform_rows import PlatformRow
    from imq.engine.store.archive_files import ImageFiles

    from .places import Place


def read_platforms(place: Place, max_size: int, chosen: frozenset[Digest] | None) -> list[PlatformRow]:
    """Return the platforms of the entries of a place with these digests; of all for None. Raises `ImqError`."""
    place = inspect_kind(place)
    with open_files(place, max_size) as files:
        has_index = "index.json" in LISTINGS[place.kind] and place.kind != STORAGE
        content = read_listing(files, "index.json", place.path) if has_index else None
        if content is None:
            raise StatementError(
                f"platforms cannot be read from {place.text}: it has no indexes, and each image one platform",
                code="place",
                hints=(f'the platforms of its images: images in "{place.text}" select name, platform',),
            )
        documents = _Documents(files, max_size)
        rows: list[PlatformRow] = []
        for entry in read_layout_entries(files, content):
            if chosen is None or entry.descriptor.digest in chosen:
                rows += list_platforms(entry.name, entry.descriptor, documents.read, documents.read_config)
        return rows


class _Documents:
    def __init__(self, files: ImageFiles, max_size: int) -> None:
        self._files = files
        self._max_size = max_size

    def read(self, descriptor: Descriptor) -> Manifest | Index | None:
        """Return a manifest or an index; None when it is not here."""
        if not has_blob(self._files, descriptor.digest):
            return None
        content = read_blob_document(self._files, descriptor, self._max_size)
        return parse_manifest(content, descriptor.media_type)

    def read_config(self, manifest: Manifest) -> Config:
        """Return the config of an image."""
        content = read_blob_document(self._files, manifest.config, self._max_size)
        return Config.parse(content, f"the config {manifest.config.digest}")
