"""Pushes an image to a registry: layers and config first, the manifest last. Existing blobs are not sent."""

from __future__ import annotations

from io import BytesIO

from imq.engine import progress as words
from imq.engine.oci import media_types
from imq.engine.oci.config import check_ambiguous_keys
from imq.engine.oci.manifest import Descriptor, Index, Manifest, check_document_size, parse_manifest
from imq.engine.oci.manifest_walk import read_manifest_tree
from imq.engine.registry.http.request_body import BLOCK_SIZE
from imq.grammar.errors import Conflict, DigestMismatch, join_names
from imq.grammar.record import TYPE_CHECKING, Record

from .blob_relay import BlobRelay
from .byte_counter import ByteCounter
from .worker_pool import WorkerPool

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Protocol

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.reference import Reference
    from imq.engine.progress import Progress
    from imq.engine.registry.client import Client
    from imq.engine.registry.http.request_body import Content

    from .worker_pool import Task
else:
    Protocol = object


class BlobSource(Protocol):
    """The source of the blobs of a push. Called from several threads."""

    def read(self, digest: Digest) -> bytes:
        """Return a small document."""

    def open(self, digest: Digest) -> Content:
        """Open a blob for reading; the push closes it."""


class PushResult(Record):
    """The result of a push: the manifest under the reference, and the bytes of blobs that were sent.

    `changed` is False when the reference had this manifest before; `skipped_layers` counts foreign layers.
    """

    reference: Reference
    manifest: Descriptor
    transferred_bytes: int
    changed: bool = True
    skipped_layers: int = 0


def push(
    client: Client,
    reference: Reference,
    manifest: Descriptor,
    export: BlobSource,
    progress: Progress,
    *,
    jobs: int | None = None,
    mount_from: str | None = None,
    absent: Mapping[Digest, str] | None = None,
) -> PushResult:
    """Push an image, or an index with all its images, as `reference`.

    `mount_from` is a repository of the same registry to mount blobs from. `absent` describes, by digest, manifests of
    the index that are not in the store: the repository must have them.
    """
    pushing = _Push(client, reference.with_default_tag(), export, progress, mount_from, absent or {})
    return pushing.run(manifest, jobs or client.settings.jobs)


