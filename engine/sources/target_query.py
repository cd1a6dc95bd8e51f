"""The query for the images that an action of a source is about."""

from __future__ import annotations

from imq.engine.query.binder import require_where
from imq.engine.sources.action_options import bind_whole_rows, list_source_refs
from imq.grammar import ast
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.engine.query.ir import Select
    from imq.engine.sources.action import PlanContext


def make_target_query(
    act: ast.ActionStatement, context: PlanContext, condition: ast.Expr | None
) -> ast.RowSource | None:
    """Return the query for the images of an action; None when it names them.

    `condition` holds for all of them. Without an operand these are all such images of the sources.
    """
    if act.query is not None:
        check_target_query(act, context, needs_where=condition is None)
        return act.query if condition is None else ast.Query("", base=act.query, where=condition, span=act.query.span)
    if act.references:
        return None
    sources = tuple(ast.Literal(ref.text, quoted=True) for ref in list_source_refs(act, context))
    return ast.Query("images", sources=sources, where=condition, span=act.span)


def check_target_query(act: ast.ActionStatement, context: PlanContext, *, needs_where: bool = True) -> Select:
    """Return the bound query of an action.

    Raises `StatementError` unless it selects images, and `Refused` without a condition or `all`.
    """
    select = bind_whole_rows(act, context)
    assert act.query is not None
    if select.table.name != "images":
        raise StatementError(f"{act.verb} takes images, not {select.table.name}", code="operand", span=act.query.span)
    if needs_where:
        require_where(act.query, act.verb)
    return select
