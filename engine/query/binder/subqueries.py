"""Queries inside expressions: `in`, scalar subqueries, and the fields and aggregates of relations."""

from __future__ import annotations

from imq.engine.catalog.functions import AGGREGATES, FUNCTIONS
from imq.engine.catalog.tables import TABLES, DataType, casefold_name
from imq.engine.query import ir
from imq.grammar import ast
from imq.grammar.errors import StatementError, TypeMismatch
from imq.grammar.record import TYPE_CHECKING

from .calls import check_aggregate
from .comparisons import check_comparable, describe
from .scope import NOTHING

if TYPE_CHECKING:
    from imq.engine.catalog.tables import Relation

    from .scope import ExpressionBinder


def bind_scalar(select: ir.Select, node: ast.Expr) -> ir.Expr:
    """Return a query as a scalar subquery. Raises `StatementError` if it can return several rows or columns."""
    if select.count:
        return ir.ScalarSubquery(select, DataType.NUMBER)
    if len(select.columns) != 1:
        names = ", ".join(column.name for column in select.columns)
        raise StatementError(
            f"expected one value, and the query has {len(select.columns)} columns: {names}",
            code="one-value",
            span=node.span,
            hints=("select one, or count the rows: (… count)",),
        )
    is_single_row = select.group == () or (
        select.limit is not None and select.limit.count <= 1 and not select.limit.per
    )
    if not is_single_row:
        raise StatementError(
            "expected one value, and the query can return several rows",
            code="one-value",
            span=node.span,
            hints=("add limit 1, or use an aggregate: max(…); to test for a value in the list: FIELD in (…)",),
        )
    return ir.ScalarSubquery(select, select.columns[0].value.kind)


def bind_in_subquery(node: ast.In, left: ir.Expr, select: ir.Select) -> ir.Expr:
    """Bind `operand in QUERY`. Strings from a list are read as names and IDs, like literals in a statement.

    A query without `select` provides the field of the same name: `id in (images where dangling)`.
    """
    if (
        select.is_whole_rows
        and isinstance(left, ir.Column)
        and (same := select.table.find_field(left.field.name)) is not None
    ):
        select = select.replace(columns=(ir.Projection(same.name, ir.Column(same), same.column_title, same),))
    if select.count or len(select.columns) != 1:
        names = "count" if select.count else ", ".join(column.name for column in select.columns)
        raise StatementError(
            f"expected one column, and the query has: {names}",
            code="one-column",
            span=node.span,
            hints=("add to the query: select FIELD",),
        )
    (column,) = select.columns
    kind = column.value.kind
    if left.kind in (DataType.LIST, DataType.MAP) or kind in (DataType.LIST, DataType.MAP):
        raise TypeMismatch(f"{describe(left)} cannot be the left side of in: it is {left.kind.value}", span=node.span)
    normalizer = {
        DataType.REFERENCE: "as_name",
        DataType.REPOSITORY: "as_repository",
        DataType.DIGEST: "as_digest",
    }.get(left.kind)
    takes_any_text = isinstance(left, ir.Column) and left.field.takes_any_text
    if kind is DataType.TEXT and normalizer is not None and not takes_any_text:
        value = ir.FunctionCall(FUNCTIONS[normalizer], (column.value,), left.kind)
        select = select.replace(columns=(column.replace(value=value, field=None),), is_whole_rows=False)
        return ir.InSubquery(left, select, by_prefix=left.kind is DataType.DIGEST)
    check_comparable(left, column.value, node.span)
    return ir.InSubquery(left, select.replace(is_whole_rows=False))


def find_relation(binder: ExpressionBinder, node: ast.Expr) -> Relation | None:
    """Return the relation of this name or item name, unless a field has the name."""
    if not isinstance(node, ast.Field) or len(node.path) != 1 or binder.table.find_field(node.path[0]) is not None:
        return None
    name = casefold_name(node.path[0])
    return next((one for one in binder.table.relations if name in (casefold_name(one.name), one.item_name)), None)


