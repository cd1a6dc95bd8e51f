"""The layers of the images of registries, for the index of files. They are streamed, and nothing is stored."""

from __future__ import annotations

import json
from functools import partial

from imq.engine.layers.table_of_contents import find_table
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor
from imq.engine.oci.platform import Platform
from imq.engine.registry.transfer.blob_reader import RangesIgnoredError, ResumingReader
from imq.engine.registry.transfer.blob_relay import BUFFER_SIZE, BlobRelay
from imq.engine.sources.contents.protocol import (
    ARTIFACT,
    REPOSITORY_SCHEME,
    ImageLayers,
    LayerPlace,
    LayerTable,
    RangesIgnored,
    plan_single_reads,
    read_each,
)
from imq.grammar.errors import DigestMismatch, ImqError, Malformed, NotFound, RegistryError
from imq.grammar.record import TYPE_CHECKING, Record

from .table_scan import parse_row_reference
from .tables import CONFIG
from .tags import ResolvedNames

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from typing import Any

    from imq.engine.catalog.schema import Raw
    from imq.engine.oci.reference import Reference
    from imq.engine.query.source import ScanRequest
    from imq.engine.sources.contents.protocol import LayerRead, ReadLayer

    from .reader import RegistryReader


class RemoteLayers(Record):
    """Where the layers and the config of an image are: blobs of a repository, the layers by diff ID."""

    repository: Reference
    blobs: dict[Digest, Descriptor]
    config: Descriptor


