"""Pulls an image: resolves the reference, selects the platform, and fetches the config and the layers.

For several platforms, and for all, the index is stored unchanged too. Artifacts are stored as blobs and not unpacked.
"""

from __future__ import annotations

from imq.engine import progress as words
from imq.engine.oci.config import Config
from imq.engine.oci.manifest import Descriptor, Index, Manifest, parse_manifest
from imq.engine.oci.manifest_walk import read_manifest_tree, read_path
from imq.engine.oci.platform import Platform, host_platform
from imq.engine.oci.platform_match import describe_mismatch, select_entry
from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING, Record

from .blob_fetcher import BlobFetcher, BlobStore
from .worker_pool import WorkerPool

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from typing import Protocol

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.reference import Reference
    from imq.engine.progress import Progress
    from imq.engine.registry.manifests import FetchedManifest
    from imq.engine.registry.mirrors import ImageReader

    from .worker_pool import Task
else:
    Protocol = object

_MAX_MANIFESTS = 1024
"""Maximum number of manifests below one reference, to limit memory."""


class ImageStore(BlobStore, Protocol):
    """The target of a pull: blobs are stored from several threads, the rest from one."""

    def reserve(self, descriptors: Sequence[Descriptor]) -> frozenset[Digest]:
        """Protect these blobs from garbage collection until the pull ends; return those already stored."""

    def store_document(self, descriptor: Descriptor, content: bytes) -> None:
        """Store a small verified document (manifest, index, config)."""

    def read_document(self, digest: Digest) -> bytes:
        """Return a stored document."""


class PullResult(Record):
    """The result of a pull. `digest` is that of the reference in the registry: the index's, if it is one.

    `manifest` is stored under the name: an image, an artifact, or (`keeps_index`) the index, of which
    `stored_manifests` are stored, None for all. `config` and `platform` are set for a single image.
    """

    reference: Reference
    digest: Digest
    manifest: Descriptor
    config: Descriptor | None
    platform: Platform | None
    warnings: tuple[str, ...]
    changed: bool
    transferred_bytes: int
    """Bytes of layers received."""
    artifact_type: str = ""
    """The type of an artifact; "" for images."""
    keeps_index: bool = False
    stored_manifests: frozenset[Digest] | None = None


def pull(
    client: ImageReader,
    reference: Reference,
    platform: Platform | None,
    ingest: ImageStore,
    progress: Progress,
    *,
    jobs: int | None = None,
    stored_index: Digest | None = None,
) -> PullResult:
    """Pull the image of `reference` for `platform` (default: this machine's) into `ingest`.

    Stored blobs are not fetched. Manifests are stored last, so a failed pull leaves no image behind. A single image of
    another platform is pulled, with a warning when a platform was requested; an artifact is pulled as it is. When the
    name already has the index `stored_index`, the image is added to it.
    """
    platforms = () if platform is None else (platform,)
    return _Pull(client, reference.with_default_tag(), platforms, ingest, progress, jobs, stored_index).pull_image()


def pull_index(
    client: ImageReader,
    reference: Reference,
    platforms: Sequence[Platform],
    ingest: ImageStore,
    progress: Progress,
    *,
    jobs: int | None = None,
) -> PullResult:
    """Pull the index of `reference` with the images of these platforms (default: all) and their attestations."""
    state = _Pull(client, reference.with_default_tag(), tuple(platforms), ingest, progress, jobs)
    return state.pull_index()


class _ManifestEntry(Record):
    """A manifest or index, and whether it was stored before."""

    descriptor: Descriptor
    content: bytes
    document: Manifest | Index
    stored: bool


