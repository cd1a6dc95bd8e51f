"""Comparisons: checks the types of operands and converts operators to the typed query."""

from __future__ import annotations

import re

from imq.engine.catalog.tables import DataType
from imq.engine.oci.digest import is_digest, parse_hex_prefix
from imq.engine.query import ir
from imq.grammar import ast
from imq.grammar.errors import ImqError, TypeMismatch
from imq.grammar.record import TYPE_CHECKING

from .literals import is_string

if TYPE_CHECKING:
    from imq.grammar.errors import Span

STRING_OPERATORS = ("like", "matches", "has")
"""Operators whose right operand is a string."""
_NUMERIC = (DataType.NUMBER, DataType.SIZE, DataType.DURATION)
_NAME_TYPES = (DataType.REFERENCE, DataType.REPOSITORY, DataType.TAG)
ORDER_OPERATORS = ("<", "<=", ">", ">=")
"""Operators on values that have an order."""
_WILDCARDS = "*%"
_HEX_ID = "^[0-9a-f]{64}$"
"""Wildcards, which are not valid characters of image names."""


def bind_comparison(node: ast.Expr, operator: str, left: ir.Expr, right: ir.Expr) -> ir.Expr:
    """Return the comparison of two values. Raises `TypeMismatch` if their types do not fit."""
    if operator in ("like", "matches"):
        right = _fold_constant(right)
    if operator in STRING_OPERATORS and not is_string(right.kind):
        raise TypeMismatch(
            f'"{operator}" expects a string on its right, but {describe(right)} is {right.kind.value}', span=node.span
        )
    if operator == "has":
        if left.kind is not DataType.LIST and not (left.kind is DataType.MAP and isinstance(left, ir.Column)):
            raise TypeMismatch(
                f'"has" expects a list or a map on its left, but {describe(left)} is {left.kind.value}', span=node.span
            )
        return ir.Comparison("has", left, _add_suffix(left, right))
    if operator in ("like", "matches") and left.kind in (DataType.LIST, DataType.MAP) and isinstance(left, ir.Column):
        _check_pattern(operator, left, right, node)
        return ir.Comparison(operator, left, right)  # matches any item; an item of a map is KEY=VALUE
    if left.kind in (DataType.LIST, DataType.MAP):
        advice = f"{describe(left)} has X" if left.kind is DataType.LIST else f"{describe(left)}.KEY {operator} X"
        raise TypeMismatch(
            f'{describe(left)} is {left.kind.value} and cannot be compared with "{operator}"',
            span=node.span,
            hints=(advice,),
        )
    if operator in ("like", "matches"):
        if not is_string(left.kind) and not left.kind.is_version:
            raise TypeMismatch(
                f'"{operator}" expects a string, but {describe(left)} is {left.kind.value}', span=node.span
            )
        _check_pattern(operator, left, right, node)
        return ir.Comparison(operator, left, _add_algorithm(operator, left, right))
    if DataType.DIGEST in (left.kind, right.kind) and (short := _compare_short_id(operator, left, right)) is not None:
        return short
    check_comparable(left, right, node.span)
    if operator in ("=", "!="):
        _check_value(operator, left, right, node)
        _refuse_glob(operator, left, right, node)
        if _means_unknown(left, right):
            return ir.IsKnown(left, operator == "!=")
    if operator in ORDER_OPERATORS and left.kind is DataType.BOOLEAN:
        raise TypeMismatch(f"{describe(left)} is {left.kind.value} and has no order", span=node.span)
    if operator in ("=", "!=") and left.kind is DataType.REFERENCE and isinstance(right, ir.Literal):
        return _compare_name(operator, left, right)
    return ir.Comparison(operator, left, right)


def _means_unknown(left: ir.Expr, right: ir.Expr) -> bool:
    """Whether the comparison asks for an unknown value: `user = ""` selects images without a user."""
    is_empty = isinstance(right, ir.Literal) and right.value == ""
    return is_empty and isinstance(left, ir.Column) and not left.join and left.field.empty_is_unknown


