"""The rows of `reclaim` of engines: a layer is freed with the last image that has it on the same lower layers."""

from __future__ import annotations

from imq.engine.sources.reclaim import USED_IMAGE, ReclaimScan
from imq.grammar.errors import ImqError, NotFound
from imq.grammar.record import TYPE_CHECKING

from .image_documents import is_stored_by_containerd, list_names, list_steps
from .json_documents import read_integer
from .layer_sizes import list_chains

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import ScanRequest

    from .reader import EngineReader

_UNKNOWN = "the engine keeps images in containerd, and does not report the sizes of their blobs"


class EngineReclaim(ReclaimScan):
    """The rows of `reclaim` of engines. Images that containers use stay, as `rm` leaves them."""

    def __init__(self, reader: EngineReader, request: ScanRequest) -> None:
        super().__init__(reader.connection, request)
        self._reader = reader

    def measure_place(self, place: str, requested: Sequence[tuple[Raw, Raw]] | None) -> None:
        """Insert the rows for these IDs and names. The error of the only engine is raised."""
        try:
            self._measure(place, requested)
        except ImqError as error:
            if len(self.places) == 1:
                raise
            self._reader.add_problem(error, place, self.scan.view)

    def _measure(self, source: str, requested: Sequence[tuple[Raw, Raw]] | None) -> None:
        images = {image["Id"]: image for image in self._reader.list_images(source)}
        removed = set(self.choose(lambda: _list_names(images), requested))
        used = {container["ImageID"] for container in self._reader.list_containers(source)} & images.keys()
        self.keep(used)
        removed -= used
        notes = dict.fromkeys(used, USED_IMAGE)
        if removed:
            if any(map(is_stored_by_containerd, images.values())):
                notes |= dict.fromkeys(removed, _UNKNOWN)
                self.add_parts((id_, id_, None) for id_ in removed)
            else:
                self.add_parts(self._list_parts(source, removed))
        self.add_rows(source, notes)

    def _list_parts(self, source: str, removed: set[str]) -> Iterator[tuple[Raw, ...]]:
        """Yield the layers of all images by their chain IDs, with the sizes of those of the images that go."""
        chains = list_chains(self._reader, source)
        ids = [(source, id_) for id_ in removed & chains.keys()]
        for (_, id_), steps in self._reader.each_item(ids, lambda one: self._reader.list_history(*one)):
            if isinstance(steps, NotFound):
                continue
            if isinstance(steps, ImqError):
                raise steps
            own = chains.pop(id_)
            sizes: dict[int, int | None] = {}
            for step, position in list_steps(steps, len(own)):
                if position is not None:
                    sizes[position] = read_integer(step.get("Size"))
            yield from ((id_, chain, sizes.get(position)) for position, chain in enumerate(own))
        yield from ((id_, chain, None) for id_, own in chains.items() for chain in own)


def _list_names(images: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[Raw, ...]]:
    """Yield the names of listed images, given by their IDs."""
    for id_, image in images.items():
        for name, registry, repository, tag, _ in list_names(image):
            yield id_, id_, name, registry, repository, tag
