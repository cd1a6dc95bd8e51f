"""LIMIT push-down: how many rows complete a result, so that nothing is fetched for the others."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

from . import ir

if TYPE_CHECKING:
    from collections.abc import Callable

    from imq.engine.catalog.schema import Field


def find_row_limit(select: ir.Select, is_fetched: Callable[[Field], bool]) -> int:
    """Return the number of rows that complete the result, in an order known from the listing; 0: all are needed.

    `is_fetched` says whether a field needs a fetch after the listing.
    """
    if select.limit is None or select.limit.per or select.keep_newest or select.until or select.group is not None:
        return 0
    if select.join or select.joins:  # the limit counts separately for each outer row, or counts pairs of rows
        return 0
    if any(ir.has_previous(column.value) for column in select.columns):  # the row before can be outside the limit
        return 0
    if select.skip is not None and select.skip.per:
        return 0
    for value in ir.walk(key.value for key in select.order):
        if ir.get_subquery(value) is not None:
            return 0
        if isinstance(value, ir.Column | ir.MapItem) and not value.join and is_fetched(value.field):
            return 0
    return select.limit.count + (select.skip.count if select.skip else 0)