def _compare_name(operator: str, left: ir.Expr, name: ir.Literal) -> ir.Expr:
    """Return the comparison with a name: `v1` matches `v1:latest`, and the name `v1` that another tool wrote."""
    if name.text in ("", name.value):
        return ir.Comparison(operator, left, name)
    literal = name.replace(value=name.text)
    if operator == "=":
        return ir.InList(left, (name, literal))
    return ir.And((ir.Comparison(operator, left, name), ir.Comparison(operator, left, literal)))


def _refuse_glob(operator: str, left: ir.Expr, right: ir.Expr, node: ast.Expr) -> None:
    """Refuse a pattern in a comparison of names: no name contains a wildcard, so `=` would match no row."""
    right = _fold_constant(right)
    if not isinstance(left, ir.Column) or not isinstance(right, ir.Literal) or left.kind not in _NAME_TYPES:
        return
    text = right.text or str(right.value)
    wildcard = next((sign for sign in text if sign in _WILDCARDS), None)
    if wildcard is not None:
        from imq.grammar.unparser import quote

        name = describe(left)
        condition = f"{name} like {quote(text.replace('%', '*'))}"
        replacement = condition if operator == "=" else f"not {condition}"
        if operator == "!=":
            condition = f"({name} is known and not {condition})"  # as with !=, an unknown value does not match
        operator_text = operator if isinstance(node, ast.Comparison) else "in"
        error = TypeMismatch(
            f'"{operator_text}" compares whole names, and no {name} contains "{wildcard}"',
            code="glob",
            span=node.span,
            hints=(f"to match a pattern: {condition}",),
        )
        error.replacement = replacement if isinstance(node, ast.Comparison) and wildcard != "%" else ""
        raise error


def _check_value(operator: str, left: ir.Expr, right: ir.Expr, node: ast.Expr) -> None:
    """Refuse a constant that the field never equals or matches."""
    if not isinstance(left, ir.Column) or not isinstance(right, ir.Literal):
        return
    field = left.field
    if field.values or field.prefix or field.type is DataType.TIME or left.kind in _NAME_TYPES:
        from .impossible_values import check_value

        check_value(operator, left, right, node)


def _check_pattern(operator: str, left: ir.Expr, right: ir.Expr, node: ast.Expr) -> None:
    """Refuse an invalid constant pattern, SQL wildcards in a glob, and a pattern that the field never matches."""
    if operator == "matches":
        check_pattern("matches", right, node)
    elif isinstance(right, ir.Literal):
        _refuse_sql_wildcards(str(right.value), left, node)
    _check_value(operator, left, right, node)


def _refuse_sql_wildcards(pattern: str, left: ir.Expr, node: ast.Expr) -> None:
    """Refuse the wildcards of SQL in a glob, where they are ordinary characters.

    `%` counts as a wildcard unless it is escaped or in a class; `_` only if the pattern has no glob wildcard.
    """
    unescaped = re.sub(r"\\.|\[[!^]?\]?[^\]]*\]", "", pattern, flags=re.DOTALL)
    has_percent, has_underscore = "%" in unescaped, "_" in unescaped
    if not has_percent and (not has_underscore or "*" in unescaped or "?" in unescaped or unescaped != pattern):
        return
    from imq.grammar.unparser import quote

    operand = node.right if isinstance(node, ast.Comparison) else node
    as_wildcards = quote(_convert_to_glob(pattern, "%_"))
    as_literal = quote(_convert_to_glob(pattern, "%")) if has_percent else quote(pattern)
    if has_percent and has_underscore:
        hints = (f"like {as_wildcards} if _ is any one character, like {as_literal} if it is an underscore",)
    elif has_percent:
        hints = (f"like {as_wildcards}",)
    elif left.kind in (DataType.LIST, DataType.MAP):
        hints = (
            f"like {as_wildcards} for any one character, like {quote(pattern.replace('_', '[_]'))} for an underscore",
        )
    else:
        hints = (f"like {as_wildcards} for any one character, = {as_literal} for exactly this string",)
    error = TypeMismatch(
        f'"like" takes a glob, in which "{"%" if has_percent else "_"}" is no wildcard:'
        f' use "{"*" if has_percent else "?"}"',
        code="glob",
        span=operand.span,
        hints=(*hints, "to match a percent sign: [%]" if has_percent else ""),
    )
    error.replacement = as_wildcards if has_percent and not has_underscore else ""
    raise error


