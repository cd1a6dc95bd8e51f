"""The embedded store as a source. Its tables are in SQLite already; sizes need layers that were unpacked once."""

from __future__ import annotations

from imq.engine.catalog.schema import FetchLevel
from imq.engine.catalog.tables import BLOBS, CONTAINERS, HISTORY, IMAGES, LAYERS, LOGS, RECLAIM
from imq.engine.catalog.tables.containers import CONTAINER_ROW_RELATIONS
from imq.engine.query.source import LateTables, NativeTable, Place, Source, SourceRef, StagedTable
from imq.engine.sources.contents import CONTENT_TABLES
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from imq.engine.catalog.schema import Table
    from imq.engine.query.disk_space import DiskSpace
    from imq.engine.query.source import Estimator, ScanRequest, TableProvider, TableScan
    from imq.engine.sources.action import Planner
    from imq.engine.sources.contents.container_layer import ContainerLayer
    from imq.engine.sources.contents.protocol import LayerContents
    from imq.engine.sources.context import SourceContext
    from imq.grammar import ast

NAME = "store"
UNPACKED = FetchLevel("unpacked", "the sizes of unpacked layers", "")
"""A pull unpacks layers. After a lazy pull, the first query that reads a size unpacks them."""
_NOTHING = "none: the index knows which images need each blob"
_LISTING = "none: the files of the blobs are listed"
_DOCUMENTS = "none: the indexes and manifests are read"
BLOBS_HERE = FetchLevel("blobs", "whether their blobs are here", "")
"""Listing the files of the store takes longer than the query."""
WRITTEN = FetchLevel("written", "the sizes of what containers wrote", "")
"""Reading the folders of containers takes longer than all other fields of them."""
_CHANGES = "none: the folders of the containers are read"
_DOCUMENTS_OF_CONTAINERS = "none: the documents of the containers are read"
_VOLUMES = "none: the folders of the volumes are listed"
_LOGS = "none: the logs of the containers are read"
_SIZES = {"images": "size shared_size unique_size", "layers": "size", "history": "size"}


