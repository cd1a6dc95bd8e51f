"""The images of one namespace: its records, and what the documents in the content store say of them."""

from __future__ import annotations

from imq.engine.oci.chain_id import compute_chain_ids
from imq.engine.oci.config import Config
from imq.engine.oci.digest import is_digest
from imq.engine.oci.manifest import Index, parse_manifest
from imq.engine.oci.platform import find_best_platform
from imq.engine.oci.reference import parse_name as parse_image_name
from imq.engine.sources.layouts.content import (
    ImageContent,
    LayerContent,
    ListedImage,
    PlaceContent,
    Unreadable,
    check_layer_count,
)
from imq.engine.sources.layouts.rows import PlaceRows
from imq.grammar.errors import ImqError, NotFound
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from imq.engine.containerd_client.client import BlobRecord, ImageRecord
    from imq.engine.oci.digest import Digest
    from imq.engine.oci.manifest import Descriptor, Manifest
    from imq.engine.oci.platform import Platform
    from imq.engine.oci.reference import Name, Reference
    from imq.engine.sources.layouts.rows import Row

_PINNED_LABEL, _PINNED_VALUE = "io.cri-containerd.pinned", "pinned"
_DOCKER_DANGLING = "moby-dangling@"
_SNAPSHOT_LABEL = "containerd.io/gc.ref.snapshot."
"""The label of a config whose image is unpacked; its end is the name of the snapshotter."""
_ORIGIN_LABEL = "containerd.io/distribution.source."
"""The label of a blob that was pulled; its end is the host of the registry."""
_MAX_INDEX_DEPTH = 4


class ContainerdImage(ImageContent):
    """One image of a namespace for one platform. `is_complete`: all blobs are there.

    `snapshotters` are those that have its snapshots.
    """

    is_complete: bool = True
    snapshotters: tuple[str, ...] = ()

    @property
    def is_unpacked(self) -> bool:
        """Whether all snapshots are there."""
        return bool(self.snapshotters)


class ContainerdRecords(ListedImage):
    """One target of a namespace: an index or a manifest, with all records (names) that point to it.

    `is_whole`: all platforms of an index are here.
    """

    records: tuple[ImageRecord, ...] = ()
    is_whole: bool = True

    @property
    def is_pinned(self) -> bool:
        """Whether the kubelet never removes the image."""
        return any(record.labels.get(_PINNED_LABEL) == _PINNED_VALUE for record in self.records)


class NamespaceRows(PlaceRows):
    """The rows of one namespace."""

    is_stacked = True

    def further_values(self, listed: ListedImage, image: ImageContent | None, /) -> Row:
        """Return the values of `complete` and `pinned`."""
        is_complete = isinstance(image, ContainerdImage) and image.is_complete
        return int(is_complete), int(isinstance(listed, ContainerdRecords) and listed.is_pinned)

    def find_record(self, name: str) -> ContainerdRecords | None:
        """Return the target of the record with exactly this name."""
        for listed in self.list_targets():
            if any(record.name == name for record in listed.records):
                return listed
        return None

    def find_shown(self, name: str) -> tuple[str, ContainerdRecords] | None:
        """Return a record that shows this name, and its target."""
        for listed in self.list_targets():
            for record in listed.records:
                if str(name_of_record(record.name)) == name:
                    return record.name, listed
        return None

    def list_snapshotters(self) -> frozenset[str]:
        """Return the snapshotters that have snapshots of the images."""
        images = (image for listed in self.list_targets() for image in listed.images)
        return frozenset(name for image in images if isinstance(image, ContainerdImage) for name in image.snapshotters)

    def list_targets(self) -> list[ContainerdRecords]:
        """Return the targets of the namespace."""
        return [listed for listed in self.content.listed if isinstance(listed, ContainerdRecords)]


def name_of_record(text: str) -> Name | None:
    """Return the name that a record shows; None for one that is only an ID of the kubelet, or docker's `<none>`."""
    return None if is_digest(text) or text.startswith(_DOCKER_DANGLING) else parse_image_name(text)


def make_record_name(reference: Reference) -> str:
    """Return the name of the record for a reference: every part in full."""
    tag = f":{reference.tag}" if reference.tag else ""
    digest = f"@{reference.digest}" if reference.digest else ""
    return f"{reference.canonical_name}{tag}{digest}"


