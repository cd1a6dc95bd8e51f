"""Registries as a source: the hosts that statements name, and the tables that registries serve."""

from __future__ import annotations

from imq.engine.oci.reference import DEFAULT_NAMESPACE, DEFAULT_REGISTRY
from imq.engine.query.source import LateTables, Place, SourceRef, StagedTable
from imq.engine.sources.contents import CONTENT_TABLES
from imq.engine.sources.reader_source import ReaderSource
from imq.grammar.errors import InvalidReference, StatementError
from imq.grammar.record import TYPE_CHECKING

from .refs import is_host, normalize_host
from .tables import LISTING_COST, TABLES, TAGS_LISTING_COST, TARGETLESS_TABLES, list_levels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from imq.engine.query.source import Estimator, ScanRequest, TableProvider, TableScan
    from imq.engine.sources.action import Action, PlanContext, Planner
    from imq.engine.sources.contents.protocol import LayerContents
    from imq.engine.sources.context import SourceContext
    from imq.grammar import ast

    from .reader import RegistryReader

NAME = "registry"
_KIND = "a registry"


class RegistrySource(ReaderSource):
    """All registries. The first scan opens one reader, which sends all requests."""

    name = NAME
    title = "registries"
    example = "registry.local:5000"
    _reader: RegistryReader | None

    def __init__(self, context: SourceContext) -> None:
        super().__init__(context)
        self._hosts = {one.name: one.prefix for one in context.configuration.registries.values()}
        tables: dict[str, TableProvider] = {
            name: StagedTable(
                table.replace(source_kind=_KIND),
                list_levels(table),
                LISTING_COST.get(name, TAGS_LISTING_COST),
                LISTING_COST.get(name, "1 request for each"),
                self._scan,
                name in TARGETLESS_TABLES,
            )
            for name, table in TABLES.items()
        }
        self.tables: Mapping[str, TableProvider] = LateTables(tables, CONTENT_TABLES, self._make_content_provider)
        self.planners: Mapping[str, Planner] = {
            "rm": _plan_removal,
            "prune": _refuse_prune,
            "untag": _plan_removal,
            "tag": _plan_tag,
            "verify": _plan_verify,
            "index": _plan_index,
            "change": _plan_change,
            "append": _plan_append,
        }

    def resolve(self, text: str) -> SourceRef | None:
        """Resolve a host, `HOST/GLOB`, or the name of a configured registry."""
        first, _, pattern = text.partition("/")
        if "%" in pattern:
            raise StatementError(
                f'invalid repository pattern "{text}": the wildcard is "*", not "%"',
                code="glob",
                hints=(f"in {text.replace('%', '*')}",),
            )
        configured = next((host for name, host in self._hosts.items() if name.lower() == first.lower()), None)
        if configured is not None:
            host, _, namespace = configured.partition("/")
            pattern = "/".join(part for part in (namespace, pattern) if part)
            return SourceRef(text, NAME, normalize_host(host), pattern)
        if not is_host(first):
            return None
        registry = normalize_host(first)
        if registry == DEFAULT_REGISTRY and pattern and "/" not in pattern:
            pattern = DEFAULT_NAMESPACE + pattern
        if pattern != pattern.lower():
            raise InvalidReference(
                f"invalid repository {text!r}: repository names are lower case",
                hints=(f"did you mean {text.replace(pattern, pattern.lower())}?",),
            )
        return SourceRef(text, NAME, registry, pattern.rstrip("/"))

    def list_names(self) -> Sequence[str]:
        """Return the configured names of registries."""
        return tuple(self._hosts)

    def has_target(self, target: str) -> bool:
        """Whether a name includes its registry's host."""
        host, _, path = target.partition("/")
        return bool(path) and is_host(host)

    def list_places(self) -> Sequence[Place]:
        """Return the configured registries."""
        return [self._make_place(one.name, one.prefix) for one in self._context.configuration.registries.values()]

    def find_place(self, ref: SourceRef) -> Place:
        """Return the registry that a reference names."""
        return self._make_place(ref.text, f"{ref.address}/{ref.pattern}" if ref.pattern else ref.address)

    def _make_place(self, name: str, prefix: str) -> Place:
        settings = self._context.network()

        def request() -> None:
            from .ping import ping_host  # requests is heavy

            ping_host(prefix.partition("/")[0], settings)

        return Place(name, "a registry", prefix, request=request)

    def create_estimator(self, now: int, max_age: int) -> Estimator | None:
        """Return an estimator of requests, which reads the registry cache."""
        from .estimate import RequestEstimator

        return RequestEstimator.of(self._context, now, max_age)

    def _make_content_provider(self, name: str) -> TableProvider:
        from imq.engine.sources.contents.tables import make_content_provider

        return make_content_provider(name, self._context, self.open_contents, _KIND, lists_all=False)

    def open_contents(self) -> LayerContents:
        """Return what reads the layers of the images of registries."""
        from .contents import RegistryContents

        return RegistryContents(self._open_reader())

    def _scan(self, request: ScanRequest) -> TableScan:
        from .scans import open_scan  # requests is heavy

        reader = self._open_reader()
        reader.fresh_nanoseconds = request.max_age
        return open_scan(reader, request)

    def _open_reader(self) -> RegistryReader:
        connection = self._context.store.index.connection
        if self._reader is not None and self._reader.connection is not connection:
            self.close()
        if self._reader is None:
            from .reader import open_reader

            self._reader = open_reader(self._context)
        catalogue = self._context.catalogue
        self._reader.shared = catalogue.documents if catalogue is not None else None
        return self._reader


# These functions import the actions, and so the registry client, only when a statement needs them.


def _refuse_prune(act: ast.ActionStatement, _context: PlanContext) -> list[Action]:
    raise StatementError(
        "prune does not work in registries: they do not know whether an image is needed",
        code="operand",
        span=act.query.span if act.query is not None else act.span,
        hints=("to remove tags there: rm tags of REPOSITORY where …",),
    )


def _plan_removal(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    from .plan_removal import plan_removal

    return plan_removal(act, context)


def _plan_tag(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    from .copy import plan_tag

    return plan_tag(act, context)


def _plan_verify(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    from .verify import plan_verify

    return plan_verify(act, context)


def _plan_change(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    from .change import plan_change

    return plan_change(act, context)


def _plan_append(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    from .append import plan_append

    return plan_append(act, context)


def _plan_index(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    from .create_index import plan_index

    return plan_index(act, context)


open_source = RegistrySource