def _convert_to_glob(pattern: str, wildcards: str) -> str:
    """Convert an SQL pattern to a glob; `wildcards` are the characters to convert."""
    globs = {"%": "*", "_": "?"}

    def convert(part: re.Match[str]) -> str:
        return globs[part[0]] if part[0] in wildcards else part[0]

    return re.sub(r"\\.|\[[!^]?\]?[^\]]*\]|[%_]", convert, pattern, flags=re.DOTALL)


def _add_algorithm(operator: str, left: ir.Expr, pattern: ir.Expr) -> ir.Expr:
    """Return a pattern of hex digits so that it matches the digits after the algorithm: `0783*`, `^0783`."""
    has_algorithm = not isinstance(left, ir.Column) or left.field.has_algorithm
    if left.kind is not DataType.DIGEST or not has_algorithm or not isinstance(pattern, ir.Literal):
        return pattern
    text = str(pattern.value)
    if ":" in text:
        return pattern
    if operator == "like":
        return pattern if text.startswith("*") else pattern.replace(value=f"*:{text}")
    return pattern.replace(value=re.sub(r"^\^(?=[0-9a-f[(])", "^[^:]*:", text))


def _add_suffix(left: ir.Expr, right: ir.Expr) -> ir.Expr:
    """Return the item to look for in a list, with the optional suffix that it omits. Example: `80` for `80/tcp`."""
    suffix = left.field.optional_suffix if isinstance(left, ir.Column) else ""
    if not suffix or not isinstance(right, ir.Literal) or suffix[0] in str(right.value):
        return right
    return right.replace(value=f"{right.value}{suffix}")


def check_pattern(name: str, pattern: ir.Expr, node: ast.Expr) -> None:
    """Refuse an invalid constant pattern before the query runs."""
    pattern = _fold_constant(pattern)
    if not isinstance(pattern, ir.Literal):
        return
    from imq.engine.query.matching import path_match, regex_search

    try:
        (path_match if name == "path_match" else regex_search)(str(pattern.value), "")
    except ImqError as error:
        error.span = error.span or node.span
        raise


def check_group(pattern: ir.Expr, group: ir.Expr, node: ast.Expr) -> None:
    """Refuse a group number that a constant pattern does not have."""
    pattern, group = _fold_constant(pattern), _fold_constant(group)
    if isinstance(pattern, ir.Literal) and isinstance(group, ir.Literal):
        from imq.engine.query.matching import regex_capture

        try:
            regex_capture(str(pattern.value), "", int(group.value or 0))
        except ImqError as error:
            error.span = error.span or node.span
            raise


def check_comparable(left: ir.Expr, right: ir.Expr, span: Span | None) -> None:
    """Refuse two values whose types cannot be compared."""
    fits = (
        left.kind is right.kind
        or (is_string(left.kind) and is_string(right.kind))
        or {left.kind, right.kind} == {DataType.NUMBER, DataType.SIZE}
        or (left.kind is DataType.PACKAGE_VERSION and is_string(right.kind))
    )
    if not fits:
        raise TypeMismatch(
            f"{describe(left)} is {left.kind.value}, {describe(right)} {right.kind.value}: they cannot be compared",
            span=span,
        )


