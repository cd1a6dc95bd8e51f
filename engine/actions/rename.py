"""The verb `rename`: gives images a new name and removes the old one."""

from __future__ import annotations

from imq.engine.oci.reference import Reference
from imq.engine.sources.action_options import parse_tag_name
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .operands import find_planner, resolve_targets
from .tag import get_new_names, plan_tag, render_new_names, with_name
from .untag import Untag
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from imq.engine.sources.action import Action, PlanContext
    from imq.grammar import ast


def _plan_rename(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    names, act = get_new_names(
        act, context, "rename needs a new name", 'rename images where repository = old as "new:{{.Tag}}"'
    )
    if (planner := find_planner(act, context)) is not None:
        return planner(with_name(act, names[0]), context)
    if act.query is not None:
        named_targets = render_new_names(act, names[0], context)
    else:
        targets = resolve_targets(act, context)
        if len(targets) != 1:
            raise StatementError("rename takes one image for one name", code="operand", span=act.span)
        named_targets = [(parse_tag_name(names[0]), targets[0])]
    from imq.engine.sources.new_names import make_two_names_error

    actions: list[Action] = []
    new_names = {str(name) for name, _ in named_targets}
    renamed: dict[Reference, str | None] = {}
    for name, target in named_targets:
        if (other := renamed.setdefault(name, target.name)) != target.name:
            raise make_two_names_error(name, other, target.name, act)
        if str(name) == target.name:
            continue
        actions.append(plan_tag(name, target, context))
        if target.name is not None and target.name not in new_names:
            actions.append(Untag(target.name, target.root, target.id))
    return actions


VERB = Verb(
    "rename",
    "Give an image a new name and remove the old one. With a query the new name is a template. An engine sets the new"
    " name before it removes the old one.",
    'rename images where repository = old as "new:{{.Tag}}"',
    OperandKind.IMAGES,
    options=("as", "from", "dry run"),
    plan=_plan_rename,
)
