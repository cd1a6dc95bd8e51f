"""The layers of the images of places on disk, for the index of files. They are read where they lie."""

from __future__ import annotations

import os
from functools import partial

from imq.engine.oci.manifest import Descriptor
from imq.engine.oci.platform import find_best_platform
from imq.engine.sources.contents.protocol import (
    ImageLayers,
    LayerPlace,
    LayerRead,
    plan_single_reads,
    read_each,
)
from imq.engine.store.archive_files import Archive
from imq.engine.units.urls import make_file_url
from imq.grammar.errors import ImqError, Malformed, NotFound
from imq.grammar.record import TYPE_CHECKING

from .places import inspect_kind
from .reader import open_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from typing import Any

    from imq.engine.catalog.schema import Raw
    from imq.engine.oci.digest import Digest
    from imq.engine.oci.platform import Platform
    from imq.engine.query.source import ScanRequest
    from imq.engine.sources.contents.protocol import ReadLayer

    from .content import ImageContent, ListedImage
    from .place_reader import PlaceReader
    from .rows import PlaceRows
    from .scan import RowsReader

_CHUNK_SIZE = 256 * 1024


class ListedContents:
    """The images of places, by their listings. Of an index that a statement names, the image for `platform` counts.

    A subclass reads their layers: see `LayerContents`.
    """

    def __init__(self, reader: RowsReader, platform: Platform) -> None:
        self._rows = reader
        self._platform = platform

    def list_images(self, request: ScanRequest, names: Sequence[tuple[Raw, ...]]) -> Iterator[ImageLayers]:
        """Yield the images that are looked up by their IDs and places, those of names, or all of the places."""
        if request.lookup_fields or any(len(name) > 1 for name in names):
            for id_, text in dict.fromkeys(names):
                yield self.look_up(str(id_), str(text))
            names = ()
            if not request.targets:
                return
        targets = [*request.targets, *(str(name[0]) for name in names)]
        takes_all = not targets and not request.has_target_queries
        found: set[str] = set()
        texts = self.list_places(request)
        for text in texts:
            try:
                rows = self._rows.read(text)
            except ImqError as error:
                if len(texts) == 1:
                    raise
                self.add_problem(request.view, text, error)
                continue
            for target in targets:
                if listed := rows.find(target):
                    found.add(target)
                    yield from self._list_named(listed, target, text)
            if takes_all:
                yield from self._list_all(rows, text, request.view)
        for target in targets:
            if target not in found:
                absent = NotFound(f"no image {target} in {' and '.join(texts)}", code="no-such-image")
                if len(targets) == 1:
                    raise absent
                self.add_problem(request.view, target, absent)

    def list_places(self, request: ScanRequest) -> list[str]:
        """Return the places of a request, as they are named."""
        return list(dict.fromkeys(ref.text for ref in request.refs))

    def look_up(self, id_: str, text: str) -> ImageLayers:
        """Return the image with an ID in a place, or why it cannot be read."""
        try:
            listed = self._rows.read(text).with_id(id_)
            if not listed:
                raise NotFound(f"no image {id_} in {text}", code="no-such-image")
        except ImqError as error:
            return ImageLayers(id_, text, id_, None, (), problem=error)
        return make_image(listed, listed[0].images[0], id_, text)

    def _list_named(self, listed: Sequence[ListedImage], target: str, text: str) -> Iterator[ImageLayers]:
        images = {image.id: (one, image) for one in listed for image in one.images}
        if len(images) > 1:
            platforms = [(image.config.platform, at) for at, (_, image) in enumerate(images.values())]
            best = find_best_platform(self._platform, platforms)
            chosen = list(images.values())[best or 0]
            images = {chosen[1].id: chosen}
        for one, image in images.values():
            yield make_image((one,), image, target, text).replace(name=target)
        for unreadable in () if images else (problem for one in listed for problem in one.unreadable):
            yield ImageLayers(target, text, target, target, (), problem=unreadable.problem)

    def _list_all(self, rows: PlaceRows, text: str, view: str) -> Iterator[ImageLayers]:
        for id_ in dict.fromkeys(image.id for one in rows.content.listed for image in one.images):
            listed = rows.with_id(id_)
            yield make_image(listed, listed[0].images[0], id_, text)
        for one in rows.content.listed:
            for unreadable in one.unreadable:
                subject = next(map(str, one.names), one.descriptor.digest.short)
                self.add_problem(view, f"{subject} in {text}", unreadable.problem)

    def read_config(self, image: ImageLayers) -> Mapping[str, Any]:
        """Return the config of an image."""
        content: ImageContent = image.handle
        return content.config.document

    def add_problem(self, view: str, subject: str, error: ImqError) -> None:
        """Record that an image could not be read."""
        self._rows.add_problem(view, subject, error)


