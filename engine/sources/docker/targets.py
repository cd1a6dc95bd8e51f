"""The images of engines that an action works on: those of a query, or those that references name."""

from __future__ import annotations

from imq.engine.oci.digest import Digest
from imq.engine.sources.action import Failed
from imq.engine.sources.action_options import list_source_refs
from imq.engine.sources.image_names import match_image_name
from imq.engine.sources.row_templates import render_rows
from imq.engine.sources.target_query import check_target_query, make_target_query
from imq.grammar import ast
from imq.grammar.errors import Conflict, EngineError, NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING, Record

from .clients import is_podman
from .container_listing import ACTIVE
from .named_containers import find_container

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.sources.action import Action, PlanContext


class EngineTarget(Record):
    """One name of one image of an engine. `name` is None for an image without one, and for an image named by its ID."""

    source: str
    id: Digest
    name: str | None

    @property
    def digest(self) -> Digest:
        """The ID, which identifies the image in its engine."""
        return self.id

    @property
    def text(self) -> str:
        """The name, or the short ID."""
        return self.name or self.id.short


class EngineImage(Record):
    """An image of an engine: all its names, how many containers use it, and the names of those with processes."""

    names: tuple[str, ...]
    containers: int
    active: tuple[str, ...] = ()


def find_targets(
    act: ast.ActionStatement, context: PlanContext, condition: ast.Expr | None = None
) -> tuple[list[EngineTarget], list[Action]]:
    """Return the targets of an action without duplicates, and a failure for each reference or row without one.

    `condition` holds for all targets. Without an operand these are all such images of the sources.
    """
    query = make_target_query(act, context, condition)
    if query is None:
        return _named_targets(act, context)
    return _query_targets(ast.Query("", base=query, span=query.span), act, context)


def _query_targets(
    query: ast.Query, act: ast.ActionStatement, context: PlanContext
) -> tuple[list[EngineTarget], list[Action]]:
    fields = tuple(ast.Column(ast.Field((name,))) for name in ("source", "id", "name", "problem"))
    targets: list[EngineTarget] = []
    failures: list[Action] = []
    for source, id_, name, problem in context.rows(query.replace(select=fields), ())[1]:
        target = EngineTarget(str(source), Digest(str(id_)), None if name is None else str(name))
        if problem is not None:  # the condition may have read what the engine did not return
            failures.append(Failed(act.verb, target.text, EngineError(str(problem))))
        else:
            targets.append(target)
    return list(dict.fromkeys(targets)), failures


def render_targets(
    act: ast.ActionStatement, template: str, context: PlanContext
) -> tuple[list[tuple[str, EngineTarget]], list[Action]]:
    """Return the rows of an action's query, each with the rendered template, and a failure for each other row."""
    check_target_query(act, context)
    assert act.query is not None
    rendered: list[tuple[str, EngineTarget]] = []
    failures: list[Action] = []
    for (text,), (source, id_, name, problem) in render_rows(
        act.query, (template,), context, ("source", "id", "name", "problem")
    ):
        target = EngineTarget(str(source), Digest(str(id_)), None if name is None else str(name))
        if problem is not None:
            failures.append(Failed(act.verb, target.text, EngineError(str(problem))))
        else:
            rendered.append((text, target))
    return rendered, failures


def _named_targets(act: ast.ActionStatement, context: PlanContext) -> tuple[list[EngineTarget], list[Action]]:
    refs = list_source_refs(act, context)
    targets: list[EngineTarget] = []
    failures: list[Action] = []
    for text, node in zip(context.literals(act.references), act.references, strict=True):
        try:
            found = _find_named(text, [ref.text for ref in refs], context)
        except StatementError as error:
            error.span = error.span or node.span
            raise
        except (Conflict, NotFound, EngineError) as error:
            if (
                act.verb == "rm"
                and isinstance(error, NotFound)
                and any(find_container(ref.text, text, context) for ref in refs)
            ):
                error.hints = (f"a container has this name; to remove it: rm container {text}", *error.hints)
            if len(act.references) == 1:
                raise
            failures.append(Failed(act.verb, text, error))
        else:
            targets += found
    return list(dict.fromkeys(targets)), failures


