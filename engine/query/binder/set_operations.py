"""Set operations by key (union, except, intersect) and derived tables."""

from __future__ import annotations

from imq.engine.catalog.tables import DERIVED, TABLES, DataType, Field, Table, TargetKind, casefold_name
from imq.engine.query import ir
from imq.grammar import ast
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING, Record

from .comparisons import check_comparable

if TYPE_CHECKING:
    from collections.abc import Callable

    Keys = Callable[[ast.Combination, Table], tuple[ir.Expr, ...]]

_PARENTHESES_HINT = "to apply a clause to the combined rows, use parentheses: (… union …) count"


def merge_union(node: ast.Combination) -> ast.Query | None:
    """Return `tags of A, B` for `tags of A union tags of B`; None for a union that is not one query of all rows."""
    if node.operator != "union":
        return None
    sides = []
    for side in (node.left, node.right):
        query = merge_union(side) if isinstance(side, ast.Combination) else side
        if not isinstance(query, ast.Query):
            return None
        plain = ast.Query(query.table, query.targets, query.sources, span=query.span)
        table = TABLES.get(query.table.lower())
        if query != plain or table is None or table.target in (TargetKind.FILE, TargetKind.IMAGES, TargetKind.NOTHING):
            return None
        if node.by and node.by != tuple(ast.Field((name,)) for name in table.key):
            return None
        if table.target is TargetKind.TERM or not (query.targets or query.sources):
            return None
        sides.append(query)
    left, right = sides
    if left.table.lower() != right.table.lower():
        return None
    return left.replace(targets=left.targets + right.targets, sources=left.sources + right.sources, span=node.span)


def collect_names(node: Record) -> frozenset[str]:
    """Return the case-folded names in an expression, or in a query without its base query; of a path, the first two."""
    if isinstance(node, ast.Query):
        node = node.replace(base=None)
    names = set()
    level: list[Record] = [node]
    while level:
        paths = [one.path for one in level if isinstance(one, ast.Field)]
        names |= {casefold_name(name) for path in paths for name in (path[0], ".".join(path[:2]))}
        level = [child for one in level for child in ast.children(one)]
    return frozenset(names)


def bind_set_operation(
    node: ast.Combination, left: ir.Select, right: ir.Select, bind_keys: Keys, mentioned: frozenset[str]
) -> ir.Select | ir.Union:
    """Return the bound set operation.

    `bind_keys` binds the keys that identify the rows of a table. `mentioned` are the case-folded names that outer
    queries use.
    """
    for side, node_of_side in ((left, node.left), (right, node.right)):
        if side.count:
            raise StatementError(
                "a count cannot be combined with other rows",
                code="combination",
                span=node_of_side.span,
                hints=(_PARENTHESES_HINT,),
            )
    if node.operator == "union" and left.is_whole_rows and right.is_whole_rows and left.table != right.table:
        left, right = _select_known_columns(left, mentioned), _select_known_columns(right, mentioned)
    left_rows, right_rows = _wrap_rows(left), _wrap_rows(right)
    if not node.by and get_key_names(left_rows.table) != get_key_names(right_rows.table):
        raise StatementError(
            "the two sides have different keys",
            code="combination",
            span=node.span,
            hints=(f"name the key: … {node.operator} … by name", _PARENTHESES_HINT if not right.is_whole_rows else ""),
        )
    left_keys, right_keys = bind_keys(node, left_rows.table), bind_keys(node, right_rows.table)
    for one, other in zip(left_keys, right_keys, strict=True):
        check_comparable(one, other, node.span)
    if node.operator != "union":
        is_in_right: ir.Expr = ir.RowInSubquery(left_keys, _select_keys(right_rows, right_keys))
        return left_rows.replace(where=ir.Not(is_in_right) if node.operator == "except" else is_in_right)
    if (
        left.is_whole_rows != right.is_whole_rows
        or (left.is_whole_rows and left.table != right.table)
        or not _have_same_columns(left, right)
    ):
        raise StatementError(
            "the two sides of a union have different columns",
            code="combination",
            span=node.span,
            hints=("select the same columns in the same order on both sides",),
        )
    is_new = ir.Not(ir.RowInSubquery(right_keys, _select_keys(left_rows, left_keys)))
    return ir.Union(left_rows, right_rows.replace(where=is_new))


def make_derived_table(select: ir.Select) -> Table:
    """Return the table of a query in parentheses, for the query around it."""
    fields = tuple(
        Field(
            column.name,
            column.value.kind,
            column.field.doc if column.field else "",
            title=column.title,
            normalise=column.field.normalise if column.field else None,
        )
        for column in select.columns
    )
    if select.count:
        fields = (Field("count", DataType.NUMBER, "the number of rows"),)
    return Table(
        "the rows", "the result of the query in parentheses", fields, tuple(f.name for f in fields), (), view=DERIVED
    )


def get_key_names(table: Table) -> tuple[str, ...]:
    """Return the default key of a table."""
    return table.key or tuple(field.name for field in table.fields)


def _wrap_rows(select: ir.Select) -> ir.Select:
    """Return a query of all rows of a query."""
    if select.is_whole_rows:
        return ir.Select(select.table, select.columns, base=select, order=select.order, is_whole_rows=True)
    table = make_derived_table(select)
    columns = tuple(ir.Projection(f.name, ir.Column(f), f.column_title, f) for f in table.fields)
    row_order = (ir.SortKey(ir.RowNumber(), descending=False),)
    return ir.Select(table, columns, base=select, order=row_order, is_whole_rows=True)


def _select_known_columns(select: ir.Select, mentioned: frozenset[str]) -> ir.Select:
    """Return whole rows as columns; for a staged table, the listed fields and the mentioned ones."""
    if not select.table.is_staged:
        return select.replace(is_whole_rows=False)
    fields = [
        field
        for field in select.table.fields
        if field.level is None or not mentioned.isdisjoint(map(casefold_name, (field.name, *field.aliases)))
    ]
    columns = tuple(ir.Projection(field.name, ir.Column(field), field.column_title, field) for field in fields)
    return select.replace(columns=columns, is_whole_rows=False)


def _select_keys(rows: ir.Select, keys: tuple[ir.Expr, ...]) -> ir.Select:
    columns = tuple(ir.Projection(f"k{position}", key, "") for position, key in enumerate(keys))
    return rows.replace(columns=columns, order=(), is_whole_rows=False)


def _have_same_columns(left: ir.Select, right: ir.Select) -> bool:
    if left.is_whole_rows:
        return True
    return [(casefold_name(c.name), c.value.kind) for c in left.columns] == [
        (casefold_name(c.name), c.value.kind) for c in right.columns
    ]
