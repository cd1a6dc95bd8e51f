"""How a bound query will run: its stages in order, and the SQL of the last one.

The store's tables are native, so most questions are one SQL statement. A question that reads what only unpacking
tells (sizes after a lazy pull) first measures the layers that were never unpacked.
"""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING, Record

from . import bound as b
from .result import Heading
from .sql import Sql, write_select
from .tables import Cost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .tables import Field


class Plan(Record):
    """A query ready to run. `measures` says that unpacked sizes must be known first."""

    select: b.Select
    sql: Sql
    measures: bool


def plan(select: b.Select, now: int, hidden: tuple[str, ...] = ()) -> Plan:
    """Return the plan of a query; `hidden` are columns of the store to be added after the selected ones."""
    measures = any(field.cost is Cost.CONTENT for field in fields_read(select))
    return Plan(select, write_select(select, now, hidden=hidden), measures)


def headings(select: b.Select) -> tuple[Heading, ...]:
    """Return the headings of a query's answer."""
    return tuple(Heading(c.name, c.title, c.value.kind, c.field) for c in select.columns)


def fields_read(select: b.Select) -> set[Field]:
    """Return every field that a query reads, wherever it stands."""
    roots = [column.value for column in select.columns] if not select.count else []
    roots += [value for value in (select.where, select.having) if value is not None]
    roots += [*(select.group or ()), *(key.value for key in select.order)]
    for cut in (select.limit, select.skip):
        roots += cut.per if cut is not None else ()
    if select.spared is not None:
        roots += [*select.spared.per, select.spared.by]
    return {field for root in roots for field in _fields(root)}


def _fields(value: b.Bound) -> Iterator[Field]:
    match value:
        case b.Column(field) | b.Item(field) | b.Lookup(field):
            yield field
        case b.Total(argument=argument):
            if argument is not None:
                yield from _fields(argument)
        case _:
            for part in b.parts(value):
                yield from _fields(part)
