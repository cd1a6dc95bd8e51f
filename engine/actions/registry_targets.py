"""Verbs that work on rows of registries: which statements mean those, and what tagging means there."""

from __future__ import annotations

from imq.engine.oci.digest import Digest
from imq.engine.oci.reference import Reference
from imq.engine.query.binder import needs_choice
from imq.grammar import ast
from imq.grammar.errors import InvalidReference, NotFound, RegistryError, StatementError
from imq.grammar.record import TYPE_CHECKING

from .base import Action, Copy, Fail, Join, VerifyThere
from .operands import option_texts, parsed_name
from .row_templates import rendered
from .verb import Takes, Verb

if TYPE_CHECKING:
    from imq.engine.query.ir import Select

    from .verb import Planning


def is_remote(act: ast.Act, planning: Planning) -> bool:
    """Whether an action works on rows of registries."""
    return act.query is not None and planning.bind(act.query).table.is_staged


def check_whole(act: ast.Act, planning: Planning) -> Select:
    """Return the query of an action on rows of registries, bound; refuse one of anything but whole rows."""
    assert act.query is not None
    select = planning.bind(act.query)
    if not select.is_whole_rows:
        raise StatementError(
            f"{act.verb} takes whole rows: leave out group by, select and count", code="operand", span=act.query.span
        )
    return select


def tags_there(act: ast.Act, template: str, planning: Planning) -> list[Action]:
    """Return what gives each row of a query of tags a further name, in registries."""
    query = act.query
    assert query is not None
    select = check_whole(act, planning)
    if select.table.name not in ("tags", "images"):
        raise StatementError(f"{act.verb} takes tags, not {select.table.name}", code="operand", span=query.span)
    needs_choice(query, act.verb)
    made = rendered(query, [template], planning, ("name",))
    taken: dict[Reference, Action] = {}
    for (text,), (name,) in made:
        target, source = parsed_name(text), Reference.parse(str(name))
        before = taken.setdefault(target, Copy(source, target))
        if before != Copy(source, target):
            raise StatementError(
                f"several images would be called {target}", code="operand", span=act.span, hints=("use {{.Tag}} in it",)
            )
    return list(taken.values())


def tag_there(act: ast.Act, name: str, planning: Planning) -> Action | None:
    """Return what gives an image of a registry a further name there; None when an image of the store is meant.

    That is so when the store has none of this name, and both names are of one registry, which they say.
    """
    if len(act.references) != 1:
        return None
    (text,) = planning.literals(act.references)
    try:
        planning.store.find(text)
    except NotFound:
        pass
    else:
        return None
    try:
        source, target = Reference.parse(text).with_default_tag(), parsed_name(name)
    except (InvalidReference, StatementError):
        return None
    said = text.startswith(source.registry + "/") and name.startswith(target.registry + "/")
    return Copy(source, target) if said and source.registry == target.registry else None


def verified_there(act: ast.Act, planning: Planning) -> list[Action]:
    """Return what verifies each tag of a query of tags, in its registry."""
    assert act.query is not None
    check_whole(act, planning)
    actions: list[Action] = []
    for name, digest, problem in _digests(act.query, planning):
        if problem or digest is None:
            failed = RegistryError(problem or f"{name} has no digest", code="unanswered")
            actions.append(Fail(act.verb, name, failed))
        else:
            try:
                actions.append(VerifyThere(Reference.parse(name), Digest(digest)))
            except InvalidReference as error:  # a registry may list what is no tag
                actions.append(Fail(act.verb, name, error))
    return actions


def _plan_index(act: ast.Act, planning: Planning) -> list[Action]:
    names = option_texts(act, "as", planning)
    if len(names) != 1:
        raise StatementError(
            "index needs one name for what it makes", code="operand", span=act.span, hints=(f"such as: {_EXAMPLE}",)
        )
    made = parsed_name(names[0])
    query = act.query or ast.Query("tags", tuple(_tagged(act, planning)), span=act.span)
    if not planning.bind(query).table.is_staged:
        raise StatementError(
            "index takes images of registries", code="operand", span=query.span, hints=(f"such as: {_EXAMPLE}",)
        )
    parts = []
    for name, digest, problem in _digests(query, planning):
        if problem or digest is None:
            raise RegistryError(problem or f"{name} has no digest", code="unanswered")
        parts.append((Reference.parse(name), Digest(digest)))
    if not parts:
        raise StatementError("no image matches, so no index is made", code="nothing", span=query.span)
    return [Join(made, tuple(parts))]


def _tagged(act: ast.Act, planning: Planning) -> list[ast.Literal]:
    """Return the names that an action is given, each with its tag."""
    named = zip(planning.literals(act.references), act.references, strict=True)
    return [ast.Literal(str(Reference.parse(text).with_default_tag()), span=node.span) for text, node in named]


def _digests(query: ast.Rows, planning: Planning) -> list[tuple[str, str | None, str | None]]:
    """Return the name of each row of a query of tags, what it stands for, and what could not be told of it."""
    columns = tuple(ast.Column(ast.Field((name,))) for name in ("name", "digest", "problem"))
    _, rows = planning.rows(ast.Query("", base=query, select=columns, span=query.span), ())
    return [
        (str(name), None if digest is None else str(digest), None if problem is None else str(problem))
        for name, digest, problem in rows
    ]


_EXAMPLE = "index tags of registry.local:5000/team/app where tag like v1-* as registry.local:5000/team/app:v1"

VERBS = (
    Verb(
        "index",
        "Make one image for several platforms, in a registry, of images that are there.",
        _EXAMPLE,
        Takes.NAMES,
        options=("as", "dry run"),
        plan=_plan_index,
    ),
)
