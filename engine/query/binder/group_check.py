"""Checks of `group by`: a selected value must have one value in each group."""

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
    """Check that each selected value has one value in a group, and that `having` has groups."""
    if group is None:
        if having is not None:
            raise StatementError(
                '"having" needs "group by"', code="not-grouped", span=query.having.span if query.having else None
            )
        if any(has_total(key.value) for key in order):
            raise StatementError(
                'an aggregate in "order by" needs "group by"', code="not-grouped", span=query.order[0].span
            )
        return
    places = [column.span for column in query.select] or [None] * len(columns)
    for column, place in zip(columns, places, strict=True):
        _check_grouped(column.value, group, place or query.span)
    for key, written in zip(order, query.order, strict=False):
        _check_grouped(key.value, group, written.span or query.span)
    if having is not None:
        _check_grouped(having, group, query.having.span if query.having else query.span)
    if query.keep_newest or (query.limit and query.limit.per) or (query.skip and query.skip.per):
        raise StatementError(
            '"per" and "except newest" count rows and cannot be combined with "group by"',
            code="not-grouped",
            span=query.span,
            hints=("put the query with groups in parentheses: (… group by …) limit 1 per …",),
        )


def _check_grouped(value: ir.Expr, group: tuple[ir.Expr, ...], place: Span | None) -> None:
    """Refuse a field that is neither grouped by nor inside an aggregate: it has many values in a group."""
    if value in group or isinstance(value, ir.AggregateCall | ir.Literal | ir.ImageField):
        return
    if isinstance(value, ir.Column | ir.MapItem):
        raise StatementError(
            f'"{value.field.name}" has many values in a group',
            code="not-grouped",
            span=place,
            hints=(f"add it to group by, or take one of them: max({value.field.name}), list({value.field.name})",),
        )
    if isinstance(value, ir.ImageRelation | ir.RowInSubquery) or (
        (query := ir.subquery_of(value)) is not None and query.join
    ):
        raise StatementError(
            "this is about one row, and a group has many",
            code="not-grouped",
            span=place,
            hints=("put it into where, or group by it",),
        )
    for part in ir.children(value):
        _check_grouped(part, group, place)


def has_total(value: ir.Expr) -> bool:
    """Whether an aggregate stands in an expression."""
    return isinstance(value, ir.AggregateCall) or any(has_total(part) for part in ir.children(value))
