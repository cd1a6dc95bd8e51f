"""An image from a registry into a store: name → manifest → the image for the platform → its config and layers."""

from __future__ import annotations

from imq.engine import progress as words
from imq.engine.oci.config import Config
from imq.engine.oci.document import Descriptor, Index, Manifest, read_manifest
from imq.engine.oci.platform import Platform, host
from imq.grammar.errors import DigestMismatch, Malformed, RegistryError
from imq.grammar.record import TYPE_CHECKING, Record

from .choice import entry_for, mismatch
from .counter import Counter
from .jobs import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.reference import Reference
    from imq.engine.progress import Progress

    from .counter import LayerCount
    from .jobs import Job
    from .manifests import Fetched
    from .mirrors import Fetcher
else:
    Protocol = object

_DEEPEST_INDEX = 4


class Ingest(Protocol):
    """Where a pull puts what it fetches. `receive` is called from several threads, the rest from one."""

    def reserve(self, descriptors: Sequence[Descriptor]) -> frozenset[Digest]:
        """Protect these blobs from collection until the ingest ends; return those that are already stored."""

    def document(self, descriptor: Descriptor, content: bytes) -> None:
        """Store a small verified document (manifest, index, config)."""

    def receive(
        self,
        descriptor: Descriptor,
        diff_id: Digest | None,
        readinto: Callable[[memoryview], int],
        cancelled: Callable[[], bool],
    ) -> None:
        """Store a blob from a stream: read until 0 is returned; verify size and digest before it is visible."""

    def read(self, digest: Digest) -> bytes:
        """Return a stored document."""


class Pulled(Record):
    """What a pull brought. `digest` is what the name stands for in the registry: the index's when it is one."""

    reference: Reference
    digest: Digest
    manifest: Descriptor
    config: Descriptor
    platform: Platform
    warnings: tuple[str, ...]
    new: bool
    fetched: int
    """Bytes of layers that travelled."""


def pull(
    client: Fetcher,
    reference: Reference,
    platform: Platform | None,
    ingest: Ingest,
    progress: Progress,
    *,
    jobs: int | None = None,
) -> Pulled:
    """Fetch the image that `reference` names for `platform` (None: this machine's) into `ingest`.

    What is stored already does not travel; manifests come last, so a pull that fails leaves no image behind.
    A single image of another platform is taken, with a warning when a platform was asked for.
    """
    reference = reference.with_default_tag()
    return _Pull(client, reference, platform, ingest, progress).run(jobs or client.settings.jobs)


class _Chosen(Record):
    """The image to fetch, and the indexes on the way to it, outermost first."""

    descriptor: Descriptor
    content: bytes
    manifest: Manifest
    stored: bool
    indexes: tuple[tuple[Descriptor, bytes], ...]


