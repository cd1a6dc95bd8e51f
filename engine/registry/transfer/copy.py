"""An image from one registry to another, or to another name in it: through memory, in pieces, and never on the disk.

It is a push whose blobs are read from a registry: what is there already does not travel, and what another repository
of the same registry has is mounted.
"""

from __future__ import annotations

from imq.engine.oci.index_subset import Selection
from imq.engine.oci.manifest import Descriptor, Index, Manifest, read_manifest
from imq.grammar.errors import DigestMismatch
from imq.grammar.record import TYPE_CHECKING, Record

from .blob_relay import Passing
from .push import push

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.index_subset import Selected
    from imq.engine.oci.platform import Platform
    from imq.engine.oci.reference import Reference
    from imq.engine.progress import Progress
    from imq.engine.registry.client import Client
    from imq.engine.registry.mirrors import Fetcher

    from .push import Pushed


class Copied(Record):
    """What a copy did: what the target names now, the image's id (None for an index), and bytes that travelled.

    `new` is False when the target named the same before; `attached` are the artifacts that refer to what was copied,
    and `skipped` layers that may not be handed on.
    """

    manifest: Descriptor
    id: Digest | None
    sent: int
    new: bool
    warnings: tuple[str, ...] = ()
    attached: int = 0
    skipped: int = 0


def copy(
    client: Client,
    source: Reference,
    target: Reference,
    platforms: Sequence[Platform],
    progress: Progress,
    *,
    jobs: int | None = None,
    fetcher: Fetcher | None = None,
    referrers: bool = False,
) -> Copied:
    """Make `target` name what `source` names: indexes whole, unless `platforms` choose from them.

    One platform chosen gives its image alone, several give an index of these and what is said about them. A single
    image of another platform is taken, with a warning. `fetcher` fetches what `source` names, else the client. With
    `referrers` what is attached to all this goes along: signatures, attestations, bills of materials.
    """
    documents = _Documents(fetcher or client, source.with_default_tag())
    selected = documents.chosen(platforms)
    chosen = selected.descriptor
    document = read_manifest(documents.read(chosen.digest), chosen.media_type)
    id_ = document.config.digest if isinstance(document, Manifest) and document.is_image else None
    mounted = source.repository if source.registry == target.registry else None

    def hand_on(reference: Reference, descriptor: Descriptor) -> Pushed:
        """Push what the source has, from another place when one sends wrong bytes."""
        while True:
            try:
                return push(client, reference, descriptor, documents, progress, jobs=jobs, source=mounted)
            except DigestMismatch:
                if not documents.distrusted():
                    raise

    sent = attached = 0
    if referrers:  # first: who sees the name sees what is said about it
        from .copy_referrers import copy_attached

        subjects = documents.reached(chosen.digest)
        attached, sent = copy_attached(client, source, target, subjects, hand_on, jobs or client.settings.jobs)
    pushed = hand_on(target, chosen)
    return Copied(
        chosen, id_, sent + pushed.sent, pushed.new, selected.warnings, attached=attached, skipped=pushed.skipped
    )


class _Documents:
    """The source: an `Export` that remembers the documents it has read, and so the blobs that they name."""

    def __init__(self, client: Fetcher, reference: Reference) -> None:
        self._client = client
        self._reference = reference
        self._documents: dict[Digest, bytes] = {}
        self._blobs: dict[Digest, Descriptor] = {}
        self._wrong: list[Descriptor] = []

    def chosen(self, platforms: Sequence[Platform]) -> Selected:
        """Return what is to be copied."""
        fetched = self._client.manifest(self._reference)
        top = self._keep(fetched.descriptor, fetched.content)
        selection = Selection(self._reference, self.read, lambda config: self._client.document(self._reference, config))
        selected = selection.of(top, platforms)
        if selected.content is not None:
            self._keep(selected.descriptor, selected.content)
        return selected

    def reached(self, root: Digest) -> list[Digest]:
        """Return a manifest or index and all manifests that it names."""
        found: dict[Digest, None] = {}
        pending = [root]
        while pending:
            digest = pending.pop()
            if digest not in found:
                found[digest] = None
                document = read_manifest(self.read(digest))
                pending += [entry.digest for entry in document.manifests] if isinstance(document, Index) else []
        return list(found)

    def read(self, digest: Digest) -> bytes:
        """Return a manifest or index, and remember the blobs that it names."""
        if digest not in self._documents:
            digest.require_algorithm(f"{self._reference}: the manifest")
            fetched = self._client.manifest(self._reference.replace(tag=None, digest=digest))
            self._keep(fetched.descriptor, fetched.content)
        return self._documents[digest]

    def distrusted(self) -> bool:
        """Return whether a blob whose bytes were wrong came from a place that is not asked for it again."""
        wrong, self._wrong = self._wrong, []
        return sum(self._client.distrust(blob) for blob in wrong) > 0  # all of them, not up to the first

    def open(self, digest: Digest) -> Passing:
        """Open a blob that a document named."""
        blob = self._blobs[digest]
        return Passing(lambda: self._client.open_blob(self._reference, blob), self._reference, blob, self._wrong.append)

    def _keep(self, descriptor: Descriptor, content: bytes) -> Descriptor:
        document = read_manifest(content, descriptor.media_type, f"the manifest of {self._reference}")
        self._documents[descriptor.digest] = content
        if isinstance(document, Manifest):
            self._blobs.update((blob.digest, blob) for blob in (*document.layers, document.config))
        return descriptor.replace(media_type=document.media_type)
