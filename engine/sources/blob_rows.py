"""The rows of `blobs`, and the images that need each blob."""

from __future__ import annotations

from imq.engine.oci.manifest import Index
from imq.engine.sources.scan_rows import ScanRows
from imq.engine.store.index_rows import to_json
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.oci.digest import Digest
    from imq.engine.oci.manifest import Descriptor, Manifest
    from imq.engine.query.source import FetchRequest, ScanRequest

    Blob = tuple[Digest, int, str | None, Sequence[str]]
    """Digest, size, media type, and the images that need it."""


class References:
    """Which images need each blob, by the documents that were read. An image is its name, or its digest.

    `unreadable` are the images with a document that could not be read, so that some of their blobs are not known.
    """

    def __init__(self) -> None:
        self._media_types: dict[Digest, str] = {}
        self._images: dict[Digest, dict[str, None]] = {}
        self.unreadable: dict[str, None] = {}

    def add(self, image: str, descriptor: Descriptor, document: Manifest | Index | None = None) -> None:
        """Add what an image needs: a document, and the blobs that it lists."""
        listed: tuple[Descriptor, ...] = ()
        if isinstance(document, Index):
            listed = tuple(document.manifests)
        elif document is not None:
            listed = (document.config, *document.layers)
        for blob in (descriptor, *listed):
            self._media_types.setdefault(blob.digest, blob.media_type)
            self._images.setdefault(blob.digest, {})[image] = None

    def make_blobs(self, sizes: Iterable[tuple[Digest, int]]) -> Iterator[Blob]:
        """Yield the blobs with these digests and sizes."""
        for digest, size in sizes:
            images = self._images.get(digest) or self.unreadable
            yield digest, size, self._media_types.get(digest) or None, list(images)


class BlobScan(ScanRows):
    """The blobs of the places of a scan.

    `read` returns the blobs of a place and its problems. `add_problem` records a problem of the scan with a subject.
    """

    columns = ("source", "digest", "size", "media_type", "referenced_by")

    def __init__(
        self,
        connection: sqlite3.Connection,
        request: ScanRequest,
        read: Callable[[str], tuple[Iterable[Blob], Mapping[str, ImqError]]],
        add_problem: Callable[[str, str, ImqError], object],
    ) -> None:
        super().__init__(connection, request)
        self._read = read
        self._add_problem = add_problem

    def list_rows(self, _names: Sequence[tuple[Raw, ...]], /) -> None:
        """List the blobs of each place. The error of the only one is raised."""
        self.create({})
        places = list(dict.fromkeys(ref.text for ref in self.scan.refs))
        for place in places:
            try:
                blobs, problems = self._read(place)
                self.insert(
                    (place, digest, size, kind, to_json(list(images)), None) for digest, size, kind, images in blobs
                )
            except ImqError as error:
                if len(places) == 1:
                    raise
                self._add_problem(self.scan.view, place, error)
                continue
            for subject, problem in problems.items():
                self._add_problem(self.scan.view, f"{subject} in {place}", problem)

    def fetch(self, _request: FetchRequest, /) -> None:
        """Fetch nothing: the rows are listed whole."""
