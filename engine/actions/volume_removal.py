"""The removal of named volumes of the store: those that no container mounts."""

from __future__ import annotations

from functools import partial

from imq.engine.query.binder import require_where
from imq.engine.sources.action import Failed, Outcome
from imq.engine.sources.action_options import bind_whole_rows, list_source_refs, names_volumes
from imq.engine.sources.store.source import NAME as STORE
from imq.grammar import ast
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING, Record

from .container_operands import find_container_planner, open_containers
from .operands import plan_by_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.sources.action import Action, ExecutionContext, PlanContext


class RemoveVolume(Record):
    """Remove a volume with its files, unless a container mounts it by then."""

    name: str
    size: int | None = None

    def describe(self) -> Outcome:
        """Return the name and the size."""
        return Outcome("remove", self.name, size=self.size, note="volume")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Remove the volume. Raises `Conflict` (`in-use`), and `NotFound` when it was removed meanwhile."""
        freed = context.get_shared(open_containers).remove_volume(self.name)
        yield self.describe().replace(size=freed)


def is_of_volumes(act: ast.ActionStatement) -> bool:
    """Whether the operands of a statement are volumes: rows of their table, or names after `volume`."""
    query: ast.RowSource | None = act.query
    while isinstance(query, ast.Query) and query.base is not None:
        query = query.base
    return names_volumes(act) if query is None else isinstance(query, ast.Query) and query.table.lower() == "volumes"


def plan_volume_removal(act: ast.ActionStatement, context: PlanContext, *, prunes: bool = False) -> list[Action]:
    """Return the removal of each volume that a statement names or selects, in the store and in engines."""
    own = partial(_plan_in_store, prunes=prunes)
    if act.query is None:
        for ref in list_source_refs(act, context):
            if "volumes" not in context.sources[ref.source].tables:  # its planner would take the names for images
                raise StatementError(f"{ref.text} has no volumes", code="operand", span=act.span)
        planner = find_container_planner(act, context) or own
        return planner(act, context)
    if set(context.scope.fetch.list_sources(context.bind(act.query).table)) <= {STORE}:
        return own(act, context)
    return plan_by_source(act, own, context, needs_where=not prunes)


def _plan_in_store(act: ast.ActionStatement, context: PlanContext, *, prunes: bool) -> list[Action]:
    """Return the removal of each volume of the store that a statement names or selects.

    One that a container mounts is a failure; with `prunes` it is left out.
    """
    from imq.engine.containers.volumes import no_such_volume, refuse_volume

    names: list[str] = []
    if act.query is None:
        names = context.literals(act.references[1:])
        query = ast.Query("volumes", sources=(ast.Literal(STORE),))
    else:
        bind_whole_rows(act, context)
        if not prunes:
            require_where(act.query, act.verb)
        query = ast.Query("", base=act.query, span=act.query.span)
    columns = tuple(ast.Column(ast.Field((field,))) for field in ("name", "size", "containers"))
    rows = {str(name): (size, users) for name, size, users in context.rows(query.replace(select=columns), ())[1]}
    actions: list[Action] = []
    for name in dict.fromkeys(names) if act.query is None else rows:
        if name not in rows:
            actions.append(Failed(act.verb, name, no_such_volume(name)))
            continue
        size, users = rows[name]
        if not (used := _read_list(users)):
            actions.append(RemoveVolume(name, int(size) if isinstance(size, int) else None))
        elif not prunes:
            actions.append(Failed(act.verb, name, refuse_volume(name, used)))
    return actions


def _read_list(value: object) -> list[str]:
    import json

    names = json.loads(value) if isinstance(value, str) else value
    return [str(name) for name in names] if isinstance(names, (list, tuple)) else []