class RegistryContents:
    """The layers of the images of registries."""

    def __init__(self, reader: RegistryReader) -> None:
        self._reader = reader

    def list_images(self, request: ScanRequest, names: Sequence[tuple[Raw, ...]]) -> Iterator[ImageLayers]:
        """Yield the images of names, and those that are looked up by names and digests of manifests."""
        self._reader.fresh_nanoseconds = request.max_age
        platform = Platform.parse(request.platform) if request.platform else self._reader.platform
        resolved = _ImageNames(self._reader, request, platform)
        resolved.resolve(names, CONFIG, "created")
        images = list(self._read_images(resolved))
        resolved.close()
        yield from images
        found = {image.lookup for image in images}
        for name, *_ in names:
            if str(name) not in found:  # an invalid name, or one that is gone
                absent = NotFound(f"{name} is not in its registry", code="not-found")
                yield ImageLayers(str(name), "", str(name), None, (), problem=absent)

    def _read_images(self, resolved: _ImageNames) -> Iterator[ImageLayers]:
        connection = self._reader.connection
        rows = connection.execute(
            f"""SELECT t.registry, t._path, NULL, t._row, t._lookup, t.source, t.name, t.manifest, t.problem,
                manifest.config, manifest.kind, config.diff_ids, manifest.config_type, manifest.config_size
            FROM temp.{resolved.rows} AS t LEFT JOIN cache.document AS manifest ON manifest.digest = t.manifest
            LEFT JOIN cache.config AS config ON config.digest = manifest.config ORDER BY t._row"""
        ).fetchall()
        for row in rows:
            key, lookup, source, name, manifest, problem, id_, kind, diff_ids, *config = row[3:]
            make = partial(ImageLayers, lookup, source or "", id_ or lookup, name)
            if problem is not None:
                yield make((), problem=resolved.errors.get(key) or RegistryError(problem))
                continue
            if kind != "image" or diff_ids is None:
                yield make((), problem=NotFound(f"{name} is an artifact and no image", code=ARTIFACT))
                continue
            layers = [Digest(diff_id) for diff_id in json.loads(diff_ids)]
            blobs = [
                Descriptor(media_type, Digest(digest), size, json.loads(annotations))
                for media_type, digest, size, annotations in connection.execute(
                    "SELECT media_type, digest, size, annotations FROM cache.layer WHERE manifest = ?"
                    " ORDER BY position",
                    (manifest,),
                )
            ]
            if len(layers) != len(blobs):
                words = f"the config of {name} has {len(layers)} layers, the manifest {len(blobs)}"
                yield make((), problem=Malformed(words, code="layers"))
                continue
            document = Descriptor(config[0] or "", Digest(id_), config[1])
            remote = RemoteLayers(parse_row_reference(row), dict(zip(layers, blobs, strict=True)), document)
            yield make(tuple(layers), remote, tables=dict(self._find_tables(remote)), digest=manifest)

    def _find_tables(self, remote: RemoteLayers) -> Iterator[tuple[Digest, LayerTable]]:
        """Yield the tables of contents of layers, by diff ID."""
        for diff_id, blob in remote.blobs.items():
            if (location := find_table(blob.annotations, blob.size)) is not None:
                yield diff_id, LayerTable(location, partial(self._read_range, remote.repository, blob))

    def _read_range(self, repository: Reference, blob: Descriptor, start: int, end: int) -> Iterator[memoryview]:
        """Yield the bytes of a blob from `start` up to `end`. Raises `RangesIgnored`."""
        buffer = memoryview(bytearray(min(end - start, BUFFER_SIZE)))
        try:
            with ResumingReader(self._reader.client.http, repository, blob, start, None, end) as source:
                while count := source.readinto(buffer):
                    yield buffer[:count]
        except RangesIgnoredError:
            raise RangesIgnored from None

    def plan_reads(self, images: Sequence[ImageLayers], missing: AbstractSet[Digest]) -> Iterator[LayerRead]:
        """Yield a read of each blob, from each repository that has it."""

        def locate(image: ImageLayers, diff_id: Digest) -> tuple[tuple[str, str, Digest], int]:
            remote: RemoteLayers = image.handle
            blob = remote.blobs[diff_id]
            return (remote.repository.registry, remote.repository.repository, blob.digest), blob.size

        return plan_single_reads(self, images, missing, locate, self._find_place)

    def _find_place(self, image: ImageLayers, diff_id: Digest) -> LayerPlace:
        """Return the mirrors of the repository that has a blob, and the repository."""
        from imq.engine.registry.mirrors import list_mirrors

        remote: RemoteLayers = image.handle
        mirrors = list_mirrors(self._reader.client.settings.mirrors, remote.repository)
        references = [*(mirror.reference for mirror in mirrors), remote.repository]
        locations = (f"{REPOSITORY_SCHEME}{one.registry}/{one.repository}" for one in references)
        return LayerPlace(remote.blobs[diff_id], tuple(locations))

    def read_layers(self, image: ImageLayers, diff_ids: Sequence[Digest], read: ReadLayer) -> None:
        """Pass the blobs of layers to `read`, verified."""
        remote: RemoteLayers = image.handle
        read_each(diff_ids, lambda diff_id: self._read_blob(remote, diff_id, read))

    def _read_blob(self, remote: RemoteLayers, diff_id: Digest, read: ReadLayer) -> None:
        blob, repository = remote.blobs[diff_id], remote.repository
        client = self._reader.images
        while True:
            relay = BlobRelay(partial(client.open_blob, repository, blob), repository, blob)
            try:
                read(diff_id, iter(relay.read, b""))
            except (DigestMismatch, Malformed):
                if not client.reject_source(blob):  # a mirror may have sent other bytes
                    raise
            else:
                return
            finally:
                relay.close()

    def read_config(self, image: ImageLayers) -> Mapping[str, Any]:
        """Fetch the config of an image."""
        from imq.engine.oci.config import Config

        remote: RemoteLayers = image.handle
        content = self._reader.images.fetch_blob(remote.repository, remote.config)
        return Config.parse(content, f"the config {remote.config.digest}").document

    def add_problem(self, view: str, subject: str, error: ImqError) -> None:
        """Record that an image could not be read."""
        self._reader.add_problem(error, subject, view)


class _ImageNames(ResolvedNames):
    """The names of a scan. Their errors are those of their images, by row."""

    def __init__(self, reader: RegistryReader, request: ScanRequest, platform: Platform) -> None:
        super().__init__(reader, request, platform)
        self.errors: dict[int, ImqError] = {}

    def set_problems(self, failures: Iterable[tuple[int, ImqError, str]]) -> None:
        """Set the problems of rows."""
        found = {row: error for row, error, _ in failures}
        self.errors |= found
        self.connection.executemany(
            f"UPDATE temp.{self.rows} SET problem = ? WHERE _row = ?",
            [(one.message, row) for row, one in found.items()],
        )
