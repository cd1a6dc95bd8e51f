"""The strings that `contains text` looks for in a query: the field `found` says where they are."""

from __future__ import annotations

from imq.grammar import ast


def list_found_texts(query: ast.RowSource) -> tuple[ast.Expr, ...]:
    """Return the strings that images of a query contain, by its condition. Those under `not` are left out."""
    if isinstance(query, ast.Combination):
        return tuple(dict.fromkeys((*list_found_texts(query.left), *list_found_texts(query.right))))
    own = list_found_texts(query.base) if query.base is not None else ()
    return tuple(dict.fromkeys((*own, *_list_strings(query.where))))


def _list_strings(condition: ast.Expr | None) -> tuple[ast.Expr, ...]:
    match condition:
        case ast.And(operands) | ast.Or(operands):
            return tuple(one for operand in operands for one in _list_strings(operand))
        case ast.Predicate(name, arguments) if name == "contains text":
            return arguments
    return ()
