"""The reader of registries: the connections, the cache and the problems that all scans of a statement share."""

from __future__ import annotations

from fnmatch import fnmatchcase

from imq.engine.oci.manifest import parse_manifest
from imq.engine.oci.platform import Platform, host_platform
from imq.engine.oci.reference import Reference
from imq.engine.registry.batch.client import BatchClient
from imq.engine.registry.client import Client
from imq.engine.store.registry_cache import RegistryCache
from imq.grammar.errors import ImqError, InvalidReference, RegistryError
from imq.grammar.record import TYPE_CHECKING, Record

from .refs import exact_repository, path_globs

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.oci.digest import Digest
    from imq.engine.oci.manifest import Descriptor
    from imq.engine.query.source import ScanRequest, SourceRef
    from imq.engine.registry.manifests import FetchedManifest
    from imq.engine.sources.context import SourceContext


WRITE_BATCH = 200
"""Responses that are written to the cache together."""


class RequestedName(Record):
    """One requested name: `text` as written, and its digest when that is known."""

    text: str
    reference: Reference
    digest: str | None = None


class RegistryReader:
    """Reads rows from registries. `connection` is the index's, which holds the rows; `platform` is the default."""

    fresh_nanoseconds = 0

    def __init__(
        self,
        client: Client,
        many: BatchClient,
        memory: RegistryCache,
        connection: sqlite3.Connection,
        platform: Platform,
        clock: Callable[[], int],
    ) -> None:
        self.client = client
        self.batch = many
        self.cache = memory
        self.connection = connection
        self.platform = platform
        self.clock = clock
        self._problems: dict[tuple[str, str, str], list[ImqError]] = {}

    def close(self) -> None:
        """Close the connections."""
        self.batch.close()
        self.client.close()

    # Problems

    def add_problem(self, error: ImqError, what: str, view: str) -> str:
        """Record a problem of a scan with `what`; return the message for its row."""
        self._problems.setdefault((view, what, error.code), []).append(error)
        return error.message

    def take_problems(self) -> tuple[tuple[str, str, ImqError], ...]:
        """Return and clear the problems: the scan, the subject and the error.

        Equal errors of a repository are returned once, with their number.
        """
        found, self._problems = self._problems, {}
        said: dict[tuple[str, str], tuple[str, list[ImqError]]] = {}
        for (view, what, _), errors in found.items():  # an unreachable host is one problem of all repositories
            said.setdefault((view, errors[0].message), (what, errors))
        for (_, message), (what, errors) in said.items():
            if len(errors) > 1:
                errors[0].message = f"{message} (and {len(errors) - 1} more like this of {what})"
        return tuple((view, what, errors[0]) for (view, _), (what, errors) in said.items())

    # Names

    def parse_names(self, scan: ScanRequest, found: Sequence[tuple[Raw, ...]]) -> Iterator[RequestedName | str]:
        """Yield the names of a scan: its targets, then `found`.

        An invalid name is recorded as a problem and yielded as a string.
        """
        for name, *rest in [*((target,) for target in scan.targets), *found]:
            text = str(name)
            try:
                yield RequestedName(text, Reference.parse(text.strip()), str(rest[0]) if rest and rest[0] else None)
            except InvalidReference as error:
                if scan.lookup_fields:
                    continue
                self.add_problem(error, "names", scan.view)
                yield text

    def list_repositories(self, refs: Sequence[SourceRef], view: str) -> Iterator[Reference]:
        """Yield the repositories of source references, as the registry's catalog lists them."""
        for ref in refs:
            globs = path_globs(ref)
            for path in self._list_catalog(ref):
                if not globs or any(fnmatchcase(path, glob) for glob in globs):
                    try:
                        yield Reference.parse(f"{ref.address}/{path}")
                    except InvalidReference as error:
                        self.add_problem(error, ref.address, view)

    def _list_catalog(self, ref: SourceRef) -> Iterator[str]:
        """Yield the catalog; without one, the repository that the reference itself may be."""
        try:
            yield from self.client.catalog(ref.address)
        except RegistryError as error:
            if error.code != "no-catalog" or not exact_repository(ref):
                raise
            yield exact_repository(ref)

    # Documents

    def store_manifests(
        self, fetched: Iterable[tuple[int, Reference, FetchedManifest]]
    ) -> list[tuple[int, Reference, ImqError]]:
        """Store manifests and the digests of their names in the cache; return the invalid ones with their errors."""
        failures, read = [], []
        named: list[tuple[Reference, Descriptor]] = []
        for key, reference, one in fetched:
            try:
                document = parse_manifest(one.content, one.media_type, f"the manifest of {reference}")
            except ImqError as error:
                failures.append((key, reference, error))
                continue
            read.append((one.digest, len(one.content), document))
            named.append((reference, one.descriptor))
        self.cache.add_documents(read)
        self.cache.add_tags(named, self.clock())
        return failures

    def fetch_manifests(self, wanted: Sequence[tuple[Reference, Digest]]) -> Iterator[tuple[int, ImqError]]:
        """Fetch manifests by digest into the cache; yield the position of each failure, and its error."""
        names = (reference.replace(tag=None, digest=digest) for reference, digest in wanted)
        taken: list[tuple[int, Reference, FetchedManifest]] = []
        for place, fetched in self.batch.fetch_manifests(enumerate(names)):
            if isinstance(fetched, ImqError):
                yield place, fetched
                continue
            reference, digest = wanted[place]
            taken.append((place, reference.replace(tag=None, digest=digest), fetched))
            if len(taken) >= WRITE_BATCH:
                yield from ((failed, error) for failed, _, error in self.store_manifests(taken))
                taken = []
        yield from ((failed, error) for failed, _, error in self.store_manifests(taken))

    def fetch_configs(self, wanted: Sequence[tuple[Reference, Descriptor]]) -> Iterator[tuple[int, ImqError]]:
        """Fetch configs into the cache; yield the position of each failure, and its error."""
        from imq.engine.oci.config import Config

        asked = ((place, reference, descriptor) for place, (reference, descriptor) in enumerate(wanted))
        taken: list[tuple[Digest, Config]] = []
        for place, content in self.batch.fetch_configs(asked):
            if isinstance(content, ImqError):
                yield place, content
                continue
            try:
                taken.append((wanted[place][1].digest, Config.parse(content, f"the config of {wanted[place][0]}")))
            except ImqError as error:
                yield place, error
            if len(taken) >= WRITE_BATCH:
                self.cache.add_configs(taken)
                taken = []
        self.cache.add_configs(taken)


def open_reader(context: SourceContext) -> RegistryReader:
    """Return a reader of registries, with a cache in the store's folder if it is writable."""
    settings = context.network()

    def report(registry: str, answered: int, left: int) -> None:
        context.progress.count(f"ask {registry}", answered, answered + left)

    client = Client(settings)
    connection = context.store.index.connection
    memory = RegistryCache(connection, context.store.get_cache_layout())
    if settings.mirrors:
        from imq.engine.registry.batch.mirrored_client import MirroredBatchClient

        many: BatchClient = MirroredBatchClient(client, context.progress.warn, settings.requests, report)
    else:
        many = BatchClient(client, settings.requests, report)
    return RegistryReader(client, many, memory, connection, context.platform or host_platform(), context.clock)
