"""Set operations: union, except and intersect, each by key; and derived tables."""

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

_ABOUT_WHOLE = "clauses for the whole follow parentheses: (… union …) count"


def merge_union(node: ast.Combination) -> ast.Query | None:
    """Return `tags of A, B` for `tags of A union tags of B`: all rows of a table of registries, from more of them.

    None for any other combination.
    """
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


def names_in(node: Record) -> frozenset[str]:
    """Return the names, folded, that an expression says, or a query beside those that it is a query of."""
    if isinstance(node, ast.Query):
        node = node.replace(base=None)
    found = set()
    level: list[Record] = [node]
    while level:
        found |= {casefold_name(one.path[0]) for one in level if isinstance(one, ast.Field)}
        level = [child for one in level for child in ast.children(one)]
    return frozenset(found)


def bind_set_operation(
    node: ast.Combination, left: ir.Select, right: ir.Select, keys: Keys, mentioned: frozenset[str]
) -> ir.Select | ir.Union:
    """Return the bound `left union right` and its like: set operations by key.

    `keys` binds what rows of a table are told apart by; `mentioned` are names, folded, that queries of this one say.
    """
    for side, written in ((left, node.left), (right, node.right)):
        if side.count:
            raise StatementError(
                "a count has no rows to combine", code="combination", span=written.span, hints=(_ABOUT_WHOLE,)
            )
    if node.operator == "union" and left.is_whole_rows and right.is_whole_rows and left.table != right.table:
        left, right = _as_columns(left, mentioned), _as_columns(right, mentioned)
    left_rows, right_rows = _as_base(left), _as_base(right)
    if not node.by and key_names(left_rows.table) != key_names(right_rows.table):
        raise StatementError(
            "by what are rows of the two sides the same?",
            code="combination",
            span=node.span,
            hints=(f"say it: … {node.operator} … by name", _ABOUT_WHOLE if not right.is_whole_rows else ""),
        )
    left_keys, right_keys = keys(node, left_rows.table), keys(node, right_rows.table)
    for one, other in zip(left_keys, right_keys, strict=True):
        check_comparable(one, other, node.span)
    if node.operator != "union":
        among: ir.Expr = ir.RowInSubquery(left_keys, _key_select(right_rows, right_keys))
        return left_rows.replace(where=ir.Not(among) if node.operator == "except" else among)
    if (
        left.is_whole_rows != right.is_whole_rows
        or (left.is_whole_rows and left.table != right.table)
        or not _same_columns(left, right)
    ):
        raise StatementError(
            "the two sides of a union have other columns",
            code="combination",
            span=node.span,
            hints=("select the same ones, in the same order, on both sides",),
        )
    new = ir.Not(ir.RowInSubquery(right_keys, _key_select(left_rows, left_keys)))
    return ir.Union(left_rows, right_rows.replace(where=new))


def derived_table(select: ir.Select) -> Table:
    """Return the table that the columns of a query make for a query of it."""
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
        fields = (Field("count", DataType.NUMBER, "how many rows there are"),)
    return Table(
        "the rows", "what the query in parentheses answers", fields, tuple(f.name for f in fields), (), view=DERIVED
    )


def key_names(table: Table) -> tuple[str, ...]:
    """Return the default key of a table."""
    return table.key or tuple(field.name for field in table.fields)


def _as_base(select: ir.Select) -> ir.Select:
    """Return a query of all rows of a query."""
    if select.is_whole_rows:
        return ir.Select(select.table, select.columns, base=select, order=select.order, is_whole_rows=True)
    table = derived_table(select)
    columns = tuple(ir.Projection(f.name, ir.Column(f), f.column_title, f) for f in table.fields)
    place = (ir.SortKey(ir.RowNumber(), descending=False),)
    return ir.Select(table, columns, base=select, order=place, is_whole_rows=True)


def _as_columns(select: ir.Select, mentioned: frozenset[str]) -> ir.Select:
    """Return whole rows as columns; of a staged table, the listed fields and those that are mentioned."""
    if not select.table.is_staged:
        return select.replace(is_whole_rows=False)
    fields = [
        field
        for field in select.table.fields
        if field.level is None or not mentioned.isdisjoint(map(casefold_name, (field.name, *field.aliases)))
    ]
    columns = tuple(ir.Projection(field.name, ir.Column(field), field.column_title, field) for field in fields)
    return select.replace(columns=columns, is_whole_rows=False)


def _key_select(rows: ir.Select, keys: tuple[ir.Expr, ...]) -> ir.Select:
    columns = tuple(ir.Projection(f"k{place}", key, "") for place, key in enumerate(keys))
    return rows.replace(columns=columns, order=(), is_whole_rows=False)


def _same_columns(left: ir.Select, right: ir.Select) -> bool:
    if left.is_whole_rows:
        return True
    return [(casefold_name(c.name), c.value.kind) for c in left.columns] == [
        (casefold_name(c.name), c.value.kind) for c in right.columns
    ]
