"""A folder of skopeo's dir transport (`dir:DIR`), presented as an OCI layout.

version               the version of the transport
manifest.json         the manifest of the one image, or its index
HEX.manifest.json     the manifests that an index names
HEX                   configs and layers, each named by the hex digits of its digest
"""

from __future__ import annotations

import io
import os
import re

from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest, is_digest
from imq.engine.oci.manifest import Descriptor, encode_json, parse_manifest
from imq.engine.store.archive_files import Folder
from imq.engine.store.archive_listing import get_blob_path
from imq.engine.store.bounded_read import read_document
from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

MANIFEST = "manifest.json"
VERSION_FILE = "version"
VERSION = b"Directory Transport Version: 1.1\n"
_BLOB = re.compile(r"blobs/([a-z0-9]+)/([0-9a-f]+)\Z")


class DirFiles(Folder):
    """The files of the folder by the names that an OCI layout has for them."""

    def __init__(self, root: str, max_size: int) -> None:
        super().__init__(root)
        self.on_progress: Callable[[int], None]
        source = super().open(MANIFEST)
        if source is None:
            raise Malformed(f"{root} has no manifest.json, so it is no folder of skopeo's dir transport", code="layout")
        with source:
            content = read_document(source, max_size, f"the manifest.json of {root}")
        document = parse_manifest(content, "", f"the manifest.json of {root}")
        self.descriptor = Descriptor(document.media_type, Digest.of(content), len(content))
        index = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": [self.descriptor.to_json()]}
        self._index = encode_json(index)

    def open(self, name: str) -> BinaryIO | None:
        """Open a file of the layout."""
        if name == "index.json":
            return io.BytesIO(self._index)
        return super().open(self._own_name(name))

    def size(self, name: str) -> int:
        """Return the bytes of a file of the layout."""
        return super().size(self._own_name(name))

    def total_size(self) -> int:
        """Return the bytes of all files."""
        return sum(entry.stat().st_size for entry in os.scandir(self.root) if entry.is_file(follow_symlinks=False))

    def iter_blob_sizes(self) -> Iterator[tuple[Digest, int]]:
        """Yield the digest and the size of each blob: the folder has those of SHA-256 alone."""
        with os.scandir(self.root) as entries:
            for entry in entries:
                name = entry.name.removesuffix(".manifest.json")
                if is_digest(digest := f"sha256:{name}") and entry.is_file(follow_symlinks=False):
                    yield Digest(digest), entry.stat().st_size
        yield self.descriptor.digest, self.descriptor.size

    def _own_name(self, name: str) -> str:
        """Return the name that the folder has for a file of a layout; "" for one that it does not have."""
        if name == get_blob_path(self.descriptor.digest):
            return MANIFEST
        blob = _BLOB.match(name)
        if blob is None:
            return ""
        digits = blob[2]
        return f"{digits}.manifest.json" if super().size(f"{digits}.manifest.json") else digits
