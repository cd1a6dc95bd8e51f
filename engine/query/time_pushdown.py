"""Time push-down: which part of a log the rows of a query are in, so that an engine sends nothing else."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING, Record

from . import ir
from .limit_pushdown import find_row_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from imq.engine.catalog.schema import Field

    Bound = tuple[str, ir.Expr]
    """An operator, and the constant on its right."""

_AFTER, _BEFORE = (">", ">=", "="), ("<", "<=", "=")


class TimeRange(Record):
    """The rows of a log that a query needs: within bounds of the time, and only so many of the oldest or newest."""

    bounds: tuple[Bound, ...]
    first: int = 0
    last: int = 0


def find_range(select: ir.Select, time: str, get_rank: Callable[[Field], int]) -> TimeRange:
    """Return the bounds of the field `time` in the condition of a query, and its limit.

    The limit counts only when the time, and fields that the listing contains (of rank 0), alone decide which rows the
    query returns.
    """
    parts = tuple(_list_conjuncts(select.where))
    bounds = tuple(bound for part in parts if (bound := _read_bound(part, time)) is not None)
    limit = find_row_limit(select, lambda _field: False)
    if not limit or select.base is not None or not select.order:
        return TimeRange(bounds)
    others = [part for part in parts if _read_bound(part, time) is None]
    for value in ir.walk(others):
        if ir.get_subquery(value) or (isinstance(value, ir.Column | ir.MapItem) and get_rank(value.field)):
            return TimeRange(bounds)
    key = select.order[0]
    if not isinstance(key.value, ir.Column) or key.value.field.name != time:
        return TimeRange(bounds)
    if key.descending:  # an engine counts the last lines before it applies an upper bound
        return TimeRange(bounds, last=0 if any(operator in _BEFORE for operator, _ in bounds) else limit)
    return TimeRange(bounds, first=limit)


def evaluate_bounds(bounds: Iterable[Bound], now: int) -> tuple[int | None, int | None]:
    """Return the latest lower and the earliest upper bound, in nanoseconds since the epoch; None: there is none."""
    from .sql.statements import write_values
    from .sqlite_executor import evaluate

    since: int | None = None
    until: int | None = None
    for operator, constant in bounds:
        value = constant.value if isinstance(constant, ir.Literal) else evaluate(write_values((constant,), now))
        if not isinstance(value, int | float):
            continue
        moment = int(value)
        if operator in _AFTER:
            since = moment if since is None else max(since, moment)
        if operator in _BEFORE:
            until = moment if until is None else min(until, moment)
    return since, until


def _list_conjuncts(condition: ir.Expr | None) -> Iterator[ir.Expr]:
    if isinstance(condition, ir.And):
        for operand in condition.operands:
            yield from _list_conjuncts(operand)
    elif condition is not None:
        yield condition


def _read_bound(part: ir.Expr, time: str) -> Bound | None:
    """Return the bound that a condition is for a time field; None when it is none."""
    match part:
        case ir.Comparison(operator, ir.Column(field, ""), right) if (
            field.name == time and operator in (*_AFTER, *_BEFORE) and _is_constant(right)
        ):
            return operator, right
        case _:
            return None


def _is_constant(value: ir.Expr) -> bool:
    """Whether a value depends on no row; it may depend on the clock."""
    return all(
        isinstance(one, ir.Literal | ir.Arithmetic | ir.FunctionCall) and ir.get_subquery(one) is None
        for one in ir.walk((value,))
    )
