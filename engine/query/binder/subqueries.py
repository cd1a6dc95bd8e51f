"""Queries inside expressions: rows that exist, lists to be in, single values, what relations of the row add up to."""

from __future__ import annotations

from imq.engine.catalog.functions import AGGREGATES, FUNCTIONS
from imq.engine.catalog.tables import TABLES, Kind, folded
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


def single(select: b.Select, node: ast.Expr) -> b.Bound:
    """Return the one value of a query, after seeing that it can have no more than one."""
    if select.count:
        return b.Single(select, Kind.NUMBER)
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
    return b.Single(select, select.columns[0].value.kind)


def within(node: ast.In, left: b.Bound, select: b.Select) -> b.Bound:
    """Bind `operand in QUERY`. Texts of a list mean names and ids as they do when they are written out.

    Of a query that chose no columns it is the field of the same name: `id in (images where dangling)`.
    """
    if select.whole and isinstance(left, b.Column) and (same := select.table.find(left.field.name)) is not None:
        select = select.replace(columns=(b.Selected(same.name, b.Column(same), same.heading, same),))
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
    if left.kind in (Kind.LIST, Kind.MAP) or kind in (Kind.LIST, Kind.MAP):
        raise TypeMismatch(f"{called(left)} cannot be looked for: it is {left.kind.value}", span=node.span)
    meant = {Kind.REFERENCE: "as_name", Kind.REPOSITORY: "as_repository", Kind.DIGEST: "as_digest"}.get(left.kind)
    if kind is Kind.TEXT and meant is not None:
        value = b.Apply(FUNCTIONS[meant], (column.value,), left.kind)
        select = select.replace(columns=(column.replace(value=value, field=None),), whole=False)
        return b.Within(left, select, starts=left.kind is Kind.DIGEST)
    comparable(left, column.value, node.span)
    return b.Within(left, select.replace(whole=False))


def owned(e: Expressions, node: ast.Expr) -> Relation | None:
    """Return the relation that a name alone means, itself or its singular, when no field is called that."""
    if not isinstance(node, ast.Field) or len(node.path) != 1 or e.table.find(node.path[0]) is not None:
        return None
    wanted = folded(node.path[0])
    return next((one for one in e.table.relations if wanted in (folded(one.name), one.singular)), None)


def has_row(e: Expressions, relation: Relation, node: ast.Comparison) -> b.Bound:
    """Bind `has layer D`: whether the relation has a row with that key."""
    keys = tuple(ast.Comparison("=", ast.Field((key,)), node.right, node.span) for key in relation.keys)
    return b.Exists(e.rows(ast.Query(relation.name, where=ast.Or(keys), span=node.span)))


def of_relation(e: Expressions, relation: Relation, rest: list[str], node: ast.Field) -> b.Bound:
    """Bind `base.name`: a field of the one row of a relation."""
    if relation.many:
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
    return b.Single(select, select.columns[0].value.kind)


def total_of(e: Expressions, node: ast.Call) -> b.Bound | None:
    """Bind an aggregate over the rows of a relation or a query: `count(layers where …)`, `sum(layers.size)`."""
    if len(node.arguments) != 1:
        return None
    (argument,) = node.arguments
    distinct = node.distinct
    if isinstance(argument, ast.Subquery):
        rows: ast.Rows = argument.rows
    elif isinstance(argument, ast.Field) and (relation := e.table.relation(argument.path[0])) is not None:
        if not relation.many or (len(argument.path) == 1 and node.name != "count"):
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
    if node.name == "count" and select.whole:
        if not distinct:
            return b.Single(select.replace(count=True, whole=False), Kind.NUMBER)
        if select.table.name != "images":
            raise StatementError(
                "distinct wants one column of the query", code="one-column", span=node.span, hints=("select it",)
            )
        same = select.table.field("id")  # the rows of images are their names
        select = select.replace(columns=(b.Selected(same.name, b.Column(same), same.heading, same),), whole=False)
    if select.count or len(select.columns) != 1 or select.whole:
        raise StatementError(
            f"{node.name} wants one column of the query", code="one-column", span=node.span, hints=("select it",)
        )
    value = select.columns[0].value
    check_total(aggregate, value, node)
    kind = aggregate.gives or value.kind
    if select.cut or select.group is not None:  # of the rows that are left of it
        raise StatementError(
            f"{node.name} takes rows that are neither grouped nor cut", code="one-column", span=node.span
        )
    total = b.Selected("total", b.Total(aggregate, value, distinct, kind), "")
    return b.Single(select.replace(columns=(total,), group=(), order=()), kind)
