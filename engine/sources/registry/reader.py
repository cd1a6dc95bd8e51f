"""The reader of registries: the connections, the cache and the problems that all scans of a statement share."""

from __future__ import annotations

from contextlib import suppress
from fnmatch import fnmatchcase
from functools import cached_property

from imq.engine.oci.manifest import parse_manifest
from imq.engine.oci.platform import Platform, host_platform
from imq.engine.oci.reference import Reference
from imq.engine.registry.batch.client import BatchClient
from imq.engine.registry.client import Client
from imq.engine.store.registry_cache import RegistryCache
from imq.grammar.errors import ImqError, InvalidReference, RegistryError
from imq.grammar.record import TYPE_CHECKING, Record

from .refs import get_exact_repository, make_path_globs

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.oci.config import Config
    from imq.engine.oci.digest import Digest
    from imq.engine.oci.manifest import Descriptor
    from imq.engine.postgresql.documents import SharedDocuments
    from imq.engine.query.source import ScanRequest, SourceRef
    from imq.engine.registry.manifests import FetchedManifest
    from imq.engine.registry.mirrors import ImageReader
    from imq.engine.sources.context import SourceContext


WRITE_BATCH = 200
"""The number of responses to write to the cache at once."""


class RequestedName(Record):
    """One requested name: `text` as written, the parsed reference, and the digest if it is known."""

    text: str
    reference: Reference
    digest: str | None = None


