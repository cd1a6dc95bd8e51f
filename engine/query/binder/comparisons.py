"""Comparisons: which kinds go together, and what the operators mean."""

from __future__ import annotations

import re

from imq.engine.catalog.tables import DataType
from imq.engine.oci.digest import is_digest, parse_hex_prefix
from imq.engine.query import ir
from imq.engine.query.constants import fold_constant
from imq.grammar import ast
from imq.grammar.errors import ImqError, TypeMismatch
from imq.grammar.record import TYPE_CHECKING
from imq.grammar.unparser import quote

from .literals import is_text

if TYPE_CHECKING:
    from imq.grammar.errors import Span

OF_TEXTS = ("like", "matches", "has")
"""Operators with a string on their right."""
_SIZED = (DataType.NUMBER, DataType.SIZE, DataType.DURATION)
_NAMES = (DataType.REFERENCE, DataType.REPOSITORY, DataType.TAG)
_ORDERED_ONLY = ("<", "<=", ">", ">=")
_WILDCARDS = "*%"
"""Wildcards that no image name has as a plain sign."""


def bind_comparison(node: ast.Expr, operator: str, left: ir.Expr, right: ir.Expr) -> ir.Expr:
    """Return the comparison of two values, or refuse it because of their kinds."""
    if operator in ("like", "matches"):
        right = fold_constant(right)
    if operator in OF_TEXTS and not is_text(right.kind):
        raise TypeMismatch(
            f'"{operator}" expects a string on its right, but {describe(right)} is {right.kind.value}', span=node.span
        )
    if operator == "has":
        if left.kind is not DataType.LIST and not (left.kind is DataType.MAP and isinstance(left, ir.Column)):
            raise TypeMismatch(
                f'"has" expects a list or a map on its left, but {describe(left)} is {left.kind.value}', span=node.span
            )
        return ir.Comparison("has", left, _ended(left, right))
    if operator in ("like", "matches") and left.kind in (DataType.LIST, DataType.MAP) and isinstance(left, ir.Column):
        _check_pattern(operator, left, right, node)
        return ir.Comparison(operator, left, right)  # any of its texts: of a map KEY=VALUE
    if left.kind in (DataType.LIST, DataType.MAP):
        advice = f"{describe(left)} has X" if left.kind is DataType.LIST else f"{describe(left)}.KEY {operator} X"
        raise TypeMismatch(
            f'{describe(left)} is {left.kind.value} and cannot be compared with "{operator}"',
            span=node.span,
            hints=(advice,),
        )
    if operator in ("like", "matches"):
        if not is_text(left.kind) and left.kind is not DataType.VERSION:
            raise TypeMismatch(
                f'"{operator}" expects a string, but {describe(left)} is {left.kind.value}', span=node.span
            )
        _check_pattern(operator, left, right, node)
        return ir.Comparison(operator, left, right)
    if DataType.DIGEST in (left.kind, right.kind) and (short := _short_id(operator, left, right)) is not None:
        return short
    check_comparable(left, right, node.span)
    if operator in ("=", "!="):
        _no_glob(operator, left, right, node)
    if operator in _ORDERED_ONLY and left.kind is DataType.BOOLEAN:
        raise TypeMismatch(f"{describe(left)} is {left.kind.value} and has no order", span=node.span)
    if operator in ("=", "!=") and left.kind is DataType.REFERENCE and isinstance(right, ir.Literal):
        return _as_name_or_written(operator, left, right)
    return ir.Comparison(operator, left, right)


def _as_name_or_written(operator: str, left: ir.Expr, name: ir.Literal) -> ir.Expr:
    """Return the comparison with a name: `v1` means `v1:latest`, and what another tool called `v1`."""
    if name.text in ("", name.value):
        return ir.Comparison(operator, left, name)
    written = name.replace(value=name.text)
    if operator == "=":
        return ir.InList(left, (name, written))
    return ir.And((ir.Comparison(operator, left, name), ir.Comparison(operator, left, written)))


def _no_glob(operator: str, left: ir.Expr, right: ir.Expr, node: ast.Expr) -> None:
    """Refuse a pattern where a name is compared: no name has such a sign, so the test holds for none, or for all."""
    right = fold_constant(right)
    if not isinstance(left, ir.Column) or not isinstance(right, ir.Literal) or left.kind not in _NAMES:
        return
    said = right.text or str(right.value)
    sign = next((sign for sign in said if sign in _WILDCARDS), None)
    if sign is not None:
        name = describe(left)
        alike = f"{name} like {quote(said.replace('%', '*'))}"
        replacement = alike if operator == "=" else f"not {alike}"
        if operator == "!=":
            alike = f"({name} is known and not {alike})"  # as != has it: what has no value is not unlike it
        written = operator if isinstance(node, ast.Comparison) else "in"
        error = TypeMismatch(
            f'"{written}" compares whole names, and no {name} has a "{sign}" in it',
            code="glob",
            span=node.span,
            hints=(f"a pattern is compared by like: {alike}",),
        )
        error.replacement = replacement if isinstance(node, ast.Comparison) and sign != "%" else ""
        raise error


def _check_pattern(operator: str, left: ir.Expr, right: ir.Expr, node: ast.Expr) -> None:
    """Refuse a constant pattern that its operator would read in an unexpected way."""
    if operator == "matches":
        check_pattern("matches", right, node)
    elif isinstance(right, ir.Literal):
        _no_wildcards(str(right.value), left, node)


