"""An image from a store to a registry: layers and config first, the manifest last, nothing that is there already."""

from __future__ import annotations

from imq.engine import progress as words
from imq.engine.oci import media
from imq.engine.oci.document import Descriptor, Index, Manifest, read_manifest
from imq.grammar.errors import Conflict, DigestMismatch, Malformed, listed
from imq.grammar.record import TYPE_CHECKING, Record

from .counter import Counter
from .jobs import Work
from .passing import Passing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
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
        self._named: Digest | None = None

    def run(self, manifest: Descriptor, jobs: int) -> Pushed:
        """Push all that is not there. Who has a manifest has what it names, so that is asked first."""
        documents = list(self._documents(manifest, 0))
        there = self._there(manifest, documents, jobs)
        blobs: dict[Digest, tuple[Descriptor, bool]] = {}
        kept: dict[Digest, tuple[Descriptor, bool]] = {}
        foreign: dict[Digest, Descriptor] = {}
        for descriptor, _, document in documents:
            if isinstance(document, Manifest):
                wanted = kept if there & {manifest.digest, descriptor.digest} else blobs
                for layer in document.layers:
                    if layer.urls and media.is_foreign(layer.media_type):
                        foreign[layer.digest] = layer
                    else:
                        wanted[layer.digest] = (layer, True)
                wanted.setdefault(document.config.digest, (document.config, False))
        self._progress.begin(str(self._reference), sum(blob.size for blob, _ in blobs.values()))
        try:
            for blob, shown in blobs.values():
                if shown:
                    self._progress.status(blob.digest, words.PREPARING, blob.size)
            for layer in foreign.values():
                self._progress.status(layer.digest, words.SKIPPED, layer.size)
            for blob, shown in kept.values():
                self._client.placed.note(self._reference, blob.digest)
                if shown and blob.digest not in blobs:
                    self._progress.status(blob.digest, words.LAYER_EXISTS, blob.size)
            Work().run([self._job(blob, shown) for blob, shown in blobs.values()], jobs)
        finally:
            self._progress.end()
        named = manifest.digest in there and self._named == manifest.digest
        for descriptor, content, document in documents:
            if named or (descriptor is not manifest and there & {manifest.digest, descriptor.digest}):
                continue
            name = self._reference if descriptor is manifest else self._reference.replace(tag=None, digest=None)
            name = name.replace(digest=descriptor.digest)
            self._client.put_manifest(name, content, document.media_type)
        return Pushed(self._reference, manifest, self._counter.total, new=not named, skipped=len(foreign))

    def _there(
        self, manifest: Descriptor, documents: Sequence[tuple[Descriptor, bytes, Manifest | Index]], jobs: int
    ) -> set[Digest]:
        """Return which of the manifests the repository has; refuse an index whose absent ones it has not."""
        self._named = self._client.named(self._reference)
        if self._named == manifest.digest:
            return {manifest.digest}
        wanted = [manifest.digest]
        found: set[Digest] = set()

        def job(digest: Digest) -> Job:
            def ask(_: Work) -> None:
                if self._client.named(self._reference.replace(tag=None, digest=digest)) == digest:
                    found.add(digest)

            return ask

        if self._reference.tag is None:
            wanted = []  # it has been asked for by its digest
        wanted += [descriptor.digest for descriptor, _, _ in documents if descriptor is not manifest]
        Work().run([job(digest) for digest in dict.fromkeys((*wanted, *self._absent))], jobs)
        lacking = [what for digest, what in self._absent.items() if digest not in found]
        if lacking and manifest.digest not in found:
            raise Conflict(
                f"{self._reference.registry} has not got all that the index names, nor has the store: "
                f"{listed(lacking)} of {self._reference.repository}",
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
                if entry.digest not in self._absent:
                    yield from self._documents(entry, depth + 1)
        yield descriptor, content, document

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
                content = self._export.open(blob.digest)
                if isinstance(content, Passing):  # a registry may be waited for
                    work.watch(content)
                return content

            outcome = self._client.upload_blob(
                self._reference, blob, opened, source=source, sent=count.reach, stop=work.stop
            )
            placed.note(self._reference, blob.digest)
            if outcome == "mounted":
                status(words.MOUNTED + str(source))
            else:
                status(words.PUSHED if outcome == "sent" else words.LAYER_EXISTS)

        return send
