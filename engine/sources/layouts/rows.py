"""The rows of `images`, `layers` and `history` for the content of a place."""

from __future__ import annotations

from collections import Counter

from imq.engine.oci.chain_id import compute_chain_ids
from imq.engine.oci.reference import Reference
from imq.engine.store.config_columns import JSON_FIELDS, STRING_FIELDS, read_documents, read_strings
from imq.engine.store.index_rows import build_step_rows, replace_surrogates, to_json
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from imq.engine.catalog.schema import Raw
    from imq.engine.oci.digest import Digest
    from imq.engine.oci.platform import Platform
    from imq.engine.oci.reference import Name

    from .content import ImageContent, LayerContent, ListedImage, PlaceContent, Unreadable

    Row = tuple[Any, ...]

_NAME_COLUMNS = ("name", "registry", "repository", "tag", "digest", "pulled_at", "source", "_listed", "_lookup")
_PLATFORM_COLUMNS = ("platform", "os", "architecture", "variant", "os_version")
_CONTENT_COLUMNS = (
    "id", "manifest_digest", "created", "download_size", "chain_id", "chain_ids", "diff_ids", "layer_count",
    "annotations", "media_type", "dangling", "in_use", "containers",
)  # fmt: skip
_CONFIG_COLUMNS = tuple(field.name for field in (*STRING_FIELDS, *JSON_FIELDS))
IMAGE_COLUMNS = (*_NAME_COLUMNS, *_CONTENT_COLUMNS, *_PLATFORM_COLUMNS, *_CONFIG_COLUMNS)
LAYER_COLUMNS = (
    "image", "index", "digest", "diff_id", "chain_id", "download_size", "media_type", "created", "created_by",
    "images", "source", "_lookup", "_layer",
)  # fmt: skip
HISTORY_COLUMNS = (
    "image", "index", "created", "created_by", "empty", "comment", "layer", "source", "_lookup", "_layer",
)  # fmt: skip


