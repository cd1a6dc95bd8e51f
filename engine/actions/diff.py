"""The verb `diff`: shows what one image has otherwise than another."""

from __future__ import annotations

from imq.engine.query.plan import list_columns
from imq.engine.result import RowSet, get_exit_code
from imq.engine.sources.action_options import get_option
from imq.grammar import ast
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from imq.engine.sources.action import PlanContext

_PAIR = 2
_COLUMNS = ("kind", "change", "key", "before", "after", "aspects", "growth")


def _diff(act: ast.ActionStatement, context: PlanContext) -> RowSet:
    if len(act.references) != _PAIR:
        raise StatementError(
            "diff compares two images", code="operand", span=act.span, hints=("example: diff app:1 app:2",)
        )
    where: ast.Expr | None = None
    if get_option(act, "ignoring times") is not None:
        time_alone = ast.Literal('["time"]', quoted=True)
        aspects = ast.Call("join", (ast.Field(("aspects",)), ast.Literal(",", quoted=True)))
        where = ast.Not(ast.Comparison("=", aspects, time_alone.replace(text="time")))
    places = next((option.values for option in act.options if option.name == "from"), ())
    select = tuple(ast.Column(ast.Field((name,))) for name in _COLUMNS)
    query = ast.Query("differences", targets=act.references, sources=places, where=where, select=select, span=act.span)
    bound, rows = context.rows(query, ())
    errors = tuple(error for _, error in context.problems)
    return RowSet(list_columns(bound), rows, act.output, bound.table, errors=errors, exit_code=get_exit_code(errors))


VERB = Verb(
    "diff",
    "Show the differences between two images: settings, variables, labels, build steps, layers, packages and files."
    " The rows are those of the table differences; ignoring times leaves out files of which only the time changed.",
    "diff app:1 app:2 ignoring times",
    OperandKind.IMAGES,
    options=("from", "ignoring times"),
    docker_differences="docker diff shows the changes of a container; this compares two images.",
    answer=_diff,
)
