"""The volumes of engines: the table `volumes`, and the removal of those that no container mounts."""

from __future__ import annotations

from imq.engine.oci.timestamp import parse_time
from imq.engine.query.binder import require_where
from imq.engine.sources.action import BatchedAction, Failed, Outcome
from imq.engine.sources.action_options import bind_whole_rows, list_source_refs
from imq.engine.store.index_rows import to_json
from imq.grammar import ast
from imq.grammar.errors import Conflict, ImqError, NotFound
from imq.grammar.record import TYPE_CHECKING

from .clients import EngineClients
from .container_listing import name_container
from .json_documents import read_integer, read_object, read_objects, read_text
from .table_scan import EngineScan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import FetchRequest
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext

TABLE = "volumes"
_COLUMNS = ("source", "name", "created", "size", "containers", "in_use")


class Volumes(EngineScan):
    """The rows of `volumes`: named ones, and those without a name, whose names are 64 hex digits."""

    columns = ("source", "name", "path", "created", "in_use", "containers")
    fetched_columns = ("size",)
    hidden = ()

    def list_rows(self, _names: Sequence[tuple[Raw, ...]], /) -> None:
        """List the volumes of each engine with the containers that mount them, running or not."""
        self.create({})
        for source, (volumes, users) in self.reader.each_source(self.sources, self._list, self.scan.view):
            self.insert(_make_row(source, volume, users) for volume in volumes)

    def _list(self, source: str) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
        users: dict[str, list[str]] = {}
        for container in self.reader.list_containers(source):
            for mount in read_objects(container.get("Mounts")):
                if (name := read_text(mount.get("Name"))) is not None:
                    users.setdefault(name, []).append(name_container(container))
        document = read_object(self.reader.get_document(source, "volumes"))
        return read_objects(document.get("Volumes")), users

    def fetch(self, _request: FetchRequest, /) -> None:
        """Fetch the sizes that the engines measure. An engine without a size of a volume returns -1 for it."""
        for source, usage in self.fetch_from_engines(lambda one: self.reader.get_disk_usage(one, type="volume")):
            rows = []
            for volume in read_objects(usage.get("Volumes")):
                size = read_integer(read_object(volume.get("UsageData")).get("Size"))
                rows.append((size if size is not None and size >= 0 else None, source, read_text(volume.get("Name"))))
            self.update(("size",), rows, key="name")


def _make_row(source: str, volume: Mapping[str, Any], users: Mapping[str, list[str]]) -> tuple[object, ...]:
    name = read_text(volume.get("Name")) or ""
    own = sorted(set(users.get(name, ())))
    created = parse_time(volume.get("CreatedAt"))
    return source, name, read_text(volume.get("Mountpoint")), created, bool(own), to_json(own), None


class RemoveEngineVolume(BatchedAction):
    """Remove a volume with its files. `created` is when the planned one was created: a new one of its name stays.

    The engine refuses a volume that a container mounts by then.
    """

    source: str
    name: str
    size: int | None = None
    created: int | None = None

    def describe(self) -> Outcome:
        """Return the name and the size."""
        return Outcome("remove", self.name, size=self.size, note=f"volume in {self.source}")

    @staticmethod
    def execute_batch(actions: Sequence[RemoveEngineVolume], context: ExecutionContext) -> Iterator[Outcome]:
        """Remove the volumes one after the other. One that cannot be removed does not stop the others."""
        clients = context.get_shared(EngineClients)
        for number, action in enumerate(actions):
            context.progress.report_items("remove", number, len(actions))
            try:
                client = clients.get(action.source)
                volume = client.get_object(f"volumes/{action.name}")
                if parse_time(volume.get("CreatedAt")) != action.created:
                    raise Conflict(
                        f"{action.name} is another volume since this was planned, so it was left alone",
                        code="changed",
                        hints=("run the statement again",),
                    )
                client.delete_json(f"volumes/{action.name}")
            except ImqError as error:
                yield action.describe().with_error(error)
            else:
                yield action.describe()


def plan_volume_removal(act: ast.ActionStatement, context: PlanContext, *, prunes: bool = False) -> list[Action]:
    """Return the removal of each volume that a statement names or selects.

    One that a container mounts is a failure; with `prunes` it is left out.
    """
    names: list[str] = []
    if act.query is None:
        names = context.literals(act.references[1:])
        refs = list_source_refs(act, context)
        sources = tuple(ast.Literal(ref.text, quoted=True) for ref in refs)
        values = tuple(ast.Literal(name, quoted=True) for name in names)
        query = ast.Query(TABLE, sources=sources, where=ast.In(ast.Field(("name",)), values))
    else:
        bind_whole_rows(act, context)
        if not prunes:
            require_where(act.query, act.verb)
        query = ast.Query("", base=act.query, span=act.query.span)
        if prunes:
            query = query.replace(where=ast.Not(ast.Field(("in_use",))))
    columns = tuple(ast.Column(ast.Field((name,))) for name in _COLUMNS)
    actions: list[Action] = []
    found = set()
    for source, name, created, size, users, in_use in context.rows(query.replace(select=columns), ())[1]:
        found.add(str(name))
        if in_use:
            actions.append(Failed(act.verb, str(name), Conflict(f"the volume {name} is mounted by {_join(users)}")))
            continue
        numbers = (None if value is None else int(value) for value in (size, created))
        actions.append(RemoveEngineVolume(str(source), str(name), *numbers))
    for name in dict.fromkeys(names):
        if name not in found:
            missing = NotFound(f"No such volume: {name}", code="no-such-volume", hints=("volumes lists them",))
            actions.append(Failed(act.verb, name, missing))
    return actions


def _join(users: object) -> str:
    import json

    listed = json.loads(users) if isinstance(users, str) else users
    return ", ".join(map(str, listed)) if isinstance(listed, (list, tuple)) and listed else "a container"