class PlaceRows:
    """The rows of one place, called `source` in them. `measure` returns the sizes of layers, by diff ID.

    `is_stacked`: the place has a layer unpacked on its lower layers, so that images share it only on the same ones.
    """

    is_stacked = False

    def __init__(
        self,
        content: PlaceContent,
        source: str,
        measure: Callable[[Iterable[LayerContent]], dict[Digest, int | None]],
    ) -> None:
        self.content = content
        self._source = source
        self._measure = measure
        self._sizes: dict[str, int | None] = {}
        self._by_id: dict[str, list[ListedImage]] | None = None
        self._images: dict[tuple[Raw, Raw], ImageContent] = {
            (image.id, image.manifest): image for listed in content.listed for image in listed.images
        }
        self._tagged = {
            (image.id, image.manifest)
            for listed in content.listed
            if any(name.tag is not None for name in listed.names)
            for image in listed.images
        }
        self._counts = Counter(
            diff_id for image in self._images.values() for diff_id in {layer.diff_id for layer in image.layers}
        )
        """The number of images with each layer."""
        self._owners: Counter[Digest] | None = None

    def _count_owners(self) -> Counter[Digest]:
        """Return the number of images that share each stored layer, by `_list_stored`."""
        if self._owners is None:
            self._owners = Counter(one for image in self._images.values() for one in {*self._list_stored(image)})
        return self._owners

    def _list_stored(self, image: ImageContent) -> Sequence[Digest]:
        """Return the digests by which the layers of an image are stored: the chain IDs of stacked ones."""
        diff_ids = image.config.diff_ids
        return compute_chain_ids(diff_ids) if self.is_stacked else diff_ids

    def find(self, text: str) -> list[ListedImage]:
        """Return the entries with this name, or with an ID or digest that begins with it."""
        from imq.engine.oci.digest import parse_hex_prefix

        found = [one for one in self.content.listed if self.matching_names(one, text)]
        if not found and (digits := parse_hex_prefix(text)):
            for one in self.content.listed:
                digests = (*one.ids, one.descriptor.digest, *(image.manifest for image in one.images))
                if any(digest is not None and digest.encoded.startswith(digits) for digest in digests):
                    found.append(one)
        return found

    def matching_names(self, listed: ListedImage, text: str) -> list[str]:
        """Return the names of an entry that equal `text`, with the default tag; none for an ID or a digest."""
        from imq.grammar.errors import InvalidReference

        try:
            reference: Reference | None = Reference.parse(text)
        except InvalidReference:
            reference = None
        return [str(name) for name in listed.names if _is_name(name, text, reference)]

    def with_id(self, id_: str) -> list[ListedImage]:
        """Return the entries of the image with this id, each with no other image."""
        if self._by_id is None:
            self._by_id = {}
            for one in self.content.listed:
                for image_id in one.ids:
                    images = tuple(image for image in one.images if image.id == image_id)
                    self._by_id.setdefault(str(image_id), []).append(one.replace(images=images, unreadable=()))
        return self._by_id.get(id_, [])

    @staticmethod
    def get_chain_id(image: ImageContent) -> Digest | None:
        """Return the chain ID of all layers of an image; None when it has none."""
        chain = compute_chain_ids(image.config.diff_ids)
        return chain[-1] if chain else None

    def list_chains(self) -> Iterator[Row]:
        """Yield source, ID, chain ID and the chain IDs of all layers as JSON of each image of the place."""
        for id_, image in {image.id: image for image in self._images.values()}.items():
            chain = compute_chain_ids(image.config.diff_ids)
            yield self._source, id_, chain[-1] if chain else None, to_json(list(chain))

    # Sizes

    def get_image_sizes(self, images: Iterable[tuple[Raw, Raw]]) -> list[tuple[int | None, int | None]]:
        """Return the size and the shared size of images, which are given by their ids and their manifests."""
        found = [self._images.get(key) for key in images]
        self._measure_layers(layer for image in found if image is not None for layer in image.layers)
        return [(None, None) if image is None else self._sum_sizes(image) for image in found]

    def get_layer_sizes(self, diff_ids: Iterable[Raw]) -> list[int | None]:
        """Return the sizes of layers, which are given by their diff IDs."""
        keys = [str(diff_id) for diff_id in diff_ids]
        layers = {str(layer.diff_id): layer for image in self._images.values() for layer in image.layers}
        self._measure_layers(layers[diff_id] for diff_id in set(keys) & layers.keys())
        return [self._sizes.get(diff_id) for diff_id in keys]

    def _measure_layers(self, layers: Iterable[LayerContent]) -> None:
        new = {layer.diff_id: layer for layer in layers if layer.diff_id not in self._sizes}
        if new:
            self._sizes.update((str(diff_id), size) for diff_id, size in self._measure(new.values()).items())

    def _sum_sizes(self, image: ImageContent) -> tuple[int | None, int | None]:
        owners = self._count_owners()
        stored = zip(image.layers, self._list_stored(image), strict=True)
        sizes = [(self._sizes[layer.diff_id], owners[one]) for layer, one in stored]
        if any(size is None for size, _ in sizes):
            return None, None
        return sum(size or 0 for size, _ in sizes), sum(size or 0 for size, count in sizes if count > 1)

    # Rows

    def image_rows(self, listed: Iterable[ListedImage], lookup: str | None) -> Iterator[Row]:
        """Yield rows of `images`, each with the problem of its image."""
        for one in listed:
            for name in one.names or (None,):
                named = self._name_values(one, name, lookup)
                for image in one.images:
                    values = (*self._content_values(one, image), *self.further_values(one, image))
                    yield replace_surrogates((*named, *values, _message(image.problem)))
                for unreadable in one.unreadable:
                    values = (*_unreadable_values(unreadable), *self.further_values(one, None))
                    yield (*named, *values, unreadable.problem.message)

    def further_values(self, _listed: ListedImage, _image: ImageContent | None, /) -> Row:
        """Return the values of the columns that only this kind of place has. The image is None when unreadable."""
        return ()

    def _name_values(self, one: ListedImage, name: Name | None, lookup: str | None) -> Row:
        digest = one.digest or (name.digest if name is not None else None)
        parts = (str(name), name.registry, name.familiar_name, name.tag) if name is not None else (None,) * 4
        return (*parts, digest, one.set_at, self._source, one.descriptor.digest, lookup)

    def _content_values(self, one: ListedImage, image: ImageContent) -> Row:
        config = image.config
        documents = read_documents(config)
        chain = compute_chain_ids(config.diff_ids)
        return (
            image.id,
            image.manifest,
            config.created,
            image.download_size,
            chain[-1] if chain else None,
            to_json(list(chain)),
            to_json(list(config.diff_ids)),
            len(image.layers),
            to_json(dict(image.annotations)),
            image.media_type,
            int((image.id, image.manifest) not in self._tagged),
            None if one.containers is None else int(one.containers > 0),
            one.containers,
            *config.platform.field_values,
            *read_strings(config),
            *(to_json(documents[field.name]) for field in JSON_FIELDS),
        )

    def layer_rows(self, listed: Iterable[ListedImage], lookup: str | None) -> Iterator[Row]:
        """Yield rows of `layers`, those of each image once."""
        for image in _distinct_images(listed):
            chain = compute_chain_ids(image.config.diff_ids)
            steps = {step[4]: step for step in build_step_rows(image.id, image.config, len(image.layers))}
            for index, layer in enumerate(image.layers):
                _, _, created, _, _, command = steps.get(index, (None,) * 6)
                row = (
                    image.id,
                    index,
                    layer.digest,
                    layer.diff_id,
                    chain[index],
                    layer.download_size,
                    layer.media_type,
                    created,
                    command or None,
                    self._counts[layer.diff_id],
                    self._source,
                    lookup,
                    layer.diff_id,
                    None,
                )
                yield replace_surrogates(row)

    def history_rows(self, listed: Iterable[ListedImage], lookup: str | None) -> Iterator[Row]:
        """Yield rows of `history`, those of each image once."""
        for image in _distinct_images(listed):
            for _, index, created, comment, at, command in build_step_rows(image.id, image.config, len(image.layers)):
                layer: LayerContent | None = None if at is None else image.layers[at]
                row = (
                    image.id,
                    index,
                    created,
                    command or None,
                    int(layer is None),
                    comment,
                    None if layer is None else layer.digest,
                    self._source,
                    lookup,
                    None if layer is None else layer.diff_id,
                    None,
                )
                yield replace_surrogates(row)


def _distinct_images(listed: Iterable[ListedImage]) -> Sequence[ImageContent]:
    """Return the images of entries, those with the same documents once."""
    return list({(image.id, image.manifest): image for one in listed for image in one.images}.values())


def _is_name(name: Name, text: str, reference: Reference | None) -> bool:
    """Whether a name equals `text`, or the reference that `text` is, with the default tag."""
    if str(name) == text:
        return True
    return reference is not None and isinstance(name, Reference) and name == reference.with_default_tag()


def _message(problem: Any) -> str | None:
    return problem.message if problem is not None else None


def _unreadable_values(unreadable: Unreadable) -> Row:
    platform: Platform | None = unreadable.platform
    unknown = (None,) * (len(_CONTENT_COLUMNS) - 2)
    platform_values = platform.field_values if platform is not None else (None,) * len(_PLATFORM_COLUMNS)
    return (None, unreadable.manifest, *unknown, *platform_values, *(None,) * len(_CONFIG_COLUMNS))
