"""The verb `commit`: makes an image of a container. Engines do it."""

from __future__ import annotations

from imq.grammar import ast
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .operands import find_planner
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from imq.engine.sources.action import Action, PlanContext


def _plan_commit(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    if len(act.references) == 2 and not any(option.name == "as" for option in act.options):
        name = ast.Option("as", act.references[1:])  # docker's order: commit CONTAINER NAME
        act = act.replace(references=act.references[:1], options=(*act.options, name))
    planner = find_planner(act, context)
    if planner is None:
        raise StatementError(
            "commit makes an image of a container, and the store has no containers",
            code="operand",
            span=act.span,
            hints=("name an engine: commit web as team/web:1 from docker",),
        )
    return planner(act, context)


VERB = Verb(
    "commit",
    "Make an image of a container, which its engine pauses meanwhile; change takes Dockerfile instructions. With a"
    " query of containers the name is a template.",
    'commit web as team/web:1 from docker change "CMD [\\"serve\\"]" message "with the fix"',
    OperandKind.CONTAINERS,
    options=("as", "from", "change", "message", "dry run"),
    plan=_plan_commit,
)