def _find_named(text: str, sources: Sequence[str], context: PlanContext) -> list[EngineTarget]:
    """Return the image with this name or ID in each of these engines. Raises `NotFound` when none has it.

    As in docker, a name comes before an ID that begins with the same digits. In podman a name without a registry is
    also one of `localhost/`.
    """
    local = f"localhost/{text}" if _lacks_registry(text) else None
    query = ast.Query(
        "images",
        sources=tuple(ast.Literal(source, quoted=True) for source in sources),
        where=match_image_name(text) if local is None else ast.Or((match_image_name(text), match_image_name(local))),
        select=tuple(ast.Column(ast.Field((name,))) for name in ("source", "id", "name")),
    )
    before = len(context.problems)
    rows = [(str(source), str(id_), name) for source, id_, name in context.rows(query, ())[1]]
    targets = []
    for source in sources:
        own = [(id_, name) for place, id_, name in rows if place == source]
        locals_ = [(id_, name) for id_, name in own if local is not None and name and is_name_of(local, str(name))]
        own = [row for row in own if row not in locals_]
        named = [(id_, name) for id_, name in own if name is not None and is_name_of(text, str(name))]
        if locals_ and not named and is_podman(source, context):
            named = locals_
        ids = list(dict.fromkeys(id_ for id_, _ in own))
        if named:
            targets.append(EngineTarget(source, Digest(named[0][0]), str(named[0][1])))
        elif len(ids) == 1:
            targets.append(EngineTarget(source, Digest(ids[0]), None))
        elif ids:
            raise Conflict(
                f"{text} is the beginning of several IDs: {', '.join(Digest(one).short for one in sorted(ids))}",
                code="ambiguous-id",
                hints=("write more digits",),
            )
    if not targets:
        for _, error in context.problems[before:]:
            raise error  # the image may be in the engine that did not respond
        raise NotFound(f"No such image: {text}", code="no-such-image", hints=(f"searched in {', '.join(sources)}",))
    return targets


def _lacks_registry(text: str) -> bool:
    from imq.engine.oci.reference import DEFAULT_REGISTRY, Reference

    if text.startswith("sha256:"):
        return False
    return Reference.parse(text).registry == DEFAULT_REGISTRY and not text.startswith(f"{DEFAULT_REGISTRY}/")


def is_name_of(text: str, name: str) -> bool:
    """Whether a reference of a statement is this name of an image."""
    from imq.engine.oci.reference import Reference

    if text.startswith("sha256:"):
        return False
    return str(Reference.parse(text).with_default_tag()) == name


def read_images(targets: Sequence[EngineTarget], context: PlanContext) -> dict[tuple[str, Digest], EngineImage]:
    """Return the images of targets, with all names and their number of containers, by engine and ID."""
    images: dict[tuple[str, Digest], EngineImage] = {}
    for source in dict.fromkeys(target.source for target in targets):
        ids = tuple(dict.fromkeys(target.id for target in targets if target.source == source))
        query = ast.Query(
            "images",
            sources=(ast.Literal(source, quoted=True),),
            where=ast.In(ast.Field(("id",)), tuple(ast.Literal(str(id_), quoted=True) for id_ in ids)),
            select=tuple(ast.Column(ast.Field((name,))) for name in ("id", "name", "containers")),
        )
        active: dict[str, list[str]] = {}
        for image, name in context.lookup(_active_containers(source), ())[1]:
            active.setdefault(str(image), []).append(str(name))
        rows: dict[Digest, list[tuple[Raw, Raw]]] = {}
        for id_, name, containers in context.lookup(query, ())[1]:
            rows.setdefault(Digest(str(id_)), []).append((name, containers))
        for id_, own in rows.items():
            names = tuple(str(name) for name, _ in own if name is not None)
            images[source, id_] = EngineImage(names, int(own[0][1] or 0), tuple(sorted(active.get(id_, ()))))
    return images


def _active_containers(source: str) -> ast.Query:
    statuses = tuple(ast.Literal(status, quoted=True) for status in ACTIVE)
    return ast.Query(
        "containers",
        sources=(ast.Literal(source, quoted=True),),
        where=ast.In(ast.Field(("status",)), statuses),
        select=tuple(ast.Column(ast.Field((name,))) for name in ("image_id", "name")),
    )
