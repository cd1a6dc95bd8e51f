"""An image from a store to a registry: layers and config first, the manifest last, nothing that is there already."""

from __future__ import annotations

from io import BytesIO

from imq.engine import progress as words
from imq.engine.oci import media_types
from imq.engine.oci.config import check_keys
from imq.engine.oci.manifest import Descriptor, Index, Manifest, check_size, read_manifest
from imq.engine.registry.http.request_body import BLOCK
from imq.grammar.errors import Conflict, DigestMismatch, Malformed, join_names
from imq.grammar.record import TYPE_CHECKING, Record

from .blob_relay import Passing
from .byte_counter import Counter
from .worker_pool import Work

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Protocol

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.reference import Reference
    from imq.engine.progress import Progress
    from imq.engine.registry.client import Client
    from imq.engine.registry.http.request_body import Content

    from .worker_pool import Job
else:
    Protocol = object

_DEEPEST_INDEX = 4


class Export(Protocol):
    """Where a push takes blobs from. Called from several threads."""

    def read(self, digest: Digest) -> bytes:
        """Return a small document."""

    def open(self, digest: Digest) -> Content:
        """Open a blob for reading; the push closes it."""


class Pushed(Record):
    """What a push did: what the name stands for now, and how many bytes of blobs travelled.

    `new` is False when the name stood for the same before; `skipped` are layers that may not be handed on.
    """

    reference: Reference
    manifest: Descriptor
    sent: int
    new: bool = True
    skipped: int = 0


def push(
    client: Client,
    reference: Reference,
    manifest: Descriptor,
    export: Export,
    progress: Progress,
    *,
    jobs: int | None = None,
    source: str | None = None,
    absent: Mapping[Digest, str] | None = None,
) -> Pushed:
    """Store the image (or index, with all its images) that `manifest` names in the registry, as `reference`.

    `source` names a repository of the same registry that blobs may be mounted from. `absent` are manifests of the index
    that are not in the store, by what they are: these the repository must have.
    """
    pushing = _Push(client, reference.with_default_tag(), export, progress, source, absent or {})
    return pushing.run(manifest, jobs or client.settings.jobs)


