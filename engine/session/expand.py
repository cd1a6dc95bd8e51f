"""Expands the variables and views of an AST."""

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
    """Return the node with its variables and views replaced; the class of the node stays the same.

    Raises `UnknownName` for a variable without a value, and `StatementError` for a list where one value is expected.
    """
    match node:
        case ast.Variable():
            return _expand_variable(node, names)
        case ast.In(operand, _, ast.Variable() as variable):
            return _build_membership(expand(operand, names), _look_up(variable, names), node)
        case ast.In(operand, (ast.Variable() as variable,)) if isinstance(_look_up(variable, names), ast.ListLiteral):
            return _build_membership(expand(operand, names), _look_up(variable, names), node)
        case ast.Query() if (view := names.views.get(node.table.lower())) is not None:
            if node.targets or node.sources:
                raise StatementError(
                    f'"{node.table}" is a view, which takes neither "of" nor "in"', code="view", span=node.span
                )
            if isinstance(view, str):
                view = names.read_view(node.table.lower())
            return _rebuild(node.replace(table="", base=view), names, skipped="base")
    return _rebuild(node, names)


def _rebuild(node: Any, names: Definitions, skipped: str = "") -> Any:
    changed: dict[str, Any] = {}
    for field in node.compared_fields():
        value = getattr(node, field)
        if field == skipped:
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


def _look_up(node: ast.Variable, names: Definitions) -> Value:
    value = names.variables.get(node.name)
    if value is None and node.name.startswith(_ENVIRONMENT):
        text = names.environment.get(node.name.removeprefix(_ENVIRONMENT))
        value = ast.Literal(text) if text is not None else None
    if value is None:
        raise UnknownName(
            f"unknown variable ${node.name}",
            code="unknown-variable",
            span=node.span,
            hints=(closest_hint(node.name, sorted(names.variables)), f"to define it: let {node.name} = …"),
        )
    return value


def _expand_variable(node: ast.Variable, names: Definitions) -> ast.Expr:
    value = _look_up(node, names)
    if isinstance(value, ast.ListLiteral):
        raise StatementError(
            f"${node.name} is a list, expected one value",
            code="variable",
            span=node.span,
            hints=(f"to search it: FIELD in ${node.name}",),
        )
    return _quote_name(value).replace(span=node.span)


def _quote_name(value: ast.Expr) -> ast.Expr:
    """Return the value of a variable with words quoted, so that none is read as the name of a field."""
    return value.replace(quoted=True) if isinstance(value, ast.Literal) and _is_name(value.text) else value


def _is_name(text: str) -> bool:
    """Return whether a word could be read as the name of a field. `true` and `false` are always values."""
    return is_field_path(text) and text.lower() not in ("true", "false")


def _build_membership(operand: ast.Expr, value: Value, node: ast.In) -> ast.In:
    if isinstance(value, ast.ListLiteral):
        return ast.In(operand, tuple(map(_quote_name, value.items)), span=node.span)
    if isinstance(value, ast.Subquery):
        return ast.In(operand, rows=value.rows, span=node.span)
    return ast.In(operand, (_quote_name(value),), span=node.span)
