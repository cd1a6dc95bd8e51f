"""What a report shows: the answers of its statements, and what follows from several of them."""

from __future__ import annotations

from imq.engine.catalog.json_values import parse_json
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from imq.engine.catalog.schema import Raw


class ImageFacts(Record):
    """One image of a source, with all its names that the report is about.

    `created` is in nanoseconds, sizes are in bytes; None: unknown. `unique_size` is the part that no other image of its
    source has, also none outside the report. `chains` are the chain IDs of its layers, lowest layer first.
    """

    source: str
    id: str
    names: tuple[str, ...]
    repositories: tuple[str, ...]
    created: int | None
    size: int | None
    unique_size: int | None
    platform: str
    chains: tuple[str, ...]

    @property
    def label(self) -> str:
        """The first name, else the short ID."""
        return self.names[0] if self.names else shorten(self.id)


class LayerFacts(Record):
    """One layer of a source: its diff ID, its bytes (None: unknown), the step that made it, and the images with it.

    `images` are positions in the list of images.
    """

    source: str
    diff_id: str
    size: int | None
    step: str
    images: tuple[int, ...]


class RepositoryFacts(Record):
    """One repository: the number of its different layers, and their bytes, each counted once. None: images without."""

    name: str | None
    layers: int
    size: int | None


class SameLayers(Record):
    """Images with other IDs and exactly the same layers: their names, how many they are, and their bytes."""

    names: tuple[str, ...]
    images: int
    size: int | None


class WasteFacts(Record):
    """The bytes in an image that upper layers hide, and its efficiency from 0 to 1."""

    name: str
    wasted: int
    size: int
    efficiency: float | None
    paths: int


class Facts(Record):
    """Everything on a page. `statements` are the sentences below its pictures, by the name of the picture.

    `scope` is the query that the report is about, and a condition after `prefix` selects among its images. `waste` is
    None when the contents of layers were not read. `problems` are the messages of what could not be read. `now` is in
    nanoseconds.
    """

    now: int
    scope: str
    prefix: str
    images: tuple[ImageFacts, ...]
    layers: tuple[LayerFacts, ...]
    repositories: tuple[RepositoryFacts, ...]
    same_layers: tuple[SameLayers, ...]
    waste: tuple[WasteFacts, ...] | None
    statements: Mapping[str, str]
    problems: tuple[str, ...] = ()

    @property
    def disk_size(self) -> int:
        """The bytes of all layers, each counted once in its source."""
        return sum(layer.size or 0 for layer in self.layers)

    @property
    def has_unknown_sizes(self) -> bool:
        """Whether the size of a layer is unknown, so that sums are too small."""
        return any(layer.size is None for layer in self.layers)

    @property
    def summed_size(self) -> int:
        """The bytes of all images, with shared layers counted in each of them."""
        return sum((layer.size or 0) * len(layer.images) for layer in self.layers)


def shorten(digest: str) -> str:
    """Return the short form of a digest."""
    return digest.rpartition(":")[2][:12]


def read_images(rows: Iterable[Sequence[Raw]]) -> tuple[ImageFacts, ...]:
    """Return images from rows: source, id, names, repositories, created, size, unique size, platform, chain IDs."""
    return tuple(
        ImageFacts(
            str(source),
            str(id_ or ""),
            _read_texts(names),
            tuple(dict.fromkeys(_read_texts(repositories))),
            None if created is None else int(created),
            None if size is None else int(size),
            None if unique is None else int(unique),
            str(platform or ""),
            next((tuple(parse_json(chain)) for chain in parse_json(chains) if chain is not None), ()),
        )
        for source, id_, names, repositories, created, size, unique, platform, chains in rows
    )


def read_layers(rows: Iterable[Sequence[Raw]], images: Sequence[ImageFacts]) -> tuple[LayerFacts, ...]:
    """Return layers from rows: source, diff ID, size, step, the IDs of images. Layers of other images are left out."""
    positions = {(image.source, image.id): place for place, image in enumerate(images)}
    layers: list[LayerFacts] = []
    for source, diff_id, size, step, ids in rows:
        places = (positions.get((str(source), id_)) for id_ in dict.fromkeys(_read_texts(ids)))
        layers.append(
            LayerFacts(
                str(source),
                str(diff_id or ""),
                None if size is None else int(size),
                str(step or ""),
                tuple(sorted(place for place in places if place is not None)),
            )
        )
    return tuple(layers)


def read_repositories(rows: Iterable[Sequence[Raw]]) -> tuple[RepositoryFacts, ...]:
    """Return repositories from rows: name, number of layers, size."""
    return tuple(
        RepositoryFacts(None if name is None else str(name), int(layers or 0), None if size is None else int(size))
        for name, layers, size in rows
    )


def read_same_layers(rows: Iterable[Sequence[Raw]]) -> tuple[SameLayers, ...]:
    """Return images with the same layers from rows: source, chain ID, number of images, names, size."""
    return tuple(
        SameLayers(_read_texts(names), int(images or 0), None if size is None else int(size))
        for *_, images, names, size in rows
    )


def read_waste(rows: Iterable[Sequence[Raw]]) -> tuple[WasteFacts, ...]:
    """Return waste from rows: name, wasted size, size, efficiency, paths. Images that were not read are left out."""
    return tuple(
        WasteFacts(
            str(name or ""), int(wasted), int(size or 0), None if score is None else float(score), int(paths or 0)
        )
        for name, wasted, size, score, paths in rows
        if wasted is not None
    )


def _read_texts(raw: Raw) -> tuple[str, ...]:
    """Return the known strings of a list."""
    return tuple(str(item) for item in parse_json(raw) if item is not None)
