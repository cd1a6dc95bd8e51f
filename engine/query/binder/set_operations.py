"""Set operations by key (union, except, intersect) and derived tables."""

from __future__ import annotations

from imq.engine.catalog.tables import DERIVED, TABLES, DataType, Field, Table, TargetKind, casefold_name
from imq.engine.query import ir
from imq.grammar import ast
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING, Record

from .comparisons import check_comparable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Keys = Callable[[ast.Combination, Table], tuple[ir.Expr, ...]]

_MERGED_TARGETS = (TargetKind.NOTHING, TargetKind.REPOSITORIES, TargetKind.NAMES)
"""The tables of which no two rows have the same key, so that a condition is enough to tell rows apart."""
_PARENTHESES_HINT = "to apply a clause to the combined rows, use parentheses: (… union …) count"


def merge_union(node: ast.Combination) -> ast.Query | None:
    """Return the one query that is the same as a union; None when it is not one.

    `tags of A union tags of B` is `tags of A, B`, and `images where P union images where Q` is `images where P or Q`.
    """
    if node.operator != "union":
        return None
    sides = []
    for side in (node.left, node.right):
        query = merge_union(side) if isinstance(side, ast.Combination) else side
        if not isinstance(query, ast.Query):
            return None
        plain = ast.Query(query.table, query.targets, query.sources, where=query.where, span=query.span)
        table = TABLES.get(query.table.lower())
        if query != plain or table is None or table.target not in _MERGED_TARGETS:
            return None
        if node.by and node.by != tuple(ast.Field((name,)) for name in table.key):
            return None
        sides.append(query)
    left, right = sides
    if left.table.lower() != right.table.lower():
        return None
    if (left.targets, left.sources) == (right.targets, right.sources):
        both = (left.where, right.where)
        where = ast.Or(tuple(one for one in both if one is not None)) if None not in both else None
        return left.replace(where=where, span=node.span)
    is_of_places = all(side.where is None and (side.targets or side.sources) for side in sides)
    if not is_of_places:
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
    shown: tuple[str, ...] = ()
    is_of_places = left.table.name == right.table.name and left.table != right.table
    if node.operator == "union" and left.is_whole_rows and right.is_whole_rows and is_of_places:
        shown = left.table.default_columns
        common = _list_common_fields(left.table, right.table, mentioned)
        left, right = _select_columns(left, common), _select_columns(right, common)
    left_rows, right_rows = _wrap_rows(left, shown), _wrap_rows(right, shown)
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


def _wrap_rows(select: ir.Select, shown: Sequence[str] = ()) -> ir.Select:
    """Return a query of all rows of a query. `shown` are the default columns of a query around it; empty: all."""
    if select.is_whole_rows:
        return ir.Select(select.table, select.columns, base=select, order=select.order, is_whole_rows=True)
    table = make_derived_table(select)
    if known := tuple(name for name in shown if table.find_field(name) is not None):
        table = table.replace(default_columns=known)
    columns = tuple(ir.Projection(f.name, ir.Column(f), f.column_title, f) for f in table.fields)
    row_order = (ir.SortKey(ir.RowNumber(), descending=False),)
    return ir.Select(table, columns, base=select, order=row_order, is_whole_rows=True)


def _list_common_fields(left: Table, right: Table, mentioned: frozenset[str]) -> list[str]:
    """Return the fields that two tables have: those that both list, those of the output and the mentioned ones."""
    listed = [
        {field.name for field in table.fields if field.level is None and not field.is_unavailable}
        for table in (left, right)
    ]
    chosen = (listed[0] & listed[1]) | set(left.default_columns)
    return [
        field.name
        for field in left.fields
        if (field.name in chosen or not mentioned.isdisjoint(map(casefold_name, (field.name, *field.aliases))))
        and right.find_field(field.name) is not None
    ]


def _select_columns(select: ir.Select, names: Sequence[str]) -> ir.Select:
    """Return whole rows as columns with these names."""
    fields = [select.table.get_field(name) for name in names]
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
