"""The verb `diff`: shows what one image has otherwise than another."""

from __future__ import annotations

from imq.engine.query.plan import list_columns
from imq.engine.result import RowSet, get_exit_code
from imq.engine.sources.action_options import get_option, names_containers
from imq.grammar import ast
from imq.grammar.errors import NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING

from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from imq.engine.sources.action import PlanContext

_PAIR = 2
_COLUMNS = ("kind", "change", "key", "before", "after", "aspects", "growth")


def _diff(act: ast.ActionStatement, context: PlanContext) -> RowSet:
    if len(act.references) != _PAIR:
        raise StatementError(
            "diff compares two images, or a container with its image",
            code="operand",
            span=act.span,
            hints=("example: diff app:1 app:2", "of a container: diff container web"),
        )
    where: ast.Expr | None = None
    if get_option(act, "ignoring times") is not None:
        time_alone = ast.Literal('["time"]', quoted=True)
        aspects = ast.Call("join", (ast.Field(("aspects",)), ast.Literal(",", quoted=True)))
        where = ast.Not(ast.Comparison("=", aspects, time_alone.replace(text="time")))
    places = next((option.values for option in act.options if option.name == "from"), ())
    targets: tuple[ast.Literal | ast.Variable | ast.RowSource, ...] = act.references
    if names_containers(act):
        targets, places = _list_image_and_container(act, places, context)
    select = tuple(ast.Column(ast.Field((name,))) for name in _COLUMNS)
    query = ast.Query("differences", targets=targets, sources=places, where=where, select=select, span=act.span)
    bound, rows = context.rows(query, ())
    errors = tuple(error for _, error in context.problems)
    return RowSet(list_columns(bound), rows, act.output, bound.table, errors=errors, exit_code=get_exit_code(errors))


def _list_image_and_container(
    act: ast.ActionStatement, places: tuple[ast.Literal | ast.Variable, ...], context: PlanContext
) -> tuple[tuple[ast.Literal | ast.Query, ...], tuple[ast.Literal, ...]]:
    """Return the image of the container that a statement names and the query for the container, and their source."""
    name = act.references[1]
    container = ast.make_container_query(name, places, name.span).replace(nonempty=False)
    columns = tuple(ast.Column(ast.Field((field,))) for field in ("source", "image_id"))
    found = list(context.lookup(container.replace(select=columns), ())[1])
    (text,) = context.literals((name,))
    if not found:
        raise NotFound(f"No such container: {text}", code="no-such-container", span=name.span)
    if len(found) > 1:
        raise StatementError(f"several containers are called {text}", code="operand", span=name.span)
    ((source, image),) = found
    if image is None:
        raise NotFound(f"{text} has no image to compare with", code="no-such-image", span=name.span)
    own = (ast.Literal(str(source), quoted=True),)
    return (ast.Literal(str(image), quoted=True), container.replace(sources=own)), own


VERB = Verb(
    "diff",
    "Show the differences between two images: settings, variables, labels, build steps, layers, packages and files."
    " The rows are those of the table differences; ignoring times leaves out files that differ in their time alone."
    " diff container NAME compares a container with its image.",
    "diff app:1 app:2 ignoring times",
    OperandKind.IMAGES,
    options=("from", "ignoring times"),
    docker_differences=(
        "docker diff lists the paths that a container changed, as the table changes does. This compares two images, or,"
        " after the word container, a container with its image: what was before, and what is now."
    ),
    answer=_diff,
)