def bind_has_row(binder: ExpressionBinder, relation: Relation, node: ast.Comparison) -> ir.Expr:
    """Bind `has layer D`: whether the relation has a row with this key."""
    keys = tuple(ast.Comparison("=", ast.Field((key,)), node.right, node.span) for key in relation.item_fields)
    return ir.Exists(binder.bind_rows(ast.Query(relation.name, where=ast.Or(keys), span=node.span)))


def bind_relation_field(binder: ExpressionBinder, relation: Relation, rest: list[str], node: ast.Field) -> ir.Expr:
    """Bind `base.name`: a field of the single row of a relation."""
    if relation.is_many:
        field = ".".join(rest)
        raise StatementError(
            f'"{".".join(node.path)}": a row can have several {relation.name}',
            code="many",
            span=node.span,
            hints=(
                f"use an aggregate: sum({relation.name}.{field}), list({relation.name}.{field})",
                f"or a condition: any {relation.name} where {field} = …",
            ),
        )
    column = ast.Column(ast.Field(tuple(rest), node.span), span=node.span)
    limit = ast.Limit(ast.Literal("1"))
    select = binder.bind_rows(ast.Query(relation.name, select=(column,), limit=limit, span=node.span))
    return ir.ScalarSubquery(select, select.columns[0].value.kind)


def bind_relation_aggregate(binder: ExpressionBinder, node: ast.Call) -> ir.Expr | None:
    """Bind an aggregate over the rows of a relation or a query: `count(layers where …)`, `sum(layers.size)`."""
    if len(node.arguments) != 1:
        return None
    (argument,) = node.arguments
    distinct = node.distinct
    if isinstance(argument, ast.Subquery):
        rows: ast.RowSource = argument.rows
    elif isinstance(argument, ast.Field) and (relation := binder.table.find_relation(argument.path[0])) is not None:
        if not relation.is_many or (len(argument.path) == 1 and node.name != "count"):
            return None
        rest = argument.path[1:]
        columns = (ast.Column(ast.Field(rest, argument.span), span=argument.span),) if rest else ()
        rows = ast.Query(relation.name, select=columns, span=argument.span)
    elif isinstance(argument, ast.Field) and binder.table is NOTHING and argument.path[0].lower() in TABLES:
        rows = ast.Query(argument.path[0].lower(), span=argument.span)
    else:
        return None
    select = binder.bind_rows(rows)
    aggregate = AGGREGATES[node.name]
    is_joined = isinstance(rows, ast.Query) and bool(rows.joins) and not rows.select and select.group is None
    if node.name == "count" and (select.is_whole_rows or (is_joined and not distinct and not select.count)):
        if not distinct:
            return ir.ScalarSubquery(select.replace(count=True, is_whole_rows=False), DataType.NUMBER)
        if select.table.name != "images":
            raise StatementError(
                "distinct expects one column of the query", code="one-column", span=node.span, hints=("select it",)
            )
        same = select.table.get_field("id")  # a row of images is a name
        select = select.replace(
            columns=(ir.Projection(same.name, ir.Column(same), same.column_title, same),), is_whole_rows=False
        )
    if select.count or len(select.columns) != 1 or select.is_whole_rows:
        raise StatementError(
            f"{node.name} expects one column of the query", code="one-column", span=node.span, hints=("select it",)
        )
    value = select.columns[0].value
    check_aggregate(aggregate, value, node)
    kind = aggregate.returns or value.kind
    if select.is_limited or select.group is not None:  # the aggregate would ignore groups and limits
        raise StatementError(
            f"{node.name} takes a query without group by and limits", code="one-column", span=node.span
        )
    total = ir.Projection("total", ir.AggregateCall(aggregate, value, distinct, kind), "")
    return ir.ScalarSubquery(select.replace(columns=(total,), group=(), order=()), kind)
