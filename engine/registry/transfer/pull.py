"""Images from a registry into a store: name → manifest → the image for the platform → its config and layers.

Or for several platforms, and all: then the index is stored too, as it is. Artifacts come as blobs that nobody unpacks.
"""

from __future__ import annotations

from imq.engine import progress as words
from imq.engine.oci.config import Config
from imq.engine.oci.manifest import Descriptor, Index, Manifest, read_manifest
from imq.engine.oci.platform import Platform, host
from imq.engine.oci.platform_match import entry_for, mismatch
from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING, Record

from .blob_fetcher import Receiver, Transfers
from .worker_pool import Work

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Protocol

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.reference import Reference
    from imq.engine.progress import Progress
    from imq.engine.registry.manifests import Fetched
    from imq.engine.registry.mirrors import Fetcher

    from .worker_pool import Job
else:
    Protocol = object

_DEEPEST_INDEX = 4
_MOST_MANIFESTS = 1024
"""Manifests that are fetched for one name: more than any index has, and no more than memory has room for."""


class Ingest(Receiver, Protocol):
    """Where a pull puts what it fetches: blobs from several threads, the rest from one."""

    def reserve(self, descriptors: Sequence[Descriptor]) -> frozenset[Digest]:
        """Protect these blobs from collection until the ingest ends; return those that are already stored."""

    def store_document(self, descriptor: Descriptor, content: bytes) -> None:
        """Store a small verified document (manifest, index, config)."""

    def read_document(self, digest: Digest) -> bytes:
        """Return a stored document."""


class Pulled(Record):
    """What a pull brought. `digest` is what the name stands for in the registry: the index's when it is one.

    `manifest` is what the name is to mean here: an image, an artifact, or (`keeps`) the index itself, of which `held`
    are the manifests that are here now, None for all of them. `config` and `platform` are those of an image alone.
    """

    reference: Reference
    digest: Digest
    manifest: Descriptor
    config: Descriptor | None
    platform: Platform | None
    warnings: tuple[str, ...]
    new: bool
    fetched: int
    """Bytes of layers that travelled."""
    artifact: str = ""
    """What kind of artifact it is; "" for images."""
    keeps: bool = False
    held: frozenset[Digest] | None = None


def pull(
    client: Fetcher,
    reference: Reference,
    platform: Platform | None,
    ingest: Ingest,
    progress: Progress,
    *,
    jobs: int | None = None,
    kept: Digest | None = None,
) -> Pulled:
    """Fetch the image that `reference` names for `platform` (None: this machine's) into `ingest`.

    What is stored already does not travel; manifests come last, so a pull that fails leaves no image behind.
    A single image of another platform is taken, with a warning when a platform was asked for; an artifact, which has
    none, is taken as it is. `kept` is an index that the name means already: then the image is added to it.
    """
    asked = () if platform is None else (platform,)
    return _Pull(client, reference.with_default_tag(), asked, ingest, progress, jobs, kept).run()


def pull_index(
    client: Fetcher,
    reference: Reference,
    platforms: Sequence[Platform],
    ingest: Ingest,
    progress: Progress,
    *,
    jobs: int | None = None,
) -> Pulled:
    """Fetch what `reference` names for these platforms, none: for all, with attestations, and its index as it is."""
    taken = _Pull(client, reference.with_default_tag(), tuple(platforms), ingest, progress, jobs)
    return taken.run_whole()


class _Document(Record):
    """A manifest or index as it is stored, and whether it was before."""

    descriptor: Descriptor
    content: bytes
    document: Manifest | Index
    stored: bool


