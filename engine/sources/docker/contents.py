"""The layers of the images of engines, for the index of files: from this disk, or from the archives that engines write.

An archive (`GET images/get`) is read while it comes. It has the layers of all images that are requested at once, each
layer once. Which of its files is which layer depends on the engine:

    blobs/sha256/DIFFID     docker since 25
    ID/layer.tar            docker before 25; the ID is not that of the layer
    DIFFID.tar              podman
    blobs/sha256/DIGEST     docker whose images containerd stores; the layers are compressed
"""

from __future__ import annotations

import re
from functools import partial

from imq.engine.layers.compression import detect_compression
from imq.engine.layers.tar_header import BLOCK_SIZE, has_valid_checksum
from imq.engine.layers.tar_members import iterate_members
from imq.engine.oci.digest import Digest
from imq.engine.oci.reference import parse_name
from imq.engine.sources.contents.protocol import ImageLayers, LayerRead, make_image_removed_error
from imq.grammar.errors import DigestMismatch, ImqError, Malformed, NotFound
from imq.grammar.record import TYPE_CHECKING, Record

from .archives import export_archive
from .image_documents import read_config, read_tags
from .images import list_inspected
from .json_documents import read_image_id, read_integer, read_text
from .layers_on_disk import plan_reads_on_disk
from .table_scan import EngineScan

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from typing import Any

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import ScanRequest
    from imq.engine.sources.contents.protocol import ReadLayer

    from .reader import EngineReader

_HEX_NAME = re.compile(r"([0-9a-f]{64})(?:\.tar)?\Z")
_CONTAINER_ID = re.compile(r"[0-9a-f]{64}\Z")
_MAX_EXPORTED = 64
"""The most images of one request: their names are in its URL."""


class _Handle(Record):
    """What the layers are read by: the ID of the image, its size in bytes, and the changes of a container."""

    image: str
    size: int | None
    changes: Any = None


class EngineContents:
    """The layers of the images of engines."""

    def __init__(self, reader: EngineReader) -> None:
        self._reader = reader

    def list_images(self, request: ScanRequest, names: Sequence[tuple[Raw, ...]]) -> Iterator[ImageLayers]:
        """Yield the images of a scan: those that are looked up, those of names, or all of its engines."""
        scan = EngineScan(self._reader, request)
        if not (request.lookup_fields or any(len(name) > 1 for name in names)):
            is_named = bool(names or request.targets)
            for source, lookup, document in list_inspected(scan, names):
                yield _make_image(source, lookup, document, name=lookup if is_named else None)
            return
        items = list(dict.fromkeys(scan.group_lookups(names)))
        for (source, id_), found in self._reader.each_item(items, lambda one: self._find(*one)):
            yield ImageLayers(id_, source, id_, None, (), problem=found) if isinstance(found, ImqError) else found

    def _find(self, source: str, id_: str) -> ImageLayers:
        """Return an image with this ID or name, or a container with this ID."""
        if _CONTAINER_ID.match(id_):
            return self._find_container(source, id_)
        return _make_image(source, id_, self._reader.inspect_image(source, id_))

    def _find_container(self, source: str, id_: str) -> ImageLayers:
        """Return a container: the layers of its image, with its changes on top. Raises `NotFound`."""
        container = self._reader.inspect_container(source, id_)
        name = (read_text(container.get("Name")) or id_[:12]).removeprefix("/")
        image = read_image_id(container.get("Image"))
        try:
            document = self._reader.inspect_image(source, image or "")
        except NotFound:
            raise make_image_removed_error(name, source) from None
        base = _make_image(source, id_, document)
        changes = self._reader.read_container_layer(source, id_)
        handle = base.handle.replace(changes=changes)
        diff_ids = (*base.diff_ids, changes.finish())
        return base.replace(id=id_, name=name, diff_ids=diff_ids, handle=handle, is_container=True)

    def plan_reads(self, images: Sequence[ImageLayers], missing: AbstractSet[Digest]) -> Iterator[LayerRead]:
        """Yield a read of each layer that lies on this disk; of one archive for several images; of one for each image.

        An engine that cannot export one of several images exports none: then each is read by itself.
        """
        by_source: dict[str, list[ImageLayers]] = {}
        for image in images:
            if image.is_container and image.diff_ids[-1] in missing:
                yield LayerRead(image.diff_ids[-1:], image.handle.changes.size, partial(self.read_layers, image))
        images = [image.replace(diff_ids=image.diff_ids[:-1]) if image.is_container else image for image in images]
        for image in images:
            if not missing.isdisjoint(image.diff_ids):
                by_source.setdefault(image.source, []).append(image)
        for source, own in by_source.items():
            yield from plan_reads_on_disk(self._reader, source, own, missing)
            chosen = _choose_images(own, missing)
            for at in range(0, len(chosen), _MAX_EXPORTED):
                batch = chosen[at : at + _MAX_EXPORTED]
                if len(batch) > 1:
                    yield self._plan_read(source, batch, missing)
            for image in chosen:
                yield self._plan_read(source, [image], missing)

    def _plan_read(self, source: str, images: Sequence[ImageLayers], missing: AbstractSet[Digest]) -> LayerRead:
        layers = tuple(dict.fromkeys(one for image in images for one in image.diff_ids if one in missing))
        others = frozenset(diff_id for image in images for diff_id in image.diff_ids)
        size = sum(image.handle.size or 0 for image in images)
        ids = tuple(dict.fromkeys(image.handle.image for image in images))
        return LayerRead(layers, size, partial(self._read, source, ids, others))

    def read_layers(self, image: ImageLayers, diff_ids: Sequence[Digest], read: ReadLayer) -> None:
        """Pass the layers of an archive of the image to `read`, and the changes of a container."""
        others = list(diff_ids)
        if image.is_container and image.diff_ids[-1] in others:
            others.remove(image.diff_ids[-1])
            read(image.diff_ids[-1], image.handle.changes.iter_chunks())
        if others:
            self._read(image.source, (image.handle.image,), frozenset(image.diff_ids), others, read)

    def _read(
        self,
        source: str,
        ids: Sequence[str],
        layers: frozenset[Digest],
        diff_ids: Sequence[Digest],
        read: ReadLayer,
    ) -> None:
        """Read an archive of images, which have these `layers`, until those of `diff_ids` are found."""
        pending = set(diff_ids)
        problem: ImqError | None = None
        with export_archive(self._reader.client(source), ids) as stream:
            for entry, pieces in iterate_members(stream.read):
                diff_id = _find_named_layer(entry.path, layers)
                if not pending:
                    break  # the rest of the archive is not needed
                if diff_id is not None and diff_id not in pending:
                    continue
                head, chunks = _peek(pieces)
                if diff_id is None and not _is_layer(head):
                    continue
                try:
                    actual = read(diff_id, chunks)
                except (Malformed, DigestMismatch) as error:  # the others are read
                    problem = problem or error
                else:
                    if actual is not None:
                        pending.discard(actual)
        if problem is not None and pending:
            raise problem

    def read_config(self, image: ImageLayers) -> Mapping[str, Any]:
        """Return the config of an image, put together from what the engine says of it and of its history."""
        document = self._reader.inspect_image(image.source, image.handle.image)
        steps = self._reader.list_history(image.source, image.handle.image)
        keys = {"Created": "created", "Author": "author", "Architecture": "architecture", "Os": "os"}
        keys |= {"Variant": "variant", "OsVersion": "os.version"}
        return {
            **{name: document[key] for key, name in keys.items() if document.get(key)},
            "config": document.get("Config") or {},
            "history": [{"created_by": step.get("CreatedBy") or ""} for step in reversed(steps)],
        }

    def add_problem(self, view: str, subject: str, error: ImqError) -> None:
        """Record that an image could not be read."""
        self._reader.add_problem(error, subject, view)


