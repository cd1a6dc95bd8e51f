"""Refuses values whose unit or order a reader may take for another.

`older than 6m` is an age of 6 minutes, and `size > 500` is true from 501 bytes on: where rows are removed, both remove
almost everything. `tag < 1.10` and `label.days < 30` compare strings, of which "1.9" and "100" are on the wrong side.
"""

from __future__ import annotations

import re

from imq.engine.catalog.schema import DataType
from imq.engine.query import ir
from imq.grammar import ast
from imq.grammar.errors import StatementError, TypeMismatch
from imq.grammar.record import TYPE_CHECKING

from .comparisons import describe

if TYPE_CHECKING:
    from imq.grammar.errors import Span

_SMALLEST_BARE_SIZE = 1_000_000
"""Bytes from which a size without a unit is clear: nobody means as many megabytes."""
_MINUTES = r"(?a)(\d+) ?m\Z"
_NUMBER = r"(?a)-?\d+(?:\.\d+)?\Z"
_VERSION = r"(?a)v?\d+(?:\.\d+)+(?:[-+][\w.+-]*)?\Z"


def check_age(text: str, span: Span | None) -> None:
    """Raise `StatementError` for an age of a removal in `m`, which can stand for minutes or months."""
    if (match := re.match(_MINUTES, text.removesuffix(" ago"))) is not None:
        raise StatementError(
            f'"{text}" is ambiguous in a removal: m can stand for minutes or months',
            code="ambiguous-unit",
            span=span,
            hints=(f"write {match[1]} minutes or {match[1]} months",),
        )


def check_size(value: ir.Literal, literal: ast.Literal) -> None:
    """Raise `StatementError` for a small size of a removal without a unit, which is a number of bytes."""
    if value.kind is not DataType.SIZE or not re.match(_NUMBER, literal.text):
        return
    if isinstance(value.value, int) and 0 < value.value < _SMALLEST_BARE_SIZE:
        raise StatementError(
            f'"{literal.text}" is ambiguous in a removal: a size without a unit is in bytes',
            code="ambiguous-unit",
            span=literal.span,
            hints=(f"write {literal.text}MB or {literal.text}B",),
        )


def check_string_order(left: ir.Expr, literal: ast.Literal) -> None:
    """Raise `TypeMismatch` for the order of a string and a number or a version. Quotes make it a string."""
    if literal.quoted or left.kind not in (DataType.TEXT, DataType.TAG):
        return
    if not isinstance(left, ir.Column | ir.MapItem):
        return
    name, text = describe(left), literal.text
    if left.kind is DataType.TAG and re.match(_VERSION, text):
        kind, value = "version", "version"
    elif re.match(_NUMBER, text):
        kind, value = "number", f"number({name})"
    elif re.match(_VERSION, text):
        kind, value = "version", f"version({name})"
    else:
        return
    raise TypeMismatch(
        f"{name} is {left.kind.value}, whose order is not that of a {kind}",
        code="string-order",
        span=literal.span,
        hints=(f"to compare as a {kind}: {value}", f'to compare as strings: "{text}"'),
    )
