"""Verifies images of the store: hashes every blob, unpacks every layer, and fetches damaged blobs again."""

from __future__ import annotations

from itertools import zip_longest

from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, Index
from imq.grammar.errors import ImqError, NotFound
from imq.grammar.record import TYPE_CHECKING, Record

from .layout import list_repositories
from .measure import measure_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from imq.engine.oci.reference import Reference
    from imq.engine.progress import Progress
    from imq.engine.registry.mirrors import ImageReader
    from imq.engine.registry.transfer.worker_pool import Task, WorkerPool

    from .ingest import Ingest
    from .layer_measure import LayerMeasure
    from .layout import IndexEntry
    from .store import Store
    from .unreadable_images import UnreadableDocument

_REPAIRABLE = ("blob-missing", "digest-mismatch", "store")
"""Codes of errors of a stored copy of a blob: a copy from elsewhere may be intact."""
_UNREACHABLE = ("unreachable", "timeout", "tls")
_INTERRUPTED = 130
"""The exit code of an interruption by the user."""
_MAX_NAMES = 5
"""How many names of images a defect lists."""


class _Blob(Record):
    """One blob of an image. The content of a layer has to unpack to `diff_id`."""

    descriptor: Descriptor
    diff_id: Digest | None = None

    @property
    def check_key(self) -> tuple[Digest, Digest | None]:
        """The key of its result: a blob with two diff IDs is checked twice."""
        return self.descriptor.digest, self.diff_id


class _Damaged(Record):
    """A damaged or missing blob, with its error; after a repair that failed, with the reason."""

    blob: _Blob
    error: ImqError


class Repaired(Record):
    """A blob that was damaged or missing, and was fetched again from the repository `source`."""

    digest: Digest
    source: Reference
    size: int


class Defect(Record):
    """A blob that is damaged or missing. `names` are up to five names of images that have it, of `count` in all."""

    error: ImqError
    names: tuple[str, ...]
    count: int


class Intact(Record):
    """An image of which every blob is as it should be. `absent` counts the manifests of its index that are not held."""

    size: int
    absent: int


