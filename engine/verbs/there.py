"""Verbs that work on rows of registries: which statements mean those, and what tagging means there."""

from __future__ import annotations

from imq.engine.actions import Action, Copy
from imq.engine.bind import needs_choice
from imq.engine.oci.reference import Reference
from imq.grammar import ast
from imq.grammar.errors import InvalidReference, NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING

from .operands import parsed_name
from .templates import rendered

if TYPE_CHECKING:
    from imq.engine.bound import Select

    from .declaration import Planning


def is_remote(act: ast.Act, planning: Planning) -> bool:
    """Whether an action works on rows of registries."""
    return act.query is not None and planning.bind(act.query).table.remote


def check_whole(act: ast.Act, planning: Planning) -> Select:
    """Return the query of an action on rows of registries, bound; refuse one of anything but whole rows."""
    assert act.query is not None
    select = planning.bind(act.query)
    if not select.whole:
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
