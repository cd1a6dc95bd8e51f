"""Several lists of one query: items at the same position are of the same row."""

from __future__ import annotations

from imq.engine.query import ir
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def align_lists(columns: Sequence[ir.Projection]) -> tuple[ir.Projection, ...]:
    """Return columns whose lists of the same rows say so: each is ordered by the first, and keeps what is unknown.

    A list alone has what is known, in its own order; so has a list of distinct values.
    """
    beside: dict[object, list[ir.Expr]] = {}
    for value in (value for column in columns for value in ir.walk((column.value,))):
        if (found := _list_of(value)) is not None and found[1] not in (same := beside.setdefault(found[0], [])):
            same.append(found[1])
    several = {rows: tuple(arguments) for rows, arguments in beside.items() if len(arguments) > 1}
    if not several:
        return tuple(columns)

    def align(value: ir.Expr) -> ir.Expr:
        found = _list_of(value)
        if found is None or found[0] not in several:
            return value
        if isinstance(value, ir.AggregateCall):
            return value.replace(beside=several[found[0]])
        assert isinstance(value, ir.ScalarSubquery)
        (column,) = value.select.columns
        total = column.value.replace(beside=several[found[0]])
        return value.replace(select=value.select.replace(columns=(column.replace(value=total),)))

    return tuple(column.replace(value=ir.mapped(column.value, align)) for column in columns)


def _list_of(value: ir.Expr) -> tuple[object, ir.Expr] | None:
    """Return what rows a list is of, so that it can be compared, and what it lists; None for what is no list."""
    rows: object = ()
    if isinstance(value, ir.ScalarSubquery) and len(value.select.columns) == 1:
        select = value.select
        rows = (select.table.name, select.join, select.where, select.base, select.targets)
        value = select.columns[0].value
    if isinstance(value, ir.AggregateCall) and value.aggregate.name == "list" and not value.distinct and value.argument:
        return rows, value.argument
    return None