class StoreVerifier:
    """Verifies images of one statement: a blob that several of them have is read once, and repaired once."""

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
        """Verify all that the image `root` reaches; `name` is what errors call it.

        With `repair_from` damaged and missing blobs are fetched again: from these repositories, then from those of the
        other images that have them. Raises `NotFound` (`changed`) when the image is no longer in the store.
        """
        if self._find_entry(root) is None:
            raise NotFound(f"{name} has gone since this was planned", code="changed")
        wrong = self._check(root)
        while wrong and repair_from is not None:
            repaired = self._repair(root, name, repair_from, [one for one in wrong if self._can_repair(one)])
            yield from repaired
            wrong = self._check(root)
            if not repaired:  # else documents may have come that name others
                break
        if wrong and not any(entry.descriptor.digest == root for entry in self._store.layout.read_entries()):
            raise NotFound(f"{name} was removed while it was read", code="changed")
        for one in wrong:
            names = [
                str(entry.name) if entry.name else entry.descriptor.digest.short
                for entry in self._entries_with(one.blob)
            ]
            yield Defect(one.error, tuple(names[:_MAX_NAMES]), len(names))
        if not wrong:
            size = sum(part.descriptor.size for part in self._reachable_blobs(root)[0])
            yield Intact(size, self._count_absent(root))

    # Checking

    def _check(self, root: Digest) -> list[_Damaged]:
        """Check the blobs of an image that were not checked yet; return all that are damaged."""
        parts, unread = self._reachable_blobs(root)
        new = {part.descriptor.digest: part for part in parts if part.check_key not in self._results}
        contents: list[LayerMeasure] = []
        pending = [
            (digest, part.diff_id, part.descriptor.size, part.descriptor.media_type) for digest, part in new.items()
        ]
        problems = measure_layers(self._store, pending, self._jobs, contents.append, lambda _: None)
        self._store.index.add_measures(contents)
        self._results |= {part.check_key: None for part in new.values()}
        self._results |= {new[digest].check_key: problem for digest, problem in problems}
        wrong = [_Damaged(part, problem) for part in parts if (problem := self._results[part.check_key]) is not None]
        told = {one.blob.descriptor.digest for one in wrong}
        return wrong + [one for one in unread if one.blob.descriptor.digest not in told]

    def _reachable_blobs(self, root: Digest) -> tuple[list[_Blob], list[_Damaged]]:
        """Return every blob that a root of index.json reaches, documents first, and the documents that are unreadable.

        They are read from the blobs, not from the index.
        """
        entry = self._find_entry(root)
        if entry is None:
            return [], []
        index = self._store.index
        found: list[UnreadableDocument] = []
        parts: dict[Digest, _Blob] = {root: _Blob(entry.descriptor)}
        wrong: list[_Damaged] = []
        for descriptor, document in index.walk(entry.descriptor, found):
            parts[descriptor.digest] = _Blob(descriptor)
            if isinstance(document, Index):
                continue
            diff_ids: tuple[Digest, ...] = ()
            parts.setdefault(document.config.digest, _Blob(document.config))
            if document.is_image:
                try:
                    diff_ids = index.read_image_config(document).diff_ids
                except ImqError as problem:
                    wrong.append(_Damaged(parts[document.config.digest], problem))
            for layer, diff_id in zip_longest(document.layers, diff_ids):
                parts.setdefault(layer.digest, _Blob(layer, diff_id))
        for one in found:
            if not one.is_absent:
                parts.setdefault(one.document.digest, _Blob(one.document))
                wrong.append(_Damaged(parts[one.document.digest], one.problem))
        return sorted(parts.values(), key=lambda part: part.diff_id is not None), wrong

    def _read_entries(self) -> list[IndexEntry]:
        if self._entries is None:
            self._entries = self._store.layout.read_entries()
        return self._entries

    def _find_entry(self, root: Digest) -> IndexEntry | None:
        return next((entry for entry in self._read_entries() if entry.descriptor.digest == root), None)

    def _entries_with(self, part: _Blob) -> list[IndexEntry]:
        """Return the entries of index.json that reach a blob."""
        digest = part.descriptor.digest
        rows = self._store.index.connection.execute("SELECT root FROM reach WHERE digest = ?", (digest,))
        roots = {digest, *(root for (root,) in rows)}
        return [entry for entry in self._read_entries() if entry.descriptor.digest in roots]

    def _count_absent(self, root: Digest) -> int:
        """Return how many manifests of an index are not stored."""
        entry = self._find_entry(root)
        if entry is None:
            return 0
        found: list[UnreadableDocument] = []
        walked = list(self._store.index.walk(entry.descriptor, found))
        named = {child.digest for _, one in walked if isinstance(one, Index) for child in one.manifests}
        here = {descriptor.digest for descriptor, _ in walked} | {one.document.digest for one in found}
        return len(named - here) + sum(one.is_absent for one in found)

    # Repairing

    def _can_repair(self, one: _Damaged) -> bool:
        return one.error.code in _REPAIRABLE and one.blob.descriptor.digest not in self._repair_attempts

    def _repair(
        self, root: Digest, name: str, repositories: Sequence[Reference], wrong: Sequence[_Damaged]
    ) -> list[Repaired]:
        """Fetch blobs again; return those that were repaired. The errors of the others say why they were not."""
        if not wrong:
            return []
        from imq.engine.registry.transfer.worker_pool import WorkerPool

        came: list[tuple[_Blob, Reference, int]] = []
        self._repair_attempts |= {one.blob.descriptor.digest for one in wrong}
        try:
            with self._store.start_ingest() as ingest:
                ingest.reserve([one.blob.descriptor for one in wrong])
                self._progress.begin(name, sum(one.blob.descriptor.size for one in wrong))
                try:
                    WorkerPool().run([self._make_task(repositories, one, ingest, came) for one in wrong], self._jobs)
                finally:
                    self._progress.end()
                ingest.sync()
        except ImqError as problem:  # no room, or nothing may be written here
            if problem.exit_code == _INTERRUPTED:
                raise
            for one in wrong:
                self._record_failure(one, [problem.message])
            return []
        self._store.index.add_measures(ingest.measures)
        if any(part.diff_id is None for part, _, _ in came):
            self._store.index.reread(root)
        for part, _, _ in came:
            for key in [key for key in self._results if key[0] == part.descriptor.digest]:
                del self._results[key]
            self._results[part.check_key] = None  # it was checked as it came
        return [Repaired(part.descriptor.digest, repository, size) for part, repository, size in came]

    def _make_task(
        self,
        repositories: Sequence[Reference],
        one: _Damaged,
        ingest: Ingest,
        came: list[tuple[_Blob, Reference, int]],
    ) -> Task:
        places = list(dict.fromkeys((*repositories, *list_repositories(self._entries_with(one.blob)))))

        def fetch(pool: WorkerPool) -> None:
            reasons: list[str] = []
            for place in places:
                try:
                    if place.registry in self._unreachable_hosts:
                        raise self._unreachable_hosts[place.registry]
                    came.append((one.blob, place, self._fetch(place, one.blob, ingest, pool)))
                except ImqError as problem:
                    if problem.exit_code == _INTERRUPTED:
                        raise
                    if problem.code in _UNREACHABLE:
                        self._unreachable_hosts[place.registry] = problem
                    reasons.append(problem.message)
                else:
                    return
            self._record_failure(one, reasons or ["no image that has it has a name in a registry"])

        return fetch

    def _record_failure(self, one: _Damaged, reasons: Sequence[str]) -> None:
        """Record why a blob was not repaired, each reason once."""
        what = "is missing" if one.error.code == "blob-missing" else "is damaged"
        why = "; ".join(dict.fromkeys(reasons))
        self._results[one.blob.check_key] = type(one.error)(
            f"the blob {one.blob.descriptor.digest} {what} and cannot be repaired: {why}",
            code=one.error.code,
            hints=("pull or load the image from a place that has it, or remove it",),
        )

    def _fetch(self, place: Reference, part: _Blob, ingest: Ingest, pool: WorkerPool) -> int:
        """Fetch a blob from a repository into the store; return its bytes."""
        from imq.engine.registry.transfer.blob_fetcher import BlobFetcher

        client = self._fetcher()
        descriptor = part.descriptor
        if descriptor.media_type in media_types.INDEXES | media_types.MANIFESTS:
            ingest.store_document(descriptor, client.manifest(place.replace(digest=descriptor.digest)).content)
            return descriptor.size
        fetcher = BlobFetcher(client, place, ingest, self._progress)
        diff_id = part.diff_id if media_types.is_layer(descriptor.media_type) else None
        fetcher.make_task(descriptor, diff_id)(pool)
        return fetcher.transferred_bytes
