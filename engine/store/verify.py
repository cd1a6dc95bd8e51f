"""Verifies images of the store: hashes every blob, unpacks every layer, and can fetch damaged blobs again."""

from __future__ import annotations

from itertools import zip_longest

from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, Index
from imq.grammar.errors import ImqError, NotFound
from imq.grammar.record import TYPE_CHECKING, Record

from .corruption import unmark_corrupt
from .index_json import list_repositories
from .measure import measure_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from imq.engine.oci.reference import Reference
    from imq.engine.progress import Progress
    from imq.engine.registry.mirrors import ImageReader
    from imq.engine.registry.transfer.worker_pool import Task, WorkerPool

    from .index_json import IndexEntry
    from .ingest import Ingest
    from .layer_measure import LayerMeasure
    from .store import Store
    from .unreadable_images import UnreadableDocument

_REPAIRABLE = ("blob-missing", "digest-mismatch", "store")
"""Codes of errors of a stored blob that another copy of the blob may not have."""
_UNREACHABLE = ("unreachable", "timeout", "tls")
_INTERRUPTED = 130
"""The exit code of an interruption by the user."""
_MAX_NAMES = 5
"""The maximum number of image names in a defect."""


class _Blob(Record):
    """One blob of an image. A layer must unpack to `diff_id`."""

    descriptor: Descriptor
    diff_id: Digest | None = None

    @property
    def check_key(self) -> tuple[Digest, Digest | None]:
        """The key of its result: a blob with two different diff IDs is checked twice."""
        return self.descriptor.digest, self.diff_id


class _Damaged(Record):
    """A damaged or missing blob, with its error. After a failed repair, the error has the reason."""

    blob: _Blob
    error: ImqError


class Repaired(Record):
    """A damaged or missing blob that was fetched again from the repository `source`."""

    digest: Digest
    source: Reference
    size: int


class Defect(Record):
    """A damaged or missing blob. `names` has up to five names of images with it; `count` is their number."""

    error: ImqError
    names: tuple[str, ...]
    count: int


class Intact(Record):
    """An image without defects. `absent` is the number of manifests of its index that are not held."""

    size: int
    absent: int


