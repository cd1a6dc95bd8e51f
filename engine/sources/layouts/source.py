"""Places on disk as a source: OCI layouts, archives of OCI and docker, and folders of skopeo's dir transport."""

from __future__ import annotations

import os
from functools import partial

from imq.engine.catalog.tables import BLOBS
from imq.engine.query import source as query_source
from imq.engine.query.source import LateTables, Source, SourceRef, StagedTable
from imq.engine.query.unavailable_fields import check_known
from imq.engine.sources.contents import CONTENT_TABLES
from imq.engine.sources.image_names import match_image_name
from imq.engine.units.paths import match_paths
from imq.grammar.errors import NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING

from .place_reader import PlaceReader
from .places import LAYOUT_KIND, STORAGE, STORAGE_KIND
from .tables import LEVELS, make_platforms_table, make_tables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from imq.engine.query.source import Estimator, ScanRequest, TableProvider, TableScan
    from imq.engine.result import Documents
    from imq.engine.sources.action import Action, PlanContext, Planner
    from imq.engine.sources.contents.protocol import LayerContents
    from imq.engine.sources.context import SourceContext
    from imq.grammar import ast
    from imq.grammar.errors import ImqError

    from .places import Place

NAME = "layouts"
_UNSEEN = ("in_use", "containers", "last_used", "complete", "pinned", "store_path")
_LISTING = "none: its lists and documents are read"
_HINTS = {
    STORAGE_KIND: "podman rmi, podman untag and podman tag do",
    "": "copy the images to keep to a new one: copy images in PLACE where … to oci:DIR",
}


class LayoutsSource(Source):
    """The places that statements name. Each is read once in a statement; nothing is written there."""

    name = NAME
    title = "image layouts and archives"
    example = "oci:DIR"
    kind = LAYOUT_KIND
    unseen: tuple[str, ...] = _UNSEEN

    def __init__(self, context: SourceContext) -> None:
        self._context = context
        self.reader = PlaceReader(context)
        tables: dict[str, TableProvider] = {
            name: StagedTable(table, LEVELS[name], _LISTING, _LISTING, self._scan, lists_all=True)
            for name, table in make_tables(self.kind, self.unseen).items()
        }
        if self.kind == LAYOUT_KIND:
            tables["blobs"] = StagedTable(BLOBS, (), _LISTING, _LISTING, self._scan_blobs, lists_all=True)
        late = (*CONTENT_TABLES, "platforms") if self.kind == LAYOUT_KIND else CONTENT_TABLES
        self.tables: Mapping[str, TableProvider] = LateTables(tables, late, self._make_late_provider)
        self.planners: dict[str, Planner] = {
            verb: partial(_refuse_change, self.kind) for verb in ("rm", "untag", "prune", "tag")
        }
        self.planners["verify"] = self._plan_verify
        self.answers = {"inspect": self._inspect}

    def _inspect(self, act: ast.ActionStatement, context: PlanContext) -> Documents:
        from .inspect import inspect

        return inspect(self.reader, act, context)

    def _plan_verify(self, act: ast.ActionStatement, context: PlanContext) -> list[Action]:
        from .verify import plan_verify

        return plan_verify(self.reader, act, context)

    def _make_late_provider(self, name: str) -> TableProvider:
        if name == "platforms":
            table = make_platforms_table(self.kind)
            return StagedTable(table, (), _LISTING, _LISTING, self._scan_platforms, lists_all=True)
        from imq.engine.sources.contents.tables import make_content_provider

        return make_content_provider(name, self._context, self.open_contents, self.kind)

    def open_contents(self) -> LayerContents:
        """Return what reads the layers of the images of a place."""
        from imq.engine.oci.platform import host_platform

        from .contents import PlaceContents

        return PlaceContents(self.reader, self._context.platform or host_platform())

    def create_estimator(self, _now: int, _max_age: int, /) -> Estimator | None:
        """Return an estimator of the layers of folders: the list of a compressed archive costs a pass over it."""
        if self.kind != LAYOUT_KIND:
            return None
        from imq.engine.oci.platform import host_platform
        from imq.engine.sources.contents.estimate import LayerEstimator

        from .contents import PlaceContents

        platform = self._context.platform or host_platform()

        def open_contents(request: ScanRequest) -> PlaceContents | None:
            is_free = bool(request.refs) and all(os.path.isdir(ref.address) for ref in request.refs)
            return PlaceContents(PlaceReader(self._context), platform) if is_free else None

        return LayerEstimator(self._context, open_contents)

    def begin(self) -> None:
        """Forget what earlier statements read."""
        self.reader.begin()

    def resolve(self, text: str) -> SourceRef | None:
        """Return the place that a string names by its prefix, or as a path."""
        place = self.reader.parse(text)
        return SourceRef(text, self.name, place.path) if place is not None and self.serves(place) else None

    def expand(self, ref: SourceRef, /) -> Sequence[SourceRef]:
        """Return the places that match a pattern: `in "backups/*.tar"`. A file with exactly this name is one place."""
        paths = match_paths(ref.address)
        if paths == [ref.address]:
            return (ref,)
        texts = self.reader.name_matches(ref.text, paths)
        return [SourceRef(text, self.name, path) for text, path in zip(texts, paths, strict=True)]

    def serves(self, place: Place) -> bool:
        """Whether a place is of this source."""
        return place.kind != STORAGE

    def find_place(self, ref: SourceRef) -> query_source.Place:
        """Return the layout or archive that a reference names."""

        def request() -> None:
            if not os.path.exists(ref.address):
                raise NotFound(f"no such file: {ref.address}")

        return query_source.Place(ref.text, self.kind, ref.address, request=request)

    def match_name(self, text: str, /) -> ast.Expr:
        """Return the condition for the names or the ID of an image."""
        return match_image_name(text)

    def take_problems(self) -> tuple[tuple[str, str, ImqError], ...]:
        """Return the problems since the last call."""
        return self.reader.take_problems()

    def close(self) -> None:
        """Forget what was read."""
        self.reader.begin()

    def _scan(self, request: ScanRequest) -> TableScan:
        from .scan import PlaceScan

        return PlaceScan(self.reader, request)

    def _scan_platforms(self, request: ScanRequest) -> TableScan:
        from imq.engine.sources.platform_rows import PlatformScan

        reader = self.reader
        return PlatformScan(reader.connection, request, reader.read_platforms, reader.add_problem)

    def _scan_blobs(self, request: ScanRequest) -> TableScan:
        from imq.engine.sources.blob_rows import BlobScan

        reader = self.reader
        return BlobScan(reader.connection, request, reader.read_blobs, reader.add_problem)


def _refuse_change(kind: str, act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Refuse to change a place, and first of all a condition by which nothing may ever be removed there."""
    if act.query is not None:
        check_known(context.bind(act.query), act.verb, act.query.span)
    raise StatementError(
        f"{act.verb} does not change {kind}: imq only reads and writes images there",
        code="operand",
        span=act.query.span if act.query is not None else act.span,
        hints=(_HINTS.get(kind, _HINTS[""]),),
    )


open_source = LayoutsSource
