"""An image from one registry to another, or to another name in it: through memory, in pieces, and never on the disk.

It is a push whose blobs are read from a registry: what is there already does not travel, and what another repository
of the same registry has is mounted.
"""

from __future__ import annotations

from imq.engine.oci.config import Config
from imq.engine.oci.digest import Digest
from imq.engine.oci.document import Descriptor, Index, Manifest, read_json, read_manifest, write_json
from imq.engine.oci.platform import Platform
from imq.grammar.errors import DigestMismatch, Malformed, RegistryError
from imq.grammar.record import TYPE_CHECKING, Record

from .choice import REFERENCE_DIGEST, entry_for, mismatch
from .passing import Passing
from .push import push

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.oci.reference import Reference
    from imq.engine.progress import Progress

    from .client import Client
    from .mirrors import Fetcher

_DEEPEST_INDEX = 4


class Copied(Record):
    """What a copy did: what the target names now, the image's id (None for an index), and bytes that travelled.

    `new` is False when the target named the same before.
    """

    manifest: Descriptor
    id: Digest | None
    sent: int
    new: bool
    warnings: tuple[str, ...] = ()


def copy(
    client: Client,
    source: Reference,
    target: Reference,
    platforms: Sequence[Platform],
    progress: Progress,
    *,
    jobs: int | None = None,
    fetcher: Fetcher | None = None,
) -> Copied:
    """Make `target` name what `source` names: indexes whole, unless `platforms` choose from them.

    One platform chosen gives its image alone, several give an index of these and what is said about them. A single
    image of another platform is taken, with a warning. `fetcher` fetches what `source` names, else the client.
    """
    documents = _Documents(fetcher or client, source.with_default_tag())
    chosen, warnings = documents.chosen([platform.normalised() for platform in platforms])
    document = read_manifest(documents.read(chosen.digest), chosen.media_type)
    id_ = document.config.digest if isinstance(document, Manifest) and document.is_image else None
    if _named(client, target) == chosen.digest:
        return Copied(chosen, id_, 0, new=False, warnings=warnings)
    same = source.registry == target.registry
    mounted = source.repository if same else None
    while True:
        try:
            pushed = push(client, target, chosen, documents, progress, jobs=jobs, source=mounted)
        except DigestMismatch:
            if not documents.distrusted():
                raise
        else:
            return Copied(chosen, id_, pushed.sent, new=True, warnings=warnings)


def _named(client: Client, target: Reference) -> Digest | None:
    """Return what the target names already. Who may not even ask for what is not there may yet be let in to write."""
    try:
        descriptor = client.head(target)
    except RegistryError as problem:
        if problem.code not in ("unauthorized", "denied"):
            raise
        return None
    return descriptor.digest if descriptor is not None else None


class _Documents:
    """The source: an `Export` that remembers the documents it has read, and so the blobs that they name."""

    def __init__(self, client: Fetcher, reference: Reference) -> None:
        self._client = client
        self._reference = reference
        self._documents: dict[Digest, bytes] = {}
        self._blobs: dict[Digest, Descriptor] = {}
        self._wrong: list[Descriptor] = []

    def chosen(self, platforms: Sequence[Platform]) -> tuple[Descriptor, tuple[str, ...]]:
        """Return what is to be copied, and what to warn of."""
        fetched = self._client.manifest(self._reference)
        top = self._keep(fetched.descriptor, fetched.content)
        if not platforms:
            return top, ()
        index = self._read(top)
        if isinstance(index, Manifest):
            actual = self._platform(index)
            warned = (mismatch(self._reference, platform, actual) for platform in platforms)
            return top, tuple(warning for warning in warned if warning)
        found = [self._image(index, platform) for platform in platforms]
        if len({image.digest for image in found}) == 1:
            return found[0], ()
        return self._reduced(top, index, {image.digest for image in found}), ()

    def read(self, digest: Digest) -> bytes:
        """Return a manifest or index, and remember the blobs that it names."""
        if digest not in self._documents:
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

    def _read(self, descriptor: Descriptor) -> Manifest | Index:
        content = self.read(descriptor.digest)
        return read_manifest(content, descriptor.media_type, f"the manifest of {self._reference}")

    def _image(self, index: Index, platform: Platform, depth: int = 0) -> Descriptor:
        entry = entry_for(platform, index, self._reference, self._look)
        document = self._read(entry)
        if isinstance(document, Manifest):
            return entry.replace(media_type=document.media_type)
        if depth >= _DEEPEST_INDEX:
            raise Malformed(f"{self._reference} is an index of indexes without end", code="document")
        return self._image(document, platform, depth + 1)

    def _look(self, entry: Descriptor) -> Platform:
        document = self._read(entry)
        return self._platform(document) if isinstance(document, Manifest) else Platform("", "")

    def _platform(self, manifest: Manifest) -> Platform:
        if not manifest.is_image:
            return Platform("", "")
        return Config.read(self._client.document(self._reference, manifest.config)).platform

    def _reduced(self, top: Descriptor, index: Index, kept: set[Digest]) -> Descriptor:
        """Return an index with these entries, and those about them, written as they stand in the whole one."""
        document = read_json(self._documents[top.digest], f"the manifest of {self._reference}")
        entries = [
            written
            for entry, written in zip(index.manifests, document["manifests"], strict=True)
            if entry.digest in kept or entry.annotations.get(REFERENCE_DIGEST) in kept
        ]
        if not kept <= {entry.digest for entry in index.manifests}:
            raise RegistryError(
                f"{self._reference} is an index of indexes, from which one platform at a time can be copied",
                code="nested-index",
                host=self._reference.registry,
                hints=("leave the platforms out to copy it whole",),
            )
        if len(entries) == len(index.manifests):
            return top
        content = write_json({**document, "manifests": entries})
        return self._keep(Descriptor(top.media_type, Digest.of(content), len(content)), content)
