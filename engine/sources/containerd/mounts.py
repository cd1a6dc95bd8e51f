"""The table `mounts` of containerd: what the specifications of containers mount."""

from __future__ import annotations

from imq.engine.sources.mount_rows import MOUNT_COLUMNS
from imq.engine.sources.scan_rows import ScanRows
from imq.grammar.errors import Conflict, EngineError, NotFound
from imq.grammar.record import TYPE_CHECKING

from .containers import list_sources, name_container, show_image
from .specification import list_mounts, parse_specification

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import FetchRequest, ScanRequest

    from .reader import ContainerdReader
    from .uses import ContainerUse


class Mounts(ScanRows):
    """The rows of `mounts`, which the records of containers contain. containerd has no volumes: they are binds."""

    columns = ("_lookup", "source", "container", "container_id", "image", *MOUNT_COLUMNS)

    def __init__(self, reader: ContainerdReader, request: ScanRequest) -> None:
        super().__init__(reader.connection, request)
        self._reader = reader

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """List the mounts of all containers, or those of looked-up or named ones. Raises `ImqError`."""
        self.create({})
        if self.scan.lookup_fields:
            for id_, source in dict.fromkeys(names):
                uses = self._reader.read_containers(str(source))
                self._add(str(source), str(id_), (use for use in uses if use.record.id == id_))
            return
        targets = dict.fromkeys((*self.scan.targets, *(str(name[0]) for name in names)))
        takes_all = not targets and not self.scan.has_target_queries
        missing = dict(targets)
        for source, uses in list_sources(self._reader, self.scan):
            if takes_all:
                self._add(source, None, uses)
            for target in targets:
                use = _find(uses, target)
                if use is not None:
                    self._add(source, target, (use,))
                    missing.pop(target, None)
        for target in missing:
            error = NotFound(f"No such container: {target}", code="no-such-container")
            if len(missing) == 1 and self.scan.targets == (target,) and not names:
                raise error
            self._reader.add_problem(self.scan.view, target, error)

    def fetch(self, _request: FetchRequest, /) -> None:
        """Fetch nothing: the rows are listed whole."""

    def _add(self, source: str, looked_up: str | None, uses: Iterable[ContainerUse]) -> None:
        for use in uses:
            specification, problem = parse_specification(use.record.spec)
            if not specification:
                self._report_unknown(use, problem or "containerd has no specification of it")
                continue
            container = looked_up, source, name_container(use.record), use.record.id, show_image(use)
            self.insert(
                (*container, one.type, one.source, None, one.target, one.read_only, None, one.propagation, None)
                for one in list_mounts(specification)
            )

    def _report_unknown(self, use: ContainerUse, problem: str) -> None:
        """Record that the mounts of a container are unknown.

        It is raised for the rows of a relation: without them a condition such as `no mounts` would hold.
        """
        error = EngineError(
            f"the mounts of {use.record.id} are unknown: {problem}",
            code="unseen",
            hints=("leave out containers that Docker has no record of here: … where status != storage and …",)
            if use.is_storage
            else (),
        )
        if self.scan.lookup_fields:
            raise error
        self._reader.add_problem(self.scan.view, use.record.id, error)


def _find(uses: Sequence[ContainerUse], text: str) -> ContainerUse | None:
    """Return the container with an ID or a name, or the only one whose ID begins with it. Raises `Conflict`."""
    for use in uses:
        if use.record.id == text:
            return use
    named = [use for use in uses if name_container(use.record) == text]
    found = named or [use for use in uses if text and use.record.id.startswith(text)]
    if len(found) > 1:
        what = "the name of several containers" if named else "the beginning of several IDs of containers"
        raise Conflict(f'"{text}" is {what}', code="ambiguous", hints=("use the ID of one of them",))
    return found[0] if found else None
