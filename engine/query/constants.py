"""Constant folding: the value of an expression without fields, before there is a row."""

from __future__ import annotations

from imq.engine.query import ir

_OF_THE_CLOCK = ("now", "age")


def fold_constant(value: ir.Expr) -> ir.Expr:
    """Return the literal that a function of literals returns; any other expression, or an unknown value, as it is."""
    if not isinstance(value, ir.FunctionCall) or not _is_constant(value):
        return value
    from .sql.statements import write_values
    from .sqlite_executor import evaluate

    result = evaluate(write_values((value,), 0))
    return value if result is None else ir.Literal(result, value.kind, str(result))


def _is_constant(value: ir.Expr) -> bool:
    """Whether an expression reads no field, no row and no clock."""
    match value:
        case ir.Literal():
            return True
        case ir.FunctionCall(function, arguments):
            return function.name not in _OF_THE_CLOCK and all(map(_is_constant, arguments))
        case ir.Arithmetic() | ir.Comparison():
            return _is_constant(value.left) and _is_constant(value.right)
        case _:
            return False
