"""Constant folding: evaluates expressions without fields when a statement is bound."""

from __future__ import annotations

from imq.engine.query import ir

_CLOCK_FUNCTIONS = ("now", "age")


def fold_constant(value: ir.Expr) -> ir.Expr:
    """Return the known result of a function of constants as a literal; any other expression unchanged."""
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
            return function.name not in _CLOCK_FUNCTIONS and all(map(_is_constant, arguments))
        case ir.Arithmetic() | ir.Comparison():
            return _is_constant(value.left) and _is_constant(value.right)
        case _:
            return False