class _Push:
    """One push under way."""

    def __init__(
        self,
        client: Client,
        reference: Reference,
        export: Export,
        progress: Progress,
        source: str | None,
        absent: Mapping[Digest, str],
    ) -> None:
        self._client = client
        self._reference = reference
        self._export = export
        self._progress = progress
        self._source = source
        self._absent = absent
        self._counter = Counter(progress)
        self._looked_into: set[Digest] = set()
        self._configs: dict[Digest, bytes] = {}
        """The configs that were read, which need not be read again to be sent."""

    def run(self, manifest: Descriptor, jobs: int) -> Pushed:
        """Push all that is not there. Who has a manifest has what it names, so manifests are asked for first."""
        named = self._client.named(self._reference) == manifest.digest
        if named or (self._reference.tag is not None and self._has(manifest.digest)):
            return self._name(manifest, new=not named)
        documents = list(self._documents(manifest, 0))
        there = self._there([descriptor.digest for descriptor, _, _ in documents[:-1]], jobs)
        blobs: dict[Digest, tuple[Descriptor, bool]] = {}
        skipped: dict[Digest, Descriptor] = {}
        passed: list[Manifest | Index] = []
        for descriptor, _, document in documents:
            if descriptor.digest in there:
                passed.append(document)
            elif isinstance(document, Manifest):
                skipped |= {layer.digest: layer for layer in document.layers if _stays(layer)}
                blobs.update((layer.digest, (layer, True)) for layer in document.layers if not _stays(layer))
                blobs.setdefault(document.config.digest, (document.config, False))
        new = [document for descriptor, _, document in documents if descriptor.digest not in there]
        self._check_configs([one.config for one in new if isinstance(one, Manifest) and one.is_image], jobs)
        self._client.placed.look_up(self._reference, blobs)
        self._progress.begin(str(self._reference), sum(blob.size for blob, _ in blobs.values()))
        try:
            for document in passed:
                self._pass_over(document)
            for layer in skipped.values():
                self._progress.status(layer.digest, words.SKIPPED, layer.size)
            for blob, shown in blobs.values():
                if shown:
                    self._progress.status(blob.digest, words.PREPARING, blob.size)
            Work().run([self._job(blob, shown) for blob, shown in blobs.values()], jobs)
        finally:
            self._progress.end()
        for descriptor, content, document in documents:
            if descriptor.digest not in there:
                self._put(descriptor, content, document, whole=descriptor is manifest)
            self._client.placed.learn(self._reference, descriptor.digest, len(content), document)
        return Pushed(self._reference, manifest, self._counter.total, skipped=len(skipped))

    def _name(self, manifest: Descriptor, *, new: bool) -> Pushed:
        """Let the name mean what the repository has already; `new` is False when it does."""
        content = self._export.read(manifest.digest)
        document = read_manifest(content, manifest.media_type, f"the manifest of {self._reference}")
        self._progress.begin(str(self._reference), 0)
        self._pass_over(document)
        self._progress.end()
        if new:
            self._put(manifest, content, document, whole=True)
        self._client.placed.learn(self._reference, manifest.digest, len(content), document)
        return Pushed(self._reference, manifest, 0, new)

    def _put(self, descriptor: Descriptor, content: bytes, document: Manifest | Index, *, whole: bool) -> None:
        name = self._reference if whole else self._reference.replace(tag=None, digest=None)
        self._client.put_manifest(name.replace(digest=descriptor.digest), content, document.media_type)

    def _pass_over(self, document: Manifest | Index) -> None:
        """Say that the repository has the layers of a manifest, and remember it."""
        for layer in document.layers if isinstance(document, Manifest) else ():
            if not _stays(layer):
                self._client.placed.note(self._reference, layer.digest)
                self._progress.status(layer.digest, words.LAYER_EXISTS, layer.size)

    def _has(self, digest: Digest) -> bool:
        return self._client.named(self._reference.replace(tag=None, digest=digest)) == digest

    def _there(self, manifests: Sequence[Digest], jobs: int) -> set[Digest]:
        """Return which of an index's manifests the repository has; refuse when those that are absent here are not."""
        found: set[Digest] = set()

        def job(digest: Digest) -> Job:
            def ask(_: Work) -> None:
                if self._has(digest):
                    found.add(digest)

            return ask

        Work().run([job(digest) for digest in dict.fromkeys((*manifests, *self._absent))], jobs)
        lacking = [what for digest, what in self._absent.items() if digest not in found]
        if lacking:
            raise Conflict(
                f"{self._reference.registry} has not got all that the index names, nor has the store: "
                f"{join_names(lacking)} of {self._reference.repository}",
                code="partial-index",
                hints=(
                    "pull it with platform all, and push again",
                    "or push an index of some platforms: push NAME to NAME platform linux/amd64, linux/arm64",
                ),
            )
        return found

    def _documents(self, descriptor: Descriptor, depth: int) -> Iterator[tuple[Descriptor, bytes, Manifest | Index]]:
        """Yield what is to be stored, in an order in which each names only what came before."""
        content = self._export.read(descriptor.digest)
        hasher = descriptor.digest.hasher()
        hasher.update(content)
        if hasher.hexdigest() != descriptor.digest.hex:
            raise DigestMismatch(f"the stored manifest of {self._reference} is not {descriptor.digest}")
        document = read_manifest(content, descriptor.media_type, f"the manifest of {self._reference}")
        if isinstance(document, Index):
            if depth >= _DEEPEST_INDEX:
                raise Malformed(f"{self._reference} is an index of indexes without end", code="document")
            for entry in document.manifests:
                if entry.digest not in self._absent and entry.digest not in self._looked_into:
                    self._looked_into.add(entry.digest)
                    yield from self._documents(entry, depth + 1)
        yield descriptor, content, document

    def _check_configs(self, configs: Sequence[Descriptor], jobs: int) -> None:
        """Read the configs of images, and refuse one that tools read differently: it would be two images."""

        def job(config: Descriptor) -> Job:
            def check(work: Work) -> None:
                what, limit = f"the config of {self._reference}", self._client.settings.largest_document
                content = bytearray()
                source = self._export.open(config.digest)
                try:
                    if isinstance(source, Passing):  # a registry may be waited for
                        work.watch(source)
                    while len(content) <= limit and (piece := source.read(BLOCK)):
                        content += piece
                finally:
                    source.close()
                check_size(len(content), limit, what)
                check_keys(bytes(content), what)
                self._configs[config.digest] = bytes(content)

            return check

        distinct = {config.digest: config for config in configs}
        if distinct:
            Work().run([job(config) for config in distinct.values()], jobs)

    def _job(self, blob: Descriptor, shown: bool) -> Job:
        count = self._counter.layer(blob.digest, blob.size)

        def status(word: str) -> None:
            if shown:
                self._progress.status(blob.digest, word, blob.size)

        def send(work: Work) -> None:
            placed = self._client.placed
            if placed.has(self._reference, blob.digest):
                status(words.LAYER_EXISTS)
                return
            source = self._source or placed.elsewhere(self._reference, blob.digest)

            def opened() -> Content:
                status(words.PUSHING)
                if blob.digest in self._configs:
                    return BytesIO(self._configs[blob.digest])
                content = self._export.open(blob.digest)
                if isinstance(content, Passing):  # a registry may be waited for
                    work.watch(content)
                return content

            outcome = self._client.upload_blob(
                self._reference, blob, opened, source=source, sent=count.reach, stop=work.stop
            )
            placed.note(self._reference, blob.digest)
            if source is not None and outcome != "mounted":
                placed.refused(self._reference, blob.digest, source)
            if outcome == "mounted":
                status(words.MOUNTED + str(source))
            else:
                status(words.PUSHED if outcome == "sent" else words.LAYER_EXISTS)

        return send


def _stays(layer: Descriptor) -> bool:
    """Whether a layer may not be handed on, and is somewhere else."""
    return bool(layer.urls) and media_types.is_foreign(layer.media_type)
