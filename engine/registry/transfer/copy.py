"""Copies an image between registries or repositories, through memory and without touching the disk.

It is a push whose blobs come from a registry: blobs at the target are skipped, and blobs in another repository of the
same registry are mounted.
"""

from __future__ import annotations

from imq.engine.oci.index_subset import PlatformSelector
from imq.engine.oci.manifest import Descriptor, Manifest, parse_manifest
from imq.engine.oci.manifest_walk import read_manifest_tree
from imq.grammar.errors import DigestMismatch
from imq.grammar.record import TYPE_CHECKING, Record

from .blob_relay import BlobRelay
from .push import push

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.index_subset import PlatformSelection
    from imq.engine.oci.platform import Platform
    from imq.engine.oci.reference import Reference
    from imq.engine.progress import Progress
    from imq.engine.registry.client import Client
    from imq.engine.registry.mirrors import ImageReader

    from .push import PushResult


class CopyResult(Record):
    """The result of a copy: the manifest at the target, the image ID (None for an index), and the transferred bytes.

    `changed` is False when the target had this manifest before. `referrer_count` is the number of copied artifacts,
    `skipped_layers` that of foreign layers.
    """

    manifest: Descriptor
    id: Digest | None
    transferred_bytes: int
    changed: bool
    warnings: tuple[str, ...] = ()
    referrer_count: int = 0
    skipped_layers: int = 0


def copy(
    client: Client,
    source: Reference,
    target: Reference,
    platforms: Sequence[Platform],
    progress: Progress,
    *,
    jobs: int | None = None,
    fetcher: ImageReader | None = None,
    referrers: bool = False,
) -> CopyResult:
    """Copy `source` to `target`. An index is copied completely, unless `platforms` select from it.

    For one platform the result is its image; for several, an index of these and their attestations. A single image of
    another platform is copied with a warning. `fetcher` reads `source`; the default is the client. With `referrers`,
    signatures, attestations and SBOMs are copied too.
    """
    documents = _RegistryExport(fetcher or client, source.with_default_tag())
    selection = documents.select(platforms)
    manifest = selection.descriptor
    document = parse_manifest(documents.read(manifest.digest), manifest.media_type)
    id_ = document.config.digest if isinstance(document, Manifest) and document.is_image else None
    mount_from = source.repository if source.registry == target.registry else None

    def push_manifest(reference: Reference, descriptor: Descriptor) -> PushResult:
        """Push a manifest; if content does not match its digest, try another source."""
        while True:
            try:
                return push(client, reference, descriptor, documents, progress, jobs=jobs, mount_from=mount_from)
            except DigestMismatch:
                if not documents.reject_sources():
                    raise

    transferred_bytes = referrer_count = 0
    if referrers:  # before the name exists, so that its readers find all referrers
        from .copy_referrers import copy_referrers

        subjects = documents.list_manifests(manifest)
        referrer_count, transferred_bytes = copy_referrers(
            client, source, target, subjects, push_manifest, jobs or client.settings.jobs
        )
    pushed = push_manifest(target, manifest)
    return CopyResult(
        manifest,
        id_,
        transferred_bytes + pushed.transferred_bytes,
        pushed.changed,
        selection.warnings,
        referrer_count=referrer_count,
        skipped_layers=pushed.skipped_layers,
    )


class _RegistryExport:
    """A `BlobSource` in a registry, which caches the manifests it reads and the blobs in them."""

    def __init__(self, client: ImageReader, reference: Reference) -> None:
        self._client = client
        self._reference = reference
        self._documents: dict[Digest, bytes] = {}
        self._blobs: dict[Digest, Descriptor] = {}
        self._mismatched: list[Descriptor] = []

    def select(self, platforms: Sequence[Platform]) -> PlatformSelection:
        """Return the manifest to copy."""
        fetched = self._client.fetch_manifest(self._reference)
        top = self._add_document(fetched.descriptor, fetched.content)
        selection = PlatformSelector(
            self._reference, self.read, lambda config: self._client.fetch_blob(self._reference, config)
        )
        selected = selection.select(top, platforms)
        if selected.content is not None:
            self._add_document(selected.descriptor, selected.content)
        return selected

    def list_manifests(self, root: Descriptor) -> list[Digest]:
        """Return the digests of a manifest or index and of all documents below it."""
        tree = read_manifest_tree(root, lambda descriptor: parse_manifest(self.read(descriptor.digest)))
        return [node.descriptor.digest for node in tree.top_down()]

    def read(self, digest: Digest) -> bytes:
        """Return a manifest or index, and record its blobs."""
        if digest not in self._documents:
            digest.require_supported(f"{self._reference}: the manifest")
            fetched = self._client.fetch_manifest(self._reference.replace(tag=None, digest=digest))
            self._add_document(fetched.descriptor, fetched.content)
        return self._documents[digest]

    def reject_sources(self) -> bool:
        """Reject the sources of blobs with wrong bytes. Return whether other sources remain."""
        wrong, self._mismatched = self._mismatched, []
        return sum(self._client.reject_source(blob) for blob in wrong) > 0  # reject every one, without short-circuit

    def open(self, digest: Digest) -> BlobRelay:
        """Open a blob of a manifest."""
        blob = self._blobs[digest]
        return BlobRelay(
            lambda: self._client.open_blob(self._reference, blob), self._reference, blob, self._mismatched.append
        )

    def _add_document(self, descriptor: Descriptor, content: bytes) -> Descriptor:
        document = parse_manifest(content, descriptor.media_type, f"the manifest of {self._reference}")
        self._documents[descriptor.digest] = content
        if isinstance(document, Manifest):
            self._blobs.update((blob.digest, blob) for blob in (*document.layers, document.config))
        return descriptor.replace(media_type=document.media_type)