class RegistryReader:
    """Reads rows from registries.

    `connection` is that of the index; rows are stored in its temporary tables. `platform` is the default platform.
    """

    fresh_nanoseconds = 0
    shared: SharedDocuments | None = None
    """The documents of the catalogue, which need no request."""

    def __init__(
        self,
        client: Client,
        batch: BatchClient,
        cache: RegistryCache,
        connection: sqlite3.Connection,
        platform: Platform,
        clock: Callable[[], int],
    ) -> None:
        self.client = client
        self.batch = batch
        self.cache = cache
        self.connection = connection
        self.platform = platform
        self.clock = clock
        self._problems: dict[tuple[str, str, str], list[ImqError]] = {}

    @cached_property
    def images(self) -> ImageReader:
        """What reads blobs: the client, or one that tries mirrors first."""
        if not self.client.settings.mirrors:
            return self.client
        from imq.engine.registry.mirrors import MirroredClient

        return MirroredClient(self.client)

    def begin(self) -> None:
        """Keep what was read: the cache has its own rules of age."""

    def close(self) -> None:
        """Close the connections."""
        if (images := self.__dict__.pop("images", None)) is not None:
            images.close()
        self.batch.close()
        self.client.close()

    # Problems

    def add_problem(self, error: ImqError, subject: str, view: str) -> str:
        """Record an error about `subject` for the scan of `view`. Return the message for the row."""
        self._problems.setdefault((view, subject, error.code), []).append(error)
        return error.message

    def take_problems(self) -> tuple[tuple[str, str, ImqError], ...]:
        """Return and clear the problems: the scan, the subject and the error.

        Equal errors of a scan are returned once, with their number.
        """
        problems, self._problems = self._problems, {}
        by_message: dict[tuple[str, str], tuple[str, list[ImqError]]] = {}
        for (
            view,
            subject,
            _,
        ), errors in problems.items():  # an unreachable host is one problem, whatever the number of repositories
            by_message.setdefault((view, errors[0].message), (subject, errors))
        for (_, message), (subject, errors) in by_message.items():
            if len(errors) > 1:
                errors[0].message = f"{message} (and {len(errors) - 1} more of the same kind in {subject})"
        return tuple((view, subject, errors[0]) for (view, _), (subject, errors) in by_message.items())

    # Names

    def parse_names(self, scan: ScanRequest, rows: Sequence[tuple[Raw, ...]]) -> Iterator[RequestedName | str]:
        """Yield the names of a scan: its targets, then those in `rows`.

        An invalid name is recorded as a problem and yielded as a string.
        """
        for name, *rest in [*((target,) for target in scan.targets), *rows]:
            text = str(name)
            try:
                yield RequestedName(text, Reference.parse(text.strip()), str(rest[0]) if rest and rest[0] else None)
            except InvalidReference as error:
                if scan.lookup_fields:
                    continue
                self.add_problem(error, "names", scan.view)
                yield text

    def list_repositories(self, refs: Sequence[SourceRef], view: str) -> Iterator[Reference]:
        """Yield the repositories that match source references, from the catalogs of their registries."""
        for ref in refs:
            globs = make_path_globs(ref)
            for path in self._list_catalog(ref):
                if not globs or any(fnmatchcase(path, glob) for glob in globs):
                    try:
                        yield Reference.parse(f"{ref.address}/{path}")
                    except InvalidReference as error:
                        self.add_problem(error, ref.address, view)

    def _list_catalog(self, ref: SourceRef) -> Iterator[str]:
        """Yield the paths in the catalog. If the registry has no catalog, yield the path that the reference names."""
        try:
            yield from self.client.list_repositories(ref.address)
        except RegistryError as error:
            if error.code != "no-catalog" or not get_exact_repository(ref):
                raise
            yield get_exact_repository(ref)

    # Documents

    def store_manifests(
        self, fetched: Iterable[tuple[int, Reference, FetchedManifest]]
    ) -> list[tuple[int, Reference, ImqError]]:
        """Cache manifests and the digests of their names. Return the invalid manifests with their errors."""
        fetched = list(fetched)
        failures, documents = [], []
        tags: list[tuple[Reference, Descriptor]] = []
        for key, reference, manifest in fetched:
            try:
                document = parse_manifest(manifest.content, manifest.media_type, f"the manifest of {reference}")
            except ImqError as error:
                failures.append((key, reference, error))
                continue
            documents.append((manifest.digest, len(manifest.content), document))
            tags.append((reference, manifest.descriptor))
        if self.shared is not None:
            failed = {key for key, _, _ in failures}
            contents = ((one.digest, one.media_type, one.content) for key, _, one in fetched if key not in failed)
            self.shared.add(contents)
        self.cache.add_documents(documents)
        self.cache.add_tags(tags, self.clock())
        return failures

    def _read_shared_manifests(self, manifests: Sequence[tuple[Reference, Digest]]) -> set[Digest]:
        """Cache the manifests that the catalogue has, and return their digests."""
        if self.shared is None:
            return set()
        references = {digest: reference for reference, digest in manifests}
        found: set[Digest] = set()
        for digest, media_type, content in self.shared.read(list(references)):
            try:
                document = parse_manifest(content, media_type, f"the manifest {digest}")
            except ImqError:
                continue  # the registry may state another media type
            self.cache.add_manifests([(references[digest], digest, len(content), document)])
            found.add(digest)
        return found

    def _read_shared_configs(self, configs: Sequence[tuple[Reference, Descriptor]]) -> set[Digest]:
        """Cache the configs that the catalogue has, and return their digests."""
        if self.shared is None:
            return set()
        from imq.engine.oci.config import Config

        found: list[tuple[Digest, Config]] = []
        for digest, _, content in self.shared.read([descriptor.digest for _, descriptor in configs]):
            with suppress(ImqError):
                found.append((digest, Config.parse(content, f"the config {digest}")))
        self.cache.add_configs(found)
        return {digest for digest, _ in found}

    def fetch_manifests(self, manifests: Sequence[tuple[Reference, Digest]]) -> Iterator[tuple[int, ImqError]]:
        """Fetch manifests by digest into the cache. Yield the position and the error of each failure."""
        known = self._read_shared_manifests(manifests)
        names = (
            (number, reference.replace(tag=None, digest=digest))
            for number, (reference, digest) in enumerate(manifests)
            if digest not in known
        )
        fetched: list[tuple[int, Reference, FetchedManifest]] = []
        for number, result in self.batch.fetch_manifests(names):
            if isinstance(result, ImqError):
                yield number, result
                continue
            reference, digest = manifests[number]
            fetched.append((number, reference.replace(tag=None, digest=digest), result))
            if len(fetched) >= WRITE_BATCH:
                yield from ((failed, error) for failed, _, error in self.store_manifests(fetched))
                fetched = []
        yield from ((failed, error) for failed, _, error in self.store_manifests(fetched))

    def fetch_configs(self, configs: Sequence[tuple[Reference, Descriptor]]) -> Iterator[tuple[int, ImqError]]:
        """Fetch configs into the cache. Yield the position and the error of each failure."""
        from imq.engine.oci.config import Config

        known = self._read_shared_configs(configs)
        requests = (
            (number, reference, descriptor)
            for number, (reference, descriptor) in enumerate(configs)
            if descriptor.digest not in known
        )
        fetched: list[tuple[Digest, Config]] = []
        contents: list[tuple[Digest, str, bytes]] = []
        for number, content in self.batch.fetch_configs(requests):
            if isinstance(content, ImqError):
                yield number, content
                continue
            reference, descriptor = configs[number]
            try:
                fetched.append((descriptor.digest, Config.parse(content, f"the config of {reference}")))
            except ImqError as error:
                yield number, error
            contents.append((descriptor.digest, descriptor.media_type, content))
            if len(fetched) >= WRITE_BATCH:
                self._add_configs(fetched, contents)
                fetched, contents = [], []
        self._add_configs(fetched, contents)

    def _add_configs(
        self, configs: Sequence[tuple[Digest, Config]], contents: Sequence[tuple[Digest, str, bytes]]
    ) -> None:
        """Add configs to the cache, and their documents to the catalogue."""
        self.cache.add_configs(configs)
        if self.shared is not None:
            self.shared.add(contents)


def open_reader(context: SourceContext) -> RegistryReader:
    """Return a reader of registries. Its cache is in the folder of the store, or in memory if that is not writable."""
    settings = context.network()

    def report(registry: str, done: int, remaining: int) -> None:
        context.progress.report_items(f"query {registry}", done, done + remaining)

    client = Client(settings)
    connection = context.store.index.connection
    cache = RegistryCache(connection, context.store.get_cache_layout())
    if settings.mirrors:
        from imq.engine.registry.batch.mirrored_client import MirroredBatchClient

        batch: BatchClient = MirroredBatchClient(client, context.progress.warn, settings.requests, report)
    else:
        batch = BatchClient(client, settings.requests, report)
    return RegistryReader(client, batch, cache, connection, context.platform or host_platform(), context.clock)
