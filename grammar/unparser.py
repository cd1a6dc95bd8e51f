"""The syntax tree back to text that parses to an equal tree."""

from __future__ import annotations

import re

from . import ast
from .lexer import asks, is_field, is_word
from .record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_OPENING = frozenset({
    "not", "in", "older", "newer", "has", "any", "no", "based", "shares", "contains", "local", "distinct",
})  # fmt: skip
"""Keywords that an expression may begin with: a field that is called so takes a dot."""
_SEGMENT = r"[\w/-]+\Z"
_LOOSEST, _OR, _AND, _NOT, _TEST, _SUM, _PRODUCT, _ATOM = range(8)
_TIGHTNESS = {"+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT, "%": _PRODUCT}


def quote(text: str) -> str:
    """Return `text` in quotes, escaped so that the lexer reads it back."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


def write(node: ast.Node) -> str:
    """Return the text of a node."""
    match node:
        case ast.Ask(query, output):
            return _joined(write(query), write(output))
        case ast.Act():
            return _act(node)
        case ast.Explain(statement):
            return f"explain {write(statement)}"
        case ast.DryRun(statement):
            return f"dry run {write(statement)}"
        case ast.Setting(name, value):
            said = f" {name}" if name is not None else ""
            return f"set{said} = {_expr(value, _SUM, right=True)}" if value is not None else f"set{said}"
        case ast.Let(name, value):
            return _let(name, value)
        case ast.View(name, rows):
            return f"view {name} as {write(rows)}" if rows is not None else "view"
        case ast.Use(source):
            return f"use {_value(source)}" if source is not None else "use"
        case ast.Include(path):
            return f"include {quote(path)}"
        case ast.OnError(stop):
            return f"on error {'stop' if stop else 'continue'}"
        case ast.Assert(condition, output):
            return _joined("assert", _expr(condition, _LOOSEST), write(output))
        case ast.Help(words):
            return _joined("help", *words)
        case ast.Query():
            return _query(node)
        case ast.Combination(operator, left, right, by):
            second = _grouped(right) if isinstance(right, ast.Combination) else write(right)
            return _joined(_operand_rows(left), operator, second, _listed("by", by))
        case ast.Items(items):
            return _enclosed(", ".join(_expr(item, _SUM, right=True) for item in items))
        case ast.Output(form, template):
            return f"as {form}" if form else f"format {quote(template)}" if template is not None else ""
        case ast.Option(name, values):
            return _joined(name, ", ".join(_value(value) for value in values))
        case ast.Ordering(key, descending):
            return _expr(key, _LOOSEST) + (" desc" if descending else "")
        case ast.Column(value, name):
            return _expr(value, _LOOSEST) + (f" as {quote(name)}" if name is not None else "")
        case ast.Window(count, per):
            return _joined(_expr(count, _SUM, right=True), _listed("per", per))
        case ast.Until(operator, size):
            return f"until total size {operator} {_expr(size, _SUM, right=True)}"
        case ast.Newest(count, per, by):
            said = f"by {_expr(by, _LOOSEST)}" if by is not None else ""
            return _joined("except newest", _expr(count, _SUM, right=True), _listed("per", per), said)
        case _:
            return _expr(node, _LOOSEST)


def _act(node: ast.Act) -> str:
    operand = ""
    if node.every:
        operand = "all"
    elif node.query is not None:
        named = bool(node.options) and node.options[0].name == "as"  # behind a column it would name that
        operand = _grouped(node.query) if named and _selects(node.query) else write(node.query)
    elif node.references:
        operand = ", ".join(_value(reference) for reference in node.references)
    return _joined(node.verb, operand, *(write(option) for option in node.options), write(node.output))


def _selects(rows: ast.Rows) -> bool:
    """Whether the text of these rows can end with a column."""
    return _selects(rows.right) if isinstance(rows, ast.Combination) else bool(rows.select)


def _let(name: str | None, value: ast.Expr | ast.Items | None) -> str:
    if value is None:
        return "let"
    if isinstance(value, ast.Items):
        return f"let {name} = {write(value)}"
    written = _expr(value, _SUM, right=True)
    return f"let {name} = {'.' if asks(written) else ''}{written}"  # as in parentheses, a query could begin here


def _grouped(rows: ast.Rows) -> str:
    return f"({write(rows)})"


def _operand_rows(rows: ast.Rows) -> str:
    """Write what stands on the left of a set operator: a `by` at its end would be taken for the whole."""
    return _grouped(rows) if isinstance(rows, ast.Combination) and rows.by else write(rows)


def _target(target: ast.Literal | ast.Variable | ast.Rows) -> str:
    return _value(target) if isinstance(target, ast.Literal | ast.Variable) else _grouped(target)


def _query(node: ast.Query) -> str:
    targets = ", ".join(_target(target) for target in node.targets)
    return _joined(
        "nonempty" if node.nonempty else "",
        _grouped(node.base) if node.base is not None else node.table,
        f"of {targets}" if targets else "",
        "in " + ", ".join(_value(source) for source in node.sources) if node.sources else "",
        "all" if node.every else "",
        f"where {_expr(node.where, _LOOSEST)}" if node.where is not None else "",
        _listed("group by", node.group),
        f"having {_expr(node.having, _LOOSEST)}" if node.having is not None else "",
        "order by " + ", ".join(write(key) for key in node.order) if node.order else "",
        f"limit {write(node.limit)}" if node.limit is not None else "",
        f"skip {write(node.skip)}" if node.skip is not None else "",
        write(node.newest) if node.newest is not None else "",
        write(node.until) if node.until is not None else "",
        "select " + ", ".join(write(column) for column in node.select) if node.select else "",
        "count" if node.count else "",
    )


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _listed(word: str, keys: Iterable[ast.Expr]) -> str:
    written = ", ".join(_expr(key, _LOOSEST) for key in keys)
    return f"{word} {written}" if written else ""


def _value(node: ast.Literal | ast.Variable) -> str:
    if isinstance(node, ast.Variable):
        return f"${node.name}"
    return node.text if not node.quoted and is_word(node.text) else quote(node.text)


def _literal(node: ast.Literal, *, right: bool) -> str:
    """Write a literal of an expression: a word that would be read as a field there needs quotes."""
    if is_field(node.text) and (not right or node.text.startswith(".")):
        return quote(node.text)
    return _value(node)


def _path(path: tuple[str, ...]) -> str:
    first, *rest = path
    return ".".join((first, *(part if re.match(_SEGMENT, part) else quote(part) for part in rest)))


def _expr(node: ast.Expr, tightness: int, *, right: bool = False) -> str:
    """Write an expression for a place that binds as tightly as this; on the right of an operator fields take a dot."""
    mine, text = _written(node, right=right)
    return text if mine >= tightness else _enclosed(text)


def _enclosed(text: str) -> str:
    """Write an expression in parentheses: a field at their beginning takes a dot where it would begin a query."""
    return f"(.{text})" if asks(text) else f"({text})"


def _written(node: ast.Expr, *, right: bool) -> tuple[int, str]:
    match node:
        case ast.Literal():
            return _ATOM, _literal(node, right=right)
        case ast.Variable():
            return _ATOM, _value(node)
        case ast.Field(path):
            return _ATOM, ("." if right or path[0].lower() in _OPENING else "") + _path(path)
        case ast.Subquery(rows):
            return _ATOM, _grouped(rows)
        case ast.Exists(rows, negated):
            return _exists(rows, "no" if negated else "any")
        case ast.FieldOf(path, target):
            dot = "." if len(path) > 1 or path[0].lower() in _OPENING else ""
            return _ATOM, f"{dot}{_path(path)} of {_value(target)}"
        case ast.Call(name, arguments, distinct):
            if len(arguments) == 1 and isinstance(arguments[0], ast.Subquery) and not distinct:
                return _ATOM, f"{name}({write(arguments[0].rows)})"
            written = ", ".join(_expr(argument, _LOOSEST) for argument in arguments)
            return _ATOM, f"{name}(distinct {written})" if distinct else name + _enclosed(written)
        case ast.Arithmetic(operator, left, other):
            mine = _TIGHTNESS[operator]
            return mine, f"{_expr(left, mine, right=right)} {operator} {_expr(other, mine + 1, right=True)}"
        case ast.Comparison(operator, left, other):
            return _TEST, f"{_expr(left, _SUM)} {operator} {_expr(other, _SUM, right=True)}"
        case ast.Between(operand, low, high):
            ends = f"{_expr(low, _SUM, right=True)} and {_expr(high, _SUM, right=True)}"
            return _TEST, f"{_expr(operand, _SUM)} between {ends}"
        case ast.In(operand, _, ast.Variable() as variable):
            return _TEST, f"{_expr(operand, _SUM)} in {_value(variable)}"
        case ast.In(operand, _, ast.Query() | ast.Combination() as rows):
            return _TEST, f"{_expr(operand, _SUM)} in {_grouped(rows)}"
        case ast.In(operand, items):
            listed = ", ".join(_expr(item, _SUM, right=True) for item in items)
            return _TEST, f"{_expr(operand, _SUM)} in {_enclosed(listed)}"
        case ast.Known(operand, known):
            return _TEST, f"{_expr(operand, _SUM)} is {'known' if known else 'unknown'}"
        case ast.Phrase(words, arguments):
            return _TEST, _joined(words, *(_expr(argument, _SUM, right=True) for argument in arguments))
        case ast.Not(operand):
            return _NOT, f"not {_expr(operand, _NOT)}"
        case ast.And(operands):
            return _AND, " and ".join(_expr(operand, _NOT) for operand in operands)
        case ast.Or(operands):
            return _OR, " or ".join(_expr(operand, _AND) for operand in operands)


def _exists(rows: ast.Rows, word: str) -> tuple[int, str]:
    """Write `any …` or `no …`; a condition inside it goes on to the end, so what follows must be kept apart."""
    if isinstance(rows, ast.Combination) or rows.base is not None or rows != _plain(rows):
        return _TEST, f"{word} {_grouped(rows)}"
    return _TEST if rows.where is None else _LOOSEST, f"{word} {write(rows)}"


def _plain(rows: ast.Query) -> ast.Query:
    return ast.Query(rows.table, rows.targets, rows.sources, where=rows.where)
