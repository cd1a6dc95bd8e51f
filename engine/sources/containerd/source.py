"""containerd as a source: the namespaces that statements name, their tables, and what is done in them."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from functools import partial

from imq.engine.query.source import LateTables, SourceRef, StagedTable
from imq.engine.sources.contents import CONTENT_TABLES
from imq.engine.sources.image_names import match_image_name
from imq.engine.sources.reader_source import ReaderSource
from imq.grammar.errors import NotFound
from imq.grammar.record import TYPE_CHECKING

from .names import KUBERNETES, NAME, find_address, parse_name
from .tables import KIND, LEVELS, LISTING, LISTING_REQUESTS, TABLES, make_mounts_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from imq.engine.query.source import Place, ScanRequest, TableProvider, TableScan
    from imq.engine.result import Documents
    from imq.engine.sources.action import Action, PlanContext, Planner
    from imq.engine.sources.archives import ImageArchives
    from imq.engine.sources.contents.protocol import LayerContents
    from imq.engine.sources.context import SourceContext
    from imq.grammar import ast

    from .reader import ContainerdReader

PLANNED_VERBS = ("rm", "untag", "prune", "tag", "rename", "pull", "push", "load")
"""The verbs that `planners.py` plans."""


class ContainerdSource(ReaderSource):
    """The namespaces of the containerd on this machine. Requests go through one reader, opened by the first scan."""

    name = NAME
    title = "namespaces of containerd"
    example = "containerd"
    uncounted = "the sizes of images are those of their snapshots, and their removal frees blobs too"
    _reader: ContainerdReader | None

    def __init__(self, context: SourceContext) -> None:
        super().__init__(context)
        tables: dict[str, TableProvider] = {
            name: StagedTable(
                table,
                LEVELS[name],
                LISTING_REQUESTS.get(name, LISTING),
                LISTING_REQUESTS.get(name, LISTING),
                partial(self._scan, name),
                lists_all=True,
            )
            for name, table in TABLES.items()
        }
        self.tables: Mapping[str, TableProvider] = LateTables(
            tables, (*CONTENT_TABLES, "platforms", "mounts"), self._make_late_provider
        )
        self.planners: Mapping[str, Planner] = {verb: partial(_plan, verb) for verb in PLANNED_VERBS}
        self.answers = {"inspect": _inspect}

    def _make_late_provider(self, name: str) -> TableProvider:
        scan = partial(self._scan, name)
        if name == "platforms":
            from imq.engine.sources.layouts.tables import make_platforms_table

            return StagedTable(make_platforms_table(KIND), (), LISTING, LISTING, scan, lists_all=True)
        if name == "mounts":
            listing = LISTING_REQUESTS[name]
            return StagedTable(make_mounts_table(), (), listing, listing, scan, lists_all=True)
        from imq.engine.sources.contents.tables import make_content_provider

        return make_content_provider(name, self._context, self.open_contents, KIND)

    def open_contents(self) -> LayerContents:
        """Return what reads the layers of the images of a namespace."""
        from .contents import NamespaceContents

        return NamespaceContents(self.reader, self.reader.platform)

    def resolve(self, text: str, /) -> SourceRef | None:
        """Return the namespace of `containerd`, `containerd:NAMESPACE` or `containerd:*`."""
        namespace = parse_name(text, self._context.environment)
        if namespace is None:
            return None
        prefix, colon, _ = text.partition(":")
        name = f"{prefix.lower()}{colon}{namespace if colon else ''}"
        return SourceRef(name, NAME, find_address(self._context.environment), namespace)

    def list_names(self) -> Sequence[str]:
        """Return the name that needs no namespace."""
        return (NAME,)

    @contextmanager
    def pause_container(self, text: str, id_: str, /) -> Iterator[None]:
        """Pause a container of a namespace during a block, if it runs. Raises `ImqError`."""
        client, namespace = self.reader.client, self.reader.get_namespace(text)
        task = client.list_tasks(namespace).get(id_)
        if task is None or task.status != "running":
            yield
            return
        client.pause_task(namespace, id_)
        try:
            yield
        finally:
            with suppress(NotFound):  # it was killed meanwhile
                client.resume_task(namespace, id_)

    def match_name(self, text: str, /) -> ast.Expr:
        """Return the condition for the names or the ID of an image."""
        return match_image_name(text)

    def list_places(self) -> Sequence[Place]:
        """Return the containerd whose socket is on this machine."""
        from .ping import make_place

        environment = self._context.environment
        address = find_address(environment)
        if not os.path.exists(address) and not environment.get("CONTAINERD_ADDRESS"):
            return ()
        return (make_place(address),)

    def find_place(self, ref: SourceRef, /) -> Place:
        """Return the namespace that a reference names."""
        from .ping import make_namespace_place

        return make_namespace_place(ref.text, ref.pattern, ref.address)

    def list_defaults(self) -> Sequence[Place]:
        """Return the namespaces of ctr and of Kubernetes, when the socket of containerd is on this machine."""
        address = find_address(self._context.environment)
        if not os.path.exists(address):
            return ()
        from .ping import make_default

        names = [NAME, f"{NAME}:{KUBERNETES}"] if os.access(address, os.W_OK) else [NAME]
        return [make_default(name, parse_name(name, self._context.environment) or "", address) for name in names]

    @property
    def archives(self) -> ImageArchives:
        """The images of namespaces as archives."""
        from .archives import NamespaceArchives

        return NamespaceArchives()

    @property
    def reader(self) -> ContainerdReader:
        """The reader of namespaces."""
        if self._reader is None:
            from .reader import ContainerdReader

            self._reader = ContainerdReader(self._context)
        return self._reader

    def _scan(self, table: str, request: ScanRequest) -> TableScan:
        if table == "containers":
            from .containers import Containers

            return Containers(self.reader, request)
        if table == "mounts":
            from .mounts import Mounts

            return Mounts(self.reader, request)
        if table == "platforms":
            from .platforms import open_platforms

            return open_platforms(self.reader, request)
        if table == "usage":
            from .usage import Usage

            return Usage(self.reader, request)
        if table == "blobs":
            from .blobs import open_blobs

            return open_blobs(self.reader, request)
        if table == "reclaim":
            from .reclaim import NamespaceReclaim

            return NamespaceReclaim(self.reader, request)
        from .scan import NamespaceScan

        return NamespaceScan(self.reader, request)


def _plan(verb: str, act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    from .planners import PLANNERS

    return PLANNERS[verb](act, context)


def _inspect(act: ast.ActionStatement, context: PlanContext) -> Documents:
    from .inspect import inspect

    return inspect(act, context)


open_source = ContainerdSource