class StoreSource(Source):
    """The images of the embedded store."""

    name = NAME
    title = "the store"
    example = "store"

    def __init__(self, context: SourceContext) -> None:
        self._store = context.store
        self._context = context
        tables = (IMAGES, LAYERS, HISTORY, CONTAINERS)
        ready: dict[str, TableProvider] = {table.name: self._make_provider(table) for table in tables}
        ready["blobs"] = StagedTable(BLOBS, (), _LISTING, _LISTING, self._scan_blobs, lists_all=True)
        ready["logs"] = StagedTable(LOGS.replace(source=NAME), (), _LOGS, _LOGS, self._scan_logs, lists_all=True)
        ready["reclaim"] = StagedTable(RECLAIM, (), _NOTHING, _NOTHING, self._scan_reclaim, lists_all=True)
        late = (*CONTENT_TABLES, "platforms", "changes", "mounts", "volumes")
        self.tables: Mapping[str, TableProvider] = LateTables(ready, late, self._make_late_provider)
        self._problems: list[tuple[str, str, ImqError]] = []
        self._changes: dict[str, ContainerLayer] = {}
        self.planners: Mapping[str, Planner] = {}  # the verbs plan for the store themselves

    def _scan_blobs(self, request: ScanRequest) -> TableScan:
        from .blobs import StoreBlobs

        return StoreBlobs(self._store, request)

    def _scan_logs(self, request: ScanRequest) -> TableScan:
        from .logs import StoreLogs

        return StoreLogs(self._store, request)

    def _scan_reclaim(self, request: ScanRequest) -> TableScan:
        from .reclaim import StoreReclaim

        return StoreReclaim(self._store, request)

    def _make_provider(self, table: Table) -> NativeTable:
        if table is CONTAINERS:
            table = table.replace(relations=(*table.relations, *CONTAINER_ROW_RELATIONS))
        levels = (
            {WRITTEN: "size_rw log_size"} if table.name == CONTAINERS.name else {UNPACKED: _SIZES.get(table.name, "")}
        )
        if table is IMAGES:
            levels[BLOBS_HERE] = "complete"
            fields = (field.replace(is_unavailable=field.name == "pinned") for field in table.fields)
            table = table.replace(fields=tuple(fields))
        return NativeTable(table.with_levels(levels).replace(source=NAME), self._prepare, self._describe_pending)

    def _make_late_provider(self, name: str) -> TableProvider:
        if name == "platforms":
            from imq.engine.catalog.tables.registry import PLATFORMS

            table = PLATFORMS.replace(relations=(), source=NAME)
            return StagedTable(table, (), _DOCUMENTS, _DOCUMENTS, self._scan_platforms, lists_all=True)
        if name == "changes":
            from imq.engine.catalog.tables.changes import CHANGES

            return StagedTable(CHANGES.replace(source=NAME), (), _CHANGES, _CHANGES, self._scan_changes, lists_all=True)
        if name == "mounts":
            from imq.engine.catalog.tables.changes import MOUNTS

            listing = _DOCUMENTS_OF_CONTAINERS
            return StagedTable(MOUNTS.replace(source=NAME), (), listing, listing, self._scan_mounts, lists_all=True)
        if name == "volumes":
            from imq.engine.catalog.tables.volumes import VOLUMES

            from .volumes import MEASURED

            table = VOLUMES.with_levels({MEASURED: "size"}).replace(source=NAME)
            return StagedTable(table, (MEASURED,), _VOLUMES, _VOLUMES, self._scan_volumes, lists_all=True)
        from imq.engine.sources.contents.tables import make_content_provider

        return make_content_provider(name, self._context, self.open_contents)

    def _scan_volumes(self, request: ScanRequest) -> TableScan:
        from .volumes import StoreVolumes

        return StoreVolumes(self._store, request, self._context.environment)

    def _scan_mounts(self, request: ScanRequest) -> TableScan:
        from .mounts import StoreMounts

        return StoreMounts(self._store, request, self._context.environment)

    def _scan_changes(self, request: ScanRequest) -> TableScan:
        from .changes import StoreChanges

        return StoreChanges(self._store, request, self._context.environment, self._problems)

    def _scan_platforms(self, request: ScanRequest) -> TableScan:
        from .platforms import open_platforms

        return open_platforms(self._store, request, self._add_problem)

    def _add_problem(self, view: str, subject: str, error: ImqError) -> None:
        self._problems.append((view, subject, error))

    def open_contents(self) -> LayerContents:
        """Return what reads the layers of the images of the store."""
        from .contents import StoreContents

        return StoreContents(self._store, NAME, self._problems, self._changes, self._context.environment)

    def begin(self) -> None:
        """Forget the changes of containers that the last statement read."""
        self._changes.clear()

    def create_estimator(self, _now: int, _max_age: int, /) -> Estimator:
        """Return an estimator of the layers that a statement reads."""
        from imq.engine.sources.contents.estimate import LayerEstimator

        from .contents import StoreContents

        store, environment = self._store, self._context.environment
        return LayerEstimator(self._context, lambda _: StoreContents(store, NAME, [], {}, environment))

    def take_problems(self) -> tuple[tuple[str, str, ImqError], ...]:
        """Return the problems since the last call."""
        problems, self._problems[:] = tuple(self._problems), []
        return problems

    def _prepare(self, level: FetchLevel) -> tuple[ImqError, ...]:
        """Measure what containers wrote, or layers that were never unpacked, or look for blobs.

        Returns the errors of layers.
        """
        if level is BLOBS_HERE:
            self._store.find_absent_blobs()
            return ()
        if level is WRITTEN:
            if self._store.has_containers():
                from imq.engine.containers.factory import make_containers

                make_containers(self._store, "", self._context.environment).measure_all()
            return ()
        from imq.engine.progress import make_item_counter

        report = make_item_counter(self._context.progress, "unpack", len(self._store.list_unmeasured_layers()))
        return self._store.measure_layers(self._context.jobs, on_progress=report)

    def _describe_pending(self, level: FetchLevel) -> str:
        if level is WRITTEN:
            return "read the folders of containers, to measure what they wrote" if self._store.has_containers() else ""
        if level is BLOBS_HERE:
            return "list the blobs of the store, to find missing ones"
        count = len(self._store.list_unmeasured_layers())
        return f"unpack {count} layers of the store that were never unpacked, to measure their sizes" if count else ""

    def resolve(self, text: str) -> SourceRef | None:
        """Resolve `store` to the store."""
        return SourceRef(NAME, NAME) if text.lower() == NAME else None

    def list_names(self) -> Sequence[str]:
        """Return the name of the store."""
        return (NAME,)

    def has_target(self, target: str) -> bool:
        """Whether an image of the store has this name or id."""
        try:
            self._store.find(target)
        except ImqError as problem:
            return problem.code == "unreadable"  # it is here, and an image of another source is another one
        return True

    def measure_disk(self, _refs: Sequence[str]) -> DiskSpace | None:
        """Return the space of the disk of the store."""
        import os

        from imq.engine.query.disk_space import measure_folder

        try:
            return measure_folder(os.path.abspath(self._store.root))
        except OSError:
            return None

    def has_indexes(self) -> bool:
        """Return whether the store has an image of an index."""
        query = "SELECT 1 FROM entry WHERE manifest <> root LIMIT 1"
        return self._store.index.connection.execute(query).fetchone() is not None

    def match_name(self, text: str) -> ast.Expr:
        """Return the condition for the names or the ID of an image."""
        from imq.engine.sources.image_names import match_image_name

        return match_image_name(text)

    def list_places(self) -> Sequence[Place]:
        """Return the store, with its number of images."""
        count = self._store.index.connection.execute("SELECT count(*) FROM images").fetchone()[0]
        return (Place(NAME, "the embedded store", self._store.root, count),)


open_source = StoreSource
