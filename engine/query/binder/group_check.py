"""Groups: what is shown of one has to have one value in it."""

from __future__ import annotations

from imq.engine.query import ir as b
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.grammar import ast
    from imq.grammar.errors import Span


def check_groups(
    query: ast.Query,
    group: tuple[b.Expr, ...] | None,
    columns: tuple[b.Projection, ...],
    having: b.Expr | None,
    order: tuple[b.SortKey, ...],
) -> None:
    """See that what is shown of a group has one value in it, and that there are groups where they are needed."""
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
    if query.newest or (query.limit and query.limit.per) or (query.skip and query.skip.per):
        raise StatementError(
            '"per" and "except newest" count rows and cannot stand with "group by"',
            code="not-grouped",
            span=query.span,
            hints=("put the query with groups in parentheses: (… group by …) limit 1 per …",),
        )


def _check_grouped(value: b.Expr, group: tuple[b.Expr, ...], place: Span | None) -> None:
    """Refuse a field that is neither grouped by nor inside an aggregate: it has many values in a group."""
    if value in group or isinstance(value, b.AggregateCall | b.Literal | b.ImageField):
        return
    if isinstance(value, b.Column | b.MapItem):
        raise StatementError(
            f'"{value.field.name}" has many values in a group',
            code="not-grouped",
            span=place,
            hints=(f"add it to group by, or take one of them: max({value.field.name}), list({value.field.name})",),
        )
    if isinstance(value, b.ImageRelation | b.RowInSubquery) or (
        (query := b.subquery_of(value)) is not None and query.join
    ):
        raise StatementError(
            "this is about one row, and a group has many",
            code="not-grouped",
            span=place,
            hints=("put it into where, or group by it",),
        )
    for part in b.children(value):
        _check_grouped(part, group, place)


def has_total(value: b.Expr) -> bool:
    """Whether an aggregate stands in an expression."""
    return isinstance(value, b.AggregateCall) or any(has_total(part) for part in b.children(value))