class StoreVerifier:
    """Verifies the images of one statement: a blob that several of them have is read once and repaired once."""

    def __init__(self, store: Store, jobs: int, fetcher: Callable[[], ImageReader], progress: Progress) -> None:
        self._store = store
        self._jobs = jobs
        self._fetcher = fetcher
        self._progress = progress
        self._results: dict[tuple[Digest, Digest | None], ImqError | None] = {}
        self._repair_attempts: set[Digest] = set()
        self._unreachable_hosts: dict[str, ImqError] = {}
        self._entries: list[IndexEntry] | None = None

    def verify(
        self, root: Digest, name: str, repair_from: Sequence[Reference] | None = None
    ) -> Iterator[Repaired | Defect | Intact]:
        """Verify all blobs that the image `root` reaches; `name` is its name in errors.

        With `repair_from` damaged and missing blobs are fetched again: from these repositories, then from those of the
        other images that have them. Raises `NotFound` (`changed`) when the image is no longer in the store.
        """
        if self._find_entry(root) is None:
            raise NotFound(f"{name} has been removed since this was planned", code="changed")
        defects = self._check(root)
        while defects and repair_from is not None:
            repaired = self._repair(root, name, repair_from, [one for one in defects if self._can_repair(one)])
            yield from repaired
            defects = self._check(root)
            if not repaired:  # otherwise a repaired document may have further blobs
                break
        if defects and not any(entry.descriptor.digest == root for entry in self._store.layout.read_entries()):
            raise NotFound(f"{name} was removed while it was read", code="changed")
        for one in defects:
            names = [
                str(entry.name) if entry.name else entry.descriptor.digest.short
                for entry in self._entries_with(one.blob)
            ]
            yield Defect(one.error, tuple(names[:_MAX_NAMES]), len(names))
        if not defects:
            size = sum(blob.descriptor.size for blob in self._reachable_blobs(root)[0])
            yield Intact(size, self._count_absent(root))

    # Checking

    def list_layers(self, roots: Iterable[Digest]) -> Iterator[tuple[Descriptor, Digest, str]]:
        """Yield the layers of images that were not checked yet: the descriptor, the diff ID and the path of the blob.

        Another process may check them, for `note_intact` or `note_problem`.
        """
        for root in roots:
            for blob in self._reachable_blobs(root)[0]:
                is_known = blob.check_key in self._results or not media_types.is_layer(blob.descriptor.media_type)
                if blob.diff_id is not None and not is_known:
                    yield blob.descriptor, blob.diff_id, self._store.layout.get_blob_path(blob.descriptor.digest)

    def note_intact(self, measures: Sequence[LayerMeasure]) -> None:
        """Note layers that another process has found intact."""
        for one in measures:
            unmark_corrupt(self._store.layout, one.digest)
            self._results[one.digest, one.diff_id] = None
        self._store.index.add_measures(measures)

    def note_problem(self, digest: Digest, diff_id: Digest, problem: ImqError) -> None:
        """Note a layer that no process can check."""
        self._results[digest, diff_id] = problem

    def _check(self, root: Digest) -> list[_Damaged]:
        """Check the blobs of an image that were not checked yet; return all that are damaged."""
        blobs, unreadable = self._reachable_blobs(root)
        new = {blob.descriptor.digest: blob for blob in blobs if blob.check_key not in self._results}
        measures: list[LayerMeasure] = []
        pending = [
            (digest, blob.diff_id, blob.descriptor.size, blob.descriptor.media_type) for digest, blob in new.items()
        ]
        problems = measure_layers(self._store, pending, self._jobs, measures.append, lambda _: None)
        self._store.index.add_measures(measures)
        self._results |= {blob.check_key: None for blob in new.values()}
        self._results |= {new[digest].check_key: problem for digest, problem in problems}
        damaged = [_Damaged(blob, problem) for blob in blobs if (problem := self._results[blob.check_key]) is not None]
        digests = {one.blob.descriptor.digest for one in damaged}
        return damaged + [one for one in unreadable if one.blob.descriptor.digest not in digests]

    def _reachable_blobs(self, root: Digest) -> tuple[list[_Blob], list[_Damaged]]:
        """Return every blob that a root reaches, documents first, and the unreadable documents.

        Documents are read from the layout, not from the index.
        """
        entry = self._find_entry(root)
        if entry is None:
            return [], []
        index = self._store.index
        unreadable: list[UnreadableDocument] = []
        blobs: dict[Digest, _Blob] = {root: _Blob(entry.descriptor)}
        damaged: list[_Damaged] = []
        for descriptor, document in index.documents.walk(entry.descriptor, unreadable):
            blobs[descriptor.digest] = _Blob(descriptor)
            if isinstance(document, Index):
                continue
            diff_ids: tuple[Digest, ...] = ()
            blobs.setdefault(document.config.digest, _Blob(document.config))
            if document.is_image:
                try:
                    diff_ids = index.documents.read_image_config(document).diff_ids
                except ImqError as problem:
                    damaged.append(_Damaged(blobs[document.config.digest], problem))
            for layer, diff_id in zip_longest(document.layers, diff_ids):
                blobs.setdefault(layer.digest, _Blob(layer, diff_id))
        for one in unreadable:
            if not one.is_absent:
                blobs.setdefault(one.document.digest, _Blob(one.document))
                damaged.append(_Damaged(blobs[one.document.digest], one.problem))
        return sorted(blobs.values(), key=lambda blob: blob.diff_id is not None), damaged

    def _read_entries(self) -> list[IndexEntry]:
        if self._entries is None:
            self._entries = self._store.layout.read_entries()
        return self._entries

    def _find_entry(self, root: Digest) -> IndexEntry | None:
        return next((entry for entry in self._read_entries() if entry.descriptor.digest == root), None)

    def _entries_with(self, blob: _Blob) -> list[IndexEntry]:
        """Return the entries of index.json that reach a blob."""
        digest = blob.descriptor.digest
        rows = self._store.index.connection.execute("SELECT root FROM reach WHERE digest = ?", (digest,))
        roots = {digest, *(root for (root,) in rows)}
        return [entry for entry in self._read_entries() if entry.descriptor.digest in roots]

    def _count_absent(self, root: Digest) -> int:
        """Return the number of manifests of an index that are not held."""
        entry = self._find_entry(root)
        if entry is None:
            return 0
        unreadable: list[UnreadableDocument] = []
        documents = list(self._store.index.documents.walk(entry.descriptor, unreadable))
        listed = {child.digest for _, one in documents if isinstance(one, Index) for child in one.manifests}
        held = {descriptor.digest for descriptor, _ in documents} | {one.document.digest for one in unreadable}
        return len(listed - held) + sum(one.is_absent for one in unreadable)

    # Repairing

    def _can_repair(self, one: _Damaged) -> bool:
        return one.error.code in _REPAIRABLE and one.blob.descriptor.digest not in self._repair_attempts

    def _repair(
        self, root: Digest, name: str, repositories: Sequence[Reference], damaged: Sequence[_Damaged]
    ) -> list[Repaired]:
        """Fetch blobs again; return those that were repaired. The errors of the others get the reason."""
        if not damaged:
            return []
        from imq.engine.registry.transfer.worker_pool import WorkerPool

        fetched: list[tuple[_Blob, Reference, int]] = []
        self._repair_attempts |= {one.blob.descriptor.digest for one in damaged}
        try:
            with self._store.start_ingest() as ingest:
                ingest.reserve([one.blob.descriptor for one in damaged])
                self._progress.begin(name, sum(one.blob.descriptor.size for one in damaged))
                try:
                    tasks = [self._make_task(repositories, one, ingest, fetched) for one in damaged]
                    WorkerPool().run(tasks, self._jobs)
                finally:
                    self._progress.end()
                ingest.sync()
        except ImqError as problem:  # Example: the disk is full or the store is read-only
            if problem.exit_code == _INTERRUPTED:
                raise
            for one in damaged:
                self._record_failure(one, [problem.message])
            return []
        self._store.index.add_measures(ingest.measures)
        if any(blob.diff_id is None for blob, _, _ in fetched):
            self._store.index.reread(root)
        for blob, _, _ in fetched:
            for key in [key for key in self._results if key[0] == blob.descriptor.digest]:
                del self._results[key]
            self._results[blob.check_key] = None  # the ingest has verified it
        return [Repaired(blob.descriptor.digest, repository, size) for blob, repository, size in fetched]

    def _make_task(
        self,
        repositories: Sequence[Reference],
        one: _Damaged,
        ingest: Ingest,
        fetched: list[tuple[_Blob, Reference, int]],
    ) -> Task:
        candidates = list(dict.fromkeys((*repositories, *list_repositories(self._entries_with(one.blob)))))

        def fetch(pool: WorkerPool) -> None:
            reasons: list[str] = []
            for repository in candidates:
                try:
                    if repository.registry in self._unreachable_hosts:
                        raise self._unreachable_hosts[repository.registry]
                    fetched.append((one.blob, repository, self._fetch(repository, one.blob, ingest, pool)))
                except ImqError as problem:
                    if problem.exit_code == _INTERRUPTED:
                        raise
                    if problem.code in _UNREACHABLE:
                        self._unreachable_hosts[repository.registry] = problem
                    reasons.append(problem.message)
                else:
                    return
            self._record_failure(one, reasons or ["no image with this blob has a name in a registry"])

        return fetch

    def _record_failure(self, one: _Damaged, reasons: Sequence[str]) -> None:
        """Record why a blob was not repaired, each reason once."""
        state = "is missing" if one.error.code == "blob-missing" else "is damaged"
        reason = "; ".join(dict.fromkeys(reasons))
        self._results[one.blob.check_key] = type(one.error)(
            f"the blob {one.blob.descriptor.digest} {state} and cannot be repaired: {reason}",
            code=one.error.code,
            hints=("pull or load the image from another source, or remove it",),
        )

    def _fetch(self, repository: Reference, blob: _Blob, ingest: Ingest, pool: WorkerPool) -> int:
        """Fetch a blob from a repository into the store; return the transferred bytes."""
        from imq.engine.registry.transfer.blob_fetcher import BlobFetcher

        client = self._fetcher()
        descriptor = blob.descriptor
        if descriptor.media_type in media_types.INDEXES | media_types.MANIFESTS:
            ingest.store_document(
                descriptor, client.fetch_manifest(repository.replace(digest=descriptor.digest)).content
            )
            return descriptor.size
        fetcher = BlobFetcher(client, repository, ingest, self._progress)
        diff_id = blob.diff_id if media_types.is_layer(descriptor.media_type) else None
        fetcher.make_task(descriptor, diff_id)(pool)
        return fetcher.transferred_bytes
