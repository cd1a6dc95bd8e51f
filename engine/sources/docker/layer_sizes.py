"""The layers of all images of an engine: how many images have each, and their sizes where the engine does not say."""

from __future__ import annotations

from imq.engine.oci.chain_id import compute_chain_ids
from imq.grammar.errors import ImqError, NotFound
from imq.grammar.record import TYPE_CHECKING

from .image_documents import list_steps, read_config
from .json_documents import read_integer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from imq.engine.oci.digest import Digest

    from .reader import EngineReader


def count_users(reader: EngineReader, source: str) -> dict[str, int]:
    """Return the number of images of an engine with each layer, by diff ID. Raises `ImqError`.

    An image that has gone since it was listed counts no more.
    """
    counts: dict[str, int] = {}
    for layers in _list_layers(reader, source).values():
        for diff_id in set(layers):
            counts[diff_id] = counts.get(diff_id, 0) + 1
    return counts


def list_chains(reader: EngineReader, source: str) -> dict[str, list[str]]:
    """Return the chain IDs of the layers of each image of an engine. Raises `ImqError`."""
    layers = _list_layers(reader, source)
    return {id_: [str(chain) for chain in compute_chain_ids(diff_ids)] for id_, diff_ids in layers.items()}


class LayerSizes:
    """The sizes of all layers of an engine, from the history of each image. Raises `ImqError`."""

    def __init__(self, reader: EngineReader, source: str) -> None:
        self._image_sizes = {image["Id"]: read_integer(image.get("Size")) for image in reader.list_images(source)}
        layers = _list_layers(reader, source)
        self._chains: dict[str, list[str]] = {}
        self._users: dict[str, set[str]] = {}
        self._sizes: dict[str, int] = {}
        self._contents: dict[str, str] = {}
        ids = [(source, id_) for id_ in layers]
        for (_, id_), steps in reader.each_item(ids, lambda one: reader.list_history(*one)):
            if isinstance(steps, NotFound):
                continue
            if isinstance(steps, ImqError):
                raise steps
            self._add_image(id_, layers[id_], steps)

    def _add_image(self, id_: str, layers: Sequence[Digest], steps: Sequence[Mapping[str, Any]]) -> None:
        chains = self._chains[id_] = [str(chain) for chain in compute_chain_ids(layers)]
        for chain, layer in zip(chains, layers, strict=True):
            self._users.setdefault(chain, set()).add(id_)
            self._contents[chain] = layer
        for step, position in list_steps(steps, len(layers)):
            size = read_integer(step.get("Size"))
            if position is not None and size is not None:
                self._sizes[layers[position]] = size

    def split_sizes(self) -> dict[str, tuple[int | None, int | None]]:
        """Return the size of the layers that other images have too, and the rest of the size, of each image."""
        sizes: dict[str, tuple[int | None, int | None]] = {}
        for id_, chains in self._chains.items():
            shared = self._sum([chain for chain in chains if len(self._users[chain]) > 1])
            size = self._image_sizes.get(id_)
            sizes[id_] = shared, None if shared is None or size is None else max(size - shared, 0)
        return sizes

    def measure(self, images: set[str] | None = None) -> int | None:
        """Return the size of the layers of these images, or of all; None when one is not known."""
        chains = [chain for chain, users in self._users.items() if images is None or users & images]
        return self._sum(chains)

    def _sum(self, chains: list[str]) -> int | None:
        layers = [self._contents[chain] for chain in chains]
        return sum(self._sizes[layer] for layer in layers) if all(layer in self._sizes for layer in layers) else None


def _list_layers(reader: EngineReader, source: str) -> dict[str, tuple[Digest, ...]]:
    """Return the diff IDs of the layers of each image of an engine."""
    ids = [(source, image["Id"]) for image in reader.list_images(source)]
    layers: dict[str, tuple[Digest, ...]] = {}
    for (_, id_), result in reader.each_item(ids, lambda one: read_config(reader.inspect_image(*one)).diff_ids):
        if isinstance(result, NotFound):
            continue
        if isinstance(result, ImqError):
            raise result
        layers[id_] = result
    return layers