def make_image(listed: Iterable[ListedImage], image: ImageContent, lookup: str, text: str) -> ImageLayers:
    """Return the layers of a listed image, which was looked up in a place."""
    name = min((str(name) for one in listed for name in one.names), default=None)
    diff_ids = tuple(layer.diff_id for layer in image.layers)
    return ImageLayers(lookup, text, image.id, name, diff_ids, image, digest=image.manifest)


class PlaceContents(ListedContents):
    """The layers of the images of layouts, archives, folders and storages."""

    def __init__(self, reader: PlaceReader, platform: Platform) -> None:
        super().__init__(reader, platform)
        self._reader = reader

    def plan_reads(self, images: Sequence[ImageLayers], missing: AbstractSet[Digest]) -> Iterator[LayerRead]:
        """Yield one read of each archive, and one of each layer of folders."""
        in_folders: list[ImageLayers] = []
        archives: dict[str, dict[Digest, tuple[str, int]]] = {}
        for image in images:
            if self._is_folder(image.source):
                in_folders.append(image)
                continue
            files = archives.setdefault(image.source, {})
            for layer in image.handle.layers if image.handle is not None else ():
                if layer.diff_id in missing:
                    files.setdefault(layer.diff_id, (layer.file, layer.download_size or 0))
        yield from plan_single_reads(self, in_folders, missing, _locate, self._find_place)
        for text, files in archives.items():
            if files:
                names = {diff_id: name for diff_id, (name, _) in files.items()}
                yield LayerRead(tuple(files), sum(size for _, size in files.values()), partial(self._read, text, names))

    def _is_folder(self, text: str) -> bool:
        place = self._reader.parse(text)
        return place is not None and os.path.isdir(place.path)

    def _find_place(self, image: ImageLayers, diff_id: Digest) -> LayerPlace | None:
        """Return the file of a blob of a layout; None for other folders, whose layers are no plain files."""
        place = self._reader.parse(image.source)
        layer = next(layer for layer in image.handle.layers if layer.diff_id == diff_id)
        if place is None or layer.digest is None:
            return None
        path = os.path.join(place.path, "blobs", layer.digest.algorithm, layer.digest.encoded)
        if not os.path.isfile(path):
            return None
        descriptor = Descriptor(layer.media_type or "", layer.digest, layer.download_size or 0)
        return LayerPlace(descriptor, (make_file_url(path),))

    def read_layers(self, image: ImageLayers, diff_ids: Sequence[Digest], read: ReadLayer) -> None:
        """Pass the files of layers to `read`."""
        names = {layer.diff_id: layer.file for layer in image.handle.layers}
        self._read(image.source, names, diff_ids, read)

    def _read(self, text: str, names: Mapping[Digest, str], diff_ids: Iterable[Digest], read: ReadLayer) -> None:
        """Read files of a place in the order in which they lie."""
        place = self._reader.parse(text)
        assert place is not None
        with open_files(inspect_kind(place), self._reader.max_document) as files:
            if isinstance(files, Archive):
                diff_ids = sorted(diff_ids, key=lambda diff_id: files.get_offset(names[diff_id]))

            def read_one(diff_id: Digest) -> None:
                source = files.open(names[diff_id]) if names[diff_id] else None
                if source is None:
                    raise Malformed(f"the layer {diff_id} is missing from {place.path}", code="blob")
                with source:
                    read(diff_id, iter(partial(source.read, _CHUNK_SIZE), b""))

            read_each(diff_ids, read_one)


def _locate(image: ImageLayers, diff_id: Digest) -> tuple[tuple[str, str], int]:
    layer = next(layer for layer in image.handle.layers if layer.diff_id == diff_id)
    return (image.source, layer.file), layer.download_size or 0
