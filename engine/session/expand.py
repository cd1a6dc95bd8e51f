"""Expansion of variables and views: AST in, AST without `Variable` and without views out."""

from __future__ import annotations

from imq.grammar import ast
from imq.grammar.errors import StatementError, UnknownName, closest_hint
from imq.grammar.lexer import is_field_path
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Value = ast.Expr | ast.ListLiteral


_ENVIRONMENT = "env."


class Definitions(Record):
    """The definitions that a statement may use: variables, views by lower-case name, the environment.

    `read_view` parses a view of the configuration, which is stored as text.
    """

    variables: Mapping[str, Value]
    views: Mapping[str, ast.RowSource | str]
    environment: Mapping[str, str]
    read_view: Callable[[str], ast.RowSource]


def expand(node: Any, names: Definitions) -> Any:
    """Return the node with variables and views replaced, of the same class as it was.

    Raises `UnknownName` for a variable without a value, and `StatementError` for a list where one value is expected.
    """
    match node:
        case ast.Variable():
            return _value(node, names)
        case ast.In(operand, _, ast.Variable() as variable):
            return _member(expand(operand, names), _looked_up(variable, names), node)
        case ast.In(operand, (ast.Variable() as variable,)) if isinstance(_looked_up(variable, names), ast.ListLiteral):
            return _member(expand(operand, names), _looked_up(variable, names), node)
        case ast.Query() if (view := names.views.get(node.table.lower())) is not None:
            if node.targets or node.sources:
                raise StatementError(
                    f'"{node.table}" is a view, which takes neither "of" nor "in"', code="view", span=node.span
                )
            if isinstance(view, str):
                view = names.read_view(node.table.lower())
            return _rebuilt(node.replace(table="", base=view), names, but="base")
    return _rebuilt(node, names)


def _rebuilt(node: Any, names: Definitions, but: str = "") -> Any:
    changed: dict[str, Any] = {}
    for field in node.compared_fields():
        value = getattr(node, field)
        if field == but:
            continue
        if isinstance(value, Record):
            new = expand(value, names)
        elif isinstance(value, tuple) and value and isinstance(value[0], Record):
            parts = tuple(expand(part, names) for part in value)
            new = value if all(one is other for one, other in zip(parts, value, strict=True)) else parts
        else:
            continue
        if new is not value:
            changed[field] = new
    return node.replace(**changed) if changed else node


def _looked_up(node: ast.Variable, names: Definitions) -> Value:
    value = names.variables.get(node.name)
    if value is None and node.name.startswith(_ENVIRONMENT):
        given = names.environment.get(node.name.removeprefix(_ENVIRONMENT))
        value = ast.Literal(given) if given is not None else None
    if value is None:
        raise UnknownName(
            f"${node.name} has no value",
            code="unknown-variable",
            span=node.span,
            hints=(closest_hint(node.name, sorted(names.variables)), f"to give it one: let {node.name} = …"),
        )
    return value


def _value(node: ast.Variable, names: Definitions) -> ast.Expr:
    value = _looked_up(node, names)
    if isinstance(value, ast.ListLiteral):
        raise StatementError(
            f"${node.name} is a list, expected one value",
            code="variable",
            span=node.span,
            hints=(f"to look for something in it: FIELD in ${node.name}",),
        )
    return _as_value(value).replace(span=node.span)


def _as_value(value: ast.Expr) -> ast.Expr:
    """Return what a variable has as a value: a word in it is never the name of a field."""
    return value.replace(quoted=True) if isinstance(value, ast.Literal) and _is_name(value.text) else value


def _is_name(text: str) -> bool:
    """Whether a word could be read as the name of a field; true and false are values already."""
    return is_field_path(text) and text.lower() not in ("true", "false")


def _member(operand: ast.Expr, value: Value, node: ast.In) -> ast.In:
    if isinstance(value, ast.ListLiteral):
        return ast.In(operand, tuple(map(_as_value, value.items)), span=node.span)
    if isinstance(value, ast.Subquery):
        return ast.In(operand, rows=value.rows, span=node.span)
    return ast.In(operand, (_as_value(value),), span=node.span)
