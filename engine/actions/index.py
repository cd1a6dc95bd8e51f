"""The verb `index`: creates an index of several images in a registry."""

from __future__ import annotations

from imq.engine.oci.reference import Reference, parse_tag_name
from imq.engine.sources.action_options import get_option_values
from imq.grammar import ast
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .operands import find_planner
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from imq.engine.sources.action import Action, PlanContext

_EXAMPLE = "index tags of registry.local:5000/team/app where tag like v1-* as registry.local:5000/team/app:v1"


def _plan_index(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    names = get_option_values(act, "as", context)
    if len(names) != 1:
        raise StatementError(
            "index needs one name for the new index", code="operand", span=act.span, hints=(f"example: {_EXAMPLE}",)
        )
    parse_tag_name(names[0])  # an invalid name is refused before anything is requested
    query = act.query or ast.Query("tags", tuple(_tag_operands(act, context)), span=act.span)
    act = act.replace(references=(), query=query)
    planner = find_planner(act, context)
    if planner is None:
        raise StatementError(
            "index takes images of registries", code="operand", span=query.span, hints=(f"example: {_EXAMPLE}",)
        )
    return planner(act, context)


def _tag_operands(act: ast.ActionStatement, context: PlanContext) -> list[ast.Literal]:
    """Return the names of the statement, each with its tag or the default tag."""
    names = zip(context.literals(act.references), act.references, strict=True)
    return [ast.Literal(str(Reference.parse(text).with_default_tag()), span=node.span) for text, node in names]


VERB = Verb(
    "index",
    "Create an index in a registry: one name for images of several platforms that are in the same registry.",
    _EXAMPLE,
    OperandKind.NAMES,
    options=("as", "dry run"),
    plan=_plan_index,
)
