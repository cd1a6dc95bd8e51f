"""Refuses comparisons with a constant that no value of the field equals or matches.

Such a comparison selects no row, and its negation selects every row: `rm containers where status not in (up)`.
"""

from __future__ import annotations

import re

from imq.engine.catalog.schema import DataType
from imq.engine.query import ir
from imq.grammar import ast
from imq.grammar.errors import TypeMismatch, closest_hint, closest_names, join_names
from imq.grammar.record import TYPE_CHECKING
from imq.grammar.unparser import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.catalog.schema import Field

_PLACEHOLDER = "<none>"
"""What tables and templates show where an image has no name or tag, as docker does."""
_NAME_WITH_PARTS = r"(?a)[a-z0-9][\w.:/-]*(?:@[\w:]+)?"
_GLOB_SIGNS = ("*", "?", "[", "\\")
_DATE = r"(?a)\d{4}(-\d\d){0,2}\Z"
_DASHES_OF_DAY = 2


def check_value(operator: str, left: ir.Column, right: ir.Literal, node: ast.Expr) -> None:
    """Raise `TypeMismatch` for a constant that the field never equals (= and !=) or matches (like and matches)."""
    field, text = left.field, right.text or str(right.value)
    if field.type in (DataType.REFERENCE, DataType.REPOSITORY, DataType.TAG):
        _check_name(operator, field, text, node)
    if operator in ("=", "!="):
        _check_parts(field, text, node)
        if field.values and text not in field.values:
            close = closest_names(text, field.values)
            hints = [closest_hint(text, field.values), f"values: {join_names(field.values)}"]
            raise _make_error(node, f'{field.name} is never "{text[:80]}"', hints, close[0] if len(close) == 1 else "")
        if field.type is DataType.TIME and re.match(_DATE, text):
            raise _make_error(node, *_explain_date(field, text, operator))
    if field.prefix and _lacks_prefix(operator, text, field.prefix):
        name = text.strip("^")
        start = "^" if operator == "matches" else ""
        hints = [f"{field.name} {operator} {quote(f'{start}{field.prefix}{name}')}"]
        if field.prefix not in text and operator in ("=", "like"):
            hints.append(f"in any folder: {field.name} like {quote(f'*{field.prefix}{name}')}")
        raise _make_error(node, f'every {field.name} begins with "{field.prefix}"', hints)


def _check_name(operator: str, field: Field, text: str, node: ast.Expr) -> None:
    """Raise `TypeMismatch` for a pattern that no name, repository or tag matches."""
    if _PLACEHOLDER in text:
        words = ("with one", "known") if operator == "!=" else ("without one", "unknown")
        hint = f"for rows {words[0]}: {field.name} is {words[1]}"
        raise _make_error(node, f'"{_PLACEHOLDER}" stands for an unknown {field.name}', (hint,))
    if operator == "like" and "{" in text:
        hints = (f"{field.name} like … or {field.name} like …", f"or a regular expression: {field.name} matches …")
        raise _make_error(node, "braces have no meaning in a glob, and names contain none", hints)
    is_whole = operator == "like" and re.fullmatch(r"(?a)[\w./-]+", text)
    if is_whole and field.type is DataType.REFERENCE and field.name == "name":
        hints = (
            f'any tag: name like "{text[:80]}:*", or repository = {text[:80]}',
            f'a part of a name: name like "*{text[:80]}*"',
        )
        raise _make_error(node, f'every name has a tag or a digest, and the pattern "{text[:80]}" has neither', hints)


def _check_parts(field: Field, text: str, node: ast.Expr) -> None:
    """Raise `TypeMismatch` for a repository with a tag or a digest, a tag with a repository, and a name with both."""
    if not re.fullmatch(_NAME_WITH_PARTS, text):
        return
    if field.type is DataType.REPOSITORY and (":" in text.rpartition("/")[2] or "@" in text):
        problem = f'"{text[:80]}" has a {"digest" if "@" in text else "tag"}, and a repository has none'
    elif field.type is DataType.TAG and not {":", "/", "@"}.isdisjoint(text):
        problem = f'"{text[:80]}" is a name, and a tag is the part after its colon'
    elif field.type is DataType.REFERENCE and field.name == "name" and re.search(r":[^/@]+@", text):
        name, _, digest = text.partition("@")
        raise TypeMismatch(
            f'"{text[:80]}" has a tag and a digest, and a name has one of them',
            code="part-of-name",
            span=node.span,
            hints=(f"name the tag: name = {name[:80]}", f"or both: name = {name[:80]} and digest = {digest[:80]}"),
        )
    else:
        return
    hints = (f"to match the whole name: name = {text[:80]}",)
    raise TypeMismatch(problem, code="part-of-name", span=node.span, hints=hints)


def _explain_date(field: Field, text: str, operator: str) -> tuple[str, Sequence[str]]:
    """Return the message and the hints for a time that is compared with a whole day, month or year."""
    if text.count("-") == _DASHES_OF_DAY:
        condition = f"date({field.name}) {operator} {text}"
    else:
        condition = f'date({field.name}) {"not " if operator == "!=" else ""}like "{text}-*"'
    return f"{text} is the time at which it begins, and {field.name} is hardly ever exactly that", (
        f"for all of it: {condition}",
    )


def _lacks_prefix(operator: str, text: str, prefix: str) -> bool:
    """Whether no string that begins with `prefix` is equal to the text, or matches it."""
    if operator == "matches":
        return re.match(r"\^[\w.-]", text) is not None
    return bool(text) and not text.startswith((prefix, *_GLOB_SIGNS) if operator == "like" else prefix)


def _make_error(node: ast.Expr, message: str, hints: Sequence[str], replacement: str = "") -> TypeMismatch:
    operand = node.right if isinstance(node, ast.Comparison) and isinstance(node.right, ast.Literal) else node
    error = TypeMismatch(message, code="value", span=operand.span or node.span, hints=hints)
    error.replacement = replacement if operand is not node else ""
    return error