def get_arithmetic_type(operator: str, left: DataType, right: DataType) -> DataType | None:
    """Return the kind of an arithmetic result; None when the two do not go together."""
    if left is DataType.TIME or right is DataType.TIME:
        return {("-", DataType.TIME, DataType.TIME): DataType.DURATION}.get((operator, left, right)) or (
            DataType.TIME if operator in "+-" and (left, right) == (DataType.TIME, DataType.DURATION) else None
        )
    if left not in _NUMERIC or right not in _NUMERIC:
        return None
    if DataType.DURATION in (left, right) and left is not right and operator in "+-%":
        return None
    if left is right:
        return DataType.NUMBER if operator == "/" else left if operator != "*" or left is DataType.NUMBER else None
    if right is DataType.NUMBER:
        return left
    return right if left is DataType.NUMBER and operator != "/" else None


def _compare_short_id(operator: str, left: ir.Expr, right: ir.Expr) -> ir.Expr | None:
    """Return the comparison of a digest with a short id, when the operand is one."""
    operand, value = (left, right) if isinstance(right, ir.Literal) else (right, left)
    if operator not in ("=", "!=") or not isinstance(value, ir.Literal) or is_digest(str(value.value)):
        return None
    digits = parse_hex_prefix(str(value.value))
    if digits is None:
        return None
    is_plain = isinstance(operand, ir.Column) and not operand.field.has_algorithm
    starts: ir.Expr = ir.HasPrefix(operand, digits if is_plain else f"sha256:{digits}")
    if isinstance(operand, ir.Column) and operand.field.takes_any_text:  # "abc" is no short form of the ID "abc-1"
        whole = ir.Comparison("=", operand, value.replace(value=value.text))
        is_hex = ir.Comparison("matches", operand, ir.Literal(_HEX_ID, DataType.TEXT, _HEX_ID))
        starts = ir.Or((whole, ir.And((starts, is_hex))))
    return starts if operator == "=" else ir.And((ir.IsKnown(operand, known=True), ir.Not(starts)))


def describe(value: ir.Expr) -> str:
    """Return the description of a value in an error."""
    match value:
        case ir.Column(field, join):
            return f"{join}.{field.name}" if join else field.name
        case ir.MapItem(field, key):
            return f"{value.join}.{field.name}.{key}" if value.join else f"{field.name}.{key}"
        case ir.Literal(text=text):
            return f'"{text}"'
        case ir.ImageField(field, _, text):
            return f"{field.name} of {text}"
        case ir.FunctionCall(function):
            return f"{function.name}(…)"
        case ir.AggregateCall(aggregate):
            return f"{aggregate.name}(…)"
        case _:
            return "this"


def _fold_constant(value: ir.Expr) -> ir.Expr:
    """Return the known result of a function of constants as a literal; any other expression unchanged."""
    if not isinstance(value, ir.FunctionCall):
        return value
    from imq.engine.query.constant_folding import fold_constant

    return fold_constant(value)


def suggest_comparison(before: ast.Expr, word: str, operand: ast.Expr) -> str:
    """Return a hint for a value alone after the `word` and or or: `tag in (1, 2)` for `tag = 1 or 2`.

    `before` is the condition before it; "" when it does not tell what the value is compared with.
    """
    from imq.grammar.unparser import unparse

    value: ast.Expr | None = operand if isinstance(operand, ast.Literal) else None
    if isinstance(operand, ast.Field) and operand.path:
        value = ast.Literal(".".join(operand.path))
    if value is None or not isinstance(before, ast.Comparison) or not isinstance(before.right, ast.Literal):
        return ""
    if before.operator in ("=", "!="):
        either = unparse(ast.In(before.left, (before.right, value)))
        is_negated = before.operator == "!="
        return f"did you mean: {either.replace(' in (', ' not in (', 1) if is_negated else either}"
    if before.operator in STRING_OPERATORS:
        operands = (before, before.replace(right=value))
        return f"did you mean: {unparse(ast.And(operands) if word == 'and' else ast.Or(operands))}"
    return ""