class _Pull:
    """One pull under way."""

    def __init__(
        self, client: Fetcher, reference: Reference, platform: Platform | None, ingest: Ingest, progress: Progress
    ) -> None:
        self._client = client
        self._reference = reference
        self._asked = platform
        self._wanted = (platform or host()).normalised()
        self._ingest = ingest
        self._progress = progress
        self._counter = Counter(progress)

    def run(self, jobs: int) -> Pulled:
        top = self._client.manifest(self._reference)
        chosen = self._choose(top)
        manifest = chosen.manifest
        if not manifest.is_image:
            raise RegistryError(
                f"{self._reference} is no container image but {manifest.artifact_type or manifest.config.media_type}",
                code="not-an-image",
                hints=("other artifacts have their own tools, such as oras or helm",),
            )
        blobs = _distinct((manifest.config, *manifest.layers), self._reference)
        present = self._ingest.reserve([chosen.descriptor, *(d for d, _ in chosen.indexes), *blobs])
        config = self._config(manifest.config, manifest.config.digest in present)
        if len(config.diff_ids) != len(manifest.layers):
            raise Malformed(
                f"{self._reference} has {len(manifest.layers)} layers and {len(config.diff_ids)} diff IDs",
                code="document",
                hints=("its manifest and its config do not belong together: push the image again",),
            )
        self._fetch_layers(manifest, config, present, jobs)
        self._ingest.document(chosen.descriptor, chosen.content)
        for descriptor, content in reversed(chosen.indexes):
            self._ingest.document(descriptor, content)
        return Pulled(
            self._reference,
            top.digest,
            chosen.descriptor,
            manifest.config,
            config.platform,
            self._warnings(chosen, config),
            not chosen.stored and chosen.descriptor.digest not in present,
            self._counter.total,
        )

    def _choose(self, top: Fetched) -> _Chosen:
        """Walk from what the name stands for to one image: at once, or by the platforms of an index."""
        descriptor, content = top.descriptor, top.content
        indexes: tuple[tuple[Descriptor, bytes], ...] = ()
        stored = False
        while True:
            document = read_manifest(content, descriptor.media_type, f"the manifest of {self._reference}")
            descriptor = descriptor.replace(media_type=document.media_type)
            if isinstance(document, Manifest):
                return _Chosen(descriptor, content, document, stored, indexes)
            indexes += ((descriptor, content),)
            if len(indexes) > _DEEPEST_INDEX:
                raise Malformed(f"{self._reference} is an index of indexes without end", code="document")
            descriptor = entry_for(self._wanted, document, self._reference, self._look)
            content, stored = self._child(descriptor)

    def _look(self, entry: Descriptor) -> Platform:
        """Return the platform that the config of an unlabelled entry says; unknown when it is no image."""
        document = read_manifest(self._child(entry)[0], entry.media_type, f"an entry of {self._reference}")
        if isinstance(document, Index) or not document.is_image:
            return Platform("", "")
        return Config.read(self._client.document(self._reference, document.config)).platform

    def _child(self, descriptor: Descriptor) -> tuple[bytes, bool]:
        """Return the document that an entry names, and whether it was stored already."""
        if descriptor.digest in self._ingest.reserve([descriptor]):
            return self._ingest.read(descriptor.digest), True
        fetched = self._client.manifest(self._reference.replace(tag=None, digest=descriptor.digest))
        if len(fetched.content) != descriptor.size:
            raise Malformed(
                f"the manifest {descriptor.digest.short} of {self._reference} has {len(fetched.content)} bytes, "
                f"and its index says {descriptor.size}",
                code="document",
            )
        return fetched.content, False

    def _config(self, descriptor: Descriptor, stored: bool) -> Config:
        what = f"the config of {self._reference}"
        if stored:
            return Config.read(self._ingest.read(descriptor.digest), what)
        content = self._client.document(self._reference, descriptor)
        config = Config.read(content, what)
        self._ingest.document(descriptor, content)
        return config

    def _fetch_layers(self, manifest: Manifest, config: Config, present: frozenset[Digest], jobs: int) -> None:
        """Fetch every distinct layer that is not stored, several at a time."""
        layers: dict[Digest, tuple[Descriptor, Digest]] = {}
        for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
            if layers.setdefault(layer.digest, (layer, diff_id))[1] != diff_id:
                raise Malformed(f"{self._reference} gives the layer {layer.digest.short} two diff IDs", code="document")
        missing = [(layer, diff_id) for layer, diff_id in layers.values() if layer.digest not in present]
        self._progress.begin(str(self._reference), sum(layer.size for layer, _ in missing))
        try:
            for layer, _ in layers.values():
                word = words.EXISTS if layer.digest in present else words.PULLING
                self._progress.status(layer.digest, word, layer.size)
            if missing:
                Work().run([self._job(layer, diff_id) for layer, diff_id in missing], jobs)
        finally:
            self._progress.end()

    def _job(self, layer: Descriptor, diff_id: Digest) -> Job:
        count = self._counter.layer(layer.digest, layer.size)

        def fetch(work: Work) -> None:
            while not self._received(work, layer, diff_id, count):
                pass
            self._progress.status(layer.digest, words.PULLED, layer.size)

        return fetch

    def _received(self, work: Work, layer: Descriptor, diff_id: Digest, count: LayerCount) -> bool:
        """Fetch a layer; return False when its bytes were wrong, and another place may send other ones."""
        with self._client.open_blob(self._reference, layer, stop=work.stop) as stream:
            work.watch(stream)
            self._progress.status(layer.digest, words.DOWNLOADING, layer.size)
            done = 0

            def readinto(view: memoryview) -> int:
                nonlocal done
                read = stream.readinto(view)
                done += read
                count.reach(done)
                if not read:
                    self._progress.status(layer.digest, words.DOWNLOADED, layer.size)
                return read

            try:
                self._ingest.receive(layer, diff_id, readinto, lambda: work.stopped)
            except (DigestMismatch, Malformed) as problem:
                if self._client.distrust(layer):
                    return False
                raise self._sent_by(problem) from None
            finally:
                work.forget(stream)
        return True

    def _sent_by(self, problem: DigestMismatch | Malformed) -> DigestMismatch | Malformed:
        """Say which registry sent what the store refuses; the store does not know."""
        host = self._reference.registry
        if host in problem.message:
            return problem
        hints = problem.hints or ("the image is broken as it is stored there, or something on the way changes it",)
        told = f"{problem.message} (sent by {host} for {self._reference.repository})"
        return type(problem)(told, code=problem.code, hints=hints)

    def _warnings(self, chosen: _Chosen, config: Config) -> tuple[str, ...]:
        """Warn of a single image of another platform, as docker does."""
        if self._asked is None or chosen.indexes:
            return ()
        warning = mismatch(self._reference, self._wanted, config.platform)
        return (warning,) if warning else ()


def _distinct(blobs: Sequence[Descriptor], reference: Reference) -> list[Descriptor]:
    """Return each blob once; one digest with two sizes is a lie."""
    found: dict[Digest, Descriptor] = {}
    for blob in blobs:
        if found.setdefault(blob.digest, blob).size != blob.size:
            raise Malformed(f"{reference} gives the blob {blob.digest.short} two sizes", code="document")
    return list(found.values())
