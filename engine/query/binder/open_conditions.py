"""Refuses conditions of relations that a reader may understand as conditions of other rows.

The condition of `no layers where A and B` extends to the end, so B is a condition on layers. Where B could also be a
condition on images, a removal would take other rows than a reader expects. Example: `no referrers where artifact_type
like "*sig*" and older than 30d` holds for each tag without an old signature, even for a new tag.

A reader takes `blobs where no images` for the blobs without images. Without such a relation it would hold for all blobs
or for none.
"""

from __future__ import annotations

from imq.engine.catalog.tables import CONTAINERS
from imq.grammar import ast
from imq.grammar.errors import StatementError, join_names
from imq.grammar.record import TYPE_CHECKING, Record
from imq.grammar.unparser import unparse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from imq.engine.catalog.tables import Table

_AGE_FIELD = "created"
"""The field that `older than` and `newer than` read."""


def check_exists(
    node: ast.Exists, outer: Table, inner: Table, note: Callable[[str], None], *, is_removal: bool
) -> None:
    """Raise `StatementError` for a condition on rows of `inner` that may be meant for the rows of `outer`.

    When it is valid where it is, only a removal is refused; `note` reports it of other statements.
    """
    if not isinstance(node.rows, ast.Query) or node.rows.where is None:
        return
    where = node.rows.where
    if isinstance(where, ast.And | ast.Or) and _is_open(node, where):
        for operand in where.operands[1:]:
            names = list(_list_names(operand))
            if names and all(_has_name(outer, name) for name in names):
                error = _make_error(
                    node,
                    operand,
                    f"{unparse(operand)} applies to {inner.name} here, but could be meant for {outer.name}",
                )
                if is_removal:
                    raise error
                note("\n  ".join((error.message, *error.hints)))
                return


def check_related(rows: ast.RowSource, table: Table, outer: Sequence[Table]) -> None:
    """Raise `StatementError` for the rows of a table without a relation to the rows of `table`, the whole table.

    `outer` are the tables of the enclosing queries, innermost first. A query that names its source is meant as it is,
    and so are one of the same table and one of Python, unless it is a relation of an enclosing query.
    """
    if not isinstance(rows, ast.Query) or rows.targets or rows.sources or rows.base is not None:
        return
    if table.find_relation(rows.table) is not None:
        return
    name = rows.table
    if (owner := next((one for one in outer if one.find_relation(name) is not None), None)) is not None:
        raise StatementError(
            f"{name} is a relation of {owner.name}, not of {table.name}",
            code="ambiguous-condition",
            span=rows.span,
            hints=(f"to end the condition before it: (any {table.name} where …) and …, or (no {table.name} where …)",),
        )
    if name == CONTAINERS.name and table.is_staged:
        from imq.engine.query.unavailable_fields import make_unavailable_error

        raise make_unavailable_error(CONTAINERS.fields[0].replace(about_containers=True), table, rows.span)
    if rows.span is not None and name not in (table.name, *(one.name for one in outer)):
        relations = [relation.name for relation in table.relations]
        raise StatementError(
            f"{table.name} have no relation {name}: this would be about all {name}, whichever row it is",
            code="unrelated",
            span=rows.span,
            hints=(
                f"relations: {join_names(relations)}" if relations else "",
                f"to compare with other rows: FIELD in ({name} select FIELD)",
                f"for any {name} at all: ({name} … count) > 0",
            ),
        )


def _make_error(node: ast.Exists, part: ast.Expr, message: str) -> StatementError:
    """Return the error for a part of a condition that is valid where it is."""
    assert isinstance(node.rows, ast.Query)
    start = f"{'no' if node.negated else 'any'} {node.rows.table} where"
    hints = (
        f"to end the condition before it: ({start} …) and …",
        f"to keep it in the condition: {start} (… and …)",
    )
    return StatementError(message, code="ambiguous-condition", span=part.span, hints=hints)


def _is_open(node: ast.Exists, where: ast.Expr) -> bool:
    """Whether the condition ends only where the statement does: neither it nor `node` is in parentheses."""
    return node.span is not None and where.span is not None and node.span.end == where.span.end


def _get_relation_name(node: ast.Exists) -> str:
    """Return the name after `any` or `no` that a relation can have; empty for a query of named rows."""
    rows = node.rows
    return rows.table if isinstance(rows, ast.Query) and not (rows.targets or rows.sources or rows.base) else ""


def _walk_own(node: Record) -> Iterator[Record]:
    """Yield the parts of a condition that are about its own row: none of queries inside it."""
    yield node
    if not isinstance(node, ast.Exists | ast.Subquery | ast.Query | ast.Combination):
        for child in ast.children(node):
            yield from _walk_own(child)


def _list_names(operand: ast.Expr) -> Iterator[str]:
    """Yield the names of fields and relations that a condition reads of its own row."""
    from imq.engine.catalog.predicates import PREDICATES

    for part in _walk_own(operand):
        if isinstance(part, ast.Field):
            yield part.path[0]
        elif isinstance(part, ast.Exists) and (name := _get_relation_name(part)):
            yield name
        elif isinstance(part, ast.Predicate):
            predicate = PREDICATES[part.name]
            if predicate.expand is not None:
                yield from _list_names(predicate.expand(part.arguments))
            else:
                yield _AGE_FIELD if part.name in ("older than", "newer than") else "chain_ids"


def _has_name(table: Table, name: str) -> bool:
    return table.find_field(name) is not None or table.find_relation(name) is not None
