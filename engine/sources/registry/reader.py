"""The registries that a statement asks, and what all its scans share: connections, the memory, the problems."""

from __future__ import annotations

from fnmatch import fnmatchcase

from imq.engine.oci.manifest import read_manifest
from imq.engine.oci.platform import Platform, host
from imq.engine.oci.reference import Reference
from imq.engine.registry.batch.client import Many
from imq.engine.registry.client import Client
from imq.engine.store.registry_cache import RegistryCache
from imq.grammar.errors import ImqError, InvalidReference, RegistryError
from imq.grammar.record import TYPE_CHECKING, Record

from .refs import globs_of, repository_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.oci.digest import Digest
    from imq.engine.oci.manifest import Descriptor
    from imq.engine.query.source import ScanRequest, SourceRef
    from imq.engine.registry.manifests import Fetched
    from imq.engine.sources.context import SourceContext


AT_ONCE = 200
"""Responses that are written down together."""


class Asked(Record):
    """One name that is asked for: `text` is how it was said, `digest` what it stands for, when that is known."""

    text: str
    reference: Reference
    digest: str | None = None


class RegistryReader:
    """Reads rows of registries. `connection` is the index's, where rows go; `platform` is this machine's."""

    fresh = 0

    def __init__(
        self,
        client: Client,
        many: Many,
        memory: RegistryCache,
        connection: sqlite3.Connection,
        platform: Platform,
        clock: Callable[[], int],
    ) -> None:
        self.client = client
        self.many = many
        self.memory = memory
        self.connection = connection
        self.platform = platform
        self.clock = clock
        self._problems: dict[tuple[str, str, str], list[ImqError]] = {}

    def close(self) -> None:
        """Close the connections."""
        self.many.close()
        self.client.close()

    # What went wrong

    def problem(self, error: ImqError, what: str, view: str) -> str:
        """Keep what went wrong with `what` of a scan's rows; return what its row says of it."""
        self._problems.setdefault((view, what, error.code), []).append(error)
        return error.message

    def problems(self) -> tuple[tuple[str, str, ImqError], ...]:
        """Return what went wrong, each kind of it once for a repository, with how often; of which scan, and of what."""
        found, self._problems = self._problems, {}
        said: dict[tuple[str, str], tuple[str, list[ImqError]]] = {}
        for (view, what, _), errors in found.items():  # a host that is not there is one problem for all repositories
            said.setdefault((view, errors[0].message), (what, errors))
        for (_, message), (what, errors) in said.items():
            if len(errors) > 1:
                errors[0].message = f"{message} (and {len(errors) - 1} more like this of {what})"
        return tuple((view, what, errors[0]) for (view, _), (what, errors) in said.items())

    # Names

    def names(self, scan: ScanRequest, found: Sequence[tuple[Raw, ...]]) -> Iterator[Asked | str]:
        """Yield what a scan is of: its targets and these names; a text that is no name as it is, once it was told."""
        for name, *rest in [*((target,) for target in scan.targets), *found]:
            text = str(name)
            try:
                yield Asked(text, Reference.parse(text.strip()), str(rest[0]) if rest and rest[0] else None)
            except InvalidReference as error:
                if scan.lookup_fields:
                    continue
                self.problem(error, "names", scan.view)
                yield text

    def repositories(self, refs: Sequence[SourceRef], view: str) -> Iterator[Reference]:
        """Yield the repositories of places in registries, each as the registry's catalog lists it."""
        for ref in refs:
            globs = globs_of(ref)
            for path in self._catalog(ref):
                if not globs or any(fnmatchcase(path, glob) for glob in globs):
                    try:
                        yield Reference.parse(f"{ref.address}/{path}")
                    except InvalidReference as error:
                        self.problem(error, ref.address, view)

    def _catalog(self, ref: SourceRef) -> Iterator[str]:
        """Yield what the catalog lists; of a registry that shows none, the repository that the place may be itself."""
        try:
            yield from self.client.catalog(ref.address)
        except RegistryError as error:
            if error.code != "no-catalog" or not repository_of(ref):
                raise
            yield repository_of(ref)

    # Documents

    def remember(self, fetched: Iterable[tuple[int, Reference, Fetched]]) -> list[tuple[int, Reference, ImqError]]:
        """Remember what names stood for, with the documents; return those that are no documents, and why."""
        failures, read = [], []
        named: list[tuple[Reference, Descriptor]] = []
        for key, reference, one in fetched:
            try:
                document = read_manifest(one.content, one.media_type, f"the manifest of {reference}")
            except ImqError as error:
                failures.append((key, reference, error))
                continue
            read.append((one.digest, len(one.content), document))
            named.append((reference, one.descriptor))
        self.memory.add_documents(read)
        self.memory.add_tags(named, self.clock())
        return failures

    def documents(self, wanted: Sequence[tuple[Reference, Digest]]) -> Iterator[tuple[int, ImqError]]:
        """Fetch the documents of digests, and remember them; yield the place of each that could not be, and why."""
        names = (reference.replace(tag=None, digest=digest) for reference, digest in wanted)
        taken: list[tuple[int, Reference, Fetched]] = []
        for place, fetched in self.many.documents(enumerate(names)):
            if isinstance(fetched, ImqError):
                yield place, fetched
                continue
            reference, digest = wanted[place]
            taken.append((place, reference.replace(tag=None, digest=digest), fetched))
            if len(taken) >= AT_ONCE:
                yield from ((failed, error) for failed, _, error in self.remember(taken))
                taken = []
        yield from ((failed, error) for failed, _, error in self.remember(taken))

    def configs(self, wanted: Sequence[tuple[Reference, Descriptor]]) -> Iterator[tuple[int, ImqError]]:
        """Fetch configs, and remember them; yield the place of each that could not be, and why."""
        from imq.engine.oci.config import Config

        asked = ((place, reference, descriptor) for place, (reference, descriptor) in enumerate(wanted))
        taken: list[tuple[Digest, Config]] = []
        for place, content in self.many.configs(asked):
            if isinstance(content, ImqError):
                yield place, content
                continue
            try:
                taken.append((wanted[place][1].digest, Config.read(content, f"the config of {wanted[place][0]}")))
            except ImqError as error:
                yield place, error
            if len(taken) >= AT_ONCE:
                self.memory.add_configs(taken)
                taken = []
        self.memory.add_configs(taken)


def open_reader(context: SourceContext) -> RegistryReader:
    """Return a reader of registries, with a cache in the store's folder, where one may be made."""
    settings = context.network()

    def report(registry: str, answered: int, left: int) -> None:
        context.progress.count(f"ask {registry}", answered, answered + left)

    client = Client(settings)
    connection = context.store.index.connection
    memory = RegistryCache(connection, context.store.get_cache_layout())
    if settings.mirrors:
        from imq.engine.registry.batch.mirrored_client import MirroredMany

        many: Many = MirroredMany(client, context.progress.warn, settings.requests, report)
    else:
        many = Many(client, settings.requests, report)
    return RegistryReader(client, many, memory, connection, context.platform or host(), context.clock)
