"""Calls: functions of the row, and aggregates over the rows of a group."""

from __future__ import annotations

from imq.engine.catalog.functions import AGGREGATES, FUNCTIONS
from imq.engine.catalog.tables import DataType
from imq.engine.query import ir
from imq.grammar import ast
from imq.grammar.errors import StatementError, TypeMismatch, UnknownName, closest_hint, join_names
from imq.grammar.record import TYPE_CHECKING

from .comparisons import check_group, check_pattern, describe
from .literals import convert_literal, is_string

if TYPE_CHECKING:
    from imq.engine.catalog.functions import Aggregate, Function

    from .scope import ExpressionBinder


def bind_call(binder: ExpressionBinder, node: ast.Call) -> ir.Expr:
    """Bind a function of the row."""
    function = FUNCTIONS.get(node.name)
    if function is None or function.is_internal:
        known = [*(name for name, one in FUNCTIONS.items() if not one.is_internal), *AGGREGATES]
        raise UnknownName(
            f'unknown function "{node.name}"',
            code="unknown-function",
            span=node.span,
            hints=(closest_hint(node.name, known), "functions: " + join_names(known)),
        )
    _check_argument_count(function, node)
    if function.takes_keys:
        return _bind_previous(binder, node)
    if node.per:
        raise make_keys_error(node)
    if function.name == "bar":
        _require_other_rows(binder, node, "all rows of the query", "use it in select, and its argument elsewhere")
    arguments: list[ir.Expr] = []
    for position, argument in enumerate(node.arguments):
        kinds = function.parameters[min(position, len(function.parameters) - 1)]
        if not kinds and position > function.result_like:
            kinds = (arguments[function.result_like].kind,)
        value = (
            convert_literal(binder.require_literal(argument), kinds[0], binder.scope.zone)
            if kinds and isinstance(argument, ast.Literal)
            else binder.bind_value(argument)
        )
        if position == 1 and function.name in ("path_match", "capture"):
            check_pattern(function.name, value, argument)
        if kinds and not any(value.kind is kind or (is_string(kind) and is_string(value.kind)) for kind in kinds):
            expected = " or ".join(kind.value for kind in kinds)
            raise TypeMismatch(
                f"{node.name} expects {expected}, but {describe(value)} is {value.kind.value}",
                span=argument.span,
            )
        arguments.append(value)
    if function.name == "capture" and len(arguments) == 3:
        check_group(arguments[1], arguments[2], node)
    if function.name == "date" and arguments[0].kind is DataType.TIME:
        return ir.FunctionCall(function, tuple(arguments), DataType.TEXT)  # the day of a time: 2024-01-31
    if function.name == "bar":
        binder.allows_previous = True
        arguments.append(ir.Largest(arguments[0], arguments[0].kind))
    return ir.FunctionCall(function, tuple(arguments), function.returns or arguments[function.result_like].kind)


def make_keys_error(node: ast.Call) -> StatementError:
    """Return the error for `per` in the call of a function that takes no keys."""
    return StatementError(
        f"{node.name} takes no per", code="keys", span=node.span, hints=("previous(size per repository) has keys",)
    )


def _bind_previous(binder: ExpressionBinder, node: ast.Call) -> ir.Expr:
    """Bind `previous(F per K, …)`. The query adds its order when it is bound."""
    hint = "use it in select; for a condition on it: (… select …, previous(size) as before) where size > .before"
    _require_other_rows(binder, node, "the rows in the order of the query", hint)
    value, *keys = (binder.bind_value(part) for part in (*node.arguments, *node.per))
    binder.allows_previous = True
    return ir.Previous(value, tuple(keys), (), value.kind)


def _require_other_rows(binder: ExpressionBinder, node: ast.Call, read: str, hint: str) -> None:
    """Refuse a function that reads other rows outside `select`, and in the arguments of another one."""
    if not binder.allows_previous:
        raise StatementError(
            f"{node.name} is not allowed here: it reads {read}",
            code="previous",
            span=node.span,
            hints=(hint,),
        )
    binder.allows_previous = False


def _check_argument_count(function: Function, node: ast.Call) -> None:
    count, maximum = len(node.arguments), len(function.parameters)
    if maximum - function.optional_count <= count and (count <= maximum or function.is_variadic):
        return
    minimum = f"{maximum - function.optional_count} or " if function.optional_count else ""
    expected = f"{minimum}{maximum} argument{'' if maximum == 1 else 's'}{' or more' if function.is_variadic else ''}"
    raise TypeMismatch(f"{node.name} takes {expected}, not {count}", span=node.span)


def bind_aggregate(binder: ExpressionBinder, node: ast.Call) -> ir.Expr:
    """Bind an aggregate over the rows of a group."""
    aggregate = AGGREGATES[node.name]
    if node.per:
        raise make_keys_error(node)
    if not binder.allows_aggregates:
        from imq.grammar.unparser import unparse

        raise StatementError(
            f'"{node.name}" is an aggregate and is not allowed here',
            code="aggregate",
            span=node.span,
            hints=('use it in "select" or "having"', "or as a scalar subquery: (TABLE select " + unparse(node) + ")"),
        )
    if not node.arguments:
        if not aggregate.is_argument_optional:
            raise TypeMismatch(f"{node.name} takes an argument: {node.name}(size)", span=node.span)
        return ir.AggregateCall(aggregate, None, distinct=False, kind=DataType.NUMBER)
    if len(node.arguments) > 1:
        raise TypeMismatch(f"{node.name} takes one argument", span=node.span)
    if (identity := _get_image_id(binder, node)) is not None:
        return ir.AggregateCall(aggregate, identity, distinct=True, kind=DataType.NUMBER)
    columns_by_name, allows_previous = binder.columns_by_name, binder.allows_previous
    binder.columns_by_name, binder.allows_aggregates, binder.allows_previous = {}, False, False
    argument = binder.bind_value(node.arguments[0])
    binder.columns_by_name, binder.allows_aggregates, binder.allows_previous = columns_by_name, True, allows_previous
    check_aggregate(aggregate, argument, node)
    return ir.AggregateCall(aggregate, argument, node.distinct, aggregate.returns or argument.kind)


def _get_image_id(binder: ExpressionBinder, node: ast.Call) -> ir.Column | None:
    """Return the ID, for `count(distinct images)`. A row of `images` is a name, and an image can have several."""
    (argument,) = node.arguments
    if node.name != "count" or argument != ast.Field(("images",)) or binder.table.name != "images":
        return None
    if not node.distinct:
        raise StatementError(
            "count(images) is ambiguous: an image has a row for each of its names",
            code="ambiguous",
            span=node.span,
            hints=("count counts names", "count(distinct images) counts each image once"),
        )
    return ir.Column(binder.table.get_field("id"))


def check_aggregate(aggregate: Aggregate, argument: ir.Expr, node: ast.Call) -> None:
    """Refuse an aggregate of a type that it does not take: one without sums, or without an order."""
    if aggregate.parameter and argument.kind not in aggregate.parameter:
        raise TypeMismatch(
            f"{node.name} cannot be taken of {describe(argument)}: it is {argument.kind.value}", span=node.span
        )
