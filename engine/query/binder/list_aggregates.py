"""Aligns several `list` aggregates of one query: items at the same position come from the same row."""

from __future__ import annotations

from imq.engine.query import ir
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def align_lists(columns: Sequence[ir.Projection]) -> tuple[ir.Projection, ...]:
    """Return the columns with aligned lists: those over the same rows have one order and keep unknown values.

    A single list, or a list of distinct values, is sorted by its own values and omits unknown ones.
    """
    arguments_by_rows: dict[object, list[ir.Expr]] = {}
    for value in (value for column in columns for value in ir.walk((column.value,))):
        if (found := _get_list(value)) is not None and found[1] not in (
            same := arguments_by_rows.setdefault(found[0], [])
        ):
            same.append(found[1])
    aligned = {rows: tuple(arguments) for rows, arguments in arguments_by_rows.items() if len(arguments) > 1}
    if not aligned:
        return tuple(columns)

    def align(value: ir.Expr) -> ir.Expr:
        found = _get_list(value)
        if found is None or found[0] not in aligned:
            return value
        if isinstance(value, ir.AggregateCall):
            return value.replace(aligned_with=aligned[found[0]])
        assert isinstance(value, ir.ScalarSubquery)
        (column,) = value.select.columns
        total = column.value.replace(aligned_with=aligned[found[0]])
        return value.replace(select=value.select.replace(columns=(column.replace(value=total),)))

    return tuple(column.replace(value=ir.transform(column.value, align)) for column in columns)


def _get_list(value: ir.Expr) -> tuple[object, ir.Expr] | None:
    """Return an object that identifies the rows of a list, and the listed value; None if `value` is not a list."""
    rows: object = ()
    if isinstance(value, ir.ScalarSubquery) and len(value.select.columns) == 1:
        select = value.select
        rows = (select.table.name, select.join, select.where, select.base, select.targets)
        value = select.columns[0].value
    if isinstance(value, ir.AggregateCall) and value.aggregate.name == "list" and not value.distinct and value.argument:
        return rows, value.argument
    return None
