"""Queries inside expressions: rows that exist, lists to be in, single values, what relations of the row add up to."""

from __future__ import annotations

from imq.engine.catalog.functions import AGGREGATES, FUNCTIONS
from imq.engine.catalog.tables import TABLES, DataType, casefold_name
from imq.engine.query import ir as b
from imq.grammar import ast
from imq.grammar.errors import StatementError, TypeMismatch
from imq.grammar.record import TYPE_CHECKING

from .calls import check_total
from .comparisons import called, comparable
from .scope import NOTHING

if TYPE_CHECKING:
    from imq.engine.catalog.tables import Relation

    from .expressions import Expressions


def single(select: b.Select, node: ast.Expr) -> b.Expr:
    """Return the one value of a query, after seeing that it can have no more than one."""
    if select.count:
        return b.ScalarSubquery(select, DataType.NUMBER)
    if len(select.columns) != 1:
        names = ", ".join(column.name for column in select.columns)
        raise StatementError(
            f"one value is wanted here, and the query has {len(select.columns)} columns: {names}",
            code="one-value",
            span=node.span,
            hints=("select one, or count the rows: (… count)",),
        )
    alone = select.group == () or (select.limit is not None and select.limit.count <= 1 and not select.limit.per)
    if not alone:
        raise StatementError(
            "one value is wanted here, and the query can answer several rows",
            code="one-value",
            span=node.span,
            hints=("take one: limit 1, or max(…); or ask whether a value is among them: FIELD in (…)",),
        )
    return b.ScalarSubquery(select, select.columns[0].value.kind)


def within(node: ast.In, left: b.Expr, select: b.Select) -> b.Expr:
    """Bind `operand in QUERY`. Texts of a list mean names and ids as they do when they are written out.

    Of a query that chose no columns it is the field of the same name: `id in (images where dangling)`.
    """
    if select.is_whole_rows and isinstance(left, b.Column) and (same := select.table.find(left.field.name)) is not None:
        select = select.replace(columns=(b.Projection(same.name, b.Column(same), same.heading, same),))
    if select.count or len(select.columns) != 1:
        names = "count" if select.count else ", ".join(column.name for column in select.columns)
        raise StatementError(
            f"one column is wanted here, and the query has: {names}",
            code="one-column",
            span=node.span,
            hints=("add to the query: select FIELD",),
        )
    (column,) = select.columns
    kind = column.value.kind
    if left.kind in (DataType.LIST, DataType.MAP) or kind in (DataType.LIST, DataType.MAP):
        raise TypeMismatch(f"{called(left)} cannot be looked for: it is {left.kind.value}", span=node.span)
    meant = {DataType.REFERENCE: "as_name", DataType.REPOSITORY: "as_repository", DataType.DIGEST: "as_digest"}.get(
        left.kind
    )
    if kind is DataType.TEXT and meant is not None:
        value = b.FunctionCall(FUNCTIONS[meant], (column.value,), left.kind)
        select = select.replace(columns=(column.replace(value=value, field=None),), is_whole_rows=False)
        return b.InSubquery(left, select, by_prefix=left.kind is DataType.DIGEST)
    comparable(left, column.value, node.span)
    return b.InSubquery(left, select.replace(is_whole_rows=False))


def owned(e: Expressions, node: ast.Expr) -> Relation | None:
    """Return the relation that a name alone means, itself or its singular, when no field is called that."""
    if not isinstance(node, ast.Field) or len(node.path) != 1 or e.table.find(node.path[0]) is not None:
        return None
    wanted = casefold_name(node.path[0])
    return next((one for one in e.table.relations if wanted in (casefold_name(one.name), one.item_name)), None)


def has_row(e: Expressions, relation: Relation, node: ast.Comparison) -> b.Expr:
    """Bind `has layer D`: whether the relation has a row with that key."""
    keys = tuple(ast.Comparison("=", ast.Field((key,)), node.right, node.span) for key in relation.item_fields)
    return b.Exists(e.rows(ast.Query(relation.name, where=ast.Or(keys), span=node.span)))


def of_relation(e: Expressions, relation: Relation, rest: list[str], node: ast.Field) -> b.Expr:
    """Bind `base.name`: a field of the one row of a relation."""
    if relation.is_many:
        field = ".".join(rest)
        raise StatementError(
            f'"{".".join(node.path)}": {relation.name} are many',
            code="many",
            span=node.span,
            hints=(
                f"take them together: sum({relation.name}.{field}), list({relation.name}.{field})",
                f"or ask for one: any {relation.name} where {field} = …",
            ),
        )
    column = ast.Column(ast.Field(tuple(rest), node.span), span=node.span)
    limit = ast.Window(ast.Literal("1"))
    select = e.rows(ast.Query(relation.name, select=(column,), limit=limit, span=node.span))
    return b.ScalarSubquery(select, select.columns[0].value.kind)


def total_of(e: Expressions, node: ast.Call) -> b.Expr | None:
    """Bind an aggregate over the rows of a relation or a query: `count(layers where …)`, `sum(layers.size)`."""
    if len(node.arguments) != 1:
        return None
    (argument,) = node.arguments
    distinct = node.distinct
    if isinstance(argument, ast.Subquery):
        rows: ast.Rows = argument.rows
    elif isinstance(argument, ast.Field) and (relation := e.table.relation(argument.path[0])) is not None:
        if not relation.is_many or (len(argument.path) == 1 and node.name != "count"):
            return None
        rest = argument.path[1:]
        columns = (ast.Column(ast.Field(rest, argument.span), span=argument.span),) if rest else ()
        rows = ast.Query(relation.name, select=columns, span=argument.span)
    elif isinstance(argument, ast.Field) and e.table is NOTHING and argument.path[0].lower() in TABLES:
        rows = ast.Query(argument.path[0].lower(), span=argument.span)
    else:
        return None
    select = e.rows(rows)
    aggregate = AGGREGATES[node.name]
    if node.name == "count" and select.is_whole_rows:
        if not distinct:
            return b.ScalarSubquery(select.replace(count=True, is_whole_rows=False), DataType.NUMBER)
        if select.table.name != "images":
            raise StatementError(
                "distinct wants one column of the query", code="one-column", span=node.span, hints=("select it",)
            )
        same = select.table.field("id")  # the rows of images are their names
        select = select.replace(
            columns=(b.Projection(same.name, b.Column(same), same.heading, same),), is_whole_rows=False
        )
    if select.count or len(select.columns) != 1 or select.is_whole_rows:
        raise StatementError(
            f"{node.name} wants one column of the query", code="one-column", span=node.span, hints=("select it",)
        )
    value = select.columns[0].value
    check_total(aggregate, value, node)
    kind = aggregate.returns or value.kind
    if select.is_limited or select.group is not None:  # of the rows that are left of it
        raise StatementError(
            f"{node.name} takes rows that are neither grouped nor cut", code="one-column", span=node.span
        )
    total = b.Projection("total", b.AggregateCall(aggregate, value, distinct, kind), "")
    return b.ScalarSubquery(select.replace(columns=(total,), group=(), order=()), kind)