def choose_names(records: Iterable[ImageRecord]) -> tuple[Name, ...]:
    """Return the names to show: those with a digest only when their repository has no tag, as docker does it."""
    names = [name for record in records if (name := name_of_record(record.name)) is not None]
    tagged = {name.canonical_name for name in names if name.tag is not None}
    return tuple(name for name in names if name.tag is not None or name.canonical_name not in tagged)


class Documents:
    """The parsed manifests, indexes and configs of a session, by their digests."""

    def __init__(self) -> None:
        self.manifests: dict[Digest, Manifest | Index] = {}
        self.configs: dict[Digest, Config] = {}


class NamespaceReader:
    """Reads the images of one namespace. `read` returns a verified document, by its digest and its name in errors.

    `documents` are those that are known; each of them is only used when the namespace has its blob. Of an index, the
    image for `platform` is read; without one, all that are there.
    """

    def __init__(
        self,
        blobs: Mapping[Digest, BlobRecord],
        read: Callable[[Digest, str], bytes],
        platform: Platform,
        documents: Documents,
    ) -> None:
        self._blobs = blobs
        self._read = read
        self._platform = platform
        self._images: dict[Digest, ContainerdImage | Unreadable | None] = {}
        self._documents = documents

    def read_targets(self, records: Sequence[ImageRecord]) -> PlaceContent:
        """Return the images of records, one entry for each target."""
        by_target: dict[Digest, list[ImageRecord]] = {}
        for record in records:
            by_target.setdefault(record.target.digest, []).append(record)
        return PlaceContent(tuple(self._read_target(found) for found in by_target.values()))

    @property
    def blobs(self) -> Mapping[Digest, BlobRecord]:
        """The blobs of the namespace."""
        return self._blobs

    def walk(self, target: Descriptor) -> Iterator[tuple[Descriptor, Manifest | Index]]:
        """Yield the manifests and indexes of a target that are here, parents first. Raises `ImqError`."""
        pending = [(target, 0)]
        seen = set()
        while pending:
            descriptor, depth = pending.pop()
            is_here = descriptor.digest in self._blobs or not depth
            if descriptor.digest in seen or not is_here or depth > _MAX_INDEX_DEPTH:
                continue
            seen.add(descriptor.digest)
            document = self.parse(descriptor)
            yield descriptor, document
            if isinstance(document, Index):
                pending += [(entry, depth + 1) for entry in document.manifests]

    def _read_target(self, records: Sequence[ImageRecord]) -> ContainerdRecords:
        target = records[0].target
        names = choose_names(records)
        images: list[ContainerdImage] = []
        unreadable: list[Unreadable] = []
        try:
            for one in self._read_images(target, 0):
                (images if isinstance(one, ContainerdImage) else unreadable).append(one)  # type: ignore[arg-type]
        except ImqError as error:
            unreadable.append(Unreadable(None, error))
        if not images and not unreadable:
            reason = f"no manifest that {target.digest.short} lists is in this namespace"
            unreadable.append(Unreadable(None, NotFound(reason, code="incomplete")))
        times = [record.updated_at or record.created_at or 0 for record in records]
        digests = {record.name.partition("@")[2] for record in records}
        labels = self._blobs[target.digest].labels if target.digest in self._blobs else ()
        from_registry = target.digest in digests or any(label.startswith(_ORIGIN_LABEL) for label in labels)
        return ContainerdRecords(
            target,
            names,
            tuple(images),
            () if images else tuple(unreadable[:1]),
            target.digest if from_registry else None,
            max(times) or None,
            records=tuple(records),
            is_whole=self._is_whole(target, 0),
        )

    def _is_whole(self, target: Descriptor, depth: int) -> bool:
        """Whether all blobs that a manifest or an index lists are here."""
        if target.digest not in self._blobs or depth > _MAX_INDEX_DEPTH:
            return False
        try:
            manifest = self.parse(target)
        except ImqError:
            return False
        if isinstance(manifest, Index):
            return all(self._is_whole(entry, depth + 1) for entry in manifest.manifests)
        return all(blob.digest in self._blobs for blob in (manifest.config, *manifest.layers))

    def _read_images(self, target: Descriptor, depth: int) -> list[ContainerdImage | Unreadable]:
        """Return the images of a manifest or an index. Raises `ImqError` when its document cannot be read."""
        known = self._images.get(target.digest)
        if known is not None:
            return [known]
        manifest = self.parse(target)
        if isinstance(manifest, Index):
            return self._choose_images(manifest, depth) if depth < _MAX_INDEX_DEPTH else []
        if not manifest.is_image:
            if depth:
                return []
            name = f"the manifest {target.digest.short}"
            raise NotFound(f"{name} is an artifact ({manifest.artifact_kind}) and no image", code="artifact")
        image = self._images[target.digest] = self._read_image(target.digest, manifest)
        return [image]

    def parse(self, target: Descriptor) -> Manifest | Index:
        """Return a manifest or an index. Raises `ImqError`."""
        name = f"the manifest {target.digest.short}"
        if target.digest not in self._blobs:
            raise NotFound(f"{name} is not in this namespace", code="incomplete")
        manifest = self._documents.manifests.get(target.digest)
        if manifest is None:
            manifest = parse_manifest(self._read(target.digest, name), target.media_type, name)
            self._documents.manifests[target.digest] = manifest
        return manifest

    def parse_config(self, digest: Digest, name: str) -> Config:
        """Return a config, which has this name in errors. Raises `ImqError`."""
        config = self._documents.configs.get(digest)
        if config is None:
            config = self._documents.configs[digest] = Config.parse(self._read(digest, name), name)
        return config

    def _choose_images(self, index: Index, depth: int) -> list[ContainerdImage | Unreadable]:
        offered = [one for one in index.manifests if one.platform is None or one.platform.is_known]
        platforms = [(one.platform, at) for at, one in enumerate(offered) if one.platform is not None]
        best = find_best_platform(self._platform, platforms)
        if best is not None and offered[best].digest in self._blobs:
            return self._read_entry(offered[best], depth)
        others = [one for entry in offered if entry.digest in self._blobs for one in self._read_entry(entry, depth)]
        return [one for one in others if isinstance(one, ContainerdImage) and is_present(one)]

    def _read_entry(self, entry: Descriptor, depth: int) -> list[ContainerdImage | Unreadable]:
        try:
            return self._read_images(entry, depth + 1)
        except ImqError as error:
            return [Unreadable(entry.digest, error, entry.platform)]

    def _read_image(self, digest: Digest, manifest: Manifest) -> ContainerdImage | Unreadable:
        blobs = {one.digest for one in (manifest.config, *manifest.layers)}
        missing = [one for one in blobs if one not in self._blobs]
        name = f"the config {manifest.config.digest.short}"
        if manifest.config.digest in missing:
            return Unreadable(digest, NotFound(f"{name} is not in this namespace", code="incomplete"))
        try:
            config = self.parse_config(manifest.config.digest, name)
            check_layer_count(config, len(manifest.layers), "the manifest")
        except ImqError as error:
            return Unreadable(digest, error)
        labels = self._blobs[manifest.config.digest].labels
        snapshotters = tuple(
            key.removeprefix(_SNAPSHOT_LABEL) for key in labels if key.startswith(_SNAPSHOT_LABEL) and labels[key]
        )
        snapshotter = snapshotters[0] if snapshotters else ""
        layers = [
            LayerContent(
                diff_id,
                layer.digest,
                layer.size,
                layer.media_type,
                f"{snapshotter}/{chain_id}" if snapshotter else "",
            )
            for layer, diff_id, chain_id in zip(
                manifest.layers, config.diff_ids, compute_chain_ids(config.diff_ids), strict=True
            )
        ]
        problem = None
        if missing and not snapshotter:
            count = f"{len(missing)} of its {len(blobs) + 1} blobs are not in this namespace, and it is not unpacked"
            problem = NotFound(count, code="incomplete")
        return ContainerdImage(
            manifest.config.digest,
            config,
            tuple(layers),
            digest,
            manifest.media_type,
            manifest.annotations,
            manifest.download_size,
            problem,
            is_complete=not missing,
            snapshotters=snapshotters,
        )


def is_present(image: ContainerdImage) -> bool:
    """Whether an image can be used: its blobs are there, or its snapshots."""
    return image.is_complete or image.is_unpacked
