"""Checks `group by`: each selected expression must have one value per group."""

from __future__ import annotations

from imq.engine.query import ir
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.grammar import ast
    from imq.grammar.errors import Span


def check_groups(
    query: ast.Query,
    group: tuple[ir.Expr, ...] | None,
    columns: tuple[ir.Projection, ...],
    having: ir.Expr | None,
    order: tuple[ir.SortKey, ...],
) -> None:
    """Check that each expression has one value per group, and that `having` has groups."""
    if group is None:
        if having is not None:
            raise StatementError(
                '"having" needs "group by"',
                code="not-grouped",
                span=query.having.span if query.having else None,
                hints=("a condition on rows is: where",),
            )
        if any(ir.has_aggregate(key.value) for key in order):
            raise StatementError(
                'an aggregate in "order by" needs "group by"', code="not-grouped", span=query.order[0].span
            )
        return
    spans = [column.span for column in query.select] or [None] * len(columns)
    for column, span in zip(columns, spans, strict=True):
        _check_grouped(column.value, group, span or query.span)
    for key, node in zip(order, query.order, strict=False):
        _check_grouped(key.value, group, node.span or query.span)
    if having is not None:
        _check_grouped(having, group, query.having.span if query.having else query.span)
    if query.keep_newest or (query.limit and query.limit.per) or (query.skip and query.skip.per):
        raise StatementError(
            '"per" and "except newest" count rows and cannot be combined with "group by"',
            code="not-grouped",
            span=query.span,
            hints=("put the query with groups in parentheses: (… group by …) limit 1 per …",),
        )


def _check_grouped(value: ir.Expr, group: tuple[ir.Expr, ...], span: Span | None) -> None:
    """Refuse a field that is neither a group key nor inside an aggregate: it has many values in a group."""
    if value in group or isinstance(value, ir.AggregateCall | ir.Literal | ir.ImageField):
        return
    if isinstance(value, ir.Column | ir.MapItem):
        raise StatementError(
            f'"{value.field.name}" has many values in a group',
            code="not-grouped",
            span=span,
            hints=(f"add it to group by, or use an aggregate: max({value.field.name}), list({value.field.name})",),
        )
    if isinstance(value, ir.ImageRelation | ir.LayerRelation | ir.RowInSubquery) or (
        (query := ir.get_subquery(value)) is not None and query.join
    ):
        raise StatementError(
            "expected one value per group, but this depends on a single row",
            code="not-grouped",
            span=span,
            hints=("move it to where, or group by it",),
        )
    for part in ir.children(value):
        _check_grouped(part, group, span)
