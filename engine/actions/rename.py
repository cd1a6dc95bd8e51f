"""The verb `rename`: gives images another name and removes the old one."""

from __future__ import annotations

from imq.engine.oci.reference import Reference
from imq.engine.sources.action_options import parse_tag_name
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .operands import resolve_targets
from .tag import get_new_names, names_by_template, plan_tag
from .untag import Untag
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from imq.engine.sources.action import Action, PlanContext
    from imq.grammar import ast


def _plan_rename(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    names, act = get_new_names(
        act, context, "rename needs a new name", 'rename images where repository = old as "new:{{.Tag}}"'
    )
    if act.query is not None:
        named = names_by_template(act, names[0], context)
    else:
        found = resolve_targets(act, context)
        if len(found) != 1:
            raise StatementError("one image can be given one name", code="operand", span=act.span)
        named = [(parse_tag_name(names[0]), found[0])]
    actions: list[Action] = []
    new_names = {str(name) for name, _ in named}
    renamed: dict[Reference, str | None] = {}
    for name, target in named:
        if (other := renamed.setdefault(name, target.name)) != target.name:
            raise StatementError(
                f"both {other} and {target.name} would be renamed to {name}, and one of the names would be lost",
                code="ambiguous-name",
                span=act.span,
                hints=("put something into it that differs, such as {{.Tag}}", "to take a name away: untag NAME"),
            )
        if str(name) == target.name:
            continue
        actions.append(plan_tag(name, target, context))
        if target.name is not None and target.name not in new_names:
            actions.append(Untag(target.name, target.root, target.id))
    return actions


VERB = Verb(
    "rename",
    "Give an image another name and take the old one away. Over a query the new name is a template.",
    'rename images where repository = old as "new:{{.Tag}}"',
    OperandKind.IMAGES,
    options=("as", "dry run"),
    plan=_plan_rename,
)
