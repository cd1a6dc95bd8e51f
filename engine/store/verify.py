"""Verifying images of the store: every blob is hashed, every layer unpacked, and what is damaged fetched again."""

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
    from imq.engine.registry.mirrors import Fetcher
    from imq.engine.registry.transfer.worker_pool import Job, Work

    from .ingest import Ingest
    from .layer_measure import LayerMeasure
    from .layout import IndexEntry
    from .store import Store
    from .unreadable_images import UnreadableDocument

_DAMAGE = ("blob-missing", "digest-mismatch", "store")
"""Codes of problems that are of a blob as it lies here: the same blob from elsewhere may be whole."""
_UNREACHED = ("unreachable", "timeout", "tls")
_INTERRUPTED = 130
"""The exit code of what a user called off."""
_SHOWN = 5
"""Names of images that are said to have a blob."""


class _Part(Record):
    """One blob of an image; `diff_id` is what it has to unpack to, if it is a layer."""

    descriptor: Descriptor
    diff_id: Digest | None = None

    @property
    def key(self) -> tuple[Digest, Digest | None]:
        """What tells it from other parts."""
        return self.descriptor.digest, self.diff_id


class _Wrong(Record):
    """What is wrong with a part, and (after a repair) why it stays so."""

    part: _Part
    problem: ImqError


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

    def __init__(self, store: Store, jobs: int, fetcher: Callable[[], Fetcher], progress: Progress) -> None:
        self._store = store
        self._jobs = jobs
        self._fetcher = fetcher
        self._progress = progress
        self._found: dict[tuple[Digest, Digest | None], ImqError | None] = {}
        self._tried: set[Digest] = set()
        self._down: dict[str, ImqError] = {}
        self._entries: list[IndexEntry] | None = None

    def verify(
        self, root: Digest, name: str, repair_from: Sequence[Reference] | None = None
    ) -> Iterator[Repaired | Defect | Intact]:
        """Verify all that the image `root` reaches; `name` is what errors call it.

        With `repair_from` damaged and missing blobs are fetched again: from these repositories, then from those of the
        other images that have them. Raises `NotFound` (`changed`) when the image is no longer in the store.
        """
        if self._entry(root) is None:
            raise NotFound(f"{name} has gone since this was planned", code="changed")
        wrong = self._check(root)
        while wrong and repair_from is not None:
            repaired = self._repair(root, name, repair_from, [one for one in wrong if self._may_repair(one)])
            yield from repaired
            wrong = self._check(root)
            if not repaired:  # else documents may have come that name others
                break
        if wrong and not any(entry.descriptor.digest == root for entry in self._store.layout.read_entries()):
            raise NotFound(f"{name} was removed while it was read", code="changed")
        for one in wrong:
            names = [
                str(entry.name) if entry.name else entry.descriptor.digest.short for entry in self._having(one.part)
            ]
            yield Defect(one.problem, tuple(names[:_SHOWN]), len(names))
        if not wrong:
            size = sum(part.descriptor.size for part in self._parts(root)[0])
            yield Intact(size, self._absent(root))

    # Checking

    def _check(self, root: Digest) -> list[_Wrong]:
        """Check the parts of an image that were not checked yet; return what is wrong with any of them."""
        parts, unread = self._parts(root)
        new = {part.descriptor.digest: part for part in parts if part.key not in self._found}
        contents: list[LayerMeasure] = []
        pending = [
            (digest, part.diff_id, part.descriptor.size, part.descriptor.media_type) for digest, part in new.items()
        ]
        problems = measure_layers(self._store, pending, self._jobs, contents.append, lambda _: None)
        self._store.index.add_measures(contents)
        self._found |= {part.key: None for part in new.values()}
        self._found |= {new[digest].key: problem for digest, problem in problems}
        wrong = [_Wrong(part, problem) for part in parts if (problem := self._found[part.key]) is not None]
        told = {one.part.descriptor.digest for one in wrong}
        return wrong + [one for one in unread if one.part.descriptor.digest not in told]

    def _parts(self, root: Digest) -> tuple[list[_Part], list[_Wrong]]:
        """Return every blob that a descriptor of index.json reaches or ought to, documents first.

        All of it is read from the blobs themselves. Beside it: the documents among them that cannot be read.
        """
        entry = self._entry(root)
        if entry is None:
            return [], []
        index = self._store.index
        found: list[UnreadableDocument] = []
        parts: dict[Digest, _Part] = {root: _Part(entry.descriptor)}
        wrong: list[_Wrong] = []
        for descriptor, document in index.walk(entry.descriptor, found):
            parts[descriptor.digest] = _Part(descriptor)
            if isinstance(document, Index):
                continue
            diff_ids: tuple[Digest, ...] = ()
            parts.setdefault(document.config.digest, _Part(document.config))
            if document.is_image:
                try:
                    diff_ids = index.read_image_config(document).diff_ids
                except ImqError as problem:
                    wrong.append(_Wrong(parts[document.config.digest], problem))
            for layer, diff_id in zip_longest(document.layers, diff_ids):
                parts.setdefault(layer.digest, _Part(layer, diff_id))
        for one in found:
            if not one.is_absent:
                parts.setdefault(one.document.digest, _Part(one.document))
                wrong.append(_Wrong(parts[one.document.digest], one.problem))
        return sorted(parts.values(), key=lambda part: part.diff_id is not None), wrong

    def _listed(self) -> list[IndexEntry]:
        if self._entries is None:
            self._entries = self._store.layout.read_entries()
        return self._entries

    def _entry(self, root: Digest) -> IndexEntry | None:
        return next((entry for entry in self._listed() if entry.descriptor.digest == root), None)

    def _having(self, part: _Part) -> list[IndexEntry]:
        """Return the entries of index.json that reach a blob."""
        digest = part.descriptor.digest
        rows = self._store.index.connection.execute("SELECT root FROM reach WHERE digest = ?", (digest,))
        roots = {digest, *(root for (root,) in rows)}
        return [entry for entry in self._listed() if entry.descriptor.digest in roots]

    def _absent(self, root: Digest) -> int:
        """Return how many manifests an index names that are not held."""
        entry = self._entry(root)
        if entry is None:
            return 0
        found: list[UnreadableDocument] = []
        walked = list(self._store.index.walk(entry.descriptor, found))
        named = {child.digest for _, one in walked if isinstance(one, Index) for child in one.manifests}
        here = {descriptor.digest for descriptor, _ in walked} | {one.document.digest for one in found}
        return len(named - here) + sum(one.is_absent for one in found)

    # Repairing

    def _may_repair(self, one: _Wrong) -> bool:
        return one.problem.code in _DAMAGE and one.part.descriptor.digest not in self._tried

    def _repair(
        self, root: Digest, name: str, repositories: Sequence[Reference], wrong: Sequence[_Wrong]
    ) -> list[Repaired]:
        """Fetch parts again; return those that were repaired. The problems of the others say why they were not."""
        if not wrong:
            return []
        from imq.engine.registry.transfer.worker_pool import Work

        came: list[tuple[_Part, Reference, int]] = []
        self._tried |= {one.part.descriptor.digest for one in wrong}
        try:
            with self._store.start_ingest() as ingest:
                ingest.reserve([one.part.descriptor for one in wrong])
                self._progress.begin(name, sum(one.part.descriptor.size for one in wrong))
                try:
                    Work().run([self._job(repositories, one, ingest, came) for one in wrong], self._jobs)
                finally:
                    self._progress.end()
                ingest.sync()
        except ImqError as problem:  # no room, or nothing may be written here
            if problem.exit_code == _INTERRUPTED:
                raise
            for one in wrong:
                self._stays(one, [problem.message])
            return []
        self._store.index.add_measures(ingest.measures)
        if any(part.diff_id is None for part, _, _ in came):
            self._store.index.reread(root)
        for part, _, _ in came:
            for key in [key for key in self._found if key[0] == part.descriptor.digest]:
                del self._found[key]
            self._found[part.key] = None  # it was checked as it came
        return [Repaired(part.descriptor.digest, repository, size) for part, repository, size in came]

    def _job(
        self,
        repositories: Sequence[Reference],
        one: _Wrong,
        ingest: Ingest,
        came: list[tuple[_Part, Reference, int]],
    ) -> Job:
        places = list(dict.fromkeys((*repositories, *list_repositories(self._having(one.part)))))

        def fetch(work: Work) -> None:
            reasons: list[str] = []
            for place in places:
                try:
                    if place.registry in self._down:
                        raise self._down[place.registry]
                    came.append((one.part, place, self._fetch(place, one.part, ingest, work)))
                except ImqError as problem:
                    if problem.exit_code == _INTERRUPTED:
                        raise
                    if problem.code in _UNREACHED:
                        self._down[place.registry] = problem
                    reasons.append(problem.message)
                else:
                    return
            self._stays(one, reasons or ["no image that has it has a name in a registry"])

        return fetch

    def _stays(self, one: _Wrong, reasons: Sequence[str]) -> None:
        """Say why a part was not repaired, each reason once."""
        what = "is missing" if one.problem.code == "blob-missing" else "is damaged"
        why = "; ".join(dict.fromkeys(reasons))
        self._found[one.part.key] = type(one.problem)(
            f"the blob {one.part.descriptor.digest} {what} and cannot be repaired: {why}",
            code=one.problem.code,
            hints=("pull or load the image from a place that has it, or remove it",),
        )

    def _fetch(self, place: Reference, part: _Part, ingest: Ingest, work: Work) -> int:
        """Fetch a blob from a repository into the store; return its bytes."""
        from imq.engine.registry.transfer.blob_fetcher import Transfers

        client = self._fetcher()
        descriptor = part.descriptor
        if descriptor.media_type in media_types.INDEXES | media_types.MANIFESTS:
            ingest.store_document(descriptor, client.manifest(place.replace(digest=descriptor.digest)).content)
            return descriptor.size
        transfers = Transfers(client, place, ingest, self._progress)
        diff_id = part.diff_id if media_types.is_layer(descriptor.media_type) else None
        transfers.job(descriptor, diff_id)(work)
        return transfers.total
