"""An image from a store to a registry: layers and config first, the manifest last, nothing that is there already."""

from __future__ import annotations

from imq.engine import progress as words
from imq.engine.oci.document import Descriptor, Index, Manifest, read_manifest
from imq.grammar.errors import DigestMismatch, Malformed
from imq.grammar.record import TYPE_CHECKING, Record

from .counter import Counter
from .jobs import Work
from .passing import Passing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.reference import Reference
    from imq.engine.progress import Progress

    from .body import Content
    from .client import Client
    from .jobs import Job
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
    """What a push did: what the name stands for now, and how many bytes of blobs travelled."""

    reference: Reference
    manifest: Descriptor
    sent: int


def push(
    client: Client,
    reference: Reference,
    manifest: Descriptor,
    export: Export,
    progress: Progress,
    *,
    jobs: int | None = None,
    source: str | None = None,
) -> Pushed:
    """Store the image (or index, with all its images) that `manifest` names in the registry, as `reference`.

    `source` names a repository of the same registry that blobs may be mounted from.
    """
    reference = reference.with_default_tag()
    return _Push(client, reference, export, progress, source).run(manifest, jobs or client.settings.jobs)


class _Push:
    """One push under way."""

    def __init__(
        self, client: Client, reference: Reference, export: Export, progress: Progress, source: str | None
    ) -> None:
        self._client = client
        self._reference = reference
        self._export = export
        self._progress = progress
        self._source = source
        self._counter = Counter(progress)

    def run(self, manifest: Descriptor, jobs: int) -> Pushed:
        documents = list(self._documents(manifest, 0))
        blobs: dict[Digest, tuple[Descriptor, bool]] = {}
        for _, _, document in documents:
            if isinstance(document, Manifest):
                blobs.update((layer.digest, (layer, True)) for layer in document.layers)
                blobs.setdefault(document.config.digest, (document.config, False))
        self._progress.begin(str(self._reference), sum(blob.size for blob, _ in blobs.values()))
        try:
            for blob, shown in blobs.values():
                if shown:
                    self._progress.status(blob.digest, words.PREPARING, blob.size)
            Work().run([self._job(blob, shown) for blob, shown in blobs.values()], jobs)
        finally:
            self._progress.end()
        for descriptor, content, document in documents:
            name = self._reference if descriptor is manifest else self._reference.replace(tag=None, digest=None)
            name = name.replace(digest=descriptor.digest)
            self._client.put_manifest(name, content, document.media_type)
        return Pushed(self._reference, manifest, self._counter.total)

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
                yield from self._documents(entry, depth + 1)
        yield descriptor, content, document

    def _job(self, blob: Descriptor, shown: bool) -> Job:
        count = self._counter.layer(blob.digest, blob.size)

        def status(word: str) -> None:
            if shown:
                self._progress.status(blob.digest, word, blob.size)

        def send(work: Work) -> None:
            def opened() -> Content:
                status(words.PUSHING)
                content = self._export.open(blob.digest)
                if isinstance(content, Passing):  # a registry may be waited for
                    work.watch(content)
                return content

            outcome = self._client.upload_blob(
                self._reference, blob, opened, source=self._source, sent=count.reach, stop=work.stop
            )
            if outcome == "mounted":
                status(words.MOUNTED + str(self._source))
            else:
                status(words.PUSHED if outcome == "sent" else words.LAYER_EXISTS)

        return send