def _no_wildcards(pattern: str, left: ir.Expr, node: ast.Expr) -> None:
    """Refuse the wildcards of SQL in a glob, where they are plain signs.

    `%` is one unless a class or a backslash makes it plain; `_` is one where the pattern has no sign of a glob.
    """
    bare = re.sub(r"\\.|\[[!^]?\]?[^\]]*\]", "", pattern, flags=re.DOTALL)
    percent, mark = "%" in bare, "_" in bare
    if not percent and (not mark or "*" in bare or "?" in bare or bare != pattern):
        return
    place = node.right if isinstance(node, ast.Comparison) else node
    any_sign = quote(_as_glob(pattern, "%_"))
    itself = quote(_as_glob(pattern, "%")) if percent else quote(pattern)
    if percent and mark:
        hints = (f"like {any_sign} where _ is any one character, like {itself} where it is a plain sign",)
    elif percent:
        hints = (f"like {any_sign}",)
    elif left.kind in (DataType.LIST, DataType.MAP):
        hints = (f"like {any_sign} for any one character, like {quote(pattern.replace('_', '[_]'))} for the sign _",)
    else:
        hints = (f"like {any_sign} for any one character, = {itself} for the text as it is",)
    error = TypeMismatch(
        f'"like" takes a glob, where "{"%" if percent else "_"}" is a plain sign and "{"*" if percent else "?"}" the'
        " wildcard",
        code="glob",
        span=place.span,
        hints=(*hints, "to match a percent sign: [%]" if percent else ""),
    )
    error.replacement = any_sign if percent and not mark else ""
    raise error


def _as_glob(pattern: str, wildcards: str) -> str:
    """Return a pattern of SQL as a glob; `wildcards` are those of its signs that are taken as such."""
    signs = {"%": "*", "_": "?"}

    def glob(part: re.Match[str]) -> str:
        return signs[part[0]] if part[0] in wildcards else part[0]

    return re.sub(r"\\.|\[[!^]?\]?[^\]]*\]|[%_]", glob, pattern, flags=re.DOTALL)


def _ended(left: ir.Expr, right: ir.Expr) -> ir.Expr:
    """Return what is looked for in a list, with the ending that its texts have and this one goes without."""
    ending = left.field.optional_suffix if isinstance(left, ir.Column) else ""
    if not ending or not isinstance(right, ir.Literal) or ending[0] in str(right.value):
        return right
    return right.replace(value=f"{right.value}{ending}")


def check_pattern(name: str, pattern: ir.Expr, node: ast.Expr) -> None:
    """Refuse a constant pattern that is none, before anything runs."""
    pattern = fold_constant(pattern)
    if not isinstance(pattern, ir.Literal):
        return
    from imq.engine.query.matching import path_match, regex_search

    try:
        (path_match if name == "path_match" else regex_search)(str(pattern.value), "")
    except ImqError as error:
        error.span = error.span or node.span
        raise


def check_group(pattern: ir.Expr, group: ir.Expr, node: ast.Expr) -> None:
    """Refuse a group that a constant pattern does not have."""
    pattern, group = fold_constant(pattern), fold_constant(group)
    if isinstance(pattern, ir.Literal) and isinstance(group, ir.Literal):
        from imq.engine.query.matching import regex_capture

        try:
            regex_capture(str(pattern.value), "", int(group.value or 0))
        except ImqError as error:
            error.span = error.span or node.span
            raise


def check_comparable(left: ir.Expr, right: ir.Expr, span: Span | None) -> None:
    """Refuse two values that cannot be equal because of their kinds."""
    fits = (
        left.kind is right.kind
        or (is_text(left.kind) and is_text(right.kind))
        or {left.kind, right.kind} == {DataType.NUMBER, DataType.SIZE}
    )
    if not fits:
        raise TypeMismatch(
            f"{describe(left)} is {left.kind.value}, {describe(right)} {right.kind.value}: they cannot be compared",
            span=span,
        )


def arithmetic_type(operator: str, left: DataType, right: DataType) -> DataType | None:
    """Return the kind of an arithmetic result; None when the two do not go together."""
    if left is DataType.TIME or right is DataType.TIME:
        return {("-", DataType.TIME, DataType.TIME): DataType.DURATION}.get((operator, left, right)) or (
            DataType.TIME if operator in "+-" and (left, right) == (DataType.TIME, DataType.DURATION) else None
        )
    if left not in _SIZED or right not in _SIZED:
        return None
    if DataType.DURATION in (left, right) and left is not right and operator in "+-%":
        return None
    if left is right:
        return DataType.NUMBER if operator == "/" else left if operator != "*" or left is DataType.NUMBER else None
    if right is DataType.NUMBER:
        return left
    return right if left is DataType.NUMBER and operator != "/" else None


def _short_id(operator: str, left: ir.Expr, right: ir.Expr) -> ir.Expr | None:
    """Return the comparison of a digest with a short id, when the operand is one."""
    operand, value = (left, right) if isinstance(right, ir.Literal) else (right, left)
    if operator not in ("=", "!=") or not isinstance(value, ir.Literal) or is_digest(str(value.value)):
        return None
    digits = parse_hex_prefix(str(value.value))
    if digits is None:
        return None
    starts = ir.HasPrefix(operand, f"sha256:{digits}")
    return starts if operator == "=" else ir.And((ir.IsKnown(operand, known=True), ir.Not(starts)))


def describe(value: ir.Expr) -> str:
    """Return how an error calls a value."""
    match value:
        case ir.Column(field):
            return field.name
        case ir.MapItem(field, key):
            return f"{field.name}.{key}"
        case ir.Literal(text=said):
            return f'"{said}"'
        case ir.ImageField(field, _, said):
            return f"{field.name} of {said}"
        case ir.FunctionCall(function):
            return f"{function.name}(…)"
        case ir.AggregateCall(aggregate):
            return f"{aggregate.name}(…)"
        case _:
            return "this"