class _Push:
    """The state of one push."""

    def __init__(
        self,
        client: Client,
        reference: Reference,
        export: BlobSource,
        progress: Progress,
        source: str | None,
        absent: Mapping[Digest, str],
    ) -> None:
        self._client = client
        self._reference = reference
        self._blobs = export
        self._progress = progress
        self._mount_from = source
        self._absent = absent
        self._counter = ByteCounter(progress)
        self._configs: dict[Digest, bytes] = {}
        """Configs that were read already and are not read again for the upload."""

    def run(self, manifest: Descriptor, jobs: int) -> PushResult:
        """Push missing content. A repository that has a manifest has its blobs, so manifests are checked first."""
        is_tagged = self._client.resolve_for_push(self._reference) == manifest.digest
        if is_tagged or (self._reference.tag is not None and self._has_manifest(manifest.digest)):
            return self._push_existing(manifest, new=not is_tagged)
        documents = self._walk_manifests(manifest)
        existing = self._find_existing([descriptor.digest for descriptor, _, _ in documents[:-1]], jobs)
        blobs: dict[Digest, tuple[Descriptor, bool]] = {}
        skipped: dict[Digest, Descriptor] = {}
        existing_documents: list[Manifest | Index] = []
        for descriptor, _, document in documents:
            if descriptor.digest in existing:
                existing_documents.append(document)
            elif isinstance(document, Manifest):
                skipped |= {layer.digest: layer for layer in document.layers if _is_foreign(layer)}
                blobs.update((layer.digest, (layer, True)) for layer in document.layers if not _is_foreign(layer))
                blobs.setdefault(document.config.digest, (document.config, False))
        new = [document for descriptor, _, document in documents if descriptor.digest not in existing]
        self._read_configs([one.config for one in new if isinstance(one, Manifest) and one.is_image], jobs)
        self._client.mount_sources.load_cached(self._reference, blobs)
        self._progress.begin(str(self._reference), sum(blob.size for blob, _ in blobs.values()))
        try:
            for document in existing_documents:
                self._report_existing(document)
            for layer in skipped.values():
                self._progress.set_layer_status(layer.digest, words.SKIPPED, layer.size)
            for blob, is_layer in blobs.values():
                if is_layer:
                    self._progress.set_layer_status(blob.digest, words.PREPARING, blob.size)
            WorkerPool().run([self._make_task(blob, shown) for blob, shown in blobs.values()], jobs)
        finally:
            self._progress.end()
        for descriptor, content, document in documents:
            if descriptor.digest not in existing:
                self._put_manifest(descriptor, content, document, is_root=descriptor is manifest)
            self._client.mount_sources.record_manifest(self._reference, descriptor.digest, len(content), document)
        return PushResult(self._reference, manifest, self._counter.total, skipped_layers=len(skipped))

    def _push_existing(self, manifest: Descriptor, *, new: bool) -> PushResult:
        """Tag a manifest that the repository has already; `new` is False when the tag exists too."""
        content = self._blobs.read(manifest.digest)
        document = parse_manifest(content, manifest.media_type, f"the manifest of {self._reference}")
        self._progress.begin(str(self._reference), 0)
        self._report_existing(document)
        self._progress.end()
        if new:
            self._put_manifest(manifest, content, document, is_root=True)
        self._client.mount_sources.record_manifest(self._reference, manifest.digest, len(content), document)
        return PushResult(self._reference, manifest, 0, new)

    def _put_manifest(
        self, descriptor: Descriptor, content: bytes, document: Manifest | Index, *, is_root: bool
    ) -> None:
        name = self._reference if is_root else self._reference.replace(tag=None, digest=None)
        self._client.put_manifest(name.replace(digest=descriptor.digest), content, document.media_type)

    def _report_existing(self, document: Manifest | Index) -> None:
        """Report the layers of a manifest as existing, and record them as mount sources."""
        for layer in document.layers if isinstance(document, Manifest) else ():
            if not _is_foreign(layer):
                self._client.mount_sources.record_blob(self._reference, layer.digest)
                self._progress.set_layer_status(layer.digest, words.LAYER_EXISTS, layer.size)

    def _has_manifest(self, digest: Digest) -> bool:
        return self._client.resolve_for_push(self._reference.replace(tag=None, digest=digest)) == digest

    def _find_existing(self, manifests: Sequence[Digest], jobs: int) -> set[Digest]:
        """Return the manifests of an index that the repository has.

        Raises `Conflict` if a manifest is neither there nor in the store.
        """
        existing: set[Digest] = set()

        def make_task(digest: Digest) -> Task:
            def request(_: WorkerPool) -> None:
                if self._has_manifest(digest):
                    existing.add(digest)

            return request

        WorkerPool().run([make_task(digest) for digest in dict.fromkeys((*manifests, *self._absent))], jobs)
        missing = [name for digest, name in self._absent.items() if digest not in existing]
        if missing:
            raise Conflict(
                f"manifests of the index are neither in {self._reference.registry} nor in the store: "
                f"{join_names(missing)} of {self._reference.repository}",
                code="partial-index",
                hints=(
                    "pull it with platform all, and push again",
                    "or push an index of some platforms: push NAME to NAME platform linux/amd64, linux/arm64",
                ),
            )
        return existing

    def _walk_manifests(self, manifest: Descriptor) -> list[tuple[Descriptor, bytes, Manifest | Index]]:
        """Return the manifests to push; an index comes after its entries."""
        contents: dict[Digest, bytes] = {}

        def read(descriptor: Descriptor) -> Manifest | Index:
            content = self._blobs.read(descriptor.digest)
            if not descriptor.digest.matches(content):
                raise DigestMismatch(f"the stored manifest of {self._reference} is not {descriptor.digest}")
            contents[descriptor.digest] = content
            return parse_manifest(content, descriptor.media_type, f"the manifest of {self._reference}")

        tree = read_manifest_tree(manifest, read, descends=lambda entry: entry.digest not in self._absent)
        return [(node.descriptor, contents[node.descriptor.digest], node.document) for node in tree.bottom_up()]

    def _read_configs(self, configs: Sequence[Descriptor], jobs: int) -> None:
        """Read the configs of images, and reject ambiguous keys, which tools would interpret differently."""

        def make_task(config: Descriptor) -> Task:
            def check(pool: WorkerPool) -> None:
                description, limit = f"the config of {self._reference}", self._client.settings.largest_document
                content = bytearray()
                source = self._blobs.open(config.digest)
                try:
                    if isinstance(source, BlobRelay):  # reading from a registry may block
                        pool.watch(source)
                    while len(content) <= limit and (piece := source.read(BLOCK_SIZE)):
                        content += piece
                finally:
                    source.close()
                check_document_size(len(content), limit, description)
                check_ambiguous_keys(bytes(content), description)
                self._configs[config.digest] = bytes(content)

            return check

        distinct = {config.digest: config for config in configs}
        if distinct:
            WorkerPool().run([make_task(config) for config in distinct.values()], jobs)

    def _make_task(self, blob: Descriptor, is_layer: bool) -> Task:
        count = self._counter.add_layer(blob.digest, blob.size)

        def report(word: str) -> None:
            if is_layer:
                self._progress.set_layer_status(blob.digest, word, blob.size)

        def send(pool: WorkerPool) -> None:
            mount_sources = self._client.mount_sources
            if mount_sources.has_blob(self._reference, blob.digest):
                report(words.LAYER_EXISTS)
                return
            source = self._mount_from or mount_sources.find_source(self._reference, blob.digest)

            def open_content() -> Content:
                report(words.PUSHING)
                if blob.digest in self._configs:
                    return BytesIO(self._configs[blob.digest])
                content = self._blobs.open(blob.digest)
                if isinstance(content, BlobRelay):  # reading from a registry may block
                    pool.watch(content)
                return content

            outcome = self._client.upload_blob(
                self._reference, blob, open_content, source=source, on_progress=count.advance_to, stop=pool.stop
            )
            mount_sources.record_blob(self._reference, blob.digest)
            if source is not None and outcome != "mounted":
                mount_sources.record_refusal(self._reference, blob.digest, source)
            if outcome == "mounted":
                report(words.MOUNTED + str(source))
            else:
                report(words.PUSHED if outcome == "sent" else words.LAYER_EXISTS)

        return send


def _is_foreign(layer: Descriptor) -> bool:
    """Whether a layer is foreign: it must not be distributed, and has URLs."""
    return bool(layer.urls) and media_types.is_nondistributable(layer.media_type)