def _make_image(source: str, lookup: str, document: dict[str, Any], name: str | None = None) -> ImageLayers:
    names = (str(parse_name(tag)) for tag in read_tags(document))
    size = read_integer(document.get("Size"))
    diff_ids = read_config(document).diff_ids
    digests = {str(one).rpartition("@")[2] for one in document.get("RepoDigests") or ()}
    digest = digests.pop() if len(digests) == 1 else None
    shown, handle = name or min(names, default=None), _Handle(document["Id"], size)
    return ImageLayers(lookup, source, document["Id"], shown, diff_ids, handle, digest=digest)


def _choose_images(images: Iterable[ImageLayers], missing: AbstractSet[Digest]) -> list[ImageLayers]:
    """Return images that have all missing layers among them, each with one that those before it do not have."""
    chosen = []
    claimed: set[Digest] = set()
    for image in images:
        own = missing & set(image.diff_ids)
        if not own <= claimed:
            chosen.append(image)
            claimed |= own
    return chosen


def _find_named_layer(path: str, layers: AbstractSet[Digest]) -> Digest | None:
    """Return the diff ID in the name of a file, when it is that of a layer of the images."""
    match = _HEX_NAME.match(path.rpartition("/")[2])
    digest = Digest(f"sha256:{match[1]}") if match is not None else None
    return digest if digest in layers else None


def _peek(pieces: Iterator[memoryview]) -> tuple[bytes, Iterator[memoryview]]:
    """Return the first bytes of a file, at least a block if it has one, and its content."""
    first: list[memoryview] = []
    size = 0
    for piece in pieces:
        first.append(memoryview(bytes(piece)) if first or len(piece) < BLOCK_SIZE else piece)
        size += len(piece)
        if size >= BLOCK_SIZE:
            break
    head = b"".join(bytes(piece[:BLOCK_SIZE]) for piece in first)[:BLOCK_SIZE]

    def chunks() -> Iterator[memoryview]:
        yield from first
        yield from pieces

    return head, chunks()


def _is_layer(head: bytes) -> bool:
    """Whether a file that begins so is an archive, compressed or not, and no document."""
    if detect_compression(head):
        return True
    if len(head) < BLOCK_SIZE:
        return False
    try:
        return head == bytes(BLOCK_SIZE) or has_valid_checksum(head)
    except ValueError:
        return False
