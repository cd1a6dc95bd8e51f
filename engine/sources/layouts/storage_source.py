"""The storage of Podman, Buildah and CRI-O as a source. Unlike other places it knows which images containers use."""

from __future__ import annotations

import os

from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from .places import STORAGE, STORAGE_KIND
from .source import LayoutsSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .places import Place


class StorageSource(LayoutsSource):
    """`containers-storage:[ROOT]`."""

    name = STORAGE
    kind = STORAGE_KIND
    unseen = ("last_used",)

    def ping(self) -> Sequence[tuple[str, str, str, bool, int | None]]:
        """Return the storage of the user, when there is one with images."""
        place = self.reader.parse(f"{STORAGE}:")
        if place is None or not any(name.endswith("-images") for name in _list_names(place.path)):
            return ()
        try:
            count: int | None = len(self.reader.read(place.text).content.listed)
        except ImqError:
            count = None
        if count == 0:
            return ()
        return ((place.text, "the storage of Podman, Buildah or CRI-O", place.path, count is not None, count),)

    def serves(self, place: Place) -> bool:
        """Whether a place is of this source."""
        return place.kind == STORAGE


def _list_names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


open_source = StorageSource
