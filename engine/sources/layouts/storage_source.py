"""The storage of Podman, Buildah and CRI-O as a source. Unlike other places it knows which images containers use."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

from .places import STORAGE, STORAGE_KIND
from .source import LayoutsSource

if TYPE_CHECKING:
    from .places import Place


class StorageSource(LayoutsSource):
    """`containers-storage:[ROOT]`."""

    name = STORAGE
    kind = STORAGE_KIND
    unseen = ("last_used",)

    def serves(self, place: Place) -> bool:
        """Whether a place is of this source."""
        return place.kind == STORAGE


open_source = StorageSource
