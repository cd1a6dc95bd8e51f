"""The removal of named volumes of the store: those that no container mounts."""

from __future__ import annotations

from imq.engine.query.binder import require_where
from imq.engine.sources.action import Failed, Outcome
from imq.engine.sources.action_options import bind_whole_rows
from imq.grammar import ast
from imq.grammar.record import TYPE_CHECKING, Record

from .container_operands import open_containers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.sources.action import Action, ExecutionContext, PlanContext

VOLUME = "volume"
"""The word before names of volumes: `rm volume data`."""


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


def names_volumes(act: ast.ActionStatement) -> bool:
    """Whether the references of a statement begin with the word `volume`."""
    first = act.references[0] if len(act.references) > 1 else None
    return isinstance(first, ast.Literal) and not first.quoted and first.text.lower() == VOLUME


def is_of_volumes(act: ast.ActionStatement) -> bool:
    """Whether the operands of a statement are volumes: rows of their table, or names after `volume`."""
    query: ast.RowSource | None = act.query
    while isinstance(query, ast.Query) and query.base is not None:
        query = query.base
    return names_volumes(act) if query is None else isinstance(query, ast.Query) and query.table.lower() == "volumes"


def plan_volume_removal(act: ast.ActionStatement, context: PlanContext, *, prunes: bool = False) -> list[Action]:
    """Return the removal of each volume that a statement names or selects.

    One that a container mounts is a failure; with `prunes` it is left out.
    """
    from imq.engine.containers.volumes import no_such_volume, refuse_volume

    names: list[str] = []
    if act.query is None:
        names = context.literals(act.references[1:])
        query = ast.Query("volumes")
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