class _Pull:
    """The state of one pull."""

    def __init__(
        self,
        client: ImageReader,
        reference: Reference,
        platforms: tuple[Platform, ...],
        ingest: ImageStore,
        progress: Progress,
        jobs: int | None,
        stored_index: Digest | None = None,
    ) -> None:
        self._client = client
        self._reference = reference
        self._platforms = platforms
        self._ingest = ingest
        self._progress = progress
        self._jobs = jobs or client.settings.jobs
        self._stored_index = stored_index
        self._fetcher = BlobFetcher(client, reference, ingest, progress)
        self._entries: dict[Digest, _ManifestEntry] = {}

    def pull_image(self) -> PullResult:
        """Pull one image, or an artifact."""
        top = self._fetch_root()
        path = self._resolve_platform(top, self._platforms[0] if self._platforms else host_platform())
        if self._stored_index == top.descriptor.digest and isinstance(top.document, Index):
            return self._store_entries(top, path[::-1], keeps_index=True)
        return self._store_entries(top, path[-1:], keeps_index=False)

    def pull_index(self) -> PullResult:
        """Pull the images of several platforms, or all manifests."""
        top = self._fetch_root()
        if isinstance(top.document, Manifest):
            return self._store_entries(top, [top], keeps_index=False)
        if not self._platforms:
            return self._store_entries(top, self._collect_tree(top), keeps_index=True, is_complete=True)
        paths = {one.descriptor.digest for platform in self._platforms for one in self._resolve_platform(top, platform)}
        return self._store_entries(top, self._collect_tree(top, paths), keeps_index=True)

    # Documents

    def _fetch_root(self) -> _ManifestEntry:
        fetched = self._client.fetch_manifest(self._reference)
        return self._add_entry(fetched.descriptor, fetched.content, stored=False)

    def _add_entry(self, descriptor: Descriptor, content: bytes, *, stored: bool) -> _ManifestEntry:
        document = parse_manifest(content, descriptor.media_type, f"the manifest of {self._reference}")
        result = _ManifestEntry(descriptor.replace(media_type=document.media_type), content, document, stored)
        return self._entries.setdefault(descriptor.digest, result)

    def _resolve_platform(self, top: _ManifestEntry, platform: Platform) -> list[_ManifestEntry]:
        """Return the path to one image: indexes, outermost first, and its manifest."""
        requested = platform.normalize()

        def read(descriptor: Descriptor) -> Manifest | Index:
            return self._fetch_entries([descriptor])[0].document

        def select(index: Index) -> Descriptor:
            return select_entry(requested, index, self._reference, self._read_platform)

        return [self._entries[node.descriptor.digest] for node in read_path(top.descriptor, read, select)]

    def _collect_tree(self, top: _ManifestEntry, only: AbstractSet[Digest] | None = None) -> list[_ManifestEntry]:
        """Return an index and all manifests below it, or `only` some of them; an index comes after its entries."""
        count = 0

        def prefetch(entries: Sequence[Descriptor]) -> None:
            nonlocal count
            count += len(entries)
            if count > _MAX_MANIFESTS:
                raise Malformed(
                    f"{self._reference} has more than {_MAX_MANIFESTS} manifests",
                    code="document",
                    hints=("pull only some of its platforms: pull NAME platform linux/amd64, linux/arm64",),
                )
            self._fetch_entries(entries)

        tree = read_manifest_tree(
            top.descriptor,
            lambda descriptor: self._entries[descriptor.digest].document,
            descends=None if only is None else lambda entry: entry.digest in only,
            prefetch=prefetch,
        )
        return [self._entries[node.descriptor.digest] for node in tree.bottom_up()]

    def _read_platform(self, entry: Descriptor) -> Platform:
        """Return the platform in the config of an unlabelled entry; unknown when it is not an image."""
        (result,) = self._fetch_entries([entry])
        document = result.document
        if isinstance(document, Index) or not document.is_image:
            return Platform("", "")
        return Config.parse(self._client.fetch_blob(self._reference, document.config)).platform

    def _fetch_entries(self, entries: Sequence[Descriptor]) -> list[_ManifestEntry]:
        """Return the documents of index entries; missing ones are fetched concurrently."""
        unseen = [entry for entry in entries if entry.digest not in self._entries]
        for entry in unseen:
            entry.digest.require_supported(f"{self._reference}: the manifest")
        present = self._ingest.reserve(unseen) if unseen else frozenset()
        missing = []
        for entry in unseen:
            content = self._read_stored(entry) if entry.digest in present else None
            if content is not None:
                self._add_entry(entry, content, stored=True)
            else:
                missing.append(entry)
        fetched: dict[Digest, FetchedManifest] = {}

        def make_task(entry: Descriptor) -> Task:
            def fetch(_: WorkerPool) -> None:
                name = self._reference.replace(tag=None, digest=entry.digest)
                fetched[entry.digest] = self._client.fetch_manifest(name)

            return fetch

        if missing:
            WorkerPool().run([make_task(entry) for entry in missing], self._jobs)
        for entry in missing:
            content = fetched[entry.digest].content
            if len(content) != entry.size:
                raise Malformed(
                    f"the manifest {entry.digest.short} of {self._reference} has {len(content)} bytes, "
                    f"but the index specifies {entry.size}",
                    code="size",
                    hints=("the index has a wrong size: push it again, or pull the manifest by its digest",),
                )
            self._add_entry(entry, content, stored=False)
        return [self._entries[entry.digest] for entry in entries]

    def _read_stored(self, descriptor: Descriptor) -> bytes | None:
        """Return the content of a stored document; None when it is corrupt and must be fetched again."""
        content = self._ingest.read_document(descriptor.digest)
        return content if descriptor.digest.matches(content) else None

    # Blobs

    def _store_entries(
        self, top: _ManifestEntry, documents: Sequence[_ManifestEntry], *, keeps_index: bool, is_complete: bool = False
    ) -> PullResult:
        """Fetch the blobs of these manifests, then store the manifests; an index comes after its entries."""
        manifests = [(one, one.document) for one in documents if isinstance(one.document, Manifest)]
        blobs = _list_unique_blobs([b for _, one in manifests for b in (one.config, *one.layers)], self._reference)
        present = self._ingest.reserve([*(one.descriptor for one in documents), *blobs])
        configs = self._fetch_configs([one for _, one in manifests if one.is_image], present)
        self._fetch_blobs([one for _, one in manifests], configs, present)
        new = False
        for one in documents:
            if not (one.stored or (one.descriptor.digest in present and self._read_stored(one.descriptor) is not None)):
                self._ingest.store_document(one.descriptor, one.content)
                new = True
        single = manifests[0][1] if not keeps_index else None
        config = configs.get(single.config.digest) if single is not None and single.is_image else None
        return PullResult(
            self._reference,
            top.descriptor.digest,
            top.descriptor if keeps_index else manifests[0][0].descriptor,
            single.config if config is not None and single is not None else None,
            config.platform if config is not None else None,
            (
                *self._list_platform_warnings(top, config),
                *(error for one in configs.values() for error in one.problems),
            ),
            new,
            self._fetcher.transferred_bytes,
            single.artifact_kind if single is not None and not single.is_image else "",
            keeps_index,
            None if is_complete else frozenset(one.descriptor.digest for one in documents if one is not top),
        )

    def _fetch_configs(self, images: Sequence[Manifest], present: frozenset[Digest]) -> dict[Digest, Config]:
        """Return the configs of images by digest; missing ones are fetched concurrently and stored."""
        description = f"the config of {self._reference}"
        requested = {image.config.digest: image.config for image in images}
        contents = {
            digest: content
            for digest, descriptor in requested.items()
            if digest in present and (content := self._read_stored(descriptor)) is not None
        }
        fetched: dict[Digest, bytes] = {}

        def make_task(descriptor: Descriptor) -> Task:
            def fetch(_: WorkerPool) -> None:
                fetched[descriptor.digest] = self._client.fetch_blob(self._reference, descriptor)

            return fetch

        missing = [descriptor for digest, descriptor in requested.items() if digest not in contents]
        if missing:
            WorkerPool().run([make_task(descriptor) for descriptor in missing], self._jobs)
        configs = {digest: Config.parse(content, description) for digest, content in (contents | fetched).items()}
        for image in images:
            if len(configs[image.config.digest].diff_ids) != len(image.layers):
                raise Malformed(
                    f"{self._reference} has {len(image.layers)} layers and "
                    f"{len(configs[image.config.digest].diff_ids)} diff IDs",
                    code="document",
                    hints=("its manifest does not match its config: push the image again",),
                )
        for descriptor in missing:
            self._ingest.store_document(descriptor, fetched[descriptor.digest])
        return configs

    def _fetch_blobs(
        self, manifests: Sequence[Manifest], configs: Mapping[Digest, Config], present: frozenset[Digest]
    ) -> None:
        """Fetch every missing layer and artifact blob, several at once."""
        blobs: dict[Digest, tuple[Descriptor, Digest | None]] = {}
        for manifest in manifests:
            if not manifest.is_image:
                for blob in (*manifest.layers, manifest.config):
                    blobs.setdefault(blob.digest, (blob, None))
                continue
            for layer, diff_id in zip(manifest.layers, configs[manifest.config.digest].diff_ids, strict=True):
                if blobs.get(layer.digest, (layer, None))[1] not in (None, diff_id):
                    raise Malformed(
                        f"{self._reference} has two diff IDs for the layer {layer.digest.short}", code="document"
                    )
                blobs[layer.digest] = (layer, diff_id)
        missing = [(blob, diff_id) for blob, diff_id in blobs.values() if blob.digest not in present]
        self._progress.begin(
            str(self._reference), sum(blob.size - self._ingest.partial_size(blob) for blob, _ in missing)
        )
        try:
            for blob, _ in blobs.values():
                word = words.EXISTS if blob.digest in present else words.PULLING
                self._progress.set_layer_status(blob.digest, word, blob.size)
            if missing:
                WorkerPool().run([self._fetcher.make_task(blob, diff_id) for blob, diff_id in missing], self._jobs)
        finally:
            self._progress.end()

    def _list_platform_warnings(self, top: _ManifestEntry, config: Config | None) -> tuple[str, ...]:
        """Warn about a single image of another platform, as docker does."""
        if config is None or isinstance(top.document, Index):
            return ()
        warnings = (
            describe_mismatch(self._reference, requested.normalize(), config.platform) for requested in self._platforms
        )
        return tuple(warning for warning in warnings if warning)


def _list_unique_blobs(blobs: Sequence[Descriptor], reference: Reference) -> list[Descriptor]:
    """Return each blob once; one digest with two sizes raises `Malformed`."""
    blobs_by_digest: dict[Digest, Descriptor] = {}
    for blob in blobs:
        blob.digest.require_supported(f"{reference}: the blob")
        if blobs_by_digest.setdefault(blob.digest, blob).size != blob.size:
            raise Malformed(f"{reference} has two sizes for the blob {blob.digest.short}", code="document")
    return list(blobs_by_digest.values())