class _Pull:
    """One pull under way."""

    def __init__(
        self,
        client: Fetcher,
        reference: Reference,
        asked: tuple[Platform, ...],
        ingest: Ingest,
        progress: Progress,
        jobs: int | None,
        kept: Digest | None = None,
    ) -> None:
        self._client = client
        self._reference = reference
        self._asked = asked
        self._ingest = ingest
        self._progress = progress
        self._jobs = jobs or client.settings.jobs
        self._kept = kept
        self._transfers = Transfers(client, reference, ingest, progress)
        self._seen: dict[Digest, _Document] = {}

    def run(self) -> Pulled:
        """Fetch one image, or an artifact."""
        top = self._top()
        path = self._path(top, self._asked[0] if self._asked else host())
        if self._kept == top.descriptor.digest and isinstance(top.document, Index):
            return self._fetch(top, path, keeps=True)
        return self._fetch(top, path[-1:], keeps=False)

    def run_whole(self) -> Pulled:
        """Fetch the images of several platforms, or all there is."""
        top = self._top()
        if isinstance(top.document, Manifest):
            return self._fetch(top, [top], keeps=False)
        if not self._asked:
            return self._fetch(top, self._tree(top), keeps=True, every=True)
        paths = [document for platform in self._asked for document in self._path(top, platform)]
        return self._fetch(top, list({found.descriptor.digest: found for found in paths}.values()), keeps=True)

    # Documents

    def _top(self) -> _Document:
        fetched = self._client.manifest(self._reference)
        return self._read(fetched.descriptor, fetched.content, stored=False)

    def _read(self, descriptor: Descriptor, content: bytes, *, stored: bool) -> _Document:
        document = read_manifest(content, descriptor.media_type, f"the manifest of {self._reference}")
        found = _Document(descriptor.replace(media_type=document.media_type), content, document, stored)
        return self._seen.setdefault(descriptor.digest, found)

    def _path(self, top: _Document, platform: Platform) -> list[_Document]:
        """Return what leads to one image: indexes, outermost first, and its manifest."""
        wanted = platform.normalised()
        path = [top]
        while isinstance(path[-1].document, Index):
            if len(path) > _DEEPEST_INDEX:
                raise self._endless()
            entry = entry_for(wanted, path[-1].document, self._reference, self._look)
            path += self._children([entry])
        return path

    def _tree(self, top: _Document) -> list[_Document]:
        """Return an index and all that it names, each index before what it names."""
        found = {top.descriptor.digest: top}
        level: list[_Document] = [top]
        for _ in range(_DEEPEST_INDEX + 1):
            entries = {
                entry.digest: entry
                for one in level
                if isinstance(one.document, Index)
                for entry in one.document.manifests
            }
            new = [entry for digest, entry in entries.items() if digest not in found]
            if not new:
                return list(found.values())
            if len(found) + len(new) > _MOST_MANIFESTS:
                raise Malformed(
                    f"{self._reference} names more than {_MOST_MANIFESTS} manifests",
                    code="document",
                    hints=("fetch some of its platforms: pull NAME platform linux/amd64, linux/arm64",),
                )
            level = self._children(new)
            found |= {one.descriptor.digest: one for one in level}
        raise self._endless()

    def _endless(self) -> Malformed:
        return Malformed(f"{self._reference} is an index of indexes without end", code="document")

    def _look(self, entry: Descriptor) -> Platform:
        """Return the platform that the config of an unlabelled entry says; unknown when it is no image."""
        (found,) = self._children([entry])
        document = found.document
        if isinstance(document, Index) or not document.is_image:
            return Platform("", "")
        return Config.read(self._client.document(self._reference, document.config)).platform

    def _children(self, entries: Sequence[Descriptor]) -> list[_Document]:
        """Return the documents that entries of indexes name, those that are not here fetched several at a time."""
        unseen = [entry for entry in entries if entry.digest not in self._seen]
        for entry in unseen:
            entry.digest.require_algorithm(f"{self._reference}: the manifest")
        present = self._ingest.reserve(unseen) if unseen else frozenset()
        missing = []
        for entry in unseen:
            content = self._stored(entry) if entry.digest in present else None
            if content is not None:
                self._read(entry, content, stored=True)
            else:
                missing.append(entry)
        fetched: dict[Digest, Fetched] = {}

        def job(entry: Descriptor) -> Job:
            def fetch(_: Work) -> None:
                name = self._reference.replace(tag=None, digest=entry.digest)
                fetched[entry.digest] = self._client.manifest(name)

            return fetch

        if missing:
            Work().run([job(entry) for entry in missing], self._jobs)
        for entry in missing:
            content = fetched[entry.digest].content
            if len(content) != entry.size:
                raise Malformed(
                    f"the manifest {entry.digest.short} of {self._reference} has {len(content)} bytes, "
                    f"and the index that names it says {entry.size}",
                    code="size",
                    hints=("the index has a wrong size: push it again, or pull the manifest by its digest",),
                )
            self._read(entry, content, stored=False)
        return [self._seen[entry.digest] for entry in entries]

    def _stored(self, descriptor: Descriptor) -> bytes | None:
        """Return the content of a stored document; None when it is damaged, and to be fetched again."""
        content = self._ingest.read_document(descriptor.digest)
        hasher = descriptor.digest.hasher()
        hasher.update(content)
        return content if hasher.hexdigest() == descriptor.digest.hex else None

    # All of it

    def _fetch(self, top: _Document, documents: Sequence[_Document], *, keeps: bool, every: bool = False) -> Pulled:
        """Fetch what these documents name, and store them: indexes come after what they name."""
        manifests = [(one, one.document) for one in documents if isinstance(one.document, Manifest)]
        blobs = _distinct([b for _, one in manifests for b in (one.config, *one.layers)], self._reference)
        present = self._ingest.reserve([*(one.descriptor for one in documents), *blobs])
        configs = self._configs([one for _, one in manifests if one.is_image], present)
        self._fetch_blobs([one for _, one in manifests], configs, present)
        new = False
        for one in reversed(documents):
            if not (one.stored or (one.descriptor.digest in present and self._stored(one.descriptor) is not None)):
                self._ingest.store_document(one.descriptor, one.content)
                new = True
        single = manifests[0][1] if not keeps else None
        config = configs.get(single.config.digest) if single is not None and single.is_image else None
        return Pulled(
            self._reference,
            top.descriptor.digest,
            top.descriptor if keeps else manifests[0][0].descriptor,
            single.config if config is not None and single is not None else None,
            config.platform if config is not None else None,
            (*self._warnings(top, config), *(problem for one in configs.values() for problem in one.problems)),
            new,
            self._transfers.total,
            single.kind if single is not None and not single.is_image else "",
            keeps,
            None if every else frozenset(one.descriptor.digest for one in documents if one is not top),
        )

    def _configs(self, images: Sequence[Manifest], present: frozenset[Digest]) -> dict[Digest, Config]:
        """Return the configs of images, by digest; those that are not here are fetched several at a time and stored."""
        what = f"the config of {self._reference}"
        wanted = {image.config.digest: image.config for image in images}
        contents = {
            digest: content
            for digest, descriptor in wanted.items()
            if digest in present and (content := self._stored(descriptor)) is not None
        }
        fetched: dict[Digest, bytes] = {}

        def job(descriptor: Descriptor) -> Job:
            def fetch(_: Work) -> None:
                fetched[descriptor.digest] = self._client.document(self._reference, descriptor)

            return fetch

        missing = [descriptor for digest, descriptor in wanted.items() if digest not in contents]
        if missing:
            Work().run([job(descriptor) for descriptor in missing], self._jobs)
        configs = {digest: Config.read(content, what) for digest, content in (contents | fetched).items()}
        for image in images:
            if len(configs[image.config.digest].diff_ids) != len(image.layers):
                raise Malformed(
                    f"{self._reference} has {len(image.layers)} layers and "
                    f"{len(configs[image.config.digest].diff_ids)} diff IDs",
                    code="document",
                    hints=("its manifest and its config do not belong together: push the image again",),
                )
        for descriptor in missing:
            self._ingest.store_document(descriptor, fetched[descriptor.digest])
        return configs

    def _fetch_blobs(
        self, manifests: Sequence[Manifest], configs: Mapping[Digest, Config], present: frozenset[Digest]
    ) -> None:
        """Fetch every distinct layer, and what artifacts have instead, several at a time: what is not stored."""
        blobs: dict[Digest, tuple[Descriptor, Digest | None]] = {}
        for manifest in manifests:
            if not manifest.is_image:
                for blob in (*manifest.layers, manifest.config):
                    blobs.setdefault(blob.digest, (blob, None))
                continue
            for layer, diff_id in zip(manifest.layers, configs[manifest.config.digest].diff_ids, strict=True):
                if blobs.get(layer.digest, (layer, None))[1] not in (None, diff_id):
                    raise Malformed(
                        f"{self._reference} gives the layer {layer.digest.short} two diff IDs", code="document"
                    )
                blobs[layer.digest] = (layer, diff_id)
        missing = [(blob, diff_id) for blob, diff_id in blobs.values() if blob.digest not in present]
        self._progress.begin(
            str(self._reference), sum(blob.size - self._ingest.partial_size(blob) for blob, _ in missing)
        )
        try:
            for blob, _ in blobs.values():
                word = words.EXISTS if blob.digest in present else words.PULLING
                self._progress.status(blob.digest, word, blob.size)
            if missing:
                Work().run([self._transfers.job(blob, diff_id) for blob, diff_id in missing], self._jobs)
        finally:
            self._progress.end()

    def _warnings(self, top: _Document, config: Config | None) -> tuple[str, ...]:
        """Warn of a single image of another platform, as docker does."""
        if config is None or isinstance(top.document, Index):
            return ()
        warned = (mismatch(self._reference, wanted.normalised(), config.platform) for wanted in self._asked)
        return tuple(warning for warning in warned if warning)


def _distinct(blobs: Sequence[Descriptor], reference: Reference) -> list[Descriptor]:
    """Return each blob once; one digest with two sizes is a lie."""
    found: dict[Digest, Descriptor] = {}
    for blob in blobs:
        blob.digest.require_algorithm(f"{reference}: the blob")
        if found.setdefault(blob.digest, blob).size != blob.size:
            raise Malformed(f"{reference} gives the blob {blob.digest.short} two sizes", code="document")
    return list(found.values())
