"""The storage of Podman, Buildah and CRI-O as a source. Unlike other places it knows which images containers use."""

from __future__ import annotations

from imq.engine.query import source as query_source
from imq.grammar.record import TYPE_CHECKING

from .places import STORAGE, STORAGE_KIND, has_storage
from .source import LayoutsSource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .places import Place


class StorageSource(LayoutsSource):
    """`containers-storage:[ROOT]`."""

    name = STORAGE
    title = "storages of Podman"
    example = "containers-storage:"
    kind = STORAGE_KIND
    unseen = ("last_used", "complete", "pinned", "store_path")

    def serves(self, place: Place) -> bool:
        """Whether a place is of this source."""
        return place.kind == STORAGE

    def list_places(self) -> Sequence[query_source.Place]:
        """Return the storage of this user, if it has images."""
        place = self.reader.parse(f"{STORAGE}:")
        if place is None or not has_storage(place.path):
            return ()
        return (query_source.Place(place.text, self.kind, place.path, request=self._make_request(place.path)),)

    def find_place(self, ref: query_source.SourceRef) -> query_source.Place:
        """Return the storage that a reference names."""
        return query_source.Place(ref.text, self.kind, ref.address, request=self._make_request(ref.address))

    def _make_request(self, root: str) -> Callable[[], int]:
        max_size = self.reader.max_document

        def count_images() -> int:
            from .storage_reader import read_storage

            return len(read_storage(root, max_size).listed)

        return count_images


open_source = StorageSource
