"""Writes a syntax tree as text that parses to an equal tree."""

from __future__ import annotations

import re

from . import ast
from .lexer import begins_query, begins_with_field, is_bare_word, is_named_time, is_percentage
from .record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_EXPRESSION_KEYWORDS = frozenset({
    "not", "in", "older", "newer", "has", "any", "no", "based", "shares", "contains", "local", "distinct",
    "writable", "executable",
})  # fmt: skip
"""Keywords that can begin an expression: a field with such a name takes a dot."""
_SEGMENT = r"[\w/-]+\Z"
_LOWEST, _OR, _AND, _NOT, _COMPARISON, _SUM, _PRODUCT, _ATOM = range(8)
_PRECEDENCE = {"+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT, "%": _PRODUCT}


def quote(text: str) -> str:
    """Return `text` in quotes, escaped so that the lexer reads it back."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


def unparse(node: ast.Node) -> str:
    """Return a node as text."""
    match node:
        case ast.QueryStatement(query, output):
            return _join_parts(unparse(query), unparse(output))
        case ast.ActionStatement():
            return _unparse_action(node)
        case ast.Explain(statement):
            return f"explain {unparse(statement)}"
        case ast.DryRun(statement):
            return f"dry run {unparse(statement)}"
        case ast.Set(name, value):
            said = f" {name}" if name is not None else ""
            return f"set{said} = {_unparse_expr(value, _SUM, right=True)}" if value is not None else f"set{said}"
        case ast.Let(name, value):
            return _unparse_let(name, value)
        case ast.View(name, rows):
            return f"view {name} as {unparse(rows)}" if rows is not None else "view"
        case ast.Use(source):
            return f"use {_unparse_value(source)}" if source is not None else "use"
        case ast.Include(path):
            return f"include {quote(path)}"
        case ast.OnError(stop):
            return f"on error {'stop' if stop else 'continue'}"
        case ast.Assert(condition, output):
            return _join_parts("assert", _unparse_expr(condition, _LOWEST), unparse(output))
        case ast.Help(words):
            return _join_parts("help", *words)
        case ast.Query():
            return _unparse_query(node)
        case ast.Combination(operator, left, right, by):
            second = _parenthesize_rows(right) if isinstance(right, ast.Combination) else unparse(right)
            return _join_parts(_unparse_left_operand(left), operator, second, _join_keys("by", by))
        case ast.ListLiteral(items):
            return _parenthesize(", ".join(_unparse_expr(item, _SUM, right=True) for item in items))
        case ast.Output(form, template):
            return f"as {form}" if form else f"format {quote(template)}" if template is not None else ""
        case ast.Option("with", values):
            pairs = zip(values[::2], values[1::2], strict=True)
            return "with " + ", ".join(f"{_name_of(name)} = {_unparse_value(value)}" for name, value in pairs)
        case ast.Option(name, values):
            return _join_parts(name, ", ".join(_unparse_value(value) for value in values))
        case ast.Ordering(key, descending):
            return _unparse_expr(key, _LOWEST) + (" desc" if descending else "")
        case ast.Column(value, name):
            return _unparse_expr(value, _LOWEST) + (f" as {quote(name)}" if name is not None else "")
        case ast.Limit(count, per):
            return _join_parts(_unparse_expr(count, _SUM, right=True), _join_keys("per", per))
        case ast.Join(kind, rows, name, condition):
            is_named = isinstance(rows, ast.Query) and rows == ast.Query(
                rows.table, rows.targets, rows.sources, rows.at
            )
            joined = unparse(rows) if is_named else _parenthesize_rows(rows)
            said = "join" if kind == "left" else f"{kind} join"
            return f"{said} {joined} as {name} on {_unparse_expr(condition, _LOWEST)}"
        case ast.UntilSize(operator, size, measure):
            return f"until {measure} {operator} {_unparse_bound(size)}"
        case ast.When(operator, size, measure):
            return f"when {measure} {operator} {_unparse_bound(size)}"
        case ast.KeepNewest(count, per, by):
            said = f"by {_unparse_expr(by, _LOWEST)}" if by is not None else ""
            return _join_parts("except newest", _unparse_expr(count, _SUM, right=True), _join_keys("per", per), said)
        case _:
            return _unparse_expr(node, _LOWEST)


def _unparse_bound(size: ast.Expr) -> str:
    """Write the limit of a measure: a value, or a percentage, which has no quotes."""
    if isinstance(size, ast.Literal) and not size.quoted and is_percentage(size.text):
        return size.text
    return _unparse_expr(size, _SUM, right=True)


def _unparse_action(node: ast.ActionStatement) -> str:
    operand = ""
    if node.explicit_all:
        operand = "all"
    elif node.query is not None:
        begins_with_as = bool(node.options) and node.options[0].name == "as"  # behind a column it would name that
        operand = (
            _parenthesize_rows(node.query) if begins_with_as and _ends_with_columns(node.query) else unparse(node.query)
        )
    elif node.references:
        operand = ", ".join(_unparse_value(reference) for reference in node.references)
    return _join_parts(node.verb, operand, *(unparse(option) for option in node.options), unparse(node.output))


def _name_of(node: ast.Literal | ast.Variable) -> str:
    """Return the name of an option's value, which is written as the user wrote it."""
    assert isinstance(node, ast.Literal)
    return node.text


def _ends_with_columns(rows: ast.RowSource) -> bool:
    """Whether the text of these rows can end with a column."""
    return _ends_with_columns(rows.right) if isinstance(rows, ast.Combination) else bool(rows.select)


def _unparse_let(name: str | None, value: ast.Expr | ast.ListLiteral | None) -> str:
    if value is None:
        return "let"
    if isinstance(value, ast.ListLiteral):
        return f"let {name} = {unparse(value)}"
    text = _unparse_expr(value, _SUM, right=True)
    return f"let {name} = {'.' if begins_query(text) else ''}{text}"  # a query could begin here


def _parenthesize_rows(rows: ast.RowSource) -> str:
    return f"({unparse(rows)})"


def _unparse_left_operand(rows: ast.RowSource) -> str:
    """Write the left operand of a set operator; a trailing `by` needs parentheses."""
    return _parenthesize_rows(rows) if isinstance(rows, ast.Combination) and rows.by else unparse(rows)


def _unparse_target(target: ast.Literal | ast.Variable | ast.RowSource) -> str:
    return _unparse_value(target) if isinstance(target, ast.Literal | ast.Variable) else _parenthesize_rows(target)


def _unparse_query(node: ast.Query) -> str:
    targets = ", ".join(_unparse_target(target) for target in node.targets)
    return _join_parts(
        "nonempty" if node.nonempty else "",
        _parenthesize_rows(node.base) if node.base is not None else node.table,
        f"of {targets}" if targets else "",
        "in " + ", ".join(_unparse_value(source) for source in node.sources) if node.sources else "",
        f"at {_unparse_keys(node.at)}" if node.at else "",
        *(unparse(join) for join in node.joins),
        "all" if node.explicit_all else "",
        f"where {_unparse_expr(node.where, _LOWEST)}" if node.where is not None else "",
        _join_keys("group by", node.group),
        f"having {_unparse_expr(node.having, _LOWEST)}" if node.having is not None else "",
        "order by " + ", ".join(unparse(key) for key in node.order) if node.order else "",
        f"limit {unparse(node.limit)}" if node.limit is not None else "",
        f"skip {unparse(node.skip)}" if node.skip is not None else "",
        unparse(node.keep_newest) if node.keep_newest is not None else "",
        unparse(node.until) if node.until is not None else "",
        unparse(node.when) if node.when is not None else "",
        "select " + ", ".join(unparse(column) for column in node.select) if node.select else "",
        "count" if node.count else "",
    )


def _join_parts(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _join_keys(word: str, keys: Iterable[ast.Expr]) -> str:
    key_list = ", ".join(_unparse_expr(key, _LOWEST) for key in keys)
    return f"{word} {key_list}" if key_list else ""


def _unparse_value(node: ast.Literal | ast.Variable) -> str:
    if isinstance(node, ast.Variable):
        return f"${node.name}"
    is_bare = not node.quoted and (is_bare_word(node.text) or is_named_time(node.text))
    return node.text if is_bare else quote(node.text)


def _unparse_literal(node: ast.Literal, *, right: bool) -> str:
    """Write a literal in an expression; one that would be read as a field is quoted."""
    if begins_with_field(node.text) and (not right or node.text.startswith(".")):
        return quote(node.text)
    return _unparse_value(node)


def _unparse_keys(path: tuple[str, ...]) -> str:
    """Write the path after `at`, in which `*` is each key of a map."""
    return ".".join(part if at == 0 or part == "*" else _unparse_key(part) for at, part in enumerate(path))


def _unparse_key(key: str) -> str:
    return key if re.match(_SEGMENT, key) else quote(key)


def _unparse_path(path: tuple[str, ...]) -> str:
    first, *rest = path
    return ".".join((first, *map(_unparse_key, rest)))


def _unparse_expr(node: ast.Expr, min_precedence: int, *, right: bool = False) -> str:
    """Write an expression where this precedence is required; on the right of an operator fields take a dot."""
    precedence, text = _unparse_operator(node, right=right)
    return text if precedence >= min_precedence else _parenthesize(text)


def _parenthesize(text: str) -> str:
    """Write an expression in parentheses; a leading field takes a dot where it would begin a query."""
    return f"(.{text})" if begins_query(text) else f"({text})"


def _ends_with_image(node: ast.Expr) -> bool:
    """Whether an expression, written without parentheses, ends with the image of a field such as `size of redis:7`."""
    if isinstance(node, ast.Arithmetic) and _PRECEDENCE[node.operator] == _PRODUCT:
        return _ends_with_image(node.right)
    return isinstance(node, ast.ImageField)


def _unparse_operator(node: ast.Expr, *, right: bool) -> tuple[int, str]:
    match node:
        case ast.Literal():
            return _ATOM, _unparse_literal(node, right=right)
        case ast.Variable():
            return _ATOM, _unparse_value(node)
        case ast.Field(path):
            return _ATOM, ("." if right or path[0].lower() in _EXPRESSION_KEYWORDS else "") + _unparse_path(path)
        case ast.Subquery(rows):
            return _ATOM, _parenthesize_rows(rows)
        case ast.Exists(rows, negated):
            return _unparse_exists(rows, "no" if negated else "any")
        case ast.ImageField(path, target):
            dot = "." if len(path) > 1 or path[0].lower() in _EXPRESSION_KEYWORDS else ""
            return _ATOM, f"{dot}{_unparse_path(path)} of {_unparse_value(target)}"
        case ast.Call(name, (argument,), per=per) if per:
            return _ATOM, f"{name}({_unparse_expr(argument, _LOWEST)} {_join_keys('per', per)})"
        case ast.Call(name, arguments, distinct):
            if len(arguments) == 1 and isinstance(arguments[0], ast.Subquery) and not distinct:
                return _ATOM, f"{name}({unparse(arguments[0].rows)})"
            argument_list = ", ".join(_unparse_expr(argument, _LOWEST) for argument in arguments)
            return _ATOM, f"{name}(distinct {argument_list})" if distinct else name + _parenthesize(argument_list)
        case ast.Arithmetic(operator, left, other):
            precedence = _PRECEDENCE[operator]
            first = _unparse_expr(left, precedence, right=right)
            if operator == "/" and _ends_with_image(left):  # a slash after an image would begin a path
                first = _parenthesize(first)
            return precedence, f"{first} {operator} {_unparse_expr(other, precedence + 1, right=True)}"
        case ast.Comparison(operator, left, other):
            return _COMPARISON, f"{_unparse_expr(left, _SUM)} {operator} {_unparse_expr(other, _SUM, right=True)}"
        case ast.Between(operand, low, high):
            ends = f"{_unparse_expr(low, _SUM, right=True)} and {_unparse_expr(high, _SUM, right=True)}"
            return _COMPARISON, f"{_unparse_expr(operand, _SUM)} between {ends}"
        case ast.In(operand, _, ast.Variable() as variable):
            return _COMPARISON, f"{_unparse_expr(operand, _SUM)} in {_unparse_value(variable)}"
        case ast.In(operand, _, ast.Query() | ast.Combination() as rows):
            return _COMPARISON, f"{_unparse_expr(operand, _SUM)} in {_parenthesize_rows(rows)}"
        case ast.In(operand, items):
            item_list = ", ".join(_unparse_expr(item, _SUM, right=True) for item in items)
            return _COMPARISON, f"{_unparse_expr(operand, _SUM)} in {_parenthesize(item_list)}"
        case ast.IsKnown(operand, known):
            return _COMPARISON, f"{_unparse_expr(operand, _SUM)} is {'known' if known else 'unknown'}"
        case ast.Predicate(words, arguments):
            return _COMPARISON, _join_parts(
                words, *(_unparse_expr(argument, _SUM, right=True) for argument in arguments)
            )
        case ast.Not(operand):
            return _NOT, f"not {_unparse_expr(operand, _NOT)}"
        case ast.And(operands):
            return _AND, " and ".join(_unparse_expr(operand, _NOT) for operand in operands)
        case ast.Or(operands):
            return _OR, " or ".join(_unparse_expr(operand, _AND) for operand in operands)


def _unparse_exists(rows: ast.RowSource, word: str) -> tuple[int, str]:
    """Write `any …` or `no …`. A condition inside it extends to the end, so it binds loosest."""
    if isinstance(rows, ast.Combination) or rows.base is not None or rows != _without_clauses(rows):
        return _COMPARISON, f"{word} {_parenthesize_rows(rows)}"
    return _COMPARISON if rows.where is None else _LOWEST, f"{word} {unparse(rows)}"


def _without_clauses(rows: ast.Query) -> ast.Query:
    return ast.Query(rows.table, rows.targets, rows.sources, rows.at, where=rows.where)
