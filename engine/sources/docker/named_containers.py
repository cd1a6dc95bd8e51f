"""Containers of engines that statements name, by their names or the beginnings of their IDs."""

from __future__ import annotations

from imq.engine.sources.action_options import list_container_names, list_source_refs
from imq.grammar import ast
from imq.grammar.errors import Conflict, NotFound
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.sources.action import PlanContext


def find_container(source: str, text: str, context: PlanContext) -> list[tuple[str, str]]:
    """Return the ID and the name of the container that a name or the beginning of an ID means; as docker, name first.

    Raises `Conflict` for the beginning of several IDs.
    """
    query = ast.Query(
        "containers",
        sources=(ast.Literal(source, quoted=True),),
        select=tuple(ast.Column(ast.Field((field,))) for field in ("id", "name")),
    )
    rows = [(str(id_), str(name)) for id_, name in context.lookup(query, ())[1]]
    named = [row for row in rows if row[1] == text.removeprefix("/") or row[0] == text]
    if named:
        return named[:1]
    found = [row for row in rows if row[0].startswith(text)]
    if len(found) > 1:
        raise Conflict(f"{text} is the beginning of several IDs of containers", code="ambiguous-id")
    return found


def find_containers(
    node: ast.Literal | ast.Variable, text: str, sources: Sequence[str], context: PlanContext
) -> list[tuple[str, str, str]]:
    """Return the source, the ID and the name of the container that `text` means in each engine that has it.

    Raises `NotFound` at `node` when none has it, and `Conflict` for the beginning of several IDs.
    """
    found = [(source, *row) for source in sources for row in find_container(source, text, context)]
    if not found:
        raise NotFound(
            f"No such container: {text}",
            code="no-such-container",
            span=node.span,
            hints=(f"searched in {', '.join(sources)}",),
        )
    return found


def select_containers(act: ast.ActionStatement, context: PlanContext) -> ast.Query:
    """Return the query of the containers that references name, after the word `container`. Raises `NotFound`."""
    sources = tuple(ref.text for ref in list_source_refs(act, context))
    ids: list[ast.Expr] = []
    for text in context.literals(list_container_names(act)):
        found = [id_ for source in sources for id_, _ in find_container(source, text, context)]
        if not found:
            raise NotFound(f"No such container: {text}", code="no-such-container", span=act.span)
        ids += [ast.Comparison("=", ast.Field(("id",)), ast.Literal(id_, quoted=True)) for id_ in found]
    places = tuple(ast.Literal(source, quoted=True) for source in sources)
    where = ids[0] if len(ids) == 1 else ast.Or(tuple(ids))
    return ast.Query("containers", sources=places, where=where, span=act.span)
