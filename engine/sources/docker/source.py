"""Docker and Podman as a source: the engines that statements name, their tables and their actions."""

from __future__ import annotations

from functools import partial

from imq.engine.query.source import LateTables, SourceRef, StagedTable
from imq.engine.sources.contents import CONTENT_TABLES
from imq.engine.sources.image_names import match_image_name
from imq.engine.sources.reader_source import ReaderSource
from imq.grammar.record import TYPE_CHECKING

from .tables import LEVELS, LISTING_COST, ROWS_OF_CONTAINERS, TABLES, TIME_FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from imq.engine.docker_engine.endpoint import Endpoint
    from imq.engine.query.disk_space import DiskSpace
    from imq.engine.query.source import Place, ScanRequest, TableProvider, TableScan
    from imq.engine.result import Documents
    from imq.engine.sources.action import Action, PlanContext, Planner
    from imq.engine.sources.archives import ImageArchives
    from imq.engine.sources.contents.protocol import LayerContents
    from imq.engine.sources.context import SourceContext
    from imq.grammar import ast

    from .reader import EngineReader
    from .requests import EngineRequests

NAME = "docker"
_NAMES = ("docker", "podman")
_KIND = "a container engine"
_SCHEMES = ("unix://", "tcp://", "ssh://", "docker:", "podman:")
PLANNED_VERBS = (
    "rm", "untag", "prune", "tag", "rename", "pull", "push", "load", "import", "commit", "start", "stop", "restart",
    "kill", "wait", "pause", "unpause", "create", "run", "exec", "recreate",
)  # fmt: skip
"""The verbs that `planners.py` plans."""
_COST = "1 request for each engine"


class DockerSource(ReaderSource):
    """All engines that speak the Docker Engine API. Requests go through one reader, opened by the first scan."""

    name = NAME
    title = "container engines"
    example = "docker"
    has_docker_rules = True
    _reader: EngineReader | None

    def __init__(self, context: SourceContext) -> None:
        super().__init__(context)
        tables: dict[str, TableProvider] = {
            name: StagedTable(
                table.replace(source_kind=_KIND),
                LEVELS.get(name, ()),
                LISTING_COST.get(name, _COST),
                LISTING_COST.get(name, _COST),
                partial(self._scan, name),
                lists_all=True,
                time_field=TIME_FIELDS.get(name, ""),
                holders="containers" if name in ROWS_OF_CONTAINERS else "",
            )
            for name, table in TABLES.items()
        }
        self.tables: Mapping[str, TableProvider] = LateTables(tables, CONTENT_TABLES, self._make_content_provider)
        self.planners: Mapping[str, Planner] = {verb: partial(_plan, verb) for verb in PLANNED_VERBS}
        self.answers = {"inspect": self._inspect}

    def _make_content_provider(self, name: str) -> TableProvider:
        from imq.engine.sources.contents.tables import make_content_provider

        return make_content_provider(name, self._context, self.open_contents, _KIND)

    def open_contents(self) -> LayerContents:
        """Return what reads the layers of the images of an engine."""
        from .contents import EngineContents

        return EngineContents(self.reader())

    @property
    def archives(self) -> ImageArchives:
        """The images of engines as archives."""
        from .archives import EngineArchives

        return EngineArchives()

    def resolve(self, text: str) -> SourceRef | None:
        """Return the engine of `docker`, `podman`, a docker context, or an address."""
        lowered = text.lower()
        if lowered in _NAMES:
            return SourceRef(lowered, NAME, lowered)
        if not lowered.startswith(_SCHEMES):
            if lowered in self._context.configuration.registries:
                return None  # the configuration of imq comes before the contexts of docker: docker:NAME names those
            if not text.replace("-", "").replace("_", "").replace(".", "").isalnum():
                return None
        from imq.engine.docker_engine.endpoint import find_endpoint  # reads the contexts of docker

        endpoint = find_endpoint(text, self._context.environment, self._context.home or "")
        return SourceRef(text, NAME, text) if endpoint is not None else None

    def list_names(self) -> Sequence[str]:
        """Return the names of engines: those that need no configuration, docker contexts and podman connections."""
        from imq.engine.docker_engine.docker_contexts import list_contexts
        from imq.engine.docker_engine.podman_connections import read_connections

        environment, home = self._context.environment, self._context.home or ""
        contexts = (f"docker:{name}" for name in list_contexts(environment, home))
        connections = (f"podman:{name}" for name in sorted(read_connections(environment, home).by_name))
        return (*_NAMES, *contexts, *connections)

    def measure_disk(self, refs: Sequence[str]) -> DiskSpace | None:
        """Return the space of the disk of an engine on this machine; None for several engines and for another one."""
        from .disk import measure_engine_disk

        return measure_engine_disk(self.reader(), refs[0]) if len(refs) == 1 else None

    def match_name(self, text: str) -> ast.Expr:
        """Return the condition for the names or the ID of an image."""
        return match_image_name(text)

    def has_manifest_ids(self, text: str) -> bool | None:
        """Whether an engine is docker with its image store of containerd; None when it does not respond."""
        from imq.grammar.errors import EngineError

        try:
            return self.resolve(text) is not None and self.reader().has_containerd_images(text)
        except EngineError:
            return None

    def spares_any_label(self, text: str) -> bool:
        """Whether an engine is not docker with its older image store; true when it does not respond."""
        from imq.grammar.errors import EngineError

        try:
            return self.has_manifest_ids(text) is not False or self.reader().is_podman(text)
        except EngineError:
            return True

    def list_places(self) -> Sequence[Place]:
        """Return the engines that are configured, or have a socket on this machine."""
        from imq.engine.docker_engine.endpoint import list_endpoints

        from .ping import make_place

        environment = self._context.environment
        return [make_place(one, environment) for one in list_endpoints(environment, self._context.home or "")]

    def find_place(self, ref: SourceRef) -> Place:
        """Return the engine that a reference names."""
        from .ping import make_place

        return make_place(self._find_endpoint(ref.text), self._context.environment)

    def list_defaults(self) -> Sequence[Place]:
        """Return the engines that docker and podman use on this machine."""
        from .ping import make_default

        return [make_default(self._find_endpoint(name), self._context.environment) for name in _NAMES]

    def _find_endpoint(self, name: str) -> Endpoint:
        from imq.engine.docker_engine.endpoint import find_endpoint

        endpoint = find_endpoint(name, self._context.environment, self._context.home or "")
        assert endpoint is not None
        return endpoint

    def create_estimator(self, _now: int, _max_age: int) -> EngineRequests:
        """Return what describes the requests of a statement."""
        from .requests import EngineRequests

        return EngineRequests(self._context.environment, self._context.home or "")

    def reader(self) -> EngineReader:
        """Return the reader of engines."""
        if self._reader is None:
            from .reader import EngineReader

            self._reader = EngineReader(self._context)
        return self._reader

    def _inspect(self, act: ast.ActionStatement, context: PlanContext) -> Documents:
        from .inspect import inspect

        return inspect(self.reader(), act, context)

    def _scan(self, table: str, request: ScanRequest) -> TableScan:
        from .scans import make_scan

        return make_scan(self.reader(), request, table)


def _plan(verb: str, act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    from .planners import PLANNERS

    return PLANNERS[verb](act, context)


open_source = DockerSource
